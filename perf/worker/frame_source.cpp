#include "perf/worker/frame_source.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "perf/frame/frame_maker.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/capture/recorded_time.hpp"

namespace shmif::perf {
namespace {

constexpr double kTooFarNs = 1e18;  // 30 years; beyond it, sums might overflow

Error unusable(const std::string& path, const std::string& why) {
  return {Errc::bad_argument, "cannot replay \"" + path + "\": " + why};
}

}  // namespace

std::string too_long_text(const Replay& replay, std::size_t max_frame) {
  const bool one = replay.too_long() == 1;
  return (one ? "1 frame of the capture is"
              : std::to_string(replay.too_long()) + " frames of the capture are") +
         std::string(" longer than the ") + std::to_string(max_frame) +
         " bytes that the wire carries (mtu=" +
         std::to_string(replay.longest() - kEthernetHeaderBytes) + " has room)";
}

Result<Replay> Replay::open(const std::string& path, const ReplayOptions& options) {
  auto reader = PcapReader::open(path);
  if (!reader) return reader.error();
  Replay replay;
  FrameBatch batch(64, std::size_t{4} * kMaxFrameBytes);
  const bool timed = options.time_scale > 0;
  // The limit holds for the replay, so it is scaled back to the times of the recording.
  const double limit_ns = timed ? static_cast<double>(options.max_gap_ns) / options.time_scale : 0;
  RecordedTime time(static_cast<std::uint64_t>(std::min(std::ceil(limit_ns), kTooFarNs)));
  for (bool ended = false; !ended;) {
    batch.clear();
    ended = static_cast<bool>(reader->receive(batch).error);
    for (const FrameView& frame : batch.frames()) {
      const std::uint64_t after = time.next(frame.time_ns);
      replay.longest_gap_ns_ = std::max(replay.longest_gap_ns_, time.gap_ns());
      replay.longest_ = std::max(replay.longest_, frame.size());
      if (frame.size() > options.max_frame) {
        ++replay.too_long_;
        continue;
      }
      replay.records_.push_back({.after_ns = after,
                                 .at = replay.bytes_.size(),
                                 .size = static_cast<std::uint32_t>(frame.size())});
      replay.bytes_.insert(replay.bytes_.end(), frame.bytes.begin(), frame.bytes.end());
      replay.cut_short_ += frame.truncated() ? 1 : 0;
    }
    if (replay.bytes_.size() > options.max_bytes) {
      return unusable(path, "its frames have more than " + std::to_string(options.max_bytes) +
                                " bytes together, and all of them are kept in memory (split the "
                                "file with editcap -c)");
    }
  }
  if (auto status = reader->status(); !status) return unusable(path, status.error().message);
  if (replay.records_.empty() && replay.too_long_ > 0) {
    return Error(Errc::frame_too_long,
                 "cannot replay \"" + path + "\": " + too_long_text(replay, options.max_frame));
  }
  if (replay.records_.empty()) return unusable(path, "it contains no frame");
  replay.skipped_ = reader->skipped();
  replay.endless_ = options.loops == 0;
  replay.loops_left_ = options.loops;
  replay.scale(options.time_scale, time.loop_ns());
  replay.start(0);
  return replay;
}

/// Applies the factor to all times.
void Replay::scale(double factor, std::uint64_t loop_ns) {
  if (!(factor > 0)) {
    longest_gap_ns_ = 0;
    return;
  }
  const auto scaled = [&](std::uint64_t ns) {
    return static_cast<std::uint64_t>(
        std::llround(std::min(static_cast<double>(ns) * factor, kTooFarNs)));
  };
  loop_ns_ = scaled(loop_ns);
  longest_gap_ns_ = scaled(longest_gap_ns_);
  if (factor == 1) return;
  for (Record& record : records_) record.after_ns = scaled(record.after_ns);
}

void Replay::start(std::uint64_t start_ns, std::uint64_t end_ns) noexcept {
  loop_start_ns_ = start_ns;
  end_ns_ = end_ns;
}

std::uint64_t Replay::due_ns() const noexcept {
  return loop_start_ns_ + records_[next_].after_ns;
}

std::uint64_t Replay::next_ns() const noexcept {
  if (ended()) return kNever;
  const std::uint64_t due = due_ns();
  return due < end_ns_ ? due : kNever;
}

std::size_t Replay::take(std::uint64_t now_ns, std::span<Slot> into) noexcept {
  std::size_t taken = 0;
  for (; taken < into.size(); ++taken) {
    const std::uint64_t due = next_ns();
    if (due == kNever || due > now_ns) break;
    const Record& record = records_[next_];
    into[taken] = {.intended_ns = due, .frame = FrameView(bytes_.data() + record.at, record.size)};
    advance();
  }
  return taken;
}

void Replay::advance() noexcept {
  if (++next_ < records_.size()) return;
  next_ = 0;
  loop_start_ns_ += loop_ns_;
  if (!endless_) --loops_left_;
}

FrameView Replay::next() noexcept {
  const Record& record = records_[next_];
  const FrameView frame(bytes_.data() + record.at, record.size);
  advance();
  return frame;
}

std::uint64_t Replay::left() const noexcept {
  return endless_ ? kNever : loops_left_ * records_.size() - next_;
}

namespace {

FrameMakerOptions maker_options(const ProbeSourceOptions& options, std::uint32_t max) {
  FrameMakerOptions maker = frame_maker_options(options.job, options.flow, max);
  maker.destination = options.to;
  maker.source = options.from;
  return maker;
}

class ProbeSource final : public FrameSource {
 public:
  explicit ProbeSource(const ProbeSourceOptions& options)
      : options_(options),
        sizes_(options.job.bs.tx, options.job.randseed, options.random_position),
        maker_(maker_options(options, sizes_.max())),
        schedule_(schedule_options(options.job)) {}

  void begin(std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t measure_from_ns) override {
    schedule_ = Schedule(schedule_options(options_.job), begin_ns, end_ns, measure_from_ns);
  }

  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) override {
    return schedule_.take(now_ns, sizes_, into);
  }

  void make(std::uint64_t first, std::span<const Slot> slots, std::uint64_t now_ns,
            std::vector<FrameView>& into) override {
    maker_.make_all(first, slots,
                    {.kind = options_.kind, .nonce = options_.nonce, .sent_ns = now_ns}, into);
  }

  std::uint64_t next_ns() const noexcept override { return schedule_.next_ns(); }
  std::uint64_t due_ns() const noexcept override { return schedule_.pace_ns(); }

  std::uint64_t all_left(std::uint64_t now_ns) noexcept override {
    return schedule_.pause_is_due() ? schedule_.pause(now_ns).spin_until_ns : 0;
  }

  Unsent give_up(std::uint64_t now_ns) noexcept override {
    const std::uint64_t frames = schedule_.give_up(now_ns, sizes_);
    return {frames, static_cast<std::uint64_t>(static_cast<double>(frames) * sizes_.mean())};
  }
  Unsent skipped() const noexcept override {
    return {schedule_.skipped_frames(), schedule_.skipped_bytes()};
  }
  std::size_t max_bytes() const noexcept override { return sizes_.max(); }
  std::size_t max_frames() const noexcept override { return maker_.slots(); }
  std::span<std::byte> memory() noexcept override { return maker_.memory(); }
  std::uint64_t random_position() const noexcept override { return sizes_.position(); }

 private:
  ProbeSourceOptions options_;
  SizeChooser sizes_;
  FrameMaker maker_;
  Schedule schedule_;
};

}  // namespace

std::unique_ptr<FrameSource> make_probe_source(const ProbeSourceOptions& options) {
  return std::make_unique<ProbeSource>(options);
}

// Captures as frame sources: at the recorded times, or at the pace of the job.

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
    // An endless replay whose loops take no time always has more frames that are due.
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
