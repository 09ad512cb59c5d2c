// Makes the sentence about a cause, with the counts that show it.

#include <array>
#include <cmath>
#include <cstdio>

#include "base/printable.hpp"
#include "instruments/why/evidence.hpp"

namespace shmif::perf {
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
