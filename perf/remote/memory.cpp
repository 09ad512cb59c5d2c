// How much of a server's memory a plan uses (limits.hpp).

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <system_error>

#include "perf/plan/curve_interval.hpp"
#include "perf/remote/limits.hpp"
#include "perf/report/units.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/worker/replay.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

namespace {

/// A process with its stack, histograms, counts, and receive batch.
constexpr std::uint64_t kJobBytes = 4U << 20U;
/// Memory for a frame besides its bytes: for a waiting frame, and for a request without a reply.
constexpr std::uint64_t kFrameBytes = 192;
constexpr std::uint64_t kRequestBytes = 128;
constexpr std::uint64_t kThreadBytes = 256U << 10U;
/// Frames are made in advance, up to two batches. io_submit_mode=offload adds two queues of four
/// batches.
constexpr std::uint64_t kBatches = 2;
constexpr std::uint64_t kOffloadBatches = 10;
/// As in VerifyQueue::Options, with its group size when there is no backlog.
constexpr std::uint64_t kGroupBytes = 16U << 20U;
constexpr std::uint64_t kGroupFrames = 64;
constexpr std::uint64_t kShortestFrame = 60;
/// The Ethernet header with tags.
constexpr std::uint64_t kHeaderBytes = 22;
/// What the result of a run keeps of a job: its histograms and those of its group, and counts.
constexpr std::uint64_t kJobResultBytes = 5 * sizeof(LatencyHistogram) + (16U << 10U);
/// How many copies of a job's options exist as text: parsed, planned, and in its result. kJobBytes
/// includes short ones.
constexpr std::uint64_t kTextCopies = 8;
constexpr std::uint64_t kShortTexts = 4U << 10U;

/// The product, or the greatest number if the product is greater.
std::uint64_t times(std::uint64_t left, std::uint64_t right) {
  std::uint64_t product = 0;
  const bool too_large = __builtin_mul_overflow(left, right, &product);
  return too_large ? std::numeric_limits<std::uint64_t>::max() : product;
}
/// The same for the sum.
std::uint64_t plus(std::uint64_t left, std::uint64_t right) {
  std::uint64_t sum = 0;
  const bool too_large = __builtin_add_overflow(left, right, &sum);
  return too_large ? std::numeric_limits<std::uint64_t>::max() : sum;
}

std::uint64_t waiting_for(const FaultOptions& fault, std::uint64_t frame) {
  const bool waits = fault.delay.count() != 0 || fault.jitter.count() != 0 || fault.rate_bps != 0;
  if (!waits) return 0;
  if (fault.queue_frames == 0) return kMaxFaultBytes;
  return times(fault.queue_frames, frame + kFrameBytes);
}

/// Groups of received frames that are not yet verified: for each thread, one in use and the next.
std::uint64_t verification_of(const JobOptions& job, std::uint64_t frame) {
  if (job.verify_async == 0 && job.verify_backlog == 0) return 0;
  const std::uint64_t max = kGroupBytes / kShortestFrame;
  const std::uint64_t frames =
      std::min(job.verify_backlog == 0 ? kGroupFrames : job.verify_backlog, max);
  const std::uint64_t group = std::min(frames * frame, kGroupBytes + frame) + frames * kFrameBytes;
  return (2 * job.verify_async + 2) * group + job.verify_async * kThreadBytes;
}

/// A capture is kept in memory. If it is not a regular file, its length is not known.
std::uint64_t capture_of(const JobOptions& job) {
  if (job.replay.empty()) return 0;
  const std::uint64_t max = ReplayOptions().max_bytes;
  std::error_code failed;
  const auto status = std::filesystem::status(job.replay, failed);
  if (!std::filesystem::exists(status)) return 0;  // the run will report it
  const auto size = std::filesystem::file_size(job.replay, failed);
  return failed ? max : std::min<std::uint64_t>(size, max);
}

std::uint64_t memory_of(const JobOptions& job) {
  const std::uint64_t frame = job.mtu + kHeaderBytes;
  const bool offload = job.io_submit_mode == IoSubmit::offload;
  const std::uint64_t waiting =
      plus(waiting_for(job.fault, frame), waiting_for(job.fault_rx, frame));
  return plus(waiting,
              kJobBytes + job.iodepth_batch * frame * (offload ? kOffloadBatches : kBatches) +
                  job.iodepth * kRequestBytes + verification_of(job, frame) + capture_of(job));
}

/// The results of all runs are kept to the end. Together they take no longer than max_runtime.
/// `interval`: the length of an interval of the curves, at most a second (see curve_interval()).
/// Logs may divide it further, but the result has whole intervals.
std::uint64_t results_of(const JobOptions& job, std::uint64_t runs,
                         std::chrono::nanoseconds interval, std::chrono::nanoseconds max_runtime) {
  const auto of_second = static_cast<std::uint64_t>(std::chrono::seconds(1) / interval);
  const auto intervals_in = [&](std::chrono::nanoseconds time) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
    return times(of_second, static_cast<std::uint64_t>(seconds) + 1);
  };
  const auto one = job.start_delay + job.ramp_time + job.runtime + job.drain_time;
  const std::uint64_t most = intervals_in(max_runtime);
  const std::uint64_t intervals =
      job.runtime.count() == 0 ? most : std::min(most, times(runs, intervals_in(one)));
  return plus(times(runs, kJobResultBytes), times(intervals, sizeof(IntervalResult)));
}

std::uint64_t texts_of(const JobOptions& job) {
  std::uint64_t bytes = job.name.size() + job.where.size();
  for (const auto& [name, value] : job.given) bytes += name.size() + value.size();
  return bytes <= kShortTexts ? 0 : kTextCopies * bytes;
}

std::string too_much(const ServerLimits& limits, std::uint64_t bytes, const std::string& less) {
  if (bytes <= limits.max_memory) return {};
  return "the jobs may need " + format_memory(bytes) + " of memory, but this server allows " +
         format_memory(limits.max_memory) + " (ask for less by " + less +
         ", or start the server with a larger --max-memory)";
}

}  // namespace

std::uint64_t memory_of(const std::vector<PlannedJob>& plan, std::uint64_t runs,
                        std::chrono::nanoseconds max_runtime) {
  std::map<std::string, std::uint64_t> rings;  // one for each wire
  const std::chrono::nanoseconds curve = curve_interval(plan);
  std::uint64_t sum = 0;
  for (const PlannedJob& planned : plan) {
    const JobOptions& job = planned.options;
    sum = plus(sum, plus(memory_of(job), texts_of(job)));
    sum = plus(sum, results_of(job, runs, curve, max_runtime));
    if (!log_options(plan, planned).write_hist_log.empty())
      sum = plus(sum, kHistogramBlocks * sizeof(HistogramBlock));
    const bool on_bus = job.engine == EngineKind::bus || job.engine == EngineKind::host;
    if (!on_bus || !job.bus.empty()) continue;
    std::uint64_t& ring = rings[wire_key(planned)];
    ring = std::max(ring, job.bus_size_bytes);
  }
  for (const auto& [wire, bytes] : rings) sum = plus(sum, bytes);
  return sum;
}

std::string too_much_memory(const ServerLimits& limits, const JobSet& set) {
  std::uint64_t bytes = 0;
  for (const JobOptions& job : set.jobs) {
    // Each engine has a copy of each clone, and each copy may have a peer.
    const std::uint64_t copies = 2 * std::max<std::uint64_t>(job.engines.size(), 1);
    bytes = plus(bytes, times(times(copies, job.numjobs), texts_of(job)));
  }
  return too_much(limits, bytes, "numjobs, or by shorter options");
}

std::string too_much_memory(const ServerLimits& limits, const std::vector<PlannedJob>& plan,
                            const RunOptions& run) {
  const std::uint64_t bytes =
      memory_of(plan, std::max<std::uint64_t>(run.repeat, 1), limits.max_runtime);
  return too_much(limits, bytes,
                  "repeat, numjobs, runtime, bus_size, iodepth_batch, verify_async, "
                  "verify_backlog or the queue of fault");
}

}  // namespace shmif::perf
