#include "perf/compare/compare.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "perf/report/fields.hpp"
#include "perf/report/json_figures.hpp"
#include "perf/report/table.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/confidence.hpp"

namespace shmif::perf {
namespace {

using Verdict = ComparedFigure::Verdict;
using Samples = std::vector<double>;

enum class Better : std::uint8_t { more, less };
/// As the row of T says.
template <class T>
consteval Better better_of(std::string_view key) {
  for (const Figure<T>& row : kRowsOf<T>) {
    if (row.key == key && row.is_in(kMoreIsBetter)) return Better::more;
    if (row.key == key && row.is_in(kLessIsBetter)) return Better::less;
  }
  throw "the row of the figure does not say what is better";
}
/// Times are in a histogram, which has no rows.
constexpr Better kSooner = Better::less;

/// Whether a worse figure makes the whole comparison worse. The highest percentiles are of so few
/// frames that they differ by chance.
enum class Weight : std::uint8_t { decides, shown };

/// A figure of a job: how to find it in a job and in an interval.
struct Kind {
  const char* name;
  Better better;
  Weight weight;
  std::optional<double> (*whole)(const ReportJson& job);
  std::optional<double> (*of_interval)(const ReportJson& interval);  ///< null: none has it
};

std::optional<double> nested(const ReportJson& job, const char* object, const char* key) {
  const ReportJson& inner = job.at(object);
  return inner.is_null() ? std::nullopt : figure(inner, key);
}

template <bool kSent>
std::optional<double> rate_of_interval(const ReportJson& interval) {
  const auto seconds = figure(interval, "seconds");
  const auto frames = figure(interval, kSent ? "tx_frames" : "rx_frames");
  if (!seconds || !frames || !(*seconds > 0)) return std::nullopt;
  return *frames / *seconds;
}

std::optional<double> loss_of_interval(const ReportJson& interval) {
  const double lost = figure(interval, "lost_frames").value_or(0);
  const double all = lost + figure(interval, "rx_frames").value_or(0);
  return all > 0 ? std::optional(lost / all) : std::nullopt;
}

using Of = const ReportJson&;
const Kind kKinds[] = {
    {figure_name::kTxFps, better_of<TrafficResult>("rate_fps"), Weight::decides,
     [](Of j) { return nested(j, "tx", "rate_fps"); }, rate_of_interval<true>},
    {figure_name::kRxFps, better_of<TrafficResult>("rate_fps"), Weight::decides,
     [](Of j) { return nested(j, "rx", "rate_fps"); }, rate_of_interval<false>},
    {figure_name::kLostShare, better_of<FlowResult>("lost_share"), Weight::decides,
     [](Of j) { return nested(j, "loss", "lost_share"); }, loss_of_interval},
    {figure_name::kLatencyMean, kSooner, Weight::decides,
     [](Of j) { return nested(j, "latency_ns", "mean"); },
     [](Of i) { return figure(i, "latency_mean_ns"); }},
    {figure_name::kLatencyP50, kSooner, Weight::decides,
     [](Of j) { return nested(j, "latency_ns", "p50"); },
     [](Of i) { return figure(i, "latency_p50_ns"); }},
    {figure_name::kLatencyP99, kSooner, Weight::decides,
     [](Of j) { return nested(j, "latency_ns", "p99"); },
     [](Of i) { return figure(i, "latency_p99_ns"); }},
    {"latency_ns_p99_9", kSooner, Weight::shown,
     [](Of j) { return nested(j, "latency_ns", "p99_9"); }, nullptr},
    {"latency_ns_p99_99", kSooner, Weight::shown,
     [](Of j) { return nested(j, "latency_ns", "p99_99"); }, nullptr},
    {"latency_ns_max", kSooner, Weight::shown, [](Of j) { return nested(j, "latency_ns", "max"); },
     nullptr},
};

const char* const kRepeats = "repeats";

/// A figure of a search, not of a job.
const Kind kFound{figure_name::kFoundFps, better_of<SearchResult>("found_fps"), Weight::decides,
                  [](Of s) { return figure(s, "found_fps"); }, nullptr};

/// The jobs, searches and repetitions of a result by their names. A result may have many of them:
/// to look for each name among all would take quadratic time.
class JobIndex {
 public:
  explicit JobIndex(const ReportJson& report) {
    for (const ReportJson& job : report.at("jobs")) jobs_.emplace(name_in(job, "jobname"), &job);
    for (const ReportJson& search : report.at("searches")) {
      searches_.emplace(std::pair{search.at("jobname"), search.at("frame_bytes")}, &search);
    }
    for (const ReportJson& repeat : report.at("repeats")) {
      Samples& values = repetitions_[{name_in(repeat, "jobname"), name_in(repeat, "figure")}];
      for (const ReportJson& value : repeat.at("values")) {
        if (value.is_number()) values.push_back(value.get<double>());
      }
    }
  }

  /// Null if there is none.
  const ReportJson* job(const std::string& name) const {
    const auto at = jobs_.find(name);
    return at == jobs_.end() ? nullptr : at->second;
  }
  /// The search for the same job and frame size; null if there is none.
  const ReportJson* search_like(const ReportJson& other) const {
    const auto at = searches_.find({other.at("jobname"), other.at("frame_bytes")});
    return at == searches_.end() ? nullptr : at->second;
  }
  /// Empty if there are none.
  const Samples& repetitions(const std::string& job, const char* figure) const {
    static const Samples kNone;
    const auto at = repetitions_.find({job, figure});
    return at == repetitions_.end() ? kNone : at->second;
  }

 private:
  std::map<std::string, const ReportJson*> jobs_;
  std::map<std::pair<ReportJson, ReportJson>, const ReportJson*> searches_;
  std::map<std::pair<std::string, std::string>, Samples> repetitions_;
};

Samples intervals(const ReportJson& job, const Kind& kind) {
  Samples values;
  for (const ReportJson& interval : job.at("intervals")) {
    if (interval.at("measured") == false) continue;
    const auto value = kind.of_interval(interval);
    if (value) values.push_back(*value);
  }
  return values;
}

/// `part` as a share of `whole`; empty if that is 0. Figures are never negative.
std::optional<double> share_of(double part, double whole) {
  if (whole == 0) return std::nullopt;
  return part / whole;
}

/// The figure of a job, or of its search; with repetitions, their median. `spread`: how far the
/// repetitions differ, as a share of the median.
std::optional<double> value_of(const JobIndex& report, const ReportJson& job, const Kind& kind,
                               std::optional<double>& spread) {
  const auto all = estimate(report.repetitions(name_in(job, "jobname"), kind.name));
  if (!all) return kind.whole(job);
  spread = share_of(all->max - all->min, all->median);
  return all->median;
}

/// The samples of both files, if both have at least two values.
std::optional<std::pair<Samples, Samples>> samples(const JobIndex& before, const JobIndex& after,
                                                   const ReportJson& before_job,
                                                   const ReportJson& after_job, const Kind& kind,
                                                   std::string& from) {
  const std::string name = name_in(before_job, "jobname");
  const auto enough = [](const auto& pair) {
    return pair.first.size() >= 2 && pair.second.size() >= 2;
  };
  std::pair<Samples, Samples> pair{before.repetitions(name, kind.name),
                                   after.repetitions(name, kind.name)};
  from = kRepeats;
  if (enough(pair)) return pair;
  from = {};
  if (kind.of_interval == nullptr) return std::nullopt;
  pair = {intervals(before_job, kind), intervals(after_job, kind)};
  if (!enough(pair)) return std::nullopt;
  from = "intervals";
  return pair;
}

/// Losses already are shares, and often 0 before. All other changes are shares of the value before.
double size_of_change(const ComparedFigure& f) {
  if (f.figure == figure_name::kLostShare) return f.change;
  if (f.change_share) return *f.change_share;
  if (f.change == 0) return 0;
  return f.change > 0 ? HUGE_VAL : -HUGE_VAL;
}

double threshold_of(const std::string& figure, const CompareOptions& options) {
  return figure == figure_name::kLostShare ? options.loss_threshold : options.threshold;
}

Verdict judge(const ComparedFigure& f, const Kind& kind, bool significant,
              const CompareOptions& options) {
  const double change = size_of_change(f);
  if (!significant || !(std::fabs(change) > threshold_of(f.figure, options))) return Verdict::same;
  return (change > 0) == (kind.better == Better::more) ? Verdict::better : Verdict::worse;
}

std::optional<Difference> tested(const std::pair<Samples, Samples>& values, const std::string& from,
                                 double confidence) {
  return from == kRepeats ? difference(values.first, values.second, confidence)
                          : difference_of_series(values.first, values.second, confidence);
}

/// The logarithms of all values; empty if a value is not positive, or if the means differ by less
/// than kLargeFactor.
std::optional<std::pair<Samples, Samples>> large_factors(
    const std::pair<Samples, Samples>& values) {
  const double before = estimate(values.first)->mean;
  const double after = estimate(values.second)->mean;
  if (!(std::max(before, after) >= kLargeFactor * std::min(before, after))) return std::nullopt;
  std::pair<Samples, Samples> logs;
  for (const auto& [from, into] :
       {std::pair(&values.first, &logs.first), std::pair(&values.second, &logs.second)}) {
    for (const double value : *from) {
      if (!(value > 0)) return std::nullopt;
      into->push_back(std::log(value));
    }
  }
  return logs;
}

/// Whether even the nearest values of both lists differ by more than the threshold.
bool are_apart(const std::pair<Samples, Samples>& values, const std::string& figure,
               const CompareOptions& options) {
  const auto [min_before, max_before] = std::ranges::minmax(values.first);
  const auto [min_after, max_after] = std::ranges::minmax(values.second);
  const double gap = std::max(min_after - max_before, min_before - max_after);
  const double unit = figure == figure_name::kLostShare ? 1 : max_before;
  return gap > 0 && gap > threshold_of(figure, options) * unit;
}

class Comparer {
 public:
  /// `before_index` and `after_index` must index `before` and `after`.
  Comparer(const Report& before, const Report& after, const JobIndex& before_index,
           const JobIndex& after_index, Comparison& into)
      : before_(before.json()),
        after_(after.json()),
        before_index_(before_index),
        after_index_(after_index),
        into_(into) {}

  void compare_jobs(const ReportJson& before_job, const ReportJson& after_job) {
    for (const Kind& kind : kKinds) compare_figure(kind, before_job, after_job);
  }

  /// Compares the rates that two searches of a job found.
  void compare_searches(const ReportJson& before, const ReportJson& after) {
    compare_figure(kFound, before, after);
    if (!before.at("found_fps").is_null() && after.at("found_fps").is_null()) {
      into_.failures.push_back("the search of job " + words(before, "jobname") +
                               " found a rate before, but not after");
    }
  }

  void note_differences() {
    const auto note = [&](const char* what, const std::string& b, const std::string& a) {
      if (b != a) into_.notes.push_back(std::string(what) + ": " + b + " before, " + a + " after");
    };
    note("shmifperf", words(before_, "shmifperf_version"), words(after_, "shmifperf_version"));
    for (const char* key : {"hostname", "cpu_model", "kernel", "clock_source"}) {
      note(key, words(before_.at("machine"), key), words(after_.at("machine"), key));
    }
  }

 private:
  /// `before_job`, `after_job`: the job or search that has the figure.
  void compare_figure(const Kind& kind, const ReportJson& before_job, const ReportJson& after_job) {
    ComparedFigure f;
    f.job = name_in(before_job, "jobname");
    f.figure = kind.name;
    const auto before = value_of(before_index_, before_job, kind, f.spread_before);
    const auto after = value_of(after_index_, after_job, kind, f.spread_after);
    if (!before || !after) return;
    f.before = *before;
    f.after = *after;
    f.decides = kind.weight == Weight::decides;
    f.change = *after - *before;
    f.change_share = share_of(f.change, *before);
    f.factor = share_of(*after, *before);
    // If chance cannot be estimated, only the size of the difference decides.
    bool significant = true;
    const auto values = samples(before_index_, after_index_, before_job, after_job, kind, f.from);
    if (values) {
      const double confidence = into_.options.confidence;
      const auto test = tested(*values, f.from, confidence);
      if (test) {
        const double mean = estimate(values->first)->mean;
        if (f.from == kRepeats) {
          // Uses the means that the test compares. Otherwise the interval would not lie around the
          // change.
          f.change = test->of_means;
          f.change_share = share_of(f.change, mean);
          f.factor = share_of(mean + f.change, mean);
        }
        f.half_width_share = share_of(test->half_width, mean);
      }
      const auto logs = large_factors(*values);
      const auto decisive = logs ? tested(*logs, f.from, confidence) : test;
      if (decisive) {
        f.p = decisive->p;
        significant = decisive->significant;
      } else {
        significant = are_apart(*values, f.figure, into_.options);
        if (!significant) into_.undecided = true;
      }
    }
    f.verdict = judge(f, kind, significant, into_.options);
    into_.figures.push_back(std::move(f));
  }

  const ReportJson& before_;
  const ReportJson& after_;
  const JobIndex& before_index_;
  const JobIndex& after_index_;
  Comparison& into_;
};

}  // namespace

bool Comparison::worse() const noexcept {
  return !failures.empty() ||
         std::any_of(figures.begin(), figures.end(), [](const ComparedFigure& f) {
           return f.decides && f.verdict == Verdict::worse;
         });
}

Result<Comparison> compare(const Report& before, const Report& after,
                           const CompareOptions& options) {
  Comparison result;
  result.before = before.name();
  result.after = after.name();
  result.options = options;
  const JobIndex before_index(before.json());
  const JobIndex after_index(after.json());
  Comparer comparer(before, after, before_index, after_index, result);
  comparer.note_differences();
  bool common = false;
  for (const ReportJson& job : before.json().at("jobs")) {
    const std::string name = name_in(job, "jobname");
    const ReportJson* const other = after_index.job(name);
    if (other == nullptr) {
      result.failures.push_back("job " + words(job, "jobname") + " is only in " + before.name());
      continue;
    }
    common = true;
    comparer.compare_jobs(job, *other);
    if (job.at("options") != other->at("options") || job.at("rw") != other->at("rw")) {
      result.notes.push_back("job " + words(job, "jobname") + " had different options");
    }
    if (job.at("passed") == true && other->at("passed") == false) {
      result.failures.push_back("job " + words(job, "jobname") + " passed before and failed after");
    }
  }
  for (const ReportJson& search : before.json().at("searches")) {
    const auto* const other = after_index.search_like(search);
    if (other != nullptr) comparer.compare_searches(search, *other);
  }
  if (!common) {
    return Error(Errc::bad_argument, "cannot compare " + before.name() + " with " + after.name() +
                                         ": no job has the same name in both (give the jobs the "
                                         "same names, with name= or in a job file)");
  }
  for (const ReportJson& job : after.json().at("jobs")) {
    if (before_index.job(name_in(job, "jobname")) == nullptr) {
      result.notes.push_back("job " + words(job, "jobname") + " is only in " + after.name());
    }
  }
  return result;
}

// A comparison as text for people, and as JSON.

using Json = nlohmann::ordered_json;

namespace {

using Verdict = ComparedFigure::Verdict;

const char* word_of(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::same: break;
    case Verdict::better: return "better";
    case Verdict::worse: return "worse";
  }
  return "same";
}

std::string value_text(const ComparedFigure& f, double value) {
  if (f.figure.ends_with("_fps")) return format_fps(value);
  if (f.figure.ends_with("_share")) return format_share(value);
  return format_ns(value);
}

/// "+6.60 %", or from kLargeFactor on "x2.34", "x23.4", "x2343".
std::string change_text(const ComparedFigure& f) {
  if (!f.change_share) return "-";
  std::array<char, 64> text{};
  if (*f.factor >= kLargeFactor) {
    const int digits = *f.factor < 10 ? 2 : *f.factor < 100 ? 1 : 0;
    std::snprintf(text.data(), text.size(), "x%.*f", digits, *f.factor);
  } else {
    std::snprintf(text.data(), text.size(), "%+.2f %%", *f.change_share * 100);
  }
  return text.data();
}

/// "-" for a large factor: its uncertainty is not that of a difference, and only p shows it.
std::string half_width_text(const ComparedFigure& f) {
  if (f.factor && *f.factor >= kLargeFactor) return "-";
  return format_share(f.half_width_share);
}

std::string p_text(std::optional<double> p) {
  if (!p) return "-";
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), *p < 0.001 ? "< %.3f" : "%.3f", *p < 0.001 ? 0.001 : *p);
  return text.data();
}

std::string verdict_text(const ComparedFigure& f) {
  const bool moved = f.verdict != Verdict::same;
  // Only figures that decide are marked strongly, to stand out among rates and tails.
  if (!f.decides) return moved ? std::string("(") + word_of(f.verdict) + ")" : "";
  return f.verdict == Verdict::worse ? "WORSE" : moved ? word_of(f.verdict) : "";
}

}  // namespace

std::string to_text(const Comparison& c, std::size_t width) {
  std::string out =
      wrapped("before " + printable(c.before) + ", after " + printable(c.after), width, 2);
  for (const std::string& note : c.notes) out += wrapped("  note: " + printable(note), width, 4);
  for (const std::string& failure : c.failures) {
    out += wrapped("  WORSE: " + printable(failure), width, 4);
  }
  Table table;
  table.add({"figure", "before", "spread", "after", "spread", "change", "+-", "p", "from", ""});
  std::size_t worse = 0;
  for (const ComparedFigure& f : c.figures) {
    worse += f.decides && f.verdict == Verdict::worse ? 1U : 0U;
    table.add({printable(f.job) + ' ' + f.figure, value_text(f, f.before),
               format_share(f.spread_before), value_text(f, f.after), format_share(f.spread_after),
               change_text(f), half_width_text(f), p_text(f.p), f.from.empty() ? "-" : f.from,
               verdict_text(f)});
  }
  out += table.text(width);
  if (std::ranges::any_of(c.figures, [](const ComparedFigure& f) { return f.from == "repeats"; })) {
    out +=
        wrapped("  for repeats, before and after are medians; change, +- and p compare the means",
                width, 4);
  }
  if (c.undecided) {
    out += wrapped(
        "  p is \"-\" if too few intervals are independent of each other, and such a figure counts "
        "as "
        "the same if values of both runs overlap: compare longer runs, or runs with --repeat",
        width, 4);
  }
  const std::string by = "by more than " + format_share(c.options.threshold) + ", losses " +
                         format_share(c.options.loss_threshold) +
                         " of all frames (Welch's t-test, " + format_share(c.options.confidence) +
                         " confidence)";
  const std::string what = c.worse() ? format_count(worse + c.failures.size()) : "nothing";
  return out + wrapped(what + " became worse " + by, width, 2);
}

std::string to_json(const Comparison& c) {
  Json json = {{"before", c.before},
               {"after", c.after},
               {"threshold", c.options.threshold},
               {"loss_threshold", c.options.loss_threshold},
               {"confidence", c.options.confidence},
               {"test", "Welch's t-test"},
               {"undecided", c.undecided},
               {"worse", c.worse()},
               {"failures", c.failures},
               {"notes", c.notes}};
  Json& figures = json["figures"] = Json::array();
  for (const ComparedFigure& f : c.figures) {
    figures.push_back({{"jobname", f.job},
                       {"figure", f.figure},
                       {"before", json_number(f.before)},
                       {"after", json_number(f.after)},
                       {"spread_before_share", json_number(f.spread_before)},
                       {"spread_after_share", json_number(f.spread_after)},
                       {"change", json_number(f.change)},
                       {"change_share", json_number(f.change_share)},
                       {"factor", json_number(f.factor)},
                       {"half_width_share", json_number(f.half_width_share)},
                       {"p", json_number(f.p)},
                       {"from", f.from.empty() ? Json(nullptr) : Json(f.from)},
                       {"decides", f.decides},
                       {"verdict", word_of(f.verdict)}});
  }
  return json.dump(1, ' ', true, Json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
