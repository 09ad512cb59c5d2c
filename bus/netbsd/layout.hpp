#pragma once
// Every byte of a bus of NetBSD's rump kernels (sys/rump/net/lib/libshmif), as 64-bit kernels write
// it: version 3, and version 2, which differs in the packet header.
//
//   | header | data: packet headers and frames, one behind the other, round and round |
//
// Little-endian. Nothing in the data is aligned, and both headers and frames wrap at the end byte
// by byte. docs/netbsd.md has the rules.
//
// Who writes a word: (i) the process that makes the bus; (L) the holder of the lock; (A) anybody,
// atomically; (D) by pwrite.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bus/layout.hpp"

namespace shmif::bus {

inline constexpr std::uint32_t kNetbsdVersion = 3;     // of the buses that are made here
inline constexpr std::uint32_t kNetbsdOldVersion = 2;  // of older kernels
inline constexpr std::size_t kNetbsdFileBytes = std::size_t{1} << 20U;

struct NetbsdHeader {
  std::uint32_t magic;       //  0 (i) kNetbsdMagic
  std::uint32_t version;     //  4 (D) 0 until the first ring, then 2 or 3
  std::uint64_t generation;  //  8 (L) how often a write has reached the end of the data
  std::uint32_t first;       // 16 (L) offset of the oldest packet header; kNetbsdDataBytes: see N2
  std::uint32_t last;        // 20 (L) offset of the newest packet header
  std::uint32_t lock;        // 24 (A) 0: free; 1: held, but it does not say by whom
  std::uint32_t repairs;     // 28 (L) how often shmif rebuilt the chain; kernels leave it as it is
};
static_assert(sizeof(NetbsdHeader) == 32 && std::is_trivially_copyable_v<NetbsdHeader>);
static_assert(offsetof(NetbsdHeader, version) == 4 && offsetof(NetbsdHeader, generation) == 8 &&
              offsetof(NetbsdHeader, first) == 16 && offsetof(NetbsdHeader, last) == 20 &&
              offsetof(NetbsdHeader, lock) == 24);

/// Version 2 has only the first three words.
struct NetbsdPacketHeader {
  std::uint32_t bytes = 0;         //  0 of the frame that follows
  std::uint32_t seconds = 0;       //  4 of the sender's clock: rump kernels count from their start
  std::uint32_t microseconds = 0;  //  8
  std::uint32_t padding = 0;       // 12
  std::uint64_t sender = 0;        // 16 a random number for each interface
};
static_assert(sizeof(NetbsdPacketHeader) == 24 && std::is_trivially_copyable_v<NetbsdPacketHeader>);
static_assert(offsetof(NetbsdPacketHeader, sender) == 16);

inline constexpr std::uint32_t kNetbsdDataBytes = kNetbsdFileBytes - sizeof(NetbsdHeader);
inline constexpr std::uint32_t kNetbsdPacketHeaderBytes = sizeof(NetbsdPacketHeader);
inline constexpr std::uint32_t kNetbsdOldPacketHeaderBytes = 12;
inline constexpr std::uint32_t kNetbsdMtu = 1500;
/// Longer frames end a diagnostic kernel.
inline constexpr std::uint32_t kNetbsdMaxFrame = 1514;
inline constexpr std::uint32_t kNetbsdMinFrame = 14;

}  // namespace shmif::bus
