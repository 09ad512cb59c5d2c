#pragma once
// The ring of a sampled event, and its records, in the kernel's format
// (linux/perf_event.h).

#include <linux/perf_event.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "perf/counters/sample.hpp"

namespace shmif::perf {

/// The fields of every sample that we ask for. PERF_SAMPLE_PERIOD is added only for frequencies:
/// with it, software events ignore a fixed period and make a sample for each event.
inline constexpr std::uint64_t kOwnFields =
    PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID;
/// The fields that may be asked for in addition.
inline constexpr std::uint64_t kOptionalFields =
    PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU | PERF_SAMPLE_CALLCHAIN;

/// Reads the body of a PERF_RECORD_SAMPLE with these fields. Empty if the record is cut off.
/// `chain` stores the callers.
std::optional<Sample> read_sample(std::span<const std::byte> body, std::uint64_t fields,
                                  std::vector<std::uint64_t>& chain);
/// Reads the body of a PERF_RECORD_MMAP2 (`second_form`) or PERF_RECORD_MMAP.
std::optional<CodeMapping> read_mapping(std::span<const std::byte> body, bool second_form);

/// The ring into which the kernel writes records for us. A header page precedes it.
/// Threads: one at a time. Blocks: never.
class SampleRing {
 public:
  /// `memory`: the header page of `header` bytes, followed by `bytes` bytes (a power of two).
  SampleRing(void* memory, std::size_t header, std::size_t bytes) noexcept;

  /// How many bytes the kernel has ever written.
  std::uint64_t head() const noexcept;
  /// Whether less than a quarter of the ring is free.
  bool nearly_full() const noexcept;
  /// The header of the next record. Replaces `record` by the record's body. Empty if there is no
  /// whole record before `until`. A broken record empties the ring up to `until`.
  std::optional<perf_event_header> next(std::vector<std::byte>& record, std::uint64_t until);

 private:
  void copy_out(std::uint64_t position, std::span<std::byte> to) const noexcept;

  perf_event_mmap_page* page_;
  const std::byte* data_;
  std::uint64_t bytes_;
};

}  // namespace shmif::perf
