#pragma once
// Answers `shmifctl ping` for a port that a bridge carries frames for.

#include <array>
#include <cstddef>

#include "shmif/ping.hpp"
#include "shmif/port.hpp"

namespace shmif::tools {

/// An interceptor of the bridge (tap/bridge.hpp) for what comes from the port. A request to the
/// port itself goes no further; one to everybody does. A port whose interface is down answers
/// nothing, since its host could not answer either. Threads: the bridge's.
class PingAnswerer {
 public:
  /// `port` must outlive the bridge.
  explicit PingAnswerer(const Port& port) : port_(&port) {}

  bool operator()(const FrameView& frame, AnyLink& back) const {
    std::array<std::byte, kPingFrameBytes> buffer;
    if (!port_->has_carrier()) return false;
    const std::optional<FrameView> answer = answer_ping(frame, port_->mac(), buffer);
    if (!answer) return false;
    static_cast<void>(back.send({&*answer, 1}));  // without room, the echo is lost
    return !frame.destination().is_group();
  }

 private:
  const Port* port_;
};

}  // namespace shmif::tools
