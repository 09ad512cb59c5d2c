// Counted events and memory bandwidth in the reports of runs.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "perf/result/memory_of_run.hpp"
#include "tests/perf/report/measured_sample.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::report_counters {
namespace {

using test::counted_sample;
using test::measured_sample;
using Json = nlohmann::json;

Json json_of(const RunResult& run) {
  return Json::parse(to_json(run, Bins::without));
}
/// Also checks the JSON against the schema.
std::string text_of(const RunResult& run) {
  return to_text(Report::parse(to_json(run, Bins::without), "sample").value());
}

void expect_line(const std::string& text, const std::string& line) {
  EXPECT_NE(text.find(line), std::string::npos) << "no \"" << line << "\" in\n" << text;
}

TEST(CountersReport, HasValueUnitAndTimesOfEachEventAndItsShareOfAFrame) {
  const Json job = json_of(counted_sample()).at("jobs").at(0);
  EXPECT_EQ(job.at("counters").size(), 4U);
  EXPECT_EQ(job.at("counters").at(0), Json({{"name", "task-clock"},
                                            {"value", 3e6},
                                            {"unit", "ns"},
                                            {"scaled", false},
                                            {"enabled_ns", 3'000'000},
                                            {"running_ns", 3'000'000},
                                            {"source", "linux/perf_event.h"},
                                            {"reason", nullptr},
                                            {"per_frame", 1500}}));
  EXPECT_EQ(job.at("counters").at(1).at("unit"), nullptr);
  EXPECT_EQ(job.at("counters").at(1).at("scaled"), true);
  EXPECT_EQ(job.at("counters").at(1).at("running_ns"), 1'500'000);
  EXPECT_EQ(job.at("instructions_per_cycle"), 2.5);
}

TEST(CountersReport, OfAnEventThatWasNotCountedHasNullAndTheReason) {
  const Json job = json_of(counted_sample()).at("jobs").at(0);
  EXPECT_EQ(job.at("counters").at(3).at("value"), nullptr);
  EXPECT_EQ(job.at("counters").at(3).at("per_frame"), nullptr);
  EXPECT_EQ(job.at("counters").at(3).at("reason"), "not supported: no such event");
}

TEST(CountersReport, HasTheValuesOfEachIntervalInTheOrderOfTheEvents) {
  const Json curve = json_of(counted_sample()).at("jobs").at(0).at("counter_intervals");
  ASSERT_EQ(curve.size(), 2U);
  EXPECT_EQ(curve.at(1),
            Json({{"at_seconds", 2.5},
                  {"seconds", 1.5},
                  {"values",
                   {{{"value", 2e6}, {"scaled", false}, {"reason", nullptr}},
                    {{"value", nullptr}, {"scaled", false}, {"reason", "no free counter"}},
                    {{"value", 6e6}, {"scaled", false}, {"reason", nullptr}},
                    {{"value", nullptr},
                     {"scaled", false},
                     {"reason", "not supported: no such event"}}}}}));
  EXPECT_EQ(curve.at(0).at("values").at(1).at("scaled"), true);
}

TEST(CountersReport, HasInstructionsPerCycleOnlyWhereBothWereCountedAlike) {
  const auto ipc = [](const char* cycles, const char* instructions, std::optional<double> value) {
    RunResult run = counted_sample();
    run.jobs[0].counters[1].name = cycles;
    run.jobs[0].counters[1].value = value;
    run.jobs[0].counters[2].name = instructions;
    return json_of(run).at("jobs").at(0).at("instructions_per_cycle");
  };
  EXPECT_EQ(ipc("cycles:u", "instructions:u", 4e6), 2.5);
  EXPECT_EQ(ipc("cpu-cycles", "instructions", 4e6), 2.5);
  EXPECT_EQ(ipc("cycles:u", "instructions", 4e6), nullptr);
  EXPECT_EQ(ipc("cycles-ct", "instructions-ct", 4e6), nullptr) << "other events";
  EXPECT_EQ(ipc("cycles", "instructions", {}), nullptr);
  EXPECT_EQ(ipc("cycles", "instructions", 0), nullptr);
}

TEST(CountersReport, PrintsARowForEachEventAndTheReasonsBelow) {
  const std::string text = text_of(counted_sample());
  expect_line(text, "task-clock");
  expect_line(text, "3.00 ms");
  expect_line(text, "1.50 us");
  expect_line(text, "4,000,000");
  expect_line(text, "50.0 %");
  expect_line(text, "cache-misses: not supported: no such event");
  expect_line(text, "instructions per cycle: 2.5");
  RunResult often = counted_sample();
  for (JobResult& job : often.jobs) {
    for (CounterResult& each : job.counters) {
      if (each.name == "cycles")
        each.value = 1000.0 * static_cast<double>(job.tx.frames + job.rx.frames);
    }
  }
  expect_line(text_of(often), "  1,000  ");
}

TEST(CountersReport, IsNotThereIfNobodyAsked) {
  const RunResult run = test::quiet_sample();
  EXPECT_FALSE(json_of(run).at("jobs").at(0).contains("counters"));
  EXPECT_FALSE(json_of(run).contains("membw"));
  EXPECT_EQ(text_of(run).find("counters"), std::string::npos);
  EXPECT_EQ(text_of(run).find("memory bandwidth"), std::string::npos);
}

TEST(MembwReport, HasTheSourcesOfTheCommandAndBytesForEachFrame) {
  const Json membw = json_of(measured_sample()).at("membw");
  ASSERT_EQ(membw.at("sources").size(), 2U);
  const Json& bus = membw.at("sources").at(0);
  EXPECT_EQ(bus.at("source"), "software");
  EXPECT_EQ(bus.at("part"), "bus");
  EXPECT_EQ(bus.at("origin"), "/dev/shm/bus0");
  EXPECT_EQ(bus.at("scope"), "machine");
  EXPECT_EQ(bus.at("level"), "copied");
  EXPECT_EQ(bus.at("window_s"), 2);
  EXPECT_EQ(bus.at("total_bytes_per_s"), 3e6);
  EXPECT_EQ(bus.at("bytes_per_frame"), 3000);
  const Json& pmu = membw.at("sources").at(1);
  EXPECT_EQ(pmu.at("total_bytes_per_s"), nullptr);
  EXPECT_EQ(pmu.at("bytes_per_frame"), nullptr);
  EXPECT_EQ(pmu.at("reason"), "no PMU of a memory controller");
  EXPECT_EQ(membw.at("comparisons").at(0).at("verdict"), "not_comparable");
}

TEST(MembwReport, HasTheWindowsOnTheTimeAxisOfTheRun) {
  const Json samples = json_of(measured_sample()).at("membw").at("samples");
  ASSERT_EQ(samples.size(), 2U);
  const Json& reading = samples.at(1).at("readings").at(0);
  EXPECT_EQ(reading.at("source"), "software:bus");
  EXPECT_EQ(reading.at("begin_s"), 3);
  EXPECT_EQ(reading.at("window_s"), 1);
  EXPECT_EQ(samples.at(1).at("readings").at(1).at("begin_s"), nullptr);
}

TEST(MembwReport, PrintsARowForEachSourceAndTheReasonsBelow) {
  const std::string text = text_of(measured_sample());
  expect_line(text, "memory bandwidth\n");
  expect_line(text, "1.00 MB/s  2.00 MB/s  3.00 MB/s    3.00 kB");
  expect_line(text, "pmu: no PMU of a memory controller");
  EXPECT_EQ(text.find("partial"), std::string::npos);
}

TEST(MembwReport, PrintsLessThanTenBytesForAFrameWithDecimals) {
  RunResult run = measured_sample();
  MemoryOfRun little = *run.membw;
  for (MembwSample& each : little.measured.samples) each.readings[0].total = 576;
  run.membw = std::make_shared<MemoryOfRun>(little);
  EXPECT_EQ(json_of(run).at("membw").at("sources").at(0).at("bytes_per_frame"), 0.576);
  expect_line(text_of(run), "3.00 MB/s     0.58 B");
}

TEST(MembwReport, OfARunOnServersIsPrintedForEachServer) {
  Json whole = json_of(measured_sample());
  const Json memory = whole.at("membw");
  whole.erase("membw");
  whole["hosts"] = Json::array();
  for (const char* const name : {"left", "right"}) {
    whole["hosts"].push_back({{"hostname", name},
                              {"passed", true},
                              {"failures", Json::array()},
                              {"exit_code", 0},
                              {"shmifperf_version", nullptr},
                              {"time", nullptr},
                              {"machine", nullptr},
                              {"membw", memory},
                              {"start_offset_ns", nullptr},
                              {"clock_error_ns", nullptr}});
  }
  const std::string text = to_text(Report::parse(whole.dump(), "sample").value());
  expect_line(text, "memory bandwidth of left\n");
  expect_line(text, "memory bandwidth of right\n");
}

TEST(MembwReport, OfAStoppedRunSaysThatItIsPartial) {
  RunResult run = measured_sample();
  MemoryOfRun stopped = *run.membw;
  stopped.measured.partial = true;
  run.membw = std::make_shared<MemoryOfRun>(stopped);
  EXPECT_EQ(json_of(run).at("membw").at("partial"), true);
  expect_line(text_of(run), "partial: the run was stopped");
}

}  // namespace
}  // namespace shmif::perf::report_counters
