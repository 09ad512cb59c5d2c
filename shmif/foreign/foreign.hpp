#pragma once
// What links to programs that share their memory have in common: the memory, the connection, its
// messages.

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/foreign_socket.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/sigbus_guard.hpp"

namespace shmif {

/// At most this much memory is mapped for all programs of one bridge together. Otherwise files
/// without pages could use up its address space. No machine has that much memory.
inline constexpr std::uint64_t kMaxForeignBytes = std::uint64_t{32} << 40U;

/// Errors: bad_argument, with both numbers, if a program asks for more than `most` bytes.
Result<void> check_foreign_bytes(std::uint64_t asked, std::uint64_t most);

/// Memory that another program shares by a descriptor: a mapped part of a file. Its contents are
/// not trusted. If the file is truncated below the mapping, zero pages replace it, and lost() is
/// true from then on (bus/file/sigbus_guard.hpp, which must be installed). Threads: safe. Blocks:
/// never.
class ForeignRegion {
 public:
  /// Maps `bytes` bytes of `file` from `offset` on; the descriptor may be closed afterwards.
  /// `name`: what messages call it ("memory region 0"). Forked children do not inherit the mapping.
  /// Errors: bad_argument if the file is not a memfd and not in tmpfs or hugetlbfs, if it ends
  /// before the region does, or if the region is empty; an errno, if it cannot be mapped.
  static Result<ForeignRegion> map(int file, std::uint64_t offset, std::uint64_t bytes,
                                   const std::string& name);
  ForeignRegion(ForeignRegion&& other) noexcept;
  ForeignRegion& operator=(ForeignRegion&& other) = delete;
  ForeignRegion(const ForeignRegion&) = delete;
  ForeignRegion& operator=(const ForeignRegion&) = delete;
  ~ForeignRegion();

  /// Result: nullptr if not all of these bytes lie in the region.
  std::byte* at(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    if (offset > bytes_ || bytes > bytes_ - offset) return nullptr;
    return base_ + before_ + offset;
  }
  bool lost() const noexcept { return guard_ != nullptr && guard_->lost(); }

 private:
  ForeignRegion(std::byte* base, std::size_t mapped, std::uint64_t before, std::uint64_t bytes);

  std::byte* base_;
  std::size_t mapped_;    ///< 0: moved from
  std::uint64_t before_;  ///< bytes of the mapping before the region
  std::uint64_t bytes_;
  std::unique_ptr<bus::GuardedRange> guard_;
};

/// A part of the shared memory that the other program has lent to us. A frame may take several.
struct Buffer {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};

/// Copies between private bytes and a list of buffers, from the first buffer on. Threads: one at a
/// time; the program that lent the buffers may write there at any time. Blocks: never.
class BufferCursor {
 public:
  explicit BufferCursor(std::span<const Buffer> buffers) noexcept : buffers_(buffers) {}
  /// Both stop at the end of the last buffer. Result: how many bytes were copied.
  std::size_t write(std::span<const std::byte> from) noexcept;
  std::size_t read(std::span<std::byte> into) noexcept;

 private:
  std::span<std::byte> piece(std::size_t bytes) noexcept;

  std::span<const Buffer> buffers_;
  std::size_t at_ = 0;  // in the first of them
};

/// What reading a message found. vhost-user and memif have messages of their own; how they are
/// sent, as bytes on a Unix socket with descriptors beside them, is the same. After `closed`,
/// `malformed` and `refused` the connection cannot be used any more.
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

/// Has `epoll` watch a descriptor to which the program writes when there are frames. It is watched
/// edge-triggered, so nobody needs to read it. Result: whether that is possible. Threads: any.
/// Blocks: never.
bool watch_wakeups(int epoll, int descriptor) noexcept;

/// The connection to such a program: its socket, the descriptor that the link waits on, and how the
/// connection ended. Threads: one at a time. Blocks: never, except as base::ForeignSocket says.
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

/// Frames that were dropped. A protocol without a reason for one of them leaves it at 0.
struct ForeignDrops {
  std::uint64_t too_long = 0;   ///< received; longer than max_frame_bytes
  std::uint64_t too_short = 0;  ///< received; shorter than an Ethernet header
  /// Received; the header requests a feature that was not negotiated, or contradicts itself.
  std::uint64_t bad_header = 0;
  std::uint64_t discarded = 0;  ///< received; the program had disabled the queue
  std::uint64_t not_ready = 0;  ///< sent before the program had said where its buffers are
  std::uint64_t no_room = 0;    ///< sent; longer than the buffers that one frame may have
};

}  // namespace shmif
