#pragma once
// PacketLink: an existing network interface as a Link, through a packet socket. It receives the
// frames that arrive at the interface from its cable. Frames that are sent to it leave by the
// cable.

#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/link.hpp"
#include "tap/device_counters.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {

/// How a PacketLink uses its interface.
struct PacketOptions {
  /// Also receive frames addressed to other hosts, as every bridge must.
  bool promiscuous = true;
  /// The interface's MTU includes room for a VLAN tag.
  bool tag_in_mtu = false;
  /// The namespace of the interface; nullptr: the calling thread's. Used only during open.
  const NetNamespace* where = nullptr;
  /// Deliver unfinished checksums and super-frames as they are (FrameView::offload), for a link at
  /// the other end that carries such frames.
  bool offload = false;
};

/// One interface, used below its host's network stack (AF_PACKET).
///
/// Every received frame is whole: tags that the kernel took out (802.1Q, 802.1ad) are put back,
/// unfinished checksums are finished, and super-frames are split (bus/offload.hpp). With
/// PacketOptions::offload, unfinished checksums and super-frames stay as they are. If the kernel of
/// a bridge has put together an IP packet that is longer than the MTU, it is received as fragments
/// (bus/fragmenter.hpp). The link does not receive frames that the interface's own host sends, nor
/// frames that were sent through this link. While the interface is down, frames to send are dropped
/// and counted; the link goes on by itself when the interface is up again. The link ends if the
/// interface is deleted or moved to another namespace. Threads: one may send while another receives
/// and waits; counters() from any. Blocks: never. A full socket takes no more frames for now
/// (SendResult::taken); a full device drops them.
class PacketLink {
 public:
  /// Errors: bad_argument (name), ENODEV, EPERM, not_supported (not an Ethernet interface).
  static Result<PacketLink> open(const std::string& interface, const PacketOptions& options = {});
  /// Takes over a packet socket (SOCK_RAW) that is bound to an interface, and sets every option
  /// itself. Errors: bad_argument if the descriptor is something else; not_supported.
  static Result<PacketLink> adopt(UniqueFd socket, const PacketOptions& options = {});

  PacketLink(PacketLink&&) noexcept;  ///< the other may then only be assigned to or destroyed
  PacketLink& operator=(PacketLink&&) noexcept;  ///< closes the socket that it had
  ~PacketLink();

  /// Frames may be super-frames, or have unfinished checksums: the interface or its driver does
  /// that work. The checksums of small UDP datagrams are finished here (bus/offload.hpp). Errors:
  /// frame_too_short, frame_too_long, link_ended.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;  ///< errors: link_ended, or an errno
  int descriptor() noexcept;                         ///< the packet socket
  WaitHint prepare_wait() noexcept;  ///< as Link; wakes to look at an interface that is down
  void finish_wait() noexcept;       ///< as Link
  /// The interface's MTU plus the header and one tag (802.1Q or 802.1ad); follows a change of the
  /// MTU. If the socket was adopted, the kernel refuses a frame of that length with an 802.1ad tag
  /// as too long, unless the MTU has room for the tag.
  std::size_t max_frame_bytes() noexcept;
  std::string address();  ///< "packet:IFNAME"

  /// Always: the interface or its driver does that work, as send() says.
  bool takes_offloads() const noexcept { return true; }
  DeviceCounters counters() const noexcept;  ///< counted since the link was opened

 private:
  struct Impl;
  explicit PacketLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<PacketLink>);

}  // namespace shmif::tap
