#include "perf/frame/probe_train.hpp"

#include <algorithm>

#include "perf/frame/crc32c_cpu.hpp"
#include "perf/frame/probe_fields.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {
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
