#pragma once
// Samples, and the other records that come through the ring of a sampled event.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace shmif::perf {

/// One sample. Fields that were not asked for are 0 (`cpu`: -1). The time is always set if the
/// target is a process or CPUs. The chain is valid only during the call that gets the sample.
struct Sample {
  std::uint64_t id = 0;       ///< the kernel's number of the event
  std::size_t event = 0;      ///< the session's number of the event
  std::uint64_t ip = 0;       ///< where the program was
  pid_t process = 0;          ///< its pid
  pid_t thread = 0;           ///< its tid
  std::uint64_t time_ns = 0;  ///< on CLOCK_MONOTONIC
  std::uint64_t address = 0;  ///< address of the data
  int cpu = -1;               ///< where the program ran
  std::uint64_t period = 0;   ///< how many events the sample stands for
  bool in_kernel = false;     ///< `ip` is an address of the kernel
  std::span<const std::uint64_t>
      chain{};  ///< callers, the innermost first, with PERF_CONTEXT_ marks
};

/// A process has mapped a file with code.
struct CodeMapping {
  pid_t process = 0;              ///< the pid of that process
  std::uint64_t begin = 0;        ///< the first address, in that process
  std::uint64_t bytes = 0;        ///< length of the mapping
  std::uint64_t file_offset = 0;  ///< where the mapping begins in the file
  /// The path of the file, or a name such as "[vdso]". Valid only during the call of mapped().
  std::string_view file;
};

/// Receives the records of a session. Every sink has sample(); the other functions are optional.
class SampleSink {
 public:
  SampleSink() = default;
  SampleSink(const SampleSink&) = delete;
  SampleSink& operator=(const SampleSink&) = delete;
  virtual ~SampleSink() = default;

  /// Called for each sample.
  virtual void sample(const Sample& sample) = 0;
  /// Called when a process has mapped a file with code.
  virtual void mapped(const CodeMapping& /*mapping*/) {}
  /// A process executes another program; its earlier mappings are gone.
  virtual void executed(pid_t /*process*/, std::string_view /*name*/) {}
  /// A process has made a child, which has the same mappings. If both are the same process, it has
  /// started a thread.
  virtual void forked(pid_t /*parent*/, pid_t /*child*/) {}
};

}  // namespace shmif::perf
