#include "perf/run/frame_source.hpp"

#include <algorithm>
#include <optional>

#include "perf/frame/frame_maker.hpp"
#include "perf/frame/frame_sizes.hpp"
#include "perf/run/replay.hpp"

namespace shmif::perf {
namespace {

FrameMakerOptions maker_options(const ProbeSourceOptions& options, std::uint32_t most) {
  FrameMakerOptions maker = frame_maker_options(options.job, options.flow, most);
  maker.destination = options.to;
  maker.source = options.from;
  return maker;
}

class ProbeSource final : public FrameSource {
 public:
  explicit ProbeSource(const ProbeSourceOptions& options)
      : options_(options),
        sizes_(options.job.bs.tx, options.job.randseed, options.random_position),
        maker_(maker_options(options, sizes_.most())),
        schedule_(schedule_options(options.job)) {}

  void begin(std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t measure_from_ns) override {
    schedule_ = Schedule(schedule_options(options_.job), begin_ns, end_ns, measure_from_ns);
  }

  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) override {
    return schedule_.take(now_ns, sizes_, into);
  }

  void make(std::uint64_t first, std::span<const Slot> slots, std::uint64_t now_ns,
            std::vector<FrameView>& into) override {
    if (maker_.has_headers()) {
      for (std::size_t i = 0; i < slots.size(); ++i) {
        maker_.write_headers(first + i, slots[i].bytes);
      }
    }
    for (const Slot& slot : slots) {
      into.push_back(maker_.finish(first++, slot.bytes,
                                   {.kind = options_.kind,
                                    .nonce = options_.nonce,
                                    .intended_ns = slot.intended_ns,
                                    .sent_ns = now_ns}));
    }
  }

  std::uint64_t next_ns() const noexcept override { return schedule_.next_ns(); }

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
  std::size_t most_bytes() const noexcept override { return sizes_.most(); }
  std::size_t most_frames() const noexcept override { return maker_.slots(); }
  std::span<std::byte> memory() noexcept override { return maker_.memory(); }
  std::uint64_t random_position() const noexcept override { return sizes_.position(); }

 private:
  ProbeSourceOptions options_;
  SizeChooser sizes_;
  FrameMaker maker_;
  Schedule schedule_;
};

/// Frames as they were recorded. They carry no probe: whoever receives them counts them, and knows
/// nothing else of them.
class ReplaySource final : public FrameSource {
 public:
  ReplaySource(Replay replay, bool flat_out) : replay_(std::move(replay)), flat_out_(flat_out) {}

  // A replay has no ramp.
  void begin(std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t) override {
    replay_.start(begin_ns, end_ns);
  }

  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) override {
    slots_.resize(into.size());
    const std::size_t count = replay_.take(now_ns, slots_);
    for (std::size_t i = 0; i < count; ++i) {
      into[i] = {.intended_ns = slots_[i].intended_ns,
                 .bytes = static_cast<std::uint32_t>(slots_[i].frame.size())};
    }
    first_taken_.reset();
    return count;
  }

  /// Of those that were taken, the first ones may have been sent already, and the last ones may be
  /// beyond a limit of the job.
  void make(std::uint64_t first, std::span<const Slot> slots, std::uint64_t,
            std::vector<FrameView>& into) override {
    if (!first_taken_) first_taken_ = first;
    const auto sent = static_cast<std::size_t>(first - *first_taken_);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      into.emplace_back(slots_[sent + i].frame.bytes);
    }
  }

  std::uint64_t next_ns() const noexcept override { return replay_.next_ns(); }
  bool ended() const noexcept override { return replay_.ended(); }
  Unsent give_up(std::uint64_t now_ns) noexcept override {
    Unsent unsent;
    if (flat_out_) return unsent;  // which asks for nothing at any time
    std::vector<Replay::Slot> late(64);
    for (std::size_t n = 0; replay_.next_ns() < now_ns && (n = replay_.take(now_ns, late)) != 0;) {
      unsent.frames += n;
      for (std::size_t i = 0; i < n; ++i) unsent.bytes += late[i].frame.size();
    }
    return unsent;
  }
  std::string warning() const override {
    std::string what;
    if (replay_.cut_short() != 0) {
      what = std::to_string(replay_.cut_short()) +
             " frames of the capture were cut short when they were recorded, and are sent so";
    }
    if (replay_.skipped() != 0) {
      what += (what.empty() ? "" : "; ") + std::to_string(replay_.skipped()) +
              " records of the capture are too short for frames, and are left out";
    }
    return what;
  }
  std::size_t most_bytes() const noexcept override { return replay_.longest(); }
  std::size_t most_frames() const noexcept override { return SIZE_MAX; }
  std::span<std::byte> memory() noexcept override { return replay_.memory(); }

 private:
  Replay replay_;
  bool flat_out_;
  std::vector<Replay::Slot> slots_;           // taken last
  std::optional<std::uint64_t> first_taken_;  // the number of the first of these
};

}  // namespace

std::unique_ptr<FrameSource> make_probe_source(const ProbeSourceOptions& options) {
  return std::make_unique<ProbeSource>(options);
}

Result<std::unique_ptr<FrameSource>> make_replay_source(const JobOptions& job) {
  // Who is to send for a time replays as often as that takes.
  const bool endless = job.time_based && job.runtime.count() > 0;
  const double time_scale = job.replay_no_stall ? 0 : job.replay_time_scale;
  auto replay =
      Replay::open(job.replay, {.time_scale = time_scale, .loops = endless ? 0 : job.loops});
  if (!replay) return std::move(replay).error();
  return std::unique_ptr<FrameSource>(
      std::make_unique<ReplaySource>(*std::move(replay), job.replay_no_stall));
}

}  // namespace shmif::perf
