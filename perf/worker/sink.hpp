#pragma once
// Sink: the receiving half of a job. It checks every frame, finds its flow, and counts it. In a
// pingpong job it receives the replies; in an echo job it sends requests back.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/frame/frame_maker.hpp"
#include "perf/frame/probe.hpp"
#include "perf/frame/window.hpp"
#include "perf/plan/plan.hpp"
#include "perf/verify/flow_receiver.hpp"
#include "perf/verify/verify_queue.hpp"
#include "perf/verify/verify_state.hpp"
#include "perf/worker/echoer.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "perf/worker/run_memory.hpp"
#include "shmif/filter.hpp"

namespace shmif::perf {

/// A flow that a sink expects.
struct ExpectedFlow {
  std::uint32_t flow = 0;  ///< number of its sender
  std::string name{};      ///< name of its sender
  /// The source address of its frames, to recognise damaged ones; empty if its headers set another.
  std::optional<MacAddress> from;
  FlowBlock* block = nullptr;  ///< the sender's block; for replies, the requester's
  /// This sink's counts of the flow; for requests, those in the EchoBlock.
  FlowArrivals* arrivals = nullptr;
  /// For requests and replies; null if no job of the run echoes them.
  EchoBlock* echo = nullptr;
  std::uint64_t drain_ns = 0;
  std::uint64_t max_latency_ns = 0;  ///< a longer latency is an error; 0: no limit
  /// Frames of a capture, without probes: they are only counted.
  bool replayed = false;
  SequenceLedger before{};  ///< what the earlier run had received, if this run continues one
  /// verify=regenerate: how the sender makes its frames, to compare every byte.
  std::optional<FrameMakerOptions> remade{};
  std::uint32_t nonce = 0;  ///< nonce of the run that sent it
  /// Where the probe is, if the frames have headers of layers 3 and 4.
  std::optional<HeaderPlaces> headers{};
  std::size_t probe_at = 14;  ///< without `headers`: after the Ethernet header and its tag, if any
};

/// Threads: one at a time. Blocks: in an echo job, as the engine's send() does.
class Sink {
 public:
  struct Setup {
    const JobOptions& options;
    std::vector<ExpectedFlow> flows;
    std::uint32_t nonce = 0;
    const FrameFilter* trigger = nullptr;  ///< matches are reported to the controller
    Window* window = nullptr;              ///< for a pingpong job: replies close its requests
    bool echoes = false;
    RecordWriter* record = nullptr;  ///< of the replies of an echo job; may be null
    bool pauses = false;             ///< the medium can pause senders, so an overrun is an error
    /// For verify_only: sorts frames of any run by flow and checks them. This block gets the sums.
    FlowBlock* recorded = nullptr;
    FrameMakerOptions recorded_frames{};  ///< how they were made, except flow and addresses
    /// A frame that is not checked this long after the last frame counts as unverified.
    std::uint64_t verify_patience_ns = 10'000'000'000;
  };
  Sink(Setup setup, End& end, JobBlock& job);
  ~Sink();
  /// Starts the threads that check frames; call it before the start. Errors: an errno.
  Result<void> prepare();

  /// `window_begin_ns`: for a sink without flows, because no sender says when its window begins.
  void begin(IntervalRecorder& recorder, std::uint64_t window_begin_ns = 0) {
    recorder_ = &recorder;
    own_begin_ns_ = window_begin_ns;
  }
  /// When the measured window of its first flow begins; UINT64_MAX if that is not known yet.
  std::uint64_t window_begin_ns() const noexcept;
  /// When all flows have ended: the time when the last of them ended, or its last frame arrived.
  std::uint64_t window_end_ns() const noexcept;
  /// Receives frames that have arrived. Result: whether there were any.
  bool step();
  /// Checks which flows have ended and drained. Result: whether all have.
  bool drained(std::uint64_t now);
  /// For verify_only: the sender ends, or was stopped, at `end_ns`. What comes `drain_ns` later, or
  /// after that, is late.
  void sender_ends(std::uint64_t end_ns, std::uint64_t drain_ns) noexcept;
  /// For verify_only: whether all of so many frames of its only flow have come.
  bool has_all_of(std::uint64_t frames);
  /// Whether all senders have ended, so that the sink waits only for their last frames.
  bool is_draining() const noexcept;
  /// What has been received of each flow. A later run continues from it.
  std::vector<FlowState> state() const;
  /// Writes the final counts into the flows' blocks.
  void finish();
  /// The memory into which frames are received.
  std::span<std::byte> memory() noexcept { return batch_.room(); }
  bool has_flows() const noexcept { return setup_.recorded == nullptr && !flows_.empty(); }
  /// Why it cannot or should not go on; empty if it can.
  const std::string& error() const noexcept { return error_; }
  /// Whether error() was an expected end (end_on=overrun). An error found later, in frames that
  /// waited to be checked, replaces it.
  bool ended_normally() const noexcept { return ended_normally_; }

 private:
  struct Flow;
  struct Totals;
  ProbeReading read(const FrameView& frame) const noexcept;
  /// Where the probe is, even if the header that says so is damaged.
  ProbePlace place_of(const FrameView& frame) const noexcept;
  /// How an unreadable frame is damaged; empty if it is a foreign frame.
  std::optional<Finding> damage_of(const FrameView& frame) const noexcept;
  /// Counts the frames that the queue delivers when `from_queue` asks it to.
  void deliver(const std::function<void()>& from_queue);
  void take(const FrameView& frame, const ProbeReading& reading, std::uint64_t now, Totals& totals);
  /// Takes a frame that does not belong to this run.
  void take_other(const FrameView& frame, Arrival what, std::uint64_t now, Totals& totals);
  void take_replayed(const FrameView& frame, std::uint64_t now, Totals& totals);
  void take_checked(const CheckedFrame& frame);
  bool may_have_sent(const Flow& flow, std::uint64_t first, std::uint64_t last) const noexcept;
  /// Whether the sender itself has ended its stream, so that its counts are final.
  bool has_counted_all(const Flow& flow) const noexcept;
  bool was_never_sent(Flow& flow, std::uint64_t number) const noexcept;
  void take_unsent(const Flow& flow, std::uint64_t number, std::uint64_t now, Totals& totals);
  void note_unsent(const Flow& flow, std::uint64_t frames, Period period, const std::string& what);
  void take_probe(const FrameView& frame, const ProbeReading& reading, std::uint64_t now,
                  Totals& totals);
  void note_probe(Flow& flow, std::size_t bytes, const Probe& probe, std::uint64_t now,
                  Totals& totals);
  void take_damaged(const FrameView& frame, Finding finding, std::uint64_t now);
  void take_batch();
  void take_lent(std::uint64_t now, Totals& totals);
  void take_frames(std::span<const FrameView> frames, std::uint64_t now, Totals& totals);
  void take_one(const FrameView& frame, std::uint64_t now, Totals& totals);
  bool may_take_trains() const noexcept;
  /// The train at the front of `frames`; empty if these frames have to be taken one by one.
  ProbeTrain train_of(std::span<const FrameView> frames) noexcept;
  void take_train(const ProbeTrain& train, std::span<const FrameView> frames, std::uint64_t now,
                  Totals& totals);
  void note_train(Flow& flow, const ProbeTrain& train, std::span<const FrameView> frames,
                  std::uint64_t now, Totals& totals);
  std::span<const FrameView> copies_of(std::span<const FrameView> lent);
  void note_latency(const Flow& flow, std::uint64_t number, std::uint64_t latency_ns,
                    std::size_t frames);
  Period period_at(std::uint64_t now) noexcept;
  void begin_window(std::uint64_t now);
  void overrun(std::uint64_t lost);
  bool met_corruption() noexcept;
  void receive_failed(std::error_code error);
  void end_drains(std::uint64_t now);
  void publish(const Totals& totals);
  void note_replies(std::span<const Echoer::Sent> replies);
  void settle_replies(const Flow& flow) const;
  void publish(Flow& flow);
  void note_lost(Flow& flow, std::uint64_t lost);
  std::uint64_t lost_so_far(const Flow& flow) const;
  std::uint64_t lost_of_all(const Flow& flow, std::uint64_t all_sent) const;
  bool is_of_replies(const Flow& flow) const noexcept;
  void finish(Flow& flow);
  void publish_recorded();
  void finish_recorded();
  void add_flow(ExpectedFlow expected);
  Flow* flow_of(std::uint32_t flow, std::uint32_t nonce) noexcept;
  Flow* flow_from(MacAddress sender) noexcept;
  void learn_window(Flow& flow);
  Flow* flow_of(const FrameView& frame, const Probe& probe);
  void note_damage(const std::optional<Probe>& said, bool corrupt, std::uint64_t now);
  void fail_verification(const std::string& what);
  void too_late(const Flow& flow, std::uint64_t number, std::uint64_t latency_ns);

  Setup setup_;
  End& end_;
  JobBlock& job_;
  IntervalRecorder* recorder_ = nullptr;
  FrameBatch batch_;
  bool lends_ = false;                   // the next frames are lent
  std::uint64_t look_at_drains_ns_ = 0;  // until then, no drain time can end
  std::vector<ProbeTimes> times_of_train_;
  std::vector<std::byte> copied_bytes_;
  std::vector<FrameView> copies_;
  std::vector<std::unique_ptr<Flow>> flows_;
  Flow* replayed_ = nullptr;  // the one of these flows that has no probes
  std::unique_ptr<VerifyQueue> queue_;
  Totals* queued_totals_ = nullptr;  // where frames delivered by the queue are counted
  std::uint64_t own_begin_ns_ = 0;
  std::uint64_t recorded_drain_ns_ = UINT64_MAX;  // when the flows of a record end to drain
  // Damaged frames of a sender on another server of which no whole frame has come yet.
  std::uint64_t flowless_corrupt_ = 0, flowless_truncated_ = 0;
  std::uint64_t corrupt_ = 0;      // how often the medium has found itself corrupt so far
  bool in_window_ = false;         // the first window has begun
  bool has_frames_ = false;        // a frame of a window has come
  bool after_ramp_frame_ = false;  // the newest frame was of its flow's ramp
  Echoer echoer_;
  bool times_;
  bool has_headers_ = false;  // a flow has headers of layers 3 and 4
  bool has_makers_ = false;   // of a flow, every byte is compared (ExpectedFlow::remade)
  std::string error_;
  bool ended_normally_ = false;
  bool no_more_comes_ = false;  // the peer closed the connection after the end of its stream
};

}  // namespace shmif::perf
