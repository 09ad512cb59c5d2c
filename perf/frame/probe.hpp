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

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "shmif/frame.hpp"

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

// How a probe lies in a frame: for the code of perf/frame that writes and reads it.
namespace fields {

static_assert(std::endian::native == std::endian::little,
              "the numbers of a probe are little-endian");

inline constexpr std::uint16_t kMagic = 'p' << 8U | 's';
inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::uint8_t kLongVersion = 2;
inline constexpr std::size_t kMaxShort = 65535;
inline constexpr std::size_t kOwnersAt = 8;  // flow and nonce
inline constexpr std::size_t kSequenceAt = 16;
inline constexpr std::size_t kIntendedAt = 24;
inline constexpr std::size_t kSentAt = 32;
inline constexpr std::size_t kCrcAt = 40;
inline constexpr std::size_t kNoCrcAt = 44;
inline constexpr std::uint16_t kNoCrc = 'c' << 8U | 'n';

template <class T>
void put(std::byte* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
}
template <class T>
T get(const std::byte* from) noexcept {
  T value{};
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// The four bytes of the length field.
constexpr std::uint32_t length_field(std::uint8_t version, std::size_t length) noexcept {
  if (version == kVersion) {
    const auto low = static_cast<std::uint16_t>(length);
    return low | std::uint32_t{static_cast<std::uint16_t>(~low)} << 16U;
  }
  const auto bytes = static_cast<std::uint32_t>(length);
  const std::uint32_t folded = (bytes ^ bytes >> 8U ^ bytes >> 16U) & 0xffU;
  return bytes | (~folded & 0xffU) << 24U;
}

/// The first eight bytes: all fields before the flow.
constexpr std::uint64_t front(Probe::Kind kind, std::size_t length) noexcept {
  const std::uint8_t version = length > kMaxShort ? kLongVersion : kVersion;
  return kMagic | std::uint64_t{version} << 16U |
         std::uint64_t{static_cast<std::uint8_t>(kind)} << 24U |
         std::uint64_t{length_field(version, length)} << 32U;
}
/// Whether the sender wrote a CRC.
inline bool has_crc(const std::byte* probe) noexcept {
  return get<std::uint32_t>(probe + kCrcAt) != 0 || get<std::uint16_t>(probe + kNoCrcAt) != kNoCrc;
}
/// The next eight: whose frame it is.
constexpr std::uint64_t owners(std::uint32_t flow, std::uint32_t nonce) noexcept {
  return flow | std::uint64_t{nonce} << 32U;
}

}  // namespace fields

// ProbeTrain: frames of one flow that a receiver can take together, because they are whole and
// their numbers follow each other. Small frames that are taken one by one cost about three times as
// much (bench/harness.cpp).

/// The times that a probe contains.
struct ProbeTimes {
  std::uint64_t intended_ns = 0;
  std::uint64_t sent_ns = 0;
  bool operator==(const ProbeTimes&) const = default;
};

struct ProbeTrain {
  Checksum checksum = Checksum::none;  ///< of each frame: whether a CRC was checked
  std::uint32_t flow = 0;
  std::uint32_t nonce = 0;
  std::uint64_t first = 0;              ///< sequence number of its first frame
  std::uint64_t bytes = 0;              ///< of all frames
  std::span<const ProbeTimes> times{};  ///< of each frame

  std::size_t frames() const noexcept { return times.size(); }
  /// The same train without its first `count` frames, which have `their_bytes`.
  ProbeTrain behind(std::size_t count, std::uint64_t their_bytes) const noexcept {
    ProbeTrain rest = *this;
    rest.first += count;
    rest.bytes -= their_bytes;
    rest.times = times.subspan(count);
    return rest;
  }
  /// What the probe of frame `i` contains.
  Probe probe(std::size_t i) const noexcept {
    return {.flow = flow,
            .nonce = nonce,
            .sequence = first + i,
            .intended_ns = times[i].intended_ns,
            .sent_ns = times[i].sent_ns};
  }
};

/// Reads frames from the front, as long as each is whole, has a probe of Probe::Kind::data behind
/// its Ethernet header (and VLAN tag), and the next number. All have a CRC, or all lack it. Reads
/// at most as many frames as `times` has room for. Result: the frames that were read, which can be
/// 0; read_probe() reads the others. On a CPU without instructions for CRC-32C there is never a
/// train. Threads: any. Blocks: never.
ProbeTrain read_train(std::span<const FrameView> frames, std::span<ProbeTimes> times) noexcept;

/// Calls `take(times, count)` for each group of frames with equal times that follow each other.
/// Frames that were sent together without a pace have equal times.
template <class Take>
void by_equal_times(std::span<const ProbeTimes> all, const Take& take) {
  while (!all.empty()) {
    std::size_t count = 1;
    while (count < all.size() && all[count] == all.front()) ++count;
    take(all.front(), count);
    all = all.subspan(count);
  }
}

}  // namespace shmif::perf
