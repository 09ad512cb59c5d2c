#include "perf/why/account.hpp"

#include <algorithm>

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

}  // namespace shmif::perf
