#include "perf/run/rate_watch.hpp"

#include <algorithm>

namespace shmif::perf {

RateWatch::RateWatch(std::span<const ControlledJob> jobs) : jobs_(jobs) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const JobOptions& o = jobs[i].plan.options;
    const auto add = [&](bool tx, bool bits, std::uint64_t least) {
      if (least != 0) lines_.push_back({i, tx, bits, least});
    };
    add(true, true, o.rate_min_bps.tx);
    add(true, false, o.rate_min_fps.tx);
    add(false, true, o.rate_min_bps.rx);
    add(false, false, o.rate_min_fps.rx);
  }
}

std::uint64_t RateWatch::count_of(const Line& line) const noexcept {
  const JobBlock& block = *jobs_[line.job].block;
  if (line.bits) return 8 * (line.tx ? block.all_tx_bytes : block.all_rx_bytes).get();
  return (line.tx ? block.all_tx_frames : block.all_rx_frames).get();
}

std::vector<RateWatch::Trip> RateWatch::check(std::uint64_t now) {
  std::vector<Trip> trips;
  for (Line& line : lines_) {
    const ControlledJob& job = jobs_[line.job];
    if (line.tripped || job.phase != ControlledJob::Phase::going || job.stop_ns != 0) continue;
    const JobState state = job.state();
    if (state > JobState::running) continue;
    const JobOptions& o = job.plan.options;
    const std::uint64_t settled =
        job.block->start_ns.load(std::memory_order_acquire) +
        static_cast<std::uint64_t>((o.start_delay + std::max(o.ramp_time, o.rate_settle)).count());
    if (now < settled) continue;
    if (line.since_ns == 0) {
      line.since_ns = now;
      line.at_begin = count_of(line);
      continue;
    }
    const std::uint64_t took = now - line.since_ns;
    if (took < static_cast<std::uint64_t>(o.rate_cycle.count())) continue;
    const std::uint64_t count = count_of(line);
    const double got = static_cast<double>(count - line.at_begin) * 1e9 / static_cast<double>(took);
    line.since_ns = now;
    line.at_begin = count;
    if (got >= static_cast<double>(line.least_per_s)) continue;
    line.tripped = true;
    const std::string unit = line.bits ? " bit/s" : " frames/s";
    trips.push_back({line.job, std::string(line.tx ? "tx" : "rx") + ": wanted at least " +
                                   std::to_string(line.least_per_s) + unit + " (" +
                                   (line.bits ? "rate_min" : "rate_iops_min") + "), got " +
                                   std::to_string(static_cast<std::uint64_t>(got)) + unit});
  }
  return trips;
}

}  // namespace shmif::perf
