#pragma once
// When the frames of a stream are sent.
//
// Pacer: when each frame is due.
// ThinkTime: pauses between bursts of frames.
// Schedule: which frames must be sent now.
//
// Executive summary: times are exact to the nanosecond over the whole run, because the pacer
// carries over the remainder of each division. So the rate of a stream has no error, from one frame
// in hours to one in a fraction of a nanosecond. A Poisson stream has that rate on average.
//
// The pacer says when each frame is due. That stays its intended time, however late it is sent. The
// schedule adds where the stream begins and ends, pauses between bursts, and what happens to frames
// whose time passed in a stall of the sender or of the medium:
//
//   burst    they are sent at once, so the offered load is kept
//   limited  they are sent at twice the rate until the stream is on time
//   skip     they are given up, and counted
//
// Frames that are slightly late are not a stall: a loop that looks every few microseconds finds
// some each time.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "perf/frame/random.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

// SizeChooser: the length of each next frame of a stream.

/// The sizes of a stream's frames, in order. If all are the same, no random number is drawn.
/// Otherwise the parts occur according to their weights, and the sizes within a part are equally
/// likely, without the small bias of a modulo. Threads: one at a time. Blocks: never.
class SizeChooser {
 public:
  /// `position`: how many numbers an earlier run, which this one continues, has drawn. Parts of
  /// weight 0 are ignored. A part whose `max` is less than its `min` has the size `min`.
  SizeChooser(const FrameSizes& sizes, std::uint64_t seed, std::uint64_t position = 0);

  /// Bytes without FCS.
  std::uint32_t next() noexcept { return fixed_ != 0 ? fixed_ : draw(); }

  /// Whether all sizes are the same.
  bool is_fixed() const noexcept { return fixed_ != 0; }
  /// The expected size, in bytes.
  double mean() const noexcept { return mean_; }
  std::uint32_t min() const noexcept { return min_; }
  std::uint32_t max() const noexcept { return max_; }
  /// How many random numbers have been drawn.
  std::uint64_t position() const noexcept { return random_.position(); }

 private:
  struct Part {
    std::uint64_t end = 0;  // sum of the weights up to this part
    std::uint32_t min = 0;
    std::uint64_t sizes = 1;
  };
  std::uint32_t draw() noexcept;

  std::vector<Part> parts_;
  Random random_;
  std::uint32_t fixed_ = 0;  // 0: not fixed
  std::uint32_t min_ = 0;
  std::uint32_t max_ = 0;
  double mean_ = 0;
};

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

/// After every `blocks` frames comes a pause; its beginning may be spent spinning. Counts frames,
/// however they are batched. Threads: one at a time. Blocks: never; it does not wait.
class ThinkTime {
 public:
  using Nanoseconds = std::chrono::nanoseconds;

  struct Options {
    Nanoseconds pause{0};  ///< 0: no pause
    Nanoseconds spin{0};   ///< part of the pause that is spent spinning
    std::uint64_t blocks = 1;
  };
  explicit ThinkTime(const Options& options) noexcept
      : options_(options), left_(frames_of_a_burst()) {}

  /// How many frames may be sent before the next pause.
  std::uint64_t left() const noexcept { return left_; }
  /// Notes that `frames` were sent, at most left().
  void note(std::uint64_t frames) noexcept {
    if (options_.pause.count() > 0) left_ -= frames;
  }
  /// Whether the burst is over, so a pause begins when all its frames have left.
  bool is_due() const noexcept { return left_ == 0; }

  struct Pause {
    std::uint64_t spin_until_ns = 0;
    std::uint64_t until_ns = 0;
  };
  /// Begins a pause, which ends at `end_ns` at the latest. The next burst follows it.
  Pause begin(std::uint64_t now_ns, std::uint64_t end_ns) noexcept {
    left_ = frames_of_a_burst();
    const auto after = [&](Nanoseconds time) {
      const auto length_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(0, time.count()));
      return std::min(now_ns + length_ns, std::max(now_ns, end_ns));
    };
    return {.spin_until_ns = after(std::min(options_.spin, options_.pause)),
            .until_ns = after(options_.pause)};
  }

 private:
  std::uint64_t frames_of_a_burst() const noexcept {
    if (options_.pause.count() <= 0) return std::numeric_limits<std::uint64_t>::max();
    return std::max<std::uint64_t>(1, options_.blocks);
  }

  Options options_;
  std::uint64_t left_;
};

struct ScheduleOptions {
  PaceOptions pace{};
  CatchUp catch_up = CatchUp::burst;
  ThinkTime::Options think{};
  /// A frame that is later than this is late because of a stall.
  std::chrono::nanoseconds stall = std::chrono::microseconds(100);
};
/// The lengths of existing frames, of a capture. take() calls next() once for each frame that it
/// takes.
class FrameLengths {
 public:
  FrameLengths() = default;
  FrameLengths(const FrameLengths&) = delete;
  FrameLengths& operator=(const FrameLengths&) = delete;
  virtual std::uint32_t next() noexcept = 0;
  virtual double mean() const noexcept = 0;

 protected:
  ~FrameLengths() = default;
};

/// The schedule that `job` asks for: of its own stream, or of its peer's. The random numbers of the
/// two directions differ.
ScheduleOptions schedule_options(const JobOptions& job, bool of_peer = false);

/// Times are CLOCK_MONOTONIC, ns. Threads: one at a time. Blocks: never; it does not wait.
class Schedule {
 public:
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  /// The first frame is due at `start_ns`, and no frame at `end_ns` or later. Frames that were due
  /// before `measure_from_ns` and are given up are not counted.
  explicit Schedule(const ScheduleOptions& options, std::uint64_t start_ns = 0,
                    std::uint64_t end_ns = kNever, std::uint64_t measure_from_ns = 0);

  struct Slot {
    std::uint64_t intended_ns = 0;
    std::uint32_t bytes = 0;
  };
  /// Fills `into` with the frames to send now, from the front. They count as sent: the caller sends
  /// them, in this order, before it takes more. Without a rate, the intended time of each frame is
  /// now. Result: how many. `Sizes`: SizeChooser or FrameLengths.
  template <class Sizes>
  std::size_t take(std::uint64_t now_ns, Sizes& sizes, std::span<Slot> into) noexcept;

  /// When to call take() next; kNever after the last frame.
  std::uint64_t next_ns() const noexcept;

  /// When the next frame is due by the pace and the last pause, even if it will never be sent.
  std::uint64_t pace_ns() const noexcept { return std::max(due_ns(), resume_ns_); }

  /// Whether a burst is over. No frame may be sent until its frames have left and pause() was
  /// called.
  bool pause_is_due() const noexcept { return think_.is_due(); }
  /// To be called when all taken frames have left. Result: when to continue.
  ThinkTime::Pause pause(std::uint64_t now_ns) noexcept;

  /// Frames given up by CatchUp::skip.
  std::uint64_t skipped_frames() const noexcept { return skipped_; }
  std::uint64_t skipped_bytes() const noexcept { return skipped_bytes_; }
  /// Gives up every frame that was due before `now_ns` and not taken, at the end of a job. Result:
  /// how many measured frames, of the mean size. They were offered but not sent.
  template <class Sizes>
  std::uint64_t give_up(std::uint64_t now_ns, const Sizes& sizes) noexcept;

 private:
  /// The pacer's time, without pauses.
  std::uint64_t due_ns() const noexcept {
    return start_ns_ + static_cast<std::uint64_t>(pacer_.due().count());
  }
  /// When a frame that was due at `due_ns` may be sent while the stream catches up.
  std::uint64_t release_ns(std::uint64_t due_ns) const noexcept {
    return caught_from_ns_ + (due_ns - caught_due_ns_) / 2;
  }
  bool is_held_back(std::uint64_t due_ns, std::uint64_t now_ns) noexcept;
  template <class Sizes>
  void skip(std::uint64_t now_ns, const Sizes& sizes) noexcept;
  template <class Sizes>
  std::size_t take_unpaced(std::uint64_t now_ns, Sizes& sizes, std::span<Slot> into) noexcept;

  Pacer pacer_;
  ThinkTime think_;
  CatchUp catch_up_;
  bool paced_;
  bool catching_up_ = false;
  std::uint64_t stall_ns_;
  std::uint64_t start_ns_;
  std::uint64_t end_ns_;
  std::uint64_t measure_from_ns_;
  std::uint64_t resume_ns_ = 0;       // the end of the last pause
  std::uint64_t caught_from_ns_ = 0;  // when catching up began
  std::uint64_t caught_due_ns_ = 0;   // when the first late frame was due
  std::uint64_t skipped_ = 0;
  std::uint64_t skipped_bytes_ = 0;
};

}  // namespace shmif::perf
