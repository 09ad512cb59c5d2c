#include "perf/stats/confidence.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <vector>

namespace shmif::perf {
namespace {

/// The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8), evaluated
/// from the front (Lentz 1976): each step multiplies by the ratio of two neighbouring convergents.
double beta_fraction(double x, double a, double b) noexcept {
  constexpr double kTiny = 1e-300;
  constexpr int kMaxSteps = 500;
  const auto not_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double above = 1;  // Lentz's C
  double below = 1 / not_zero(1 - (a + b) / (a + 1) * x);
  double value = below;
  for (int m = 1; m <= kMaxSteps; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double change = 1;
    for (const double term : {even, odd}) {
      below = 1 / not_zero(1 + term * below);
      above = not_zero(1 + term / above);
      change = above * below;
      value *= change;
    }
    if (std::abs(change - 1) < std::numeric_limits<double>::epsilon()) break;
  }
  return value;
}

/// The regularised incomplete beta function I_x(a, b).
double beta_share(double x, double a, double b) noexcept {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  // The fraction converges fast up to about the mean; above it, symmetry is used.
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(x, a, b) / a;
  return 1 - front * beta_fraction(1 - x, b, a) / b;
}

double mean_of(std::span<const double> values) noexcept {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// For at least two values, with n - 1.
double variance_of(std::span<const double> values, double mean) noexcept {
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return squares / (static_cast<double>(values.size()) - 1);
}

/// The t that is exceeded on either side with probability 1 - confidence.
double two_sided(double confidence, double freedom) noexcept {
  return student_quantile((1 + confidence) / 2, freedom);
}

}  // namespace

double student_share(double t, double freedom) noexcept {
  const double both_tails = beta_share(freedom / (freedom + t * t), freedom / 2, 0.5);
  return t > 0 ? 1 - both_tails / 2 : both_tails / 2;
}

double student_quantile(double p, double freedom) noexcept {
  if (p == 0.5) return 0;
  if (p < 0.5) return -student_quantile(1 - p, freedom);
  double low = 0;
  double high = 1;
  while (student_share(high, freedom) < p && high < 1e15) high *= 2;
  // Bisection: 100 steps are more than a double has bits.
  for (int i = 0; i < 100 && high - low > 1e-13 * high; ++i) {
    const double middle = std::midpoint(low, high);
    (student_share(middle, freedom) < p ? low : high) = middle;
  }
  return std::midpoint(low, high);
}

std::optional<double> Estimate::half_width_share() const noexcept {
  if (!half_width || mean == 0) return std::nullopt;
  return *half_width / std::abs(mean);
}

std::optional<Estimate> estimate(std::span<const double> values) {
  constexpr double kConfidence = 0.95;
  if (values.empty()) return std::nullopt;
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const std::size_t half = sorted.size() / 2;
  Estimate out;
  out.count = values.size();
  out.mean = mean_of(values);
  out.min = sorted.front();
  out.max = sorted.back();
  out.median =
      sorted.size() % 2 == 1 ? sorted[half] : std::midpoint(sorted[half - 1], sorted[half]);
  if (values.size() > 1) {
    const auto n = static_cast<double>(values.size());
    out.deviation = std::sqrt(variance_of(values, out.mean));
    out.half_width = two_sided(kConfidence, n - 1) * *out.deviation / std::sqrt(n);
  }
  return out;
}

namespace {

/// A mean, its uncertainty, and the number of independent values.
struct Sample {
  double mean, variance_of_mean, count;
};

/// Welch's test. `count` need not be whole.
Difference compare_means(const Sample& before, const Sample& after, double confidence) noexcept {
  const double part1 = before.variance_of_mean;
  const double part2 = after.variance_of_mean;
  const double error = std::sqrt(part1 + part2);
  Difference out{.of_means = after.mean - before.mean};
  if (error == 0) {  // without spread, figures differ for certain or not at all
    out.significant = out.of_means != 0;
    out.p = out.significant ? 0 : 1;
    return out;
  }
  const double freedom = (part1 + part2) * (part1 + part2) /
                         (part1 * part1 / (before.count - 1) + part2 * part2 / (after.count - 1));
  out.half_width = two_sided(confidence, freedom) * error;
  out.p = 2 * student_share(-std::abs(out.of_means) / error, freedom);
  out.significant = out.p < 1 - confidence;
  return out;
}

Sample independent(std::span<const double> values) noexcept {
  const double mean = mean_of(values);
  const auto n = static_cast<double>(values.size());
  return {mean, variance_of(values, mean) / n, n};
}

/// The means of `batches` parts of equal length.
std::vector<double> means_of_batches(std::span<const double> series, std::size_t batches) {
  const std::size_t length = series.size() / batches;
  std::vector<double> means(batches);
  for (std::size_t i = 0; i < batches; ++i) means[i] = mean_of(series.subspan(i * length, length));
  return means;
}

constexpr std::size_t kBatches = 6;

Sample correlated(std::span<const double> series) {
  Sample sample = independent(series);
  const double n = sample.count;
  const double worth = n / correlation_time(series);
  if (!(worth > 1)) return {sample.mean, 0, worth};
  // Values vary less about their own mean than about the true one: n independent values by 1 / n
  // of the variance, these correlated ones by 1 / worth. This corrects the variance.
  const double variance = sample.variance_of_mean * (n - 1) / (1 - 1 / worth) / worth;
  // If parts of a run differ, runs differ for the same reason, and a longer run does not average
  // that out.
  constexpr double kStays = 0.5;
  const std::vector<double> parts = means_of_batches(series, std::min(kBatches, series.size()));
  const double stays = kStays * variance_of(parts, mean_of(parts));
  if (variance >= stays) return {sample.mean, variance, worth};
  return {sample.mean, stays, std::min(worth, static_cast<double>(parts.size()))};
}

/// The estimate from the correlation of neighbours, without the bias of short series.
double correlation_by_neighbours(std::span<const double> series, double mean) noexcept {
  const auto n = static_cast<double>(series.size());
  double squares = 0;
  double products = 0;
  for (std::size_t i = 0; i < series.size(); ++i) {
    squares += (series[i] - mean) * (series[i] - mean);
    if (i > 0) products += (series[i] - mean) * (series[i - 1] - mean);
  }
  if (squares == 0 || n < 4) return 1;
  const double phi = std::clamp((n * products / squares + 1) / (n - 3), 0.0, 0.98);
  return (1 + phi) / (1 - phi);
}

double correlation_by_batches(std::span<const double> series, double mean) {
  const std::size_t length = series.size() / kBatches;
  const double variance = variance_of(series, mean);
  if (length < 2 || variance == 0) return 1;
  const std::vector<double> means = means_of_batches(series, kBatches);
  return static_cast<double>(length) * variance_of(means, mean_of(means)) / variance;
}

}  // namespace

std::optional<Difference> difference(std::span<const double> before, std::span<const double> after,
                                     double confidence) {
  if (before.size() < 2 || after.size() < 2) return std::nullopt;
  return compare_means(independent(before), independent(after), confidence);
}

double correlation_time(std::span<const double> series) {
  if (series.size() < 2) return 1;
  const double mean = mean_of(series);
  return std::clamp(
      std::max(correlation_by_neighbours(series, mean), correlation_by_batches(series, mean)), 1.0,
      static_cast<double>(series.size()));
}

std::optional<Difference> difference_of_series(std::span<const double> before,
                                               std::span<const double> after, double confidence) {
  if (before.size() < 2 || after.size() < 2) return std::nullopt;
  const Sample first = correlated(before);
  const Sample second = correlated(after);
  if (first.count < 2 || second.count < 2) return std::nullopt;
  return compare_means(first, second, confidence);
}

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
