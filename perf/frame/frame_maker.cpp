#include "perf/frame/frame_maker.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "perf/frame/crc32c_cpu.hpp"
#include "perf/frame/random.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kHugeBytes = std::size_t{2} << 20U;

std::size_t rounded(std::size_t bytes, std::size_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

/// Result: empty if there is no such memory.
std::span<std::byte> map(std::size_t bytes, int flags) noexcept {
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (at == MAP_FAILED) return {};
  return {static_cast<std::byte*>(at), bytes};
}

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// The kernel shows the setting in brackets: "always [madvise] never".
bool has_transparent_huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  return std::getline(file, line) && line.find("[never]") == std::string::npos;
}

}  // namespace

FrameBuffers::FrameBuffers(std::size_t bytes, bool huge) {
  if (!huge) {
    memory_ = mapping_ = map(rounded(bytes, kPageBytes), MAP_POPULATE);
    if (mapping_.empty())
      fail("cannot get memory for " + std::to_string(bytes) + " bytes of frames");
    return;
  }
  const std::size_t whole = rounded(bytes, kHugeBytes);
  memory_ = mapping_ = map(whole, MAP_HUGETLB);
  if (!mapping_.empty()) return;
  if (!has_transparent_huge_pages()) {
    errno = ENOTSUP;
    fail(
        "hugepages: no huge pages are reserved (vm.nr_hugepages), and transparent huge pages are "
        "off (/sys/kernel/mm/transparent_hugepage/enabled)");
  }
  // Huge pages need memory aligned to their size.
  mapping_ = map(whole + kHugeBytes, 0);
  if (mapping_.empty()) fail("cannot get memory for " + std::to_string(bytes) + " bytes of frames");
  const auto at = reinterpret_cast<std::uintptr_t>(mapping_.data());
  memory_ = mapping_.subspan(rounded(at, kHugeBytes) - at, whole);
  if (::madvise(memory_.data(), whole, MADV_HUGEPAGE) != 0) {
    const int error = errno;
    ::munmap(mapping_.data(), mapping_.size());
    errno = error;
    fail("hugepages: the kernel refuses huge pages");
  }
}

FrameBuffers::FrameBuffers(FrameBuffers&& other) noexcept
    : mapping_(std::exchange(other.mapping_, {})), memory_(std::exchange(other.memory_, {})) {}

FrameBuffers::~FrameBuffers() {
  if (!mapping_.empty()) ::munmap(mapping_.data(), mapping_.size());
}

namespace {

constexpr std::size_t kMinSlots = 64;
constexpr std::size_t kLineBytes = 64;

std::size_t probe_at(const FrameMakerOptions& options) noexcept {
  if (options.headers) return options.headers->bytes();
  return kEthernetHeaderBytes + (options.vlan ? kVlanTagBytes : 0);
}

void put_big_endian(std::byte* to, std::uint16_t value) noexcept {
  to[0] = static_cast<std::byte>(value >> 8U);
  to[1] = static_cast<std::byte>(value & 0xffU);
}

void fill_random(std::span<std::byte> bytes, std::uint64_t seed) noexcept {
  Random random(seed);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(&bytes[at], &word, std::min(sizeof word, bytes.size() - at));
  }
}

void fill_pattern(std::span<std::byte> bytes, std::span<const std::byte> pattern) noexcept {
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    bytes[at] = pattern.empty() ? static_cast<std::byte>(at & 0xffU) : pattern[at % pattern.size()];
  }
}

/// Replaces the end of every hundred bytes by zeros, so that long and short frames compress equally
/// (fio does this to each `buffer_compress_chunk`).
void put_zeros(std::span<std::byte> bytes, std::size_t per_cent) noexcept {
  constexpr std::size_t kChunk = 100;
  const std::size_t kept = kChunk - std::min(per_cent, kChunk);
  for (std::size_t at = kept; at < bytes.size(); at += kChunk) {
    const std::size_t zeros = std::min(kChunk - kept, bytes.size() - at);
    std::fill_n(&bytes[at], zeros, std::byte{0});
  }
}

}  // namespace

FrameMakerOptions frame_maker_options(const JobOptions& job, std::uint32_t flow,
                                      std::uint32_t max_bytes) {
  FrameMakerOptions options;
  options.vlan = job.vlan;
  if (!job.headers.empty()) options.headers = HeaderTemplate::parse(job.headers).value();
  options.flow = flow;
  options.seed = job.randseed;
  options.payload = job.payload;
  options.pattern = job.buffer_pattern;
  options.zeros_per_cent = job.buffer_compress_percentage;
  options.max_bytes = max_bytes;
  options.batch = job.iodepth_batch;
  options.checksum = job.verify ? Checksum::crc : Checksum::none;
  options.hugepages = job.hugepages;
  return options;
}

FrameMaker::FrameMaker(const FrameMakerOptions& options)
    : flow_(options.flow),
      checksum_(options.checksum),
      headers_(options.headers),
      probe_at_(perf::probe_at(options)),
      max_bytes_(std::max(options.max_bytes, min_bytes())),
      // Not a power of two: otherwise the fronts of all buffers would compete for few cache lines.
      stride_(((max_bytes_ + kLineBytes - 1) / kLineBytes | 1U) * kLineBytes),
      slot_mask_(std::bit_ceil(std::max(kMinSlots, options.batch)) - 1),
      buffers_(slots() * stride_, options.hugepages) {
  if (headers_) {
    headers_->complete(options.destination, options.source,
                       Random::derive(options.seed, options.flow));
    sums_.resize(slots());
  }
  for (std::size_t number = 0; number < slots(); ++number) {
    std::byte* const slot = slot_of(number);
    const std::span payload(slot + min_bytes(), max_bytes_ - min_bytes());
    if (!headers_) write_header(options, slot);
    if (options.payload == Payload::zero) continue;
    if (options.payload == Payload::pattern) {
      fill_pattern(payload, options.pattern);
    } else {
      fill_random(payload, Random::derive(Random::derive(options.seed, flow_), number));
    }
    put_zeros(payload, options.zeros_per_cent);
  }
  if (headers_) return;
  if (checksum_ == Checksum::none) {
    for (std::size_t number = 0; number < slots(); ++number) {
      write_probe({slot_of(number), min_bytes()}, probe_at_, {}, Checksum::none);
    }
  }
  if (checksum_ == Checksum::none || !crc32c_cpu::is_there()) return;
  header_crc_ = crc32c({slot_of(0), probe_at_});
  tails_.resize(slots() * kTails);
  joins_.resize(max_bytes_ - probe_at_ - fields::kNoCrcAt + 1);
}

void FrameMaker::write_header(const FrameMakerOptions& options, std::byte* slot) noexcept {
  constexpr std::uint16_t kTagged = 0x8100;
  std::memcpy(slot, options.destination.bytes.data(), options.destination.bytes.size());
  std::memcpy(slot + 6, options.source.bytes.data(), options.source.bytes.size());
  if (options.vlan) {
    put_big_endian(slot + 12, kTagged);
    put_big_endian(slot + 14, *options.vlan & 0xfffU);
  }
  put_big_endian(slot + probe_at_ - 2, kProbeEtherType);
}

/// The fields of a probe before its CRC.
inline std::array<std::uint64_t, 5> FrameMaker::words_of(std::uint64_t sequence,
                                                         const Schedule::Slot& slot,
                                                         const Probe& probe) const noexcept {
  return {fields::front(probe.kind, slot.bytes), fields::owners(flow_, probe.nonce), sequence,
          slot.intended_ns, probe.sent_ns};
}

FrameView FrameMaker::finish(std::uint64_t sequence, std::size_t bytes, Probe probe) noexcept {
  std::byte* const slot = slot_of(sequence);
  probe.flow = flow_;
  probe.sequence = sequence;
  write_probe({slot, bytes}, probe_at_, probe, checksum_);
  if (headers_) {
    const Sums& sums = sums_of(sequence, bytes);
    headers_->write_checksum(slot, sums.header, min_bytes(), sums.rest);
  }
  return {slot, bytes};
}

void FrameMaker::make_all(std::uint64_t first, std::span<const Schedule::Slot> slots,
                          const Probe& probe, std::vector<FrameView>& into) {
  if (!tails_.empty()) return make_by_cpu(first, slots, probe, into);
  if (!headers_ && checksum_ == Checksum::none) return make_without_crc(first, slots, probe, into);
  if (headers_) {
    for (std::size_t i = 0; i < slots.size(); ++i) write_headers(first + i, slots[i].bytes);
  }
  Probe each = probe;
  for (const Schedule::Slot& slot : slots) {
    each.intended_ns = slot.intended_ns;
    into.push_back(finish(first++, slot.bytes, each));
  }
}

/// Writes only the fields that differ from the last frame in the same buffer.
void FrameMaker::make_without_crc(std::uint64_t first, std::span<const Schedule::Slot> slots,
                                  const Probe& probe, std::vector<FrameView>& into) {
  for (const Schedule::Slot& slot : slots) {
    std::byte* const frame = slot_of(first);
    std::byte* at = frame + probe_at_;
    for (const std::uint64_t word : words_of(first++, slot, probe)) {
      fields::put(at, word);
      at += sizeof word;
    }
    into.emplace_back(frame, slot.bytes);
  }
}

/// The same. The CRC of the bytes behind them is known.
SHMIF_CRC32C_BY_CPU void FrameMaker::make_by_cpu(std::uint64_t first,
                                                 std::span<const Schedule::Slot> slots,
                                                 const Probe& probe, std::vector<FrameView>& into) {
  for (const Schedule::Slot& slot : slots) {
    const Tail& tail = tail_of(first, slot.bytes);
    std::byte* const frame = slot_of(first);
    std::byte* at = frame + probe_at_;
    crc32c_cpu::Sum sum(header_crc_);
    for (const std::uint64_t word : words_of(first++, slot, probe)) {
      sum.add(word);
      fields::put(at, word);
      at += sizeof word;
    }
    fields::put(at, crc32c_cpu::join(tail.join, sum.crc(), tail.crc));
    into.emplace_back(frame, slot.bytes);
  }
}

void FrameMaker::learn_tail(Tail& tail, const std::byte* slot, std::uint32_t bytes) noexcept {
  const std::size_t from = probe_at_ + fields::kNoCrcAt;
  const std::span<const std::byte> behind(slot + from, bytes - from);
  Crc32cJoin& join = joins_[behind.size()];
  if (join.factor() == 0) join = Crc32cJoin(behind.size());
  tail = {.bytes = bytes, .crc = crc32c(behind), .join = join};
}

const FrameMaker::Sums& FrameMaker::sums_of(std::uint64_t sequence, std::size_t bytes) noexcept {
  Sums& sums = sums_[sequence & slot_mask_];
  if (sums.bytes != bytes) {
    const std::byte* const slot = slot_of(sequence);
    sums.rest = internet_sum({slot + min_bytes(), bytes - min_bytes()});
    sums.bytes = bytes;
  }
  return sums;
}

/// Compares the header, except for a checksum of UDP or TCP. That covers the probe, and is checked
/// together with it.
bool FrameMaker::header_is_as_made(std::span<const std::byte> frame, std::size_t length,
                                   std::uint64_t sequence) const noexcept {
  if (!headers_) {
    const std::byte* const made = buffers_.data() + (sequence & slot_mask_) * stride_;
    return std::equal(made, made + probe_at_, frame.begin());
  }
  constexpr std::size_t kMaxHeaderBytes = 128;
  std::array<std::byte, kMaxHeaderBytes> made{};
  headers_->write(made.data(), length, sequence);
  if (const std::size_t at = headers_->places().transport_checksum; at != 0) {
    std::copy_n(&frame[at], 2, &made[at]);
  }
  return std::equal(made.begin(), made.begin() + static_cast<std::ptrdiff_t>(probe_at_),
                    frame.begin());
}

bool FrameMaker::payload_is_as_made(std::span<const std::byte> frame) const noexcept {
  if (frame.size() < min_bytes()) return false;
  std::uint64_t sequence = 0;
  std::memcpy(&sequence, &frame[probe_at_ + 16], sizeof sequence);
  const std::size_t length = probe_length(&frame[probe_at_]).value_or(0);
  if (length < min_bytes() || length > std::min(frame.size(), max_bytes_)) return false;
  const std::byte* const made = buffers_.data() + (sequence & slot_mask_) * stride_;
  return header_is_as_made(frame, length, sequence) &&
         std::memcmp(made + min_bytes(), frame.data() + min_bytes(), length - min_bytes()) == 0;
}

}  // namespace shmif::perf
