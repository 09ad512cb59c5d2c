#include "perf/stats/steady_state.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace shmif::perf {
namespace {

std::uint64_t whole_seconds(std::chrono::nanoseconds time) noexcept {
  const auto up = std::chrono::ceil<std::chrono::seconds>(time).count();
  return up < 0 ? 0 : static_cast<std::uint64_t>(up);
}

std::string number(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

}  // namespace

SteadyStateDetector::SteadyStateDetector(const SteadyState& wanted, std::chrono::nanoseconds window,
                                         std::chrono::nanoseconds ramp)
    : wanted_(wanted),
      window_(static_cast<std::size_t>(std::max<std::uint64_t>(2, whole_seconds(window)))),
      ramp_(whole_seconds(ramp)) {}

bool SteadyStateDetector::note(double frames_per_s, double bits_per_s) {
  ++seconds_;
  if (reached() || seconds_ <= ramp_) return reached();
  values_.push_back(wanted_.bandwidth ? bits_per_s : frames_per_s);
  if (values_.size() > window_) values_.pop_front();
  if (values_.size() < window_) return false;
  const double mean =
      std::accumulate(values_.begin(), values_.end(), 0.0) / static_cast<double>(window_);
  // Without traffic, there is no steady state.
  if (mean <= 0) return false;
  const double off = wanted_.slope ? std::abs(slope(mean)) : deviation(mean);
  figure_ = wanted_.relative ? off / mean : off;
  const bool settled = wanted_.slope ? *figure_ < wanted_.limit : *figure_ <= wanted_.limit;
  if (settled) reached_at_ = seconds_;
  return settled;
}

/// The largest distance of a value from the mean.
double SteadyStateDetector::deviation(double mean) const noexcept {
  double furthest = 0;
  for (const double v : values_) furthest = std::max(furthest, std::abs(v - mean));
  return furthest;
}

/// The slope of the line through the values, in their unit per second.
double SteadyStateDetector::slope(double mean) const noexcept {
  const double middle = (static_cast<double>(window_) - 1) / 2;
  double products = 0;
  double squares = 0;
  double at = -middle;
  for (const double v : values_) {
    products += at * (v - mean);
    squares += at * at;
    ++at;
  }
  return products / squares;
}

std::string SteadyStateDetector::describe() const {
  std::string text = reached() ? "reached at " + std::to_string(*reached_at_) + " s: "
                               : std::string("not reached: ");
  if (!figure_) {
    return text + "there were never " + std::to_string(window_) +
           " s with traffic after a ramp of " + std::to_string(ramp_) + " s";
  }
  const auto shown = [&](double value) {
    return wanted_.relative ? number(value * 100) + " %" : number(value);
  };
  text += wanted_.bandwidth ? "bw " : "iops ";
  text += wanted_.slope ? "slope " : "deviation ";
  text += shown(*figure_);
  if (wanted_.slope) text += " a second";
  return text + " (limit " + shown(wanted_.limit) + ", over " + std::to_string(window_) + " s)";
}

}  // namespace shmif::perf
