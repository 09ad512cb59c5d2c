#pragma once
// Schedule: which frames of a stream must be sent now.
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
#include <span>

#include "perf/frame/frame_sizes.hpp"
#include "perf/frame/pacer.hpp"
#include "perf/frame/think_time.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

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
