#include "perf/control/rate_watch.hpp"

#include <algorithm>
#include <sstream>

#include "perf/job/values.hpp"

namespace shmif::perf {

RateWatch::RateWatch(std::span<const ControlledJob> jobs) : jobs_(jobs) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const JobOptions& o = jobs[i].plan.options;
    const auto add = [&](const Line& line) {
      if (line.min_per_s != 0) lines_.push_back(line);
    };
    add({.job = i, .tx = true, .bits = true, .min_per_s = o.rate_min_bps.tx});
    add({.job = i, .tx = true, .bits = false, .min_per_s = o.rate_min_fps.tx});
    add({.job = i, .tx = false, .bits = true, .min_per_s = o.rate_min_bps.rx});
    add({.job = i, .tx = false, .bits = false, .min_per_s = o.rate_min_fps.rx});
  }
}

std::uint64_t RateWatch::count_of(const Line& line) const noexcept {
  const JobBlock& block = *jobs_[line.job].block;
  if (line.bits) return 8 * (line.tx ? block.all_tx_bytes : block.all_rx_bytes).get();
  return (line.tx ? block.all_tx_frames : block.all_rx_frames).get();
}

namespace {

/// Whether a job has run for `settle`, and its ramp is over.
bool has_settled(const ControlledJob& job, std::chrono::nanoseconds settle,
                 std::uint64_t now) noexcept {
  if (job.phase != ControlledJob::Phase::going) return false;
  const JobOptions& o = job.plan.options;
  return now >= job.block->start_ns.load(std::memory_order_acquire) + ns(o.start_delay) +
                    ns(std::max(o.ramp_time, settle));
}

}  // namespace

/// Whether frames are expected in that direction now. A job may finish sending before its partner
/// does, and may start before the jobs that send to it.
bool RateWatch::is_due(const Line& line, std::uint64_t now) const noexcept {
  const ControlledJob& job = jobs_[line.job];
  const std::chrono::nanoseconds settle = job.plan.options.rate_settle;
  if (job.stop_ns != 0 || job.state() > JobState::running) return false;
  if (!has_settled(job, settle, now)) return false;
  const auto sends = [&](const ControlledJob& from) {
    return has_settled(from, settle, now) && !from.flow->tx_done.load(std::memory_order_acquire);
  };
  // A pingpong job receives replies to what it sends; an echo job sends as requests arrive.
  const Role role = job.plan.options.rw;
  if (role == Role::pingpong || (line.tx && role != Role::echo)) return sends(job);
  if (job.senders.empty()) return true;
  return std::ranges::any_of(job.senders, [&](std::size_t from) { return sends(jobs_[from]); });
}

/// "tx: wanted at least 1000 frames/s (rate_iops_min), got 0 frames/s".
std::string RateWatch::text_of(const Line& line, double got) {
  const char* const unit = line.bits ? " bit/s" : " frames/s";
  std::ostringstream text;
  text << (line.tx ? "tx" : "rx") << ": wanted at least " << line.min_per_s << unit << " ("
       << (line.bits ? "rate_min" : "rate_iops_min") << "), got " << static_cast<std::uint64_t>(got)
       << unit;
  return text.str();
}

std::vector<RateWatch::Trip> RateWatch::check(std::uint64_t now) {
  std::vector<Trip> trips;
  for (Line& line : lines_) {
    if (line.tripped) continue;
    if (!is_due(line, now)) {
      line.since_ns = 0;
      continue;
    }
    if (line.since_ns == 0) {
      line.since_ns = now;
      line.at_begin = count_of(line);
      continue;
    }
    const std::uint64_t took = now - line.since_ns;
    if (took < ns(jobs_[line.job].plan.options.rate_cycle)) continue;
    const std::uint64_t count = count_of(line);
    const double got = static_cast<double>(count - line.at_begin) * 1e9 / static_cast<double>(took);
    line.since_ns = now;
    line.at_begin = count;
    if (got >= static_cast<double>(line.min_per_s)) continue;
    line.tripped = true;
    trips.push_back({line.job, text_of(line, got)});
  }
  return trips;
}

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

std::uint64_t frames_of(const JobBlock& block) noexcept {
  return std::max(block.all_tx_frames.get(), block.all_rx_frames.get());
}

std::uint64_t bytes_of(const JobBlock& block) noexcept {
  return std::max(block.all_tx_bytes.get(), block.all_rx_bytes.get());
}

}  // namespace

SteadyWatch::SteadyWatch(std::span<const ControlledJob> jobs) : jobs_(jobs) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const JobOptions& o = jobs[i].plan.options;
    if (o.steadystate.empty()) continue;
    const SteadyState wanted = parse_steady_state(o.steadystate).value();
    lines_.push_back({i, SteadyStateDetector(wanted, o.ss_dur, o.ss_ramp)});
  }
}

std::vector<std::size_t> SteadyWatch::check(std::uint64_t now) {
  std::vector<std::size_t> reached;
  for (Line& line : lines_) {
    const ControlledJob& job = jobs_[line.job];
    const JobBlock& block = *job.block;
    if (job.phase != ControlledJob::Phase::going || job.state() != JobState::running) continue;
    if (now < job.window_begin_ns()) continue;
    if (line.detector.reached() || (line.since_ns != 0 && now < line.since_ns + kSecond)) continue;
    const std::uint64_t frames = frames_of(block);
    const std::uint64_t bytes = bytes_of(block);
    if (line.since_ns != 0) {
      const double seconds = static_cast<double>(now - line.since_ns) * 1e-9;
      if (line.detector.note(static_cast<double>(frames - line.frames) / seconds,
                             8 * static_cast<double>(bytes - line.bytes) / seconds)) {
        reached.push_back(line.job);
      }
    }
    line.since_ns = now;
    line.frames = frames;
    line.bytes = bytes;
  }
  return reached;
}

std::vector<SteadyStateResult> SteadyWatch::results() const {
  std::vector<SteadyStateResult> all;
  for (const Line& line : lines_) {
    const SteadyState& wanted = line.detector.wanted();
    all.push_back(
        {.job = jobs_[line.job].plan.options.name,
         .figure = std::string(wanted.bandwidth ? "bw" : "iops") + (wanted.slope ? "_slope" : ""),
         .limit = wanted.limit,
         .limit_is_share = wanted.relative,
         .window_seconds = line.detector.window_seconds(),
         .ramp_seconds = line.detector.ramp_seconds(),
         .value = line.detector.figure(),
         .reached_at_seconds = line.detector.reached_at_seconds()});
  }
  return all;
}

std::optional<std::string> SteadyWatch::describe() const {
  std::string text;
  for (const Line& line : lines_) {
    if (!text.empty()) text += "; ";
    if (lines_.size() > 1) text += jobs_[line.job].plan.options.name + ": ";
    text += line.detector.describe();
  }
  if (text.empty()) return std::nullopt;
  return text;
}

}  // namespace shmif::perf
