#pragma once
// Cuts an IP packet that is longer than the MTU into fragments: RFC 791 section 3.2 for IPv4,
// RFC 8200 section 4.5 for IPv6.
//
// A kernel that tracks connections on a bridge (br_netfilter) puts fragments together before it
// looks at them, and a macvlan does so with IPv4 fragments for a group address
// (drivers/net/macvlan.c). If such a frame leaves by a port of the bridge, the kernel cuts it
// again. A packet socket on the bridge itself gets it whole, longer than any frame of that wire.
// This class cuts it as the kernel does for a port (net/bridge/br_netfilter_hooks.c):
//
//     | MACs, tags, EtherType | IP header | payload ............................. |
//     | the same              | header 0  | payload 0 |       offset 0, more follow
//     | the same              | header 1  | payload 1 |       offset in units of 8 bytes, ...
//     | the same              | header n  | payload n |       ..., and as the packet says: the last
//
// The kernel remembers how long the longest fragment was (IPCB(skb)->frag_max_size) and cuts there.
// A packet socket is not told this length, so the cut is at the MTU. Fragments may therefore be
// longer than those of the sender, but never longer than the wire allows.
//
//   F1  No fragment is longer than the MTU allows: MACs, tags, EtherType, and `mtu` bytes of IP.
//   F2  The payloads in order are the payload of the packet, each byte once. All but the last have
//       a multiple of 8 bytes.
//   F3  IPv4: identification, DF, TTL and addresses are those of the packet. DF does not stop the
//       cut, because the kernel sets it on a packet that it put together from fragments with DF,
//       and cuts that packet, too. Options are copied as RFC 791 says: an option without the copied
//       flag is only in the first fragment; in the others, No Operation takes its place, as in
//       Linux, so that all headers have one length. A packet that is itself a fragment can be cut:
//       its offset is added, and the last piece repeats its flag "more fragments".
//   F4  IPv6: the headers up to a Routing header, or up to the Hop-by-Hop options, are in each
//       fragment. The kernel removes the Fragment header and the identification of the sender, so
//       the cut takes a new one, which this object has not used for the last 4 billion packets. A
//       packet that has a Fragment header is not cut: only its sender may do that.
//   F5  A packet is cut only if its headers are sound. Lengths come from a stranger: each is read
//       once, compared with the bytes that are there, and used only then. An IPv4 header with a
//       wrong checksum is refused, because its fragments would have right ones. Bytes behind the
//       packet (padding) are left out.
//   F6  The work for a packet is at most one copy of its bytes and one header for each 8 of them,
//       and nothing is allocated.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"

namespace shmif::bus {

/// Writes the fragments of one packet, one at a time, so that the caller may stop when its buffer
/// is full and continue later. Threads: one at a time. Blocks: never.
class Fragmenter {
 public:
  /// The identifications of IPv6 packets follow from `seed`. Give each object a different seed.
  explicit Fragmenter(std::uint32_t seed = 0) noexcept : key_(seed) {}

  /// Begins with a frame that leaves no work to its receiver. The frame must stay in memory until
  /// the last fragment is written. `mtu`: the longest IP packet, in bytes. Result: false if the
  /// frame has no IP packet longer than that, or if the packet cannot be cut (F4, F5; or its header
  /// leaves no room for 8 bytes); then done() is true.
  bool begin(std::span<const std::byte> frame, std::size_t mtu) noexcept;

  bool done() const noexcept { return next_ >= end_; }
  /// The size of the next fragment as a frame; 0 when done.
  std::size_t next_bytes() const noexcept;
  /// Writes the next fragment into `into`, which has room for next_bytes(). Result: its size.
  std::size_t next(std::span<std::byte> into) noexcept;

 private:
  bool begin_v4(std::size_t mtu) noexcept;
  bool begin_v6(std::size_t mtu) noexcept;
  void write_v4(std::span<std::byte> out, bool last) const noexcept;
  void write_v6(std::span<std::byte> out, bool last) const noexcept;

  std::span<const std::byte> frame_;
  std::size_t l3_ = 0;         // where the IP header begins
  std::size_t payload_ = 0;    // where the payload begins: the part that is cut
  std::size_t end_ = 0;        // where the packet ends; padding may follow
  std::size_t next_ = 0;       // where the payload of the next fragment begins
  std::size_t chunk_ = 0;      // payload of all fragments but the last, a multiple of 8
  std::size_t added_ = 0;      // bytes of the Fragment header; 0: IPv4
  std::size_t next_type_ = 0;  // IPv6: where the byte is that names the first header of the payload
  std::uint16_t flags_ = 0;    // IPv4: flags and offset of the packet
  std::uint32_t key_;
  std::uint32_t packets_ = 0;  // IPv6 packets cut, for their identification
};

}  // namespace shmif::bus
