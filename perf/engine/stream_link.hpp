#pragma once
// StreamLink: a stream socket as a Link. Each frame is a record: its length in four bytes, little
// endian, and its bytes.

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/link.hpp"

namespace shmif::perf {

struct StreamOptions {
  std::size_t max_frame_bytes = 1522;  ///< longer frames are refused; a longer record is corrupt
  std::string address;                 ///< for messages: "tcp:198.18.0.1:7000"
};

/// Sends many records in one system call. If the socket takes only part of a record, the link sends
/// the rest first when it is next used, also by receive() or prepare_wait(). So a record is never
/// cut short. The link ends when the peer closes, or when a record has a length that a frame cannot
/// have; receive() reports the latter once as Errc::corrupt. Threads: one at a time. Blocks: never;
/// if the socket is full, it takes no more frames for now (SendResult::taken).
class StreamLink {
 public:
  static StreamLink adopt(UniqueFd connected, StreamOptions options);
  StreamLink(StreamLink&&) noexcept;
  StreamLink& operator=(StreamLink&&) noexcept;
  ~StreamLink();

  /// Errors: frame_too_short, frame_too_long, link_ended.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();

 private:
  struct Impl;
  explicit StreamLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<StreamLink>);

}  // namespace shmif::perf
