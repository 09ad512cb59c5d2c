#include "tools/relay/address_watch.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "shmif/bus.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/log.hpp"

namespace shmif::tools {

namespace {

/// Other hosts have this long to answer; `wait --tcp` gives them the same time.
constexpr long kAnswerNs = 100'000'000;
/// Longer than the time in which a host's kernel looks for duplicates (RFC 4862).
constexpr std::chrono::seconds kDefence{4};

/// " (port "web")" if a live port of the bus has this MAC address.
std::string port_text(const std::string& path, MacAddress mac) {
  const Result<Bus> bus = Bus::open(path);
  if (!bus) return {};
  for (const PortInfo& port : bus->info().ports) {
    if (port.live && port.mac == mac) return " (port \"" + port.name + "\")";
  }
  return {};
}

}  // namespace

AddressWatch::AddressWatch(std::string command, std::function<bool(MacAddress)> is_own)
    : command_(std::move(command)),
      is_own_(std::move(is_own)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (!timer_)
    throw Exception(Error::from_errno(errno, "cannot make a timer to announce the addresses"));
}

std::size_t AddressWatch::add(Port& port, const std::string& path,
                              const std::vector<tap::Cidr>& addresses) {
  // The other host may have been there before, and heard only the question for the address.
  const auto tell = [this, path, &port](const tap::IpAddress& address, MacAddress owner) {
    if (is_own_(owner)) return false;
    tap::AddressClaim::tell(port, address, owner);
    log_warning(command_ + ": another host on " + path + " has the address " + address.to_string() +
                ", too: " + owner.to_string() + port_text(path, owner) +
                "; neighbours reach only one of the two (give one of them another --ip)");
    return true;
  };
  all_.push_back({&port, tap::AddressClaim(addresses, tell)});
  return all_.size() - 1;
}

void AddressWatch::begin() {
  debug(Debug::relay, [this] {
    return command_ + ": checks the addresses of " + std::to_string(all_.size()) +
           " ports for duplicates";
  });
  begun_ = std::chrono::steady_clock::now();
  for (const Watched& each : all_) each.claim.probe(*each.port);
  const itimerspec once{{0, 0}, {0, kAnswerNs}};
  // Fails only for bad arguments.
  static_cast<void>(timerfd_settime(timer_.get(), 0, &once, nullptr));
}

Result<void> AddressWatch::join(tap::Bridge& bridge) {
  return bridge.watch(timer_.get(), [this] {
    std::uint64_t expirations = 0;
    if (read(timer_.get(), &expirations, sizeof expirations) > 0) {
      debug(Debug::relay, [this] { return command_ + ": announces its addresses"; });
      for (const Watched& each : all_) each.claim.announce(*each.port);
    }
    return true;
  });
}

bool AddressWatch::look(std::size_t port, const FrameView& frame) {
  const Watched& watched = all_[port];
  if (all_[port].claim.look(frame, watched.port->mac())) return true;
  return !frame.destination().is_broadcast() && frame.destination().is_group() &&
         std::chrono::steady_clock::now() - begun_ < kDefence &&
         watched.claim.defend(frame, *watched.port);
}

}  // namespace shmif::tools
