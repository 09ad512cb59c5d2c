#include "tap/ping_responder.hpp"

#include <array>
#include <cstddef>

#include "shmif/ping.hpp"

namespace shmif::tap {

Interceptor ping_responder(MacAddress self) {
  return [self](const FrameView& frame, AnyLink& back) {
    std::array<std::byte, kPingFrameBytes> bytes{};
    const auto reply = answer_ping(frame, self, bytes);
    if (!reply) return false;
    (void)back.send({&*reply, 1});  // a reply that cannot go is a lost ping, which the asker counts
    return !frame.destination().is_group();
  };
}

}  // namespace shmif::tap
