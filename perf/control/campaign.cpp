#include "perf/control/campaign.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "instruments/watch/clock.hpp"
#include "instruments/watch/process.hpp"
#include "perf/control/search.hpp"
#include "perf/frame/schedule.hpp"
#include "perf/job/values.hpp"
#include "perf/result/machine.hpp"
#include "perf/stats/confidence.hpp"
#include "perf/verify/verify_state.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

// ---- One result of several runs ----

namespace {

std::map<std::pair<std::string, std::string>, double> figures_of(const RunResult& run) {
  std::map<std::pair<std::string, std::string>, double> figures;
  for (const JobResult& job : run.jobs) {
    const auto rate = [&](const char* name, const TrafficResult& traffic) {
      if (traffic.seconds > 0 && traffic.frames > 0) {
        figures[{job.name, name}] = static_cast<double>(traffic.frames) / traffic.seconds;
      }
    };
    rate(figure_name::kTxFps, job.tx);
    rate(figure_name::kRxFps, job.rx);
    FlowResult all;
    for (const FlowResult& flow : job.flows) all += flow;
    if (all.sent != 0) {
      figures[{job.name, figure_name::kLostShare}] =
          static_cast<double>(all.lost) / static_cast<double>(all.sent);
    }
    if (!job.latency->empty()) {
      const LatencyHistogram& latency = *job.latency;
      figures[{job.name, figure_name::kLatencyMean}] = latency.mean();
      figures[{job.name, figure_name::kLatencyP50}] = static_cast<double>(latency.percentile(50));
      figures[{job.name, figure_name::kLatencyP99}] = static_cast<double>(latency.percentile(99));
    }
  }
  for (const SearchResult& search : run.searches) {
    if (search.found_fps) figures[{search.job, figure_name::kFoundFps}] = *search.found_fps;
  }
  return figures;
}

/// The figure that decides which run is shown: the sum of the rates that searches found. Without
/// searches, it is the sum of the rates at which jobs received, or, if no job received, at which
/// they sent.
double main_figure(const RunResult& run) {
  double sum = 0;
  for (const SearchResult& search : run.searches) sum += search.found_fps.value_or(0);
  if (!run.searches.empty()) return sum;
  const bool any_received =
      std::ranges::any_of(run.jobs, [](const JobResult& job) { return job.rx.frames != 0; });
  for (const JobResult& job : run.jobs) {
    const TrafficResult& traffic = any_received ? job.rx : job.tx;
    if (traffic.seconds > 0) sum += static_cast<double>(traffic.frames) / traffic.seconds;
  }
  return sum;
}

/// The part of a run over which medians of repetitions are computed.
RunResult figures_alone(const RunResult& run) {
  RunResult figures;
  figures.jobs = run.jobs;
  for (JobResult& job : figures.jobs) job.intervals = {};
  figures.groups = run.groups;
  figures.searches = run.searches;
  return figures;
}

/// The index of the run with the median rate.
std::size_t middle_of(const std::vector<RunResult>& runs) {
  std::vector<std::size_t> order(runs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(main_figure(runs[i]), i); });
  return order[order.size() / 2];
}

/// "JOB: text" without the numbers in the text, because warnings of several runs differ only in
/// these.
std::string without_numbers(const std::string& warning) {
  const std::size_t colon = std::min(warning.find(": "), warning.size());
  std::string kind = warning.substr(0, colon);
  for (const char c : warning.substr(colon)) {
    if (c != '.' && c != ',' && (c < '0' || c > '9')) kind += c;
  }
  return kind;
}

}  // namespace

void keep_messages(RunResult& all, RunResult&& one) {
  const auto add_new = [](std::vector<std::string>& to, std::vector<std::string>& from,
                          const auto& kind_of) {
    for (std::string& text : from) {
      if (std::ranges::find(to, kind_of(text), kind_of) == to.end()) to.push_back(std::move(text));
    }
  };
  std::ranges::move(one.failures, std::back_inserter(all.failures));
  add_new(all.lost_outputs, one.lost_outputs, [](const std::string& text) { return text; });
  add_new(all.warnings, one.warnings, without_numbers);
}

void add_causes(RunCauses& all, RunCauses&& one) {
  if (!one.why_unknown.empty()) {
    if (all.looks == 0) all.why_unknown = std::move(one.why_unknown);
    return;
  }
  all.why_unknown.clear();
  const double seconds = all.seconds + one.seconds;
  if (seconds > 0) {
    all.own_share = (all.own_share * all.seconds + one.own_share * one.seconds) / seconds;
  }
  all.seconds = seconds;
  all.looks += one.looks;
  std::ranges::move(one.causes, std::back_inserter(all.causes));
  std::ranges::sort(all.causes, weighs_more);
  for (MissingSource& each : one.missing) {
    const auto known = std::ranges::find(all.missing, each.source, &MissingSource::source);
    if (known == all.missing.end()) all.missing.push_back(std::move(each));
  }
}

RunResult all_of_repetitions(std::vector<RunResult> runs) {
  std::map<std::pair<std::string, std::string>, std::vector<double>> values;
  for (const RunResult& run : runs) {
    for (const auto& [figure, value] : figures_of(run)) values[figure].push_back(value);
  }
  std::vector<RepeatFigure> repeats;
  for (auto& [figure, series] : values) {
    const auto spread = estimate(series);
    repeats.push_back(
        {figure.first, figure.second, series, spread->median, spread->min, spread->max});
  }
  std::vector<RunResult> repetitions;
  repetitions.reserve(runs.size());
  for (const RunResult& run : runs) repetitions.push_back(figures_alone(run));
  const auto began = runs.front().began;
  const auto ended = runs.back().ended;
  const std::size_t middle = middle_of(runs);
  RunResult result = std::move(runs[middle]);
  result.repeats = std::move(repeats);
  result.repetitions = std::move(repetitions);
  result.shown_run = middle;
  result.began = began;
  result.ended = ended;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (i != middle) keep_messages(result, std::move(runs[i]));
  }
  return result;
}

namespace {

// ---- Searches ----

/// The jobs that a trial of `job` needs. They wait for no other job.
std::vector<PlannedJob> trial_plan(const std::vector<PlannedJob>& plan, std::size_t job) {
  std::map<std::size_t, std::size_t> place;
  std::vector<PlannedJob> chosen;
  for (const std::size_t i : trial_jobs(plan, job)) {
    place[i] = chosen.size();
    chosen.push_back(plan[i]);
    chosen.back().waits_for.clear();
  }
  for (PlannedJob& each : chosen) {
    if (each.to != kNoJob) each.to = place.at(each.to);
    // Jobs that send the other way do not make the trial longer.
    if (!each.options.background) each.options.runtime = plan[job].options.search_trial;
  }
  JobOptions& o = chosen[place.at(job)].options;
  o.rate_bps.tx = 0;
  o.time_based = true;
  o.number_ios = o.size_bytes = o.io_limit_bytes = 0;
  return chosen;
}

/// Explains why a search found no rate before its own runtime ended it.
std::string out_of_time(const JobOptions& job, std::size_t trials) {
  return "its runtime (" + time_text(job.runtime) + ") was over after " + std::to_string(trials) +
         (trials == 1 ? " trial" : " trials") + " of " +
         time_text(job.ramp_time + job.search_trial) +
         " (runtime is for the whole search: give it more time, or a shorter search_trial)";
}

/// A run that was cut off has no figures for a whole run.
bool is_cut_off(const RunResult& run) {
  return run.stopped_by_signal || run.trigger_fired;
}

/// Appends the results of one run to those of all runs.
void append(RunResult& all, RunResult&& one) {
  std::ranges::move(one.jobs, std::back_inserter(all.jobs));
  std::ranges::move(one.groups, std::back_inserter(all.groups));
  std::ranges::move(one.links, std::back_inserter(all.links));
  std::ranges::move(one.failures, std::back_inserter(all.failures));
  std::ranges::move(one.warnings, std::back_inserter(all.warnings));
  std::ranges::move(one.lost_outputs, std::back_inserter(all.lost_outputs));
  add_causes(all.causes, std::move(one.causes));
  all.machine.window = std::move(one.machine.window);
  if (one.membw) all.membw = std::move(one.membw);
  if (one.stopped_by_signal) all.stopped_by_signal = one.stopped_by_signal;
  if (one.steady_state) all.steady_state = one.steady_state;
  std::ranges::move(one.steady_states, std::back_inserter(all.steady_states));
  all.trigger_fired |= one.trigger_fired;
}

// ---- The whole ----

/// Threads: one at a time.
class Campaign {
 public:
  Campaign(const RunOptions& options, const std::vector<PlannedJob>& plan, RunObserver* observer,
           RunControl& control)
      : options_(options), plan_(plan), observer_(observer), control_(control) {}

  /// Errors: why the first run could not be set up.
  Result<RunResult> run();
  /// Whether no more run may begin: after a signal, after a trigger, or because a thread does not
  /// end.
  bool over() const { return control_.stops.load() != 0 || triggered_ || stuck_; }
  bool stuck() const { return stuck_; }

 private:
  Result<RunResult> run_once(std::vector<PlannedJob> plan);
  Result<RunResult> run_trial(std::vector<PlannedJob> plan, const std::string& name, double fps);
  Result<std::pair<SearchResult, RunResult>> search(std::size_t job);
  Result<RunResult> run_searches();

  const RunOptions& options_;
  const std::vector<PlannedJob>& plan_;
  RunObserver* observer_;
  RunControl& control_;
  const std::shared_ptr<MadeCgroups> cgroups_ = std::make_shared<MadeCgroups>();
  bool triggered_ = false;
  bool stuck_ = false;
};

Result<RunResult> Campaign::run_once(std::vector<PlannedJob> plan) {
  auto runner = Runner::create(options_, std::move(plan), cgroups_);
  if (!runner) return std::move(runner).error();
  RunResult result = (*runner)->run(observer_, control_);
  triggered_ |= result.trigger_fired;
  // A thread that does not end still uses the runner's memory.
  if ((*runner)->stuck()) {
    stuck_ = true;
    (void)(*runner).release();
  }
  return result;
}

/// `fps`: 0 means as fast as possible.
Result<RunResult> Campaign::run_trial(std::vector<PlannedJob> plan, const std::string& name,
                                      double fps) {
  const auto rate = static_cast<std::uint64_t>(std::max(1LL, std::llround(fps)));
  for (PlannedJob& each : plan) {
    if (each.options.name == name) each.options.rate_fps.tx = fps > 0 ? rate : 0;
  }
  if (observer_ != nullptr) {
    observer_->on_run("search of " + name + ", trial " +
                      (fps > 0 ? "at " + std::to_string(rate) + "/s" : "at full speed"));
  }
  return run_once(std::move(plan));
}

/// Result: the search, and the run of its best trial, or of its first trial if no trial passed.
/// That run also has the messages of the other trials: failures, lost outputs, and each kind of
/// warning once. Errors: why the first trial could not be set up. If a later trial cannot be set
/// up, the search fails and keeps what it has found so far.
Result<std::pair<SearchResult, RunResult>> Campaign::search(std::size_t job) {
  const JobOptions& o = plan_[job].options;
  const std::vector<PlannedJob> plan = trial_plan(plan_, job);
  double max = static_cast<double>(o.search_max_fps);
  std::optional<RunResult> best;
  ShownTrial shown;  // describes `best`
  std::size_t trials = 0;
  // runtime limits all trials together, but the first one is always made.
  const std::uint64_t begin = now_ns();
  const std::uint64_t bound = ns(o.runtime);
  bool out_of_runtime = false;
  if (max == 0) {
    auto flat_out = run_trial(plan, o.name, 0);
    if (!flat_out) return std::move(flat_out).error();
    max = figures_of_trial(*flat_out, o, 0).achieved_fps;
    ++trials;
    best = *std::move(flat_out);
  }
  RateSearch rates(rate_search_options(o, max));
  double best_fps = -1;
  // If the trial at full speed fails, the search fails, too.
  const bool failed = best && !best->failures.empty();
  while (const auto fps = failed ? std::nullopt : rates.next_fps()) {
    if (over()) break;
    out_of_runtime = trials != 0 && bound != 0 && now_ns() - begin >= bound;
    if (out_of_runtime) break;
    auto trial = run_trial(plan, o.name, *fps);
    if (!trial && !best) return std::move(trial).error();
    if (!trial) {
      best->failures.push_back("job \"" + o.name +
                               "\": its search ended early, because a trial could not be set up: " +
                               trial.error().message);
      break;
    }
    ++trials;
    const bool broken = !trial->failures.empty();
    const bool whole = !is_cut_off(*trial);
    if (whole) rates.note(figures_of_trial(*trial, o, *fps));
    const SearchResult so_far = rates.result();
    const bool passed = whole && so_far.trials.back().passed;
    if (!best || broken || (passed && *fps > best_fps)) {
      if (passed) best_fps = *fps;
      if (best) keep_messages(*trial, *std::move(best));
      best = *std::move(trial);
      shown.offered_fps = fps;
      shown.number = whole ? std::optional(so_far.trials.size()) : std::nullopt;
    } else {
      keep_messages(*best, *std::move(trial));
    }
    if (broken) break;  // if the run fails, the search fails
  }
  if (!best) return Error(Errc::bad_argument, "the search of job \"" + o.name + "\" made no trial");
  SearchResult found = rates.result();
  found.shown = shown;
  if (!found.found_fps && out_of_runtime) found.why_none = out_of_time(o, trials);
  return std::pair{std::move(found), *std::move(best)};
}

/// Runs the searches in the order of their jobs.
Result<RunResult> Campaign::run_searches() {
  RunResult all;
  all.began = std::chrono::system_clock::now();
  for (std::size_t i = 0; i < plan_.size() && !over(); ++i) {
    if (plan_[i].options.search == Search::none || !plan_[i].peer_of.empty()) continue;
    const std::string job = "job \"" + plan_[i].options.name + "\": ";
    auto found = search(i);
    if (!found && all.searches.empty()) return std::move(found).error();
    if (!found) {
      all.failures.push_back(job + "its search could not be set up: " + found.error().message);
      continue;
    }
    if (!found->first.found_fps && !over()) {
      all.failures.push_back(job + "the search found no rate: " + found->first.why_none);
    }
    all.searches.push_back(std::move(found->first));
    append(all, std::move(found->second));
  }
  all.ended = std::chrono::system_clock::now();
  return all;
}

Result<RunResult> Campaign::run() {
  const bool searches = std::ranges::any_of(
      plan_, [](const PlannedJob& job) { return job.options.search != Search::none; });
  const std::uint32_t times = std::max<std::uint32_t>(options_.repeat, 1);
  std::vector<RunResult> runs;
  std::optional<RunResult> cut_off;
  std::string failure;
  for (std::uint32_t i = 0; i < times && (i == 0 || !over()); ++i) {
    const std::string name = "run " + std::to_string(i + 1) + " of " + std::to_string(times);
    if (observer_ != nullptr && times > 1) observer_->on_run(name);
    auto run = searches ? run_searches() : run_once(plan_);
    if (!run && runs.empty()) return std::move(run).error();
    if (!run) {
      failure = name + " could not be set up: " + run.error().message;
      break;
    }
    if (!is_cut_off(*run) || runs.empty()) {
      runs.push_back(*std::move(run));
    } else {
      cut_off = *std::move(run);
    }
  }
  RunResult result =
      runs.size() == 1 ? std::move(runs.front()) : all_of_repetitions(std::move(runs));
  if (cut_off) {
    result.ended = cut_off->ended;
    keep_messages(result, *std::move(cut_off));
  }
  if (!failure.empty()) result.failures.push_back(std::move(failure));
  return result;
}

}  // namespace

std::optional<SearchTime> search_time(const RunOptions& options,
                                      const std::vector<PlannedJob>& plan) {
  // At least: one trial at full speed, one on each side of the rate that the link then carried, and
  // one more. At most: the search halves a thousandfold range, and repeats a few trials.
  constexpr double kMinTrials = 4;
  constexpr double kMaxTrials = 16;
  SearchTime time;
  for (const PlannedJob& job : plan) {
    const JobOptions& o = job.options;
    if (o.search == Search::none || !job.peer_of.empty()) continue;
    using Seconds = std::chrono::duration<double>;
    const double trial = Seconds(o.ramp_time + o.search_trial + o.drain_time).count();
    const double bound = o.runtime.count() > 0 ? Seconds(o.runtime).count() + trial : HUGE_VAL;
    ++time.searches;
    time.bounded = time.bounded && bound <= kMaxTrials * trial;
    time.trial_seconds = std::max(time.trial_seconds, trial);
    time.min_seconds += std::min(kMinTrials * trial, bound);
    time.max_seconds += std::min(kMaxTrials * trial, bound);
  }
  if (time.searches == 0) return std::nullopt;
  const double times = std::max<double>(options.repeat, 1);
  time.min_seconds *= times;
  time.max_seconds *= times;
  return time;
}

Result<RunResult> run_campaign(const RunOptions& options, const std::vector<PlannedJob>& plan,
                               RunObserver* observer, RunControl& control, bool& stuck) {
  Campaign campaign(options, plan, observer, control);
  auto run = campaign.run();
  stuck = campaign.stuck();
  if (!run) return run;
  RunResult result = *std::move(run);
  std::vector<CpuShare> window = std::move(result.machine.window);
  result.machine = describe_machine();
  result.machine.window = std::move(window);
  for (const auto& [name, value] : options.given) result.options[name] = value;
  if (!campaign.over()) add_limits(plan, result);
  const bool all_well = result.failures.empty() && result.lost_outputs.empty();
  // The signal may have come between two runs.
  if (const int signal = control.signal.load(); signal != 0) result.stopped_by_signal = signal;
  result.exit_code = result.stopped_by_signal ? 128 + *result.stopped_by_signal : all_well ? 0 : 1;
  return result;
}

// The highest rate of the harness itself on this machine.

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
