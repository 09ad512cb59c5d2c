#pragma once
// Generator: the sending half of a job. Makes frames when they are due, hands them to the engine in
// batches, and counts what was offered and what was taken.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"
#include "perf/run/flow_share.hpp"
#include "perf/run/frame_source.hpp"
#include "perf/run/interval_recorder.hpp"
#include "perf/run/record_writer.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/run/window.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: never, but as the engine's send() does.
class Generator {
 public:
  struct Setup {
    const JobOptions& options;
    std::unique_ptr<FrameSource> source;
    std::unique_ptr<RecordWriter> record;  ///< may be null
    std::optional<FlowShare> share;
    std::uint64_t first_sequence = 0;  ///< of a run that an earlier one is gone on with
  };
  Generator(Setup setup, End& end, JobBlock& job, FlowBlock& flow);

  /// The stream begins at `begin_ns`: nothing is due before.
  void begin(std::uint64_t begin_ns, IntervalRecorder& recorder);
  /// Sends what is due and may go. Result: whether a frame went.
  bool step(std::uint64_t now);
  /// When step() will have something to do, as far as that is known; 0: at once, UINT64_MAX: when a
  /// reply has come.
  std::uint64_t next_look_ns(std::uint64_t now) noexcept;
  /// Whether the time until then is to be spun: of think time, the part that is.
  bool spins(std::uint64_t now) const noexcept { return now < spin_until_ns_; }
  /// Whether the engine refused the next frame, so that it is the engine that must be waited for.
  bool is_refused() const noexcept { return refused_ && !done_; }
  /// Offers nothing more.
  void stop(std::uint64_t now);
  bool done() const noexcept { return done_; }
  /// Why it ended before its time; empty: it did not.
  const std::string& error() const noexcept { return error_; }

  Window& window() noexcept { return window_; }
  std::uint64_t sequence() const noexcept { return sequence_; }
  FrameSource& source() noexcept { return *source_; }
  /// Completes the record of what was sent, if there is one. Errors: why it is not whole.
  Result<void> finish_record() { return record_ ? record_->finish() : Result<void>(); }

 private:
  Period period_of(const FrameSource::Slot& slot) const noexcept {
    return perf::period_of(slot.intended_ns, measure_from_ns_);
  }
  std::size_t most_now(std::uint64_t now);
  void fill(std::uint64_t now);
  void make(std::uint64_t now);
  bool is_held_by_others() const noexcept {
    return share_ && share_->room(sequence_ - first_sequence_) == 0;
  }
  bool submit(std::uint64_t now);
  void account(std::size_t taken, std::uint64_t now);
  /// Of what is pending, that which belongs to the period.
  FrameSource::Unsent pending_of(Period period, std::size_t from = 0) const noexcept;
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
  std::unique_ptr<RecordWriter> record_;
  std::optional<FlowShare> share_;
  Window window_;
  bool asks_;
  bool paced_;  // frames are due at times of their own
  bool times_;  // spacing errors are recorded

  std::uint64_t begin_ns_ = 0, measure_from_ns_ = 0;
  std::uint64_t end_ns_ = FrameSource::kNever;  // of the runtime
  std::uint64_t spin_until_ns_ = 0;
  std::uint64_t frames_left_ = UINT64_MAX;
  std::uint64_t bytes_left_ = UINT64_MAX;
  std::uint64_t over_limit_ns_ = 0;  // when the first frame was due that did not fit bytes_left_

  std::uint64_t first_sequence_ = 0;
  std::uint64_t sequence_ = 0;            // of the first frame that has not been taken
  std::vector<FrameSource::Slot> slots_;  // room for a batch
  std::vector<FrameSource::Slot>
      pending_;                   // dealt with by the schedule and not taken by the engine
  std::vector<FrameView> views_;  // of these
  bool refused_ = false;
  std::uint64_t refused_since_ns_ = 0;
  std::size_t refused_known_ = 0;  // of the pending ones, those counted as refused
  std::uint64_t progress_ns_ = 0;
  bool no_more_ = false;  // a limit is reached: what is pending goes yet
  bool done_ = false;
  std::string error_;
};

}  // namespace shmif::perf
