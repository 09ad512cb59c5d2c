// Datagrams between Unix sockets, in batches of sendmmsg and recvmmsg. A sender waits for room.

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>

#include "bench/messages.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"

namespace shmif::bench {
namespace {

class UnixWire final : public Wire {
 public:
  explicit UnixWire(const Work& work) : work_(work) {
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends_.data()) != 0) give_up("no Unix sockets");
    for (const int end : ends_) {
      limit_waits(end);
      const int bytes = 4 << 20;
      setsockopt(end, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
  }
  UnixWire(const UnixWire&) = delete;
  UnixWire& operator=(const UnixWire&) = delete;
  ~UnixWire() override {
    for (const int end : ends_) close(end);
  }
  std::unique_ptr<Listener> listener(unsigned) override {
    return std::make_unique<MessageListener>(ends_[1], work_);
  }
  std::unique_ptr<Sender> sender(unsigned) override {
    return std::make_unique<MessageSender>(ends_[0], work_);
  }

 private:
  Work work_;
  std::array<int, 2> ends_{-1, -1};
};

}  // namespace

std::unique_ptr<Wire> make_unix_wire(const Work& work) {
  return std::make_unique<UnixWire>(work);
}

}  // namespace shmif::bench
