// The highest rate of the harness itself on this machine.

#include <algorithm>
#include <chrono>
#include <map>
#include <string>

#include "perf/control/campaign.hpp"
#include "perf/control/runner.hpp"
#include "perf/frame/frame_sizes.hpp"
#include "perf/verify/verify_state.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

/// Frames per second. `both`: one job sends and receives each frame.
struct HarnessLimit {
  std::optional<double> tx_fps, rx_fps, both_fps;
};

/// The options that determine how much time the harness needs for a frame.
struct FrameKind {
  std::uint64_t frames;  // options_hash()
  bool verify, do_verify, regenerate, times;
  std::uint64_t verify_backlog;
  std::uint32_t verify_async, mtu;
  bool paced_by_frames, paced_by_bits;
  RateProcess process;
  auto operator<=>(const FrameKind&) const = default;
};

FrameKind kind_of(JobOptions job) {
  job.rw = Role::tx;
  job.randseed = 1;
  return {options_hash(job),    job.verify,           job.do_verify,    job.verify_regenerate,
          !job.disable_lat,     job.verify_backlog,   job.verify_async, job.mtu,
          job.rate_fps.tx != 0, job.rate_bps.tx != 0, job.rate_process};
}

std::optional<double> rate_of(const JobOptions& job) {
  PlannedJob planned;
  planned.options = job;
  planned.to = job.rw == Role::tx ? kNoJob : 0;
  RunControl control;
  auto runner = Runner::create({}, {planned});
  if (!runner) return std::nullopt;
  const RunResult run = (*runner)->run(nullptr, control);
  if ((*runner)->stuck()) (void)(*runner).release();
  if (!run.failures.empty()) return std::nullopt;
  // With helper threads, the job's CPU time is not known.
  return limit_by(run.jobs[0].tx, run.jobs[0].cpu);
}

/// A rate that the harness has reached in the run is possible, even if the trials were disturbed.
/// But there is no limit if no trial measured one: it would be the job's own rate.
void raise_to(std::optional<double>& measured, const std::optional<double>& reached) {
  if (measured) measured = std::max(measured, reached);
}

/// Whether a job's frames are made and checked like those of limit_job(). A round trip needs two
/// messages, so the limit of one thread says nothing about it.
bool has_limit(const JobOptions& job) {
  if (job.rw == Role::echo || job.rw == Role::pingpong) return false;
  return job.replay.empty() && job.exec.empty() && !job.verify_only;
}

std::optional<double> limit_for(Role role, const HarnessLimit& limit) {
  switch (role) {
    case Role::tx: return limit.tx_fps;
    case Role::rx: return limit.rx_fps;
    // One job sends each frame and another receives it, at the same time.
    case Role::txrx: return limit.both_fps;
    case Role::echo:
    case Role::pingpong: break;  // see has_limit()
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> limit_by(const TrafficResult& sent, const std::optional<CpuResult>& cpu) {
  // This is a fifteenth of a trial's time when no other program wants the CPU.
  constexpr double kMinSeconds = 0.001;
  // The job never sleeps, so its time is the CPU time that it got. CPU time that other programs
  // took does not limit the harness.
  double seconds = sent.seconds;
  if (cpu) seconds = std::min(seconds, cpu->user_seconds + cpu->system_seconds);
  if (seconds < kMinSeconds || sent.frames == 0) return std::nullopt;
  return static_cast<double>(sent.frames) / seconds;
}

namespace {

/// The sender of measure_limit(): its frames are made, paced and checked like those of `job`, as
/// fast as one thread can.
JobOptions limit_job(const JobOptions& job) {
  JobOptions o;
  o.name = "limit";
  o.engine = EngineKind::null;
  o.thread = true;
  o.runtime = 15ms;
  // A ramp is measured by intended times. If a job is asked for more than it can do, its intended
  // times fall far behind.
  const bool paced = job.rate_fps.tx != 0 || job.rate_bps.tx != 0;
  if (!paced) o.ramp_time = 3ms;
  o.bs = job.bs;
  o.payload = job.payload;
  o.buffer_pattern = job.buffer_pattern;
  o.buffer_compress_percentage = job.buffer_compress_percentage;
  o.vlan = job.vlan;
  o.mtu = job.mtu;
  // This wire keeps no frames. If a receiver does not take a whole batch at once, the rest is lost.
  o.iodepth_batch = std::min(job.iodepth_batch, 64U);
  o.drain_time = 1ms;
  o.verify = job.verify;
  o.verify_regenerate = job.verify_regenerate;
  o.do_verify = job.do_verify;
  o.verify_backlog = job.verify_backlog;
  o.verify_async = job.verify_async;
  o.disable_lat = job.disable_lat;
  // A rate that no sender can reach. The sender is always behind and sends as fast as possible, and
  // every frame still has its intended time. The rate is not higher than needed, because a Poisson
  // stream draws the times of all due frames at the end.
  const std::uint64_t beyond_all =
      job.rate_process == RateProcess::poisson ? 50'000'000 : 1'000'000'000;
  const double mean_bits = SizeChooser(job.bs.tx, job.randseed).mean() * 8;
  if (job.rate_fps.tx != 0) o.rate_fps.tx = beyond_all;
  if (job.rate_bps.tx != 0) o.rate_bps.tx = beyond_all * static_cast<std::uint64_t>(mean_bits);
  o.rate_process = job.rate_process;
  return o;
}

/// Makes short runs on engine=null, with frames like those of `job` and the same kind of pace.
/// `reached`: rates that the harness has already shown; no measured limit is below them. Result:
/// empty fields if the runs failed. Blocks: about 200 ms, at most a second.
HarnessLimit measure_limit(const JobOptions& job, const HarnessLimit& reached) {
  const DebugSubject subject("limit of the harness");
  debug(Debug::search, [&] { return "short runs on engine=null, with frames as of " + job.name; });
  JobOptions o = limit_job(job);
  HarnessLimit limit;
  // Takes the best of several trials, because disturbances only make trials slower. On a machine
  // with shared cores, it takes more trials until both kinds have had a core to themselves.
  constexpr int kAttempts = 3;
  constexpr int kMaxAttempts = 15;
  const auto is_odd = [&] {
    return !limit.both_fps || limit.tx_fps <= limit.both_fps || limit.tx_fps < reached.tx_fps ||
           limit.both_fps < reached.both_fps;
  };
  for (int i = 0; i < kAttempts || (i < kMaxAttempts && is_odd()); ++i) {
    o.rw = Role::tx;
    limit.tx_fps = std::max(limit.tx_fps, rate_of(o));
    o.rw = Role::txrx;
    limit.both_fps = std::max(limit.both_fps, rate_of(o));
  }
  raise_to(limit.tx_fps, reached.tx_fps);
  raise_to(limit.both_fps, reached.both_fps);
  // A frame of `both` takes the time to send it and the time to receive it. The difference is the
  // receiver's time. If no trial shows it, the rate of both is what a receiver can do at least.
  limit.rx_fps = limit.both_fps;
  if (limit.both_fps && limit.tx_fps > limit.both_fps) {
    limit.rx_fps = 1 / (1 / *limit.both_fps - 1 / *limit.tx_fps);
  }
  raise_to(limit.rx_fps, reached.rx_fps);
  return limit;
}

std::optional<double> rate_of(const TrafficResult& traffic) {
  if (!(traffic.seconds > 0) || traffic.frames == 0) return std::nullopt;
  return static_cast<double>(traffic.frames) / traffic.seconds;
}

/// The rates that a job of role `role` has reached, and that are therefore possible.
HarnessLimit reached_by(const JobResult& job, Role role) {
  HarnessLimit reached;
  if (role == Role::tx) reached.tx_fps = rate_of(job.tx);
  if (role == Role::rx) reached.rx_fps = rate_of(job.rx);
  if (role == Role::txrx) reached.both_fps = std::max(rate_of(job.tx), rate_of(job.rx));
  return reached;
}

HarnessLimit reached_by(const SearchResult& search, Role role) {
  HarnessLimit reached;
  if (role == Role::tx) reached.tx_fps = search.found_fps;
  if (role == Role::txrx) reached.both_fps = search.found_fps;
  return reached;
}

/// The options with which the job's frames were really sent: a search paces its trials.
JobOptions as_it_ran(const JobOptions& job) {
  JobOptions ran = job;
  if (job.search != Search::none && ran.rate_fps.tx == 0) ran.rate_fps.tx = 1;
  return ran;
}

}  // namespace

void add_limits(std::span<const PlannedJob> plan, RunResult& result) {
  // Measuring many kinds of jobs would take too long for a secondary figure.
  constexpr std::size_t kMaxKinds = 8;
  std::map<FrameKind, HarnessLimit> limits;
  const auto limit_of = [&](const JobOptions& job, const HarnessLimit& reached) {
    const FrameKind kind = kind_of(job);
    if (limits.find(kind) == limits.end()) {
      if (limits.size() == kMaxKinds) return HarnessLimit();
      limits[kind] = measure_limit(job, reached);
    }
    HarnessLimit& limit = limits[kind];
    raise_to(limit.tx_fps, reached.tx_fps);
    raise_to(limit.rx_fps, reached.rx_fps);
    raise_to(limit.both_fps, reached.both_fps);
    return limit;
  };
  const auto planned = [&](const std::string& name) {
    const auto found = std::ranges::find(
        plan, name, [](const PlannedJob& each) -> const std::string& { return each.options.name; });
    return found == plan.end() ? nullptr : &found->options;
  };
  const bool has_paced_sender =
      std::ranges::any_of(plan, [](const PlannedJob& each) { return is_paced(each.options); });
  const auto add_to = [&](RunResult& run) {
    for (JobResult& job : run.jobs) {
      const JobOptions* const options = planned(job.name);
      const bool moved = job.tx.frames != 0 || job.rx.frames != 0;
      if (options == nullptr || !moved || !has_limit(*options)) continue;
      const HarnessLimit reached = reached_by(job, options->rw);
      // A pace that was kept is far from what the harness can do, so it raises no limit. If a trial
      // measured less than that, it was disturbed, and the limit is not known.
      const bool paced = options->rw == Role::rx ? has_paced_sender : is_paced(*options);
      job.limit_fps =
          limit_for(options->rw, limit_of(as_it_ran(*options), paced ? HarnessLimit() : reached));
      if (job.limit_fps < limit_for(options->rw, reached)) job.limit_fps.reset();
    }
    for (SearchResult& search : run.searches) {
      const JobOptions* const options = planned(search.job);
      if (options == nullptr || search.trials.empty() || !has_limit(*options)) continue;
      search.limit_fps =
          limit_for(options->rw, limit_of(as_it_ran(*options), reached_by(search, options->rw)));
    }
  };
  for (RunResult& run : result.repetitions) add_to(run);
  add_to(result);
}

}  // namespace shmif::perf
