#include "perf/membw/load_source.hpp"

#include <algorithm>

namespace shmif::perf {

Result<void> LoadSource::enable() {
  begin_ = counts_.look();
  begin_ns_ = clock_();
  return {};
}

Result<void> LoadSource::disable() {
  end_ = counts_.look();
  end_ns_ = clock_();
  return {};
}

MemoryReading LoadSource::read() {
  MemoryReading reading;
  reading.begin_ns = begin_ns_;
  reading.end_ns = end_ns_;
  double read = 0;
  double written = 0;
  for (std::size_t at = 0; at < end_.size(); ++at) {
    const bool known = at < begin_.size() && begin_[at] && end_[at] && begin_[at]->time_ns != 0;
    // A load of one round published its first time, and then waited for its observer. So its work
    // began later, at round_began_ns().
    const std::uint64_t began =
        known ? std::max(begin_[at]->time_ns, counts_.round_began_ns()) : std::uint64_t{0};
    if (!known || end_[at]->time_ns <= began) {
      reading.reason = "thread " + std::to_string(at) +
                       " of the load did not end a round in this window (take a longer --window)";
      return reading;
    }
    constexpr double kSeconds = 1e-9;
    const double seconds = static_cast<double>(end_[at]->time_ns - began) * kSeconds;
    read += static_cast<double>(end_[at]->read - begin_[at]->read) / seconds;
    written += static_cast<double>(end_[at]->written - begin_[at]->written) / seconds;
  }
  if (end_.empty()) {
    reading.reason = "the load has not begun to fill its buffers";
    return reading;
  }
  reading.reads = read;
  reading.writes = written;
  reading.total = read + written;
  return reading;
}

}  // namespace shmif::perf
