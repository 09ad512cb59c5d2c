#pragma once
// Probe: what the harness writes into each frame, so that the receiver can tell which frame it is,
// how late it is, and whether a bit of it has changed.
//
// It follows the headers of a frame, or is the payload of a datagram. All numbers are little
// endian. The smallest Ethernet frame (60 bytes without FCS) just holds the header and a probe:
//
//    0  2  magic "sp"
//    2  1  version, 1; 2: the length has three bytes, and one more to check them
//    3  1  kind
//    4  2  length of the whole frame or datagram
//    6  2  complement of the length, so that a changed length does not look like a truncated frame;
//          in version 2: third byte of the length, then the complement of the XOR of all three
//    8  4  flow
//   12  4  nonce of the run
//   16  8  sequence number, from 0 in each flow
//   24  8  intended time to send it, ns of CLOCK_MONOTONIC
//   32  8  time when it was passed to the engine
//   40  4  CRC-32C of the whole frame without these four bytes; 0 if there is none
//   44  2  0; "nc" if there is no CRC
//
// The rest of the frame is payload. The CRC covers the payload and the headers, except for a
// checksum of UDP or TCP: that covers the CRC, and counts as 0. No single changed bit makes a frame
// with a CRC look like one without. Version 2 is for writes to a TCP connection, which may be
// longer than a frame.

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

/// Whether a frame can be checked. Without a CRC, a receiver still finds lost and truncated frames.
enum class Checksum : std::uint8_t { crc, none };

/// Writes a probe at offset `at` into a frame that is otherwise complete. The frame has at least
/// `at` + kProbeBytes and less than 2^24 bytes. Threads: any. Blocks: never.
void write_probe(std::span<std::byte> frame, std::size_t at, const Probe& probe,
                 Checksum checksum = Checksum::crc) noexcept;

/// The state in which a frame arrived.
enum class Finding : std::uint8_t {
  whole,
  foreign,    ///< no probe, or one of an unknown version
  truncated,  ///< its end is missing
  corrupt,    ///< its bytes are not those that were sent
};
struct ProbeReading {
  Finding finding = Finding::foreign;
  Probe probe{};                       ///< only for a whole frame
  Checksum checksum = Checksum::none;  ///< for a whole frame: whether a CRC was checked
};

/// The frame length that a probe contains; empty if it is damaged. `probe` has kProbeBytes.
std::optional<std::uint32_t> probe_length(const std::byte* probe) noexcept;

/// Where a frame has its probe, and the checksum of UDP or TCP that counts as 0 (0: without one).
struct ProbePlace {
  std::size_t at = 0;
  std::size_t checksum_at = 0;
  ProbePlace(std::size_t place, std::size_t checksum = 0) : at(place), checksum_at(checksum) {}
};

/// What still shows that a damaged frame had a probe. A mark is empty if the frame ends before it.
struct ProbeMarks {
  std::optional<bool> magic;
  std::optional<bool> length;  ///< it agrees with its complement and has room for the probe
  std::optional<std::uint32_t> nonce;
};
/// The marks at offset `at` of a frame of any size. Threads: any. Blocks: never.
ProbeMarks probe_marks(std::span<const std::byte> frame, std::size_t at) noexcept;

/// Reads the probe at `place`. Bytes that a link added at the end, such as padding, are ignored. At
/// 0 everything counts as a probe, because only probes are sent there. Elsewhere a frame is foreign
/// if it has neither the EtherType before the probe nor the magic. Other programs use that
/// EtherType, and their data may begin like that, so a corrupt or truncated frame can still be
/// foreign: probe_marks() tells more.
ProbeReading read_probe(std::span<const std::byte> frame, ProbePlace place) noexcept;

/// The same without checking the CRC, for frames that cannot be checked in time. `checksum` is
/// Checksum::none.
ProbeReading peek_probe(std::span<const std::byte> frame, ProbePlace place) noexcept;

/// What a damaged frame contained before. This is exact if a single bit has changed, because the
/// CRC tells which one, or if the end is missing. If more has changed, it is what the frame
/// contains now. Empty if too little is left. Takes about 400 times as long as read_probe().
std::optional<Probe> mend_probe(std::span<const std::byte> frame, ProbePlace place);

/// Where the probe of an Ethernet frame is: behind its headers, as places_of() finds them.
std::size_t probe_offset(std::span<const std::byte> frame) noexcept;
ProbePlace probe_place(std::span<const std::byte> frame) noexcept;

}  // namespace shmif::perf
