#pragma once
// Answers `shmifctl ping` in place of a port whose frames a bridge carries.

#include <array>
#include <cstddef>

#include "shmif/ping.hpp"
#include "shmif/port.hpp"

namespace shmif::tools {

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
