// Which numbers of a job are of its measured window: every one of the schema is named here, so that
// a new one cannot be forgotten, and those of the window are looked at in runs that end within
// their ramp.

#include <gtest/gtest.h>
#include <sys/types.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <map>
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

enum class Of {
  window,
  rarely,  ///< of the window, and 0 in most runs
  whole,   ///< of the whole job, for the reason beside it
  none,    ///< no count: an identity, a limit, a time of day
};

using Numbers = std::map<std::string, Of>;

/// Adds all numbers of T.
template <class T>
void add_rows(const std::string& definition, Of of, Numbers& all) {
  for_each_member<T>([&](const Figure<T>& row, auto member) {
    using V = std::remove_cvref_t<decltype(std::declval<T&>().*member)>;
    const bool number = !std::is_same_v<V, bool> && !std::is_same_v<V, std::string>;
    if (number && row.is_in(kInResult)) all[definition + '.' + row.key] = of;
  });
}

/// "definition.property" of docs/shmifperf.schema.json.
const Numbers& numbers() {
  static const Numbers kNumbers = [] {
    Numbers all;
    const auto add = [&all](const std::string& definition, Of of,
                            std::initializer_list<const char*> properties) {
      for (const char* const property : properties) all[definition + '.' + property] = of;
    };
    add("job", Of::window, {"runtime_seconds", "overruns", "overrun_frames"});
    add("job", Of::none,
        {"exit_status", "exit_signal", "pid", "limit_fps", "latency_clock_error_ns"});
    // Of a limit; of intervals; of a CPU with counters.
    add("job", Of::rarely, {"limit_share", "rate_ci95_share", "instructions_per_cycle"});
    // Jobs begin before the ramp, not after it.
    add("job", Of::whole, {"start_skew_ns"});
    add("sent", Of::window,
        {"frames", "bytes", "seconds", "rate_fps", "rate_bps", "batches", "offered_frames",
         "offered_bytes", "offered_seconds", "offered_fps", "offered_bps"});
    // Refused: where the receiver was stopped for long enough, which is luck.
    add("sent", Of::rarely, {"errors", "skipped_frames", "refused_frames"});
    add("sent", Of::none, {"catchup_tolerance_ns"});
    add("received", Of::window,
        {"frames", "bytes", "seconds", "rate_fps", "rate_bps", "batches", "foreign_frames",
         "stale_frames"});
    add("received", Of::rarely, {"errors"});
    // What was left out of all the others.
    for (const char* const direction : {"sent", "received"}) {
      add(direction, Of::whole, {"ramp_frames"});
    }
    for (const char* const loss : {"loss", "flow"}) {
      add(loss, Of::window,
          {"sent_frames", "received_frames", "lost_frames", "lost_share", "duplicate_frames",
           "reordered_frames", "corrupt_frames", "truncated_frames", "corrupt_copies",
           "truncated_copies", "jitter_ns"});
      add(loss, Of::rarely, {"late_frames", "cancelled_frames", "unverified_frames"});
    }
    add("flow", Of::none, {"flow"});
    add("flow", Of::window, {"gaps"});
    add("histogram", Of::window,
        {"count", "mean", "deviation", "p10", "p50", "p90", "p95", "p99", "p99_9", "p99_99",
         "p99_999", "max"});
    add("histogram", Of::rarely, {"min", "p1", "bins"});  // of 0 ns; json+ alone
    // They are compared with what the medium counts, which knows no window.
    add("counts", Of::whole,
        {"generator_tx_frames", "receiver_rx_frames", "receiver_foreign_frames", "wire_tx_frames",
         "wire_tx_bytes", "wire_rx_frames", "wire_rx_bytes", "wire_lost_frames", "wire_overruns",
         "wire_dropped_frames"});
    add("counts", Of::rarely, {"wire_corrupt"});
    add("cpu", Of::window, {"user_seconds", "frames_per_busy_second", "voluntary_switches"});
    add("cpu", Of::rarely,
        {"system_seconds", "involuntary_switches", "minor_faults", "major_faults"});
    add("class_errors", Of::window, {"count"});
    add("counter", Of::window, {"value", "enabled_ns", "running_ns", "per_frame"});
    add("counter_interval", Of::whole, {"at_seconds", "seconds"});
    // With --heat alone.
    add("heat", Of::rarely,
        {"windows", "touched_bytes", "touched_share", "written_bytes", "written_share", "looks"});
    add("heat", Of::none, {"bytes"});
    add("heat_working_set", Of::rarely, {"p50", "p95", "max"});
    add("heat_region", Of::none, {"begin", "end"});
    add("heat_region", Of::rarely, {"accesses", "writes", "age"});
    // A map has the ramp, too, as a curve has.
    add("heat_part", Of::none, {"begin", "end", "cells"});
    add("heat_row", Of::whole, {"begin_s", "end_s", "looks", "accessed", "written"});
    // Of a connection of TCP alone.
    add("tcp", Of::rarely,
        {"retransmits", "rtt_ns_min", "rtt_ns_mean", "rtt_ns_max", "samples",
         "snd_cwnd_bytes_max"});
    add("tcp", Of::none,
        {"mss_bytes", "pmtu_bytes", "send_buffer_bytes", "receive_buffer_bytes", "dscp"});
    // A curve has the ramp, too, and each says whether it is of the window (`measured`).
    add_rows<TcpSample>("tcp_sample", Of::whole, all);
    add_rows<IntervalResult>("interval", Of::whole, all);
    return all;
  }();
  return kNumbers;
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

TEST(RunWindow, EachNumberOfAJobIsKnownToBeOfItOrNot) {
  std::set<std::string> found;
  SchemaWalk(schema()).walk("job", {}, [&](const std::string& name, const Json&) {
    EXPECT_TRUE(numbers().contains(name))
        << name << " is new: is it of the measured window, or why not? Add it to numbers()";
    found.insert(name);
  });
  for (const auto& [name, of] : numbers()) {
    EXPECT_TRUE(found.contains(name)) << name << " is no number of the schema any more";
  }
}

TEST(RunWindow, WhatHappensInTheRampIsInNoNumberOfIt) {
  for (const RunWith run : kRuns) {
    const RunResult only_ramp = run("ramp_time=60\n");
    EXPECT_TRUE(passed(only_ramp));
    EXPECT_GT(only_ramp.jobs.at(0).tx.ramp_frames, 500U);
    for_each_number(only_ramp, [](const std::string& name, const Json& value) {
      const Of of = numbers().at(name);
      if (of != Of::window && of != Of::rarely) return;
      EXPECT_TRUE(value.is_null() || value == 0) << name << " is " << value;
    });
    for (const JobResult& job : only_ramp.jobs) {
      for (const IntervalResult& each : job.intervals) EXPECT_FALSE(each.measured);
    }
  }
  // The same runs without a ramp show that there was something to leave out. They are repeated
  // because on a busy machine the receiver may be stopped too late to be overrun.
  std::set<std::string> still;
  for (const auto& [name, of] : numbers()) {
    if (of == Of::window) still.insert(name);
  }
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

TEST(RunWindow, AJobThatIsStoppedFromItsRampToItsEndFails) {
  // On a busy machine the ramp may be over before the job is stopped.
  for (int round = 0; round < 5; ++round) {
    const auto stop = [done = false](const RunProgress& progress) mutable {
      const JobProgress& job = progress.jobs[0];
      if (done || job.state != JobState::ramp || job.tx_frames == 0) return;
      done = true;
      test::freeze(job, std::chrono::milliseconds(1500));
    };
    const JobSet set =
        test::set_of("[j]\nengine=unix\nrate_iops=1000\nramp_time=1\nruntime=300ms\n");
    const RunResult result = test::run_once(expand(set).value(), set.run, stop);
    if (result.jobs.at(0).tx.frames != 0) continue;
    EXPECT_GT(result.jobs[0].tx.ramp_frames, 0U);
    EXPECT_TRUE(test::failed(result, "job \"j\": sent none of the 300 frames that were due"));
    EXPECT_TRUE(result.jobs.at(1).passed) << "nobody sent to it";
    return;
  }
  FAIL() << "it was never stopped in its ramp";
}

struct OfTheWindow {
  std::uint64_t frames = 0;
  double seconds = 0;
};
OfTheWindow of_the_window(const JobResult& job) {
  OfTheWindow sum;
  for (const IntervalResult& each : job.intervals) {
    if (!each.measured) continue;
    sum.frames += each.tx_frames + each.rx_frames;
    sum.seconds += each.seconds;
  }
  return sum;
}

TEST(RunWindow, EndsAnIntervalOfTheCurve) {
  // The last interval is not of the window if a busy machine closed it late.
  const RunResult result = test::run_until(
      [] {
        return run_text(
            "[j]\nengine=unix\nrate_iops=1000\nramp_time=400ms\nruntime=1s\ndrain_time=800ms\n"
            "fault=delay=500ms\n");
      },
      [](const RunResult& ran) {
        return std::all_of(ran.jobs.begin(), ran.jobs.end(),
                           [](const JobResult& job) { return of_the_window(job).seconds > 0.75; });
      });
  ASSERT_TRUE(passed(result));
  for (const JobResult& job : result.jobs) {
    SCOPED_TRACE(job.name);
    // No frame of the ramp, and no time of the drain, but for moments on either side.
    EXPECT_NEAR(static_cast<double>(of_the_window(job).frames), 1000, 250);
    EXPECT_NEAR(of_the_window(job).seconds, 1, 0.25);
    // A line that only delays takes nothing from the rate, and the intervals have the same.
    const TrafficResult& traffic = sends(job.role) ? job.tx : job.rx;
    EXPECT_NEAR(static_cast<double>(traffic.frames), 1000, 250);
    EXPECT_NEAR(traffic.seconds, 1, 0.25);
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

TEST(RunOffered, WithoutAPaceIsWhatWasSent) {
  const RunResult result = run_text("[j]\nengine=unix\nnumber_ios=3000\ndrain_time=20ms\n");
  const TrafficResult& tx = result.jobs.at(0).tx;
  EXPECT_FALSE(tx.paced);
  EXPECT_EQ(tx.offered_frames, 3000U);
  EXPECT_EQ(tx.offered_seconds, tx.seconds);
  for (const std::string& text : warnings_from(result)) {
    EXPECT_EQ(text.find("pace"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace shmif::perf
