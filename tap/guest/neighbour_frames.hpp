#pragma once
// Where the fields of ARP packets (RFC 826) and of messages of neighbour discovery (RFC 4861) are,
// in frames without tags.

#include <cstddef>
#include <cstdint>

#include "bus/frame.hpp"
#include "bus/network_bytes.hpp"

namespace shmif::tap {

inline constexpr std::size_t kIpAt = kEthernetHeaderBytes;

inline constexpr std::size_t kArpBytes = 42;  ///< for IPv4 on Ethernet
inline constexpr std::size_t kArpSenderMacAt = 22;
inline constexpr std::size_t kArpSenderAt = 28;
inline constexpr std::size_t kArpTargetAt = 38;

inline constexpr std::size_t kIcmpAt = kIpAt + bus::kIpv6Bytes;
inline constexpr std::size_t kNeighbourTargetAt = kIcmpAt + 8;
inline constexpr std::size_t kNeighbourBytes = kNeighbourTargetAt + 16;  ///< without options
inline constexpr std::uint8_t kSolicitation = 135;
inline constexpr std::uint8_t kAdvertisement = 136;

}  // namespace shmif::tap
