#pragma once
// The losses of a job's traffic, and how many of them are explained. Internal to perf/why.
//
// Threads: one at a time. Blocks: never.

#include <cstdint>
#include <optional>
#include <string>

#include "perf/why/series.hpp"

namespace shmif::perf {

/// A receiver that was held back counts what it lost when it runs again. One sample at 10 Hz, and a
/// little.
inline constexpr double kNoticedLater = 0.15;

class Losses {
 public:
  explicit Losses(const JobTraffic* traffic);

  bool any() const noexcept { return all_ > 0; }
  bool known() const noexcept { return traffic_ != nullptr; }
  std::uint64_t left() const noexcept { return left_; }  ///< those that nothing explains yet

  /// Takes at most `count` of the losses that were noticed from `begin_s` on, and that nothing has
  /// explained yet. Result: which share of all losses that is; empty if there are no losses.
  std::optional<double> explain(double begin_s, std::uint64_t count);

  /// The share of all losses in [begin, end) for which a job can be to blame that was held back for
  /// `held_share` of that time: no more than what is not explained, and no more than that share of
  /// the frames that were for it. Empty if there are no losses.
  std::optional<double> within(double begin, double end, double held_share) const;

  /// What else fell into [begin, end): overruns, and the worst latency if it stands out.
  std::string others_within(double begin, double end) const;

 private:
  const JobTraffic* traffic_;
  std::uint64_t all_ = 0, left_ = 0;
};

}  // namespace shmif::perf
