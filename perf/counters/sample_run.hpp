#pragma once
// Samples one event on processes or CPUs.

#include <optional>
#include <span>
#include <vector>

#include "perf/counters/kernel_counters.hpp"
#include "perf/counters/sample.hpp"
#include "perf/counters/session.hpp"

namespace shmif::perf {

struct SampleOptions {
  Sampling sampling;
  bool on_exec = false;  ///< samples come when the process executes a program
  std::uint32_t ring_pages = 64;
  std::vector<int> cpus{};  ///< samples everything on these, and no process
};

/// Threads: one at a time.
class SampleRun {
 public:
  /// Loads and starts, on the processes or on the CPUs of the options. Where the kernel does not
  /// permit samples of itself to this user, there are only those in user space. Errors: as
  /// CounterSession::load(); `refused` gets what the kernel refused, if it did.
  static Result<SampleRun> start(const CounterEvent& event, std::span<const TaskId> processes,
                                 const SampleOptions& options,
                                 std::optional<Refusal>* refused = nullptr,
                                 KernelCounters& kernel = kernel_counters());

  /// Calls `sink` for all that came since the last call. Blocks: never.
  Result<void> read(SampleSink& sink);
  /// No more samples; those that are there can still be read.
  void stop();

  /// Of all reads together.
  const SampleCounts& counts() const noexcept { return counts_; }
  bool user_space_only() const noexcept { return user_space_only_; }

 private:
  SampleRun() = default;
  Result<void> load(const CounterEvent& event, std::span<const CounterTarget> targets,
                    const SampleOptions& options, std::optional<VectorFault>& fault,
                    KernelCounters& kernel);

  std::vector<CounterSession> sessions_;
  SampleCounts counts_;
  bool user_space_only_ = false;
};

}  // namespace shmif::perf
