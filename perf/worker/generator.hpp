#pragma once
// Generator: the sending half of a job. It makes frames when they are due, passes them to the
// engine in batches, and counts how many were offered and how many the engine took.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/frame/window.hpp"
#include "perf/job/job_options.hpp"
#include "perf/worker/frame_source.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "perf/worker/record_writer.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

// FlowShare: jobs of a run that have a weight (`flow`) send frames in the proportion of their
// weights. Each waits for those that are behind.

/// Threads: the job's thread. Blocks: never.
class FlowShare {
 public:
  struct Other {
    const JobBlock* job;
    const FlowBlock* flow;
    std::uint32_t weight;
  };
  /// What the others do when one of the jobs has sent all its frames.
  enum class End : std::uint8_t {
    one_by_one,      ///< they go on without it
    with_the_first,  ///< they stop, too
  };
  FlowShare(std::uint32_t weight, std::vector<Other> others, End end = End::one_by_one)
      : weight_(weight), others_(std::move(others)), end_(end) {}

  /// Whether the job must stop sending because another one has ended.
  bool is_over() const noexcept {
    return end_ == End::with_the_first && std::ranges::any_of(others_, [](const Other& other) {
             return other.flow->tx_done.load(std::memory_order_acquire);
           });
  }

  /// How many more frames the job may send after it has sent `sent`. A job may be at most 64 rounds
  /// ahead of the job that is furthest behind.
  std::uint64_t room(std::uint64_t sent) const noexcept {
    constexpr std::uint64_t kAhead = 64;
    std::uint64_t min = UINT64_MAX;  // rounds of the job that is furthest behind
    for (const Other& other : others_) {
      // A job that has not started yet, because it waits for another to end, does not count.
      if (other.job->start_ns.load(std::memory_order_acquire) == 0) continue;
      if (other.flow->tx_done.load(std::memory_order_acquire)) continue;
      min = std::min(min, other.job->all_tx_frames.get() / other.weight);
    }
    if (min == UINT64_MAX) return UINT64_MAX;
    const std::uint64_t allowed = (min + kAhead) * weight_;
    return allowed > sent ? allowed - sent : 0;
  }

 private:
  std::uint32_t weight_;
  std::vector<Other> others_;
  End end_;
};

/// Threads: one at a time. Blocks: only as the engine's send() does.
class Generator {
 public:
  struct Setup {
    const JobOptions& options;
    std::unique_ptr<FrameSource> source;
    RecordWriter* record = nullptr;  ///< of the frames that it sends; may be null
    std::optional<FlowShare> share;
    std::uint64_t first_sequence = 0;  ///< continues the numbers of an earlier run
  };
  Generator(Setup setup, End& end, JobBlock& job, FlowBlock& flow);

  /// Starts the stream at `begin_ns`. No frame is due earlier.
  void begin(std::uint64_t begin_ns, IntervalRecorder& recorder);
  /// Sends the frames that are due and allowed. Result: whether a frame was sent.
  bool step(std::uint64_t now);
  /// When to call step() next, as far as known. 0 means at once. UINT64_MAX means when a reply has
  /// arrived.
  std::uint64_t next_look_ns(std::uint64_t now) noexcept;
  /// Whether to spin until then: during the spinning part of think time.
  bool spins(std::uint64_t now) const noexcept { return now < spin_until_ns_; }
  /// Whether the engine refused the next frame, so the caller must wait for the engine.
  bool is_refused() const noexcept { return refused_ && !done_; }
  /// Offers no more frames.
  void stop(std::uint64_t now);
  bool done() const noexcept { return done_; }
  /// Why it ended early; empty if it did not.
  const std::string& error() const noexcept { return error_; }

  Window& window() noexcept { return window_; }
  const Window& window() const noexcept { return window_; }
  std::uint64_t sequence() const noexcept { return sequence_; }
  FrameSource& source() noexcept { return *source_; }
  const FrameSource& source() const noexcept { return *source_; }

 private:
  Period period_of(const FrameSource::Slot& slot) const noexcept {
    return perf::period_of(slot.intended_ns, measure_from_ns_);
  }
  std::size_t max_now(std::uint64_t now);
  void fill(std::uint64_t now);
  void make(std::uint64_t now);
  bool is_held_by_others() const noexcept {
    return share_ && share_->room(sequence_ - first_sequence_) == 0;
  }
  bool submit(std::uint64_t now);
  void account(std::size_t taken, std::uint64_t now);
  void keep_to_bytes_left();
  /// How much of `slots` belongs to `period`.
  FrameSource::Unsent total(std::span<const FrameSource::Slot> slots, Period period) const noexcept;
  void refused(const SendResult& result, std::uint64_t now);
  bool may_go_on_after(std::error_code error) const noexcept;
  void finish(std::uint64_t now);
  void note_offered(std::uint64_t end);

  const JobOptions& options_;
  End& end_;
  JobBlock& job_;
  FlowBlock& flow_;
  IntervalRecorder* recorder_ = nullptr;
  std::unique_ptr<FrameSource> source_;
  RecordWriter* record_;
  std::optional<FlowShare> share_;
  Window window_;
  bool asks_;
  bool paced_;  // each frame has a time when it is due
  bool times_;  // spacing errors are recorded

  std::uint64_t begin_ns_ = 0, measure_from_ns_ = 0;
  std::uint64_t end_ns_ = FrameSource::kNever;  // end of the runtime
  std::uint64_t spin_until_ns_ = 0;
  std::uint64_t frames_left_ = UINT64_MAX;
  std::uint64_t bytes_left_ = UINT64_MAX;
  std::uint64_t over_limit_ns_ = 0;  // due time of the first frame that did not fit bytes_left_

  std::uint64_t first_sequence_ = 0;
  std::uint64_t sequence_ = 0;            // number of the first frame that the engine has not taken
  std::vector<FrameSource::Slot> slots_;  // room for a batch
  // The frames that are due and that the engine has not taken yet.
  std::span<const FrameSource::Slot> pending_;  // part of slots_
  std::vector<FrameView> views_;                // of pending_, when they are sent
  bool refused_ = false;
  bool told_refusal_ = false;
  std::uint64_t refused_since_ns_ = 0;
  std::size_t refused_known_ = 0;  // how many of the pending frames are counted as refused
  std::uint64_t progress_ns_ = 0;
  bool no_more_ = false;       // a limit is reached: only the pending frames are still sent
  bool told_to_stop_ = false;  // it got the order before the end of its time
  bool done_ = false;
  std::string error_;
};

}  // namespace shmif::perf
