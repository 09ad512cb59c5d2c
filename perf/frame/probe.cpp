#include "perf/frame/probe.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "perf/frame/crc32c_cpu.hpp"
#include "perf/frame/header_template.hpp"
#include "shmif/mac.hpp"

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

namespace {

constexpr std::size_t kTypeAt = kEthernetHeaderBytes - 2;
constexpr std::size_t kLongTail = 256;  // the library is faster for longer tails

constexpr std::uint16_t swapped(std::uint16_t value) noexcept {
  return static_cast<std::uint16_t>(value >> 8U | value << 8U);
}

/// Where the probe is: behind the Ethernet header and its tag, if there is one; 0 if it is not
/// there.
std::size_t place_in(std::span<const std::byte> frame) noexcept {
  constexpr std::uint16_t kTag = 0x8100;
  const auto type_at = [&](std::size_t at) { return fields::get<std::uint16_t>(&frame[at]); };
  if (type_at(kTypeAt) == swapped(kProbeEtherType)) return kEthernetHeaderBytes;
  const std::size_t tagged = kTypeAt + kVlanTagBytes;
  const bool is_tagged =
      type_at(kTypeAt) == swapped(kTag) && type_at(tagged) == swapped(kProbeEtherType);
  return is_tagged ? tagged + 2 : 0;
}

SHMIF_CRC32C_BY_CPU std::uint32_t add_tail(crc32c_cpu::Sum sum,
                                           std::span<const std::byte> tail) noexcept {
  if (tail.size() > kLongTail) return crc32c(tail, sum.crc());
  const std::byte* at = tail.data();
  const std::byte* const end = at + tail.size();
  for (; end - at >= 8; at += 8) sum.add(fields::get<std::uint64_t>(at));
  if (end - at >= 4) {
    sum.add(fields::get<std::uint32_t>(at));
    at += 4;
  }
  for (; at != end; ++at) sum.add(fields::get<std::uint8_t>(at));
  return sum.crc();
}

/// The CRC of a frame of at least `at` + kProbeBytes.
SHMIF_CRC32C_BY_CPU std::uint32_t crc_of_frame(std::span<const std::byte> frame,
                                               std::size_t at) noexcept {
  crc32c_cpu::Sum sum;
  const std::byte* const header = frame.data();
  sum.add(fields::get<std::uint64_t>(header));
  sum.add(fields::get<std::uint32_t>(header + 8));
  if (at != kEthernetHeaderBytes) sum.add(fields::get<std::uint32_t>(header + 12));
  sum.add(fields::get<std::uint16_t>(header + at - 2));
  for (std::size_t word = 0; word < fields::kCrcAt; word += 8) {
    sum.add(fields::get<std::uint64_t>(header + at + word));
  }
  return add_tail(sum, frame.subspan(at + fields::kNoCrcAt));
}

SHMIF_CRC32C_BY_CPU ProbeTrain read_by_cpu(std::span<const FrameView> frames,
                                           std::span<ProbeTimes> times) noexcept {
  ProbeTrain train;
  std::size_t count = 0;
  for (const FrameView& frame : frames.first(std::min(frames.size(), times.size()))) {
    const std::span<const std::byte> bytes = frame.bytes;
    if (bytes.size() < kEthernetHeaderBytes + kProbeBytes) break;
    const std::size_t at = place_in(bytes);
    if (at == 0 || bytes.size() < at + kProbeBytes || bytes.size() > fields::kMaxShort) break;
    const std::byte* const p = bytes.data() + at;
    if (fields::get<std::uint64_t>(p) != fields::front(Probe::Kind::data, bytes.size())) break;
    const auto owners = fields::get<std::uint64_t>(p + fields::kOwnersAt);
    const auto sequence = fields::get<std::uint64_t>(p + fields::kSequenceAt);
    const auto crc = fields::get<std::uint32_t>(p + fields::kCrcAt);
    const Checksum checksum = fields::has_crc(p) ? Checksum::crc : Checksum::none;
    if (count == 0) {
      train.checksum = checksum;
      train.flow = static_cast<std::uint32_t>(owners);
      train.nonce = static_cast<std::uint32_t>(owners >> 32U);
      train.first = sequence;
    }
    if (owners != fields::owners(train.flow, train.nonce) || sequence != train.first + count) break;
    if (checksum != train.checksum) break;
    if (checksum == Checksum::crc && crc != crc_of_frame(bytes, at)) break;
    times[count++] = {.intended_ns = fields::get<std::uint64_t>(p + fields::kIntendedAt),
                      .sent_ns = fields::get<std::uint64_t>(p + fields::kSentAt)};
    train.bytes += bytes.size();
  }
  train.times = times.first(count);
  return train;
}

}  // namespace

ProbeTrain read_train(std::span<const FrameView> frames, std::span<ProbeTimes> times) noexcept {
  static const bool by_cpu = crc32c_cpu::is_there();
  return by_cpu ? read_by_cpu(frames, times) : ProbeTrain{};
}

}  // namespace shmif::perf
