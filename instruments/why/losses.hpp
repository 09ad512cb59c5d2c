#pragma once
// The losses of a job's traffic, and how many of them have an explanation. Internal to
// instruments/why.
//
// Threads: one at a time. Blocks: never.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "instruments/why/series.hpp"

namespace shmif::perf {

/// A receiver that was held back counts its losses only when it runs again. This is one sample at
/// 10 Hz, and a little more.
inline constexpr double kNoticedLater = 0.15;

class Losses {
 public:
  explicit Losses(const JobTraffic* traffic);

  bool any() const noexcept { return all_ > 0; }
  bool known() const noexcept { return traffic_ != nullptr; }
  double left() const noexcept { return left_; }  ///< frames that are not explained yet

  /// Explains at most `count` of the losses that were noticed from `begin_s` on and are not
  /// explained yet. Result: their share of all losses; empty if there are no losses.
  std::optional<double> explain(double begin_s, std::uint64_t count);

  /// Explains losses in [begin, end) by a job that was held back for `held_share` of that time: at
  /// most `held_share` of the frames that were sent to it. Result: as explain().
  std::optional<double> explain(double begin, double end, double held_share);

  /// Text about other events in [begin, end): overruns, and the worst latency if it stands out.
  std::string others_within(double begin, double end) const;

 private:
  const JobTraffic* traffic_;
  std::vector<double> of_steps_;  // lost in each step, and not explained by time yet
  double all_ = 0, left_ = 0;
};

}  // namespace shmif::perf
