// The numbers of a job are of its measured window: all of the schema but those that are named here
// are looked at in runs that end within their ramp.

#include <gtest/gtest.h>
#include <sys/types.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "perf/report/problems.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;
using test::passed;
using test::run_text;

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
