#pragma once
// Counts events for a job (option `counters`), in its measured window.
//
// The job opens the counters itself, before it starts threads and gives up privileges: the threads
// and children that it starts later inherit them, and a job that is a thread is counted without the
// other threads of the process. For engine=host, the process that carries the host's frames opens
// them outside the guest, whose root has no rights for this.

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/counters/session.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// An event that a job counts; or why no job can count it.
struct JobEvent {
  CounterEvent event;
  std::string reason;  ///< empty: a job can count it
};

/// The events of the option `counters`. An event of a PMU that this machine does not have is no
/// error, but has a reason. Errors: Errc::bad_argument for a name that nobody knows, or for more
/// than kMostCounters. Blocks: as the kernel does for its files.
Result<std::vector<JobEvent>> job_events(const std::string& list);

/// Threads: one at a time.
class JobCounting {
 public:
  /// Loads the events on the calling process or thread, and starts them. What the kernel refuses
  /// has a reason in its block. `block`: as many as events, or more.
  JobCounting(std::span<const JobEvent> events, std::span<CounterBlock> block, bool thread,
              KernelCounters& kernel = kernel_counters());
  JobCounting(const JobCounting&) = delete;
  JobCounting& operator=(const JobCounting&) = delete;
  ~JobCounting() = default;

  bool any() const noexcept { return !loaded_.empty(); }
  /// What is counted from here on is of the window.
  void begin_window();
  /// Writes what was counted since then into the block.
  void keep();

 private:
  void load(std::span<const JobEvent> events, bool thread, KernelCounters& kernel);
  bool read(std::span<Reading> readings);
  void refuse_all(std::error_code code, std::span<const JobEvent> events);
  void refuse_all(const std::string& reason);

  std::span<CounterBlock> block_;
  std::vector<std::size_t> loaded_;  ///< which of the events the session counts
  std::unique_ptr<CounterSession> session_;
  std::array<Reading, kMostCounters> begin_{};
  bool in_window_ = false;
};

}  // namespace shmif::perf
