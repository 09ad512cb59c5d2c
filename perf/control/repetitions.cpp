#include "perf/control/repetitions.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "perf/stats/confidence.hpp"

namespace shmif::perf {
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

}  // namespace shmif::perf
