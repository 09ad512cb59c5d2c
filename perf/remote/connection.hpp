#pragma once
// Connection: messages to and from another program over a stream socket, without blocking.

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

/// Owns its socket and makes it non-blocking. Threads: one at a time. Blocks: only flush().
class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(UniqueFd socket, std::size_t max_bytes);

  int descriptor() const noexcept { return socket_.get(); }
  /// What poll() must wait for: POLLIN, and POLLOUT while bytes wait to be sent.
  short events() const noexcept;
  std::size_t waiting_bytes() const noexcept { return out_.size() - sent_; }
  /// heard(): when the last bytes arrived, or when the connection was made. moved(): when waiting
  /// bytes were last sent.
  Clock::time_point heard() const noexcept { return heard_; }
  Clock::time_point moved() const noexcept { return moved_; }
  /// When the first bytes of the unfinished message arrived; empty if there is no such message.
  std::optional<Clock::time_point> begun() const noexcept { return begun_; }
  /// Sets the largest message size from now on.
  void allow(std::size_t max_bytes) { reader_.allow(max_bytes); }

  /// Queues a message, and sends as much as the socket takes.
  void send(const Message& message) { send_text(encode(message)); }
  void send_text(std::string_view json);
  /// Sends as much of the waiting bytes as the socket takes. The next receive() reports an error.
  void pump();
  /// Waits until everything is sent, but at most `at_most` without progress. Result: whether it is.
  bool flush(std::chrono::milliseconds at_most);

  /// The messages that have arrived. It makes only a few reads, so that other connections do not
  /// wait long. Errors: bad_argument for bytes that are not a message, or an errno; ECONNRESET
  /// also if the other side has closed. Messages that came before an error are returned before it.
  /// `now`: the time that heard() and begun() note.
  Result<std::vector<std::string>> receive(Clock::time_point now = Clock::now());

 private:
  void forget_sent();
  void read_some(Clock::time_point now);

  UniqueFd socket_;
  MessageReader reader_;
  std::string out_;
  std::size_t sent_ = 0;
  Clock::time_point heard_ = Clock::now();
  Clock::time_point moved_ = Clock::now();
  std::optional<Clock::time_point> begun_;
  std::optional<Error> broken_;
};

}  // namespace shmif::perf
