#include "instruments/membw/measure.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "instruments/membw/pmu_source.hpp"
#include "instruments/membw/resctrl.hpp"
#include "instruments/membw/software_source.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// "12.3 MB/s"
std::string rate_text(double bytes_per_s) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.4g MB/s", bytes_per_s / 1e6);
  return text.data();
}

/// The part of a source's value that belongs to the watched processes alone.
struct Share {
  double rate = 0;
  std::string refusal;
};

Share share_of(const MemorySummary& source, double rate, MemoryReport report,
               const CompareLimits& limits) {
  const std::string label = source.label();
  const std::optional<double> background =
      source.background ? source.background->of(report) : std::nullopt;
  if (!background) {
    return {0, label + " counts the whole " + word_of(source.scope) +
                   ", and its background was not measured"};
  }
  if (*background > limits.background * rate) {
    return {0, label + " counted a background of " + rate_text(*background) +
                   ", which is too much beside " + rate_text(rate)};
  }
  return {rate - *background, {}};
}

std::string why_not_comparable(const MemorySummary& first, const MemorySummary& second) {
  if (first.level != second.level) {
    const bool first_copies = first.level == MemoryLevel::copied;
    return (first_copies ? first : second).label() + " counts copied bytes, and " +
           (first_copies ? second : first).label() + " counts bytes of the memory itself";
  }
  if (first.level == MemoryLevel::copied) return "they count different copies";
  const bool both_wide = first.scope != MemoryScope::group && second.scope != MemoryScope::group;
  if (first.scope == second.scope || !both_wide) return {};
  return "one counts a socket, and the other the machine";
}

}  // namespace

const char* word_of(MemoryVerdict verdict) noexcept {
  switch (verdict) {
    case MemoryVerdict::same: return "same";
    case MemoryVerdict::different: return "different";
    case MemoryVerdict::refused: return "refused";
    case MemoryVerdict::not_comparable: return "not_comparable";
    case MemoryVerdict::not_measured: return "not_measured";
  }
  return "";
}

MemoryComparison compare_memory(const MemorySummary& first, const MemorySummary& second,
                                MemoryReport report, const CompareLimits& limits) {
  MemoryComparison result;
  result.first = first.label();
  result.second = second.label();
  const auto end = [&](MemoryVerdict verdict, std::string reason) {
    result.verdict = verdict;
    result.reason = std::move(reason);
    return result;
  };
  if (auto reason = why_not_comparable(first, second); !reason.empty()) {
    return end(MemoryVerdict::not_comparable, std::move(reason));
  }
  for (const MemorySummary* each : {&first, &second}) {
    const auto& rate = each->rates.of(report);
    if (!rate || !std::isfinite(*rate)) {
      return end(MemoryVerdict::not_measured,
                 each->label() + " has no " + word_of(report) + ": " + each->rates.reason);
    }
  }
  double one = *first.rates.of(report);
  double other = *second.rates.of(report);
  if (first.scope != second.scope) {
    const bool first_is_wide = first.scope != MemoryScope::group;
    double& wide = first_is_wide ? one : other;
    const Share share = share_of(first_is_wide ? first : second, wide, report, limits);
    if (!share.refusal.empty()) return end(MemoryVerdict::refused, share.refusal);
    wide = share.rate;
  }
  result.first_bytes_per_s = one;
  result.second_bytes_per_s = other;
  const double larger = std::max(one, other);
  result.difference_bytes_per_s = std::abs(one - other);
  result.difference_share = larger > 0 ? std::abs(one - other) / larger : 0;
  if (std::min(one, other) < limits.floor_bytes_per_s) {
    return end(MemoryVerdict::refused,
               "below " + rate_text(limits.floor_bytes_per_s) + ", other traffic weighs too much");
  }
  const bool same = *result.difference_share <= limits.tolerance;
  return end(same ? MemoryVerdict::same : MemoryVerdict::different, {});
}

std::vector<MemoryComparison> compare_all(const std::vector<MemorySummary>& sources,
                                          MemoryReport report, const CompareLimits& limits) {
  std::vector<MemoryComparison> all;
  for (std::size_t first = 0; first < sources.size(); ++first) {
    for (std::size_t second = first + 1; second < sources.size(); ++second) {
      all.push_back(compare_memory(sources[first], sources[second], report, limits));
    }
  }
  return all;
}

MemoryVerdict MemoryTally::verdict() const noexcept {
  if (different > 0) return MemoryVerdict::different;
  if (not_measured > 0) return MemoryVerdict::not_measured;
  return same > 0 ? MemoryVerdict::same : MemoryVerdict::refused;
}

std::vector<MemoryTally> tally(const std::vector<std::vector<MemoryComparison>>& steps) {
  std::vector<MemoryTally> tallies;
  if (steps.empty()) return tallies;
  for (std::size_t pair = 0; pair < steps.front().size(); ++pair) {
    const MemoryComparison& first = steps.front()[pair];
    if (first.verdict == MemoryVerdict::not_comparable) continue;
    MemoryTally sum{first.first, first.second};
    for (const auto& step : steps) {
      switch (step[pair].verdict) {
        case MemoryVerdict::same: ++sum.same; break;
        case MemoryVerdict::different: ++sum.different; break;
        case MemoryVerdict::refused: ++sum.refused; break;
        case MemoryVerdict::not_measured:
        case MemoryVerdict::not_comparable: ++sum.not_measured; break;
      }
    }
    tallies.push_back(std::move(sum));
  }
  return tallies;
}

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

namespace {

using Json = nlohmann::ordered_json;

Json number_or_null(const std::optional<double>& number) {
  Json value(nullptr);
  if (number) value = *number;
  return value;
}
Json word_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json json_of_source(const MemorySummary& each, MemoryReport report) {
  return {{"source", each.source},
          {"part", word_or_null(each.part)},
          {"origin", each.origin},
          {"scope", word_of(each.scope)},
          {"level", word_of(each.level)},
          {"samples", each.samples},
          {"window_s", each.samples > 0 ? Json(each.window_s) : Json(nullptr)},
          {"read_bytes_per_s", number_or_null(each.rates.reads)},
          {"write_bytes_per_s", number_or_null(each.rates.writes)},
          {"total_bytes_per_s", number_or_null(each.rates.total)},
          {"local_bytes_per_s", number_or_null(each.rates.local)},
          {"background_bytes_per_s",
           each.background ? number_or_null(each.background->of(report)) : Json(nullptr)},
          {"scaled", each.samples > 0 ? Json(each.running_share < 1) : Json(nullptr)},
          {"running_share", each.samples > 0 ? Json(each.running_share) : Json(nullptr)},
          {"reason", word_or_null(each.rates.reason)}};
}

Json json_of_comparison(const MemoryComparison& each) {
  return {{"first", each.first},
          {"second", each.second},
          {"first_bytes_per_s", number_or_null(each.first_bytes_per_s)},
          {"second_bytes_per_s", number_or_null(each.second_bytes_per_s)},
          {"difference_bytes_per_s", number_or_null(each.difference_bytes_per_s)},
          {"difference_share", number_or_null(each.difference_share)},
          {"verdict", word_of(each.verdict)},
          {"reason", word_or_null(each.reason)}};
}
Json json_of_comparisons(const std::vector<MemoryComparison>& all) {
  Json list = Json::array();
  for (const MemoryComparison& each : all) list.push_back(json_of_comparison(each));
  return list;
}

Json json_of_sample(const MembwSample& sample, const MembwResult& result, MemoryReport report,
                    const MembwExtras& extras) {
  Json readings = Json::array();
  auto source = result.sources.begin();
  for (const MemoryReading& each : sample.readings) {
    readings.push_back({{"source", (source++)->label()},
                        {"begin_ns", each.begin_ns},
                        {"window_s", each.window_s()},
                        {"read_bytes_per_s", number_or_null(each.reads)},
                        {"write_bytes_per_s", number_or_null(each.writes)},
                        {"total_bytes_per_s", number_or_null(each.total)},
                        {"reason", word_or_null(each.reason)}});
  }
  Json json{{"number", sample.number}, {"step", sample.step}, {"pids", result.processes}};
  if (sample.step < extras.allocations.size()) {
    json["allocation"] = extras.allocations[sample.step];
  }
  json["readings"] = std::move(readings);
  if (extras.pairs) {
    json["pairs"] = json_of_comparisons(compare_sample(result, sample, report, *extras.pairs));
  }
  return json;
}

/// The steps of a sweep, and the verdicts over all of them.
Json json_of_sweep(const MembwResult& result, MemoryReport report, const MembwExtras& extras) {
  const auto compared = compare_steps(result, report, extras.pairs.value_or(CompareLimits{}));
  Json steps = Json::array();
  for (std::size_t at = 0; at < result.steps.size(); ++at) {
    Json sources = Json::array();
    for (const MemorySummary& each : result.steps[at]) {
      sources.push_back({{"source", each.label()},
                         {"samples", each.samples},
                         {"read_bytes_per_s", number_or_null(each.rates.reads)},
                         {"write_bytes_per_s", number_or_null(each.rates.writes)},
                         {"total_bytes_per_s", number_or_null(each.rates.total)},
                         {"reason", word_or_null(each.rates.reason)}});
    }
    steps.push_back({{"allocation", extras.allocations.at(at)},
                     {"sources", std::move(sources)},
                     {"comparisons", json_of_comparisons(compared[at])}});
  }
  Json verdicts = Json::array();
  for (const MemoryTally& each : tally(compared)) {
    verdicts.push_back({{"first", each.first},
                        {"second", each.second},
                        {"verdict", word_of(each.verdict())},
                        {"same", each.same},
                        {"different", each.different},
                        {"refused", each.refused},
                        {"not_measured", each.not_measured}});
  }
  return {{"steps", std::move(steps)}, {"verdicts", std::move(verdicts)}};
}

}  // namespace

Json membw_value(const MembwResult& result, MemoryReport report,
                 const std::vector<MemoryComparison>& comparisons, const MembwExtras& extras) {
  Json whole;
  whole["report"] = word_of(report);
  whole["partial"] = result.partial;
  whole["error"] = result.error ? Json(result.error->message) : Json(nullptr);
  whole["sources"] = Json::array();
  for (const MemorySummary& each : result.sources) {
    whole["sources"].push_back(json_of_source(each, report));
  }
  whole["comparisons"] = json_of_comparisons(comparisons);
  if (!result.steps.empty()) whole["sweep"] = json_of_sweep(result, report, extras);
  whole["samples"] = Json::array();
  for (const MembwSample& each : result.samples) {
    whole["samples"].push_back(json_of_sample(each, result, report, extras));
  }
  return whole;
}

std::string membw_json(const MembwResult& result, MemoryReport report,
                       const std::vector<MemoryComparison>& comparisons,
                       const MembwExtras& extras) {
  constexpr int kIndent = 2;
  return membw_value(result, report, comparisons, extras)
             .dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) +
         '\n';
}

namespace {

constexpr unsigned kSysAdmin = 21;  // capabilities(7)
constexpr unsigned kPerfmon = 38;

/// Whether we may open counters of whole CPUs, whatever perf_event_paranoid is.
bool may_count_all(const KernelFiles& files) {
  const auto status = files.read("/proc/self/status");
  constexpr std::string_view kEffective = "CapEff:\t";
  for (const std::string_view line : base::lines_in(status ? std::string_view(*status) : "")) {
    if (!line.starts_with(kEffective)) continue;
    const auto mask = base::read_digits(line.substr(kEffective.size()), 16);
    return mask && ((*mask >> kSysAdmin | *mask >> kPerfmon) & 1U) != 0;
  }
  return ::geteuid() == 0;
}

Capability of_pmu(const KernelFiles& files) {
  constexpr const char* kName = "membw.pmu";
  constexpr const char* kFile = "/proc/sys/kernel/perf_event_paranoid";
  const auto counters = find_memory_counters(files);
  if (!counters) return {kName, Support::not_supported, counters.error().message, ""};
  const auto level = files.read_signed(kFile);
  if (!level) {
    return {kName, Support::not_supported,
            level.error().message + ": it does not tell what the kernel permits", ""};
  }
  if (*level <= 0 || may_count_all(files)) return {kName, Support::supported, "", ""};
  return {
      kName, Support::not_permitted,
      files.path(kFile) + " is " + std::to_string(*level) + ", and this user has no CAP_PERFMON",
      "sysctl kernel.perf_event_paranoid=0"};
}

Capability of_resctrl(const KernelFiles& files) {
  constexpr const char* kName = "membw.resctrl";
  const auto place = ResctrlSource::find_mount(files);
  if (!place && place.error().code == std::errc::no_such_device) {
    return {kName, Support::not_supported, "resctrl is not mounted",
            "mount -t resctrl resctrl /sys/fs/resctrl"};
  }
  if (!place) return {kName, Support::not_supported, place.error().message, ""};
  const auto events = ResctrlSource::find_events(files, *place);
  if (!events) return {kName, Support::not_supported, events.error().message, ""};
  const std::string groups = files.path(*place + "/mon_groups");
  if (::access(groups.c_str(), W_OK) == 0) return {kName, Support::supported, "", ""};
  return lacking(kName, Error::from_errno(errno, "cannot make groups in " + groups),
                 "run it as root");
}

Capability of_software(const KernelFiles& files) {
  const std::string file = files.path("/proc/self/io"), few = "of buses and network devices only: ";
  const auto io = files.read("/proc/self/io");
  return {"membw.software", Support::supported,
          !io ? few + "there is no " + file +
                    " (the kernel was built without CONFIG_TASK_IO_ACCOUNTING)"
          : !read_process_io(*io) ? few + file + " is not as proc_pid_io(5) describes it"
                                  : "",
          ""};
}

/// Whether allocations of bandwidth and caches can be set.
Capability of_allocation(const KernelFiles& files, const Capability& resctrl) {
  constexpr const char* kName = "membw.allocation";
  const auto place = ResctrlSource::find_mount(files);
  if (!place || resctrl.state != Support::supported || files.has(*place + "/schemata")) {
    return {kName, resctrl.state, resctrl.reason, resctrl.enable_with};
  }
  return {kName, Support::not_supported,
          "there is no " + files.path(*place + "/schemata") +
              ": this machine cannot limit caches or bandwidth",
          ""};
}

}  // namespace

std::vector<Capability> membw_capabilities(const KernelFiles& files) {
  std::vector<Capability> all{of_pmu(files), of_resctrl(files)};
  all.push_back(of_allocation(files, all.back()));
  all[0].tested = "with recorded trees and fake counters only, never on memory controllers";
  for (std::size_t at : {1U, 2U}) {
    all[at].tested = "with recorded trees and fakes only, never on a processor with resctrl";
  }
  all.push_back(of_software(files));
  return all;
}

}  // namespace shmif::perf
