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
  std::vector<int> cpus{};  ///< samples everything on these CPUs instead of processes
};

/// Threads: one at a time.
class SampleRun {
 public:
  /// Loads and starts, on the processes or on the CPUs of the options. If the kernel does not let
  /// this user sample the kernel, samples in user space only. Errors: as CounterSession::load(). If
  /// the kernel refused the event, `refused` gets the reason.
  static Result<SampleRun> start(const CounterEvent& event, std::span<const TaskId> processes,
                                 const SampleOptions& options,
                                 std::optional<Refusal>* refused = nullptr,
                                 KernelCounters& kernel = kernel_counters());

  /// Passes all records since the last call to `sink`. Blocks: never.
  Result<void> read(SampleSink& sink);
  /// Stops sampling. Samples taken so far can still be read.
  void stop();

  /// The counts of all reads together.
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
