#pragma once
// The echo protocol of `shmifctl ping`: one frame there, one frame back, below any IP stack. It
// answers "does this bus carry frames between these two ports, and how fast".
//
// Requests and replies are frames of EtherType 0x88B5 (IEEE 802 local experimental EtherType 1).
// They have 60 bytes: the minimum of Ethernet, 64, less the FCS. (Frames on a bus have no FCS.) So
// they also cross a bridge to real interfaces. All numbers are big-endian:
//
//   offset  bytes  contents
//        0      6  destination MAC: a port's, or broadcast (requests only)
//        6      6  source MAC, never a group address
//       12      2  EtherType 0x88B5
//       14      4  magic 0x53484d50 ("SHMP")
//       18      1  version, 1
//       19      1  type: 1 request, 2 reply
//       20      2  zero
//       22      4  id: a random number chosen by the asking process
//       26      4  sequence number, from 0
//       30      8  when the request was sent, in ns of the asker's clock; only the asker uses it
//       38     22  zero
//
// A reply is its request with type 2, the asker's MAC as destination, and the answering port's as
// source. Every port that answers pings also answers broadcasts. A port's name is not on the wire:
// to ping a port by name, look up its MAC in Bus::info().

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "shmif/frame.hpp"
#include "shmif/mac.hpp"

namespace shmif {

/// IEEE 802 local experimental EtherType 1.
inline constexpr std::uint16_t kPingEtherType = 0x88b5;
inline constexpr std::size_t kPingFrameBytes = 60;  ///< of each request and reply

/// What a ping frame is; the values are those on the wire.
enum class PingType : std::uint8_t { request = 1, reply = 2 };

/// What a ping frame says.
struct Ping {
  MacAddress destination;             ///< a port's address; of a request, also broadcast
  MacAddress source;                  ///< the address of the port that sent the frame
  PingType type = PingType::request;  ///< whether it asks or answers
  std::uint32_t id = 0;        ///< a random number of the asking process; the reply repeats it
  std::uint32_t sequence = 0;  ///< counts the requests of that process, from 0
  std::uint64_t sent_ns = 0;   ///< by the asker's clock
};

/// Writes `ping` as a frame. Threads: safe. Blocks: never.
void write_ping(const Ping& ping, std::span<std::byte, kPingFrameBytes> into) noexcept;

/// Reads a frame that anybody may have sent. Threads: safe. Blocks: never.
/// Result: empty if it is not a ping frame of this version, or is cut short.
std::optional<Ping> read_ping(const FrameView& frame) noexcept;

/// Answers for a port with the address `self`. If `frame` is a request to it or to broadcast,
/// writes the reply into `into`. Never answers a reply, a malformed frame, or a request that claims
/// to come from a group address or from `self`. So two answering ports cannot keep each other busy.
/// Threads: safe. Blocks: never. Result: the bytes to send, all of `into`; empty if there is no
/// answer.
std::optional<FrameView> answer_ping(const FrameView& frame, MacAddress self,
                                     std::span<std::byte, kPingFrameBytes> into) noexcept;

}  // namespace shmif
