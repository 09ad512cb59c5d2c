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
#include "shmif/socket_address.hpp"

namespace shmif::perf {

// Addresses of servers: "lab3", "lab3:7000", "198.18.0.1", "[fd00::1]:7000".

struct ServerAddress {
  std::string host;
  std::uint16_t port = 0;
};

/// Reads an address; the default port is kRemotePort. Errors: bad_argument, with the correct
/// format.
Result<ServerAddress> parse_server_address(std::string_view text);

/// All addresses of the name. Blocks: for the name server. Errors: bad_argument.
Result<std::vector<SocketAddress>> addresses_of(const ServerAddress& server);

/// A listening socket. Errors: an errno, with advice.
Result<UniqueFd> listen_at(const SocketAddress& address);
/// A socket that is connecting: poll() for POLLOUT, then call connected(). Errors: an errno.
Result<UniqueFd> begin_connecting(const SocketAddress& address);
Result<void> connected(int socket);

bool is_loopback(const SocketAddress& address) noexcept;

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
