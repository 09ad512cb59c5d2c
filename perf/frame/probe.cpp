#include "perf/frame/probe.hpp"

#include <array>
#include <cstring>
#include <vector>

#include "perf/frame/crc32c.hpp"
#include "perf/frame/header_template.hpp"
#include "perf/frame/probe_fields.hpp"

namespace shmif::perf {
namespace {

std::uint32_t crc_of(std::span<const std::byte> frame, ProbePlace place) noexcept {
  std::uint32_t crc = 0;
  std::size_t from = 0;
  if (place.checksum_at != 0) {
    constexpr std::array<std::byte, 2> kNone{};
    crc = crc32c(kNone, crc32c(frame.first(place.checksum_at)));
    from = place.checksum_at + kNone.size();
  }
  crc = crc32c(frame.subspan(from, place.at + fields::kCrcAt - from), crc);
  return crc32c(frame.subspan(place.at + fields::kNoCrcAt), crc);
}

/// Whether a frame is a probe, even if a bit of one of its two marks has changed.
bool looks_like_a_probe(std::span<const std::byte> frame, std::size_t at) noexcept {
  if (at == 0) return true;
  if (frame.size() >= at && at >= 2) {
    const auto high = std::to_integer<unsigned>(frame[at - 2]);
    if ((high << 8U | std::to_integer<unsigned>(frame[at - 1])) == kProbeEtherType) return true;
  }
  return frame.size() >= at + 2 && fields::get<std::uint16_t>(frame.data() + at) == fields::kMagic;
}

Probe fields_of(const std::byte* p) noexcept {
  return {.kind = static_cast<Probe::Kind>(fields::get<std::uint8_t>(p + 3)),
          .flow = fields::get<std::uint32_t>(p + 8),
          .nonce = fields::get<std::uint32_t>(p + 12),
          .sequence = fields::get<std::uint64_t>(p + fields::kSequenceAt),
          .intended_ns = fields::get<std::uint64_t>(p + fields::kIntendedAt),
          .sent_ns = fields::get<std::uint64_t>(p + fields::kSentAt)};
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
  const auto crc = fields::get<std::uint32_t>(p + fields::kCrcAt);
  const bool checked = kCheck && fields::has_crc(p);
  if (checked && crc != crc_of(frame, place)) return {Finding::corrupt};
  // The frame is whole, so its fields are those that were written.
  const auto version = fields::get<std::uint8_t>(p + 2);
  if (fields::get<std::uint16_t>(p) != fields::kMagic ||
      (version != fields::kVersion && version != fields::kLongVersion) ||
      fields::get<std::uint8_t>(p + 3) > static_cast<std::uint8_t>(Probe::Kind::reply)) {
    return {Finding::foreign};
  }
  return {Finding::whole, fields_of(p), checked ? Checksum::crc : Checksum::none};
}

}  // namespace

void write_probe(std::span<std::byte> frame, std::size_t at, const Probe& probe,
                 Checksum checksum) noexcept {
  std::byte* const p = frame.data() + at;
  const std::array<std::uint64_t, fields::kCrcAt / 8> front{
      fields::front(probe.kind, frame.size()), fields::owners(probe.flow, probe.nonce),
      probe.sequence, probe.intended_ns, probe.sent_ns};
  std::memcpy(p, front.data(), sizeof front);
  if (checksum == Checksum::none) {
    fields::put(p + fields::kCrcAt, std::uint32_t{0});
    fields::put(p + fields::kNoCrcAt, fields::kNoCrc);
    return;
  }
  fields::put(p + fields::kNoCrcAt, std::uint16_t{0});
  // Uses a copy: reading a word that spans two recent stores from the frame would stall.
  std::uint32_t crc = crc32c(frame.first(at));
  crc = crc32c(std::as_bytes(std::span(front)), crc);
  fields::put(p + fields::kCrcAt, crc32c(frame.subspan(at + fields::kNoCrcAt), crc));
}

std::optional<std::uint32_t> probe_length(const std::byte* probe) noexcept {
  const auto version = fields::get<std::uint8_t>(probe + 2);
  const auto field = fields::get<std::uint32_t>(probe + 4);
  const bool is_long = version == fields::kLongVersion;
  const std::uint32_t length = field & (is_long ? 0xffffffU : 0xffffU);
  if (field != fields::length_field(is_long ? fields::kLongVersion : fields::kVersion, length))
    return std::nullopt;
  return length;
}

ProbeMarks probe_marks(std::span<const std::byte> frame, std::size_t at) noexcept {
  ProbeMarks marks;
  const auto has = [&](std::size_t bytes) { return frame.size() >= at + bytes; };
  if (has(2)) marks.magic = fields::get<std::uint16_t>(frame.data() + at) == fields::kMagic;
  if (has(8)) marks.length = probe_length(frame.data() + at).value_or(0) >= at + kProbeBytes;
  if (has(16)) marks.nonce = fields::get<std::uint32_t>(frame.data() + at + 12);
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
  if (frame.size() < at + fields::kCrcAt) return std::nullopt;
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
  if (frame.size() < kHeader || fields::get<std::uint16_t>(frame.data() + 12) == kSwapped)
    return {kHeader};
  const HeaderPlaces places = places_of(frame);
  return {places.probe, places.transport_checksum};
}

}  // namespace shmif::perf
