// The instruments in the hands of an ordinary user: what they can do, they do, and of the rest they
// say what would permit it.

#include <gtest/gtest.h>
#include <unistd.h>

#include "perf/report/report.hpp"
#include "tests/tools/shmifperf/perf_server_rig.hpp"
#include "tests/tools/shmifperf/unprivileged_rig.hpp"

namespace shmif::test {
namespace {

Json named(const Json& list, const std::string& name) {
  for (const Json& each : list) {
    if (each.at("name") == name) return each;
  }
  return {};
}

const Words kSomeWork{"sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"};

Words with_work(const Words& words) {
  return words + Words{"--"} + kSomeWork;
}

constexpr const char* kPermits =
    "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON";

TEST_F(Unprivileged, StatCountsInUserSpaceAndNamesWhatItCannotCount) {
  const Json json = json_of(
      with_work({"stat", "--json", "-e", "task-clock,page-faults,page-faults:u,context-switches"}));
  const Json clock = named(json["events"], "task-clock");
  const Json faults = named(json["events"], "page-faults");
  const Json in_user_space = named(json["events"], "page-faults:u");
  const Json switches = named(json["events"], "context-switches");
  if (paranoid_ <= 2) {
    EXPECT_GT(clock["value"], 0) << clock;
    EXPECT_GT(in_user_space["value"], 0) << in_user_space;
  }
  const bool told = has(faults["source"], ", in user space only, as page-faults:u");
  EXPECT_EQ(told, only_user_space()) << faults;
  EXPECT_FALSE(has(clock["source"], "user space")) << "task-clock:u counts the kernel's time, too";
  EXPECT_EQ(switches["value"].is_null(), paranoid_ > 1) << switches;
  EXPECT_EQ(has(switches["reason"], "not permitted: "), paranoid_ > 1) << switches;
  const ToolResult text =
      run_program(as_ordinary(with_work({"stat", "-e", "page-faults,context-switches"})));
  EXPECT_EQ(has(text.out, "page-faults: in user space only, as page-faults:u: "), only_user_space())
      << text.out;
  EXPECT_EQ(has(text.out, kPermits), paranoid_ > 1) << text.out;
}

TEST_F(Unprivileged, SampleShowsUserSpaceAndSaysWhatWouldShowMore) {
  if (paranoid_ > 2) {
    const ToolResult none = run_program(as_ordinary(with_work({"sample"})));
    EXPECT_TRUE(has(none.err, kPermits)) << none.err;
    return;
  }
  const Json json = json_of(with_work({"sample", "--json", "-F", "5000"}));
  EXPECT_GT(json["samples"], 0);
  EXPECT_EQ(json["event"] == "cpu-clock (in user space only)", only_user_space()) << json["event"];
  const std::string notes = json["notes"].dump();
  EXPECT_EQ(has(notes, "cpu-clock was sampled in user space only, as cpu-clock:u: "),
            only_user_space())
      << notes;
  EXPECT_EQ(has(notes, kPermits), only_user_space()) << notes;
}

TEST_F(Unprivileged, WholeCpusAreRefusedWithTheSettingThatWouldPermitThem) {
  if (paranoid_ < 1) GTEST_SKIP() << "everybody may count whole CPUs here";
  const std::string setting = "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON";
  for (const Words& where : {Words{"-a"}, Words{"-C", "0"}}) {
    Words stat{"stat", "-e", "page-faults,task-clock:u"};
    stat.insert(stat.end(), where.begin(), where.end());
    stat.insert(stat.end(), {"--", "echo", "begun"});
    const ToolResult counted = run_program(as_ordinary(stat));
    EXPECT_EQ(counted.status, 77) << counted.out << counted.err;
    EXPECT_TRUE(has(counted.out, "page-faults: not permitted: ")) << counted.out;
    EXPECT_TRUE(has(counted.out, "task-clock:u: not permitted: ")) << counted.out;
    EXPECT_TRUE(has(counted.out, setting)) << counted.out;
    EXPECT_FALSE(has(counted.out, "begun")) << "nothing was counted of it";
    Words sample{"sample"};
    sample.insert(sample.end(), where.begin(), where.end());
    const ToolResult sampled = run_program(as_ordinary(sample));
    EXPECT_EQ(sampled.status, 77) << sampled.out << sampled.err;
    EXPECT_TRUE(has(sampled.err, setting)) << sampled.err;
  }
}

TEST_F(Unprivileged, MembwIsRefusedTheBytesOfSomebodyElsesProcess) {
  const std::string pid = std::to_string(::getpid());
  const ToolResult result = run_program(as_ordinary(
      {"membw", "--source", "software", "-p", pid, "--samples", "1", "--window", "50ms"}));
  EXPECT_TRUE(has(result.out, "/proc/" + pid + "/io: Permission denied")) << result.out;
}

TEST_F(Unprivileged, CountersOfARunAreThoseOfUserSpaceWhereNoMoreIsPermitted) {
  const Json json = json_of(
      {"run", "--name=flow", "--rw=tx", "--engine=bus", "--rate_iops=1000", "--runtime=300ms",
       "--counters=task-clock,page-faults,page-faults:u,context-switches", "--output-format=json"});
  const Json counters = json["jobs"][0]["counters"];
  const Json clock = named(counters, "task-clock");
  const Json faults = named(counters, "page-faults");
  const Json switches = named(counters, "context-switches");
  EXPECT_EQ(clock["value"].is_null(), paranoid_ > 2) << clock;
  EXPECT_EQ(has(faults["source"], ", in user space only, as page-faults:u "), only_user_space())
      << faults;
  EXPECT_FALSE(has(clock["source"], "user space")) << clock;
  if (only_user_space()) {
    EXPECT_GT(clock["value"], 0) << clock;
    EXPECT_FALSE(has(switches["reason"], "in user space")) << "there are none in user space";
  }
  EXPECT_EQ(!switches["reason"].is_null() && has(switches["reason"], kPermits), paranoid_ > 1)
      << switches;
  const Json first = json["jobs"][0]["counter_intervals"][0]["values"];
  EXPECT_EQ(first[0]["reason"], clock["reason"]);
}

// The instruments of a run on a server: what they found there is in the client's result.

Json value_of(const Json& list, const std::string& name) {
  for (const Json& each : list) {
    if (each.at("name") == name) return each;
  }
  return {};
}

TEST(PerfServerInstruments, CountersAndMemoryBandwidthOfTwoServersAreInOneResult) {
  RunningServer first;
  RunningServer second;
  const ToolResult result = run_program(
      client_words(first.address() + ',' + second.address(),
                   {"--name=flow", "--rw=tx", "--bs=1000", "--rate_iops=5000", "--runtime=1500ms",
                    "--counters=page-faults:u,task-clock:u", "--membw", "--output-format=json"}));
  ASSERT_EQ(result.status, 0) << result.err << result.out;
  const auto report = perf::Report::parse(result.out, "of two servers");
  ASSERT_TRUE(report) << report.error().message;
  const Json& json = report->json();
  ASSERT_EQ(json.at("hosts").size(), 2U);
  EXPECT_FALSE(json.contains("membw") && !json.at("membw").is_null()) << "each machine has its own";
  for (const Json& host : json.at("hosts")) {
    bool bus = false;
    for (const Json& source : host.at("membw").at("sources")) {
      if (source.at("source") != "software" || source.at("part") != "bus") continue;
      bus = true;
      EXPECT_GT(source.at("write_bytes_per_s"), 0) << source;
    }
    EXPECT_TRUE(bus) << host.at("membw");
  }
  ASSERT_EQ(json.at("jobs").size(), 4U) << "two senders and two receivers";
  for (const Json& job : json.at("jobs")) {
    SCOPED_TRACE(job.at("jobname"));
    const Json clock = value_of(job.at("counters"), "task-clock:u");
    EXPECT_EQ(clock.at("value").is_null(), !clock.at("reason").is_null()) << clock;
    ASSERT_FALSE(job.at("counter_intervals").empty());
    for (const Json& interval : job.at("counter_intervals")) {
      ASSERT_EQ(interval.at("values").size(), 2U);
      EXPECT_EQ(interval.at("values").at(1).at("value").is_null(), clock.at("value").is_null());
    }
  }
}

}  // namespace
}  // namespace shmif::test
