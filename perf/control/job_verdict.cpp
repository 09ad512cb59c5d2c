#include "perf/control/gather.hpp"

#include <algorithm>
#include <chrono>

#include "base/text.hpp"
#include "perf/control/run_state.hpp"

namespace shmif::perf {
namespace {

/// Whether the job should have sent in its measured window, and did not. A job that reached its
/// limit in the ramp has no window. At a low rate, it is possible that no frame was due in the
/// window.
bool stood_still(const JobOptions& o, const TrafficResult& tx) {
  if (!sends(o.rw) || tx.of_program || tx.frames != 0 || !(tx.seconds > 0)) return false;
  // A job with thinktime or flow may have to wait for longer than its window.
  if (o.thinktime.count() != 0 || o.flow != 0) return false;
  if (tx.paced) return tx.offered_frames != 0;
  // Without a pace, a job that ends before its time has reached another limit.
  constexpr double kWhole = 0.9;
  const double runtime = std::chrono::duration<double>(o.runtime).count();
  return runtime > 0 && tx.seconds >= kWhole * runtime;
}

std::string window_text(const TrafficResult& of) {
  return seconds_text(std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(of.seconds)));
}

std::string standstill(const TrafficResult& tx) {
  const std::string due =
      !tx.paced ? "sent no frame"
      : tx.offered_frames == 1
          ? "did not send the 1 frame that was due"
          : "sent none of the " + std::to_string(tx.offered_frames) + " frames that were due";
  return due + " in its measured window of " + window_text(tx) + " (" +
         (tx.refused_frames != 0 ? "the engine took no frame; is it up?"
                                 : "the causes say what held it back") +
         ')';
}

/// How many frames were sent to the job in its measured window; 0 if any of them arrived.
std::uint64_t unheard(const JobOptions& o, const JobResult& result) {
  if (!receives(o.rw) || result.rx.of_program || result.rx.frames != 0) return 0;
  if (!(result.rx.seconds > 0)) return 0;
  FlowResult all;
  for (const FlowResult& flow : result.flows) all += flow;
  const std::uint64_t came = all.received + all.corrupt + all.truncated + all.late + all.unverified;
  return came == 0 ? all.lost : 0;
}

std::string deafness(const JobOptions& o, std::uint64_t sent, const JobResult& result) {
  // Only the other server knows whether it got the requests, and so whether there were replies.
  if (o.rw == Role::pingpong && o.other_end_elsewhere) {
    return "received no reply to the " + base::counted(sent, "request") +
           " of its measured window of " + window_text(result.rx) + " (did they reach " +
           o.hostname + ", and the replies " + result.address + "?)";
  }
  const std::string missed =
      sent == 1 ? "did not receive the 1 frame that was sent to it"
                : "received none of the " + std::to_string(sent) + " frames that were sent to it";
  return missed + " in its measured window of " + window_text(result.rx) + " (did " +
         (sent == 1 ? "it" : "they") + " reach " + result.address +
         "? the causes say what held it back)";
}

/// A hint why no frame may have been sent or received.
std::string hint_of(const ControlledJob& job, const JobResult& result) {
  const JobOptions& o = job.plan.options;
  if (result.tx.refused_frames != 0) return "the engine took no frame; is it up?";
  if (o.rw == Role::rx || o.rw == Role::echo) {
    if (result.rx.stale_frames != 0) {
      return "only frames of earlier runs came; verify_only checks those";
    }
    if (result.rx.foreign_frames != 0) return "only frames from other senders came";
    const auto sent_nothing = [](const FlowResult& flow) { return flow.sent == 0; };
    // What others than jobs of this run have sent is not known here.
    const bool none =
        !o.verify_only && !result.flows.empty() && std::ranges::all_of(result.flows, sent_nothing);
    return none ? "its senders sent nothing in the measured window"
                : "did its senders reach " + result.address + "?";
  }
  if (o.rate_fps.tx != 0 || o.rate_bps.tx != 0) {
    return "perhaps no frame was due at this rate: see rate, rate_iops and runtime";
  }
  return "see runtime, number_ios and size";
}

void judge_counts(const CountsResult& counts, JobResult& result) {
  if (counts.agree.value_or(true)) return;
  std::string text = "counts differ:";
  if (counts.wire.tx_frames && *counts.wire.tx_frames != counts.generator_tx) {
    text += " sent " + std::to_string(counts.generator_tx) + ", of which the wire counted " +
            std::to_string(*counts.wire.tx_frames) + ';';
  }
  if (counts.wire.rx_frames && *counts.wire.rx_frames != counts.receiver_rx) {
    text += " received " + std::to_string(counts.receiver_rx) + ", of which the wire counted " +
            std::to_string(*counts.wire.rx_frames) + ';';
  }
  text.pop_back();
  result.errors.push_back(text);
}

/// Errc::corrupt ends a job at once. But a port that found its way again returns no error.
void judge_medium(const CountsResult& counts, JobResult& result) {
  const std::uint64_t times = counts.wire.corrupt.value_or(0);
  if (times == 0) return;
  result.errors.push_back("found " + result.address + " corrupt " + base::counted(times, "time") +
                          ", so frames may be lost, and more than were counted (another "
                          "program has written into the bus; leave out 'bus', and the run makes "
                          "its own)");
}

void judge_flow(const FlowResult& flow, JobResult& result) {
  // Each frame has one fate.
  const std::uint64_t accounted = flow.received + flow.lost + flow.corrupt + flow.truncated +
                                  flow.late + flow.cancelled + flow.unverified;
  if (accounted != flow.sent && flow.received <= flow.sent) {
    result.errors.push_back("frames from \"" + flow.from + "\" do not add up: sent " +
                            std::to_string(flow.sent) + ", accounted for " +
                            std::to_string(accounted));
  }
  if (flow.received > flow.sent) {
    result.errors.push_back("more frames of \"" + flow.from + "\" were received than it sent: " +
                            std::to_string(flow.received) + " of " + std::to_string(flow.sent));
  }
  if (!flow.verification_complete && result.exit_signal) return;  // already reported
  if (!flow.verification_complete) {
    result.errors.push_back("the verification of frames from \"" + flow.from + "\" is incomplete");
  }
}

}  // namespace

void judge(const ControlledJob& job, JobResult& result, bool has_faults) {
  if (!job.never_started && result.errors.empty()) {
    judge_medium(result.counts, result);
    judge_counts(result.counts, result);
    for (const FlowResult& flow : result.flows) judge_flow(flow, result);
    // Frames of other senders do not count here.
    const CountsResult& counts = result.counts;
    const bool moved = counts.generator_tx != 0 || counts.receiver_rx > counts.receiver_others;
    // A run that was stopped early already says that.
    const bool whole = job.stop_ns == 0 && !job.plan.options.background;
    const bool still = stood_still(job.plan.options, result.tx);
    if (whole && still) result.errors.push_back(standstill(result.tx));
    const std::uint64_t lost =
        whole && moved && !has_faults ? unheard(job.plan.options, result) : 0;
    if (!still && lost != 0) result.errors.push_back(deafness(job.plan.options, lost, result));
    if (whole && !still && !moved) {
      result.errors.push_back("moved no frame (" + hint_of(job, result) + ')');
    }
  }
  result.passed = result.errors.empty() && !job.never_started;
}

}  // namespace shmif::perf
