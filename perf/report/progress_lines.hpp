#pragma once
// Lines that show the progress of a run, one for each group.

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "perf/result/progress.hpp"

namespace shmif::perf {

/// "45 %": whole percents, rounded down, so 100 means complete.
std::string format_per_cent(double share);
/// "97 %" or, of several threads, "143 %"; "-" if it is not known.
std::string format_cpu(std::optional<double> share);
/// "17s", "2m05s", "1h02m"
std::string format_eta(double seconds);
/// The state letters in fio's format, "R", "RD"; four or more equal ones as "R(20)".
std::string format_states(const std::vector<JobState>& states);

/// Makes the lines. Rates cover about the last second. Threads: one at a time.
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
