#pragma once
// Connection: messages to and from one other program over a stream socket, without ever waiting.

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"
#include "bus/unique_fd.hpp"
#include "perf/remote/frames.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

/// Owns its socket, which becomes non-blocking. Threads: one at a time. Blocks: flush() alone.
class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(UniqueFd socket, std::size_t most_bytes);

  int descriptor() const noexcept { return socket_.get(); }
  /// What poll() should wait for: POLLIN, and POLLOUT while something waits to be sent.
  short events() const noexcept;
  std::size_t waiting_bytes() const noexcept { return out_.size() - sent_; }
  /// When the last bytes came, or it was made; and when some of what waits went.
  Clock::time_point heard() const noexcept { return heard_; }
  Clock::time_point moved() const noexcept { return moved_; }
  /// The largest message from now on.
  void allow(std::size_t most_bytes) { reader_.allow(most_bytes); }

  /// Queues a message, and sends what goes at once.
  void send(const Message& message) { send_text(encode(message)); }
  void send_text(std::string_view json);
  /// Sends what waits and can go. An error shows at the next receive().
  void pump();
  /// Waits till all has gone, no longer than `at_most` without progress. Result: whether it has.
  bool flush(std::chrono::milliseconds at_most);

  /// The messages that have arrived, of no more than a few reads, so that nobody else waits long.
  /// Errors: bad_argument for bytes that are no message, else those of the system; ECONNRESET, too,
  /// when the other side has closed. What came before an error was returned before it.
  Result<std::vector<std::string>> receive();

 private:
  void forget_sent();
  void read_some();

  UniqueFd socket_;
  MessageReader reader_;
  std::string out_;
  std::size_t sent_ = 0;
  Clock::time_point heard_ = Clock::now();
  Clock::time_point moved_ = Clock::now();
  std::optional<Error> broken_;
};

}  // namespace shmif::perf
