#pragma once
// FrameSource: where a sender's frames come from: probes, made to a pace, or a capture file.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "perf/frame/probe.hpp"
#include "perf/job/job_options.hpp"
#include "perf/pace/schedule.hpp"
#include "shmif/frame.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: never.
class FrameSource {
 public:
  using Slot = Schedule::Slot;
  static constexpr std::uint64_t kNever = Schedule::kNever;
  /// What the pace asked for and never went, of the measured window or not.
  struct Unsent {
    std::uint64_t frames = 0, bytes = 0;
  };

  FrameSource() = default;
  FrameSource(const FrameSource&) = delete;
  FrameSource& operator=(const FrameSource&) = delete;
  virtual ~FrameSource() = default;

  /// Nothing is due before `begin_ns`, or at `end_ns` and later. What is due before
  /// `measure_from_ns` and does not go is not counted.
  virtual void begin(std::uint64_t begin_ns, std::uint64_t end_ns,
                     std::uint64_t measure_from_ns) = 0;
  /// Fills `into` with the frames that are to go now; they are sent, in this order, before more are
  /// taken. Result: how many.
  virtual std::size_t take(std::uint64_t now_ns, std::span<Slot> into) = 0;
  /// Views of frames that were taken, of which the first has the number `first`; good until more
  /// are taken. They say that they are sent now.
  virtual void make(std::uint64_t first, std::span<const Slot> slots, std::uint64_t now_ns,
                    std::vector<FrameView>& into) = 0;
  /// When take() is worth the next call; kNever: after the last frame.
  virtual std::uint64_t next_ns() const noexcept = 0;
  /// When the pace has the next frame due, whether it will be made or not: until then, it had time
  /// for those that were taken.
  virtual std::uint64_t due_ns() const noexcept = 0;
  /// Whether there are no more frames, however long the job may run.
  virtual bool ended() const noexcept { return false; }
  /// All that was taken has left. Result: up to when to spin, if not at all the past.
  virtual std::uint64_t all_left(std::uint64_t) noexcept { return 0; }
  /// Gives up what was due before `now_ns` and not taken.
  virtual Unsent give_up(std::uint64_t now_ns) noexcept = 0;
  virtual Unsent skipped() const noexcept { return {}; }
  /// What to know of them before figures are believed; empty: nothing.
  virtual std::string warning() const { return {}; }
  virtual std::size_t most_bytes() const noexcept = 0;   ///< of a frame
  virtual std::size_t most_frames() const noexcept = 0;  ///< that may be taken at once
  virtual std::span<std::byte> memory() noexcept { return {}; }
  /// How many random numbers its sizes took, for a later run to go on from.
  virtual std::uint64_t random_position() const noexcept { return 0; }
};

struct ProbeSourceOptions {
  const JobOptions& job;
  MacAddress to, from;
  std::uint32_t flow = 0;
  std::uint32_t nonce = 0;
  Probe::Kind kind = Probe::Kind::data;
  std::uint64_t random_position = 0;  ///< of an earlier run that is gone on with
};
std::unique_ptr<FrameSource> make_probe_source(const ProbeSourceOptions& options);

/// Errors: those of Replay::open().
Result<std::unique_ptr<FrameSource>> make_replay_source(const JobOptions& job);

}  // namespace shmif::perf
