#include "perf/run/campaign.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "perf/run/harness_limit.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/run/search.hpp"
#include "perf/stats/confidence.hpp"
#include "perf/stats/machine.hpp"

namespace shmif::perf {
namespace {

bool stopped(const RunControl& control) {
  return control.stops.load() != 0;
}

Result<RunResult> run_once(const RunOptions& options, std::vector<PlannedJob> plan,
                           RunObserver* observer, RunControl& control, bool& stuck) {
  auto runner = Runner::create(options, std::move(plan));
  if (!runner) return std::move(runner).error();
  RunResult result = (*runner)->run(observer, control);
  stuck |= (*runner)->stuck();
  // A thread that does not end still uses what the runner owns.
  if ((*runner)->stuck()) (void)(*runner).release();
  return result;
}

// ---- Searches ----

/// The jobs that a trial of `job` needs: itself, whom it sends to, and background jobs; waiting for
/// nobody.
std::vector<PlannedJob> trial_plan(const std::vector<PlannedJob>& plan, std::size_t job) {
  std::set<std::size_t> wanted{job};
  if (plan[job].to != kNoJob) wanted.insert(plan[job].to);
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (!plan[i].options.background) continue;
    wanted.insert(i);
    if (plan[i].to != kNoJob) wanted.insert(plan[i].to);
  }
  std::map<std::size_t, std::size_t> place;
  std::vector<PlannedJob> chosen;
  for (const std::size_t i : wanted) {
    place[i] = chosen.size();
    chosen.push_back(plan[i]);
    chosen.back().waits_for.clear();
  }
  for (PlannedJob& each : chosen) {
    if (each.to != kNoJob) each.to = place.at(each.to);
  }
  // First the one that searches, for whoever looks at the results.
  return chosen;
}

struct Trial {
  TrialResult figures;
  RunResult run;
};

Result<Trial> make_trial(const RunOptions& options, const std::vector<PlannedJob>& plan,
                         std::size_t job, double fps, RunObserver* observer, RunControl& control,
                         bool& stuck) {
  std::vector<PlannedJob> chosen = trial_plan(plan, job);
  const std::string& name = plan[job].options.name;
  for (PlannedJob& each : chosen) {
    JobOptions& o = each.options;
    if (o.name != name) continue;
    o.rate_bps.tx = 0;
    o.rate_fps.tx = fps > 0 ? static_cast<std::uint64_t>(std::max(1LL, std::llround(fps))) : 0;
    o.runtime = o.search_trial;
    o.time_based = true;
    o.number_ios = o.size_bytes = o.io_limit_bytes = 0;
  }
  if (observer != nullptr) {
    const bool flat_out = fps == 0;
    observer->on_run("search of " + name + ", trial " +
                     (flat_out ? "flat out" : "at " + std::to_string(std::llround(fps)) + "/s"));
  }
  auto run = run_once(options, std::move(chosen), observer, control, stuck);
  if (!run) return std::move(run).error();
  Trial trial;
  trial.figures.job = name;
  trial.figures.offered_fps = fps;
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  std::shared_ptr<LatencyHistogram> latency = std::make_shared<LatencyHistogram>();
  for (const JobResult& result : run->jobs) {
    if (result.name == name && result.tx.seconds > 0) {
      trial.figures.achieved_fps = static_cast<double>(result.tx.frames) / result.tx.seconds;
      if (!result.spacing_error->empty()) {
        trial.figures.sender_late_ns = static_cast<double>(result.spacing_error->max());
      }
    }
    for (const FlowResult& flow : result.flows) {
      if (flow.from != name && result.name != name) continue;
      sent += flow.sent;
      lost += flow.sent - std::min(flow.sent, flow.received);
      latency->merge(*result.latency);
    }
  }
  if (sent != 0) trial.figures.loss_share = static_cast<double>(lost) / static_cast<double>(sent);
  trial.figures.latency_percentile_ns =
      percentile_of_sent(*latency, lost, plan[job].options.latency_percentile);
  trial.run = *std::move(run);
  return trial;
}

/// Result: the search, and the run of its best trial, or of its last where none passed.
Result<std::pair<SearchResult, RunResult>> search(const RunOptions& options,
                                                  const std::vector<PlannedJob>& plan,
                                                  std::size_t job, RunObserver* observer,
                                                  RunControl& control, bool& stuck) {
  const JobOptions& o = plan[job].options;
  double most = static_cast<double>(o.search_max_fps);
  std::optional<RunResult> best;
  if (most == 0) {
    auto flat_out = make_trial(options, plan, job, 0, observer, control, stuck);
    if (!flat_out) return std::move(flat_out).error();
    most = flat_out->figures.achieved_fps;
    best = std::move(flat_out->run);
  }
  RateSearch rates(rate_search_options(o, most));
  double best_fps = -1;
  const std::uint64_t begin = now_ns();
  const auto bound = static_cast<std::uint64_t>(o.runtime.count());
  while (const auto fps = rates.next_fps()) {
    if (stopped(control) || (bound != 0 && now_ns() - begin >= bound)) break;
    auto trial = make_trial(options, plan, job, *fps, observer, control, stuck);
    if (!trial) return std::move(trial).error();
    const bool broken = !trial->run.failures.empty();
    rates.note(trial->figures);
    const SearchResult so_far = rates.result();
    const bool passed = !so_far.trials.empty() && so_far.trials.back().passed;
    if (!best || broken || (passed && *fps > best_fps)) {
      if (passed) best_fps = *fps;
      best = std::move(trial->run);
    }
    if (broken) break;  // what fails a run fails the search
  }
  if (!best) return Error(Errc::bad_argument, "the search of job \"" + o.name + "\" made no trial");
  return std::pair{rates.result(), *std::move(best)};
}

/// Appends a run's results to those of the whole.
void append(RunResult& all, RunResult&& one) {
  std::ranges::move(one.jobs, std::back_inserter(all.jobs));
  std::ranges::move(one.groups, std::back_inserter(all.groups));
  std::ranges::move(one.links, std::back_inserter(all.links));
  std::ranges::move(one.failures, std::back_inserter(all.failures));
  std::ranges::move(one.warnings, std::back_inserter(all.warnings));
  std::ranges::move(one.lost_outputs, std::back_inserter(all.lost_outputs));
  all.machine.window = std::move(one.machine.window);
  if (one.stopped_by_signal) all.stopped_by_signal = one.stopped_by_signal;
  if (one.steady_state) all.steady_state = one.steady_state;
  all.ended = one.ended;
}

/// Each search in the order of its job; the jobs without one only where none searches.
Result<RunResult> run_searches(const RunOptions& options, const std::vector<PlannedJob>& plan,
                               RunObserver* observer, RunControl& control, bool& stuck) {
  RunResult all;
  all.began = std::chrono::system_clock::now();
  for (std::size_t i = 0; i < plan.size() && !stopped(control); ++i) {
    if (plan[i].options.search == Search::none || !plan[i].peer_of.empty()) continue;
    auto found = search(options, plan, i, observer, control, stuck);
    if (!found) return std::move(found).error();
    if (!found->first.found_fps && !stopped(control)) {
      all.failures.push_back("job \"" + plan[i].options.name +
                             "\": the search found no rate: " + found->first.why_none);
    }
    all.searches.push_back(std::move(found->first));
    append(all, std::move(found->second));
  }
  return all;
}

// ---- Repetitions ----

/// By the names that comparisons know them by (perf/report/compare.cpp).
std::map<std::pair<std::string, std::string>, double> figures_of(const RunResult& run) {
  std::map<std::pair<std::string, std::string>, double> figures;
  for (const JobResult& job : run.jobs) {
    const auto rate = [&](const char* name, const TrafficResult& traffic) {
      if (traffic.seconds > 0 && traffic.frames > 0) {
        figures[{job.name, name}] = static_cast<double>(traffic.frames) / traffic.seconds;
      }
    };
    rate("tx_fps", job.tx);
    rate("rx_fps", job.rx);
    for (const FlowResult& flow : job.flows) {
      if (flow.sent == 0) continue;
      figures[{job.name, "loss_share"}] =
          static_cast<double>(flow.lost) / static_cast<double>(flow.sent);
    }
    if (!job.latency->empty()) {
      figures[{job.name, "latency_ns_mean"}] = job.latency->mean();
      figures[{job.name, "latency_ns_p50"}] = static_cast<double>(job.latency->percentile(50));
      figures[{job.name, "latency_ns_p99"}] = static_cast<double>(job.latency->percentile(99));
    }
  }
  for (const SearchResult& search : run.searches) {
    if (search.found_fps) figures[{search.job, "found_fps"}] = *search.found_fps;
  }
  return figures;
}

/// Frames received by all, a second: what repetitions are ordered by.
double main_figure(const RunResult& run) {
  double sum = 0;
  for (const JobResult& job : run.jobs) {
    const TrafficResult& traffic = job.rx.frames != 0 ? job.rx : job.tx;
    if (traffic.seconds > 0) sum += static_cast<double>(traffic.frames) / traffic.seconds;
  }
  return sum;
}

RunResult median_of(std::vector<RunResult> runs) {
  std::map<std::pair<std::string, std::string>, std::vector<double>> values;
  for (const RunResult& run : runs) {
    for (const auto& [figure, value] : figures_of(run)) values[figure].push_back(value);
  }
  std::vector<RepeatFigure> repeats;
  for (auto& [figure, series] : values) {
    const auto spread = estimate(series);
    repeats.push_back(
        {figure.first, figure.second, series, spread->median, spread->least, spread->most});
  }
  std::ranges::sort(runs, {}, main_figure);
  RunResult result = std::move(runs[runs.size() / 2]);
  result.repeats = std::move(repeats);
  // One that failed fails them all.
  for (RunResult& run : runs) {
    std::ranges::move(run.failures, std::back_inserter(result.failures));
    std::ranges::move(run.lost_outputs, std::back_inserter(result.lost_outputs));
  }
  return result;
}

}  // namespace

Result<RunResult> run_campaign(const RunOptions& options, const std::vector<PlannedJob>& plan,
                               RunObserver* observer, RunControl& control, bool& stuck) {
  const bool searches = std::ranges::any_of(
      plan, [](const PlannedJob& job) { return job.options.search != Search::none; });
  std::vector<RunResult> runs;
  const std::uint32_t times = std::max<std::uint32_t>(options.repeat, 1);
  for (std::uint32_t i = 0; i < times && (i == 0 || !stopped(control)); ++i) {
    if (observer != nullptr && times > 1) {
      observer->on_run("run " + std::to_string(i + 1) + " of " + std::to_string(times));
    }
    auto run = searches ? run_searches(options, plan, observer, control, stuck)
                        : run_once(options, plan, observer, control, stuck);
    if (!run) return std::move(run).error();
    runs.push_back(*std::move(run));
    if (stuck) break;
  }
  RunResult result = runs.size() == 1 ? std::move(runs.front()) : median_of(std::move(runs));
  std::vector<CpuShare> window = std::move(result.machine.window);
  result.machine = describe_machine();
  result.machine.window = std::move(window);
  for (const auto& [name, value] : options.given) result.options[name] = value;
  if (!stuck && !stopped(control)) add_limits(plan, result);
  const bool all_well = result.failures.empty() && result.lost_outputs.empty();
  // It may have come between two runs.
  if (const int signal = control.signal.load(); signal != 0) result.stopped_by_signal = signal;
  result.exit_code = result.stopped_by_signal ? 128 + *result.stopped_by_signal : all_well ? 0 : 1;
  return result;
}

}  // namespace shmif::perf
