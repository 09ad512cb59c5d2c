#include "tap/packet_link.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/result.hpp"
#include "base/shared_memory.hpp"
#include "base/unique_fd.hpp"
#include "bus/fragmenter.hpp"
#include "bus/frame.hpp"
#include "bus/network_bytes.hpp"
#include "bus/offload.hpp"
#include "shmif/debug/debug.hpp"
#include "tap/netlink.hpp"

namespace shmif::tap {
namespace {

// PacketRing sends frames that send(2) on a packet socket refuses as too long although the
// interface carries them: frames of MTU size with an 802.1ad tag.
//
// A packet socket compares the length of a frame with the MTU, the header and, only for 802.1Q, a
// tag. It does not do so for the frames of a transmit ring with PACKET_VNET_HDR (Linux:
// net/packet/af_packet.c). A socket that has a ring can send only through the ring, so this class
// has its own socket. The ring costs one more copy, so only those frames go through it.
//
//   Q1  Only the slots from `head_` on that the kernel has given back (TP_STATUS_AVAILABLE) are
//       filled, in order. The kernel looks at them only within send().
//   Q2  After send(), a slot that the kernel did not take is taken back, so the kernel's next slot
//       is always `head_`.

/// Threads: one at a time. Blocks: never.
class PacketRing {
 public:
  PacketRing() = default;  ///< sends no frames
  /// A socket for the interface with this index in the calling thread's namespace, with
  /// PACKET_VNET_HDR, which send() needs. The ring is made when it is first needed. Errors: the
  /// system's.
  static Result<UniqueFd> open_socket(int index);
  explicit PacketRing(UniqueFd socket) noexcept : socket_(std::move(socket)) {}

  explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
  /// As sendmmsg(2) without blocking. Each message has the parts of one frame, a virtio_net_hdr
  /// (struct Offload) first. `longest`: no frame is longer. Result: how many were sent; -1 if no
  /// message was sent, and errno says why. EAGAIN: the ring is full, or there is no memory for it
  /// now.
  int send(std::span<const mmsghdr> messages, std::size_t longest) noexcept;

 private:
  bool provide(std::size_t longest) noexcept;
  std::byte* slot(std::size_t number) const noexcept;

  UniqueFd socket_;
  base::RingMemory memory_;
  std::size_t slot_bytes_ = 0;  // 0: there is no ring yet
  std::size_t slots_ = 0;
  std::size_t head_ = 0;
};

constexpr std::size_t kMaxRingSlots = 32;
constexpr std::size_t kMinRingSlots = 8;
constexpr std::size_t kRingBytes = 1 << 20;  // more if the least number of slots needs it
constexpr std::size_t kSlotHeader = TPACKET_ALIGN(sizeof(tpacket2_hdr));

std::atomic_ref<std::uint32_t> status_of(std::byte* slot) {
  return std::atomic_ref<std::uint32_t>(reinterpret_cast<tpacket2_hdr*>(slot)->tp_status);
}

/// Writes the parts of a message one after another. Result: how many bytes.
std::size_t gather(const msghdr& message, std::byte* into) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
    const iovec& part = message.msg_iov[i];
    std::memcpy(into + at, part.iov_base, part.iov_len);
    at += part.iov_len;
  }
  return at;
}

std::size_t bytes_of(const msghdr& message) {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) sum += message.msg_iov[i].iov_len;
  return sum;
}

Result<UniqueFd> PacketRing::open_socket(int index) {
  const char* const what = "cannot open a packet socket to send long frames";
  // Protocol 0: the socket receives no frames.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = index;
  const int version = TPACKET_V2;
  const int on = 1;
  if (!socket ||
      ::setsockopt(socket.get(), SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0 ||
      ::setsockopt(socket.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    return Error::from_errno(errno, what);
  }
  return socket;
}

std::byte* PacketRing::slot(std::size_t number) const noexcept {
  return &memory_.at<std::byte>(number % slots_ * slot_bytes_);
}

/// Makes the ring, or a new ring if frames have become longer. Result: whether there is a ring.
bool PacketRing::provide(std::size_t longest) noexcept {
  const std::size_t needed = std::bit_ceil(kSlotHeader + sizeof(Offload) + longest);
  if (slot_bytes_ >= needed) return true;
  tpacket_req none{};
  if (slot_bytes_ != 0) {
    memory_ = base::RingMemory();
    slot_bytes_ = 0;
    // EBUSY: frames are still under way.
    if (::setsockopt(socket_.get(), SOL_PACKET, PACKET_TX_RING, &none, sizeof none) != 0)
      return false;
  }
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t block = std::max(page, needed);
  std::size_t slots = std::clamp(kRingBytes / needed, kMinRingSlots, kMaxRingSlots);
  slots = std::max(slots, block / needed);
  tpacket_req ring{};
  ring.tp_block_size = static_cast<unsigned>(block);
  ring.tp_block_nr = static_cast<unsigned>(slots * needed / block);
  ring.tp_frame_size = static_cast<unsigned>(needed);
  ring.tp_frame_nr = static_cast<unsigned>(slots);
  // An earlier call may have failed to map a ring or to remove it. Remove such a ring first.
  if (::setsockopt(socket_.get(), SOL_PACKET, PACKET_TX_RING, &none, sizeof none) != 0 ||
      ::setsockopt(socket_.get(), SOL_PACKET, PACKET_TX_RING, &ring, sizeof ring) != 0) {
    return false;
  }
  memory_ = base::RingMemory(socket_.get(), slots * needed, 0);
  if (!memory_) return false;
  slot_bytes_ = needed;
  slots_ = slots;
  head_ = 0;
  return true;
}

int PacketRing::send(std::span<const mmsghdr> messages, std::size_t longest) noexcept {
  if (!provide(longest)) {
    errno = errno == EBUSY ? EAGAIN : ENOBUFS;
    return -1;
  }
  std::size_t filled = 0;
  for (; filled < std::min(messages.size(), slots_); ++filled) {  // Q1
    std::byte* const at = slot(head_ + filled);
    const msghdr& message = messages[filled].msg_hdr;
    if (status_of(at).load(std::memory_order_acquire) != TP_STATUS_AVAILABLE) break;
    if (bytes_of(message) > slot_bytes_ - kSlotHeader) break;
    reinterpret_cast<tpacket2_hdr*>(at)->tp_len =
        static_cast<unsigned>(gather(message, at + kSlotHeader));
    status_of(at).store(TP_STATUS_SEND_REQUEST, std::memory_order_release);
  }
  if (filled == 0) {
    errno = EAGAIN;
    return -1;
  }
  const bool failed = ::send(socket_.get(), nullptr, 0, MSG_DONTWAIT) < 0;
  const int why = failed ? errno : EAGAIN;
  const auto is_ours = [this](std::size_t i) {
    const std::uint32_t status = status_of(slot(head_ + i)).load(std::memory_order_acquire);
    return (status & (TP_STATUS_SEND_REQUEST | TP_STATUS_WRONG_FORMAT)) != 0;
  };
  std::size_t sent = 0;
  while (sent < filled && !is_ours(sent)) ++sent;
  for (std::size_t i = sent; i < filled; ++i) {  // Q2
    status_of(slot(head_ + i)).store(TP_STATUS_AVAILABLE, std::memory_order_release);
  }
  head_ = (head_ + sent) % slots_;
  if (sent > 0) return static_cast<int>(sent);
  errno = why;
  return -1;
}

constexpr std::size_t kAddressBytes = 12;  // both MACs: a tag follows them
constexpr std::size_t kSlots = 32;         // frames per recvmmsg and per sendmmsg
/// A super-frame: an IP packet of 64 KiB, the header, a tag in it and room for one before it.
constexpr std::size_t kSlotBytes = 65536 + 64;
constexpr int kSocketBufferBytes = 8 << 20;
constexpr int kMaxRefills = 8;  // per receive(), so that dropped frames cannot keep it busy

constexpr std::chrono::milliseconds kLookWhileDown{50};

/// Only a longer frame is a reason to ask for the MTU again: the usual MTU, and two tags.
constexpr std::size_t kUsualFrameBytes = 1500 + kEthernetHeaderBytes + 2 * kVlanTagBytes;

Result<void> set_option(int fd, int level, int option, int value, const char* what) {
  if (::setsockopt(fd, level, option, &value, sizeof value) == 0) return {};
  return Error::from_errno(errno, std::string("cannot set ") + what + " on a packet socket");
}

Result<void> ignore_outgoing(int fd) {
  return set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING");
}

/// Asks for larger buffers than the default, which holds a tenth of a second at 20 Mbit/s. Without
/// privileges, the system's limit applies.
void enlarge(int fd, int forced, int plain) {
  if (::setsockopt(fd, SOL_SOCKET, forced, &kSocketBufferBytes, sizeof kSocketBufferBytes) != 0) {
    (void)::setsockopt(fd, SOL_SOCKET, plain, &kSocketBufferBytes, sizeof kSocketBufferBytes);
  }
}

Result<void> configure(int fd, int index, bool promiscuous) {
  if (auto r = set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"); !r) return r;
  if (auto r = set_option(fd, SOL_PACKET, PACKET_AUXDATA, 1, "PACKET_AUXDATA"); !r) return r;
  if (auto r = ignore_outgoing(fd); !r) return r;
  if (auto r = set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1, "SO_RXQ_OVFL"); !r) return r;
  enlarge(fd, SO_RCVBUFFORCE, SO_RCVBUF);
  enlarge(fd, SO_SNDBUFFORCE, SO_SNDBUF);
  if (!promiscuous) return {};
  packet_mreq membership{};
  membership.mr_ifindex = index;
  membership.mr_type = PACKET_MR_PROMISC;
  if (::setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) != 0) {
    return Error::from_errno(errno, "cannot set promiscuous mode on a packet socket");
  }
  return {};
}

/// Two sockets in the calling thread's namespace: a packet socket bound to the interface, and that
/// of a PacketRing.
Result<std::vector<UniqueFd>> open_socket(const std::string& interface) {
  const std::string what = "cannot open a packet socket on interface \"" + interface + "\"";
  // Protocol 0: the socket receives no frames before bind names the interface.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket) {
    const char* hint =
        errno == EPERM || errno == EACCES
            ? "needs CAP_NET_RAW in this network namespace; become root, or own the namespace"
            : "";
    return Error::from_errno(errno, what, hint);
  }
  // Before bind, so that no frame of the host slips in.
  if (auto r = ignore_outgoing(socket.get()); !r) return std::move(r).error();
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) return Error::from_errno(errno, what, "'ip link' lists the interfaces");
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETH_P_ALL);
  to.sll_ifindex = static_cast<int>(index);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    return Error::from_errno(errno, what);
  }
  auto ring = PacketRing::open_socket(to.sll_ifindex);
  if (!ring) return std::move(ring).error();
  std::vector<UniqueFd> out;
  out.push_back(std::move(socket));
  out.push_back(*std::move(ring));
  return out;
}

}  // namespace

struct PacketLink::Impl {
  explicit Impl(std::uint32_t seed) : fragments(seed) {}

  UniqueFd socket;
  std::string name;
  int index = 0;
  bool offload = false;
  bool tag_in_mtu = false;
  std::atomic<bool> ended{false};
  std::atomic<std::size_t> max_frame{0};
  std::atomic<std::size_t> mtu{0};  // the longest IP packet
  DeviceCounts counts;

  // Receiving: what one recvmmsg brought; slots before `next` are done.
  struct alignas(cmsghdr) Control {
    std::array<char, CMSG_SPACE(sizeof(tpacket_auxdata)) + CMSG_SPACE(sizeof(std::uint32_t))> bytes;
  };
  std::unique_ptr<std::byte[]> slots =
      std::make_unique_for_overwrite<std::byte[]>(kSlots * kSlotBytes);
  std::array<Offload, kSlots> vnet{};
  std::array<std::array<iovec, 2>, kSlots> parts{};
  std::array<Control, kSlots> controls{};
  std::array<mmsghdr, kSlots> messages{};
  std::size_t filled = 0;
  std::size_t next = 0;
  std::span<const std::byte> current;  // the frame of slot `next`, set by look_at_next()
  Offload current_offload;             // its unfinished work
  enum class Cut : std::uint8_t { no, segments, fragments };
  Cut cut = Cut::no;            // how `current` is delivered
  bus::Segmenter segments;      // of a super-frame
  bus::Fragmenter fragments;    // of a packet that is longer than the MTU
  bool asked_for_mtu = false;   // since the last recvmmsg
  std::uint32_t overflows = 0;  // SO_RXQ_OVFL: frames missed since the socket was made
  bool down = false;            // then no deletion is reported: see look_at_interface()

  // Sending.
  PacketRing ring;  // for frames that the socket refuses; unused if the socket was adopted
  std::array<std::array<iovec, 4>, kSlots> out_parts{};
  std::array<bus::FinishedDatagram, kSlots> out_finished{};
  std::array<mmsghdr, kSlots> out_messages{};

  bool is_gone() const noexcept;
  bool refresh_mtu() noexcept;
  bool refill(ReceiveResult& result) noexcept;
  void look_at_next(ReceiveResult& result) noexcept;
  bool make_whole(std::span<std::byte> frame, Offload left) noexcept;
  bool cut_into_fragments(std::span<const std::byte> frame) noexcept;
  std::size_t next_bytes() const noexcept;
  void write_next(std::span<std::byte> into) noexcept;
  bool has_more() const noexcept;
  std::span<std::byte> put_tag_back(std::span<std::byte> frame,
                                    const tpacket_auxdata& aux) noexcept;
  bool deliver(FrameBatch& into, ReceiveResult& result) noexcept;
  bool interface_trouble() noexcept;
  void look_at_interface() noexcept;
  bool needs_ring(const FrameView& frame) const noexcept;
  std::size_t prepare(std::span<const FrameView> frames, SendResult& result) noexcept;
  int send_prepared(std::size_t ready, bool by_ring) noexcept;
};

PacketLink::PacketLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PacketLink::PacketLink(PacketLink&&) noexcept = default;
PacketLink& PacketLink::operator=(PacketLink&&) noexcept = default;
PacketLink::~PacketLink() = default;

Result<PacketLink> PacketLink::open(const std::string& interface, const PacketOptions& options) {
  if (!is_interface_name(interface)) {
    return Error(Errc::bad_argument,
                 "\"" + interface + "\" is not the name of an interface; 'ip link' lists them");
  }
  const auto make = [&] { return open_socket(interface); };
  const bool here = options.where == nullptr || options.where->is_current();
  auto sockets = here ? make() : run_in(*options.where, make);
  if (!sockets) return std::move(sockets).error();
  auto link = adopt(std::move(sockets->at(0)), options);
  if (link) link->impl_->ring = PacketRing(std::move(sockets->at(1)));
  return link;
}

Result<PacketLink> PacketLink::adopt(UniqueFd socket, const PacketOptions& options) {
  sockaddr_ll bound{};
  socklen_t length = sizeof bound;
  int type = 0;
  socklen_t type_length = sizeof type;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0 ||
      bound.sll_family != AF_PACKET || bound.sll_ifindex <= 0 ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &type_length) != 0 ||
      type != SOCK_RAW) {
    return Error(Errc::bad_argument,
                 "the descriptor given is not a raw packet socket bound to an interface");
  }
  ifreq request{};
  request.ifr_ifindex = bound.sll_ifindex;
  if (::ioctl(socket.get(), SIOCGIFNAME, &request) != 0) {
    return Error::from_errno(errno, "the interface of the packet socket is gone");
  }
  auto impl = std::make_unique<Impl>(static_cast<std::uint32_t>(MacAddress::random().to_u64()));
  impl->name = request.ifr_name;
  impl->offload = options.offload;
  impl->tag_in_mtu = options.tag_in_mtu;
  impl->index = bound.sll_ifindex;
  if (bound.sll_hatype != ARPHRD_ETHER) {
    return Error(Errc::not_supported,
                 "interface \"" + impl->name +
                     "\" is not an Ethernet interface; only Ethernet interfaces can be on a bus");
  }
  if (auto r = configure(socket.get(), impl->index, options.promiscuous); !r)
    return std::move(r).error();
  const int status = ::fcntl(socket.get(), F_GETFL);
  if (status < 0 || ::fcntl(socket.get(), F_SETFL, status | O_NONBLOCK) != 0) {
    return Error::from_errno(errno, "cannot make a packet socket non-blocking");
  }
  impl->socket = std::move(socket);
  (void)impl->refresh_mtu();
  debug(Debug::link, [&] {
    return "packet:" + impl->name + ": opened; MTU " + std::to_string(impl->mtu) + ", " +
           (options.promiscuous ? "" : "not ") + "promiscuous, offloads are " +
           (options.offload ? "passed on" : "finished here");
  });
  return PacketLink(std::move(impl));
}

/// Whether the interface no longer exists in the socket's namespace, or did not exist for a while.
/// In the latter case the kernel has unbound the socket for good, even if the interface is back.
bool PacketLink::Impl::is_gone() const noexcept {
  sockaddr_ll bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) == 0 &&
      bound.sll_ifindex != index)
    return true;
  ifreq request{};
  request.ifr_ifindex = index;
  return ::ioctl(socket.get(), SIOCGIFNAME, &request) != 0 && errno == ENODEV;
}

/// Asks for the MTU. Result: whether it has changed.
bool PacketLink::Impl::refresh_mtu() noexcept {
  ifreq request{};
  request.ifr_ifindex = index;  // by its index: somebody may have renamed it
  if (::ioctl(socket.get(), SIOCGIFNAME, &request) != 0) return false;
  if (::ioctl(socket.get(), SIOCGIFMTU, &request) != 0) return false;
  const std::size_t room_for_tag = tag_in_mtu ? kVlanTagBytes : 0;
  const std::size_t now = static_cast<std::size_t>(request.ifr_mtu) - room_for_tag;
  if (const std::size_t before = mtu.exchange(now); before != now && before != 0) {
    debug(Debug::link, [&] {
      return "packet:" + name + ": MTU " + std::to_string(now) + ", was " + std::to_string(before);
    });
  }
  const std::size_t bytes = now + kEthernetHeaderBytes + kVlanTagBytes;
  return max_frame.exchange(std::min(bytes, kMaxFrameBytes)) != std::min(bytes, kMaxFrameBytes);
}

/// Call it when the interface went down or away. Result: true if it is gone, which ends the link.
bool PacketLink::Impl::interface_trouble() noexcept {
  if (is_gone() && !ended.exchange(true))
    debug(Debug::link, [this] { return "packet:" + name + ": ended: the interface is gone"; });
  return ended;
}

/// The kernel reports the deletion of an interface to a socket only if the interface was up (Linux:
/// packet_notifier()). So if the interface is down, this looks at it.
void PacketLink::Impl::look_at_interface() noexcept {
  if (interface_trouble()) return;
  ifreq request{};
  request.ifr_ifindex = index;
  down = ::ioctl(socket.get(), SIOCGIFNAME, &request) != 0 ||
         ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0 || (request.ifr_flags & IFF_UP) == 0;
}

/// Fetches the next frames from the kernel. Result: false if there are none now.
bool PacketLink::Impl::refill(ReceiveResult& result) noexcept {
  for (std::size_t i = 0; i < kSlots; ++i) {
    // The first bytes of a slot stay free for a tag.
    parts[i] = {{{&vnet[i], sizeof vnet[i]},
                 {slots.get() + i * kSlotBytes + kVlanTagBytes, kSlotBytes - kVlanTagBytes}}};
    msghdr& m = messages[i].msg_hdr;
    m = {};
    m.msg_iov = parts[i].data();
    m.msg_iovlen = parts[i].size();
    m.msg_control = controls[i].bytes.data();
    m.msg_controllen = controls[i].bytes.size();
  }
  filled = 0;
  next = 0;
  asked_for_mtu = false;
  const int n = ::recvmmsg(socket.get(), messages.data(), kSlots, MSG_DONTWAIT, nullptr);
  if (n > 0) {
    filled = static_cast<std::size_t>(n);
    return true;
  }
  switch (errno) {
    case EINTR: return true;
    case EINVAL:  // virtio_net_hdr cannot describe the offload of a frame; the kernel dropped it
      counts.corrupt_received.add();
      return true;
    case ENETDOWN:  // reported once each time it goes down
    case ENXIO: down = true; return !interface_trouble();
    case EAGAIN: return false;
    default: result.error = std::error_code(errno, std::generic_category()); return false;
  }
}

/// Moves both addresses forward, and puts the tag after them. The slot has room in front.
std::span<std::byte> PacketLink::Impl::put_tag_back(std::span<std::byte> frame,
                                                    const tpacket_auxdata& aux) noexcept {
  std::byte* const begin = frame.data() - kVlanTagBytes;
  std::memmove(begin, frame.data(), kAddressBytes);
  const bool typed = (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
  const unsigned type = typed ? aux.tp_vlan_tpid : ETH_P_8021Q;
  const unsigned tci = aux.tp_vlan_tci;
  begin[kAddressBytes] = static_cast<std::byte>(type >> 8U);
  begin[kAddressBytes + 1] = static_cast<std::byte>(type);
  begin[kAddressBytes + 2] = static_cast<std::byte>(tci >> 8U);
  begin[kAddressBytes + 3] = static_cast<std::byte>(tci);
  return {begin, frame.size() + kVlanTagBytes};
}

/// Finishes the work that is left for a frame, or prepares to do it piece by piece. Result: false
/// if the frame is not valid.
bool PacketLink::Impl::make_whole(std::span<std::byte> frame, Offload left) noexcept {
  if (left.is_super_frame()) {
    if (offload) {
      current_offload = left;
      return true;
    }
    cut = Cut::segments;
    return segments.begin(frame, left);
  }
  const bool too_long = cut_into_fragments(frame);
  if (left.needs_checksum()) {
    if (!offload || too_long) return bus::finish_checksum(frame, left);
    current_offload = left;
  }
  return true;
}

/// If a packet is longer than the MTU, the kernel has put it together from fragments. Then this
/// prepares to deliver it as fragments. Result: false if it is not longer, or cannot be cut.
bool PacketLink::Impl::cut_into_fragments(std::span<const std::byte> frame) noexcept {
  // We get no notice when the MTU changes.
  if (frame.size() > std::min(kUsualFrameBytes, mtu + kEthernetHeaderBytes + 2 * kVlanTagBytes) &&
      !std::exchange(asked_for_mtu, true)) {
    (void)refresh_mtu();
  }
  if (frame.size() <= mtu + kEthernetHeaderBytes || !fragments.begin(frame, mtu)) return false;
  cut = Cut::fragments;
  return true;
}

/// The size of the next piece that `current` delivers.
std::size_t PacketLink::Impl::next_bytes() const noexcept {
  switch (cut) {
    case Cut::segments: return segments.next_bytes();
    case Cut::fragments: return fragments.next_bytes();
    case Cut::no: break;
  }
  return current.size();
}

/// Writes that piece into `into`, which has room for all of it.
void PacketLink::Impl::write_next(std::span<std::byte> into) noexcept {
  switch (cut) {
    case Cut::segments: (void)segments.next(into); break;
    case Cut::fragments: (void)fragments.next(into); break;
    case Cut::no: std::memcpy(into.data(), current.data(), current.size()); break;
  }
}

/// Whether `current` has more pieces after those that were written.
bool PacketLink::Impl::has_more() const noexcept {
  return (cut == Cut::segments && !segments.done()) || (cut == Cut::fragments && !fragments.done());
}

/// Makes the frame of slot `next` whole and leaves it in `current`; empty if the frame is not
/// valid.
void PacketLink::Impl::look_at_next(ReceiveResult& result) noexcept {
  msghdr& m = messages[next].msg_hdr;
  Offload header = vnet[next];
  const std::size_t got = messages[next].msg_len;
  current = {};
  current_offload = {};
  cut = Cut::no;
  tpacket_auxdata aux{};
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
      std::memcpy(&aux, CMSG_DATA(c), sizeof aux);
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
      std::uint32_t total = 0;
      std::memcpy(&total, CMSG_DATA(c), sizeof total);
      const std::uint32_t more = total - overflows;  // wraps as the kernel's does
      overflows = total;
      counts.missed.add(more);
      result.lost += more;
    }
  }
  bool whole = (m.msg_flags & MSG_TRUNC) == 0 && got >= sizeof header + kEthernetHeaderBytes;
  if (whole) {
    std::span<std::byte> frame(slots.get() + next * kSlotBytes + kVlanTagBytes,
                               got - sizeof header);
    if ((aux.tp_status & TP_STATUS_VLAN_VALID) != 0) {
      frame = put_tag_back(frame, aux);
      header.csum_start = static_cast<std::uint16_t>(header.csum_start + kVlanTagBytes);
    }
    whole = make_whole(frame, header);
    current = frame;
  }
  if (whole) return;
  current = {};
  counts.corrupt_received.add();
}

/// Moves `current`, or the next piece of it, into the batch. Result: false if it does not fit.
bool PacketLink::Impl::deliver(FrameBatch& into, ReceiveResult& result) noexcept {
  const std::size_t size = next_bytes();
  if (!into.has_room_for(size)) return false;
  const std::span<std::byte> room = into.room();
  FrameView frame(room.data(), std::min(size, room.size()));
  if (room.size() < size) frame.true_bytes = static_cast<std::uint32_t>(size);
  frame.offload = current_offload;
  if (room.size() >= size) {
    write_next(room);
  } else if (cut == Cut::no) {
    std::memcpy(room.data(), current.data(), frame.size());
  } else {
    std::array<std::byte, kSlotBytes> whole;  // NOLINT: filled by write_next()
    write_next(whole);
    std::memcpy(room.data(), whole.data(), frame.size());
  }
  into.push(frame);
  ++result.frames;
  counts.received_frames.add();
  counts.received_bytes.add(size);
  if (!has_more()) {
    current = {};
    ++next;
  }
  return true;
}

ReceiveResult PacketLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  ReceiveResult result;
  int refills = 0;
  while (!into.full()) {
    if (self.next == self.filled) {
      if (self.ended || refills++ == kMaxRefills || !self.refill(result)) break;
      continue;
    }
    if (self.current.empty()) self.look_at_next(result);
    if (self.current.empty()) {
      ++self.next;
    } else if (!self.deliver(into, result)) {
      break;
    }
  }
  if (self.ended && self.next == self.filled && result.frames == 0) result.error = Errc::link_ended;
  return result;
}

/// Whether the socket refuses the frame although the interface carries it. It does if the frame has
/// the longest packet, and a tag for which the kernel adds no room (Linux: net/packet/af_packet.c).
bool PacketLink::Impl::needs_ring(const FrameView& frame) const noexcept {
  return frame.size() > mtu + kEthernetHeaderBytes && !tag_in_mtu &&
         !frame.offload.is_super_frame() &&
         bus::get16(frame.bytes, kAddressBytes) == ETH_P_8021AD && ring;
}

/// Hands the messages to the kernel. Result: as sendmmsg().
int PacketLink::Impl::send_prepared(std::size_t ready, bool by_ring) noexcept {
  if (by_ring) return ring.send(std::span(out_messages).first(ready), max_frame);
  return ::sendmmsg(socket.get(), out_messages.data(), static_cast<unsigned>(ready), MSG_DONTWAIT);
}

/// Prepares messages for frames at the front that may be sent, and that take the same way. Result:
/// how many; if 0, `result` says why.
std::size_t PacketLink::Impl::prepare(std::span<const FrameView> frames,
                                      SendResult& result) noexcept {
  std::size_t ready = 0;
  for (; ready < std::min(frames.size(), kSlots); ++ready) {
    const FrameView& frame = frames[ready];
    if (frame.size() < kEthernetHeaderBytes) {
      result.error = Errc::frame_too_short;
      break;
    }
    const bool super = frame.offload.is_super_frame() && frame.size() <= kMaxSuperFrameBytes;
    if (!super && frame.size() > max_frame && (!refresh_mtu() || frame.size() > max_frame)) {
      result.error = Errc::frame_too_long;
      break;
    }
    if (ready > 0 && needs_ring(frame) != needs_ring(frames[0])) break;
    msghdr& m = out_messages[ready].msg_hdr;
    m = {};
    m.msg_iov = out_parts[ready].data();
    // sendmmsg only reads, but iovec has no const.
    const auto add = [&](std::span<const std::byte> bytes) {
      out_parts[ready][m.msg_iovlen++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    };
    if (bus::is_unfinished_datagram(frame)) {
      static constexpr Offload kNothing{};
      bus::FinishedDatagram& finished = out_finished[ready];
      finished = bus::finish_datagram(frame);
      add(std::as_bytes(std::span(&kNothing, 1)));
      add(finished.before);
      add(finished.checksum_bytes());
      add(finished.after);
    } else {
      add(std::as_bytes(std::span(&frame.offload, 1)));
      add(frame.bytes);
    }
  }
  return ready;
}

SendResult PacketLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  SendResult result;
  while (result.taken < frames.size()) {
    if (self.ended) return {result.taken, Errc::link_ended};
    const auto rest = frames.subspan(result.taken);
    SendResult stop;
    const std::size_t ready = self.prepare(rest, stop);
    if (ready == 0) return {result.taken, stop.error};
    const int n = self.send_prepared(ready, self.needs_ring(rest[0]));
    if (n > 0) {
      for (const FrameView& f : rest.first(static_cast<std::size_t>(n)))
        self.counts.sent_bytes.add(f.size());
      self.counts.sent_frames.add(static_cast<std::uint64_t>(n));
      result.taken += static_cast<std::size_t>(n);
      continue;
    }
    switch (errno) {  // the error is about the first frame
      case EINTR: continue;
      case EAGAIN: return result;
      case EMSGSIZE: return {result.taken, Errc::frame_too_long};
      case ENOBUFS:
      case ENOMEM: self.counts.dropped_full.add(); break;
      case EINVAL: self.counts.corrupt_sent.add(); break;
      case ENETDOWN:
      case ENXIO:
      case ENODEV:
        if (self.interface_trouble()) return {result.taken, Errc::link_ended};
        self.counts.dropped_down.add();
        break;
      default: return {result.taken, std::error_code(errno, std::generic_category())};
    }
    ++result.taken;
  }
  return result;
}

int PacketLink::descriptor() noexcept {
  return impl_->socket.get();
}

WaitHint PacketLink::prepare_wait() noexcept {
  Impl& self = *impl_;
  if (self.down) self.look_at_interface();
  WaitHint hint{.ready = self.ended || self.next < self.filled};
  if (self.down) hint.at_most = kLookWhileDown;
  return hint;
}

void PacketLink::finish_wait() noexcept {}

std::size_t PacketLink::max_frame_bytes() noexcept {
  (void)impl_->refresh_mtu();
  return impl_->max_frame;
}

std::string PacketLink::address() {
  return "packet:" + impl_->name;
}

DeviceCounters PacketLink::counters() const noexcept {
  return impl_->counts.snapshot();
}

}  // namespace shmif::tap
