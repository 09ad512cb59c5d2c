#pragma once
// The ring of a sampled event, and the records in it, as the kernel writes them
// (linux/perf_event.h).

#include <linux/perf_event.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "perf/counters/sample.hpp"

namespace shmif::perf {

/// What every sample of ours has. PERF_SAMPLE_PERIOD is for frequencies only: with it, software
/// events ignore a fixed period, and give a sample for each event.
inline constexpr std::uint64_t kOwnFields =
    PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID;
/// What may be asked for beside them.
inline constexpr std::uint64_t kOptionalFields =
    PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU | PERF_SAMPLE_CALLCHAIN;

/// Reads a PERF_RECORD_SAMPLE behind its header, with these fields. None: it is cut off. `chain`
/// keeps the callers.
std::optional<Sample> read_sample(std::span<const std::byte> body, std::uint64_t fields,
                                  std::vector<std::uint64_t>& chain);
/// Reads a PERF_RECORD_MMAP2 or PERF_RECORD_MMAP behind its header.
std::optional<CodeMapping> read_mapping(std::span<const std::byte> body, bool second_form);

/// The ring in which the kernel puts records for us. It has a header page in front.
/// Threads: one at a time. Blocks: never.
class SampleRing {
 public:
  /// `memory`: the header page of `header` bytes, and behind it `bytes`, a power of two.
  SampleRing(void* memory, std::size_t header, std::size_t bytes) noexcept;

  /// How many bytes the kernel has ever put in.
  std::uint64_t head() const noexcept;
  /// Less than a quarter is free.
  bool nearly_full() const noexcept;
  /// The header of the next record, and what follows it in `record`, which is replaced; none: there
  /// is no whole record before `until`. A broken record empties the ring up to there.
  std::optional<perf_event_header> next(std::vector<std::byte>& record, std::uint64_t until);

 private:
  void copy_out(std::uint64_t position, std::span<std::byte> to) const noexcept;

  perf_event_mmap_page* page_;
  const std::byte* data_;
  std::uint64_t bytes_;
};

}  // namespace shmif::perf
