#include "instruments/why/evidence.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/text.hpp"

namespace shmif::perf {
namespace {

/// Two windows with a gap are joined only if the weaker is at least this share of the stronger.
/// Otherwise noise before an event would make the event begin too early. add_run() uses the same
/// share.
constexpr double kSimilar = 0.5;

void measure(const WhySeries& series, std::size_t first, std::span<const double> values,
             CauseWindow& window) {
  double known_s = 0;
  window.held_s = 0;
  for (std::size_t i = window.begin; i < window.end; ++i) {
    if (std::isnan(values[i - first])) continue;
    known_s += series.seconds_of(i);
    window.held_s += values[i - first] * series.seconds_of(i);
  }
  window.share = window.held_s / known_s;  // windows begin with an interval that is known
}

/// Adds a run of intervals. A strong middle becomes its own window, so that an event in a noisy
/// time has its own begin and end. A weak edge of only one interval stays with the middle, because
/// the event begins or ends in it.
void add_run(const WhySeries& series, std::size_t first, std::span<const double> values,
             CauseWindow run, std::vector<CauseWindow>& runs) {
  constexpr std::size_t kUpperQuarter = 4;
  const auto value = [&](std::size_t interval) { return values[interval - first]; };
  std::vector<double> sorted;
  for (std::size_t i = run.begin; i < run.end; ++i) sorted.push_back(value(i));
  std::ranges::sort(sorted);
  const double strong = sorted[sorted.size() - 1 - sorted.size() / kUpperQuarter] * kSimilar;
  CauseWindow core = run;
  while (value(core.begin) < strong) ++core.begin;
  while (value(core.end - 1) < strong) --core.end;
  if (core.begin == run.begin + 1) core.begin = run.begin;
  if (core.end + 1 == run.end) core.end = run.end;
  if (core.begin > run.begin) {
    add_run(series, first, values, {.begin = run.begin, .end = core.begin}, runs);
  }
  measure(series, first, values, core);
  runs.push_back(core);
  if (core.end < run.end) {
    add_run(series, first, values, {.begin = core.end, .end = run.end}, runs);
  }
}

/// Joins neighbours that are close and alike.
std::vector<CauseWindow> joined(const WhySeries& series, std::size_t first,
                                std::span<const double> values,
                                const std::vector<CauseWindow>& runs) {
  std::vector<CauseWindow> windows;
  for (const CauseWindow& run : runs) {
    if (!windows.empty()) {
      CauseWindow& last = windows.back();
      const double gap = series.begin_of(run.begin) - series.ends_s[last.end - 1];
      const auto [less, more] = std::minmax(last.share, run.share);
      if (gap < kJoinSeconds && less >= kSimilar * more) {
        last.end = run.end;
        measure(series, first, values, last);
        continue;
      }
    }
    windows.push_back(run);
  }
  return windows;
}

}  // namespace

std::vector<CauseWindow> windows_of(const WhySeries& series, std::size_t first,
                                    std::span<const double> values, double threshold) {
  std::vector<CauseWindow> runs;
  for (std::size_t i = 0; i < values.size();) {
    const auto counts = [&](std::size_t at) {
      return at < values.size() && values[at] >= threshold && series.seconds_of(first + at) > 0;
    };
    std::size_t end = i;
    while (counts(end)) ++end;
    if (end > i) {
      add_run(series, first, values, {.begin = first + i, .end = first + end}, runs);
    }
    i = std::max(end, i + 1);
  }
  return joined(series, first, values, runs);
}

namespace {

/// The cost of a migration: the kernel itself treats a thread as cache-hot for this long
/// (sched_migration_cost_ns).
constexpr double kMigrationSeconds = 500e-6;
/// The least cost of a page from a disk, or of a reclaim at the limit of a control group.
constexpr double kFaultSeconds = 100e-6;
/// Threads choose their CPUs when they begin. A later change was made by somebody else.
constexpr double kSettledSeconds = 1;
/// The longest period of a quota. The kernel counts a throttled time when it ends.
constexpr double kLongestPeriod = 1;

/// The values of one thread for each cause.
struct TaskValues {
  std::vector<double> waited, stopped, throttled, steal, softirq, migrated, memory;
  explicit TaskValues(std::size_t steps) {
    for (auto* each : all()) each->resize(steps);
  }
  void forget(std::size_t step) {
    for (auto* each : all()) (*each)[step] = kUnknown;
  }

 private:
  std::array<std::vector<double>*, 7> all() {
    return {&waited, &stopped, &throttled, &steal, &softirq, &migrated, &memory};
  }
};

const CpuStep* cpu_of(const WhySeries& series, std::size_t interval, int cpu) {
  if (interval >= series.machine.size()) return nullptr;
  const auto& cpus = series.machine[interval].cpus;
  const auto at = std::ranges::find_if(cpus, [cpu](const CpuStep& c) { return c.cpu == cpu; });
  return at == cpus.end() ? nullptr : &*at;
}

/// Seconds for which the group was throttled in each interval. If an interval has more than its
/// length, the rest belongs to the intervals before.
std::vector<double> throttled_seconds(const WhySeries& series, const GroupSeries& group) {
  std::vector<double> seconds(series.ends_s.size());
  double late = 0, since = 0;
  for (std::size_t i = group.steps.size(); i-- > 0;) {
    const std::size_t interval = group.first + i;
    const double length = series.seconds_of(interval);
    const double all = group.steps[i].throttled_us * kMicro + late;
    seconds[interval] = std::min(all, length);
    since = group.steps[i].throttled_us > 0 ? 0 : since + length;
    late = since < kLongestPeriod ? all - seconds[interval] : 0;
  }
  return seconds;
}

/// The part of an interval for which memory was short; 0 unless the thread itself had major faults,
/// or its group was at its limit.
double memory_share(const WhySeries& series, std::size_t interval, const TaskStep& step) {
  const GroupStep* group = nullptr;
  if (step.group != kNowhere) {
    const GroupSeries& of = series.groups[step.group];
    if (interval >= of.first && interval - of.first < of.steps.size()) {
      group = &of.steps[interval - of.first];
    }
  }
  const std::uint32_t reclaims = group == nullptr ? 0 : group->at_limit;
  if (step.major_faults == 0 && reclaims == 0) return 0;
  std::optional<std::uint32_t> pressure_us;
  if (interval < series.machine.size()) pressure_us = series.machine[interval].memory_us;
  if (group != nullptr && group->memory_us) pressure_us = group->memory_us;
  const double counted = (step.major_faults + reclaims) * kFaultSeconds;
  const double pressed = pressure_us.value_or(0) * kMicro;
  return std::min(1.0, std::max(counted, pressed) / series.seconds_of(interval));
}

/// Divides the time that the thread was held back in one interval among the causes.
void divide(const WhySeries& series, const TaskSeries& task, std::size_t i, TaskTime time,
            double throttled_share, TaskValues& values) {
  const TaskStep& step = task.steps[i];
  const std::size_t interval = task.first + i;
  const double length = series.seconds_of(interval);
  if (!step.known) values.forget(i);
  if (length <= 0 || !step.known) return;
  values.stopped[i] = time.stopped;
  values.memory[i] = memory_share(series, interval, step);
  values.migrated[i] = std::min(1.0, step.migrations * kMigrationSeconds / length);
  // A thread that a quota takes from its CPU is not asleep, although the kernel does not count a
  // wait.
  const bool was_pushed = step.involuntary > 0 || step.state == 'R' || time.waiting > 0;
  const double ready = time.waiting + time.held + (was_pushed ? time.asleep : 0);
  const double throttled = std::min(throttled_share, ready);
  values.throttled[i] = throttled;
  const double of_held = std::min(throttled, time.held);
  time.held -= of_held;
  time.waiting -= std::min(throttled - of_held, time.waiting);
  // Steal and softirqs hold back only a thread that wants the CPU.
  const double wanted = time.running + time.waiting + time.held;
  if (const CpuStep* cpu = cpu_of(series, interval, step.cpu); cpu != nullptr) {
    values.steal[i] = std::min(cpu->steal_us * kMicro / length, wanted);
    values.softirq[i] = std::min(cpu->softirq_us * kMicro / length, wanted);
    time.held -= std::min(values.steal[i], time.held);
  }
  values.waited[i] = time.waiting + time.held;
}

std::vector<double> throttled_shares(const WhySeries& series, const TaskSeries& task) {
  std::vector<double> shares(task.steps.size());
  std::uint16_t known = kNowhere;
  std::vector<double> seconds;
  for (std::size_t i = 0; i < task.steps.size(); ++i) {
    const std::uint16_t group = task.steps[i].group;
    if (group == kNowhere) continue;
    if (group != known) seconds = throttled_seconds(series, series.groups[group]);
    known = group;
    const double length = series.seconds_of(task.first + i);
    if (length > 0) shares[i] = seconds[task.first + i] / length;
  }
  return shares;
}

/// Evidence for each time that somebody moved the thread from its CPU.
std::vector<Evidence> moves_of(const TaskSeries& task) {
  std::vector<Evidence> moves;
  for (const AffinityChange& change : task.changes) {
    const std::size_t i = change.interval - task.first;
    if (i >= task.steps.size() || !task.steps[i].moved) continue;
    moves.push_back({.kind = CauseKind::migrated,
                     .job = task.job,
                     .first = change.interval,
                     .values = {kMigrationSeconds},
                     .task = &task,
                     .change = &change});
  }
  return moves;
}

}  // namespace

std::vector<Evidence> task_evidence(const WhySeries& series, const TaskSeries& task) {
  const std::vector<TaskTime> times = account_of(series, task);
  const std::vector<double> throttled = throttled_shares(series, task);
  TaskValues values(times.size());
  for (std::size_t i = 0; i < times.size(); ++i) {
    divide(series, task, i, times[i], throttled[i], values);
  }
  std::vector<Evidence> all = moves_of(task);
  std::erase_if(all, [&](const Evidence& move) {
    return series.begin_of(move.first) - task.born_s < kSettledSeconds;
  });
  const auto add = [&](CauseKind kind, std::vector<double>& of, double threshold) {
    all.push_back({.kind = kind,
                   .job = task.job,
                   .first = task.first,
                   .values = std::move(of),
                   .threshold = threshold,
                   .task = &task});
  };
  add(CauseKind::waited_for_cpu, values.waited, kWhyThresholds.waited);
  add(CauseKind::stopped, values.stopped, kWhyThresholds.stopped);
  add(CauseKind::throttled, values.throttled, kWhyThresholds.throttled);
  add(CauseKind::migrated, values.migrated, kWhyThresholds.migrated);
  add(CauseKind::steal, values.steal, kWhyThresholds.steal);
  add(CauseKind::softirq, values.softirq, kWhyThresholds.softirq);
  add(CauseKind::memory, values.memory, kWhyThresholds.memory);
  return all;
}

namespace {

/// Turns seconds that were counted at the end of a wait into shares of intervals. If an interval
/// has more than its length, the rest belongs to the intervals before.
std::vector<double> shares_before(const WhySeries& series, std::size_t first,
                                  const std::vector<double>& seconds) {
  std::vector<double> shares(seconds.size());
  double earlier = 0;
  for (std::size_t i = seconds.size(); i-- > 0;) {
    const double length = series.seconds_of(first + i);
    if (length <= 0) continue;
    const double all = seconds[i] + earlier;
    shares[i] = std::min(1.0, all / length);
    earlier = std::max(0.0, all - length);
  }
  return shares;
}

/// The least time that a port waited for the lock in an interval.
double lock_seconds(const WhySeries& series, const PortSeries& port, std::size_t step) {
  constexpr double kCooldownSeconds = 50e-6;  // a sleep for the lock lasts at least that long
  constexpr double kPatienceSeconds = 0.1;    // before a takeover from a living holder
  constexpr std::uint32_t kManySleeps = 50;   // of 800 us each: about half of the patience
  const std::uint32_t sleeps = port.steps[step].lock_sleeps;
  const double slept = sleeps * kCooldownSeconds;
  if (sleeps < kManySleeps) return slept;
  for (const BusSeries& bus : series.buses) {
    const std::size_t interval = port.first + step;
    if (bus.bus != port.bus || interval < bus.first) continue;
    if (interval - bus.first >= bus.takeovers_living.size()) continue;
    return std::max(slept, bus.takeovers_living[interval - bus.first] * kPatienceSeconds);
  }
  return slept;
}

}  // namespace

std::vector<Evidence> port_evidence(const WhySeries& series, const PortSeries& port) {
  if (!port.job) return {};
  Evidence lock{.kind = CauseKind::bus_lock,
                .job = *port.job,
                .first = port.first,
                .threshold = kWhyThresholds.bus,
                .port = &port};
  Evidence pause = lock;
  pause.kind = CauseKind::bus_pause;
  std::vector<double> locked, paused;
  for (std::size_t i = 0; i < port.steps.size(); ++i) {
    locked.push_back(lock_seconds(series, port, i));
    paused.push_back(static_cast<double>(port.steps[i].paused_us) * kMicro);
  }
  lock.values = shares_before(series, port.first, locked);
  pause.values = shares_before(series, port.first, paused);
  return {std::move(lock), std::move(pause)};
}

// Makes the sentence about a cause, with the counts that show it.

namespace {

std::string grouped_digits(std::uint64_t count) {
  std::string text = std::to_string(count);
  constexpr std::size_t kGroup = 3;
  for (std::size_t at = text.size(); at > kGroup;) {
    at -= kGroup;
    text.insert(at, 1, ',');
  }
  return text;
}

/// Sums one figure over the steps of a window.
template <class Series, class Figure>
std::uint64_t sum(const Series& of, const CauseWindow& window, Figure figure) {
  std::uint64_t all = 0;
  for (std::size_t i = window.begin; i < window.end; ++i) {
    if (i >= of.first && i - of.first < of.steps.size()) all += figure(of.steps[i - of.first]);
  }
  return all;
}

/// The name of the job, and of its thread if the job has more than one.
std::string subject_of(const WhySeries& series, const Evidence& evidence) {
  std::string name = base::printable(series.jobs[evidence.job].name);
  std::size_t tasks = 0;
  for (const TaskSeries& task : series.tasks) tasks += task.job == evidence.job ? 1U : 0U;
  if (evidence.task == nullptr || tasks < 2) return name;
  const TaskSeries& task = *evidence.task;
  const bool is_process = task.id.number == task.process;
  return name + (is_process ? " (process " : " (thread ") + std::to_string(task.id.number) + ", " +
         base::printable(task.name) + ')';
}

std::string group_of(const WhySeries& series, const Evidence& evidence, const CauseWindow& window) {
  const TaskSeries& task = *evidence.task;
  const std::size_t i = window.end - 1 - task.first;
  if (i >= task.steps.size() || task.steps[i].group == kNowhere) return "its control group";
  const GroupSeries& group = series.groups[task.steps[i].group];
  const bool memory = evidence.kind == CauseKind::memory;
  return "its control group " + base::printable(memory ? group.memory_name : group.name);
}

/// The CPU on which the thread was in the middle of the window.
int cpu_of(const Evidence& evidence, const CauseWindow& window) {
  const TaskSeries& task = *evidence.task;
  const std::size_t i = (window.begin + window.end) / 2 - task.first;
  return i < task.steps.size() ? task.steps[i].cpu : -1;
}

std::string memory_words(const WhySeries& series, const Evidence& evidence,
                         const CauseWindow& window) {
  const std::uint64_t faults =
      sum(*evidence.task, window, [](const TaskStep& s) { return s.major_faults; });
  std::uint64_t limits = 0;
  const std::size_t last = window.end - 1 - evidence.task->first;
  const std::uint16_t group =
      last < evidence.task->steps.size() ? evidence.task->steps[last].group : kNowhere;
  if (group != kNowhere) {
    limits = sum(series.groups[group], window, [](const GroupStep& s) { return s.at_limit; });
  }
  std::string why = counted_text(faults, "major fault");
  if (limits > 0) {
    why += ", and " + group_of(series, evidence, window) + " met its limit " +
           counted_text(limits, "time");
  }
  return why;
}

}  // namespace

std::string counted_text(std::uint64_t count, const std::string& thing) {
  return grouped_digits(count) + ' ' + thing + (count == 1 ? "" : "s");
}

std::string percent_text(double share) {
  std::array<char, 32> text{};
  const double percent = share * 100;
  constexpr double kWhole = 10;  // no decimals from here on
  std::snprintf(text.data(), text.size(), percent >= kWhole || percent == 0 ? "%.0f %%" : "%.2g %%",
                percent);
  return text.data();
}

std::string explains_text(double of_losses_share) {
  if (of_losses_share <= 0) return {};
  return "; that explains " + percent_text(of_losses_share) + " of its lost frames";
}

std::string fell_text(double of_losses_share) {
  if (of_losses_share <= 0) return {};
  return "; " + percent_text(of_losses_share) + " of all lost frames fell there";
}

std::string second_text(double seconds) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", seconds + 0.0);
  return text.data();
}

std::string sentence_of(const WhySeries& series, const Evidence& evidence,
                        const CauseWindow& window) {
  const std::string who = subject_of(series, evidence);
  const std::string range = second_text(series.begin_of(window.begin)) + " to " +
                            second_text(series.ends_s[window.end - 1]);
  const std::string during = percent_text(window.share) + " of " + range;
  switch (evidence.kind) {
    case CauseKind::waited_for_cpu: return who + " was runnable but not running for " + during;
    case CauseKind::stopped: return who + " was stopped by a signal or a debugger for " + during;
    case CauseKind::throttled:
      return who + " was throttled by the CPU quota of " + group_of(series, evidence, window) +
             " for " + during;
    case CauseKind::steal:
      return "the hypervisor took CPU " + std::to_string(cpu_of(evidence, window)) + " from " +
             who + " for " + during;
    case CauseKind::softirq:
      return "CPU " + std::to_string(cpu_of(evidence, window)) + ", where " + who +
             " ran, was in softirqs for " + during;
    case CauseKind::memory:
      return who + " waited for memory for " + during + " (" +
             memory_words(series, evidence, window) + ')';
    case CauseKind::bus_lock:
      return who + " slept for the lock of the bus for at least " + during + " (" +
             counted_text(
                 sum(*evidence.port, window, [](const PortStep& s) { return s.lock_sleeps; }),
                 "time") +
             ')';
    case CauseKind::bus_pause: {
      // True if senders gave up waiting for this job's own port.
      const bool itself =
          sum(*evidence.port, window, [](const PortStep& s) { return s.stalls; }) != 0;
      return who + " was paused for slow ports of the bus" +
             (itself ? ", its own port among them, which was not read," : "") + " for " + during +
             " (" +
             counted_text(sum(*evidence.port, window, [](const PortStep& s) { return s.pauses; }),
                          "time") +
             ')';
    }
    case CauseKind::migrated: break;
    default: return {};  // counted packets have their own sentences
  }
  if (evidence.change != nullptr) {
    return who + " was moved to another CPU from " + range + ": its CPUs were changed from " +
           evidence.change->from + " to " + evidence.change->to;
  }
  return who + " was moved between CPUs " +
         counted_text(sum(*evidence.task, window, [](const TaskStep& s) { return s.migrations; }),
                      "time") +
         " from " + range;
}

}  // namespace shmif::perf
