// A comparison as text for people, and as JSON.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "perf/compare/compare.hpp"
#include "perf/report/json_figures.hpp"
#include "perf/report/table.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf {

using Json = nlohmann::ordered_json;

namespace {

using Verdict = ComparedFigure::Verdict;

const char* word_of(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::same: return "same";
    case Verdict::better: return "better";
    case Verdict::worse: return "worse";
  }
  return "unknown";
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
  if (f.factor && *f.factor >= kLargeFactor) {
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
