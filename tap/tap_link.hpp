#pragma once
// TapLink: a Linux TAP device as a Link. It receives the frames that the host sends through the
// interface. Frames that are sent to it arrive at the host's interface.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"
#include "tap/device_counters.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {

/// How a TAP device is made or found, and how it is set up.
struct TapOptions {
  /// Attaches to an existing TAP device of that name, or creates one; empty: the next free "tapN".
  /// At most 15 characters.
  std::string name;
  std::optional<std::uint32_t> mtu;  ///< 68 to 65521
  std::optional<MacAddress> mac;     ///< empty: as the device has it, or as the kernel chooses
  std::vector<Cidr> addresses;       ///< added to those that the device has
  /// Default routes, at most one of each family; they need `up` and an address. It is no error if
  /// such a route through this device exists already.
  std::vector<IpAddress> gateways;
  bool up = true;        ///< set the interface up; false: leave it as it is
  bool persist = false;  ///< the device stays when this link is closed
  /// When the link is closed, or its process has died, a separate process restores a device that
  /// existed before: offloads, MTU, MAC address, addresses, gateways, up or down. A new device that
  /// stays because of `persist` gets the offloads of a new device.
  bool put_back = false;
  bool multi_queue = false;  ///< further links may be opened on the same device
  /// Let the host leave segmentation and checksums to us (FrameView::offload), and accept frames
  /// that leave this work to the host. For a link at the other end that carries such frames.
  bool offload = false;
  std::string tun_device = "/dev/net/tun";  ///< where the TUN device is
  /// The namespace of the device; nullptr: the calling thread's. Used only during open.
  const NetNamespace* where = nullptr;
};

/// Sets whether the host may leave work to the reader of a TAP device: segmentation of TCP and UDP,
/// and checksums. Errors: an errno.
Result<void> set_tap_offloads(int tun, const std::string& name, bool on);

/// Whether `path` is the TUN device and can be opened here. Use it to choose between a TAP device
/// and other means. Result: success, or the Error that TapLink::open would return.
Result<void> check_tun_device(const std::string& path = "/dev/net/tun");

/// One queue of a TAP device.
///
/// While the interface is down, frames to send are dropped and counted; the link goes on by itself
/// when the interface is up again. The link ends if the device is deleted. Tags of 802.1Q and
/// 802.1ad stay in the frames. If takes_offloads() is true, neighbouring datagrams of one flow are
/// written as one super-frame (tap/tap_writing.hpp); each datagram counts as a frame. The
/// checksums of other small datagrams are finished (bus/offload.hpp). Threads: one may send while
/// another receives and waits; counters() from any. Blocks: never; frames that find the device's
/// queue full are dropped and counted.
class TapLink {
 public:
  /// Creates the device or attaches to it, and configures it as `options` says. If a later step
  /// fails, a device that this call created disappears again. Errors: bad_argument (name, MAC
  /// address), bad_mtu; ENOENT, EACCES for /dev/net/tun; EPERM, EBUSY (attached by another
  /// process), EINVAL (an interface of that name is something else); each message says what to do.
  static Result<TapLink> open(const TapOptions& options);
  /// The same with `queues` links, 1 to 16, on one device. The kernel spreads flows over them.
  static Result<std::vector<TapLink>> open_queues(TapOptions options, unsigned queues);
  /// Takes over a descriptor of /dev/net/tun that is attached to a TAP device without packet
  /// information header (IFF_TAP | IFF_NO_PI). With IFF_VNET_HDR, frames may leave work to do, as
  /// with TapOptions::offload. Errors: bad_argument if it is something else. But if a filter was
  /// attached to the device, the kernel does not tell whether there is packet information.
  static Result<TapLink> adopt(UniqueFd tun);

  TapLink(TapLink&&) noexcept;             ///< the other may then only be assigned to or destroyed
  TapLink& operator=(TapLink&&) noexcept;  ///< closes the queue that it had
  ~TapLink();

  /// Errors: frame_too_short, frame_too_long, link_ended; not_supported if takes_offloads() is
  /// false and the frame has an unfinished checksum or is a super-frame.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;  ///< errors: link_ended
  int descriptor() noexcept;                         ///< the open /dev/net/tun
  WaitHint prepare_wait() noexcept;                  ///< as Link
  void finish_wait() noexcept;                       ///< as Link
  /// The longest frame of any bus, or the longest super-frame if takes_offloads() is true. A TAP
  /// device takes frames that are longer than its MTU, as the kernel's stack does.
  std::size_t max_frame_bytes() noexcept;
  std::string address();  ///< "tap:NAME"

  /// Whether the queue has a header for an Offload (IFF_VNET_HDR).
  bool takes_offloads() const noexcept;
  const std::string& name() const noexcept;  ///< of the interface, as it was when opened
  DeviceCounters counters() const noexcept;  ///< of this queue, since it was opened

 private:
  struct Impl;
  explicit TapLink(std::unique_ptr<Impl> impl);
  static Result<std::vector<TapLink>> open_all(const TapOptions& options, unsigned queues);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<TapLink>);

}  // namespace shmif::tap
