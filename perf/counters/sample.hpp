#pragma once
// Samples, and what else comes through the ring of a sampled event.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

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

}  // namespace shmif::perf
