#include "perf/worker/replay.hpp"

#include <algorithm>
#include <cmath>

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
  flat_out_ = !(factor > 0);
  if (flat_out_) {
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
  return loop_start_ns_ + (flat_out_ ? 0 : records_[next_].after_ns);
}

std::uint64_t Replay::next_ns() const noexcept {
  if (ended()) return kNever;
  const std::uint64_t due = due_ns();
  return due < end_ns_ ? due : kNever;
}

std::size_t Replay::take(std::uint64_t now_ns, std::span<Slot> into) noexcept {
  if (now_ns >= end_ns_ && flat_out_) return 0;
  std::size_t taken = 0;
  for (; taken < into.size(); ++taken) {
    const std::uint64_t due = next_ns();
    if (due == kNever || due > now_ns) break;
    const Record& record = records_[next_];
    into[taken] = {.intended_ns = flat_out_ ? now_ns : due,
                   .frame = FrameView(bytes_.data() + record.at, record.size)};
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

}  // namespace shmif::perf
