#pragma once
// Replay: a capture file as the source of a stream's frames.
//
// The whole file is read before the run begins, so the disk does not slow the stream. The intended
// time of a frame is its recorded time relative to the first frame, multiplied by a factor.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

struct ReplayOptions {
  double time_scale = 1;         ///< 2: half as fast; 0: as fast as possible
  std::uint64_t loops = 1;       ///< 0: endless
  std::uint64_t max_gap_ns = 0;  ///< longest gap in the replay (not in the capture); 0: no limit
  std::size_t max_bytes = std::size_t{2} << 30U;  ///< limit of the frames in memory
  std::size_t max_frame = kMaxFrameBytes;         ///< longer ones are left out
};

/// Threads: one at a time. Blocks: only open(), for the disk.
class Replay {
 public:
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  /// Reads the capture at `path`. Errors: an errno; bad_argument if the file is not a capture,
  /// is damaged, has no frames, or is larger than `max_bytes`; frame_too_long if all frames are
  /// longer than `max_frame`; not_supported if its frames are not Ethernet.
  static Result<Replay> open(const std::string& path, const ReplayOptions& options = {});

  std::size_t frames() const noexcept { return records_.size(); }  ///< in one loop
  std::uint64_t bytes() const noexcept { return bytes_.size(); }
  std::uint64_t too_long() const noexcept { return too_long_; }  ///< frames left out
  std::size_t longest() const noexcept { return longest_; }      ///< bytes, also of those left out
  std::uint64_t cut_short() const noexcept { return cut_short_; }  ///< truncated during capture
  std::uint64_t skipped() const noexcept { return skipped_; }  ///< records of less than 14 bytes
  /// How long a loop takes: shmif/capture/recorded_time.hpp. 0: as fast as possible.
  std::uint64_t loop_ns() const noexcept { return loop_ns_; }
  std::uint64_t longest_gap_ns() const noexcept { return longest_gap_ns_; }

  /// The first frame is due at `start_ns` of CLOCK_MONOTONIC. No frame is due at `end_ns` or later.
  void start(std::uint64_t start_ns, std::uint64_t end_ns = kNever) noexcept;

  struct Slot {
    std::uint64_t intended_ns = 0;
    FrameView frame;  ///< valid while the replay exists
  };
  /// Fills `into` with the frames to send now, from the front. They count as sent: the caller sends
  /// them, in this order, before it takes more. With a factor of 0, the intended time of each frame
  /// is now. Result: how many.
  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) noexcept;
  /// Takes the next frame, even if it is not due yet. Call it only while ended() is false.
  FrameView next() noexcept;
  /// How many frames are left, in all loops.
  std::uint64_t left() const noexcept;
  /// When the next frame is due; kNever after the last one, or if the next one is due at the end or
  /// later.
  std::uint64_t next_ns() const noexcept;
  /// When the next frame is due, even if that is at the end or later.
  std::uint64_t due_ns() const noexcept;
  /// Whether all frames have been taken, regardless of the end.
  bool ended() const noexcept { return !endless_ && loops_left_ == 0; }
  std::span<std::byte> memory() noexcept { return bytes_; }  ///< memory of all frames

 private:
  struct Record {
    std::uint64_t after_ns = 0;  // time since the first frame, scaled
    std::size_t at = 0;
    std::uint32_t size = 0;
  };
  void scale(double factor, std::uint64_t loop_ns);
  void advance() noexcept;

  std::vector<std::byte> bytes_;
  std::vector<Record> records_;
  std::size_t longest_ = 0;
  std::uint64_t too_long_ = 0;
  std::uint64_t cut_short_ = 0;
  std::uint64_t skipped_ = 0;
  std::uint64_t loop_ns_ = 0;
  std::uint64_t longest_gap_ns_ = 0;
  std::uint64_t loops_left_ = 1;  // including this one
  bool endless_ = false;
  bool flat_out_ = false;
  std::size_t next_ = 0;
  std::uint64_t loop_start_ns_ = 0;
  std::uint64_t end_ns_ = kNever;
};

/// Says that the replay leaves out frames longer than `max_frame`, and which wire has room for
/// them.
std::string too_long_text(const Replay& replay, std::size_t max_frame);

}  // namespace shmif::perf
