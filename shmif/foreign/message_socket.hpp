#pragma once
// The messages of programs that share their memory: bytes on a Unix socket, with descriptors beside
// them. vhost-user and memif have messages of their own; how they are sent is the same.

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "base/foreign_socket.hpp"

namespace shmif {

/// What reading a message found. After `closed`, `malformed` and `refused` the connection cannot be
/// used any more.
enum class MessageStatus : std::uint8_t {
  none,       ///< no whole message has arrived yet
  whole,      ///< there is one
  closed,     ///< the other side has closed the connection, or it failed
  malformed,  ///< not a message of the protocol
  refused,    ///< its descriptors are not allowed; see ForeignSocket::why()
};

/// The status of a message of which a socket has received a part; `whole` for any data. Threads:
/// any. Blocks: never.
constexpr MessageStatus status_of(base::ForeignSocket::Status received) noexcept {
  switch (received) {
    case base::ForeignSocket::Status::none: return MessageStatus::none;
    case base::ForeignSocket::Status::closed: return MessageStatus::closed;
    case base::ForeignSocket::Status::refused: return MessageStatus::refused;
    case base::ForeignSocket::Status::data: break;
  }
  return MessageStatus::whole;
}

/// Sends `parts` as one message, with at most base::kMaxDescriptors descriptors. Result: whether
/// the socket took all of it. Threads: any. Blocks: never; a full socket takes no byte, and the
/// result is false.
bool send_whole(int socket, std::span<iovec> parts, std::span<const int> descriptors) noexcept;

}  // namespace shmif
