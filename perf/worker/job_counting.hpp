#pragma once
// Counts events for a job (option `counters`): over its measured window, and in each interval of
// the run. A border of the window ends an interval, as it does in the job's curve.
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
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/session.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// An event that a job counts, or the reason why no job can count it.
struct JobEvent {
  CounterEvent event;
  std::string reason;  ///< empty: a job can count it
};

/// The events of the option `counters`. If this machine does not have the PMU of an event, that is
/// not an error: the event has a reason. Errors: Errc::bad_argument for an unknown name, or for
/// more than kMaxCounters. Blocks: while it reads files of the kernel.
Result<std::vector<JobEvent>> job_events(const std::string& list);

/// Threads: one at a time.
class JobCounting {
 public:
  /// Loads the events on the calling process or thread, and starts them. If the kernel refuses an
  /// event, its block says why. `block` has at least one entry for each event.
  JobCounting(std::span<const JobEvent> events, std::span<CounterBlock> block, bool thread,
              KernelCounters& kernel = kernel_counters());
  JobCounting(const JobCounting&) = delete;
  JobCounting& operator=(const JobCounting&) = delete;
  ~JobCounting() = default;

  bool any() const noexcept { return !loaded_.empty(); }

  /// `log` gets the counts of each interval, from begin_log() on. Each interval takes `length_ns`.
  void log_to(CounterLog& log, std::uint64_t length_ns) noexcept;
  /// Intervals begin at `start_ns`.
  void begin_log(std::uint64_t start_ns, std::uint64_t now);
  /// Whether the interval is over and must be closed.
  bool is_over(std::uint64_t now) const noexcept { return now >= next_ns_; }
  /// When it will be over; UINT64_MAX if there is no log.
  std::uint64_t next_ns() const noexcept { return next_ns_; }
  /// Closes the interval, however long it is. In the window, also writes the block.
  void close_interval(std::uint64_t now);

  /// From now on, counts belong to the window. The border was at `at_ns`.
  void begin_window(std::uint64_t at_ns);
  /// Writes the counts of the window into the block, the first time that it is called.
  void end_window(std::uint64_t at_ns);
  /// Writes the counts since the window began into the block, also after its end.
  void keep();

 private:
  enum class Window { ahead, open, over };
  void load(std::span<const JobEvent> events, bool thread, KernelCounters& kernel);
  /// Reads all events that are loaded, into `now_`.
  void read();
  void write_block();
  void write_interval(std::uint64_t at_ns);
  void refuse_all(std::error_code code, std::span<const JobEvent> events);
  void refuse_all(const std::string& reason);

  std::span<CounterBlock> block_;
  std::vector<std::size_t> loaded_;  ///< which of the events the session counts
  std::unique_ptr<CounterSession> session_;
  std::array<Reading, kMaxCounters> now_{}, begin_{};  // as loaded_; begin_: at the window's begin
  Window window_ = Window::ahead;

  CounterLog* log_ = nullptr;
  std::uint64_t start_ns_ = 0, length_ns_ = 0;
  std::uint64_t next_ns_ = UINT64_MAX;
  std::uint64_t interval_begin_ns_ = 0;  // counted from start_ns_
  std::array<Reading, kMaxCounters> interval_begin_{};
};

}  // namespace shmif::perf
