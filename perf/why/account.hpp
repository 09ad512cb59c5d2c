#pragma once
// How a thread spent each interval: with a CPU, waiting for one, stopped, asleep.
//
// The kernel counts a wait when it ends: the run delay of a thread that still waits does not grow.
// Likewise it counts running time at ticks, so some of it appears an interval later. So when an
// interval has more time than it is long, the rest belongs before it, as long as the thread was
// ready to run at the border (state R). When a thread was ready at both ends of an interval and
// never slept in it, it was ready all the time: time that nobody counted is `held`. That is a wait
// that has not ended, a quota of its control group, or a CPU that the hypervisor took.
//
// Threads: any. Blocks: never.

#include <vector>

#include "perf/why/series.hpp"

namespace shmif::perf {

/// Shares of an interval; their sum is 1.
struct TaskTime {
  double running = 0, waiting = 0, held = 0, stopped = 0, asleep = 0;
};

/// One element for each step of the thread.
std::vector<TaskTime> account_of(const WhySeries& series, const TaskSeries& task);

}  // namespace shmif::perf
