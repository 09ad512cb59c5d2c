// Compares the charts over time with the result's JSON: the data that Chart.js draws, and the
// marks that the page draws itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/units.hpp"
#include "tests/perf/report/web/charts.hpp"

namespace shmif::perf::page_charts {
namespace {

std::function<std::optional<double>(const Json&)> per_second(const std::string& key,
                                                             double factor) {
  return [=](const Json& i) { return i[key].get<double>() * factor / i["seconds"].get<double>(); };
}

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
  std::vector<double> losses, dashes;
  double most = 0;
  for (const auto& [at, mark] : marks) most = std::max(most, mark.lost);
  for (const auto& [at, mark] : marks) {
    lost[at] = mark.lost;
    overruns[at] = mark.overruns;
    if (mark.lost > 0) losses.push_back(at);
    if (mark.overruns > 0) dashes.push_back(at);
  }
  EXPECT_EQ(marks_named(chart, "▮ lost frames"), lost);
  EXPECT_EQ(marks_named(chart, "┆ overruns"), overruns);
  expect_drawn(chart, "losses", losses);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double greatest = 0.25;
    const double height = greatest * marks.at(losses[i]).lost / most;
    EXPECT_NEAR(chart["losses"][i]["height"].get<double>(), std::max(height, 0.02), 0.005);
  }
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
  EXPECT_EQ(y[2], "linear");
}

TEST_F(ChartsInABrowser, ThroughputIsWhatEachReceiverGotInEachInterval) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  const Json& bits = chart_of(facts, "throughput over time");
  expect_curves(curves_of(bits), expected_rates(result, true, false));
  expect_words(bits, [](double v) { return format_bps(v); });
  expect_time_axis(bits, false);
  expect_last_values(bits, [](double v) { return format_bps(v); });
  expect_linear(bits);
  EXPECT_EQ(bits["axes"][1]["label"], "received or sent (bit/s)");

  const Json& frames = pressed(facts, "Throughput over time: frames");
  expect_curves(curves_of(frames), expected_rates(result, false, false));
  expect_words(frames, [](double v) { return format_fps(v); });
  expect_time_axis(frames, false);
  expect_last_values(frames, [](double v) { return format_fps(v); });
  expect_linear(frames);
  EXPECT_EQ(frames["axes"][1]["label"], "received or sent (frames/s)");
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
  EXPECT_EQ(chart_of(facts, "latency over time")["losses"], Json::array());
}

TEST_F(ChartsInABrowser, EachTrialOfASearchIsAPointAtItsRateAndItsLoss) {
  const Json& result = test::searches_json();
  std::multiset<std::pair<double, double>> passed, failed;
  for (const Json& search : result["searches"]) {
    if (search["kind"] != "ndr") continue;
    for (const Json& trial : search["trials"]) {
      (trial["passed"] ? passed : failed).emplace(trial["offered_fps"], trial["lost_share"]);
    }
  }
  const Json& chart =
      chart_of(facts("own-searches", [&] { return test::page_of_json(result.dump()); }),
               "trials: Highest rate without loss (RFC 2544)");
  std::multiset<std::pair<double, double>> rings, points;
  for (const Json& series : chart["series"]) {
    const bool is_ring = series["label"].get<std::string>().ends_with("passed");
    for (std::size_t i = 0; i < series["values"].size(); ++i) {
      if (series["values"][i].is_null()) continue;
      (is_ring ? rings : points).emplace(chart["x"][i], series["values"][i]);
    }
  }
  EXPECT_EQ(rings, passed);
  EXPECT_EQ(points, failed);
  EXPECT_EQ(chart["axes"][1]["label"], "share of frames lost");
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

}  // namespace
}  // namespace shmif::perf::page_charts
