#include "tools/relay/watches.hpp"

#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "base/text.hpp"
#include "bus/limits.hpp"
#include "shmif/bus.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/log.hpp"
#include "tap/device_settings.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

void await_descriptor(int descriptor, const StopSignals& stop, std::chrono::nanoseconds at_most,
                      int output) {
  std::array<pollfd, 3> entries{
      {{descriptor, POLLIN, 0}, {stop.descriptor(), POLLIN, 0}, {output, 0, 0}}};
  const auto ns = std::max<std::int64_t>(at_most.count(), 0);
  const timespec timeout{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  ppoll(entries.data(), entries.size(), &timeout,
        nullptr);  // no check of the result: the caller checks all three anyway
}

bool is_abandoned(int output) {
  pollfd entry{output, 0, 0};
  return poll(&entry, 1, 0) > 0 && (entry.revents & POLLERR) != 0;
}

bool Corruption::met(const std::error_code& error, const StopSignals& stop) {
  const bool lasted = lasts_;
  const bool is_held = error == Errc::lock_held;
  lasts_ = error == Errc::corrupt || is_held;
  if (!lasts_) return false;
  if (!lasted) {
    complain(is_held ? "cannot go on with " + path_ + ": " + error.message() + "; waiting"
                     : "cannot go on with " + path_ + ": the bus is corrupt (waiting until " +
                           base::quote_command("shmifctl repair", path_) + " has repaired it)");
  }
  stop.wait(50);
  return true;
}

namespace {

/// Seconds between two checks, at first and at most.
constexpr unsigned kSoon = 1;
constexpr unsigned kLate = 16;

}  // namespace

BusWatch::BusWatch()
    : timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)), seconds_(kSoon) {
  if (!timer_ || !set_timer())
    throw Exception(Error::from_errno(errno, "cannot make a timer to watch the bus"));
}

bool BusWatch::set_timer() const {
  itimerspec next{};
  next.it_value.tv_sec = seconds_;
  return timerfd_settime(timer_.get(), 0, &next, nullptr) == 0;
}

void BusWatch::look_soon() {
  seconds_ = kSoon;
  static_cast<void>(set_timer());  // fails only for invalid arguments
}

void BusWatch::add(const Port& port) {
  all_.push_back({&port, Said::nothing});
}

void BusWatch::look(Watched& watched) {
  if (watched.said == Said::replaced || !watched.port->is_up()) return;
  const Result<Port::LinkState> link = watched.port->link();
  if (!link || link->still_named) return;
  struct stat now{};
  const bool replaced = lstat(link->path.c_str(), &now) == 0;
  if (!replaced && watched.said == Said::removed) return;
  debug(Debug::relay, [&] { return link->path + " was removed or replaced"; });
  watched.said = replaced ? Said::replaced : Said::removed;
  log_warning(
      replaced ? "another file is at " + link->path + " now; port " + watched.port->name() +
                     " stays on the old bus, and does not hear ports of a new one (restart this "
                     "command to join the new one)"
               : "the bus " + link->path + " was removed; port " + watched.port->name() +
                     " still works with the other attached ports, but no new port can join them");
}

/// Looks at each bus, and decides when to look again.
void BusWatch::look_at_all() {
  seconds_ = std::min(2 * seconds_, kLate);
  for (Watched& each : all_) look(each);
  if (std::ranges::any_of(all_, [](const Watched& w) { return w.said == Said::removed; }))
    seconds_ = kSoon;  // somebody may make another bus there soon
}

std::chrono::nanoseconds BusWatch::look_if_due(Clock::time_point now) {
  if (now >= due_) {
    look_at_all();
    due_ = now + std::chrono::seconds(seconds_);
  }
  return due_ - now;
}

Result<void> BusWatch::join(tap::Bridge& bridge, std::function<bool()> also) {
  return bridge.watch(timer_.get(), [this, also = std::move(also)] {
    std::uint64_t expirations = 0;
    static_cast<void>(read(timer_.get(), &expirations, sizeof expirations) > 0);
    look_at_all();
    const bool go_on = !also || also();
    static_cast<void>(set_timer());
    return go_on;
  });
}

void bring_up(Port& port, const std::string& bus) {
  if (const std::error_code error = port.up())
    throw Exception(Error(error, "cannot bring the port up on " + bus + ": " + error.message()));
}

void follow_bus(const std::string& path, int device, LinkKind kind, std::error_code error) {
  const bool carrier =
      (kind == LinkKind::tap || kind == LinkKind::veth) && !tap::set_carrier(device, kind, !error);
  if (error) {
    log_warning("cannot receive from the bus " + path + ": " + error.message() +
                (carrier ? "; the interface has no carrier until the bus is repaired" : "") +
                (error == Errc::lock_held ? "" : " (run 'shmifctl repair')"));
  } else {
    log_warning("the bus " + path + " works again" +
                (carrier ? ", and the interface has carrier" : ""));
  }
}

namespace {

/// At most this many processes are examined.
constexpr unsigned kMaxProcesses = 4096;

/// Each process decides how many mappings it has, and how long the names of their files are. So
/// there is a limit on what is read, for one process and for all.
constexpr std::size_t kMaxMapsBytes = std::size_t{1} << 20U;
constexpr std::size_t kMaxMapsBytesInAll = std::size_t{64} << 20U;

/// Whether the process maps a file that was at `path` and no longer has a name. `left`: how many
/// bytes may still be read of this process and the next ones.
bool has_mapped_removed(const std::string& pid, const std::string& path, std::size_t& left) {
  std::ifstream maps("/proc/" + pid + "/maps");
  const std::string tail = ' ' + path + " (deleted)";
  std::size_t bytes = 0;
  bool found = false;
  for (std::string line;
       !found && bytes < std::min(left, kMaxMapsBytes) && std::getline(maps, line);) {
    bytes += line.size() + 1;
    found = line.ends_with(tail);
  }
  left -= std::min(left, bytes);
  return found;
}

}  // namespace

void warn_of_hosts_left_behind(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path given(path);
  const std::filesystem::path directory =
      std::filesystem::canonical(given.has_parent_path() ? given.parent_path() : ".", unknown);
  DIR* const processes = unknown ? nullptr : opendir("/proc");
  if (processes == nullptr) return;
  const std::string whole = (directory / given.filename()).string();
  std::string pids;
  unsigned seen = 0;
  unsigned found = 0;
  std::size_t left = kMaxMapsBytesInAll;
  for (const dirent* entry = nullptr;
       seen < kMaxProcesses && (entry = readdir(processes)) != nullptr;) {
    const std::string pid = entry->d_name;
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    ++seen;
    if (!has_mapped_removed(pid, whole, left)) continue;
    if (++found <= 5) pids += (found == 1 ? "" : ", ") + pid;
  }
  closedir(processes);
  if (found == 0) return;
  if (found > 5) pids += " and " + std::to_string(found - 5) + " more";
  log_warning("an older bus was removed from " + path + " but is still used by " +
              (found == 1 ? "process " : "processes ") + pids +
              ": they do not hear ports of the new bus (restart them to join it)");
}

namespace {

/// A frame may be longer than the MTU by this, and a packet socket still takes it.
constexpr std::size_t kOneTagFrame = kEthernetHeaderBytes + kVlanTagBytes;

/// A socket in the namespace, made by `open`.
UniqueFd socket_in(const tap::NetNamespace* where, Result<UniqueFd> (*open)()) {
  const auto listen = [open]() -> Result<std::vector<UniqueFd>> {
    Result<UniqueFd> socket = open();
    if (!socket) return socket.error();
    std::vector<UniqueFd> one;
    one.push_back(std::move(*socket));
    return one;
  };
  std::vector<UniqueFd> sockets =
      (where != nullptr ? tap::run_in(*where, listen) : listen()).value();
  return std::move(sockets.at(0));
}

unsigned index_of(const tap::NetNamespace* where, const std::string& device) {
  const std::optional<tap::Interface> found = find_device(where, device);
  return found ? found->index : 0;
}

tap::GuestWatch open_watch(const tap::NetNamespace* where, const std::string& device, int our_end,
                           bool has_list) {
  std::vector<UniqueFd> sockets =
      (where != nullptr ? tap::run_in(*where, tap::open_watch_sockets) : tap::open_watch_sockets())
          .value();
  return tap::GuestWatch::open(
             tap::WatchSockets::take(sockets),
             {{.index = index_of(where, device), .has_list = has_list, .our_end = our_end}})
      .value();
}

}  // namespace

tap::Netlink open_session(const tap::NetNamespace* where) {
  return (where != nullptr ? tap::Netlink::open(*where) : tap::Netlink::open()).value();
}

std::optional<tap::Interface> find_device(const tap::NetNamespace* where, const std::string& name) {
  if (name.empty()) return std::nullopt;
  const Result<tap::Interface> found = open_session(where).interface(name);
  if (!found) return std::nullopt;
  return *found;
}

DeviceWatch::DeviceWatch(const tap::NetNamespace* where, const std::string& device, int our_end,
                         Port& port, Hears hears, tap::GivenAddresses given)
    : port_(port),
      hears_(hears),
      watch_(open_watch(where, device, our_end, hears == Hears::what_the_device_hears)) {
  if (!given.addresses.empty() || !given.gateways.empty()) {
    given.index = index_of(where, device);
    const auto session = [where] {
      return where != nullptr ? tap::Netlink::open(*where) : tap::Netlink::open();
    };
    upkeep_.emplace(socket_in(where, tap::Upkeep::open_socket), session,
                    std::vector<tap::GivenAddresses>{std::move(given)});
  }
  // This comes after the watch was opened, so that no change in between is missed.
  if (const std::optional<tap::Interface> now = find_device(where, device)) {
    follow({.promiscuous = now->is_promiscuous(),
            .carrier = now->has_carrier(),
            .mtu = now->mtu,
            .mac = now->mac});
  }
}

Result<void> DeviceWatch::join(tap::Bridge& bridge) {
  if (upkeep_) {
    const auto read = [this] {
      upkeep_->read();
      return true;
    };
    if (auto done = bridge.watch(upkeep_->descriptor(), read); !done) return done;
  }
  return bridge.watch(watch_.descriptor(), [this] {
    std::vector<tap::GuestInterfaceState> changes;
    watch_.read(changes);
    for (const tap::GuestInterfaceState& now : changes) follow(now);
    return true;
  });
}

void DeviceWatch::follow(const tap::GuestInterfaceState& now) {
  debug(Debug::relay, [&] {
    return "the device has " + std::string(now.carrier ? "carrier" : "no carrier") + ", MTU " +
           std::to_string(now.mtu) + " and MAC address " + now.mac.to_string() +
           (now.promiscuous ? ", and is promiscuous" : "");
  });
  device_ = now;
  show();
}

void DeviceWatch::set_link(bool up) {
  is_up_ = up;
  show();
}

void DeviceWatch::show() {
  if (!device_) return;
  tap::GuestInterfaceState seen = *device_;
  seen.carrier = seen.carrier && is_up_;
  if (hears_ == Hears::all_for_others) {
    tap::show_carrier_on(port_, seen);
  } else {
    tap::show_on(port_, seen, hears_ == Hears::all);
  }
}

std::string too_long_text(std::size_t frame_bytes, const std::string& from,
                          std::optional<std::uint32_t> from_mtu, const std::string& to,
                          std::optional<std::uint32_t> to_mtu) {
  const auto side = [](const std::string& name, const std::optional<std::uint32_t>& mtu) {
    return mtu ? name + " (MTU " + std::to_string(*mtu) + ')' : name;
  };
  std::string remedy = "give both sides the same MTU";
  if (from.starts_with("packet:") && from_mtu && frame_bytes > bus::max_frame_bytes(*from_mtu)) {
    remedy = "it is longer than the MTU of " + from.substr(from.find(':') + 1) +
             ": its kernel put it together from fragments, and only plain IP packets can be cut "
             "again; if this is a bridge, give packet: the port of it from which such frames come";
  } else if (to.starts_with("packet:") && to_mtu && frame_bytes > *to_mtu + kOneTagFrame &&
             frame_bytes <= bus::max_frame_bytes(*to_mtu)) {
    remedy =
        to.substr(to.find(':') + 1) +
        " carries its MTU and one VLAN tag; for a second tag, raise the MTU of the interface by "
        "4, or start a host with --via tap";
  }
  return "cannot pass on a frame of " + std::to_string(frame_bytes) + " bytes from " +
         side(from, from_mtu) + ": it is too long for " + side(to, to_mtu) +
         " (such frames are dropped and counted; " + remedy + ')';
}

void TooLongNotice::say(std::size_t frame_bytes, const std::string& from,
                        std::optional<std::uint32_t> from_mtu, const std::string& to,
                        std::optional<std::uint32_t> to_mtu) {
  if (std::exchange(said_, true)) return;
  complain(too_long_text(frame_bytes, from, from_mtu, to, to_mtu));
}

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
