#include "tools/relay/interceptors.hpp"

#include <unistd.h>

#include <random>
#include <set>
#include <utility>

#include "shmif/bus.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// A host that moves from one side to the other moves once. In a loop, each frame looks like a
/// move, and a single frame that goes round over a slow line makes few of them in a second.
constexpr unsigned kSuspicious = 32;
/// A storm can drop a probe like any other frame, so the guard sends several, this far apart.
constexpr std::chrono::milliseconds kBetweenProbes{50};

std::set<std::int32_t> bridges_on(const std::string& path) {
  std::set<std::int32_t> pids;
  const Result<Bus> bus = Bus::open(path);
  if (!bus) return pids;
  for (const PortInfo& port : bus->info().ports) {
    if (port.live && port.link == LinkKind::bridge && port.pid != getpid()) pids.insert(port.pid);
  }
  return pids;
}

}  // namespace

LoopGuard::LoopGuard(std::function<void()> say, std::chrono::milliseconds pause)
    : say_(std::move(say)), pause_(pause), address_(MacAddress::random()) {}

bool LoopGuard::look(Side side, const FrameView& frame, AnyLink& back) {
  const MacAddress source = frame.source();
  if (source == address_) {
    const std::optional<Ping> ping = read_ping(frame);
    if (!ping) return false;
    if (came_round(side, ping->id) && !std::exchange(said_, true)) say_();
    return true;
  }
  if (said_ || source.is_group()) return false;
  const std::uint64_t mac = source.to_u64();
  Seen& seen = seen_[(mac ^ mac >> 8U ^ mac >> 24U) % seen_.size()];
  if (seen.mac == mac && seen.side != side) suspect(side, back);
  seen = {mac, side};
  return false;
}

/// Whether a probe with this number was sent to the other side and has not come back before.
bool LoopGuard::came_round(Side side, std::uint32_t id) {
  for (Probe& probe : probes_) {
    if (!probe.under_way || probe.id != id || probe.sent_to == side) continue;
    probe.under_way = false;
    return true;
  }
  return false;
}

/// Notes a frame from `side` whose sender was on the other side a moment ago.
void LoopGuard::suspect(Side side, AnyLink& back) {
  const Clock::time_point now = Clock::now();
  if (now - moved_ > pause_) moves_ = 0;
  moved_ = now;
  if (++moves_ < kSuspicious || now - probed_ < kBetweenProbes) return;
  probed_ = now;
  const std::uint32_t id = std::random_device()();
  probes_.at(next_probe_) = {id, side, true};
  next_probe_ = (next_probe_ + 1) % probes_.size();
  // A broadcast, because no switch between the two filters it. A reply, because no port answers it.
  std::array<std::byte, kPingFrameBytes> bytes;
  write_ping({.destination = MacAddress::from_u64(0xffffffffffff),
              .source = address_,
              .type = PingType::reply,
              .id = id},
             bytes);
  const FrameView probe(bytes.data(), bytes.size());
  static_cast<void>(back.send({&probe, 1}));
}

std::string loop_text(const std::string& one, const std::string& other, const std::string& others) {
  return "frames from " + one + " come back from " + other +
         " and the other way round: " + (others.empty() ? "something else" : others) +
         " also joins the two, so broadcasts circulate forever (leave only one connection between "
         "them)";
}

std::string bridges_between(const std::string& one, const std::string& other) {
  const std::set<std::int32_t> there = bridges_on(other);
  std::string text;
  unsigned count = 0;
  for (const std::int32_t pid : bridges_on(one)) {
    if (!there.contains(pid)) continue;
    text += (count++ == 0 ? "" : ", ") + std::to_string(pid);
  }
  if (count == 0) return {};
  return (count == 1 ? "process " : "processes ") + text;
}

}  // namespace shmif::tools
