// What a run measures beside its traffic: its own limit, a steady state, when its jobs began; and
// frames of earlier runs, checked again.

#include <sys/types.h>
#include <unistd.h>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "perf/control/campaign.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using test::job;
using test::pair;
using test::run;

RunResult campaign(const std::vector<PlannedJob>& plan) {
  RunControl control;
  bool stuck = false;
  return run_campaign({}, plan, nullptr, control, stuck).value();
}

// ---- What fio's users ask for ----

/// The lines of a log of the run below `dir`: numbers.
std::vector<std::vector<std::uint64_t>> log_lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::vector<std::uint64_t>> lines;
  for (std::string text; std::getline(file, text);) {
    std::istringstream numbers(text);
    std::vector<std::uint64_t>& line = lines.emplace_back();
    for (std::uint64_t n = 0; numbers >> n; numbers.ignore(1)) line.push_back(n);
  }
  return lines;
}

/// fio's bin of a latency, by its own words: 64 bins to each power of two from 128 on.
std::size_t fio_bin(std::uint64_t ns) {
  std::size_t group = 0;
  for (; ns >= 128; ns >>= 1U) ++group;
  return group * 64 + ns;
}

TEST(RunMeasure, HistogramLogsAddUpToTheLatenciesOfTheRunInFiosBins) {
  const test::TempDir dir;
  const RunResult result = run_text(
      "[global]\naux-path=" + dir.path() +
      "\n[j]\nengine=unix\nbs=100\nrate_iops=1000\nnumber_ios=300\nfault=delay=3ms±2ms\n"
      "write_hist_log=h\nlog_hist_msec=50\n[k]\nengine=unix\nrate_iops=1000\nnumber_ios=100\n"
      "write_hist_log=c\nlog_hist_coarseness=6\nwrite_lat_log=l\nlog_avg_msec=100\n");
  ASSERT_TRUE(passed(result));
  const LatencyHistogram& all = *job_of(result, "j.sink").latency;
  std::vector<std::uint64_t> bins(1856);
  const auto lines = log_lines(dir.file("h_clat_hist.j.log"));
  EXPECT_GE(lines.size(), 3U) << "300 ms have several of 50 ms";
  for (const auto& line : lines) {
    ASSERT_EQ(line.size(), 3 + bins.size());
    EXPECT_EQ(line[1], 1U) << "of frames that it sent";
    EXPECT_EQ(line[2], 100U);
    for (std::size_t i = 0; i < bins.size(); ++i) bins[i] += line[3 + i];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t count : bins) sum += count;
  EXPECT_EQ(sum, 300U);
  EXPECT_EQ(sum, all.count());
  EXPECT_EQ(bins[fio_bin(all.min())] > 0, true);
  EXPECT_EQ(bins[fio_bin(all.max())] > 0, true);
  const auto first = std::ranges::find_if(bins, [](std::uint64_t n) { return n != 0; });
  EXPECT_EQ(static_cast<std::size_t>(first - bins.begin()), fio_bin(all.min()));

  sum = 0;
  for (const auto& line : log_lines(dir.file("c_clat_hist.k.log"))) {
    ASSERT_EQ(line.size(), 3U + 29U) << "64 bins in one";
    for (std::size_t i = 3; i < line.size(); ++i) sum += line[i];
  }
  EXPECT_EQ(sum, 100U);
}

TEST(RunMeasure, AReceiverWaitsAsLongAsItsSenderSaysForLateFrames) {
  const RunResult result = run_text(
      "[a]\nto=b\nengine=unix\nnumber_ios=20\nfault=delay=300ms\ndrain_time=5\n"
      "[b]\nrw=rx\nengine=unix\ndrain_time=1ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(test::flow_to(result, "b").received, 20U);
  EXPECT_EQ(test::flow_to(result, "b").late, 0U);
}

TEST(RunMeasure, TheHarnessesOwnLimitStandsBesideEachRate) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  const RunResult result = campaign(plan);
  ASSERT_TRUE(passed(result));
  ASSERT_TRUE(result.jobs[0].limit_fps && result.jobs[1].limit_fps);
  EXPECT_GT(*result.jobs[0].limit_fps, 100'000);
  EXPECT_GT(*result.jobs[1].limit_fps, 100'000);
}

TEST(RunMeasure, ASteadyRateEndsTheJobAndTheReportSaysWhen) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  plan[0].options.rate_fps.tx = 2000;
  plan[0].options.runtime = 60s;
  plan[0].options.steadystate = "iops:20%";
  plan[0].options.ss_dur = 2s;
  const RunResult result = run(plan);
  ASSERT_TRUE(passed(result));
  EXPECT_LT(result.jobs[0].tx.seconds, 30);
  ASSERT_TRUE(result.steady_state);
  EXPECT_EQ(result.steady_state->rfind("reached at ", 0), 0U) << *result.steady_state;
  ASSERT_EQ(result.steady_states.size(), 1U);
  const SteadyStateResult& data = result.steady_states[0];
  EXPECT_EQ(data.job, "first");
  EXPECT_EQ(data.figure, "iops");
  EXPECT_EQ(data.limit, 0.2);
  EXPECT_TRUE(data.limit_is_share);
  EXPECT_EQ(data.window_seconds, 2U);
  ASSERT_TRUE(data.value && data.reached_at_seconds);
  EXPECT_LE(*data.value, 0.2);
  EXPECT_GE(*data.reached_at_seconds, 2U);
}

/// A run whose frames are recorded.
std::string record(const test::TempDir& directory, std::uint64_t seed) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  plan[0].options.runtime = {};
  plan[0].options.number_ios = 1000;
  plan[0].options.randseed = seed;
  plan[0].options.bs.tx = FrameSizes{{{.min = 64, .max = 900}}};
  plan[0].options.write_pcap = directory.file("sent.pcapng");
  EXPECT_TRUE(passed(run(plan)));
  return plan[0].options.write_pcap;
}

/// A job that checks a capture.
std::vector<PlannedJob> checker(const std::string& capture) {
  auto plan = std::vector{job("checker", Role::rx, EngineKind::pcap)};
  plan[0].options.filename = capture;
  plan[0].options.verify_only = true;
  return plan;
}

TEST(RunMeasure, ARecordIsCheckedLaterFrameByFrame) {
  const test::TempDir directory;
  const RunResult result = run(checker(record(directory, 5)));
  ASSERT_TRUE(passed(result));
  const FlowResult& flow = result.jobs[0].flows.at(0);
  EXPECT_EQ(flow.received, 1000U);
  EXPECT_EQ(flow.lost + flow.duplicates + flow.corrupt + flow.truncated, 0U);
  EXPECT_EQ(flow.sent, 1000U);
  EXPECT_EQ(flow.cancelled, 0U) << "all that is in a record was waited for";
  EXPECT_TRUE(result.jobs[0].latency->empty());
}

TEST(RunMeasure, ARecordThatLacksFramesIsFoundOut) {
  const test::TempDir directory;
  const std::string whole = record(directory, 5);
  // What another job receives of a replay over a line with losses, it records by sending it on: the
  // capture of an independent tool, here the engine that writes captures.
  auto plan = std::vector{job("copy", Role::tx, EngineKind::pcap)};
  plan[0].options.replay = whole;
  plan[0].options.replay_no_stall = true;
  plan[0].options.runtime = {};
  plan[0].options.filename = directory.file("lossy.pcapng");
  plan[0].options.fault = parse_faults("loss=5%,seed=3").value();
  const RunResult copied = run(plan);
  const std::uint64_t lost = copied.links.at(0).faults.lost;
  ASSERT_GT(lost, 10U);
  const RunResult result = run(checker(directory.file("lossy.pcapng")));
  const FlowResult& flow = result.jobs[0].flows.at(0);
  EXPECT_EQ(flow.received, 1000 - lost);
  // Of those before the first and after the last that came, the record knows nothing.
  EXPECT_LE(flow.lost, lost);
  EXPECT_GE(flow.lost + 20, lost);
}

TEST(RunMeasure, ADamagedFrameFailsTheRunThoughItIsCheckedAfterTheLastOne) {
  const test::TempDir directory;
  const std::string capture = record(directory, 5);
  std::stringstream bytes;
  bytes << std::ifstream(capture, std::ios::binary).rdbuf();
  std::string changed = bytes.str();
  changed.at(changed.rfind("\x88\xb5sp") + 30) ^= 1;  // in the last probe
  std::ofstream(capture, std::ios::binary) << changed;
  for (const std::uint64_t backlog : {0U, 100'000U}) {
    auto plan = checker(capture);
    plan[0].options.verify_backlog = backlog;
    EXPECT_TRUE(failed(run(plan), "a corrupt frame was received")) << backlog;
  }
}

TEST(RunMeasure, FramesAreComparedWithWhatTheirSeedMakes) {
  const test::TempDir directory;
  auto plan = checker(record(directory, 5));
  plan[0].options.verify_regenerate = true;
  plan[0].options.randseed = 5;
  EXPECT_TRUE(passed(run(plan)));
  // The checksums are right; but these are not the frames that seed 6 makes.
  plan[0].options.randseed = 6;
  EXPECT_TRUE(failed(run(plan), "a corrupt frame was received"));
}

TEST(RunMeasure, ARunComparesItsOwnFramesWithTheirSeedToo) {
  for (const Role role : {Role::tx, Role::pingpong, Role::txrx}) {
    auto plan = pair(role, EngineKind::bus);
    for (PlannedJob& each : plan) each.options.verify_regenerate = true;
    plan[1].options.randseed = 77;  // of what it sends itself
    EXPECT_TRUE(passed(run(plan))) << static_cast<int>(role);
  }
}

TEST(RunMeasure, ARecordWithoutItsEndIsNotTakenForAWholeOne) {
  const test::TempDir directory;
  const std::string capture = record(directory, 5);
  std::filesystem::resize_file(capture, std::filesystem::file_size(capture) - 5);
  const RunResult result = run(checker(capture));
  EXPECT_TRUE(failed(result, "the capture is damaged"));
  EXPECT_EQ(result.jobs[0].flows.at(0).received, 999U) << "what was whole is counted";
}

}  // namespace

// The numbers of a job are of its measured window: all of the schema but those that are named here
// are looked at in runs that end within their ramp.

namespace {

using Json = nlohmann::json;

/// The numbers of the schema that are not of the measured window, as "definition.property".
const std::set<std::string>& outside_of_the_window() {
  static const std::set<std::string> kNames{
      // Identities, limits, times of day.
      "job.exit_status", "job.exit_signal", "job.pid", "job.limit_fps",
      "job.latency_clock_error_ns", "sent.catchup_tolerance_ns", "flow.flow", "heat.bytes",
      "heat_region.begin", "heat_region.end", "heat_part.begin", "heat_part.end", "heat_part.cells",
      "tcp.mss_bytes", "tcp.pmtu_bytes", "tcp.send_buffer_bytes", "tcp.receive_buffer_bytes",
      "tcp.dscp",
      // Jobs begin before the ramp, not after it.
      "job.start_skew_ns",
      // What was left out of all the others.
      "sent.ramp_frames", "received.ramp_frames",
      // Each of a curve says whether it is of the window (`measured`).
      "counter_interval.at_seconds", "counter_interval.seconds", "heat_row.begin_s",
      "heat_row.end_s", "heat_row.looks", "heat_row.accessed", "heat_row.written"};
  return kNames;
}

bool is_of_the_window(const std::string& name) {
  // Counts of a medium, which knows no window, are compared with those beside them.
  for (const char* const whole : {"counts.", "interval.", "tcp_sample."}) {
    if (name.starts_with(whole)) return false;
  }
  return !outside_of_the_window().contains(name);
}

Json schema() {
  std::ifstream file(shmif::test::in_source("docs/shmifperf.schema.json"));
  return Json::parse(file);
}

/// Every number below a definition, as "definition.property".
class SchemaWalk {
 public:
  explicit SchemaWalk(Json schema) : schema_(std::move(schema)) {}

  /// `value` null: of the schema alone.
  void walk(const std::string& definition, const Json& value,
            const std::function<void(const std::string&, const Json&)>& act) {
    const Json& properties = schema_.at("definitions").at(definition).at("properties");
    for (const auto& [name, property] : properties.items()) {
      const Json of = value.is_object() ? value.value(name, Json()) : value;
      visit(definition + '.' + name, property, of, act);
    }
  }

 private:
  static bool is_number(const Json& property) {
    const auto numeric = [](const Json& type) { return type == "integer" || type == "number"; };
    const Json& type = property.value("type", Json());
    return numeric(type) || (type.is_array() && std::ranges::any_of(type, numeric));
  }

  void visit(const std::string& name, const Json& property, const Json& value,
             const std::function<void(const std::string&, const Json&)>& act) {
    if (is_number(property)) return act(name, value);
    if (property.contains("oneOf")) return visit(name, property.at("oneOf").at(1), value, act);
    if (property.contains("$ref")) {
      const auto ref = property.at("$ref").get<std::string>();
      return walk(ref.substr(ref.rfind('/') + 1), value, act);
    }
    if (!property.contains("items")) return;
    if (!value.is_array() || value.empty()) return visit(name, property.at("items"), {}, act);
    for (const Json& each : value) visit(name, property.at("items"), each, act);
  }

  Json schema_;
};

// ---- Runs ----

/// Frames of an earlier run, and one of a stranger, for everybody on a bus.
void send_others(const std::string& bus, const std::vector<test::Witnessed>& old) {
  Port port = test::port_on(bus);
  for (const test::Witnessed& each : old) {
    std::vector<std::byte> bytes = each.bytes;
    std::fill_n(bytes.begin(), 6, std::byte{0xff});
    write_probe(bytes, probe_offset(bytes), each.probe());
    const FrameView view{std::span<const std::byte>(bytes)};
    (void)port.send({&view, 1});
  }
  std::vector<std::byte> stranger(64, std::byte{0xff});
  stranger[12] = std::byte{0x88};
  const FrameView view{std::span<const std::byte>(stranger)};
  (void)port.send({&view, 1});
}

/// Over a bus whose reader is overrun while others send, too.
RunResult lossy(const std::string& ramp) {
  const test::TempBus bus(test::roomy(1));
  const std::string head = "[j]\nbus=" + bus.path() + "\nbs=1000\n";
  EXPECT_TRUE(passed(run_text(head + "number_ios=20\n")));
  const auto old = test::witnessed(bus.path());
  pid_t frozen = 0;
  return run_text(head +
                      "rate_iops=20k\nnumber_ios=8000\ndrain_time=50ms\ncontinue_on_error=verify\n"
                      "fault=loss=2%,duplicate=10%,reorder=2%,corrupt=5%,truncate=5%,seed=3\n" +
                      ramp,
                  [&](const RunProgress& progress) {
                    const JobProgress& sink = progress.jobs[1];
                    if (frozen == 0 && sink.rx_frames > 1000) {
                      frozen = static_cast<pid_t>(sink.pid);
                      send_others(bus.path(), old);
                      ::usleep(20'000);  // they are read
                      ::kill(frozen, SIGSTOP);
                    } else if (frozen > 0 && progress.jobs[0].tx_frames == 8000) {
                      ::kill(frozen, SIGCONT);
                      frozen = -1;
                    }
                  });
}

/// Over sockets that take no more than their queues hold.
RunResult refused(const std::string& ramp) {
  return run_text("[j]\nengine=unix\nnumber_ios=30000\ndrain_time=50ms\ncounters=task-clock\n" +
                  ramp);
}

RunResult round_trips(const std::string& ramp) {
  return run_text(
      "[j]\nengine=unix\nrw=pingpong\nrate_iops=5k\nnumber_ios=600\ndrain_time=20ms\n"
      "fault=loss=5%,duplicate=5%,seed=3\n" +
      ramp);
}

using RunWith = RunResult (*)(const std::string&);
constexpr RunWith kRuns[] = {lossy, refused, round_trips};

void for_each_number(const RunResult& result,
                     const std::function<void(const std::string&, const Json&)>& act) {
  SchemaWalk walk(schema());
  const Json report = Json::parse(to_json(result, Bins::without));
  for (const Json& job : report.at("jobs")) {
    Json whole = job;
    // Of a run on servers.
    whole["hostname"] = whole["latency_clock_error_ns"] = nullptr;
    for (const char* const key : {"latency_ns", "service_ns", "spacing_error_ns"}) {
      if (whole.at(key).is_object()) whole.at(key)["bins"] = nullptr;
    }
    walk.walk("job", whole, act);
  }
}

TEST(RunWindow, WhatHappensInTheRampIsInNoNumberOfIt) {
  for (const RunWith run : kRuns) {
    const RunResult only_ramp = run("ramp_time=60\n");
    EXPECT_TRUE(passed(only_ramp));
    EXPECT_GT(only_ramp.jobs.at(0).tx.ramp_frames, 500U);
    for_each_number(only_ramp, [](const std::string& name, const Json& value) {
      if (!is_of_the_window(name)) return;
      EXPECT_TRUE(value.is_null() || value == 0)
          << name << " is " << value << "; if it is not of the window, say why above";
    });
    for (const JobResult& job : only_ramp.jobs) {
      for (const IntervalResult& each : job.intervals) EXPECT_FALSE(each.measured);
    }
  }
  // The same runs without a ramp show that there was something to leave out. They are repeated
  // because on a busy machine the receiver may be stopped too late to be overrun.
  std::set<std::string> still{"job.overruns",          "job.overrun_frames",
                              "sent.frames",           "sent.offered_fps",
                              "received.bytes",        "received.foreign_frames",
                              "received.stale_frames", "loss.lost_frames",
                              "loss.duplicate_frames", "loss.corrupt_frames",
                              "flow.reordered_frames", "flow.truncated_frames",
                              "flow.jitter_ns",        "flow.gaps",
                              "histogram.count",       "histogram.p99",
                              "cpu.user_seconds",      "counter.value"};
  for (int round = 0; round < 5 && !still.empty(); ++round) {
    for (const RunWith run : kRuns) {
      for_each_number(run(""), [&](const std::string& name, const Json& value) {
        if (value.is_number() && value != 0) still.erase(name);
      });
    }
  }
  for (const std::string& name : still) ADD_FAILURE() << name << " was 0 in every run";
}

TEST(RunWindow, WhatTheHarnessDoesBeforeItIsInNoCpuTime) {
  // Jobs that share a CPU pass it on to each other till the start, some hundred times where nobody
  // else wants it: so it is theirs alone, where the test has the right to that.
  const std::string alone = ::geteuid() == 0 ? "rtprio=1\n" : "";
  const RunResult result =
      run_text("[j]\nengine=null\nnumber_ios=1\nnumjobs=8\ncpus_allowed=0\n" + alone);
  ASSERT_EQ(result.jobs.size(), 8U);
  for (const JobResult& job : result.jobs) {
    ASSERT_TRUE(job.cpu);
    EXPECT_LT(job.cpu->involuntary_switches, 50U) << job.name;
  }
}

double offered_fps(const TrafficResult& tx) {
  return static_cast<double>(tx.offered_frames) / tx.offered_seconds;
}

TEST(RunOffered, IsThePaceAskedForHoweverLongTheJobTook) {
  for (const char* const limit : {"number_ios=300", "size=30000\nbs=100"}) {
    bool frozen = false;
    const RunResult result =
        run_text("[j]\nengine=unix\nrate_iops=1000\ndrain_time=20ms\n" + std::string(limit),
                 [&](const RunProgress& progress) {
                   if (!frozen && progress.jobs[0].tx_frames > 50) {
                     frozen = true;
                     test::freeze(progress.jobs[0], std::chrono::milliseconds(300));
                   }
                 });
    ASSERT_TRUE(passed(result));
    const TrafficResult& tx = result.jobs[0].tx;
    EXPECT_EQ(tx.offered_frames, 300U);
    EXPECT_GT(tx.seconds, 0.35);
    EXPECT_NEAR(offered_fps(tx), 1000, 1e-6) << "and not 300 in " << tx.seconds << " s";
    const std::vector<std::string> warnings = warnings_from(result);
    EXPECT_TRUE(std::ranges::any_of(warnings, [](const std::string& text) {
      return text.find("j: the pace was not kept: ") == 0 &&
             text.find(" sent of 1.00 k/s asked for") != std::string::npos;
    })) << testing::PrintToString(warnings);
  }
}

}  // namespace

}  // namespace shmif::perf
