#pragma once
// PacketRing: sends frames that send(2) on a packet socket refuses as too long although the
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

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "base/shared_memory.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tap {

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

}  // namespace shmif::tap
