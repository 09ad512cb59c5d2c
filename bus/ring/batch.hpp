#pragma once
// How the frames of a batch lie in records (I9). A batch is planned once, frame by frame, while the
// sender checks its frames. The writer gets the plan of the first record with it, since most
// batches of short frames are one record.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "bus/frame.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

/// Bytes behind the record header of a frame that has a record of its own.
inline std::uint64_t body_bytes(const FrameView& frame) noexcept {
  return frame.size() + (frame.offload.pending() ? kVnetBytes : 0);
}

/// Which frames of a batch share a record (I9): those that stand next to each other, are short, and
/// leave no work to their receivers. The code that reserves room and the code that writes both go
/// by it, so they agree.
class RecordPlan {
 public:
  /// Longer frames have a record of their own: they gain nothing, by measurement.
  static constexpr std::size_t kLongestThatShares = 512;

  RecordPlan() = default;  ///< without frames; no frame shares it
  explicit RecordPlan(const FrameView& first) noexcept
      : frames_(1), alone_(body_bytes(first)), shared_(entry_of(first)) {}

  /// Bytes of the body if `frame` shares the record with those before it; 0 if it does not.
  std::uint64_t body_with(const FrameView& frame) const noexcept {
    const std::uint64_t body = shared_ + entry_of(frame);
    return body <= kMaxSharedBytes ? body : 0;
  }
  /// Adds a frame that shares the record, whose body then has `body_with` bytes.
  void add(std::uint64_t body_with) noexcept {
    shared_ = body_with;
    ++frames_;
  }
  /// Frames that join a record, and the bytes of these frames.
  struct Joined {
    std::size_t frames = 0;
    std::uint64_t bytes = 0;
  };
  /// Adds frames from the front of `frames`, until one does not share this record, or the record
  /// would take more than `max` bytes. Such a frame may also be too long for the bus, which has
  /// frames of at most `max_frame` bytes.
  Joined add_all(std::span<const FrameView> frames, std::size_t max_frame,
                 std::uint64_t max) noexcept {
    const std::size_t longest = std::min(max_frame, kLongestThatShares);
    std::uint64_t body = shared_;
    Joined joined;
    for (const FrameView& frame : frames) {
      const std::size_t size = frame.size();
      if (size < kMinFrameBytes || size > longest || frame.offload.pending()) break;
      const std::uint64_t longer = body + entry_bytes(size);
      if (longer > kMaxSharedBytes || record_bytes(longer) > max) break;
      body = longer;
      joined.bytes += size;
      ++joined.frames;
    }
    shared_ = body;
    frames_ = static_cast<std::uint16_t>(frames_ + joined.frames);
    return joined;
  }
  std::uint16_t frames() const noexcept { return frames_; }
  /// Bytes behind the header.
  std::uint64_t body() const noexcept { return frames_ == 1 ? alone_ : shared_; }

 private:
  /// A frame that does not share fills a record: no frame joins it, and it joins no other.
  static std::uint64_t entry_of(const FrameView& frame) noexcept {
    const bool shares = frame.size() <= kLongestThatShares && !frame.offload.pending();
    return shares ? entry_bytes(frame.size()) : kMaxSharedBytes;
  }

  std::uint16_t frames_ = 0;
  std::uint64_t alone_ = 0;                 // the first frame, in a record of its own
  std::uint64_t shared_ = kMaxSharedBytes;  // all of them as entries
};

/// The record at the front of `frames`: as many of them as share it.
inline RecordPlan plan_record(std::span<const FrameView> frames) noexcept {
  if (frames.empty()) return {};
  RecordPlan plan(frames.front());
  for (const FrameView& frame : frames.subspan(1)) {
    const std::uint64_t body = plan.body_with(frame);
    if (body == 0) break;
    plan.add(body);
  }
  return plan;
}

/// Frames of a batch, one behind the other, whose records will be alike (I10).
struct Alike {
  std::size_t first = 0, frames = 0;
};

/// Frames that are appended together. Make it with BatchPlan: the writer relies on what it says.
struct Batch {
  std::span<const FrameView> frames;
  std::uint64_t bytes = 0;  ///< of the ring, without the tail
  RecordPlan first;         ///< as plan_record(frames)
  Alike alike;              ///< the most that were found
};

/// Plans a batch, frame by frame.
class BatchPlan {
 public:
  /// Adds the next frame. Result: false if the batch would then take more than `max` bytes of the
  /// ring, its tail included; the frame is not added.
  bool add(const FrameView& frame, std::uint64_t max) noexcept {
    const std::uint64_t body = record_.body_with(frame);
    const bool joins = body != 0;
    const std::uint64_t bytes =
        joins ? before_ + record_bytes(body) : bytes_ + record_bytes(body_bytes(frame));
    if (bytes + kTailBytes > max) return false;
    if (joins) {
      record_.add(body);
    } else {
      if (before_ == 0) first_ = record_;
      before_ = bytes_;
      record_ = RecordPlan(frame);
    }
    bytes_ = bytes;
    ++frames_;
    return true;
  }
  /// Adds frames from the front of `frames`, as long as they share the record that the last frame
  /// began, and within the limits of add(). This is the usual case, and takes half of add()'s time.
  RecordPlan::Joined add_all_that_join(std::span<const FrameView> frames, std::size_t max_frame,
                                       std::uint64_t max) noexcept {
    if (frames_ == 0 || before_ + kTailBytes > max) return {};
    const RecordPlan::Joined joined =
        record_.add_all(frames, max_frame, max - kTailBytes - before_);
    if (joined.frames != 0) bytes_ = before_ + record_bytes(record_.body());
    frames_ += joined.frames;
    return joined;
  }
  /// Adds long frames from the front of `frames`, as long as each has a record of its own and
  /// leaves no work to its receiver, within the limits of add(). Notes which of them are alike.
  RecordPlan::Joined add_all_alone(std::span<const FrameView> frames, std::size_t max_frame,
                                   std::uint64_t max) noexcept {
    RecordPlan::Joined alone;
    Alike run{frames_, 0};
    const FrameView* before = nullptr;
    for (const FrameView& frame : frames) {
      const std::size_t size = frame.size();
      if (size <= RecordPlan::kLongestThatShares || size > max_frame || frame.offload.pending())
        break;
      const std::uint64_t bytes = bytes_ + record_bytes(size);
      if (bytes + kTailBytes > max) break;
      if (before_ == 0) {
        first_ = record_;
        record_ = RecordPlan(frame);
      }
      before_ = bytes_;
      bytes_ = bytes;
      if (before != nullptr && !are_alike(*before, frame)) {
        note(run);
        run = {frames_ + alone.frames, 0};
      }
      before = &frame;
      ++run.frames;
      alone.bytes += size;
      ++alone.frames;
    }
    note(run);
    if (before != nullptr) record_ = RecordPlan(*before);
    frames_ += alone.frames;
    return alone;
  }
  /// The batch of the added frames, which are the first ones of `frames`.
  Batch of(std::span<const FrameView> frames) const noexcept {
    Batch batch{frames.first(frames_), bytes_, first_, alike_};
    if (before_ == 0) batch.first = record_;  // not by ?:, which would keep both out of registers
    return batch;
  }

 private:
  /// Whether two frames without offloads have one length and one destination.
  static bool are_alike(const FrameView& a, const FrameView& b) noexcept {
    constexpr std::size_t kAddressBytes = 6;
    return a.size() == b.size() && std::memcmp(a.bytes.data(), b.bytes.data(), kAddressBytes) == 0;
  }
  void note(const Alike& run) noexcept {
    if (run.frames > 1 && run.frames > alike_.frames) alike_ = run;
  }

  std::size_t frames_ = 0;
  std::uint64_t bytes_ = 0;   // of all records
  std::uint64_t before_ = 0;  // of the records before the last one
  RecordPlan record_;         // the last one
  RecordPlan first_;          // the first one, if it is not the last
  Alike alike_;
};

}  // namespace shmif::bus
