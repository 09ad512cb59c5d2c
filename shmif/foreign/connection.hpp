#pragma once
// The connection to a program that shares its memory with a link: its socket, the descriptor that
// the link waits on, and how the connection ended.

#include <cstddef>
#include <string>

#include "base/foreign_socket.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif {

/// Has `epoll` watch a descriptor to which the program writes when there are frames. It is watched
/// edge-triggered, so nobody needs to read it. Result: whether that is possible. Threads: any.
/// Blocks: never.
bool watch_wakeups(int epoll, int descriptor) noexcept;

/// Threads: one at a time. Blocks: never, except as base::ForeignSocket says.
class ForeignConnection {
 public:
  /// `address`: for messages. `program`: what messages call the other side ("client"); it must
  /// live as long as the program does. Errors: an errno, if no descriptor to wait on can be
  /// made.
  static Result<ForeignConnection> adopt(UniqueFd connected, std::string address,
                                         const char* program);

  base::ForeignSocket& socket() noexcept { return socket_; }
  /// Watches the socket, and what watch_wakeups() added.
  int epoll() const noexcept { return epoll_.get(); }
  const std::string& address() const noexcept { return address_; }

  /// Whether the socket has something to read. Clears the events of wakeups.
  bool has_messages() noexcept;

  bool has_ended() const noexcept { return ended_; }
  /// How the program broke the rules; empty if it did not.
  const std::string& why() const noexcept { return why_; }
  /// The program has closed the connection, or taken its leave.
  void end() noexcept;
  /// Notes that the program broke the rules, for take_corrupt(). Must be called only once.
  void end_corrupt(std::string why) noexcept;
  /// Whether the link must still report that the program broke the rules. Only the first call after
  /// end_corrupt() returns true.
  bool take_corrupt() noexcept;
  /// For --debug: what the program did.
  void tell(const std::string& what) const noexcept;

 private:
  ForeignConnection(base::ForeignSocket socket, UniqueFd epoll, std::string address,
                    const char* program);

  base::ForeignSocket socket_;
  UniqueFd epoll_;
  std::string address_;
  const char* program_;
  bool ended_ = false;
  bool corrupt_ = false;
  std::string why_;
};

}  // namespace shmif
