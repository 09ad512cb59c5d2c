// Compares the charts of the page with the result's JSON: the data that uPlot draws, and the marks
// that the page draws itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/units.hpp"
#include "tests/perf/report/page_in_browser.hpp"
#include "tests/perf/report/page_samples.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;
/// The value of a curve at each time, or at each share.
using Curve = std::map<double, double>;
using Curves = std::map<std::string, Curve>;

/// Rounds to hundredths, as the page does.
double hundredths(double value) {
  return std::floor(value * 100 + 0.5) / 100;
}

// ---- What a chart over time should show ----

const Json& job_of(const Json& result, const std::string& name) {
  for (const Json& job : result["jobs"]) {
    if (job["jobname"] == name) return job;
  }
  throw std::out_of_range(name);
}

std::vector<Json> intervals_of(const Json& job) {
  return job["intervals"].get<std::vector<Json>>();
}

/// The intervals that a curve shows: no stubs, and nothing after the measured window.
std::vector<Json> drawn_intervals(const Json& job) {
  std::vector<Json> drawn = intervals_of(job);
  std::erase_if(drawn, [](const Json& i) { return i["seconds"] < 0.5; });
  while (!drawn.empty() && !drawn.back()["measured"].get<bool>()) drawn.pop_back();
  return drawn;
}

double start_of(const Json& job) {
  const Json& first = job["intervals"].at(0);
  return first["at_seconds"].get<double>() - first["seconds"].get<double>();
}

/// `value` of each interval for which there is a value.
Curve curve_over_time(const Json& job, double since,
                      const std::function<std::optional<double>(const Json&)>& value) {
  Curve curve;
  for (const Json& i : drawn_intervals(job)) {
    const auto is = value(i);
    if (is) curve[hundredths(i["at_seconds"].get<double>() - since)] = *is;
  }
  return curve;
}

std::function<std::optional<double>(const Json&)> per_second(const std::string& key,
                                                             double factor) {
  return [=](const Json& i) { return i[key].get<double>() * factor / i["seconds"].get<double>(); };
}

/// The jobs of few_jobs_json() that have a line: the line's name, the job, and its direction.
const std::vector<std::array<std::string, 3>> kFewLines = {
    {"web", "web", "rx"}, {"load", "load.peer", "rx"}, {"file (sent)", "file", "tx"}};

Curves expected_rates(const Json& result, bool bits, bool own) {
  Curves curves;
  for (const auto& [label, name, direction] : kFewLines) {
    const Json& job = job_of(result, name);
    curves[label] =
        curve_over_time(job, own ? start_of(job) : 0,
                        per_second(direction + (bits ? "_bytes" : "_frames"), bits ? 8 : 1));
  }
  return curves;
}

struct Mark {
  double lost = 0, overruns = 0;
};

/// The marks of all jobs together, by time.
std::map<double, Mark> expected_marks(const Json& result, bool own) {
  std::map<double, Mark> marks;
  for (const Json& job : result["jobs"]) {
    for (const Json& i : job["intervals"]) {
      if (i["lost_frames"] == 0 && i["overruns"] == 0) continue;
      const double at = i["at_seconds"].get<double>() - (own ? start_of(job) : 0);
      Mark& mark = marks[hundredths(at)];
      mark.lost += i["lost_frames"].get<double>();
      mark.overruns += i["overruns"].get<double>();
    }
  }
  return marks;
}

// ---- What a chart shows ----

const Json& chart_of(const Json& facts, const std::string& name) {
  for (const Json& chart : facts["charts"]) {
    if (chart["name"] == name) return chart;
  }
  throw std::out_of_range("no chart " + name);
}

bool is_mark(const Json& series) {
  return series["scale"] == "marks";
}

/// The points of each series that have a value, by the label of the series.
Curves curves_of(const Json& chart) {
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

Curve marks_named(const Json& chart, const std::string& label) {
  Curve marks;
  for (const Json& series : chart["series"]) {
    if (!is_mark(series) || series["label"] != label) continue;
    for (std::size_t i = 0; i < series["values"].size(); ++i) {
      if (!series["values"][i].is_null()) marks[chart["x"][i]] = series["values"][i];
    }
  }
  return marks;
}

/// Not compared exactly, because floating-point sums differ in their last digits.
void expect_curves(const Curves& shown, const Curves& expected) {
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

/// Expects that the page draws marks of this shape at these times.
void expect_drawn(const Json& chart, const char* shape, const std::vector<double>& times) {
  const Json& drawn = chart[shape];
  ASSERT_EQ(drawn.size(), times.size()) << shape;
  const double near = chart["resolution"].get<double>() + 0.01;
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_NEAR(drawn[i]["at"].get<double>(), times[i], near) << shape;
    for (const Json& series : chart["series"]) {
      EXPECT_EQ(series["colour"] == drawn[i]["colour"], is_mark(series)) << series["label"];
    }
  }
}

void expect_marks(const Json& chart, const std::map<double, Mark>& marks) {
  Curve lost, overruns;
  std::vector<double> triangles, dashes;
  for (const auto& [at, mark] : marks) {
    lost[at] = mark.lost;
    overruns[at] = mark.overruns;
    if (mark.lost > 0) triangles.push_back(at);
    if (mark.overruns > 0) dashes.push_back(at);
  }
  EXPECT_EQ(marks_named(chart, "▲ lost frames"), lost);
  EXPECT_EQ(marks_named(chart, "┆ overruns"), overruns);
  expect_drawn(chart, "triangles", triangles);
  expect_drawn(chart, "dashes", dashes);
}

void expect_ramps(const Json& chart, const std::vector<std::pair<double, double>>& ramps) {
  ASSERT_EQ(chart["ramps"].size(), ramps.size());
  const double near = chart["resolution"].get<double>() + 0.01;
  for (std::size_t i = 0; i < ramps.size(); ++i) {
    EXPECT_NEAR(chart["ramps"][i][0].get<double>(), ramps[i].first, near);
    EXPECT_NEAR(chart["ramps"][i][1].get<double>(), ramps[i].second, near);
  }
}

using Format = std::function<std::string(double)>;

std::string with_micro(std::string text) {
  const auto micro = text.find(" us");
  return micro == std::string::npos ? text : text.replace(micro, 3, " µs");
}
std::string as_time(double ns) {
  return with_micro(format_ns(ns));
}
std::string as_count(double count) {
  return format_count(static_cast<std::uint64_t>(count));
}

/// As an axis writes it: "1.00 ms" becomes "1 ms".
std::string beside_axis(const std::string& text) {
  static const std::regex kZeros("(\\.[0-9]*?)0+ ");
  std::string whole = std::regex_replace(text, kZeros, "$1 ");
  const auto dot = whole.find(". ");
  return dot == std::string::npos ? whole : whole.replace(dot, 2, " ");
}

/// Expects that the legend tells the value of each point, and the axis the value at each tick.
void expect_words(const Json& chart, const Format& format) {
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

void expect_time_axis(const Json& chart, bool own) {
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

double greatest_of(const Json& chart) {
  double max = 0;
  for (const auto& [label, curve] : curves_of(chart)) {
    for (const auto& [at, value] : curve) max = std::max(max, value);
  }
  return max;
}

/// Expects that the axis begins at zero and ends a little above the highest point.
void expect_linear(const Json& chart) {
  const Json& y = chart["scales"]["y"];
  const double max = greatest_of(chart);
  EXPECT_EQ(y[0], 0);
  EXPECT_GT(y[1].get<double>(), max);
  EXPECT_LT(y[1].get<double>(), max * 1.2);
  EXPECT_NE(y[2], 3);
}

/// Expects that the axis begins and ends at powers of ten that enclose all points.
void expect_logarithmic(const Json& chart) {
  const Json& y = chart["scales"]["y"];
  const double min = y[0], max = y[1];
  EXPECT_EQ(y[2], 3);
  for (const double end : {min, max}) {
    EXPECT_NEAR(std::log10(end), std::round(std::log10(end)), 1e-9);
  }
  for (const auto& [label, curve] : curves_of(chart)) {
    for (const auto& [at, value] : curve) {
      EXPECT_GE(value, min) << label;
      EXPECT_LE(value, max * 1.0001) << label;
    }
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

// ---- Throughput ----

TEST_F(ChartsInABrowser, ThroughputIsWhatEachReceiverGotInEachInterval) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  const Json& bits = chart_of(facts, "throughput over time");
  expect_curves(curves_of(bits), expected_rates(result, true, false));
  expect_words(bits, [](double v) { return format_bps(v); });
  expect_time_axis(bits, false);
  expect_linear(bits);
  EXPECT_EQ(bits["axes"][1]["label"], "received or sent (bit/s)");

  const Json& frames = pressed(facts, "Throughput over time: frames");
  expect_curves(curves_of(frames), expected_rates(result, false, false));
  expect_words(frames, [](double v) { return format_fps(v); });
  expect_time_axis(frames, false);
  expect_linear(frames);
  EXPECT_EQ(frames["axes"][1]["label"], "received or sent (frames/s)");
}

TEST_F(ChartsInABrowser, ThroughputSinceTheJobsOwnStartBeginsAtIt) {
  const Json& result = test::few_jobs_json();
  const Json& own =
      pressed(shown("few", result), "Throughput over time: since each job’s own start");
  expect_curves(curves_of(own), expected_rates(result, true, true));
  expect_time_axis(own, true);
  expect_marks(own, expected_marks(result, true));
  expect_ramps(own, {{0, 2}});
}

TEST_F(ChartsInABrowser, LossesAndOverrunsAreMarkedWhenTheyWere) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  const std::map<double, Mark> marks = expected_marks(result, false);
  // Some marks are for losses, some for overruns, some for both. Losses of two jobs at the same
  // time are added up.
  ASSERT_EQ(marks.size(), 6U);
  EXPECT_EQ(marks.at(3).lost, 38);
  EXPECT_EQ(marks.at(3).overruns, 2);
  for (const Json* chart : {&chart_of(facts, "throughput over time"),
                            &pressed(facts, "Throughput over time: frames")}) {
    expect_marks(*chart, marks);
  }
  EXPECT_EQ(chart_of(facts, "latency over time")["triangles"], Json::array());
}

TEST_F(ChartsInABrowser, TheRampIsShadedFromItsBeginToItsEnd) {
  const Json& facts = shown("few", test::few_jobs_json());
  expect_ramps(chart_of(facts, "throughput over time"), {{30, 32}});
  expect_ramps(chart_of(facts, "latency over time"), {{30, 32}});
  expect_ramps(pressed(facts, "Latency over time: since each job’s own start"), {{0, 2}});
  // Jobs that began together share the longest ramp. One job began two seconds later.
  const Json& many = shown("many", test::many_jobs_json());
  expect_ramps(chart_of(many, "throughput over time"), {{0, 2}, {2, 3}});
}

TEST_F(ChartsInABrowser, OfManyJobsTheRatesOfAGroupAreAddedUp) {
  const Json& result = test::many_jobs_json();
  const Json& facts = shown("many", result);
  for (const bool bits : {true, false}) {
    Curves expected;
    for (const Json& job : result["jobs"]) {
      if (job["peer_of"].is_null()) continue;
      Curve& curve = expected["group " + job["groupname"].get<std::string>()];
      for (const auto& [at, rate] :
           curve_over_time(job, 0, per_second(bits ? "rx_bytes" : "rx_frames", bits ? 8 : 1))) {
        curve[at] += rate;
      }
    }
    ASSERT_EQ(expected.size(), 12U);
    // One member of g1 began two seconds after the other.
    EXPECT_EQ(expected["group g1"].size(), 8U);
    const Json& chart = bits ? chart_of(facts, "throughput over time")
                             : pressed(facts, "Throughput over time: frames");
    expect_curves(curves_of(chart), expected);
    expect_marks(chart, expected_marks(result, false));
    EXPECT_EQ(chart["axes"][1]["label"], bits ? "received (bit/s)" : "received (frames/s)");
    for (std::size_t i = 0; i < 12; ++i) {
      EXPECT_EQ(chart["series"][i]["shown"], i < 8) << "the first eight";
    }
  }
}

TEST_F(ChartsInABrowser, OfManyJobsTheSlowestOfAGroupStandsForItsLatency) {
  const Json& result = test::many_jobs_json();
  Curves expected;
  for (std::size_t i = 0; i < 12; ++i) {
    const Json& one = result["jobs"][4 * i + 1];
    const Json& other = result["jobs"][4 * i + 3];
    const bool first = one["latency_ns"]["p99"] > other["latency_ns"]["p99"];
    const Json& slowest = first ? one : other;
    expected["group g" + std::to_string(i) + ": " + slowest["jobname"].get<std::string>()] =
        curve_over_time(slowest, 0,
                        [](const Json& v) { return v["latency_p99_ns"].get<double>(); });
  }
  const Json& chart = chart_of(shown("many", result), "latency over time");
  expect_curves(curves_of(chart), expected);
}

// ---- Latency ----

TEST_F(ChartsInABrowser, LatencyOverTimeIsTheP99OfEachInterval) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  for (const bool own : {false, true}) {
    Curves expected;
    for (const auto& [label, name, direction] : kFewLines) {
      const Json& job = job_of(result, name);
      if (job["latency_ns"].is_null()) continue;
      expected[label] = curve_over_time(job, own ? start_of(job) : 0, [](const Json& i) {
        return i["latency_p99_ns"].is_null() ? std::nullopt
                                             : std::optional(i["latency_p99_ns"].get<double>());
      });
    }
    ASSERT_EQ(expected.size(), 2U);
    const Json& chart = own ? pressed(facts, "Latency over time: since each job’s own start")
                            : chart_of(facts, "latency over time");
    expect_curves(curves_of(chart), expected);
    expect_words(chart, as_time);
    expect_time_axis(chart, own);
    expect_logarithmic(chart);
    EXPECT_EQ(chart["axes"][1]["label"], "p99 latency");
  }
}

/// The latencies of the jobs that have a line, by the label of the line.
std::map<std::string, Json> latencies_of(const Json& result) {
  std::map<std::string, Json> all;
  for (const auto& [label, name, direction] : kFewLines) {
    const Json& h = job_of(result, name)["latency_ns"];
    if (!h.is_null()) all[label] = h;
  }
  return all;
}

/// The share at a place on the axis, which counts nines: 90 % is at one, 99 % at two.
double share_at(double nines) {
  return 1 - std::pow(10, -nines);
}

void expect_percentile_words(const Json& chart) {
  expect_words(chart, as_time);
  expect_logarithmic(chart);
  EXPECT_EQ(chart["x_label"], "share");
  EXPECT_EQ(chart["axes"][0]["label"], "share of frames that took no longer");
  EXPECT_EQ(chart["axes"][1]["label"], "latency");
  EXPECT_EQ(chart["scales"]["x"][0], 0);
  EXPECT_EQ(chart["scales"]["x"][1], chart["x"].back());
  for (std::size_t i = 0; i < chart["x"].size(); ++i) {
    const double x = chart["x"][i];
    const auto said = chart["x_says"][i].get<std::string>();
    EXPECT_NEAR(std::stod(said), 100 * share_at(x), 100 * std::pow(10, -x) * 0.1) << said;
    EXPECT_TRUE(said.ends_with(" %"));
  }
  const Json& axis = chart["axes"][0];
  for (std::size_t i = 0; i < axis["at"].size(); ++i) {
    const auto said = axis["says"][i].get<std::string>();
    if (said.empty()) continue;
    EXPECT_NEAR(std::stod(said), 100 * share_at(axis["at"][i]), 1e-9) << said;
  }
}

TEST_F(ChartsInABrowser, TheCurveOfPercentilesIsThatOfTheBuckets) {
  const Json& result = test::few_jobs_json();
  const Json& chart = chart_of(shown("few", result), "latency percentiles");
  const auto expected = latencies_of(result);
  const Curves curves = curves_of(chart);
  ASSERT_EQ(curves.size(), expected.size());
  for (const auto& [label, h] : expected) {
    const Curve& curve = curves.at(label);
    const double all = h["count"];
    const double end = std::log10(all);
    double last = -0.02;
    for (const auto& [x, ns] : curve) {
      EXPECT_LT(x - last, 0.021) << "a gap in the curve of " << label;
      last = x;
      // The curve shows the first end of a bucket up to which there is that share of the frames.
      double below = 0, up_to = 0;
      for (const Json& bin : h["bins"]) {
        const double bin_end = std::min(bin[1].get<double>(), h["max"].get<double>());
        if (bin_end <= ns) up_to += bin[2].get<double>();
        if (bin_end < ns) below += bin[2].get<double>();
      }
      EXPECT_GE(up_to, share_at(x) * all - 1e-3) << label << " at " << x;
      if (x == curve.rbegin()->first) continue;  // the last point is the maximum
      EXPECT_LT(below, std::max(share_at(x) * all, 0.5)) << label << " at " << x;
    }
    EXPECT_NEAR(last, end, 1e-9) << label;
    EXPECT_EQ(curve.rbegin()->second, h["max"]) << label;
  }
  expect_percentile_words(chart);
}

TEST_F(ChartsInABrowser, WithoutBucketsTheCurveHasThePercentilesThatTheResultNames) {
  const Json& result = test::few_jobs_json_without_bins();
  const Json& facts = shown("few-without-bins", result);
  const Json& chart = chart_of(facts, "latency percentiles");
  Curves expected;
  for (const auto& [label, h] : latencies_of(result)) {
    const double end = std::min(6.0, std::log10(h["count"].get<double>()));
    for (const auto& [key, per_cent] : std::map<std::string, double>{{"p1", 1},
                                                                     {"p10", 10},
                                                                     {"p50", 50},
                                                                     {"p90", 90},
                                                                     {"p95", 95},
                                                                     {"p99", 99},
                                                                     {"p99_9", 99.9},
                                                                     {"p99_99", 99.99},
                                                                     {"p99_999", 99.999}}) {
      const double x = -std::log10(1 - per_cent / 100);
      if (x <= end) expected[label][x] = h[key];
    }
    expected[label][end] = h["max"];
  }
  EXPECT_EQ(expected["web"].size(), 7U);
  EXPECT_EQ(expected["load"].size(), 10U);
  expect_curves(curves_of(chart), expected);
  expect_percentile_words(chart);
  for (const Json& each : facts["charts"]) EXPECT_NE(each["name"], "latency histogram");
}

TEST_F(ChartsInABrowser, OfManyJobsThePercentilesAreThoseOfTheGroups) {
  const Json& result = test::many_jobs_json();
  const Curves curves = curves_of(chart_of(shown("many", result), "latency percentiles"));
  ASSERT_EQ(curves.size(), 12U);
  for (const Json& group : result["groups"]) {
    const Curve& curve = curves.at("group " + group["groupname"].get<std::string>());
    EXPECT_EQ(curve.rbegin()->second, group["latency_ns"]["max"]);
  }
}

/// Expects that each column shows the share of the frames whose bucket has its middle there.
void expect_columns(const Json& chart, const std::map<std::string, Json>& expected) {
  const std::vector<double> from = chart["x"];
  ASSERT_GT(from.size(), 2U);
  std::set<std::string> labels;
  for (const Json& series : chart["series"]) {
    labels.insert(series["label"].get<std::string>());
    const Json& h = expected.at(series["label"]);
    double total = 0;
    for (std::size_t n = 0; n + 1 < from.size(); ++n) {
      double frames = 0;
      for (const Json& bin : h["bins"]) {
        const double middle = (bin[0].get<double>() + bin[1].get<double>()) / 2;
        if (middle >= from[n] * (1 - 1e-12) && middle < from[n + 1] * (1 - 1e-12)) {
          frames += bin[2].get<double>();
        }
      }
      const Json& value = series["values"][n];
      EXPECT_EQ(value.is_null(), frames == 0) << series["label"] << " from " << from[n];
      if (value.is_null()) continue;
      EXPECT_NEAR(value.get<double>(), frames / h["count"].get<double>(), 1e-12);
      total += value.get<double>();
    }
    EXPECT_NEAR(total, 1, 1e-9) << series["label"];
    EXPECT_TRUE(series["values"].back().is_null());
  }
  EXPECT_EQ(labels.size(), expected.size());
}

TEST_F(ChartsInABrowser, TheHistogramHasTheShareOfTheFramesOfEachColumn) {
  const Json& result = test::few_jobs_json();
  const Json& chart = chart_of(shown("few", result), "latency histogram");
  expect_columns(chart, latencies_of(result));
  const std::vector<double> from = chart["x"];
  for (std::size_t n = 1; n < from.size(); ++n) {
    EXPECT_NEAR(std::log10(from[n] / from[n - 1]), 1 / 24.0, 1e-9) << "24 columns a decade";
  }
  expect_words(chart, [](double v) { return format_share(v); });
  expect_logarithmic(chart);
  EXPECT_EQ(chart["scales"]["x"], Json({from.front(), from.back(), 3}));
  EXPECT_EQ(chart["axes"][0]["label"], "latency");
  EXPECT_EQ(chart["axes"][1]["label"], "share of frames");
  EXPECT_EQ(chart["x_label"], "from");
  for (std::size_t n = 0; n < from.size(); ++n) EXPECT_EQ(chart["x_says"][n], as_time(from[n]));
  const Json& axis = chart["axes"][0];
  for (std::size_t i = 0; i < axis["at"].size(); ++i) {
    if (axis["says"][i] == "") continue;
    EXPECT_EQ(axis["says"][i], beside_axis(as_time(axis["at"][i])));
  }
}

TEST_F(ChartsInABrowser, OfManyJobsTheHistogramIsThatOfTheGroups) {
  const Json& result = test::many_jobs_json();
  std::map<std::string, Json> expected;
  for (const Json& group : result["groups"]) {
    expected["group " + group["groupname"].get<std::string>()] = group["latency_ns"];
  }
  expect_columns(chart_of(shown("many", result), "latency histogram"), expected);
}

// ---- TCP ----

TEST_F(ChartsInABrowser, AConnectionsWindowAndRoundTripAreThoseOfItsIntervals) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  const Json& job = job_of(result, "load");
  const auto curve = [&](const char* key) {
    return Curves{{"load", curve_over_time(job, 0, [=](const Json& i) {
                     return i["tcp"][key].get<double>();
                   })}};
  };
  const Json& window = chart_of(facts, "TCP congestion window");
  expect_curves(curves_of(window), curve("snd_cwnd_bytes"));
  expect_words(window, [](double v) { return format_bytes(static_cast<std::uint64_t>(v)); });
  EXPECT_EQ(window["axes"][1]["label"], "bytes");
  const Json& rtt = chart_of(facts, "TCP round-trip time");
  expect_curves(curves_of(rtt), curve("rtt_ns"));
  expect_words(rtt, as_time);
  EXPECT_EQ(rtt["axes"][1]["label"], "time");
  for (const Json* chart : {&window, &rtt}) {
    expect_time_axis(*chart, false);
    expect_linear(*chart);
  }
}

// ---- All charts ----

TEST_F(ChartsInABrowser, AJobHasItsOwnColourAndPatternInEachChart) {
  const Json& facts = shown("few", test::few_jobs_json());
  std::map<std::string, Json> look;
  for (const Json& chart : facts["charts"]) {
    std::set<Json> in_chart;
    for (const Json& series : chart["series"]) {
      if (is_mark(series)) continue;
      const Json its = {series["colour"], series["dash"]};
      EXPECT_TRUE(in_chart.insert(its).second) << series["label"] << " in " << chart["name"];
      auto label = series["label"].get<std::string>();
      label = label.substr(0, label.find(" ("));
      EXPECT_EQ(look.try_emplace(label, its).first->second, its)
          << label << " in " << chart["name"];
      EXPECT_TRUE(series["shown"].get<bool>());
      EXPECT_TRUE(series["drawn"].get<bool>());
    }
  }
  EXPECT_EQ(look.size(), 3U);
}

TEST_F(ChartsInABrowser, TheFirstLinesOfAChartAreShownWhateverTheirJobsPlaceIs) {
  Json result = test::many_jobs_json();
  // Keeps ten jobs and their peers. Only the last peer has a known latency.
  result["groups"] = Json::array();
  for (std::size_t i = result["jobs"].size(); i-- > 0;) {
    if (i >= 20) result["jobs"].erase(i);
    if (i < 19) result["jobs"][i]["latency_ns"] = nullptr;
  }
  const Json& facts = shown("last-of-ten", result);
  for (const char* name : {"latency percentiles", "latency histogram", "latency over time"}) {
    const Json& series = chart_of(facts, name)["series"];
    ASSERT_EQ(series.size(), 1U) << name;
    EXPECT_EQ(series[0]["label"], "job9") << name;
    EXPECT_TRUE(series[0]["shown"].get<bool>()) << name;
  }
  EXPECT_EQ(chart_of(facts, "throughput over time")["series"].size(), 12U) << "with the marks";
}

TEST_F(ChartsInABrowser, APageHasAChartForEachThingThatWasMeasured) {
  const auto names = [](const Json& facts) {
    std::vector<std::string> all;
    for (const Json& chart : facts["charts"]) all.push_back(chart["name"]);
    std::ranges::sort(all);
    return all;
  };
  EXPECT_EQ(names(shown("few", test::few_jobs_json())),
            (std::vector<std::string>{"TCP congestion window", "TCP round-trip time",
                                      "latency histogram", "latency over time",
                                      "latency percentiles", "throughput over time"}));
  EXPECT_EQ(names(shown("many", test::many_jobs_json())),
            (std::vector<std::string>{"latency histogram", "latency over time",
                                      "latency percentiles", "throughput over time"}));
}

}  // namespace
}  // namespace shmif::perf
