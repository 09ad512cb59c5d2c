#pragma once
// The losses of a job's traffic, and how many of them have an explanation. Internal to perf/why.
//
// Threads: one at a time. Blocks: never.

#include <cstdint>
#include <optional>
#include <string>

#include "perf/why/series.hpp"

namespace shmif::perf {

/// A receiver that was held back counts its losses only when it runs again. This is one sample at
/// 10 Hz, and a little more.
inline constexpr double kNoticedLater = 0.15;

class Losses {
 public:
  explicit Losses(const JobTraffic* traffic);

  bool any() const noexcept { return all_ > 0; }
  bool known() const noexcept { return traffic_ != nullptr; }
  std::uint64_t left() const noexcept { return left_; }  ///< not explained yet

  /// Explains at most `count` of the losses that were noticed from `begin_s` on and are not
  /// explained yet. Result: their share of all losses; empty if there are no losses.
  std::optional<double> explain(double begin_s, std::uint64_t count);

  /// The losses in [begin, end), as a share of all losses, for which a job can be to blame if it
  /// was held back for `held_share` of that time. It is at most the part that is not explained yet,
  /// and at most `held_share` of the frames that were sent to the job. Empty if there are no
  /// losses.
  std::optional<double> within(double begin, double end, double held_share) const;

  /// Text about other events in [begin, end): overruns, and the worst latency if it stands out.
  std::string others_within(double begin, double end) const;

 private:
  const JobTraffic* traffic_;
  std::uint64_t all_ = 0, left_ = 0;
};

}  // namespace shmif::perf
