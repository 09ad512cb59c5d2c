#pragma once
// Probe: what the harness writes into each frame, so that the receiver can tell which one it is,
// how late it is, and whether a bit of it has changed.
//
// It stands behind the Ethernet header, or is the payload of a datagram. All numbers are little
// endian; the smallest Ethernet frame (60 bytes without FCS) holds just the header and a probe:
//
//    0  2  magic "sp"
//    2  1  version, 1; 2: the length has three bytes, and one more to check them
//    3  1  kind
//    4  2  length of the whole frame or datagram
//    6  2  its complement, so that a changed length is not taken for a truncated frame; of version
//    2
//          the third byte of the length, and the complement of all three, one XOR the other
//    8  4  flow
//   12  4  nonce of the run
//   16  8  sequence number, from 0 in each flow
//   24  8  intended time to send it, ns of CLOCK_MONOTONIC
//   32  8  time when it was handed to the engine
//   40  4  CRC-32C of the whole frame without these four bytes; 0 where there is none
//   44  2  0; "nc" where there is no CRC
//
// The rest of the frame is payload, which the CRC covers as well as the headers, but for a checksum
// of UDP or TCP, which covers the CRC and counts as 0. No single changed bit makes a frame with a
// CRC look like one without. Version 2 is of what is longer than a frame: writes to a TCP
// connection.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace shmif::perf {

inline constexpr std::size_t kProbeBytes = 46;
/// The EtherType of probes: local experimental 1 (IEEE 802, clause 9.2.4).
inline constexpr std::uint16_t kProbeEtherType = 0x88b5;

struct Probe {
  enum class Kind : std::uint8_t { data = 0, request = 1, reply = 2 };
  Kind kind = Kind::data;
  std::uint32_t flow = 0;
  std::uint32_t nonce = 0;
  std::uint64_t sequence = 0;
  std::uint64_t intended_ns = 0;
  std::uint64_t sent_ns = 0;
  bool operator==(const Probe&) const = default;
};

/// Whether a frame can be checked. Without a CRC a receiver still finds out what is lost, and what
/// has lost its end.
enum class Checksum : std::uint8_t { crc, none };

/// Writes a probe at `at` into a frame that is otherwise complete, at least `at` + kProbeBytes and
/// less than 2^24 bytes. Threads: any. Blocks: never.
void write_probe(std::span<std::byte> frame, std::size_t at, const Probe& probe,
                 Checksum checksum = Checksum::crc) noexcept;

/// What a frame turned out to be.
enum class Finding : std::uint8_t {
  whole,
  foreign,    ///< no probe, or one of another version
  truncated,  ///< its end is missing
  corrupt,    ///< what is there is not what was sent
};
struct ProbeReading {
  Finding finding = Finding::foreign;
  Probe probe{};                       ///< only of a whole one
  Checksum checksum = Checksum::none;  ///< of a whole one: whether a CRC says that it is
};

/// The length that a probe says the frame has; nothing where that is damaged. `probe` has
/// kProbeBytes.
std::optional<std::uint32_t> probe_length(const std::byte* probe) noexcept;

/// Where a frame has its probe, and the checksum of UDP or TCP that counts as 0; 0: none.
struct ProbePlace {
  std::size_t at = 0;
  std::size_t checksum_at = 0;
  ProbePlace(std::size_t place, std::size_t checksum = 0) : at(place), checksum_at(checksum) {}
};

/// Reads the probe at `place`. What a link has added at the end, as padding, is overlooked. At 0
/// everything is taken for a probe, for it came to where only probes are sent; else what has
/// neither the EtherType before it nor the magic is foreign.
ProbeReading read_probe(std::span<const std::byte> frame, ProbePlace place) noexcept;

/// The same without a look at the CRC: what a frame says that nobody has time to check. Its
/// `checksum` is none.
ProbeReading peek_probe(std::span<const std::byte> frame, ProbePlace place) noexcept;

/// What a damaged frame said before it was damaged: exactly, where a single bit of it has changed,
/// for then the CRC tells which, or where its end is missing; as it stands there where more has
/// changed. Nothing where too little is left. Takes some 400 times as long as read_probe().
std::optional<Probe> mend_probe(std::span<const std::byte> frame, ProbePlace place);

/// Where the probe of an Ethernet frame is: behind its headers, as places_of() finds them.
std::size_t probe_offset(std::span<const std::byte> frame) noexcept;
ProbePlace probe_place(std::span<const std::byte> frame) noexcept;

}  // namespace shmif::perf
