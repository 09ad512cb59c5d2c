// Captures as frame sources: at the recorded times, or at the pace of the job.

#include <algorithm>
#include <limits>
#include <optional>

#include "perf/worker/frame_source.hpp"
#include "perf/worker/replay.hpp"

namespace shmif::perf {
namespace {

/// Frames as they were recorded. They carry no probe, so their receiver can only count them. A
/// replay has no ramp.
class ReplaySource : public FrameSource {
 public:
  ReplaySource(Replay replay, std::size_t max_frame)
      : replay_(std::move(replay)), max_frame_(max_frame) {}

  /// The first of the taken frames may have been sent already, and the last ones may exceed a limit
  /// of the job.
  void make(std::uint64_t first, std::span<const Slot> slots, std::uint64_t,
            std::vector<FrameView>& into) final {
    if (!first_taken_) first_taken_ = first;
    const auto sent = static_cast<std::size_t>(first - *first_taken_);
    for (std::size_t i = 0; i < slots.size(); ++i) into.push_back(taken_[sent + i]);
  }

  bool ended() const noexcept final { return replay_.ended(); }
  std::string warning() const final {
    std::string what;
    if (const std::uint64_t cut = replay_.cut_short(); cut == 1) {
      what = "1 frame of the capture was cut short when it was recorded, and is sent as it is";
    } else if (cut != 0) {
      what =
          std::to_string(cut) +
          " frames of the capture were cut short when they were recorded, and are sent as they are";
    }
    const std::uint64_t skipped = replay_.skipped();
    if (skipped != 0 && !what.empty()) what += "; ";
    if (skipped == 1) {
      what += "1 record of the capture is too short for a frame, and is left out";
    } else if (skipped != 0) {
      what += std::to_string(skipped) +
              " records of the capture are too short for frames, and are left out";
    }
    if (replay_.too_long() != 0) {
      if (!what.empty()) what += "; ";
      what += too_long_text(replay_, max_frame_) +
              (replay_.too_long() == 1 ? ", and is left out" : ", and are left out");
    }
    return what;
  }
  std::string notice() const final {
    constexpr std::uint64_t kMinuteNs = 60'000'000'000;
    const std::uint64_t gap = replay_.longest_gap_ns();
    if (gap <= kMinuteNs) return {};
    return "the longest pause of the capture takes " + std::to_string(gap / kMinuteNs) +
           (gap < 2 * kMinuteNs ? " minute" : " minutes") +
           " (replay_max_gap=1 cuts it to a second)";
  }
  std::size_t max_bytes() const noexcept final { return std::min(replay_.longest(), max_frame_); }
  std::size_t max_frames() const noexcept final { return SIZE_MAX; }
  std::span<std::byte> memory() noexcept final { return replay_.memory(); }

 protected:
  /// The frames taken before have all been sent.
  void begin_to_take() noexcept {
    taken_.clear();
    first_taken_.reset();
  }

  Replay replay_;
  std::vector<FrameView> taken_;

 private:
  std::size_t max_frame_;
  std::optional<std::uint64_t> first_taken_;  // number of the first frame in taken_
};

/// Sends at the recorded times.
class TimedReplay final : public ReplaySource {
 public:
  using ReplaySource::ReplaySource;

  void begin(std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t) override {
    replay_.start(begin_ns, end_ns);
  }
  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) override {
    begin_to_take();
    slots_.resize(into.size());
    const std::size_t count = replay_.take(now_ns, slots_);
    for (std::size_t i = 0; i < count; ++i) {
      into[i] = {.intended_ns = slots_[i].intended_ns,
                 .bytes = static_cast<std::uint32_t>(slots_[i].frame.size())};
      taken_.push_back(slots_[i].frame);
    }
    return count;
  }
  std::uint64_t next_ns() const noexcept override { return replay_.next_ns(); }
  std::uint64_t due_ns() const noexcept override { return replay_.due_ns(); }
  Unsent give_up(std::uint64_t now_ns) noexcept override {
    Unsent unsent;
    // An endless replay without a pace always has more frames that are due.
    if (replay_.left() == Replay::kNever && replay_.loop_ns() == 0) return unsent;
    // Takes one frame at a time, because a frame that is due at `now_ns` itself is not given up.
    Replay::Slot late;
    while (replay_.next_ns() < now_ns && replay_.take(now_ns, {&late, 1}) != 0) {
      ++unsent.frames;
      unsent.bytes += late.frame.size();
    }
    return unsent;
  }

 private:
  std::vector<Replay::Slot> slots_;
};

/// Sends at the rate of the job, or as fast as possible, with thinktime.
class PacedReplay final : public ReplaySource {
 public:
  PacedReplay(Replay replay, std::size_t max_frame, const JobOptions& job)
      : ReplaySource(std::move(replay), max_frame),
        options_(schedule_options(job)),
        schedule_(options_),
        lengths_(replay_, taken_) {}

  void begin(std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t) override {
    replay_.start(begin_ns, end_ns);
    schedule_ = Schedule(options_, begin_ns, end_ns);
  }
  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) override {
    begin_to_take();
    into =
        into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), replay_.left())));
    return schedule_.take(now_ns, static_cast<FrameLengths&>(lengths_), into);
  }
  std::uint64_t next_ns() const noexcept override {
    return replay_.ended() ? kNever : schedule_.next_ns();
  }
  std::uint64_t due_ns() const noexcept override { return schedule_.pace_ns(); }
  std::uint64_t all_left(std::uint64_t now_ns) noexcept override {
    return schedule_.pause_is_due() ? schedule_.pause(now_ns).spin_until_ns : 0;
  }
  Unsent give_up(std::uint64_t now_ns) noexcept override {
    const auto& lengths = static_cast<const FrameLengths&>(lengths_);
    const std::uint64_t frames = std::min(schedule_.give_up(now_ns, lengths), replay_.left());
    return {frames, static_cast<std::uint64_t>(static_cast<double>(frames) * lengths.mean())};
  }

 private:
  /// Takes the next frame each time a caller asks for its length.
  class Lengths final : public FrameLengths {
   public:
    Lengths(Replay& replay, std::vector<FrameView>& taken) : replay_(replay), taken_(taken) {}
    std::uint32_t next() noexcept override {
      taken_.push_back(replay_.next());
      return static_cast<std::uint32_t>(taken_.back().size());
    }
    double mean() const noexcept override {
      return static_cast<double>(replay_.bytes()) / static_cast<double>(replay_.frames());
    }

   private:
    Replay& replay_;
    std::vector<FrameView>& taken_;
  };

  ScheduleOptions options_;
  Schedule schedule_;
  Lengths lengths_;
};

}  // namespace

Result<std::unique_ptr<FrameSource>> make_replay_source(const JobOptions& job,
                                                        std::size_t max_frame) {
  // A job that sends for a fixed time repeats the capture as often as needed.
  const bool endless = job.time_based && job.runtime.count() > 0;
  const bool paced = job.rate_bps.tx != 0 || job.rate_fps.tx != 0 || job.replay_no_stall;
  auto replay = Replay::open(job.replay,
                             {.time_scale = paced ? 0 : job.replay_time_scale,
                              .loops = endless ? 0 : job.loops,
                              .max_gap_ns = static_cast<std::uint64_t>(job.replay_max_gap.count()),
                              .max_frame = max_frame});
  if (!replay) return std::move(replay).error();
  std::unique_ptr<FrameSource> source;
  if (paced) {
    source = std::make_unique<PacedReplay>(*std::move(replay), max_frame, job);
  } else {
    source = std::make_unique<TimedReplay>(*std::move(replay), max_frame);
  }
  return source;
}

}  // namespace shmif::perf
