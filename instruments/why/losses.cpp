#include "instruments/why/losses.hpp"

#include <algorithm>
#include <vector>

#include "base/text.hpp"

namespace shmif::perf {

Losses::Losses(const JobTraffic* traffic) : traffic_(traffic) {
  if (traffic_ == nullptr) return;
  for (const TrafficStep& step : traffic_->steps) {
    of_steps_.push_back(static_cast<double>(step.lost));
    all_ += of_steps_.back();
  }
  left_ = all_;
}

std::optional<double> Losses::explain(double begin_s, std::uint64_t count) {
  if (!any()) return std::nullopt;
  double noticed = 0;
  for (const TrafficStep& step : traffic_->steps) {
    if (step.end_s > begin_s) noticed += static_cast<double>(step.lost);
  }
  const double taken = std::min({static_cast<double>(count), noticed, left_});
  left_ -= taken;
  return taken / all_;
}

std::optional<double> Losses::explain(double begin, double end, double held_share) {
  if (!any()) return std::nullopt;
  std::vector<double> there(of_steps_.size());
  double lost = 0, frames = 0;
  bool frames_known = true;
  for (std::size_t i = 0; i < there.size(); ++i) {
    const TrafficStep& step = traffic_->steps[i];
    const double length = step.end_s - step.begin_s;
    const double both = std::min(step.end_s, end) - std::max(step.begin_s, begin);
    if (length <= 0 || both <= 0) continue;
    const double part = std::min(1.0, both / length);
    there[i] = of_steps_[i] * part;
    lost += there[i];
    frames_known = frames_known && step.received.has_value();
    frames += static_cast<double>(step.received.value_or(0) + step.lost) * part;
  }
  double taken = std::min(lost, left_);
  if (frames_known) taken = std::min(taken, frames * held_share);
  if (taken <= 0) return 0;
  for (std::size_t i = 0; i < there.size(); ++i) of_steps_[i] -= there[i] * (taken / lost);
  left_ -= taken;
  return taken / all_;
}

std::string Losses::others_within(double begin, double end) const {
  if (traffic_ == nullptr) return {};
  std::uint64_t overruns = 0;
  double worst = 0, worst_there = 0;
  std::vector<double> peaks;
  for (const TrafficStep& step : traffic_->steps) {
    const bool there = step.begin_s < end && step.end_s > begin;
    if (there) overruns += step.overruns;
    if (!step.latency_max_ns) continue;
    peaks.push_back(*step.latency_max_ns);
    worst = std::max(worst, peaks.back());
    if (there) worst_there = std::max(worst_there, peaks.back());
  }
  std::string text;
  if (!any() && overruns > 0) text = "; it was overrun there " + base::counted(overruns, "time");
  if (worst <= 0 || worst_there < worst) return text;
  std::ranges::nth_element(peaks, peaks.begin() + static_cast<std::ptrdiff_t>(peaks.size() / 2));
  constexpr double kStandsOut = 5;  // times the median of all intervals
  if (worst < kStandsOut * peaks[peaks.size() / 2]) return text;
  constexpr double kMillisecond = 1e6;
  return text + "; the worst latency, " +
         std::to_string(static_cast<std::uint64_t>(worst / kMillisecond)) + " ms, fell there";
}

}  // namespace shmif::perf
