// What `at` does to the lines of a lab: by time and by event, with what was asked, what the bus
// noted, what its captures say, and what hosts felt.

#include <algorithm>
#include <csignal>

#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;

class LabEvents : public LabRig {
 protected:
  /// What was done and whether that succeeded, in its order, without the first line, "ready".
  Words timeline() const {
    Words all;
    std::ifstream in(file("out/timeline.jsonl"));
    for (std::string line; std::getline(in, line);) {
      const json each = json::parse(line, nullptr, false);
      if (!each.is_object() || each["what"] == "ready") continue;
      all.push_back(each["what"].get<std::string>() +
                    (each["applied"] ? "" : " failed: " + each["result"].get<std::string>()));
    }
    return all;
  }
  bool wait_for_events(std::size_t count) const {
    return eventually([&] { return timeline().size() >= count; });
  }
  /// The log of the bus: "x: link down".
  Words changes(const std::string& bus = "lab.b") const {
    const ToolResult said = run_tool({"changes", file(bus), "--json"});
    const json log = json::parse(said.out, nullptr, false);
    Words all;
    if (!log.is_object()) return all;
    for (const json& each : log["changes"]) {
      const json& port = each["port"];
      all.push_back((port.is_null() ? "" : port.get<std::string>() + ": ") +
                    each["change"].get<std::string>());
    }
    return all;
  }
  ToolResult inside(const std::string& host, const std::string& script,
                    const std::string& bus = "lab.b") const {
    return run_tool({"enter", file(bus), host, "--", "sh", "-c", script});
  }
  bool reaches(const std::string& from, const std::string& to) const {
    return inside(from, "ping -q -c 3 -i 0.2 -W 1 " + to).status == 0;
  }
  /// The comments in a capture, in their order.
  Words comments(const std::string& name) const {
    const ToolResult said = run_program({"tshark", "-r", file("out/" + name), "-Y", "frame.comment",
                                         "-T", "fields", "-e", "frame.comment"});
    Words all;
    std::istringstream lines(said.out);
    for (std::string line; std::getline(lines, line);) all.push_back(line);
    return all;
  }
  void end_lab() const { EXPECT_EQ(run_tool({"down", "lab"}).status, 0); }
};

bool has_in_order(const Words& texts, const Words& parts) {
  auto at = texts.begin();
  for (const std::string& part : parts) {
    at = std::find_if(at, texts.end(), [&](const std::string& text) {
      return text.find(part) != std::string::npos;
    });
    if (at == texts.end()) return false;
  }
  return true;
}

/// What holds on the line of a port: "link down, fault loss=100%".
std::string line_of(const std::string& bus, const std::string& port) {
  const json stat = json::parse(run_tool({"stat", bus, "--json"}).out, nullptr, false);
  if (!stat.is_object()) return "no stat";
  for (const json& each : stat.value("ports", json::array())) {
    if (each.value("name", "") != port) continue;
    return each["line"].is_string() ? each["line"].get<std::string>() : "";  // null: as it was made
  }
  return "no port";
}

const std::string kPair = R"(
host.a = { on = "b", ip = "198.18.0.1/24", run = "ping -i 0.1 198.18.0.9 > /dev/null" }
host.x = { on = "b", ip = "198.18.0.2/24" }
capture.all = { on = "b" }
)";

// Each change waits for a file, so the test looks at what holds between two of them. "z" watches
// for them, and its lines are events.
const std::string kSignals = R"(
host.z.on = "b"
host.z.run = '''
for n in 1 2 3 4; do until [ -e go$n ]; do sleep .05; done; echo step $n; done; sleep 600'''
)";

TEST_F(LabEvents, LinesOfOutputTakeALinkDownAndHitItWithFaultsAndGiveItBack) {
  const std::string path = lab(kPair + kSignals + R"(
[[at]]
after = "log z 'step 1'"
link = "x"
down = true
[[at]]
after = "log z 'step 2'"
link = "x"
down = false
[[at]]
after = "log z 'step 3'"
link = "x"
fault = "loss=100%"
[[at]]
after = "log z 'step 4'"
link = "x"
fault = "none"
)");
  ASSERT_EQ(up(path, {"--detach", "--seed", "7"}).status, 0);
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));
  EXPECT_TRUE(timeline().empty());
  std::ofstream(file("go1")) << "x";
  ASSERT_TRUE(wait_for_events(1));
  EXPECT_EQ(inside("x", "cat /sys/class/net/b/carrier").out, "0\n") << "the host sees it";
  EXPECT_FALSE(reaches("a", "198.18.0.2"));
  EXPECT_EQ(changes(), (Words{"x: link down"}));
  std::ofstream(file("go2")) << "x";
  ASSERT_TRUE(wait_for_events(2));
  EXPECT_EQ(inside("x", "cat /sys/class/net/b/carrier").out, "1\n");
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));
  std::ofstream(file("go3")) << "x";
  ASSERT_TRUE(wait_for_events(3));
  EXPECT_EQ(inside("x", "cat /sys/class/net/b/carrier").out, "1\n");
  EXPECT_FALSE(reaches("a", "198.18.0.2"));
  std::ofstream(file("go4")) << "x";
  ASSERT_TRUE(wait_for_events(4));
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));
  const Words log = changes();
  ASSERT_EQ(log.size(), 4U) << testing::PrintToString(log);
  EXPECT_TRUE(contains(log[2], "loss=100%"));
  EXPECT_TRUE(contains(log[2], "seed=")) << "from the lab's";
  end_lab();
  EXPECT_EQ(timeline(), (Words{"link x down", "link x up", "fault x loss=100%", "fault x none"}));
  EXPECT_TRUE(has_in_order(comments("all.pcapng"),
                           {"port x: link down", "port x: link up", "loss=100%", "none"}))
      << testing::PrintToString(comments("all.pcapng"));
}

TEST_F(LabEvents, APartitionKeepsGroupsApartUntilItIsHealed) {
  const std::string path = lab(R"(
host.a = { on = "b", ip = "198.18.0.1/24", run = "ping -i 0.1 198.18.0.9 > /dev/null" }
host.n = { on = "b", count = 2, ip = "198.18.0.11/24" }
host.x = { on = "b", ip = "198.18.0.2/24" }
capture.all = { on = "b" }
)" + kSignals + R"(
[[at]]
after = "log z 'step 1'"
partition = "a,n / x"
[[at]]
after = "log z 'step 2'"
heal = true
)");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));
  std::ofstream(file("go1")) << "x";
  ASSERT_TRUE(wait_for_events(1));
  EXPECT_FALSE(reaches("a", "198.18.0.2"));
  EXPECT_FALSE(reaches("x", "198.18.0.12")) << "a name of a count is all of its hosts";
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.12"); }));
  EXPECT_EQ(changes(), (Words{"partition a,n1,n2 / x"}));
  std::ofstream(file("go2")) << "x";
  ASSERT_TRUE(wait_for_events(2));
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));
  end_lab();
  EXPECT_EQ(timeline(), (Words{"partition a,n / x", "heal"}));
  EXPECT_TRUE(has_in_order(comments("all.pcapng"), {"partition a,n1,n2 / x", "heal"}))
      << testing::PrintToString(comments("all.pcapng"));
}

TEST_F(LabEvents, AHostMovesToAnotherBusAndTheNextEventFindsItThere) {
  std::string ends;  // behind which no frame comes
  for (const std::string host : {"a", "x", "y", "z"})
    ends += "[[at]]\nafter = \"log z 'step 4'\"\nlink = \"" + host + "\"\ndown = true\n";
  const std::string path = lab(R"(bus.c = { path = "lab.c" }
host.a = { on = "b", ip = "198.18.0.1/24", run = "ping -i 0.1 198.18.0.9 > /dev/null" }
host.y = { on = "c", ip = "198.18.0.3/24", run = "ping -i 0.1 198.18.0.9 > /dev/null" }
host.x = { on = "b", ip = "198.18.0.2/24" }
capture.all = { on = ["b", "c"] }
)" + kSignals + R"(
[[at]]
after = "log z 'step 1'"
link = "x"
move = "c"
[[at]]
after = "log z 'step 2'"
link = "x"
down = true
[[at]]
after = "log z 'step 3'"
link = "x"
move = "b"
)" + ends);
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));
  std::ofstream(file("go1")) << "x";
  ASSERT_TRUE(wait_for_events(1));
  EXPECT_TRUE(eventually([&] {
    return reaches("y", "198.18.0.2") ||
           inside("y", "ping -q -c 3 -i 0.2 -W 1 198.18.0.2", "lab.c").status == 0;
  }));
  EXPECT_FALSE(reaches("a", "198.18.0.2"));
  std::ofstream(file("go2")) << "x";
  ASSERT_TRUE(wait_for_events(2));
  const Words on_c = changes("lab.c");
  EXPECT_TRUE(std::ranges::count(on_c, "x: link down") == 1) << testing::PrintToString(on_c);
  std::ofstream(file("go3")) << "x";
  ASSERT_TRUE(wait_for_events(3));
  const ToolResult stat = run_tool({"stat", file("lab.b"), "--json"});
  EXPECT_TRUE(contains(stat.out, "\"name\": \"x\"")) << "it is back";
  std::ofstream(file("go4")) << "x";
  ASSERT_TRUE(wait_for_events(7));
  end_lab();
  EXPECT_EQ(timeline(), (Words{"move x to c", "link x down", "move x to b", "link a down",
                               "link x down", "link y down", "link z down"}));
  EXPECT_TRUE(has_in_order(comments("all.pcapng"), {"port x: move"}))
      << testing::PrintToString(comments("all.pcapng"));
  for (const std::string last : {"port y: link down", "port z: link down"})
    EXPECT_EQ(times_in(text_of(file("out/all.pcapng")), last), 1U) << last;
}

TEST_F(LabEvents, TimesFramesReadyAndEndedHostsStartThem) {
  // Each with its own trigger; the test looks at the order of what must be in order.
  const std::string path = lab(R"(
host.a = { on = "b", ip = "198.18.0.1/24" }
host.x = { on = "b", ip = "198.18.0.2/24" }
host.slow = { on = "b", run = "sleep 0.3; echo open; sleep 1; exit 0", ready = "log open" }
at = [
  { time = "1ms", link = "x", fault = "delay=1ms" },
  { time = "300ms", link = "x", fault = "delay=2ms" },
  { after = "ready slow", link = "a", fault = "delay=3ms" },
  { after = "frame b 'icmp[0] == 8'", time = "50ms", link = "a", fault = "delay=4ms" },
  { after = "ended slow", link = "x", fault = "delay=5ms" },
  { after = "ended slow", time = "100h", link = "x", down = true },
  { after = "frame b 'udp port 9'", link = "x", down = true },
]
[test]
host = "a"
run = '''
ping -c 1 -W 20 x; until [ $(grep -c delay= out/timeline.jsonl) = 5 ]; do sleep .05; done'''
)");
  const ToolResult r =
      up(path, {"--time-limit", "100", "--junit", file("report.xml"), "--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  const Words all = timeline();
  EXPECT_EQ(all.size(), 7U) << testing::PrintToString(all);
  EXPECT_EQ(std::ranges::count(all, "link x down failed: the lab ended before it"), 2)
      << testing::PrintToString(all);
  EXPECT_TRUE(has_in_order(all, {"x delay=1ms", "x delay=2ms", "x delay=5ms"}))
      << testing::PrintToString(all);
  EXPECT_TRUE(has_in_order(all, {"a delay=3ms", "a delay=4ms"})) << testing::PrintToString(all);
  std::ifstream in(file("out/timeline.jsonl"));
  std::int64_t at_300ms = 0;
  for (std::string line; std::getline(in, line);) {
    const json each = json::parse(line);
    if (each["what"] == "fault x delay=2ms") at_300ms = each["time_ns"];
  }
  EXPECT_GE(at_300ms, 300'000'000) << "not before its time";
  EXPECT_EQ(times_in(text_of(file("report.xml")), "<skipped message=\"the lab ended before it\">"),
            2U)
      << "no frame, and not yet its time";
}

TEST_F(LabEvents, AHostThatIsStartedAgainHasTheLineThatItHad) {
  const std::string path = lab(kSignals + R"(
host.w.on = "b"
host.w.ip = "198.18.0.1/24"
host.w.fault = "delay=1ms"
host.w.run = "echo life; until [ -e die ]; do sleep .05; done; rm die; exit 1"
host.w.restart = "on-failure"
host.v.on = ["b", "c"]
host.v.ip = ["198.18.0.2/24", "198.18.1.2/24"]
host.v.run = "trap '' TERM INT HUP; while :; do sleep .1; done"  # it must be killed
bus.c.path = "lab.c"
at = [
  { after = "log z 'step 1'", link = "w", down = true },
  { after = "log z 'step 1'", link = "v.c", fault = "loss=100%" },
  { after = "log z 'step 2'", stop = "v" },
  { after = "ended v", start = "v" },
  { after = "log z 'step 3'", link = "w", down = false },
]
)");
  ASSERT_EQ(up(path, {"--detach", "--time-limit", "200"}).status, 0);
  EXPECT_TRUE(eventually([&] { return reaches("v", "198.18.0.1"); }));
  std::ofstream(file("go1")) << "x";
  ASSERT_TRUE(wait_for_events(2));
  ASSERT_EQ(run_tool({"fault", file("lab.b"), "v", "delay=2ms"}).status, 0) << "by hand";
  const auto lives = [&] {
    std::size_t count = 0;
    const std::string log = text_of(file("out/w.log"));
    for (std::size_t at = 0; (at = log.find("life", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  std::ofstream(file("die")) << "x";
  ASSERT_TRUE(eventually([&] { return lives() == 2; }));
  EXPECT_EQ(line_of(file("lab.b"), "w"), "link down, fault delay=1ms");
  EXPECT_TRUE(eventually([&] { return inside("w", "cat /sys/class/net/b/carrier").out == "0\n"; }))
      << "the host sees it";
  EXPECT_FALSE(reaches("v", "198.18.0.1"));
  std::ofstream(file("go2")) << "x";
  ASSERT_TRUE(wait_for_events(4));
  EXPECT_TRUE(eventually([&] { return line_of(file("lab.b"), "v") == "fault delay=2ms"; }));
  EXPECT_TRUE(eventually([&] { return line_of(file("lab.c"), "v") == "fault loss=100%"; }));
  std::ofstream(file("go3")) << "x";
  ASSERT_TRUE(wait_for_events(5));
  EXPECT_TRUE(eventually([&] { return reaches("v", "198.18.0.1"); }));
  end_lab();
}

// A lab that is stopped or killed in each phase of its life: nothing is left.

class LabPhases : public LabRig {
 protected:
  bool exists(const std::string& name) const { return std::filesystem::exists(file(name)); }
  bool has_port(const std::string& name) const {
    return run_tool({"stat", file("lab.b"), "--json"}).out.find('"' + name + '"') !=
           std::string::npos;
  }
};

const char* const kPhases[] = {"starting", "waiting", "test", "perf", "ending"};

TEST_F(LabPhases, CtrlCAndAKillEndALabWithEverything) {
  // "first" is not ready before the file go1 is there, "second" waits for it and for go2. The test
  // waits for go3, the run of shmifperf for nothing. "slow" does not end when told to.
  const std::string text = R"(
[host.first]
on = "b"
run = "touch begun-first; until [ -e go1 ]; do sleep .02; done; echo one; exec sleep 600"
ready = "log one"
[host.second]
on = "b"
after = "first"
run = "touch begun-second; until [ -e go2 ]; do sleep .02; done; echo two; exec sleep 600"
ready = "log two"
[capture.all]
on = "b"
[perf.load]
on = "b"
options = { rw = "tx", rate_iops = 100, runtime = 600 }
[test]
host = "first"
run = "touch begun-test; until [ -e go3 ]; do sleep .02; done"
)";
  const std::string slow = R"([host.slow]
on = "b"
run = "trap '' TERM INT HUP; while :; do sleep .1; done"
)";
  for (const std::string phase : kPhases) {
    const std::string path = lab(phase == "ending" ? text + slow : text);
    for (const int signal : {SIGINT, SIGKILL}) {
      SCOPED_TRACE(phase + ", signal " + std::to_string(signal));
      for (const char* const each :
           {"begun-first", "begun-second", "begun-test", "go1", "go2", "go3"}) {
        std::filesystem::remove(file(each));
      }
      Tool tool(Words{shmifctl_path()} + up_words(path));
      const auto wait_for = [&](const char* name) {
        ASSERT_TRUE(eventually([&] { return exists(name); })) << name << tool.so_far().err;
      };
      ASSERT_NO_FATAL_FAILURE(wait_for("begun-first"));
      const bool to_waiting = phase != "starting";
      if (to_waiting) {
        std::ofstream(file("go1")) << "x";
        ASSERT_NO_FATAL_FAILURE(wait_for("begun-second"));
      }
      if (to_waiting && phase != "waiting") {
        std::ofstream(file("go2")) << "x";
        ASSERT_NO_FATAL_FAILURE(wait_for("begun-test"));
      }
      if (phase == "perf" || phase == "ending") {
        ASSERT_TRUE(eventually([&] { return has_port("load.sink"); }));
      }
      const std::vector<pid_t> family = family_of(tool.pid());
      EXPECT_GE(family.size(), 6U);
      if (phase == "ending") {
        tool.signal(SIGTERM);  // the load ends first; "slow" goes on for two seconds
        ASSERT_TRUE(eventually([&] { return !has_port("load.sink"); }));
      }
      tool.signal(signal);
      const ToolResult r = tool.finish();
      const int first = phase == "ending" && signal != SIGKILL ? SIGTERM : signal;
      EXPECT_EQ(r.status, 128 + first) << r.out << r.err;
      for (const pid_t each : family) {
        EXPECT_TRUE(eventually([&] { return is_gone(each); })) << each;
      }
      EXPECT_TRUE(eventually([&] { return !exists("lab.b") && !exists("run/shmif/lab.lock"); }));
      expect_no_trace();
      const ToolResult down = run_tool({"down", path});
      EXPECT_EQ(down.status, 0);
      EXPECT_TRUE(contains(down.err, "is not up"));
      if (HasFailure()) return;
    }
  }
}

TEST_F(LabPhases, DownDuringTheStartEndsItAndUpSaysSo) {
  const std::string path =
      lab("host.a = { on = \"b\", run = \"touch begun; sleep 600\", ready = \"tcp 1\" }\n");
  Tool tool(Words{shmifctl_path()} + up_words(path, {"--detach"}));
  ASSERT_TRUE(eventually([&] { return exists("begun"); }));
  EXPECT_EQ(state()["ready"], false);
  const ToolResult second = up(path, {"--detach"});
  EXPECT_EQ(second.status, 1);
  EXPECT_TRUE(contains(second.err, "is up already, from " + path));
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 143) << r.err;
  EXPECT_TRUE(contains(r.err, "the lab lab was ended before it was ready"));
  expect_no_trace();
}

// A bus of that name that appears after the check is not taken either.
TEST_F(LabPhases, ABusThatExistsIsNeitherUsedNorRemovedInWhateverForm) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  std::ofstream(file("lab.b")) << "my notes\n";
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot make bus.b: there is a file " + file("lab.b") + " already"));
  EXPECT_EQ(text_of(file("lab.b")), "my notes\n");
  std::filesystem::remove(file("lab.b"));
  std::filesystem::create_symlink("nowhere", file("lab.b"));
  const ToolResult link = up(path);
  EXPECT_EQ(link.status, 1);
  EXPECT_TRUE(contains(link.err, "there is a file " + file("lab.b")));
  EXPECT_TRUE(std::filesystem::is_symlink(file("lab.b")));
  EXPECT_FALSE(std::filesystem::exists(file("nowhere")));
  EXPECT_FALSE(std::filesystem::exists(file("run/shmif/lab.json")));
  // Of several buses, those that were made are removed.
  const std::string two = lab("bus.first = { path = \"f.bus\" }\nhost.a = { on = \"b\" }\n");
  std::filesystem::rename(two, file("two.toml"));
  std::ofstream(file("three.toml"))
      << "bus.first = { path = 'f.bus' }\nbus.b = { path = 'lab.b' }\n"
         "host.a = { on = 'b' }\n";
  EXPECT_EQ(up(file("three.toml")).status, 1);
  EXPECT_FALSE(std::filesystem::exists(file("f.bus")));
  EXPECT_TRUE(std::filesystem::is_symlink(file("lab.b")));
}

// Two users, or two jobs of CI, have a folder of states each. The buses of their labs are the same.
TEST_F(LabPhases, ASecondRunOfALabSaysThatTheFirstOneHasItsBus) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const ToolResult same = up(path);
  EXPECT_EQ(same.status, 1);
  EXPECT_TRUE(contains(same.err, "the lab lab is up already, from " + path));
  EXPECT_TRUE(
      contains(same.err, "(end it with 'shmifctl down lab', or give this file another name"));
  std::filesystem::create_directory(file("run2"));
  std::filesystem::permissions(file("run2"), std::filesystem::perms::owner_all);
  ::setenv("XDG_RUNTIME_DIR", file("run2").c_str(), 1);
  const ToolResult other = run_tool({"up", path, "--artifacts", file("out2")});
  ::setenv("XDG_RUNTIME_DIR", file("run").c_str(), 1);
  EXPECT_EQ(other.status, 1);
  EXPECT_TRUE(contains(other.err,
                       "cannot make bus.b: " + file("lab.b") +
                           " is a bus that is in use, by the port \"a\" and perhaps others "
                           "(another lab \"lab\" may run, of another user or with another "
                           "XDG_RUNTIME_DIR: end it, or give this file another name = \"...\")"));
  EXPECT_EQ(run_tool({"enter", file("lab.b"), "a", "--", "true"}).status, 0) << "the first runs on";
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  expect_no_trace();
}

}  // namespace
}  // namespace shmif::test
