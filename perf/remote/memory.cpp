// How much of a server's memory a plan uses (limits.hpp).

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>

#include "perf/figures/units.hpp"
#include "perf/remote/limits.hpp"
#include "perf/worker/replay.hpp"

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

std::uint64_t waiting_for(const FaultOptions& fault, std::uint64_t frame) {
  const bool waits = fault.delay.count() != 0 || fault.jitter.count() != 0 || fault.rate_bps != 0;
  if (!waits) return 0;
  if (fault.queue_frames == 0) return kMaxFaultBytes;
  return fault.queue_frames * (frame + kFrameBytes);
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
  return kJobBytes + job.iodepth_batch * frame * (offload ? kOffloadBatches : kBatches) +
         job.iodepth * kRequestBytes + waiting_for(job.fault, frame) +
         waiting_for(job.fault_rx, frame) + verification_of(job, frame) + capture_of(job);
}

}  // namespace

std::uint64_t memory_of(const std::vector<PlannedJob>& plan) {
  std::map<std::string, std::uint64_t> rings;  // one for each wire
  std::uint64_t sum = 0;
  for (const PlannedJob& planned : plan) {
    const JobOptions& job = planned.options;
    sum += memory_of(job);
    const bool on_bus = job.engine == EngineKind::bus || job.engine == EngineKind::host;
    if (!on_bus || !job.bus.empty()) continue;
    std::uint64_t& ring = rings[wire_key(planned)];
    ring = std::max(ring, job.bus_size_bytes);
  }
  for (const auto& [wire, bytes] : rings) sum += bytes;
  return sum;
}

std::string too_much_memory(const ServerLimits& limits, const std::vector<PlannedJob>& plan) {
  const std::uint64_t bytes = memory_of(plan);
  if (bytes <= limits.max_memory) return {};
  return "the jobs may need " + format_memory(bytes) + " of memory, but this server allows " +
         format_memory(limits.max_memory) +
         " (ask for less by numjobs, bus_size, iodepth_batch, verify_async, verify_backlog or the "
         "queue of fault, or start it with --max-memory)";
}

}  // namespace shmif::perf
