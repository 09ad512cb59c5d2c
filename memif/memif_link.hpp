#pragma once
// MemifLink: a packet processor (DPDK's net_memif, VPP, libmemif) as a Link. The program connects
// as a memif client and says where its memory is. From then on frames go straight between that
// memory and the link: one copy each way, and no system call while both sides are busy.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/foreign/foreign.hpp"
#include "shmif/link.hpp"

namespace shmif::memif {

struct MemifOptions {
  std::size_t max_frame_bytes = 1522;  ///< longer frames are refused, and dropped when received
  std::string address = {};            ///< for messages: "memif:/run/m.sock"
  /// A client that asks us to map more is disconnected. Files need not have pages, so without this
  /// limit one client could use up our address space.
  std::uint64_t max_memory_bytes = kMaxForeignBytes;
};

/// Frames that were dropped. `bad_header` and `discarded` stay 0.
using MemifDrops = ForeignDrops;

/// One connection to a client, with one ring for each direction. The link ends when the client
/// disconnects, closes the connection, or breaks the rules of memif. receive() reports the latter
/// once as Errc::corrupt, and why() says what it was; the client is told as well. send() refuses
/// unfinished checksums and super-frames, because memif cannot describe them. If the client has
/// given no buffers, send() takes no more frames for now (SendResult::taken). Install the SIGBUS
/// guard (bus/file/sigbus_guard.hpp) before you make a link. Then a client that truncates its
/// memory only ends the link. Threads: one at a time; drops() from any. Blocks: never, with two
/// exceptions (docs/security.md). A hostile client can make its interrupt descriptor blocking
/// again. And a call waits for a moment while a child process looks at descriptors.
class MemifLink {
 public:
  /// `connected`: a socket that keeps the boundaries of messages (SOCK_SEQPACKET). Errors: the
  /// system's, if no descriptor to wait on can be made.
  static Result<MemifLink> adopt(UniqueFd connected, MemifOptions options);
  MemifLink(MemifLink&&) noexcept;
  MemifLink& operator=(MemifLink&&) = delete;
  ~MemifLink();

  /// Errors: frame_too_short, frame_too_long, not_supported, link_ended.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();

  /// Whether the client had set up its interface, even if it has gone since.
  bool was_set_up() const noexcept;
  MemifDrops drops() const noexcept;
  /// How the client broke the rules; empty if it did not.
  std::string why() const;

 private:
  struct Impl;
  explicit MemifLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<MemifLink>);

}  // namespace shmif::memif
