#include "instruments/why/analysis.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/printable.hpp"
#include "instruments/why/counted.hpp"
#include "instruments/why/evidence.hpp"
#include "instruments/why/losses.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

bool is_stopped(char state) noexcept {
  return state == 'T' || state == 't';
}

/// Divides the rest of an interval, which is neither running nor waiting, among stopped, held and
/// asleep.
void share_out(TaskTime& time, const TaskStep& step, char before) noexcept {
  const double rest = std::max(0.0, 1 - time.running - time.waiting);
  const int stopped = int{is_stopped(before)} + int{is_stopped(step.state)};
  if (stopped > 0) {
    time.stopped = stopped == 2 ? rest : rest / 2;  // it began or ended within the interval
    time.asleep = rest - time.stopped;
  } else if (before == 'R' && step.state == 'R' && step.voluntary == 0) {
    time.held = rest;
  } else {
    time.asleep = rest;
  }
}

}  // namespace

std::vector<TaskTime> account_of(const WhySeries& series, const TaskSeries& task) {
  std::vector<TaskTime> times(task.steps.size());
  double late_run = 0, late_wait = 0;  // seconds counted after their interval
  for (std::size_t i = task.steps.size(); i-- > 0;) {
    const TaskStep& step = task.steps[i];
    const double length = series.seconds_of(task.first + i);
    const char before = i == 0 ? task.state_before : task.steps[i - 1].state;
    const double run = step.run_us * kMicro + late_run;
    const double wait = step.wait_us * kMicro + late_wait;
    late_run = late_wait = 0;
    if (length <= 0 || !step.known) continue;
    const double ran = std::min(run, length);
    const double waited = std::min(wait, length - ran);
    times[i].running = ran / length;
    times[i].waiting = waited / length;
    share_out(times[i], step, before);
    if (before != 'R') continue;  // not ready before: nothing belongs to earlier intervals
    late_run = run - ran;
    late_wait = wait - waited;
  }
  return times;
}

namespace {

/// A cause, and the values by which causes are ordered.
struct Weighed {
  Cause cause;
  double held_s = 0;
  std::size_t number = 0;  ///< the order in which it was found, for ties
  bool by_itself = true;   ///< worth a sentence, whatever was lost meanwhile
};

/// `losses` are those of the whole job, also those that another cause explains.
Weighed weighed(const WhySeries& series, const Evidence& evidence, const CauseWindow& window,
                Losses losses) {
  Weighed one;
  Cause& cause = one.cause;
  cause.job = series.jobs[evidence.job].name;
  cause.cause = evidence.kind;
  cause.begin_s = series.begin_of(window.begin);
  cause.end_s = series.ends_s[window.end - 1];
  cause.share = std::clamp(window.share, 0.0, 1.0);
  cause.of_losses_share = losses.explain(cause.begin_s, cause.end_s + kNoticedLater, cause.share);
  cause.sentence = sentence_of(series, evidence, window);
  one.held_s = window.held_s;
  const double watched = series.ends_s.back() - series.begin_of(0);
  const double enough = std::clamp(kWorthNamingShare * watched, kBlinkSeconds, kWorthNamingSeconds);
  one.by_itself =
      evidence.change != nullptr || (window.held_s >= enough && window.share >= evidence.threshold);
  return one;
}

/// Adds the requested faults. They explain their losses, so no other cause has to.
void add_faults(const WhySeries& series, const JobTraffic& traffic, Losses& losses,
                std::vector<Weighed>& found) {
  if (series.ends_s.empty()) return;
  for (const FaultTraffic& fault : traffic.faults) {
    for (const bool asked_for : {true, false}) {
      const std::uint64_t count = asked_for ? fault.lost : fault.queue_full;
      Weighed one{
          .cause = {.job = traffic.job,
                    .cause = asked_for ? CauseKind::requested_faults : CauseKind::fault_queue,
                    .begin_s = series.begin_s,
                    .end_s = series.ends_s.back(),
                    .of_losses_share = losses.explain(series.begin_s, count),
                    .counted = true,
                    .sentence = {}}};
      if (one.cause.of_losses_share.value_or(0) <= 0) continue;
      one.cause.share = std::min(
          1.0, static_cast<double>(count) / static_cast<double>(std::max(count, fault.frames)));
      const std::string whose = "the requested faults of " + base::printable(fault.where) + " (" +
                                base::printable(fault.options) + ')';
      one.cause.sentence =
          base::printable(traffic.job) + ": " +
          (asked_for ? whose + " took " : "the queue of " + whose + " was full and dropped ") +
          counted_text(count, "frame") + explains_text(one.cause.of_losses_share.value_or(0));
      one.number = found.size();
      found.push_back(std::move(one));
    }
  }
}

/// How many packets of each counter have already explained losses of some job.
using Spent = std::map<std::tuple<const void*, CauseKind, std::size_t>, std::uint64_t>;

/// Adds the causes that counters of packets show. Result: the losses for which a receiver that was
/// held back is worth naming. They include the datagrams that its socket dropped, because a
/// receiver that is held back lets its socket become full.
Losses add_counted(const WhySeries& series, std::size_t job, bool of_port, Losses& losses,
                   Spent& spent, std::vector<Weighed>& found) {
  constexpr std::uint64_t kFewDrops = 10;  // fewer packets are not worth a sentence
  Losses on_the_way = losses;
  for (const Counted& counted : counted_of(series, job)) {
    for (const CountedWindow& window : counted_windows(series, counted)) {
      Weighed one;
      Cause& cause = one.cause;
      cause.job = series.jobs[job].name;
      cause.cause = counted.kind;
      cause.counted = true;
      cause.begin_s = series.begin_of(window.begin);
      cause.end_s = series.ends_s[window.end - 1];
      cause.share = window.share();
      std::uint64_t& used = spent[{counted.source, counted.kind, window.begin}];
      const double before = losses.left();
      cause.of_losses_share =
          losses.explain(cause.begin_s, of_port ? 0 : window.lost - std::min(window.lost, used));
      used += static_cast<std::uint64_t>(before - losses.left());
      const bool many = window.lost >= kFewDrops && cause.share >= kWhyThresholds.device;
      const bool by_itself = counted.named_anyway || of_port || !losses.known();
      if (!(many && by_itself) && cause.of_losses_share.value_or(0) < kWorthNamingLosses) continue;
      cause.sentence =
          sentence_of(series, counted, window) + explains_text(cause.of_losses_share.value_or(0));
      one.held_s = cause.share * (cause.end_s - cause.begin_s);
      one.number = found.size();
      found.push_back(std::move(one));
    }
    const bool at_socket =
        counted.kind == CauseKind::receive_buffer || counted.kind == CauseKind::socket_memory;
    if (!at_socket) on_the_way = losses;
  }
  return on_the_way;
}

bool overlaps(const Cause& a, const Cause& b) {
  return a.begin_s < b.end_s && b.begin_s < a.end_s;
}

std::vector<Evidence> evidence_of(const WhySeries& series, std::size_t job) {
  std::vector<Evidence> all;
  const auto add = [&all](std::vector<Evidence> more) {
    std::ranges::move(more, std::back_inserter(all));
  };
  for (const TaskSeries& task : series.tasks) {
    if (task.job == job) add(task_evidence(series, task));
  }
  for (const PortSeries& port : series.ports) {
    if (port.job == job) add(port_evidence(series, port));
  }
  return all;
}

bool is_heavier(const Weighed& a, const Weighed& b) {
  const auto requested = [](const Weighed& w) { return is_requested(w.cause.cause); };
  if (requested(a) != requested(b)) return requested(a);
  const double weight_a = loss_weight(a.cause), weight_b = loss_weight(b.cause);
  if (weight_a != weight_b) return weight_a > weight_b;
  if (a.held_s != b.held_s) return a.held_s > b.held_s;
  return a.number < b.number;
}

/// Adds what held one job back, the heaviest first: it explains the losses of its time, and those
/// after it explain the rest. If several threads have the same cause, names only the one that was
/// held back longest.
void add_held(std::vector<Weighed> held, Losses left, Losses on_the_way,
              std::vector<Weighed>& found) {
  std::ranges::sort(held, is_heavier);
  std::vector<Weighed> named;
  for (Weighed& one : held) {
    Cause& cause = one.cause;
    const auto tells = [&cause](const Weighed& other) {
      return other.cause.cause == cause.cause && overlaps(other.cause, cause);
    };
    if (std::ranges::any_of(named, tells)) continue;
    const double noticed = cause.end_s + kNoticedLater;
    const double lost = on_the_way.explain(cause.begin_s, noticed, cause.share).value_or(0);
    if (!one.by_itself && lost < kWorthNamingLosses) continue;
    cause.of_losses_share = left.explain(cause.begin_s, noticed, cause.share);
    cause.sentence += fell_text(cause.of_losses_share.value_or(0));
    cause.sentence += left.others_within(cause.begin_s, noticed);
    named.push_back(std::move(one));
  }
  std::ranges::move(named, std::back_inserter(found));
}

}  // namespace

std::vector<Cause> find_causes(const WhySeries& series, std::span<const JobTraffic> traffic) {
  std::vector<Weighed> found;
  Spent spent;
  for (std::size_t job = 0; job < series.jobs.size(); ++job) {
    const auto at = std::ranges::find(traffic, series.jobs[job].name, &JobTraffic::job);
    const JobTraffic* const of_job = at == traffic.end() ? nullptr : &*at;
    Losses losses(of_job);
    if (of_job != nullptr) add_faults(series, *of_job, losses, found);
    const bool of_port = of_job != nullptr && of_job->of_port;
    const Losses on_the_way = add_counted(series, job, of_port, losses, spent, found);
    std::vector<Weighed> held;
    for (const Evidence& evidence : evidence_of(series, job)) {
      for (const CauseWindow& window :
           windows_of(series, evidence.first, evidence.values, evidence.threshold)) {
        held.push_back(weighed(series, evidence, window, on_the_way));
        held.back().number = found.size() + held.size();
      }
    }
    add_held(std::move(held), losses, on_the_way, found);
  }
  std::ranges::sort(found, is_heavier);
  std::vector<Cause> causes;
  for (Weighed& one : found) {
    debug(Debug::why, [&] {
      return "found, weight " + std::to_string(loss_weight(one.cause)) + ", held " +
             std::to_string(one.held_s) + " s: " + one.cause.sentence;
    });
    if (causes.size() >= kMaxCauses) break;
    causes.push_back(std::move(one.cause));
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
