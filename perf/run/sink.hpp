#pragma once
// Sink: the receiving half of a job. Checks every frame, tells its flow, and keeps the accounts;
// for a job that asks, the replies; for one that echoes, it sends requests back.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/frame/frame_maker.hpp"
#include "perf/job/plan.hpp"
#include "perf/run/echoer.hpp"
#include "perf/run/interval_recorder.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/run/window.hpp"
#include "perf/verify/flow_receiver.hpp"
#include "perf/verify/verify_queue.hpp"
#include "perf/verify/verify_state.hpp"
#include "shmif/filter.hpp"

namespace shmif::perf {

/// A flow that a sink expects.
struct ExpectedFlow {
  std::uint32_t flow = 0;      ///< number of its sender
  std::string name{};          ///< of its sender
  MacAddress from;             ///< whom damaged frames are recognised by
  FlowBlock* block = nullptr;  ///< of its sender; of replies, of who asked
  /// What this sink says of it: of requests, the EchoBlock's.
  FlowArrivals* arrivals = nullptr;
  /// Of requests and of replies; nothing where who echoes is no job of the run.
  EchoBlock* echo = nullptr;
  std::uint64_t drain_ns = 0;
  std::uint64_t max_latency_ns = 0;  ///< one that is longer is an error; 0: none is
  /// Frames of a capture, without probes: they are counted, and that is all.
  bool replayed = false;
  SequenceLedger before{};  ///< what an earlier run that is gone on with has received
  /// verify=regenerate: how the sender makes its frames, to compare each byte with.
  std::optional<FrameMakerOptions> remade{};
  std::uint32_t nonce = 0;  ///< of the run that sent it
  /// Where its frames have their probe, if they have headers of layer 3 and 4.
  std::optional<HeaderPlaces> headers{};
};

/// Threads: one at a time. Blocks: as the engine's send() does, when it echoes.
class Sink {
 public:
  struct Setup {
    const JobOptions& options;
    std::vector<ExpectedFlow> flows;
    std::uint32_t nonce = 0;
    const FrameFilter* trigger = nullptr;  ///< a frame that it matches is told to the controller
    Window* window = nullptr;              ///< of a job that asks: replies close it
    bool echoes = false;
    bool pauses = false;  ///< the medium: an overrun is an error
    /// Of verify_only: frames of any run are told apart and checked, and this has the sums.
    FlowBlock* recorded = nullptr;
    FrameMakerOptions recorded_frames{};  ///< how they were made, but for flow and addresses
  };
  Sink(Setup setup, End& end, JobBlock& job);
  ~Sink();
  /// Before the start: threads that check frames. Errors: the system's.
  Result<void> prepare();

  /// `window_begin_ns`: of a sink without flows, whose senders would say.
  void begin(IntervalRecorder& recorder, std::uint64_t window_begin_ns = 0) {
    recorder_ = &recorder;
    own_begin_ns_ = window_begin_ns;
  }
  /// When the measured window of the first of its flows begins; UINT64_MAX: nobody knows yet.
  std::uint64_t window_begin_ns() const noexcept;
  /// When the last of them ended, or its last frame came, once all have ended.
  std::uint64_t window_end_ns() const noexcept;
  /// Takes what has come. Result: whether anything had.
  bool step();
  /// Looks which flows have ended and drained. Result: whether all have.
  bool drained(std::uint64_t now);
  /// Whether all senders have ended, and only their last frames are waited for.
  bool is_draining() const noexcept;
  /// What has been received of each flow, for a later run to go on from.
  std::vector<FlowState> state() const;
  /// Puts what was found out into the flows' blocks.
  void finish();
  /// What frames are received into.
  std::span<std::byte> memory() noexcept { return batch_.room(); }
  bool has_flows() const noexcept { return setup_.recorded == nullptr && !flows_.empty(); }
  /// Why it can or should not go on; empty: it can.
  const std::string& error() const noexcept { return error_; }
  /// Of an error(): whether that was an end to be expected (end_on=overrun). One that is found
  /// afterwards, in frames that waited to be checked, takes its place.
  bool ended_normally() const noexcept { return ended_normally_; }

 private:
  struct Flow;
  struct Totals;
  ProbeReading read(const FrameView& frame) const noexcept;
  /// Where the probe is, also where a header is damaged that says so.
  ProbePlace place_of(const FrameView& frame) const noexcept;
  /// Of a frame that shows no probe: whether one of ours was damaged so.
  Finding finding_without_probe(const FrameView& frame) const noexcept;
  /// Counts the frames that the queue hands on when it is asked to.
  void deliver(const std::function<void()>& from_queue);
  void take(const FrameView& frame, const ProbeReading& reading, std::uint64_t now, Totals& totals);
  void take_replayed(const FrameView& frame, std::uint64_t now, Totals& totals);
  void take_checked(const CheckedFrame& frame);
  bool may_have_sent(const Flow& flow, std::uint64_t sequence) const noexcept;
  void take_probe(const FrameView& frame, const ProbeReading& reading, std::uint64_t now,
                  Totals& totals);
  void note_probe(Flow& flow, const FrameView& frame, const Probe& probe, std::uint64_t now,
                  Totals& totals);
  void take_damaged(const FrameView& frame, Finding finding, std::uint64_t now);
  void take_batch();
  Period period_at(std::uint64_t now) noexcept;
  void overrun(std::uint64_t lost);
  void receive_failed(std::error_code error);
  void publish(const Totals& totals);
  void note_replies(std::span<const Echoer::Sent> replies);
  void settle_replies(const Flow& flow) const;
  void publish(Flow& flow);
  void finish(Flow& flow);
  void finish_recorded();
  void add_flow(ExpectedFlow expected);
  Flow* flow_of(const Probe& probe) noexcept;
  Flow* flow_from(MacAddress sender) noexcept;
  void learn_window(Flow& flow);
  Flow* flow_of(const FrameView& frame, const Probe& probe);
  void fail_verification(const std::string& what);
  void too_late(const Flow& flow, const Probe& probe, std::uint64_t latency_ns);

  Setup setup_;
  End& end_;
  JobBlock& job_;
  IntervalRecorder* recorder_ = nullptr;
  FrameBatch batch_;
  std::vector<std::unique_ptr<Flow>> flows_;
  Flow* replayed_ = nullptr;  // of these, the one without probes
  std::unique_ptr<VerifyQueue> queue_;
  Totals* queued_totals_ = nullptr;  // where what the queue delivers is counted
  std::uint64_t own_begin_ns_ = 0;
  bool in_window_ = false;         // the first window has begun
  bool after_ramp_frame_ = false;  // the newest frame of a flow was of its ramp
  Echoer echoer_;
  std::uint64_t lost_before_ = 0;
  bool times_;
  bool has_headers_ = false;  // a flow has
  std::string error_;
  bool ended_normally_ = false;
  bool no_more_comes_ = false;  // the peer has closed, after the end of all it sent
};

}  // namespace shmif::perf
