#pragma once
// A running run as text, interval by interval: for programs that follow it, and for people.
//
// docs/shmifperf-streams.md describes every key. The figures are those of RunProgress: `last` is
// the interval, everything else counts since the start.

#include <chrono>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "perf/result/progress.hpp"

namespace shmif::perf {

/// One line of JSON: an object with `at_seconds`, `share`, `left_seconds` and `jobs[]`. A figure
/// that was not measured is null.
std::string to_json_line(const RunProgress& progress);

/// InfluxDB's line protocol, one line for each job: the measurement `shmifperf`, names as tags, a
/// field for each figure, the time in ns. A figure that was not measured is left out.
std::string to_influx(const RunProgress& progress, std::chrono::system_clock::time_point when);

/// A table of the jobs and their current state.
std::string to_status(const RunProgress& progress, std::size_t width = 0);

/// CPU time of the interval as a share of one CPU. Empty: it is not known.
std::optional<double> cpu_share(const IntervalResult& interval);

/// "45 %": whole percents, rounded down, so 100 means complete.
std::string format_per_cent(double share);
/// "97 %" or, of several threads, "143 %"; "-" if it is not known.
std::string format_cpu(std::optional<double> share);
/// "17s", "2m05s", "1h02m"
std::string format_eta(double seconds);
/// The state letters in fio's format, "R", "RD"; four or more equal ones as "R(20)".
std::string format_states(const std::vector<JobState>& states);

/// Lines that show the progress of a run, one for each group. Rates cover about the last second.
/// Threads: one at a time.
class ProgressLines {
 public:
  /// `voip [R(2)] 45 % eta 17s lost 12 tx 69.4 k/s rx 69.4 k/s 200 Mbit/s ...`, in columns, without
  /// line ends. A terminal of 80 columns cuts off the bit rates at the end.
  std::vector<std::string> lines(const RunProgress& progress);

 private:
  struct Sums {
    std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0;
  };
  struct Moment {
    double at_seconds;
    std::map<std::string, Sums> groups;
  };
  std::deque<Moment> moments_;  // of the last second
};

}  // namespace shmif::perf
