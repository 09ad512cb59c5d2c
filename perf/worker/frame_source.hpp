#pragma once
// FrameSource: where a sender's frames come from: probes made at a pace, or a capture file.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/frame/probe.hpp"
#include "perf/frame/schedule.hpp"
#include "perf/job/job_options.hpp"
#include "shmif/frame.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

// Replay: a capture file as the source of a stream's frames.
//
// The whole file is read before the run begins, so the disk does not slow the stream. The intended
// time of a frame is its recorded time relative to the first frame, multiplied by a factor.

struct ReplayOptions {
  double time_scale = 1;         ///< 2: half as fast; 0: only next() is used, and no time
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
  /// How long a loop takes: shmif/capture/recorded_time.hpp.
  std::uint64_t loop_ns() const noexcept { return loop_ns_; }
  std::uint64_t longest_gap_ns() const noexcept { return longest_gap_ns_; }

  /// The first frame is due at `start_ns` of CLOCK_MONOTONIC. No frame is due at `end_ns` or later.
  void start(std::uint64_t start_ns, std::uint64_t end_ns = kNever) noexcept;

  struct Slot {
    std::uint64_t intended_ns = 0;
    FrameView frame;  ///< valid while the replay exists
  };
  /// Fills `into` with the frames to send now, from the front. They count as sent: the caller sends
  /// them, in this order, before it takes more. Result: how many.
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
  std::size_t next_ = 0;
  std::uint64_t loop_start_ns_ = 0;
  std::uint64_t end_ns_ = kNever;
};

/// Says that the replay leaves out frames longer than `max_frame`, and which wire has room for
/// them.
std::string too_long_text(const Replay& replay, std::size_t max_frame);

/// Threads: one at a time. Blocks: never.
class FrameSource {
 public:
  using Slot = Schedule::Slot;
  static constexpr std::uint64_t kNever = Schedule::kNever;
  /// Frames that were due by the pace but never sent, in the measured window or outside it.
  struct Unsent {
    std::uint64_t frames = 0, bytes = 0;
  };

  FrameSource() = default;
  FrameSource(const FrameSource&) = delete;
  FrameSource& operator=(const FrameSource&) = delete;
  virtual ~FrameSource() = default;

  /// No frame is due before `begin_ns`, nor at `end_ns` or later. A frame that is due before
  /// `measure_from_ns` and is not sent is not counted.
  virtual void begin(std::uint64_t begin_ns, std::uint64_t end_ns,
                     std::uint64_t measure_from_ns) = 0;
  /// Fills `into` with the frames to send now. The caller sends them, in this order, before it
  /// takes more. Result: how many.
  virtual std::size_t take(std::uint64_t now_ns, std::span<Slot> into) = 0;
  /// Appends views of taken frames to `into`; the first has the number `first`. A probe states
  /// `now_ns` as the time when it is sent. The views are valid until more frames are taken.
  virtual void make(std::uint64_t first, std::span<const Slot> slots, std::uint64_t now_ns,
                    std::vector<FrameView>& into) = 0;
  /// When to call take() next; kNever after the last frame.
  virtual std::uint64_t next_ns() const noexcept = 0;
  /// When the next frame is due by the pace, even if it will never be made. By the pace, the frames
  /// taken so far have time until then.
  virtual std::uint64_t due_ns() const noexcept = 0;
  /// Whether there are no more frames, even if the job runs on.
  virtual bool ended() const noexcept { return false; }
  /// Call it when all taken frames have left. Result: until when to spin. If that time is in the
  /// past, do not spin.
  virtual std::uint64_t all_left(std::uint64_t) noexcept { return 0; }
  /// Gives up the frames that were due before `now_ns` and were not taken. Result: the frames to
  /// count as offered.
  virtual Unsent give_up(std::uint64_t now_ns) noexcept = 0;
  virtual Unsent skipped() const noexcept { return {}; }
  /// A warning to read before you believe the figures; empty if there is no warning.
  virtual std::string warning() const { return {}; }
  /// One sentence that the user should read before the run ends; empty if there is none to read.
  virtual std::string notice() const { return {}; }
  virtual std::size_t max_bytes() const noexcept = 0;   ///< size of the longest frame
  virtual std::size_t max_frames() const noexcept = 0;  ///< that one take() can return
  virtual std::span<std::byte> memory() noexcept { return {}; }
  /// How many random numbers the frame sizes have used. A later run continues from there.
  virtual std::uint64_t random_position() const noexcept { return 0; }
};

struct ProbeSourceOptions {
  const JobOptions& job;
  MacAddress to, from;
  std::uint32_t flow = 0;
  std::uint32_t nonce = 0;
  Probe::Kind kind = Probe::Kind::data;
  std::uint64_t random_position = 0;  ///< where an earlier run stopped, if this run continues it
};
std::unique_ptr<FrameSource> make_probe_source(const ProbeSourceOptions& options);

/// Leaves out frames that are longer than `max_frame`. Errors: those of Replay::open().
Result<std::unique_ptr<FrameSource>> make_replay_source(const JobOptions& job,
                                                        std::size_t max_frame = kMaxFrameBytes);

}  // namespace shmif::perf
