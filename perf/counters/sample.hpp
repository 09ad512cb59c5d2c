#pragma once
// Samples, and what else comes through the ring of a sampled event.

#include <linux/perf_event.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::perf {

/// Fields that were not asked for are 0; the time is also there for processes and CPUs. The chain
/// is valid during the call that gets the sample.
struct Sample {
  std::uint64_t id = 0;   ///< of the event in the kernel
  std::size_t event = 0;  ///< as the session numbered it
  std::uint64_t ip = 0;   ///< where the program was
  pid_t process = 0;
  pid_t thread = 0;
  std::uint64_t time_ns = 0;  ///< of CLOCK_MONOTONIC
  std::uint64_t address = 0;  ///< of the data
  int cpu = -1;
  std::uint64_t period = 0;  ///< how many events it stands for
  bool in_kernel = false;
  std::span<const std::uint64_t>
      chain{};  ///< callers, the innermost first, with PERF_CONTEXT_ marks
};

/// A process has mapped a file with code.
struct CodeMapping {
  pid_t process = 0;
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
  std::uint64_t file_offset = 0;
  std::string_view file;
};

/// Who gets the records of a session. Each function may be left as it is.
class SampleSink {
 public:
  SampleSink() = default;
  SampleSink(const SampleSink&) = delete;
  SampleSink& operator=(const SampleSink&) = delete;
  virtual ~SampleSink() = default;

  virtual void sample(const Sample& sample) = 0;
  virtual void mapped(const CodeMapping& /*mapping*/) {}
  /// A process executes another program: what was mapped is gone.
  virtual void executed(pid_t /*process*/, std::string_view /*name*/) {}
  virtual void forked(pid_t /*parent*/, pid_t /*child*/) {}
};

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
