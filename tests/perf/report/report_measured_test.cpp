// Counted events, memory bandwidth and the access heat of jobs in the reports of runs.

#include "bus/layout.hpp"
#include "perf/result/instruments_of_run.hpp"
#include "tests/perf/report/report_rig.hpp"

namespace shmif::perf::report_measured {
namespace {

using namespace report_rig;  // NOLINT(google-build-using-namespace): the rig of this folder
using test::counted_sample;
using test::heated_sample;
using test::measured_sample;

TEST(MeasuredReport, IsNotThereIfNobodyAsked) {
  const RunResult run = test::quiet_sample();
  for (const char* key : {"counters", "heat"}) EXPECT_FALSE(json_of(run)["jobs"][0].contains(key));
  EXPECT_FALSE(json_of(run).contains("membw"));
  for (const char* words : {"counters", "memory bandwidth", "heat of the bus"}) {
    EXPECT_FALSE(has(text_of(run), words)) << words;
  }
}

// ---- Counted events ----

TEST(CountersReport, HasEachEventAndTheReasonOfOneThatWasNotCounted) {
  const Json job = json_of(counted_sample())["jobs"][0];
  EXPECT_EQ(job["counters"], Json::parse(R"([
    {"name": "task-clock", "value": 3e6, "unit": "ns", "scaled": false, "enabled_ns": 3000000,
     "running_ns": 3000000, "source": "linux/perf_event.h", "reason": null, "per_frame": 1500.0},
    {"name": "cycles", "value": 4e6, "unit": null, "scaled": true, "enabled_ns": 3000000,
     "running_ns": 1500000, "source": "linux/perf_event.h", "reason": null, "per_frame": 2000.0},
    {"name": "instructions", "value": 1e7, "unit": null, "scaled": false, "enabled_ns": 3000000,
     "running_ns": 3000000, "source": "linux/perf_event.h", "reason": null, "per_frame": 5000.0},
    {"name": "cache-misses", "value": null, "unit": null, "scaled": false, "enabled_ns": 0,
     "running_ns": 0, "source": "linux/perf_event.h", "reason": "not supported: no such event",
     "per_frame": null}])"));
  EXPECT_EQ(job["counter_intervals"][0]["values"][1]["scaled"], true);
  EXPECT_EQ(job["counter_intervals"][1], Json::parse(R"({"at_seconds": 2.5, "seconds": 1.5,
    "values": [{"value": 2e6, "scaled": false, "reason": null},
               {"value": null, "scaled": false, "reason": "no free counter"},
               {"value": 6e6, "scaled": false, "reason": null},
               {"value": null, "scaled": false, "reason": "not supported: no such event"}]})"));
  const std::string text = text_of(counted_sample());
  EXPECT_TRUE(has(text, "cache-misses: not supported: no such event")) << text;
  EXPECT_TRUE(has(text, "instructions per cycle: 2.5")) << text;
  for (const auto& [event, words] : {std::pair{"task-clock", Words{"3.00 ms", "1.50 us"}},
                                     {"cycles", {"4,000,000", "2,000", "50.0 %"}}}) {
    const Cells row = row_of(text, std::string("bulk ") + event);
    for (const std::string& word : words) EXPECT_EQ(std::ranges::count(row, word), 1) << word;
  }
}

TEST(CountersReport, HasInstructionsPerCycleOnlyWhereBothWereCountedAlike) {
  const auto ipc = [](const char* cycles, const char* instructions, std::optional<double> value) {
    RunResult run = counted_sample();
    run.jobs[0].counters[1].name = cycles;
    run.jobs[0].counters[1].value = value;
    run.jobs[0].counters[2].name = instructions;
    return json_of(run)["jobs"][0]["instructions_per_cycle"];
  };
  EXPECT_EQ(ipc("cycles:u", "instructions:u", 4e6), 2.5);
  EXPECT_EQ(ipc("cpu-cycles", "instructions", 4e6), 2.5);
  EXPECT_EQ(ipc("cycles:u", "instructions", 4e6), nullptr);
  EXPECT_EQ(ipc("cycles-ct", "instructions-ct", 4e6), nullptr) << "other events";
  EXPECT_EQ(ipc("cycles", "instructions", {}), nullptr);
  EXPECT_EQ(ipc("cycles", "instructions", 0), nullptr);
  RunResult run = counted_sample();
  run.jobs[0].counters[2].value.reset();
  EXPECT_EQ(json_of(run)["jobs"][0]["instructions_per_cycle"], nullptr);
  run.jobs[0].tx.frames = run.jobs[0].rx.frames = 0;
  EXPECT_EQ(json_of(run)["jobs"][0]["counters"][0]["per_frame"], nullptr) << "there is no frame";
}

// ---- Memory bandwidth ----

TEST(MembwReport, HasTheSourcesWithBytesForEachFrameAndTheWindowsOnTheTimeAxisOfTheRun) {
  const Json membw = json_of(measured_sample())["membw"];
  ASSERT_EQ(membw["sources"].size(), 2U);
  const Json bus = Json::parse(R"({"source": "software", "part": "bus", "scope": "machine",
    "origin": "/dev/shm/bus0", "level": "copied", "window_s": 2.0, "total_bytes_per_s": 3e6,
    "bytes_per_frame": 3000.0})");
  for (const auto& [key, value] : bus.items()) {
    EXPECT_EQ(membw["sources"][0].at(key), value) << key;
  }
  const Json& pmu = membw["sources"][1];
  EXPECT_EQ(pmu["total_bytes_per_s"], nullptr);
  EXPECT_EQ(pmu["bytes_per_frame"], nullptr);
  EXPECT_EQ(pmu["reason"], "no PMU of a memory controller");
  EXPECT_EQ(membw["comparisons"][0]["verdict"], "not_comparable");
  ASSERT_EQ(membw["samples"].size(), 2U);
  const Json& readings = membw["samples"][1]["readings"];
  EXPECT_EQ(readings, Json::parse(R"([
    {"source": "software:bus", "begin_s": 3.0, "window_s": 1.0, "read_bytes_per_s": 1e6,
     "write_bytes_per_s": 2e6, "total_bytes_per_s": 3e6, "reason": null},
    {"source": "pmu", "begin_s": null, "window_s": 0.0, "read_bytes_per_s": null,
     "write_bytes_per_s": null, "total_bytes_per_s": null,
     "reason": "no PMU of a memory controller"}])"));
  const std::string text = text_of(measured_sample());
  EXPECT_TRUE(has(text, "memory bandwidth\n")) << text;
  EXPECT_TRUE(has(text, "1.00 MB/s  2.00 MB/s  3.00 MB/s    3.00 kB")) << text;
  EXPECT_TRUE(has(text, "pmu: no PMU of a memory controller")) << text;
  EXPECT_FALSE(has(text, "partial"));
}

TEST(MembwReport, SaysWhatIsPartialAndHasLessThanTenBytesForAFrameWithDecimals) {
  RunResult run = measured_sample();
  MemoryOfRun little = *run.membw;
  for (MembwSample& each : little.measured.samples) each.readings[0].total = 576;
  little.measured.partial = true;
  run.membw = std::make_shared<MemoryOfRun>(little);
  EXPECT_EQ(json_of(run)["membw"]["sources"][0]["bytes_per_frame"], 0.576);
  EXPECT_EQ(json_of(run)["membw"]["partial"], true);
  EXPECT_TRUE(has(text_of(run), "3.00 MB/s     0.58 B")) << text_of(run);
  EXPECT_TRUE(has(text_of(run), "partial: the run was stopped"));
}

TEST(MembwReport, OfARunOnServersIsPrintedForEachServer) {
  Json whole = json_of(measured_sample());
  const Json memory = whole["membw"];
  whole.erase("membw");
  for (const char* const name : {"left", "right"}) {
    Json host = Json::parse(R"({"passed": true, "failures": [], "exit_code": 0, "time": null,
      "shmifperf_version": null, "machine": null, "start_offset_ns": null,
      "clock_error_ns": null})");
    host["hostname"] = name;
    host["membw"] = memory;
    whole["hosts"].push_back(host);
  }
  for (const char* const title : {"memory bandwidth of left\n", "memory bandwidth of right\n"}) {
    EXPECT_TRUE(has(text_of(whole), title)) << title;
  }
}

// ---- Heat ----

constexpr std::uint64_t kRingAt = bus::kRingOffset;
constexpr std::uint64_t kMiB = 1U << 20U;

TEST(HeatReport, HasTheFiguresTheRegionsAndTheMapOfAJobOrTheReason) {
  const Json jobs = json_of(heated_sample())["jobs"];
  const Json& heat = jobs[0]["heat"];
  const Json figures = {
      {"mapping", "bulk@/dev/shm/bus0"},
      {"precision", "page"},
      {"reason", nullptr},
      {"windows", 4},
      {"looks", 10},
      {"bytes", kRingAt + kMiB},
      {"working_set_bytes", {{"p50", kMiB / 4 + 4096}, {"p95", kMiB + 4096}, {"max", kMiB + 4096}}},
      {"touched_bytes", kMiB + 4096},
      {"written_bytes", kMiB},
      {"written_share", static_cast<double>(kMiB) / static_cast<double>(kRingAt + kMiB)}};
  for (const auto& [key, value] : figures.items()) {
    EXPECT_EQ(heat.at(key), value) << key;
  }
  // The regions of the last window, as addresses of the file.
  const auto region = [](std::uint64_t begin, std::uint64_t end, int accesses, int writes,
                         int age) {
    return Json{
        {"begin", begin}, {"end", end}, {"accesses", accesses}, {"writes", writes}, {"age", age}};
  };
  ASSERT_EQ(heat["regions"].size(), 4U);
  EXPECT_EQ(heat["regions"][0], region(0, 4096, 5, 0, 3));
  EXPECT_EQ(heat["regions"][2], region(kRingAt, kRingAt + kMiB / 4, 10, 10, 3));
  EXPECT_EQ(heat["regions"][3], region(kRingAt + kMiB / 4, kRingAt + kMiB, 10, 10, 1));
  // The map, on the time axis of the run.
  const Json& map = heat["map"];
  EXPECT_EQ(map["parts"][2],
            Json({{"name", "ring"}, {"begin", kRingAt}, {"end", kRingAt + kMiB}, {"cells", 56}}));
  ASSERT_EQ(map["rows"].size(), 4U);
  const Json& row = map["rows"][1];
  EXPECT_EQ(row["begin_s"], 1);
  EXPECT_EQ(row["end_s"], 2);
  EXPECT_EQ(row["looks"], 10);
  EXPECT_EQ(row["accessed"][0], 0.5);
  EXPECT_EQ(row["accessed"][1], 0);
  EXPECT_EQ(row["written"][8], 1);
  EXPECT_EQ(row["written"][40], 0);
  EXPECT_EQ(map["rows"][2]["written"][40], 1);
  for (const auto& [key, value] : jobs[1]["heat"].items()) {
    EXPECT_EQ(value, key == "reason"  ? Json("it is on no bus")
                     : key == "attrs" ? value
                                      : Json())
        << key;
  }
}

TEST(HeatReport, ARareUseIsNotNone) {
  constexpr std::uint64_t kAt = 1U << 30U;
  HeatOfJob heat = *heated_sample().jobs.front().heat;
  HeatWindow window{4, 5, 1000, 0, {}};
  window.regions = {{kAt, kAt + 4096, 1, 0, 0},
                    {kAt + kRingAt, kAt + kRingAt + kMiB / 2, 994, 3, 0}};
  heat.history->add(window, {kAt, kAt + kRingAt + 2 * kMiB});
  for (Region& each : window.regions) each.writes.reset();
  heat.history->add(window, {kAt, kAt + kRingAt + 2 * kMiB});
  RunResult run = heated_sample();
  run.jobs.front().heat = std::make_shared<const HeatOfJob>(std::move(heat));
  const Json rows = json_of(run)["jobs"][0]["heat"]["map"]["rows"];
  const Json& row = rows[4];
  EXPECT_EQ(row["accessed"][0], 0.01);
  EXPECT_EQ(row["accessed"][8], 0.99);
  EXPECT_EQ(row["written"][8], 0.01);
  EXPECT_EQ(row["written"][0], 0);
  EXPECT_EQ(row["accessed"][63], 0);
  EXPECT_EQ(rows[5]["written"], nullptr) << "it was not measured any more";
}

TEST(HeatReport, PrintsALineForEachJobAndASmallMap) {
  const std::string text = text_of(heated_sample(), 80);
  EXPECT_EQ(row_of(text, "bulk  ", "  heat of the bus"),
            (Cells{"bulk", "260 KiB", "1.00 MiB", "84.5 %", "84.2 %", "1.19 MiB"}));
  EXPECT_EQ(row_of(text, "bulk.peer  ", "  heat of the bus"),
            (Cells{"bulk.peer", "-", "-", "-", "-", "-"}));
  EXPECT_TRUE(has(text, "\n  bulk.peer: it is on no bus\n")) << text;
  const std::string fourth = " s |+|       |" + std::string(14, '@') + std::string(42, ' ') + "|\n";
  const std::string all = " s |+|       |" + std::string(56, '@') + "|\n";
  EXPECT_TRUE(has(text, "\n  bulk\n       0.0" + fourth + "       1.0" + fourth + "       2.0" +
                            all + "       3.0" + all))
      << text;
  Json many = json_of(heated_sample());
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(has(text_of(many, 80), "not shown") && i < 4) << i;
    Json job = many["jobs"][0];
    job["jobname"] = "more" + std::to_string(i);
    many["jobs"].push_back(job);
  }
  EXPECT_TRUE(has(text_of(many, 80), "  more2\n       0.0 s |"));
  EXPECT_FALSE(has(text_of(many, 80), "  more3\n       0.0 s |"));
  EXPECT_TRUE(has(text_of(many, 80), "|\n  maps of other jobs, which are not shown: 2\n\n"));
}

TEST(HeatReport, PrintsASentenceForAMapOfOneHeat) {
  const auto text = [](double used, double in_one) {
    Json json = json_of(heated_sample());
    Json& rows = json["jobs"][0]["heat"]["map"]["rows"];
    for (Json& row : rows) {
      for (Json& share : row["accessed"]) share = used;
    }
    rows[3]["accessed"][63] = in_one;
    return text_of(json, 80);
  };
  EXPECT_TRUE(has(text(0.5, 0.5),
                  "\n  bulk: all parts of its bus were used alike, in 50 % of the looks\n"));
  EXPECT_TRUE(has(text(0, 0), "\n  bulk: no part of its bus was used\n"));
  EXPECT_TRUE(has(text(0, 0.001), "       3.0 s | |       |" + std::string(55, ' ') + ".|\n\n"));
  EXPECT_FALSE(has(text(0, 0.001), "no part of its bus"));
}

}  // namespace
}  // namespace shmif::perf::report_measured
