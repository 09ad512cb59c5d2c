#include "perf/frame/probe.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "perf/frame/crc32c.hpp"
#include "perf/frame/header_template.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint16_t kMagic = 'p' << 8U | 's';
constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kLongVersion = 2;
constexpr std::size_t kMaxShort = 65535;
constexpr std::size_t kCrcAt = 40;
constexpr std::size_t kNoCrcAt = 44;
constexpr std::uint16_t kNoCrc = 'c' << 8U | 'n';

static_assert(std::endian::native == std::endian::little, "the numbers of a probe are");

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

std::uint32_t crc_of(std::span<const std::byte> frame, ProbePlace place) noexcept {
  std::uint32_t crc = 0;
  std::size_t from = 0;
  if (place.checksum_at != 0) {
    constexpr std::array<std::byte, 2> kNone{};
    crc = crc32c(kNone, crc32c(frame.first(place.checksum_at)));
    from = place.checksum_at + kNone.size();
  }
  crc = crc32c(frame.subspan(from, place.at + kCrcAt - from), crc);
  return crc32c(frame.subspan(place.at + kNoCrcAt), crc);
}

/// The four bytes of the length field.
std::uint32_t length_field(std::uint8_t version, std::size_t length) noexcept {
  if (version == kVersion) {
    const auto low = static_cast<std::uint16_t>(length);
    return low | std::uint32_t{static_cast<std::uint16_t>(~low)} << 16U;
  }
  const auto bytes = static_cast<std::uint32_t>(length);
  const std::uint32_t folded = (bytes ^ bytes >> 8U ^ bytes >> 16U) & 0xffU;
  return bytes | (~folded & 0xffU) << 24U;
}

/// Whether a frame is a probe, even if a bit of one of its two marks has changed.
bool looks_like_a_probe(std::span<const std::byte> frame, std::size_t at) noexcept {
  if (at == 0) return true;
  if (frame.size() >= at && at >= 2) {
    const auto high = std::to_integer<unsigned>(frame[at - 2]);
    if ((high << 8U | std::to_integer<unsigned>(frame[at - 1])) == kProbeEtherType) return true;
  }
  return frame.size() >= at + 2 && get<std::uint16_t>(frame.data() + at) == kMagic;
}

Probe fields_of(const std::byte* p) noexcept {
  return {.kind = static_cast<Probe::Kind>(get<std::uint8_t>(p + 3)),
          .flow = get<std::uint32_t>(p + 8),
          .nonce = get<std::uint32_t>(p + 12),
          .sequence = get<std::uint64_t>(p + 16),
          .intended_ns = get<std::uint64_t>(p + 24),
          .sent_ns = get<std::uint64_t>(p + 32)};
}

template <bool kCheck>
ProbeReading read(std::span<const std::byte> frame, ProbePlace place) noexcept {
  const std::size_t at = place.at;
  if (!looks_like_a_probe(frame, at)) return {Finding::foreign};
  if (frame.size() < at + kProbeBytes) return {Finding::truncated};
  const std::byte* const p = frame.data() + at;
  const std::optional<std::uint32_t> length = probe_length(p);
  if (!length || *length < at + kProbeBytes) return {Finding::corrupt};
  if (frame.size() < *length) return {Finding::truncated};
  frame = frame.first(*length);
  const auto crc = get<std::uint32_t>(p + kCrcAt);
  const bool unchecked = crc == 0 && get<std::uint16_t>(p + kNoCrcAt) == kNoCrc;
  if (kCheck && !unchecked && crc != crc_of(frame, place)) return {Finding::corrupt};
  // The frame is whole, so its fields are those that were written.
  const auto version = get<std::uint8_t>(p + 2);
  if (get<std::uint16_t>(p) != kMagic || (version != kVersion && version != kLongVersion) ||
      get<std::uint8_t>(p + 3) > static_cast<std::uint8_t>(Probe::Kind::reply)) {
    return {Finding::foreign};
  }
  return {Finding::whole, fields_of(p), kCheck && !unchecked ? Checksum::crc : Checksum::none};
}

}  // namespace

void write_probe(std::span<std::byte> frame, std::size_t at, const Probe& probe,
                 Checksum checksum) noexcept {
  std::byte* const p = frame.data() + at;
  const std::uint8_t version = frame.size() > kMaxShort ? kLongVersion : kVersion;
  const std::array<std::uint64_t, kCrcAt / 8> front{
      kMagic | std::uint64_t{version} << 16U | std::uint64_t(probe.kind) << 24U |
          std::uint64_t{length_field(version, frame.size())} << 32U,
      probe.flow | std::uint64_t{probe.nonce} << 32U, probe.sequence, probe.intended_ns,
      probe.sent_ns};
  std::memcpy(p, front.data(), sizeof front);
  if (checksum == Checksum::none) {
    put(p + kCrcAt, std::uint32_t{0});
    put(p + kNoCrcAt, kNoCrc);
    return;
  }
  put(p + kNoCrcAt, std::uint16_t{0});
  // Uses a copy: reading a word that spans two recent stores from the frame would stall.
  std::uint32_t crc = crc32c(frame.first(at));
  crc = crc32c(std::as_bytes(std::span(front)), crc);
  put(p + kCrcAt, crc32c(frame.subspan(at + kNoCrcAt), crc));
}

std::optional<std::uint32_t> probe_length(const std::byte* probe) noexcept {
  const auto version = get<std::uint8_t>(probe + 2);
  const auto field = get<std::uint32_t>(probe + 4);
  const bool is_long = version == kLongVersion;
  const std::uint32_t length = field & (is_long ? 0xffffffU : 0xffffU);
  if (field != length_field(is_long ? kLongVersion : kVersion, length)) return std::nullopt;
  return length;
}

ProbeMarks probe_marks(std::span<const std::byte> frame, std::size_t at) noexcept {
  ProbeMarks marks;
  const auto has = [&](std::size_t bytes) { return frame.size() >= at + bytes; };
  if (has(2)) marks.magic = get<std::uint16_t>(frame.data() + at) == kMagic;
  if (has(8)) marks.length = probe_length(frame.data() + at).value_or(0) >= at + kProbeBytes;
  if (has(16)) marks.nonce = get<std::uint32_t>(frame.data() + at + 12);
  return marks;
}

ProbeReading read_probe(std::span<const std::byte> frame, ProbePlace place) noexcept {
  return read<true>(frame, place);
}

ProbeReading peek_probe(std::span<const std::byte> frame, ProbePlace place) noexcept {
  return read<false>(frame, place);
}

std::optional<Probe> mend_probe(std::span<const std::byte> frame, ProbePlace place) {
  const std::size_t at = place.at;
  if (frame.size() < at + kCrcAt) return std::nullopt;
  if (read_probe(frame, place).finding == Finding::corrupt && frame.size() >= at + kProbeBytes) {
    std::vector<std::byte> copy(frame.begin(), frame.end());
    for (std::size_t bit = 0; bit < kProbeBytes * 8; ++bit) {
      const std::byte mask{static_cast<std::uint8_t>(1U << bit % 8)};
      copy[at + bit / 8] ^= mask;
      const ProbeReading reading = read_probe(copy, place);
      if (reading.finding == Finding::whole) return reading.probe;
      copy[at + bit / 8] ^= mask;
    }
  }
  return fields_of(frame.data() + at);
}

std::size_t probe_offset(std::span<const std::byte> frame) noexcept {
  return probe_place(frame).at;
}

ProbePlace probe_place(std::span<const std::byte> frame) noexcept {
  constexpr std::size_t kHeader = 14;
  constexpr std::uint16_t kSwapped = kProbeEtherType >> 8U | (kProbeEtherType & 0xffU) << 8U;
  if (frame.size() < kHeader || get<std::uint16_t>(frame.data() + 12) == kSwapped) return {kHeader};
  const HeaderPlaces places = places_of(frame);
  return {places.probe, places.transport_checksum};
}

}  // namespace shmif::perf
