#pragma once
// Pacer: when each frame of a stream is to be sent.
//
// Executive summary: times are exact to the nanosecond over the whole run, because the rest of each
// division is carried on; so the rate of a stream has no error of its own, at any rate from a frame
// in hours to a frame in a fraction of a nanosecond. A Poisson stream has that rate on average.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>

namespace shmif::perf {

struct PaceOptions {
  /// Each less than 2^63. Both at once: whichever lets the frame go later. Neither: all frames are
  /// due at once.
  std::uint64_t frames_per_s = 0;
  std::uint64_t bits_per_s = 0;
  /// What a frame takes of `bits_per_s` besides its own bytes: on a real Ethernet 24, of preamble,
  /// FCS and gap (IEEE 802.3, clauses 3.2 and 4.4.2).
  std::size_t overhead_bytes = 0;
  enum class Process : std::uint8_t {
    linear,   ///< evenly
    poisson,  ///< independent of each other: gaps are exponentially distributed
  };
  Process process = Process::linear;
  std::uint64_t seed = 1;  ///< of a Poisson stream
};

/// The frames' times, one after the other, from 0. Threads: one at a time. Blocks: never; nobody
/// waits in here.
class Pacer {
 public:
  using Nanoseconds = std::chrono::nanoseconds;

  explicit Pacer(const PaceOptions& options);

  /// When the next frame is due, from the beginning of the stream.
  Nanoseconds due() const noexcept { return Nanoseconds(static_cast<std::int64_t>(due_ns_)); }
  /// That frame, of `bytes` without FCS, is dealt with: sent, or given up. The next one follows at
  /// the distance of this one's size.
  void advance(std::size_t bytes) noexcept;
  /// Gives up every frame that was due before `now`, for a stream that does not make up for a
  /// stall. All of them would have had `bytes`. Result: how many.
  std::uint64_t skip_to(Nanoseconds now, std::size_t bytes) noexcept;

 private:
  /// Time as it passes for one of the two rates: whole nanoseconds, and the rest in units of
  /// 1/rate.
  struct Clock {
    std::uint64_t rate = 0;  // 0: no limit
    std::uint64_t ns = 0;
    std::uint64_t rest = 0;
    // What the last amount took: streams repeat it, and a division costs more than all the rest.
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
  double fraction_ = 0;  // of a nanosecond, of a Poisson stream
  std::uint64_t due_ns_ = 0;
};

}  // namespace shmif::perf
