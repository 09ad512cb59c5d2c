// The access heat of jobs in the reports of runs.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bus/layout.hpp"
#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "perf/result/heat_of_job.hpp"
#include "tests/perf/report/measured_sample.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::report_heat {
namespace {

using test::heated_sample;
using Json = nlohmann::json;

constexpr std::uint64_t kRingAt = bus::kRingOffset;
constexpr std::uint64_t kMiB = 1U << 20U;

Json heat_of(const RunResult& run, std::size_t job) {
  return Json::parse(to_json(run, Bins::without)).at("jobs").at(job).at("heat");
}
/// Also checks the JSON against the schema.
std::string text_of(const RunResult& run, std::size_t width = 0) {
  return to_text(Report::parse(to_json(run, Bins::without), "sample").value(), width);
}

TEST(HeatReport, HasTheFiguresOfAJob) {
  const Json heat = heat_of(heated_sample(), 0);
  EXPECT_EQ(heat.at("mapping"), "bulk@/dev/shm/bus0");
  EXPECT_EQ(heat.at("precision"), "page");
  EXPECT_EQ(heat.at("reason"), nullptr);
  EXPECT_EQ(heat.at("windows"), 4);
  EXPECT_EQ(heat.at("bytes"), kRingAt + kMiB);
  EXPECT_EQ(heat.at("working_set_bytes"),
            Json({{"p50", kMiB / 4 + 4096}, {"p95", kMiB + 4096}, {"max", kMiB + 4096}}));
  EXPECT_EQ(heat.at("touched_bytes"), kMiB + 4096);
  EXPECT_EQ(heat.at("written_bytes"), kMiB);
  EXPECT_DOUBLE_EQ(heat.at("written_share").get<double>(),
                   static_cast<double>(kMiB) / static_cast<double>(kRingAt + kMiB));
}

TEST(HeatReport, HasTheRegionsOfTheLastWindowAsAddressesOfTheFile) {
  const Json heat = heat_of(heated_sample(), 0);
  EXPECT_EQ(heat.at("looks"), 10);
  const Json& regions = heat.at("regions");
  ASSERT_EQ(regions.size(), 4U);
  EXPECT_EQ(regions.at(0),
            Json({{"begin", 0}, {"end", 4096}, {"accesses", 5}, {"writes", 0}, {"age", 3}}));
  EXPECT_EQ(regions.at(2), Json({{"begin", kRingAt},
                                 {"end", kRingAt + kMiB / 4},
                                 {"accesses", 10},
                                 {"writes", 10},
                                 {"age", 3}}));
  EXPECT_EQ(regions.at(3), Json({{"begin", kRingAt + kMiB / 4},
                                 {"end", kRingAt + kMiB},
                                 {"accesses", 10},
                                 {"writes", 10},
                                 {"age", 1}}));
}

TEST(HeatReport, HasTheMapOnTheTimeAxisOfTheRun) {
  const Json map = heat_of(heated_sample(), 0).at("map");
  EXPECT_EQ(map.at("parts").at(2),
            Json({{"name", "ring"}, {"begin", kRingAt}, {"end", kRingAt + kMiB}, {"cells", 56}}));
  ASSERT_EQ(map.at("rows").size(), 4U);
  const Json& row = map.at("rows").at(1);
  EXPECT_EQ(row.at("begin_s"), 1);
  EXPECT_EQ(row.at("end_s"), 2);
  EXPECT_EQ(row.at("looks"), 10);
  EXPECT_EQ(row.at("accessed").at(0), 0.5);
  EXPECT_EQ(row.at("accessed").at(1), 0);
  EXPECT_EQ(row.at("written").at(8), 1);
  EXPECT_EQ(row.at("written").at(40), 0);
  EXPECT_EQ(map.at("rows").at(2).at("written").at(40), 1);
}

TEST(HeatReport, ARareUseIsNotNone) {
  constexpr std::uint64_t kAt = 1U << 30U;
  HeatOfJob heat = *heated_sample().jobs.front().heat;
  HeatWindow window{4, 5, 1000, 0, {}};
  window.regions = {{kAt, kAt + 4096, 1, 0, 0},
                    {kAt + kRingAt, kAt + kRingAt + kMiB / 2, 994, 3, 0}};
  heat.history->add(window, {kAt, kAt + kRingAt + 2 * kMiB});
  RunResult run = heated_sample();
  run.jobs.front().heat = std::make_shared<const HeatOfJob>(std::move(heat));
  const Json row = heat_of(run, 0).at("map").at("rows").at(4);
  EXPECT_EQ(row.at("accessed").at(0), 0.01);
  EXPECT_EQ(row.at("accessed").at(8), 0.99);
  EXPECT_EQ(row.at("written").at(8), 0.01);
  EXPECT_EQ(row.at("written").at(0), 0);
  EXPECT_EQ(row.at("accessed").at(63), 0);
}

TEST(HeatReport, OfAJobThatWasNotWatchedHasNullAndTheReason) {
  const Json heat = heat_of(heated_sample(), 1);
  EXPECT_EQ(heat.at("reason"), "it is on no bus");
  for (const char* const key :
       {"source", "precision", "mapping", "bytes", "windows", "working_set_bytes", "touched_bytes",
        "touched_share", "written_bytes", "written_share", "looks", "regions", "map"}) {
    EXPECT_EQ(heat.at(key), nullptr) << key;
  }
}

TEST(HeatReport, PrintsALineForEachJobAndASmallMap) {
  const std::string text = text_of(heated_sample(), 80);
  const auto at = text.find("  heat of the bus");
  ASSERT_NE(at, std::string::npos) << text;
  const std::string fourth = std::string(14, '@') + std::string(42, ' ');
  const std::string all(56, '@');
  const std::string expected =
      "  heat of the bus  used, p50       p95  touched  written        of\n"
      "  bulk               260 KiB  1.00 MiB   84.5 %   84.2 %  1.19 MiB\n"
      "  bulk.peer                -         -        -        -         -\n"
      "  bulk.peer: it is on no bus\n"
      "  over time: header, ports and ring of the bus; share of the looks in which a\n"
      "    part was used,\n"
      "    from none to all: \" .:-=+*#%@\"\n"
      "  bulk\n"
      "       0.0 s |+|       |" +
      fourth + "|\n" + "       1.0 s |+|       |" + fourth + "|\n" + "       2.0 s |+|       |" +
      all + "|\n" + "       3.0 s |+|       |" + all + "|\n\n";
  EXPECT_EQ(text.substr(at, expected.size()), expected);
}

/// The text of the heated sample with the share `used` in all cells, or with another in one.
std::string text_of_even(double used, double in_one) {
  Json json = Json::parse(to_json(heated_sample(), Bins::without));
  Json& rows = json["jobs"][0]["heat"]["map"]["rows"];
  for (Json& row : rows) {
    for (Json& share : row["accessed"]) share = used;
  }
  rows[3]["accessed"][63] = in_one;
  return to_text(Report::parse(json.dump(), "sample").value(), 80);
}

TEST(HeatReport, PrintsASentenceForAMapOfOneHeat) {
  const std::string half = text_of_even(0.5, 0.5);
  EXPECT_NE(half.find("  bulk.peer: it is on no bus\n"
                      "  bulk: all parts of its bus were used alike, in 50 % of the looks\n\n"),
            std::string::npos)
      << half;
  const std::string none = text_of_even(0, 0);
  EXPECT_NE(none.find("  bulk.peer: it is on no bus\n"
                      "  bulk: no part of its bus was used\n\n"),
            std::string::npos)
      << none;
  const std::string one = text_of_even(0, 0.001);
  EXPECT_NE(one.find("       3.0 s | |       |" + std::string(55, ' ') + ".|\n\n"),
            std::string::npos)
      << one;
  EXPECT_EQ(one.find("no part of its bus"), std::string::npos);
}

TEST(HeatReport, SaysOfHowManyJobsTheMapsAreNotShown) {
  Json json = Json::parse(to_json(heated_sample(), Bins::without));
  for (int i = 0; i < 5; ++i) {
    Json job = json["jobs"][0];
    job["jobname"] = "more" + std::to_string(i);
    json["jobs"].push_back(job);
  }
  const std::string text = to_text(Report::parse(json.dump(), "sample").value(), 80);
  EXPECT_NE(text.find("  more2\n       0.0 s |"), std::string::npos) << text;
  EXPECT_EQ(text.find("  more3\n       0.0 s |"), std::string::npos) << text;
  EXPECT_NE(text.find("|\n  maps of other jobs, which are not shown: 2\n\n"), std::string::npos)
      << text;
}

TEST(HeatReport, IsNotThereIfNobodyAsked) {
  const RunResult run = test::quiet_sample();
  EXPECT_FALSE(Json::parse(to_json(run, Bins::without)).at("jobs").at(0).contains("heat"));
  EXPECT_EQ(text_of(run).find("heat of the bus"), std::string::npos);
}

}  // namespace
}  // namespace shmif::perf::report_heat
