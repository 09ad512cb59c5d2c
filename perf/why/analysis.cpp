#include "perf/why/analysis.hpp"

#include <algorithm>
#include <utility>

#include "base/counted.hpp"
#include "perf/why/evidence.hpp"

namespace shmif::perf {
namespace {

/// A receiver that was held back counts what it lost when it runs again. One sample at 10 Hz, and
/// a little.
constexpr double kNoticedLater = 0.15;

/// The losses of a job's traffic.
class Losses {
 public:
  explicit Losses(const JobTraffic* traffic) : traffic_(traffic) {
    if (traffic_ == nullptr) return;
    for (const TrafficStep& step : traffic_->steps) all_ += step.lost;
  }

  bool any() const noexcept { return all_ > 0; }
  bool known() const noexcept { return traffic_ != nullptr; }

  /// The share of all losses in [begin, end); empty if there are none.
  std::optional<double> within(double begin, double end) const {
    if (!any()) return std::nullopt;
    double sum = 0;
    for (const TrafficStep& step : traffic_->steps) {
      const double length = step.end_s - step.begin_s;
      const double both = std::min(step.end_s, end) - std::max(step.begin_s, begin);
      if (length > 0 && both > 0)
        sum += static_cast<double>(step.lost) * std::min(1.0, both / length);
    }
    return std::clamp(sum / static_cast<double>(all_), 0.0, 1.0);
  }

  /// What else fell into [begin, end): overruns, and the worst latency if it stands out.
  std::string others_within(double begin, double end) const {
    if (traffic_ == nullptr) return {};
    std::uint64_t overruns = 0;
    double worst = 0, worst_there = 0;
    std::vector<double> peaks;
    for (const TrafficStep& step : traffic_->steps) {
      const bool there = step.begin_s < end && step.end_s > begin;
      if (there) overruns += step.overruns;
      if (!step.latency_max_ns) continue;
      peaks.push_back(*step.latency_max_ns);
      worst = std::max(worst, peaks.back());
      if (there) worst_there = std::max(worst_there, peaks.back());
    }
    std::string text;
    if (!any() && overruns > 0) text = "; it was overrun there " + base::counted(overruns, "time");
    if (worst <= 0 || worst_there < worst) return text;
    std::ranges::nth_element(peaks, peaks.begin() + static_cast<std::ptrdiff_t>(peaks.size() / 2));
    constexpr double kStandsOut = 5;  // times the median of the intervals
    if (worst < kStandsOut * peaks[peaks.size() / 2]) return text;
    constexpr double kMillisecond = 1e6;
    return text + "; the worst latency, " +
           std::to_string(static_cast<std::uint64_t>(worst / kMillisecond)) + " ms, fell there";
  }

 private:
  const JobTraffic* traffic_;
  std::uint64_t all_ = 0;
};

/// A cause, and what it is ordered by.
struct Weighed {
  Cause cause;
  double loss_weight = 0, held_s = 0;
  std::size_t number = 0;  ///< in which order it was found: settles a tie
};

Weighed weighed(const WhySeries& series, const Evidence& evidence, const CauseWindow& window,
                const Losses& losses) {
  Weighed one;
  Cause& cause = one.cause;
  cause.job = series.jobs[evidence.job].name;
  cause.cause = evidence.kind;
  cause.begin_s = series.begin_of(window.begin);
  cause.end_s = series.ends_s[window.end - 1];
  cause.share = std::clamp(window.share, 0.0, 1.0);
  const double noticed = cause.end_s + kNoticedLater;
  cause.of_losses_share = losses.within(cause.begin_s, noticed);
  cause.sentence = sentence_of(series, evidence, window);
  if (cause.of_losses_share && *cause.of_losses_share > 0) {
    cause.sentence +=
        "; " + percent_text(*cause.of_losses_share) + " of all lost frames fell there";
  }
  cause.sentence += losses.others_within(cause.begin_s, noticed);
  one.loss_weight = cause.of_losses_share.value_or(0) * cause.share;
  one.held_s = window.held_s;
  return one;
}

bool is_worth_naming(const WhySeries& series, const Evidence& evidence, const CauseWindow& window,
                     const Weighed& one) {
  if (evidence.change != nullptr || evidence.kind == CauseKind::device_queue) return true;
  const double watched = series.ends_s.back() - series.begin_of(0);
  const double enough = std::clamp(kWorthNamingShare * watched, kBlinkSeconds, kWorthNamingSeconds);
  if (window.held_s >= enough && window.share >= evidence.threshold) return true;
  return one.cause.of_losses_share.value_or(0) >= kWorthNamingLosses;
}

bool overlaps(const Cause& a, const Cause& b) {
  return a.begin_s < b.end_s && b.begin_s < a.end_s;
}

std::vector<Evidence> evidence_of(const WhySeries& series, std::size_t job,
                                  const WhyThresholds& thresholds) {
  std::vector<Evidence> all = device_evidence(series, job, thresholds);
  const auto add = [&all](std::vector<Evidence> more) {
    std::ranges::move(more, std::back_inserter(all));
  };
  for (const TaskSeries& task : series.tasks) {
    if (task.job == job) add(task_evidence(series, task, thresholds));
  }
  for (const PortSeries& port : series.ports) {
    if (port.job == job) add(port_evidence(series, port, thresholds));
  }
  return all;
}

bool is_heavier(const Weighed& a, const Weighed& b) {
  if (a.loss_weight != b.loss_weight) return a.loss_weight > b.loss_weight;
  if (a.held_s != b.held_s) return a.held_s > b.held_s;
  return a.number < b.number;
}

}  // namespace

std::vector<Cause> find_causes(const WhySeries& series, std::span<const JobTraffic> traffic,
                               const WhyThresholds& thresholds) {
  std::vector<Weighed> found;
  for (std::size_t job = 0; job < series.jobs.size(); ++job) {
    const auto at = std::ranges::find(traffic, series.jobs[job].name, &JobTraffic::job);
    const Losses losses(at == traffic.end() ? nullptr : &*at);
    for (const Evidence& evidence : evidence_of(series, job, thresholds)) {
      for (const CauseWindow& window :
           windows_of(series, evidence.first, evidence.values, evidence.threshold)) {
        Weighed one = weighed(series, evidence, window, losses);
        one.number = found.size();
        if (is_worth_naming(series, evidence, window, one)) found.push_back(std::move(one));
      }
    }
  }
  std::ranges::sort(found, is_heavier);
  std::vector<Cause> causes;
  for (Weighed& one : found) {
    if (causes.size() >= kMostCauses) break;
    const bool told = std::ranges::any_of(causes, [&](const Cause& other) {
      return other.job == one.cause.job && other.cause == one.cause.cause &&
             overlaps(other, one.cause);
    });
    if (!told) causes.push_back(std::move(one.cause));
  }
  return causes;
}

std::vector<TaskSummary> summaries_of(const WhySeries& series) {
  std::vector<TaskSummary> all;
  for (const TaskSeries& task : series.tasks) {
    TaskSummary one;
    one.job = series.jobs[task.job].name;
    one.name = task.name;
    one.process = task.process;
    one.thread = task.id.number;
    one.ended = task.ended;
    const std::vector<TaskTime> times = account_of(series, task);
    double waiting = 0;
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (!task.steps[i].known) continue;
      const double length = series.seconds_of(task.first + i);
      one.seconds += length;
      one.running += times[i].running * length;
      one.asleep += times[i].asleep * length;
      one.stopped += times[i].stopped * length;
      waiting += (times[i].waiting + times[i].held) * length;
      const TaskStep& step = task.steps[i];
      one.voluntary += step.voluntary;
      one.involuntary += step.involuntary;
      one.migrations += step.migrations;
      one.minor_faults += step.minor_faults;
      one.major_faults += step.major_faults;
    }
    if (one.seconds > 0) {
      for (double* each : {&one.running, &one.asleep, &one.stopped, &waiting}) *each /= one.seconds;
    }
    if (series.waits_known && one.seconds > 0) one.waiting = waiting;
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace shmif::perf
