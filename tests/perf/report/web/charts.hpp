#pragma once
// Charts of the page: the data that Chart.js draws, and the words beside it.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "perf/report/units.hpp"
#include "tests/perf/report/web/in_browser.hpp"
#include "tests/perf/report/web/samples.hpp"

namespace shmif::perf::page_charts {

using Json = nlohmann::json;
/// The value of a curve at each time, or at each share.
using Curve = std::map<double, double>;
using Curves = std::map<std::string, Curve>;

/// Rounds to hundredths, as the page does.
inline double hundredths(double value) {
  return std::floor(value * 100 + 0.5) / 100;
}

inline const Json& job_of(const Json& result, const std::string& name) {
  for (const Json& job : result["jobs"]) {
    if (job["jobname"] == name) return job;
  }
  throw std::out_of_range(name);
}

inline std::vector<Json> intervals_of(const Json& job) {
  return job["intervals"].get<std::vector<Json>>();
}

/// The intervals that a curve shows: no stubs, and nothing after the measured window.
inline std::vector<Json> drawn_intervals(const Json& job) {
  std::vector<Json> drawn = intervals_of(job);
  std::erase_if(drawn, [](const Json& i) { return i["seconds"] < 0.5; });
  while (!drawn.empty() && !drawn.back()["measured"].get<bool>()) drawn.pop_back();
  return drawn;
}

inline double start_of(const Json& job) {
  const Json& first = job["intervals"].at(0);
  return first["at_seconds"].get<double>() - first["seconds"].get<double>();
}

/// `value` of each interval for which there is a value.
inline Curve curve_over_time(const Json& job, double since,
                             const std::function<std::optional<double>(const Json&)>& value) {
  Curve curve;
  for (const Json& i : drawn_intervals(job)) {
    const auto is = value(i);
    if (is) curve[hundredths(i["at_seconds"].get<double>() - since)] = *is;
  }
  return curve;
}

/// The jobs of few_jobs_json() that have a line: the line's name, the job, and its direction.
inline const std::vector<std::array<std::string, 3>> kFewLines = {
    {"web", "web", "rx"}, {"load", "load.peer", "rx"}, {"file (sent)", "file", "tx"}};

inline const Json& chart_of(const Json& facts, const std::string& name) {
  for (const Json& chart : facts["charts"]) {
    if (chart["name"] == name) return chart;
  }
  throw std::out_of_range("no chart " + name);
}

inline bool is_mark(const Json& series) {
  return series["scale"] == "marks";
}

/// The points of each series that have a value, by the label of the series.
inline Curves curves_of(const Json& chart) {
  Curves curves;
  for (const Json& series : chart["series"]) {
    if (is_mark(series)) continue;
    EXPECT_FALSE(curves.contains(series["label"])) << series["label"];
    Curve& curve = curves[series["label"]];
    EXPECT_EQ(series["values"].size(), chart["x"].size());
    for (std::size_t i = 0; i < series["values"].size(); ++i) {
      if (!series["values"][i].is_null()) curve[chart["x"][i]] = series["values"][i];
    }
  }
  return curves;
}

/// Not compared exactly, because floating-point sums differ in their last digits.
inline void expect_curves(const Curves& shown, const Curves& expected) {
  ASSERT_EQ(shown.size(), expected.size());
  for (const auto& [label, curve] : expected) {
    ASSERT_TRUE(shown.contains(label)) << label;
    const Curve& its = shown.at(label);
    ASSERT_EQ(its.size(), curve.size()) << label;
    for (auto a = its.begin(), b = curve.begin(); b != curve.end(); ++a, ++b) {
      EXPECT_NEAR(a->first, b->first, 1e-9) << label;
      EXPECT_NEAR(a->second, b->second, std::fabs(b->second) * 1e-12)
          << label << " at " << b->first;
    }
  }
}

using Format = std::function<std::string(double)>;

inline std::string with_micro(std::string text) {
  const auto micro = text.find(" us");
  return micro == std::string::npos ? text : text.replace(micro, 3, " µs");
}

inline std::string as_time(double ns) {
  return with_micro(format_ns(ns));
}

inline std::string as_count(double count) {
  return format_count(static_cast<std::uint64_t>(count));
}

/// As an axis writes it: "1.00 ms" becomes "1 ms".
inline std::string beside_axis(const std::string& text) {
  static const std::regex kZeros("(\\.[0-9]*?)0+ ");
  std::string whole = std::regex_replace(text, kZeros, "$1 ");
  const auto dot = whole.find(". ");
  return dot == std::string::npos ? whole : whole.replace(dot, 2, " ");
}

/// Expects that the legend tells the value of each point, and the axis the value at each tick.
inline void expect_words(const Json& chart, const Format& format) {
  for (const Json& series : chart["series"]) {
    for (std::size_t i = 0; i < series["values"].size(); ++i) {
      const Json& value = series["values"][i];
      const std::string expected = value.is_null()   ? "-"
                                   : is_mark(series) ? as_count(value)
                                                     : format(value);
      EXPECT_EQ(series["says"][i], expected) << series["label"];
    }
  }
  const Json& axis = chart["axes"][1];
  std::size_t told = 0;
  for (std::size_t i = 0; i < axis["at"].size(); ++i) {
    const auto said = axis["says"][i].get<std::string>();
    if (said.empty()) continue;  // the axis has no room for it
    ++told;
    const double at = axis["at"][i];
    EXPECT_EQ(said, at == 0 ? "0" : beside_axis(format(at)));
  }
  EXPECT_GT(told, 1U);
}

/// Expects that the legend, while no place is pointed at, tells the last value of each line.
inline void expect_last_values(const Json& chart, const Format& format) {
  Json expected = Json::array({Json::array({"time", "at the end"})});
  for (const Json& series : chart["series"]) {
    std::string last = "-";
    for (const Json& value : series["values"]) {
      if (!value.is_null() && !is_mark(series)) last = format(value);
    }
    expected.push_back({series["label"], last});
  }
  EXPECT_EQ(chart["legend"], expected);
}

inline void expect_time_axis(const Json& chart, bool own) {
  EXPECT_EQ(chart["axes"][0]["label"],
            own ? "time since the job’s own start (s)" : "time since the start (s)");
  EXPECT_EQ(chart["x_label"], "time");
  ASSERT_EQ(chart["x"].size(), chart["x_says"].size());
  EXPECT_EQ(chart["scales"]["x"][0], chart["x"].front());
  EXPECT_EQ(chart["scales"]["x"][1], chart["x"].back());
  for (std::size_t i = 0; i < chart["x"].size(); ++i) {
    EXPECT_NEAR(std::stod(chart["x_says"][i].get<std::string>()), chart["x"][i].get<double>(),
                0.0501);
    EXPECT_TRUE(chart["x_says"][i].get<std::string>().ends_with(" s"));
  }
}

class ChartsInABrowser : public test::PageInABrowser {
 protected:
  static const Json& shown(const char* name, const Json& result) {
    return facts(std::string("own-") + name, [&] { return test::page_of_json(result.dump()); });
  }
  static const Json& pressed(const Json& facts, const char* button) {
    if (!facts["pressed"].contains(button)) throw std::out_of_range(button);
    return facts["pressed"][button];
  }
};

}  // namespace shmif::perf::page_charts
