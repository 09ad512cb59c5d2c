// Compares the charts of latencies with the result's JSON: over time, percentiles, and histograms.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "perf/report/units.hpp"
#include "tests/perf/report/web/charts.hpp"

namespace shmif::perf::page_charts {
namespace {

/// Expects that the axis begins and ends at the round numbers (1, 2 or 5 times a power of ten)
/// that enclose all points most tightly.
void expect_logarithmic(const Json& chart) {
  const Json& y = chart["scales"]["y"];
  const double min = y[0], max = y[1];
  EXPECT_EQ(y[2], "log");
  for (const double end : {min, max}) {
    const double first_digit = end / std::pow(10, std::floor(std::log10(end * 1.0001)));
    EXPECT_TRUE(std::ranges::any_of(std::array{1.0, 2.0, 5.0}, [&](double round) {
      return std::abs(first_digit - round) < 1e-6;
    })) << end;
  }
  double least = max, greatest = min;
  for (const auto& [label, curve] : curves_of(chart)) {
    for (const auto& [at, value] : curve) {
      EXPECT_GE(value, min * 0.9999) << label;
      EXPECT_LE(value, max * 1.0001) << label;
      least = std::min(least, value);
      greatest = std::max(greatest, value);
    }
  }
  const double widest_step = 2.5;
  EXPECT_LT(least, min * widest_step * 1.0001);
  EXPECT_GT(greatest * widest_step * 1.2, max);
}

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
    expect_last_values(chart, as_time);
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
  EXPECT_EQ(chart["scales"]["x"], Json({from.front(), from.back(), "log"}));
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

}  // namespace
}  // namespace shmif::perf::page_charts
