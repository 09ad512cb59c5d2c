#pragma once
// StreamLink: a stream socket as a Link. Each frame is a record: its length in four bytes, little
// endian, and its bytes.

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "bus/result.hpp"
#include "bus/unique_fd.hpp"
#include "shmif/link.hpp"

namespace shmif::perf {

struct StreamOptions {
  std::size_t max_frame_bytes = 1522;  ///< longer ones are refused; a longer record is corrupt
  std::string address;                 ///< for messages: "tcp:198.18.0.1:7000"
};

/// Sends many records in one system call. Where the socket takes a part of a record, the rest goes
/// first the next time this link is used, which receive and prepare_wait are, too; so no record
/// is ever cut short. A peer that closes ends the link, and so does a record with a length that no
/// frame has, which receive() tells once as Errc::corrupt. Threads: one at a time. Blocks: never; a
/// full socket takes no more frames for now (SendResult::taken).
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
