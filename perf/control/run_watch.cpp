#include "perf/control/run_watch.hpp"

#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/signals.hpp"
#include "instruments/membw/pmu_source.hpp"
#include "instruments/membw/resctrl.hpp"
#include "instruments/membw/software_source.hpp"
#include "instruments/why/analysis.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/values.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint64_t kLookEvery = 100'000'000;
constexpr double kMaxOfCpu = 0.005;
constexpr double kNsOfSecond = 1e9;

/// The jobs that send to this job. An echo job answers its requester.
std::vector<std::size_t> sources_of(const ControlledJob& job) {
  std::vector<std::size_t> all = job.senders;
  const bool is_answered = job.plan.options.rw == Role::pingpong && job.plan.to != kNoJob;
  if (is_answered) all.push_back(job.plan.to);
  return all;
}

/// What the watch must know about a job to find where its frames can get lost.
WatchedJob watched(const ControlledJob& job) {
  const JobOptions& o = job.plan.options;
  const bool host = o.engine == EngineKind::host;
  const bool program = !o.exec.empty();
  WatchedJob one{.name = o.name, .uses_network = engine_of(o.engine).passes_network};
  one.uses_udp = program || o.engine == EngineKind::udp || (host && o.proto == HostProtocol::udp);
  one.uses_tcp = program || (host && o.proto == HostProtocol::tcp);
  one.receives = program || receives(o.rw);
  one.sends = program || (sends(o.rw) && job.plan.to == kNoJob);
  one.senders = sources_of(job);
  one.is_host = host;
  return one;
}

/// `on_wire`: the kernel of an emulated host receives the frames, and drops those that are damaged.
FaultTraffic fault_of(const std::string& where, const FaultOptions& options, const FaultsMade& made,
                      const std::atomic<bool>& on_wire) {
  const bool drops_damaged = on_wire.load(std::memory_order_acquire);
  return {
      .where = where,
      .options = to_string(options),
      .frames = made.frames,
      .lost = made.lost + made.under_way + (drops_damaged ? made.corrupted + made.truncated : 0),
      .queue_full = made.queue_full};
}

/// Turns "bus:/dev/shm/bus0" into /dev/shm/bus0; empty for another wire.
std::string bus_of(const Wire& wire) {
  constexpr std::string_view kBus = "bus:";
  std::string address = wire.address();
  if (!address.starts_with(kBus)) return {};
  return address.erase(0, kBus.size());
}

}  // namespace

RunWatch::RunWatch(const RunState& run, std::uint64_t start_ns)
    : run_(run),
      start_ns_(start_ns),
      sampler_(KernelFiles(), start_ns, MachineSources::of_causes),
      added_(run.jobs.size(), false) {
  for (const ControlledJob& job : run_.jobs) {
    sampler_.add_job(watched(job));
  }
  add_buses();
}

void RunWatch::add_buses() {
  std::set<std::string> known;
  for (const auto& wire : run_.wires) {
    const std::string path = bus_of(*wire);
    if (path.empty() || !known.insert(path).second) continue;
    if (const auto added = sampler_.add_bus(path); !added) {
      missing_.push_back({path, added.error().message});
    }
  }
}

/// Adds the jobs that have begun since the last look.
void RunWatch::add_jobs() {
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) {
    const ControlledJob& job = run_.jobs[i];
    if (added_[i] || job.phase == ControlledJob::Phase::waiting || job.over() || !job.runner) {
      continue;
    }
    const pid_t task = job.runner->task();
    if (task == 0) continue;
    added_[i] = true;
    errno = 0;
    const bool done =
        job.runner->is_thread() ? sampler_.add_thread(i, task) : sampler_.add_process(i, task);
    debug(Debug::why, [&] {
      return "watches job " + job.plan.options.name + " by /proc/" + std::to_string(task) +
             (done ? "" : ": it cannot be read");
    });
    if (done || errno == ENOENT || errno == ESRCH) continue;  // the job may have ended
    const std::string folder = "/proc/" + std::to_string(task) + "/task";
    missing_.push_back({folder, "job \"" + job.plan.options.name + "\": cannot list " + folder +
                                    ": " + std::generic_category().message(errno)});
  }
}

void RunWatch::look(std::uint64_t now_ns) {
  if (now_ns < next_ns_) return;
  add_jobs();
  // The first look happens a little before the start, while the jobs wait for it.
  sampler_.sample(std::max(now_ns, start_ns_));
  const auto costly =
      static_cast<std::uint64_t>(sampler_.usual_look_seconds() / kMaxOfCpu * kNsOfSecond);
  next_ns_ = sampler_.next_ns(std::max(kLookEvery, costly));
}

JobTraffic traffic_of(const std::string& job, const std::vector<IntervalResult>& intervals) {
  JobTraffic traffic{.job = job};
  for (const IntervalResult& each : intervals) {
    traffic.steps.push_back({.begin_s = each.at_seconds - each.seconds,
                             .end_s = each.at_seconds,
                             .lost = each.lost_frames,
                             .overruns = each.overruns,
                             .latency_max_ns = each.latency_max_ns,
                             .received = each.rx_frames});
  }
  return traffic;
}

void add_unnoticed(JobTraffic& traffic, std::uint64_t lost, double end_s) {
  for (const TrafficStep& step : traffic.steps) lost -= std::min(lost, step.lost);
  if (lost == 0) return;
  if (traffic.steps.empty()) traffic.steps.push_back({.end_s = end_s, .received = 0});
  traffic.steps.back().lost += lost;
}

/// The traffic of the jobs that receive.
std::vector<JobTraffic> RunWatch::traffic(const std::vector<JobResult>& results) const {
  std::vector<JobTraffic> all;
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) {
    const ControlledJob& job = run_.jobs[i];
    if (!receives(job.plan.options.rw)) continue;
    JobTraffic one = traffic_of(job.plan.options.name, job.intervals);
    if (i < results.size()) {
      std::uint64_t lost = 0;
      for (const FlowResult& flow : results[i].flows) lost += flow.lost;
      add_unnoticed(one, lost,
                    sampler_.series().ends_s.empty() ? 0 : sampler_.series().ends_s.back());
    }
    for (const std::size_t from : sources_of(job)) {
      const JobBlock& block = *run_.jobs[from].block;
      const JobOptions& o = run_.jobs[from].plan.options;
      if (block.has_faults_sent.load(std::memory_order_acquire)) {
        one.faults.push_back(fault_of(o.name, o.fault, block.faults_sent, block.faults_on_wire));
      }
    }
    if (job.block->has_faults_received.load(std::memory_order_acquire)) {
      const JobOptions& o = job.plan.options;
      one.faults.push_back(
          fault_of(o.name, o.fault_rx, job.block->faults_received, job.block->faults_on_wire));
    }
    all.push_back(std::move(one));
  }
  return all;
}

RunCauses RunWatch::finish(const std::vector<JobResult>& results, std::uint64_t now_ns) {
  sampler_.sample(std::max(now_ns, start_ns_));  // includes what happened since the last look
  const WhySeries& series = sampler_.series();
  debug(Debug::why, [&] {
    return "looked " + std::to_string(series.ends_s.size()) + " times at " +
           std::to_string(series.tasks.size()) + " tasks, which took " +
           std::to_string(sampler_.own_seconds()) + " s of a CPU";
  });
  RunCauses all;
  all.looks = series.ends_s.size();
  if (all.looks > 0) all.seconds = series.ends_s.back() - series.begin_s;
  if (all.seconds > 0) all.own_share = sampler_.own_seconds() / all.seconds;
  all.missing = series.missing;
  std::ranges::copy(missing_, std::back_inserter(all.missing));
  const bool saw =
      std::ranges::any_of(series.tasks, [](const TaskSeries& task) { return !task.steps.empty(); });
  if (saw) {
    all.why_unknown = "";
  } else if (series.tasks_missed) {
    all.why_unknown = "the files of the jobs in /proc could not be read";
  } else {
    all.why_unknown =
        "the jobs were not seen twice: they ended too soon, or /proc does not show them";
  }
  all.causes = find_causes(series, traffic(results));
  return all;
}

// ---- MemoryWatch ----

namespace {

using std::chrono::nanoseconds;

/// The buses of the run. Jobs of engine=host are on a bus, too.
std::set<std::string> buses_of(const RunState& run) {
  std::set<std::string> buses;
  for (const auto& wire : run.wires) buses.insert(bus_of(*wire));
  buses.erase("");
  return buses;
}

/// Whether the job itself copies its frames to and from the kernel by send(2) and recv(2).
bool uses_sockets(const JobOptions& job) {
  return engine_of(job.engine).through == Through::sockets && job.exec.empty();
}

/// Whether the job, or the program of exec, calls read(2) and write(2).
bool reads_and_writes(const JobOptions& job) {
  return engine_of(job.engine).through == Through::files || !job.exec.empty() ||
         !job.replay.empty() || !job.write_pcap.empty();
}

/// What the jobs on sockets have copied so far.
std::map<std::string, CopiedBytes> socket_bytes(const RunState& run) {
  std::map<std::string, CopiedBytes> bytes;
  for (const ControlledJob& job : run.jobs) {
    const JobOptions& o = job.plan.options;
    if (!uses_sockets(o)) continue;
    bytes["job " + o.name] = {job.block->all_rx_bytes.get(), job.block->all_tx_bytes.get()};
  }
  return bytes;
}

std::vector<std::unique_ptr<MemorySource>> sources_of(const RunState& run) {
  const KernelFiles files;
  const auto any = [&run](bool (*does)(const JobOptions&)) {
    return std::ranges::any_of(run.jobs,
                               [&](const ControlledJob& job) { return does(job.plan.options); });
  };
  std::vector<std::unique_ptr<MemorySource>> sources;
  sources.push_back(std::make_unique<PmuSource>(files));
  sources.push_back(std::make_unique<ResctrlSource>(files));
  for (const std::string& bus : buses_of(run)) sources.push_back(std::make_unique<BusSource>(bus));
  const bool sockets = any(uses_sockets);
  if (sockets) {
    sources.push_back(std::make_unique<SocketSource>([&run] { return socket_bytes(run); }));
  }
  const bool misses_all = sockets && !any(reads_and_writes);
  sources.push_back(std::make_unique<ProcessIoSource>(
      files, now_ns,
      misses_all
          ? "it counts only read(2) and write(2), but these jobs use send(2) and recv(2): see "
            "software:sockets"
          : ""));
  sources.push_back(
      std::make_unique<DeviceSource>(files, now_ns, DeviceSource::Where::in_own_namespace));
  return sources;
}

/// Jobs that are threads are measured together with this process.
std::vector<pid_t> processes_of(const RunState& run) {
  std::set<pid_t> processes;
  for (const ControlledJob& job : run.jobs) {
    if (job.plan.options.thread) processes.insert(::getpid());
    if (job.runner && !job.runner->is_thread()) processes.insert(job.runner->pid());
  }
  return {processes.begin(), processes.end()};
}

/// A look costs about as much as a few hundred frames. So looks can be rarer than intervals.
nanoseconds window_of(const RunState& run) {
  constexpr nanoseconds kLeast = std::chrono::milliseconds(250);
  return std::max<nanoseconds>(nanoseconds(run.interval_ns), kLeast);
}

}  // namespace

MemoryWatch::MemoryWatch(const RunState& run)
    : run_(run), window_(window_of(run)), sources_(sources_of(run)), processes_(processes_of(run)) {
  // The thread that controls the run handles the signals.
  thread_ = base::quiet_thread<std::thread>([this] { measure(); });
}

void MemoryWatch::measure() {
  MembwOptions options;
  options.settle = nanoseconds(0);
  options.window = window_;
  options.background = false;  // it cannot pause the jobs
  MembwHooks hooks;
  hooks.sleep = [this](nanoseconds time) { return sleep(time); };
  hooks.set_up = [this](std::size_t) { return Result<bool>(await_window()); };
  debug(Debug::membw, [this] {
    return "measures " + std::to_string(sources_.size()) + " sources, of " +
           std::to_string(processes_.size()) + " processes";
  });
  result_ = measure_memory(sources_, processes_, options, hooks);
}

MembwHooks::Woken MemoryWatch::sleep(nanoseconds time) {
  std::unique_lock lock(mutex_);
  if (time.count() == 0) return MembwHooks::Woken::time_is_up;
  const bool over = changed_.wait_for(lock, time, [this] { return over_; });
  return over ? MembwHooks::Woken::nothing_left : MembwHooks::Woken::time_is_up;
}

bool MemoryWatch::await_window() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return sending_ || over_; });
  return !over_;
}

void MemoryWatch::look(bool sending) {
  // The last window ends early when the last jobs end, because fewer bytes move in the drain.
  const bool more = run_.has_jobs_to_start();
  const std::lock_guard lock(mutex_);
  if (sending == sending_) return;
  if (!sending && !more) over_ = true;
  sending_ = sending;
  changed_.notify_all();
}

void MemoryWatch::end() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

std::shared_ptr<const MemoryOfRun> MemoryWatch::finish(std::uint64_t start_ns, bool stopped) {
  end();
  result_.partial = result_.partial || stopped;
  return std::make_shared<const MemoryOfRun>(MemoryOfRun{std::move(result_), start_ns});
}

RateWatch::RateWatch(std::span<const ControlledJob> jobs) : jobs_(jobs) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const JobOptions& o = jobs[i].plan.options;
    const auto add = [&](const Line& line) {
      if (line.min_per_s != 0) lines_.push_back(line);
    };
    add({.job = i, .tx = true, .bits = true, .min_per_s = o.rate_min_bps.tx});
    add({.job = i, .tx = true, .bits = false, .min_per_s = o.rate_min_fps.tx});
    add({.job = i, .tx = false, .bits = true, .min_per_s = o.rate_min_bps.rx});
    add({.job = i, .tx = false, .bits = false, .min_per_s = o.rate_min_fps.rx});
  }
}

std::uint64_t RateWatch::count_of(const Line& line) const noexcept {
  const JobBlock& block = *jobs_[line.job].block;
  if (line.bits) return 8 * (line.tx ? block.all_tx_bytes : block.all_rx_bytes).get();
  return (line.tx ? block.all_tx_frames : block.all_rx_frames).get();
}

namespace {

/// Whether a job has run for `settle`, and its ramp is over.
bool has_settled(const ControlledJob& job, std::chrono::nanoseconds settle,
                 std::uint64_t now) noexcept {
  if (job.phase != ControlledJob::Phase::going) return false;
  const JobOptions& o = job.plan.options;
  return now >= job.block->start_ns.load(std::memory_order_acquire) + ns(o.start_delay) +
                    ns(std::max(o.ramp_time, settle));
}

}  // namespace

/// Whether frames are expected in that direction now. A job may finish sending before its partner
/// does, and may start before the jobs that send to it.
bool RateWatch::is_due(const Line& line, std::uint64_t now) const noexcept {
  const ControlledJob& job = jobs_[line.job];
  const std::chrono::nanoseconds settle = job.plan.options.rate_settle;
  if (job.stop_ns != 0 || job.state() > JobState::running) return false;
  if (!has_settled(job, settle, now)) return false;
  const auto sends = [&](const ControlledJob& from) {
    return has_settled(from, settle, now) && !from.flow->tx_done.load(std::memory_order_acquire);
  };
  // A pingpong job receives replies to what it sends; an echo job sends as requests arrive.
  const Role role = job.plan.options.rw;
  if (role == Role::pingpong || (line.tx && role != Role::echo)) return sends(job);
  if (job.senders.empty()) return true;
  return std::ranges::any_of(job.senders, [&](std::size_t from) { return sends(jobs_[from]); });
}

/// "tx: wanted at least 1000 frames/s (rate_iops_min), got 0 frames/s".
std::string RateWatch::text_of(const Line& line, double got) {
  const char* const unit = line.bits ? " bit/s" : " frames/s";
  std::ostringstream text;
  text << (line.tx ? "tx" : "rx") << ": wanted at least " << line.min_per_s << unit << " ("
       << (line.bits ? "rate_min" : "rate_iops_min") << "), got " << static_cast<std::uint64_t>(got)
       << unit;
  return text.str();
}

std::vector<RateWatch::Trip> RateWatch::check(std::uint64_t now) {
  std::vector<Trip> trips;
  for (Line& line : lines_) {
    if (line.tripped) continue;
    if (!is_due(line, now)) {
      line.since_ns = 0;
      continue;
    }
    if (line.since_ns == 0) {
      line.since_ns = now;
      line.at_begin = count_of(line);
      continue;
    }
    const std::uint64_t took = now - line.since_ns;
    if (took < ns(jobs_[line.job].plan.options.rate_cycle)) continue;
    const std::uint64_t count = count_of(line);
    const double got = static_cast<double>(count - line.at_begin) * 1e9 / static_cast<double>(took);
    line.since_ns = now;
    line.at_begin = count;
    if (got >= static_cast<double>(line.min_per_s)) continue;
    line.tripped = true;
    trips.push_back({line.job, text_of(line, got)});
  }
  return trips;
}

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

std::uint64_t frames_of(const JobBlock& block) noexcept {
  return std::max(block.all_tx_frames.get(), block.all_rx_frames.get());
}

std::uint64_t bytes_of(const JobBlock& block) noexcept {
  return std::max(block.all_tx_bytes.get(), block.all_rx_bytes.get());
}

}  // namespace

SteadyWatch::SteadyWatch(std::span<const ControlledJob> jobs) : jobs_(jobs) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const JobOptions& o = jobs[i].plan.options;
    if (o.steadystate.empty()) continue;
    const SteadyState wanted = parse_steady_state(o.steadystate).value();
    lines_.push_back({i, SteadyStateDetector(wanted, o.ss_dur, o.ss_ramp)});
  }
}

std::vector<std::size_t> SteadyWatch::check(std::uint64_t now) {
  std::vector<std::size_t> reached;
  for (Line& line : lines_) {
    const ControlledJob& job = jobs_[line.job];
    const JobBlock& block = *job.block;
    if (job.phase != ControlledJob::Phase::going || job.state() != JobState::running) continue;
    if (now < job.window_begin_ns()) continue;
    if (line.detector.reached() || (line.since_ns != 0 && now < line.since_ns + kSecond)) continue;
    const std::uint64_t frames = frames_of(block);
    const std::uint64_t bytes = bytes_of(block);
    if (line.since_ns != 0) {
      const double seconds = static_cast<double>(now - line.since_ns) * 1e-9;
      if (line.detector.note(static_cast<double>(frames - line.frames) / seconds,
                             8 * static_cast<double>(bytes - line.bytes) / seconds)) {
        reached.push_back(line.job);
      }
    }
    line.since_ns = now;
    line.frames = frames;
    line.bytes = bytes;
  }
  return reached;
}

std::vector<SteadyStateResult> SteadyWatch::results() const {
  std::vector<SteadyStateResult> all;
  for (const Line& line : lines_) {
    const SteadyState& wanted = line.detector.wanted();
    all.push_back(
        {.job = jobs_[line.job].plan.options.name,
         .figure = std::string(wanted.bandwidth ? "bw" : "iops") + (wanted.slope ? "_slope" : ""),
         .limit = wanted.limit,
         .limit_is_share = wanted.relative,
         .window_seconds = line.detector.window_seconds(),
         .ramp_seconds = line.detector.ramp_seconds(),
         .value = line.detector.figure(),
         .reached_at_seconds = line.detector.reached_at_seconds()});
  }
  return all;
}

std::optional<std::string> SteadyWatch::describe() const {
  std::string text;
  for (const Line& line : lines_) {
    if (!text.empty()) text += "; ";
    if (lines_.size() > 1) text += jobs_[line.job].plan.options.name + ": ";
    text += line.detector.describe();
  }
  if (text.empty()) return std::nullopt;
  return text;
}

}  // namespace shmif::perf
