#pragma once
// VhostLink: the network device of a virtual machine as a Link. The machine's front-end (QEMU,
// cloud-hypervisor, User Mode Linux, DPDK) connects over a Unix socket and says where the
// memory is. From then on frames go straight between that memory and the link: one copy each way,
// and no system call while both sides are busy.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/foreign/foreign.hpp"
#include "shmif/link.hpp"

namespace shmif::vhost {

struct VhostOptions {
  std::size_t max_frame_bytes = 1522;  ///< longer frames are refused, and dropped when received
  /// Let the driver leave checksums and segmentation to us, for a link at the other end that
  /// carries such frames (FrameView::offload).
  bool offload = false;
  std::string address = {};  ///< for messages: "vhost-user:/run/v.sock"
  /// A front-end that asks us to map more is disconnected. Files need not have pages, so without
  /// this limit one front-end could use up our address space.
  std::uint64_t max_memory_bytes = kMaxForeignBytes;
  /// A front-end that has sent no valid message by then is disconnected. Real front-ends send one
  /// at once.
  std::chrono::milliseconds first_message{5000};
};

/// Frames that were dropped. `not_ready`: sent while the machine had no driver for the device.
using VhostDrops = ForeignDrops;

/// One connection to a front-end, with one pair of queues. The link ends when the front-end closes
/// the connection, or breaks the rules of vhost-user or virtio. receive() reports the latter once
/// as Errc::corrupt, and why() says what it was. If the driver does not take super-frames or
/// unfinished checksums, send() splits or finishes them. If the driver has lent no buffers, send()
/// takes no more frames for now (SendResult::taken). Install the SIGBUS guard
/// (bus/file/sigbus_guard.hpp) before you make a link. Then a front-end that truncates its memory
/// only ends the link. Threads: one at a time; drops() from any. Blocks: never, with two exceptions
/// (docs/security.md). A hostile front-end can make its interrupt descriptor blocking again. And a
/// call waits for a moment while a child process looks at descriptors.
class VhostLink {
 public:
  /// Errors: an errno, if no descriptor to wait on can be made.
  static Result<VhostLink> adopt(UniqueFd connected, VhostOptions options);
  VhostLink(VhostLink&&) noexcept;
  VhostLink& operator=(VhostLink&&) = delete;
  ~VhostLink();

  /// Errors: frame_too_short, frame_too_long, link_ended; not_supported if takes_offloads() is
  /// false and the frame has an unfinished checksum or is a super-frame.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  /// Super-frames may be longer if takes_offloads() is true.
  std::size_t max_frame_bytes() noexcept;
  std::string address();

  bool takes_offloads() const noexcept;  ///< VhostOptions::offload
  /// Whether the front-end has shared its memory. If it leaves before that, the link did not offer
  /// what it wants.
  bool was_set_up() const noexcept;
  VhostDrops drops() const noexcept;
  /// How the front-end or the driver broke the rules; empty if it did not.
  std::string why() const;

 private:
  struct Impl;
  explicit VhostLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<VhostLink>);

}  // namespace shmif::vhost
