#pragma once
// How a thread spent each interval: running, waiting for a CPU, held, stopped or asleep.
//
// The kernel counts a wait when it ends: the run delay of a thread that still waits does not grow.
// It counts running time at ticks, so some of that appears an interval later. So if an interval has
// more counted time than its length, the rest belongs to the interval before, provided that the
// thread was ready to run at the border (state R). If a thread was ready at both ends of an
// interval and never slept in it, it was ready all the time. The time that the kernel did not count
// is then `held`: a wait that has not ended, a quota of the control group, or a CPU that the
// hypervisor took.
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
