#pragma once
// A connected Unix socket whose other side is not trusted, and the descriptors that arrive beside
// its messages (SCM_RIGHTS).
//
// A descriptor can lead to a file system that the other side runs itself (FUSE). Then fstat, mmap
// and even close may wait without end, and no signal ends the wait. So this process takes a
// descriptor only after a child process has looked at it: the child reads the message with
// MSG_PEEK, which gives it copies. If a descriptor is not wanted, this process never takes the
// message. It leaves the socket, with all that waits in it, to the child, and the child does the
// waiting.

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::base {

/// Which descriptors may come with a message.
struct DescriptorWish {
  unsigned kinds = 0;     ///< DescriptorKind, several by "|"
  std::size_t most = 0;   ///< in one message, kMaxDescriptors at most; 0: refuses all
  const char* name = "";  ///< for why(): "file in memory or eventfd"
  /// How long a file system may take to say what its file is. Asked only for kinds of files.
  std::chrono::milliseconds patience{10'000};
};
inline constexpr std::size_t kMaxDescriptors = 16;

/// At most this many children wait at a time for the file systems of one user. While they wait,
/// messages of this user that bring descriptors are refused. Other users are not affected.
inline constexpr int kMaxWaitingChildren = 8;

/// Threads: one at a time. Blocks: receive() for up to DescriptorWish::patience, close() for at
/// most 100 ms. Neither waits for a file system.
class ForeignSocket {
 public:
  enum class Status : std::uint8_t {
    data,
    none,     ///< no message has arrived
    closed,   ///< the other side has closed the connection, or it failed
    refused,  ///< why() says why; the connection cannot be used any more
  };
  struct Received {
    Status status = Status::none;
    std::size_t bytes = 0;
    bool was_cut = false;  ///< the message had more bytes (SOCK_SEQPACKET)
  };

  ForeignSocket() noexcept = default;
  explicit ForeignSocket(UniqueFd connected) noexcept;
  ForeignSocket(ForeignSocket&&) noexcept = default;
  ForeignSocket& operator=(ForeignSocket&& other) noexcept;
  ~ForeignSocket() { close(); }

  /// The descriptor, for sending and for waiting.
  int get() const noexcept { return socket_.get(); }

  /// Receives what has arrived, as recv() with MSG_DONTWAIT does. Descriptors are added to
  /// `descriptors`; each is of a wished kind, so that no call with it waits for another program. A
  /// Unix socket among them is a connected stream through which no data can arrive any more.
  Received receive(std::span<std::byte> into, const DescriptorWish& wish,
                   std::vector<UniqueFd>& descriptors);
  /// Why the last message was refused.
  const std::string& why() const noexcept { return why_; }

  /// Gives the descriptor to the caller, who then closes it.
  UniqueFd release() noexcept { return std::move(socket_); }

  /// Ends the connection. A child closes what was not received.
  void close() noexcept;

 private:
  Received refuse(std::string why);
  Received take(std::span<std::byte> into, const DescriptorWish& wish,
                std::vector<UniqueFd>& descriptors);
  bool look(std::span<std::byte> into, const DescriptorWish& wish);

  UniqueFd socket_;
  std::uint64_t process_ = 0;  ///< token of the process that has the connection
  uid_t user_ = 0;             ///< the user of the other side
  UniqueFd leash_;             ///< open: a child has the socket, too, until this is shut down
  std::size_t place_ = 0;      ///< the place of that child
  std::string why_;
};

}  // namespace shmif::base
