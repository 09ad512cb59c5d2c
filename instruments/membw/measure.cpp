#include "instruments/membw/measure.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

using Woken = MembwHooks::Woken;
using std::chrono::nanoseconds;

/// What one source has done so far.
struct Run {
  MemorySource* source;
  bool open = false;
  std::string failure{};  ///< why open() failed
  std::string origin{};
  std::optional<MemoryRates> background{};
};

class Measurement {
 public:
  Measurement(const std::vector<std::unique_ptr<MemorySource>>& sources,
              const std::vector<pid_t>& processes, const MembwOptions& options,
              const MembwHooks& hooks)
      : processes_(processes), options_(options), hooks_(hooks) {
    for (const auto& source : sources) runs_.push_back({source.get()});
  }

  MembwResult go() {
    run();
    close();
    if (hooks_.end) keep(hooks_.end());
    summarize();
    return std::move(result_);
  }

 private:
  /// Keeps the first error. Result: whether `done` succeeded.
  bool keep(const Result<void>& done) {
    if (!done && !result_.error) result_.error = done.error();
    return done.has_value();
  }

  void run() {
    if (hooks_.init && !keep(hooks_.init())) return;
    for (Run& run : runs_) {
      const auto opened = run.source->open(processes_);
      run.open = opened.has_value();
      if (!opened) run.failure = opened.error().message;
      run.origin = run.source->origin();
      debug(Debug::membw, [&] {
        return "source " + run.source->name() +
               (run.open ? " is open: " + run.origin : " cannot be used: " + run.failure);
      });
    }
    // If the program cannot begin, no window is opened.
    if (hooks_.begin && !keep(hooks_.begin())) return;
    if (options_.background && !measure_background()) return;
    if (!slept(options_.settle)) return;
    for (std::size_t number = 0; measure(number); ++number) {  // until measure() says no
      if (is_last(number)) return;
    }
  }

  /// Sleeps. Result: whether there is more to measure.
  bool slept(nanoseconds time) { return was_whole(hooks_.sleep(time)); }
  bool was_whole(Woken woken) {
    if (woken == Woken::stopped) result_.partial = true;
    return woken == Woken::time_is_up;
  }

  /// Opens a window of all sources, and closes it when `wait` returns. Result: what `wait`
  /// returned, false if it ended before its time was up.
  template <class Wait>
  bool window(std::vector<MemoryReading>& readings, const Wait& wait) {
    std::vector<Result<void>> done;
    done.reserve(runs_.size());
    for (const Run& run : runs_) done.push_back(run.open ? run.source->enable() : Result<void>());
    const bool whole = wait();
    for (std::size_t at = runs_.size(); at-- > 0;) {
      if (!runs_[at].open) continue;
      auto disabled = runs_[at].source->disable();
      if (done[at]) done[at] = std::move(disabled);
    }
    for (std::size_t at = 0; at < runs_.size(); ++at) {
      MemoryReading reading;
      if (runs_[at].open) reading = runs_[at].source->read();
      const std::string failure = !runs_[at].open ? runs_[at].failure
                                  : done[at]      ? std::string()
                                                  : done[at].error().message;
      if (!failure.empty()) static_cast<MemoryRates&>(reading) = MemoryRates::not_measured(failure);
      readings.push_back(std::move(reading));
    }
    return whole;
  }

  bool measure_background() {
    if (!hooks_.pause || !hooks_.pause()) return true;
    std::vector<MemoryReading> readings;
    const bool whole = window(readings, [&] { return slept(options_.window); });
    if (hooks_.resume) hooks_.resume();
    for (std::size_t at = 0; whole && at < runs_.size(); ++at) {
      if (runs_[at].open && runs_[at].source->scope() != MemoryScope::group) {
        runs_[at].background = readings[at];
      }
    }
    return whole;
  }

  /// How many samples a step has, with the one that is dropped; 0 if it does not end.
  std::size_t in_step() const {
    if (options_.once) return 1;
    return options_.samples == 0 ? 0 : options_.samples + 1;
  }
  bool is_last(std::size_t number) const {
    return in_step() != 0 && number + 1 == in_step() * std::max<std::size_t>(options_.steps, 1);
  }

  bool measure(std::size_t number) {
    if (hooks_.set_up) {
      const auto more = hooks_.set_up(number);
      if (!more) keep(more.error());
      if (!more || !*more) return false;
    }
    MembwSample sample;
    sample.number = number;
    sample.step = in_step() == 0 ? 0 : number / in_step();
    // If the program ended during the window, the window does not count as a sample.
    const bool whole = window(sample.readings, [&] {
      return options_.once ? was_whole(hooks_.round()) : slept(options_.window);
    });
    if (!whole) return false;
    if (hooks_.measured && !keep(hooks_.measured(sample))) return false;
    debug(Debug::membw, [&] { return told(sample); });
    const bool first = in_step() == 0 ? number == 0 : number % in_step() == 0;
    if (!first || options_.once) result_.samples.push_back(std::move(sample));
    return is_last(number) || options_.interval <= options_.window ||
           slept(options_.interval - options_.window);
  }

  /// The debug line of a sample.
  std::string told(const MembwSample& sample) const {
    std::string text = "sample " + std::to_string(sample.number);
    for (std::size_t at = 0; at < runs_.size(); ++at) {
      if (!runs_[at].open) continue;
      const MemoryReading& reading = sample.readings[at];
      text += "; " + runs_[at].origin + ": ";
      text += reading.total ? std::to_string(std::llround(*reading.total)) + " bytes/s"
                            : "unknown (" + reading.reason + ')';
    }
    return text;
  }

  void close() {
    Result<void> first;
    for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
      if (!run->open) continue;
      const auto closed = run->source->close();
      if (!closed && first) first = closed;
    }
    keep(first);
  }

  void summarize() {
    const std::size_t planned = options_.steps * options_.samples;
    if (result_.error || result_.samples.size() < planned) result_.partial = true;
    result_.processes = processes_;
    result_.sources = summaries_of({});
    for (std::size_t step = 0; step < options_.steps; ++step) {
      result_.steps.push_back(summaries_of(step));
    }
  }

  /// The summaries of all samples, or of the samples of one step.
  std::vector<MemorySummary> summaries_of(std::optional<std::size_t> step) const {
    std::vector<MemorySummary> all;
    for (std::size_t at = 0; at < runs_.size(); ++at) {
      std::vector<const MemoryReading*> readings;
      readings.reserve(result_.samples.size());
      for (const MembwSample& sample : result_.samples) {
        if (sample.step == step.value_or(sample.step)) readings.push_back(&sample.readings[at]);
      }
      all.push_back(summary_of(runs_[at], readings));
    }
    return all;
  }

  static MemorySummary summary_of(const Run& run,
                                  const std::vector<const MemoryReading*>& readings) {
    const MemorySource& source = *run.source;
    MemorySummary summary;
    summary.source = source.name();
    summary.part = source.part();
    summary.origin = run.origin.empty() ? source.origin() : run.origin;
    summary.scope = source.scope();
    summary.level = source.level();
    summary.background = run.background;
    summary.rates = mean_of(readings);
    if (run.open) {
      summary.samples = readings.size();
      for (const MemoryReading* each : readings) {
        summary.window_s += each->window_s();
        summary.running_share = std::min(summary.running_share, each->running_share);
      }
    }
    if (!run.failure.empty()) summary.rates.reason = run.failure;
    return summary;
  }

  const std::vector<pid_t>& processes_;
  const MembwOptions& options_;
  const MembwHooks& hooks_;
  std::vector<Run> runs_;
  MembwResult result_;
};

/// The mean of one rate, weighted by the windows; empty if no reading has it.
std::optional<double> mean_of(const std::vector<const MemoryReading*>& readings,
                              std::optional<double> MemoryRates::* rate) {
  double bytes = 0, seconds = 0;
  for (const MemoryReading* each : readings) {
    if (!(each->*rate)) continue;
    bytes += *(each->*rate) * each->window_s();
    seconds += each->window_s();
  }
  return seconds > 0 ? std::optional<double>(bytes / seconds) : std::nullopt;
}

}  // namespace

MemoryRates mean_of(const std::vector<const MemoryReading*>& readings) {
  if (readings.empty()) {
    return MemoryRates::not_measured(
        "nothing was measured: there was no whole window behind the first, which is dropped (use "
        "a shorter --window and --settle, or watch for longer)");
  }
  MemoryRates rates;
  for (const auto rate :
       {&MemoryRates::reads, &MemoryRates::writes, &MemoryRates::total, &MemoryRates::local}) {
    rates.*rate = mean_of(readings, rate);
  }
  std::size_t missing = 0;
  std::string why;  // of the first that is missing
  for (const MemoryReading* each : readings) {
    if (rates.reason.empty()) rates.reason = each->reason;
    if (!each->total && missing++ == 0) why = each->reason;
  }
  if (missing > 0 && missing < readings.size()) {
    rates.reason = std::to_string(missing) + " of " + std::to_string(readings.size()) +
                   " samples have no total: " + why;
  }
  return rates;
}

std::vector<MemoryComparison> compare_sample(const MembwResult& result, const MembwSample& sample,
                                             MemoryReport report, const CompareLimits& limits) {
  std::vector<MemorySummary> sources = result.sources;
  for (std::size_t at = 0; at < sources.size(); ++at) sources[at].rates = sample.readings[at];
  auto pairs = compare_all(sources, report, limits);
  std::erase_if(pairs, [](const MemoryComparison& each) {
    return each.verdict == MemoryVerdict::not_comparable;
  });
  return pairs;
}

std::vector<std::vector<MemoryComparison>> compare_steps(const MembwResult& result,
                                                         MemoryReport report,
                                                         const CompareLimits& limits) {
  std::vector<std::vector<MemoryComparison>> steps;
  steps.reserve(result.steps.size());
  for (const auto& sources : result.steps) steps.push_back(compare_all(sources, report, limits));
  return steps;
}

MembwResult measure_memory(const std::vector<std::unique_ptr<MemorySource>>& sources,
                           const std::vector<pid_t>& processes, const MembwOptions& options,
                           const MembwHooks& hooks) {
  return Measurement(sources, processes, options, hooks).go();
}

}  // namespace shmif::perf
