// Runs of shmifperf in labs: perf.NAME.

#include <algorithm>

#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;

class LabPerf : public LabRig {
 protected:
  json report(const std::string& name) const {
    return json::parse(text_of(file("out/" + name + ".json")), nullptr, false);
  }
  /// The lines of timeline.jsonl about that.
  std::vector<json> notes(const std::string& what) const {
    std::vector<json> found;
    std::ifstream in(file("out/timeline.jsonl"));
    for (std::string line; std::getline(in, line);) {
      const json each = json::parse(line, nullptr, false);
      if (each.value("what", "") == what) found.push_back(each);
    }
    return found;
  }
  /// Whether a port of the bus has received a frame.
  bool has_heard(const std::string& port) const {
    const json stat = json::parse(run_tool({"stat", file("lab.b"), "--json"}).out, nullptr, false);
    if (!stat.is_object()) return false;
    return std::ranges::any_of(stat["ports"], [&](const json& each) {
      return each["name"] == port && each["rx_frames"] > 0;
    });
  }
  /// What `check` says of a lab.
  std::string check(const std::string& text) const {
    const ToolResult r = run_tool({"check", lab(text)});
    EXPECT_EQ(r.status, 1) << r.out;
    return r.err;
  }
};

TEST_F(LabPerf, RunsOnItsBusWhenTheLabIsReadyAndDecides) {
  const std::string path =
      lab(R"(host.a = { on = "b", run = "sleep 0.5; echo up; sleep 600", ready = "log up" }
capture.all = { on = "b", filter = "ether proto 0x88b5" }
[perf.load]
on = "b"
options = { bs = 200, rate_iops = "2k", number_ios = 300 }
jobs.one = { rw = "tx" }
jobs.two = { rw = "pingpong", bs = 100, number_ios = 50, rate_iops = 500 }
)");
  const ToolResult r = up(path, {"--junit", file("report.xml")});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  const json found = report("load");
  ASSERT_TRUE(found.is_object()) << r.out << r.err;
  EXPECT_EQ(found["passed"], true);
  const auto sent = [&](const std::string& name) -> json {
    for (const json& job : found["jobs"]) {
      if (job["jobname"] == name) return job["tx"];
    }
    return {};
  };
  EXPECT_EQ(sent("one")["frames"], 300) << found["jobs"];
  EXPECT_EQ(sent("one")["bytes"], 300 * 200);
  EXPECT_EQ(sent("two")["frames"], 50) << "an option of the job overrides that of all";
  EXPECT_EQ(sent("two")["bytes"], 50 * 100);
  EXPECT_TRUE(contains(text_of(file("out/load.html")), "</html>"));
  EXPECT_TRUE(contains(text_of(file("out/load.log")), "passed"));
  EXPECT_TRUE(contains(r.out, "load | "));
  const std::string xml = text_of(file("report.xml"));
  EXPECT_TRUE(contains(xml, "name=\"perf load\""));
  EXPECT_FALSE(contains(xml, "<failure"));
  ASSERT_EQ(notes("perf load").size(), 1U);
  EXPECT_EQ(notes("perf load")[0]["applied"], true);
  EXPECT_GT(notes("perf load")[0]["time_ns"], 0) << "after the lab was ready";
  EXPECT_GT(notes("perf load")[0]["wall_ns"], 1'700'000'000'000'000'000);
  expect_no_trace();
}

TEST_F(LabPerf, ThatFailsFailsALabWhoseTestPassed) {
  const std::string path = lab(R"(host.a = { on = "b" }
perf.bad = { on = "b", options = { engine = "host", exec = "sh -c 'exit 5'" } }
test = { host = "a", run = "true" }
)");
  const ToolResult r = up(path, {"--junit", file("report.xml")});
  EXPECT_EQ(r.status, 1) << r.out << r.err;
  EXPECT_TRUE(contains(r.err, "the lab lab failed: perf bad ended with exit code 1"));
  EXPECT_EQ(report("bad")["passed"], false) << "the results of a failure stay";
  const std::string xml = text_of(file("report.xml"));
  EXPECT_TRUE(contains(xml, "<failure message=\"ended with exit code 1\">"));
}

TEST_F(LabPerf, ATestThatPassedWaitsForItAndItsReportGoesWithTheOtherResults) {
  const std::string path = lab(R"(host.a = { on = "b" }
perf.load = { on = "b", options = { rw = "tx", rate_iops = 100, number_ios = 100 } }
test = { host = "a", run = "true" }
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(report("load")["jobs"][0]["tx"]["frames"], 100) << "until its end";
  std::filesystem::remove_all(file("out"));
  EXPECT_EQ(up(path).status, 0);
  EXPECT_FALSE(std::filesystem::exists(file("out")));
}

TEST_F(LabPerf, ATestThatFailedDoesNotWaitForIt) {
  const std::string path = lab(R"(host.a = { on = "b" }
perf.load = { on = "b", options = { rw = "tx", rate_iops = 100, runtime = 600 } }
test = { host = "a", run = "exit 4" }
)");
  const ToolResult r = up(path, {"--junit", file("report.xml"), "--time-limit", "100"});
  EXPECT_EQ(r.status, 4) << r.out << r.err;
  EXPECT_TRUE(
      contains(text_of(file("report.xml")), "<skipped message=\"the lab ended before it\">"));
  expect_no_trace();
}

TEST_F(LabPerf, RunsInAHostAndTakesJobFiles) {
  std::ofstream(file("two.job")) << "[global]\nengine=udp\nhostname=198.18.0.7\nnumber_ios=40\n"
                                    "rate_iops=1k\n[first]\nrw=tx\n[second]\nrw=tx\n";
  const std::string path = lab(R"(host.a = { on = "b", ip = "198.18.0.7/24" }
perf.inner = { host = "a", file = "two.job", options = { bs = 300 } }
)");
  const ToolResult r = up(path, {"--time-limit", "100"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  const json found = report("inner");
  ASSERT_TRUE(found.is_object()) << r.out << r.err;
  Words names;
  for (const json& job : found["jobs"]) {
    if (job["tx"].is_null()) continue;
    names.push_back(job["jobname"]);
    EXPECT_EQ(job["tx"]["frames"], 40);
    EXPECT_EQ(job["tx"]["bytes"], 40 * 300);
  }
  EXPECT_EQ(names, (Words{"first", "second"})) << found["jobs"];
}

TEST_F(LabPerf, AnEventStartsAndEndsIt) {
  const std::string path = lab(R"(
host.a = { on = "b" }
host.x = { on = "b", run = "sleep 0.2; echo go; sleep 600" }
perf.first = { on = "b", options = { rw = "tx", number_ios = 20, rate_iops = 1000 } }
perf.long = { on = "b", options = { rw = "tx", rate_iops = 100, runtime = 600 } }
perf.never = { on = "b", options = { rw = "tx", number_ios = 1 } }
at = [
  { after = "log x 'go'", start = "first" },
  { after = "ended first", start = "long" },
  { after = "ended first", time = "500ms", start = "long" },
  { after = "ended first", time = "1s", stop = "long" },
  { after = "ended long", stop = "x" },
  { after = "log x 'no such line'", start = "never" },
  { after = "ended long", stop = "first" },
]
test = { host = "a", run = "until grep -q 'stop first' out/timeline.jsonl; do sleep .1; done" }
)");
  const ToolResult r =
      up(path, {"--time-limit", "100", "--junit", file("report.xml"), "--keep", "always"});
  EXPECT_EQ(r.status, 1) << "one event could not be applied\n" << r.out << r.err;
  Words all;
  std::ifstream in(file("out/timeline.jsonl"));
  for (std::string line; std::getline(in, line);) {
    const json each = json::parse(line);
    all.push_back(each["what"].get<std::string>() + (each["applied"] ? "" : " failed"));
  }
  std::erase(all, "ready");
  ASSERT_EQ(all.size(), 9U) << testing::PrintToString(all);
  EXPECT_EQ(all.back(), "start never failed") << "the lab ended before it";
  EXPECT_EQ((Words(all.begin(), all.begin() + 6)),
            (Words{"start first", "perf first", "start long", "start long failed", "stop long",
                   "perf long"}));
  EXPECT_EQ(std::ranges::count(all, "stop x"), 1);
  EXPECT_EQ(std::ranges::count(all, "stop first failed"), 1);
  EXPECT_EQ(report("first")["jobs"][0]["tx"]["frames"], 20);
  EXPECT_GT(report("long")["jobs"][0]["tx"]["frames"], 0) << "stopped, it still reports";
  EXPECT_FALSE(std::filesystem::exists(file("out/never.json")));
  const std::string xml = text_of(file("report.xml"));
  EXPECT_TRUE(contains(xml, "<skipped message=\"it was not started\">"));
  EXPECT_TRUE(contains(xml, "<failure message=\"perf first does not run\">"));
}

TEST_F(LabPerf, EndsWithItsLab) {
  const std::string path = lab(R"(host.a = { on = "b" }
perf.load = { on = "b", options = { rw = "tx", rate_iops = 100, runtime = 600 } }
)");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const pid_t controller = state()["pid"];
  ASSERT_TRUE(eventually([&] { return has_heard("load.sink"); }));
  std::vector<pid_t> family = family_of(controller);
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  for (const pid_t each : family) EXPECT_TRUE(eventually([&] { return is_gone(each); })) << each;
  EXPECT_GT(report("load")["jobs"][0]["tx"]["frames"], 0);
  expect_no_trace();
  // A killed controller takes the jobs with it.
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  ASSERT_TRUE(eventually([&] { return has_heard("load.sink"); }));
  family = family_of(state()["pid"]);
  EXPECT_GE(family.size(), 8U) << "controller, guardian, exec, init, sleep, shmifperf, two jobs";
  ::kill(state()["pid"], SIGKILL);
  for (const pid_t each : family) EXPECT_TRUE(eventually([&] { return is_gone(each); })) << each;
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(file("lab.b")); }));
}

TEST_F(LabPerf, CheckAsksShmifperfAndNamesThePlaces) {
  const std::string host = "host.a = { on = \"b\" }\nhost.c = { on = \"b\", count = 2 }\n";
  const auto expect = [&](const std::string& perf, const std::string& place,
                          const std::string& part) {
    const std::string said = check(host + perf + "\n");
    EXPECT_TRUE(contains(said, "lab.toml:" + place + ": ")) << perf;
    EXPECT_TRUE(contains(said, part)) << perf;
    EXPECT_EQ(count_of_lines(said), 2) << said << "one problem, and their number";
  };
  expect("perf.p = { on = 'b', options = { rw = 'tx', rat = 5 } }", "4:45", "--rate?");
  expect("perf.p = { on = 'b', options = { rw = 'up' } }", "4:34", "4:34: rw: \"up\" is not known");
  expect("perf.p = { on = 'b', jobs.x = { rw = 'tx' }, jobs.y = { rw = 'no' } }", "4:57", "\"no\"");
  expect(
      "perf.p = { on = 'b', jobs.x = { rw = 'tx', size = '1k' }, jobs.y = { rw = 'tx', size = "
      "5000, to = 'z' } }",
      "4:94", "job \"y\"");
  expect("perf.p = { options = { rw = 'tx' } }", "4:6", "needs `on`");
  expect("perf.p = { on = 'b', host = 'a', options = { rw = 'tx' } }", "4:6", "leave one out");
  expect("perf.p = { on = 'q', options = { rw = 'tx' } }", "4:17", "no bus \"q\"");
  expect("perf.p = { host = 'c', options = { rw = 'tx' } }", "4:19", "name one of them");
  expect("perf.p = { on = 'b' }", "4:6", "says nothing of what it does");
  expect("perf.p = { on = 'b', options = { bus = '/dev/shm/x' } }", "4:34", "write on = ");
  expect("perf.p = { on = 'b', options = { rw = ['tx'] } }", "4:39", "a text, a number");
  expect("perf.p = { on = 'b', file = 'none.job' }", "4:29", "there is no file");
  expect("perf.a = { on = 'b', options = { rw = 'tx' } }", "4:6", "the same name, \"a\"");
  expect("perf.p = { on = 'b', options = { rw = 'tx', size = '1m', bs = 1523 } }", "4:58",
         "bs: frames of 1523 bytes do not fit bus.b, whose `mtu` is 1500");
  expect("perf.p = { on = 'b', jobs.x = { rw = 'tx', size = '1m', engine = 'host', ip = 'x' } }",
         "4:74", "ip: ");
  expect("perf.p = { on = 'b', jobs.x = { rw='tx', size='1m', engine='host', ip='198.18.0.9' } }",
         "4:68", "ip: ");
  const std::string fits =
      "perf.p = { on = 'b', options = { rw = 'tx', size = '1m', bs = 1522 } }\n";
  EXPECT_EQ(run_tool({"check", lab(host + fits)}).err, "");
  std::filesystem::copy_file(shmifctl_path(), file("alone"));
  const ToolResult alone =
      run_program({"env", "PATH=/none", file("alone"), "check", lab(host + fits)});
  EXPECT_TRUE(contains(alone.err, ":4:6: cannot run shmifperf"));
  std::ofstream(file("bad.job")) << "[one]\nrw=tx\nsize=x\n";
  expect("perf.p = { on = 'b', file = 'bad.job' }", "4:29", "bad.job:3: ");
}

}  // namespace
}  // namespace shmif::test
