#pragma once
// Series for tests of the analysis: jobs with one thread that sleeps, in intervals of 100 ms.

#include <string>

#include "instruments/why/series.hpp"

namespace shmif::perf::test {

inline constexpr std::uint32_t kIntervalUs = 100'000;

inline WhySeries quiet_series(std::size_t intervals,
                              const std::vector<std::string>& jobs = {"rx"}) {
  WhySeries series;
  for (std::size_t i = 1; i <= intervals; ++i)
    series.ends_s.push_back(0.1 * static_cast<double>(i));
  series.machine.resize(intervals);
  for (const std::string& name : jobs) {
    TaskSeries task;
    task.id = {static_cast<pid_t>(100 + series.jobs.size()), 7};
    task.process = task.id.number;
    task.name = name;
    task.job = series.jobs.size();
    task.state_before = 'S';
    task.born_s = -100;
    TaskStep quiet;
    quiet.run_us = 5'000;
    quiet.wait_us = 500;
    quiet.voluntary = 10;
    quiet.cpu = 1;
    quiet.state = 'S';
    task.steps.assign(intervals, quiet);
    series.tasks.push_back(std::move(task));
    series.jobs.push_back({.name = name});
  }
  return series;
}

/// Traffic of a job in the same intervals that lost `lost` frames in each of [from, to).
inline JobTraffic traffic_of(const WhySeries& series, const std::string& job, std::size_t from,
                             std::size_t to, std::uint64_t lost) {
  JobTraffic traffic{.job = job};
  for (std::size_t i = 0; i < series.ends_s.size(); ++i) {
    traffic.steps.push_back({.begin_s = series.begin_of(i),
                             .end_s = series.ends_s[i],
                             .lost = from <= i && i < to ? lost : 0});
  }
  return traffic;
}

}  // namespace shmif::perf::test
