#include "perf/control/steady_watch.hpp"

#include <algorithm>

#include "perf/job/values.hpp"

namespace shmif::perf {
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
