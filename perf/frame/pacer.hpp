#pragma once
// Pacer: when each frame of a stream must be sent.
//
// Executive summary: times are exact to the nanosecond over the whole run, because the remainder of
// each division is carried over. So the rate of a stream has no error, from one frame in hours to
// one in a fraction of a nanosecond. A Poisson stream has that rate on average.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>

namespace shmif::perf {

struct PaceOptions {
  /// Each less than 2^63. If both are set, the lower rate applies. If neither is set, all frames
  /// are due at once.
  std::uint64_t frames_per_s = 0;
  std::uint64_t bits_per_s = 0;
  /// What a frame takes of `bits_per_s` besides its own bytes: on a real Ethernet 24, for preamble,
  /// FCS and gap (IEEE 802.3, clauses 3.2 and 4.4.2).
  std::size_t overhead_bytes = 0;
  enum class Process : std::uint8_t {
    linear,   ///< evenly spaced
    poisson,  ///< independent of each other: gaps are exponentially distributed
  };
  Process process = Process::linear;
  std::uint64_t seed = 1;  ///< for a Poisson stream
};

/// The times of the frames in order, from 0. Threads: one at a time. Blocks: never; it does not
/// wait.
class Pacer {
 public:
  using Nanoseconds = std::chrono::nanoseconds;

  explicit Pacer(const PaceOptions& options);

  /// When the next frame is due, since the beginning of the stream.
  Nanoseconds due() const noexcept { return Nanoseconds(static_cast<std::int64_t>(due_ns_)); }
  /// Moves on to the frame after this one. This frame, of `bytes` without FCS, was sent or given
  /// up; its size determines when the next one is due.
  void advance(std::size_t bytes) noexcept;
  /// Gives up every frame that was due before `now`, for a stream that does not catch up after a
  /// stall. Assumes that all of them had `bytes`. Result: how many.
  std::uint64_t skip_to(Nanoseconds now, std::size_t bytes) noexcept;

 private:
  /// The time that one of the two rates takes: whole nanoseconds, and the remainder in units of
  /// 1/rate.
  struct Clock {
    std::uint64_t rate = 0;  // 0: no limit
    std::uint64_t ns = 0;
    std::uint64_t rest = 0;
    // The step of the last amount. Amounts repeat, and a division costs more than everything else.
    std::uint64_t amount_before = 0;
    std::uint64_t step_ns = 0;
    std::uint64_t step_rest = 0;
    void advance(std::uint64_t amount) noexcept;
    std::uint64_t steps_before(std::uint64_t now_ns, std::uint64_t amount) const noexcept;
  };

  double draw_gap() noexcept;

  PaceOptions options_;
  Clock frames_;
  Clock bits_;
  std::mt19937_64 random_;
  double fraction_ = 0;  // of a nanosecond, in a Poisson stream
  std::uint64_t due_ns_ = 0;
};

}  // namespace shmif::perf
