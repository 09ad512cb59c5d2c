#pragma once
// From what was seen of the jobs, and from what happened to their traffic, to what held them back.
//
// For each thread and each cause, every interval gets a value: the share of the interval for which
// the cause held the thread back. Intervals above the threshold of the cause become windows
// (perf/why/windows.hpp), and each window worth naming becomes a Cause. If several threads of a job
// have the same cause at the same time, the one that was held back longest stands for the job.
//
// Causes that are counted in packets come first: each explains at most as many losses as it has
// counted, and no loss is explained twice. What held a thread back explains the rest that fell into
// its time, and what the receiver's own socket dropped.
//
// Threads: any. Blocks: never.

#include <span>
#include <vector>

#include "perf/why/account.hpp"
#include "perf/why/cause.hpp"
#include "perf/why/series.hpp"

namespace shmif::perf {

/// From which share of an interval on a cause counts.
struct WhyThresholds {
  /// A tenth. Threads that share a CPU fairly with one other wait for half of the time; a thread
  /// that is woken on a busy machine waits for a few per cent.
  double waited = 0.10;
  double stopped = 0.10;
  double throttled = 0.05;
  /// Two ticks of ten: /proc/stat counts in hundredths of a second.
  double steal = 0.20;
  /// A quarter: a job that sends through network interfaces does part of its own work there.
  double softirq = 0.25;
  double migrated = 0.10;
  double memory = 0.10;
  /// One packet in a hundred.
  double device = 0.01;
  double bus = 0.10;
};
inline constexpr WhyThresholds kWhyThresholds;

/// What a thread was held back for that is shorter than this is not worth a sentence, unless a part
/// of the job's losses fell there. Of a short watch, a quarter is enough, if it is no blink.
inline constexpr double kWorthNamingSeconds = 0.1;
inline constexpr double kWorthNamingShare = 0.25;
inline constexpr double kBlinkSeconds = 0.01;
inline constexpr double kWorthNamingLosses = 0.05;
/// No more causes than a reader reads.
inline constexpr std::size_t kMaxCauses = 20;

/// The heaviest first: by losses times share, then by the time that the job was held back. Empty
/// if nothing held a job back.
std::vector<Cause> find_causes(const WhySeries& series, std::span<const JobTraffic> traffic);

/// Over the whole watch, for tables.
struct TaskSummary {
  std::string job, name;
  pid_t process = 0, thread = 0;
  bool ended = false;
  double seconds = 0;
  double running = 0, asleep = 0, stopped = 0;  ///< shares of `seconds`
  std::optional<double> waiting;                ///< empty: the kernel does not tell
  std::uint64_t voluntary = 0, involuntary = 0, migrations = 0;
  std::uint64_t minor_faults = 0, major_faults = 0;
};
std::vector<TaskSummary> summaries_of(const WhySeries& series);

}  // namespace shmif::perf
