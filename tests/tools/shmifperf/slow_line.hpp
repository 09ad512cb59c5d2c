#pragma once
// A slow network between a client and a server of shmifperf, for tests of how they compare clocks.

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/unique_fd.hpp"
#include "perf/remote/connection.hpp"
#include "shmif/socket_address.hpp"

namespace shmif::test {

/// Passes one connection on, each piece after `delay`, in both directions.
class SlowLine {
 public:
  SlowLine(std::string server, std::chrono::milliseconds delay)
      : server_(std::move(server)),
        delay_(delay),
        listener_(perf::listen_at(parse_socket_address("127.0.0.1:0").value()).value()),
        address_(shmif::address_of(listener_.get()).value().to_string()),
        thread_([this] { carry(); }) {}
  SlowLine(const SlowLine&) = delete;
  SlowLine& operator=(const SlowLine&) = delete;
  ~SlowLine() {
    ends_ = true;
    thread_.join();
  }
  const std::string& address() const { return address_; }

 private:
  void carry() {
    while (!ends_) {
      pollfd entry{listener_.get(), POLLIN, 0};
      if (::poll(&entry, 1, 20) <= 0) continue;
      const UniqueFd near(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!near) continue;
      const auto to = parse_socket_address(server_).value();
      const UniqueFd far = perf::begin_connecting(to).value();
      pollfd connecting{far.get(), POLLOUT, 0};
      if (::poll(&connecting, 1, 10'000) != 1) return;
      while (!ends_ && pass(near.get(), far.get())) {
      }
    }
  }
  /// Result: false when one side has closed.
  bool pass(int near, int far) const {
    pollfd entries[2] = {{near, POLLIN, 0}, {far, POLLIN, 0}};
    if (::poll(entries, 2, 20) <= 0) return true;
    std::this_thread::sleep_for(delay_);
    for (const auto& [from, to] : {std::pair(0, far), std::pair(1, near)}) {
      if ((entries[from].revents & (POLLIN | POLLHUP)) == 0) continue;
      char piece[65536];
      const ssize_t n = ::recv(entries[from].fd, piece, sizeof piece, MSG_DONTWAIT);
      if (n <= 0 || !send_whole(to, {piece, static_cast<std::size_t>(n)})) return false;
    }
    return true;
  }
  static bool send_whole(int to, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
      if (n > 0) continue;
      pollfd full{to, POLLOUT, 0};
      if (errno != EAGAIN || ::poll(&full, 1, 10'000) != 1) return false;
    }
    return true;
  }

  std::string server_;
  std::chrono::milliseconds delay_;
  UniqueFd listener_;
  std::string address_;
  std::atomic<bool> ends_ = false;
  std::thread thread_;
};

}  // namespace shmif::test
