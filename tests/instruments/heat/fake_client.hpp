#pragma once
// A process that takes part, with answers that a test chooses.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/heat_wire.hpp"
#include "tests/support/rights.hpp"

namespace shmif::perf::test {

inline UniqueFd listening_socket(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(&address.sun_path[0], sizeof address.sun_path - 1);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 8) != 0) {
    throw std::runtime_error("no socket");
  }
  return socket;
}

/// This process, as a monitor sees it: answers each hello with a descriptor of `file` and with one
/// range, if that is not empty. To any other request, it closes the connection.
class FakeClient {
 public:
  /// `count`: how often the descriptor comes with each answer. `head`: the answer, of which the
  /// number of ranges is added to.
  explicit FakeClient(const std::string& folder, const char* file = "/proc/self/pagemap",
                      heat::Range range = {}, std::size_t count = 1,
                      const heat::Answer& head = {heat::kVersion, 0, 1, 0})
      : count_(count),
        file_(::open(file, O_RDONLY | O_CLOEXEC)),
        listener_(listening_socket(folder + "/1-1")) {
    hello_.range.range = range;
    has_range_ = range.end > range.begin;
    hello_.head = head;
    hello_.head.count += has_range_ ? 1 : 0;
    thread_ = std::jthread([this] { serve(); });
  }
  ~FakeClient() { ::shutdown(listener_.get(), SHUT_RDWR); }
  FakeClient(const FakeClient&) = delete;
  FakeClient& operator=(const FakeClient&) = delete;

  /// Whether it has closed a connection because it was asked for more than a hello.
  bool has_left() const noexcept { return has_left_; }

 private:
  void serve() {
    for (;;) {  // until the listener is shut down
      UniqueFd monitor(::accept(listener_.get(), nullptr, nullptr));
      if (!monitor) return;
      heat::Request request{};
      while (::recv(monitor.get(), &request, sizeof request, 0) > 0) {
        if (request.ask != heat::Ask::hello) {
          monitor.reset();
          // It listens no more, as processes do that have left.
          ::shutdown(listener_.get(), SHUT_RDWR);
          has_left_ = true;
          return;
        }
        say_hello(monitor.get());
      }
    }
  }

  void say_hello(int monitor) {
    const std::size_t size = sizeof hello_.head + (has_range_ ? sizeof hello_.range : 0);
    const std::vector<int> descriptors(count_, file_.get());
    shmif::test::send_with_rights(monitor, std::as_bytes(std::span(&hello_, 1)).first(size),
                                  descriptors);
  }

  struct {
    heat::Answer head;
    heat::SharedRange range;
  } hello_{};
  bool has_range_ = false;
  std::size_t count_;  ///< 4 at most
  UniqueFd file_, listener_;
  std::atomic<bool> has_left_{false};
  std::jthread thread_;
};

}  // namespace shmif::perf::test
