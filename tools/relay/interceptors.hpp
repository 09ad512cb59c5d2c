#pragma once
// LoopGuard: finds out whether frames that a bridge passes on come back on the other side.
//
// Two bridges between the same two segments send each broadcast round and round, because Ethernet
// has no hop count. A bridge then sees the same source addresses alternately on both sides. That
// alone is no proof, because two hosts may have the same address. So the guard sends a probe, a
// frame with a random number, back to the side from which the last such frame came. If the probe
// arrives on the other side, there is a second path between the two. On the side that it was sent
// to, any host can repeat it, so an arrival there proves nothing.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "shmif/frame.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"
#include "shmif/ping.hpp"
#include "shmif/port.hpp"

namespace shmif::tools {

/// Threads: the bridge's thread.
class LoopGuard {
 public:
  enum class Side : std::uint8_t { left, right };

  /// `say` is called once, when a loop is proven. Moves of addresses are counted until there was
  /// none for as long as `pause`.
  explicit LoopGuard(std::function<void()> say,
                     std::chrono::milliseconds pause = std::chrono::seconds(10));

  /// Call it for each frame from `side`; `back` is that side's link. Result: whether the frame is a
  /// probe of this guard, which must not be passed on.
  bool look(Side side, const FrameView& frame, AnyLink& back);

 private:
  void suspect(Side side, AnyLink& back);
  bool came_round(Side side, std::uint32_t id);

  struct Seen {
    std::uint64_t mac = 0;
    Side side = Side::left;
  };
  std::function<void()> say_;
  std::chrono::milliseconds pause_;
  bool said_ = false;
  /// A probe that has not come back. In a storm, it may be on its way for much longer than the time
  /// between two probes: over ssh, on a busy machine, behind megabytes of other frames.
  struct Probe {
    std::uint32_t id = 0;
    Side sent_to = Side::left;
    bool under_way = false;
  };
  std::array<Probe, 256> probes_{};  ///< of 13 seconds at least
  std::size_t next_probe_ = 0;
  MacAddress address_;  ///< source address that only the probes have
  std::array<Seen, 256> seen_{};
  unsigned moves_ = 0;  ///< changes of an address's side
  std::chrono::steady_clock::time_point moved_;
  std::chrono::steady_clock::time_point probed_;
};

/// A message that says that frames go round between the two. `others`: the other processes that
/// join them, if known.
std::string loop_text(const std::string& one, const std::string& other, const std::string& others);

/// The other processes that have bridge ports on both buses, as text: "process 4711" or "processes
/// 4711, 4712"; empty if this process sees no such process.
std::string bridges_between(const std::string& one, const std::string& other);

// Answers `shmifctl ping` in place of a port whose frames a bridge carries.

/// An interceptor of the bridge (tap/bridge.hpp) for frames from the port. A request to the port
/// itself is not passed on; a broadcast request is. A port whose interface is down does not answer,
/// because its host could not answer either. Threads: the bridge's thread.
class PingAnswerer {
 public:
  /// `port` must outlive the bridge.
  explicit PingAnswerer(const Port& port) : port_(&port) {}

  bool operator()(const FrameView& frame, AnyLink& back) const {
    std::array<std::byte, kPingFrameBytes> buffer;
    if (!port_->has_carrier()) return false;
    const std::optional<FrameView> answer = answer_ping(frame, port_->mac(), buffer);
    if (!answer) return false;
    static_cast<void>(back.send({&*answer, 1}));  // if there is no room, the echo is lost
    return !frame.destination().is_group();
  }

 private:
  const Port* port_;
};

}  // namespace shmif::tools
