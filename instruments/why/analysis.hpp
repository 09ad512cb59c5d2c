#pragma once
// Finds what held jobs back, from what was seen of them and what happened to their traffic.
//
// For each thread and each cause, every interval gets a value: the share of the interval for which
// the cause held the thread back. Intervals above the threshold of the cause become windows
// (instruments/why/evidence.hpp), and each window worth naming becomes a Cause. If several threads
// of a job have the same cause at the same time, the one that was held back longest stands for the
// job.
//
// Causes that are counted in packets come first. Each explains at most as many losses as it has
// counted. What held a thread back then explains the other losses of that time, the heaviest cause
// first. No loss is explained twice, so the shares of a job's causes add up to at most 1.
//
// Threads: any. Blocks: never.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instruments/why/cause.hpp"
#include "instruments/why/series.hpp"

namespace shmif::perf {

/// One interval of a counter; zeros if it was not read at both ends.
struct CountedStep {
  std::uint64_t lost = 0, passed = 0;
};

/// A counter that can explain losses of a job, at most as many as its count: of the IP stack, of
/// queues and interfaces.
struct Counted {
  CauseKind kind{};
  std::size_t job = 0;
  std::size_t first = 0;
  std::vector<CountedStep> steps{};
  const void* source = nullptr;  ///< the series: its packets explain losses only once, of any job
  bool named_anyway = false;     ///< worth a sentence even if no losses are known
  /// "the interface tap0 dropped {} that were to be sent". The number and `thing` replace the "{}".
  std::string words{};
  std::string thing = "packet";
};

/// The counters of places that can have lost packets of the job. Losses are assigned to them in
/// this order: first the places on the way, last the receiver's own socket.
std::vector<Counted> counted_of(const WhySeries& series, std::size_t job);

/// How a thread spent an interval, in shares of it; their sum is 1.
///
/// The kernel counts a wait when it ends: the run delay of a thread that still waits does not grow.
/// It counts running time at ticks, so some of that appears an interval later. So if an interval
/// has more counted time than its length, the rest belongs to the interval before, provided that
/// the thread was ready to run at the border (state R). If a thread was ready at both ends of an
/// interval and never slept in it, it was ready all the time. The time that the kernel did not
/// count is then `held`: a wait that has not ended, a quota of the control group, or a CPU that the
/// hypervisor took.
struct TaskTime {
  double running = 0, waiting = 0, held = 0, stopped = 0, asleep = 0;
};

/// One element for each step of the thread.
std::vector<TaskTime> account_of(const WhySeries& series, const TaskSeries& task);

/// A cause counts from this share of an interval on.
struct WhyThresholds {
  /// A tenth. A thread that shares a CPU fairly with another one waits for half of the time. A
  /// thread that is woken on a busy machine waits for a few per cent.
  double waited = 0.10;
  double stopped = 0.10;
  double throttled = 0.05;
  /// Two ticks of ten, because /proc/stat counts in hundredths of a second.
  double steal = 0.20;
  /// A quarter, because a job that sends through network interfaces does part of its own work in
  /// softirqs.
  double softirq = 0.25;
  double migrated = 0.10;
  double memory = 0.10;
  /// One packet in a hundred.
  double device = 0.01;
  double bus = 0.10;
};
inline constexpr WhyThresholds kWhyThresholds;

/// A cause that held a thread back for less time than this is not worth a sentence, unless at least
/// kWorthNamingLosses of the job's losses fell there. In a short watch, kWorthNamingShare of the
/// watch is enough, but at least kBlinkSeconds.
inline constexpr double kWorthNamingSeconds = 0.1;
inline constexpr double kWorthNamingShare = 0.25;
inline constexpr double kBlinkSeconds = 0.01;
inline constexpr double kWorthNamingLosses = 0.05;
/// A reader would not read more causes than this.
inline constexpr std::size_t kMaxCauses = 20;

/// The causes, the heaviest first: by losses times share, then by the time that the job was held
/// back. Empty if no job was held back.
std::vector<Cause> find_causes(const WhySeries& series, std::span<const JobTraffic> traffic);

/// A thread over the whole watch, for tables.
struct TaskSummary {
  std::string job, name;
  pid_t process = 0, thread = 0;
  bool ended = false;
  double seconds = 0;
  double running = 0, asleep = 0, stopped = 0;  ///< shares of `seconds`
  std::optional<double> waiting;                ///< empty if the kernel does not tell
  std::uint64_t voluntary = 0, involuntary = 0, migrations = 0;
  std::uint64_t minor_faults = 0, major_faults = 0;
};
std::vector<TaskSummary> summaries_of(const WhySeries& series);

}  // namespace shmif::perf
