#pragma once
// FrameSource: where a sender's frames come from: probes made at a pace, or a capture file.

#include <cstdint>
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
