#include "tap/packet_ring.hpp"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "bus/frame.hpp"

namespace shmif::tap {
namespace {

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

}  // namespace

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

}  // namespace shmif::tap
