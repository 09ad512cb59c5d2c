#pragma once
// StreamLink: a stream socket, or two pipes, as a Link. Each frame is a record: its length in four
// bytes, big endian, and then its bytes. QEMU (-netdev stream), libkrun, passt and gvproxy use this
// format.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/link.hpp"

namespace shmif {

/// The longest record that QEMU sends or accepts: 68 KiB (64 KiB and 4 KiB more).
inline constexpr std::size_t kMaxStreamRecordBytes = 69632;

/// How a StreamLink uses its stream.
struct StreamOptions {
  std::size_t max_frame_bytes = 1522;  ///< longer frames are refused, and dropped when received
  /// A longer record ends the link as corrupt, because no peer sends one. At least max_frame_bytes.
  std::size_t max_record_bytes = kMaxStreamRecordBytes;
  std::string address;  ///< for messages: "stream:198.18.0.1:7000"
};

/// Records that were received and dropped.
struct StreamDrops {
  std::uint64_t too_long = 0;   ///< longer than max_frame_bytes
  std::uint64_t too_short = 0;  ///< shorter than an Ethernet header
};

/// Sends many records in one system call. If the socket takes only part of a record, the link sends
/// the rest first when it is next used, also by receive() or prepare_wait(). So a record is never
/// cut short. The link ends when the peer closes, or when a record is longer than max_record_bytes.
/// receive() reports the latter once as Errc::corrupt. Threads: one at a time; drops() from any.
/// Blocks: never; if the socket is full, it takes no more frames for now (SendResult::taken).
class StreamLink {
 public:
  /// Takes ownership of a connected stream socket.
  static StreamLink adopt(UniqueFd connected, StreamOptions options);
  /// The same for a stream with a descriptor for each way: pipes, or a socket and its duplicate.
  /// They become nonblocking (O_NONBLOCK), also for others who have them open. If the reader of
  /// `out` may go, the process must ignore SIGPIPE. Errors: an errno.
  static Result<StreamLink> adopt(UniqueFd in, UniqueFd out, StreamOptions options);
  StreamLink(StreamLink&&) noexcept;  ///< the other may then only be assigned to or destroyed
  StreamLink& operator=(StreamLink&&) noexcept;  ///< closes the stream that it had
  ~StreamLink();

  /// Errors: frame_too_short, frame_too_long, link_ended.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;  ///< errors: link_ended, corrupt
  int descriptor() noexcept;                         ///< the socket, or the one that it reads
  /// As AnyLink::room_descriptor().
  int room_descriptor() noexcept;
  WaitHint prepare_wait() noexcept;        ///< as Link; sends the rest of a record
  void finish_wait() noexcept;             ///< as Link
  std::size_t max_frame_bytes() noexcept;  ///< StreamOptions::max_frame_bytes
  std::string address();                   ///< StreamOptions::address

  StreamDrops drops() const noexcept;  ///< counted since the link was made

 private:
  struct Impl;
  explicit StreamLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<StreamLink>);

}  // namespace shmif
