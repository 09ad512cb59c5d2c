#pragma once
// Samples, and the other records that come through the ring of a sampled event.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace shmif::perf {

/// Fields that were not asked for are 0. The time is always set if the target is a process or CPUs.
/// The chain is valid only during the call that gets the sample.
struct Sample {
  std::uint64_t id = 0;   ///< the kernel's number of the event
  std::size_t event = 0;  ///< the session's number of the event
  std::uint64_t ip = 0;   ///< where the program was
  pid_t process = 0;
  pid_t thread = 0;
  std::uint64_t time_ns = 0;  ///< on CLOCK_MONOTONIC
  std::uint64_t address = 0;  ///< address of the data
  int cpu = -1;
  std::uint64_t period = 0;  ///< how many events the sample stands for
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

/// Receives the records of a session. Every sink has sample(); the other functions are optional.
class SampleSink {
 public:
  SampleSink() = default;
  SampleSink(const SampleSink&) = delete;
  SampleSink& operator=(const SampleSink&) = delete;
  virtual ~SampleSink() = default;

  virtual void sample(const Sample& sample) = 0;
  virtual void mapped(const CodeMapping& /*mapping*/) {}
  /// A process executes another program; its earlier mappings are gone.
  virtual void executed(pid_t /*process*/, std::string_view /*name*/) {}
  virtual void forked(pid_t /*parent*/, pid_t /*child*/) {}
};

}  // namespace shmif::perf
