// shmifctl up, down and ls: labs of real hosts.

#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <regex>
#include <string>

#include "shmif/bus.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;
using Up = LabRig;

TEST_F(Up, RunsTheTestInItsHostAndExitsAsItDoes) {
  const std::string path = lab(R"(bus.c = { path = "lab.c" }
host.r = { on = ["b", "c"], ip = ["198.18.1.1/24", "198.18.2.1/24"], forward = true }
host.user = { on = "b", ip = "198.18.1.7/24", gateway = "198.18.1.1" }
[host.web]
on = "c"
ip = "198.18.2.80/24"
gateway = "198.18.2.1"
run = "busybox httpd -f -p 80"
ready = "tcp 80"
[test]
host = "user"
run = "busybox wget -q -O - http://web/lab.toml | cmp - lab.toml && hostname && exit 3"
)");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 3) << r.out << r.err;
  EXPECT_TRUE(contains(r.out, "test | user\n"));
  EXPECT_TRUE(contains(r.err, "lab lab is up after "));
  EXPECT_TRUE(contains(r.err, "exit code 3"));
  EXPECT_EQ(text_of(file("out/test.log")), "user\n");
  expect_no_trace();
  EXPECT_FALSE(std::filesystem::exists(file("lab.c")));
}

TEST_F(Up, RemovesTheResultsOfATestThatPassedUnlessToldToKeepThem) {
  const std::string path = lab(R"(host.a = { on = "b", ip = "198.18.0.1/24" }
host.x = { on = "b", ip = "198.18.0.2/24" }
capture.all = { on = "b", file = "all.pcap" }
test = { host = "a", run = "ping -c 1 -W 10 x" }
)");
  const ToolResult first = up(path);
  EXPECT_EQ(first.status, 0) << first.out << first.err;
  EXPECT_FALSE(std::filesystem::exists(file("out")));
  const ToolResult kept = up(path, {"--keep", "always"});
  EXPECT_EQ(kept.status, 0) << kept.out << kept.err;
  const ToolResult seen =
      run_program({"tcpdump", "-n", "-r", file("out/all.pcap"), "icmp and host 198.18.0.2"});
  EXPECT_EQ(count_of_lines(seen.out), 2) << seen.out << seen.err;
  EXPECT_TRUE(contains(text_of(file("out/timeline.jsonl")), "\"what\":\"ready\""));
}

TEST_F(Up, ACaptureOfSeveralBusesIsOneFileInTheOrderOfTime) {
  const std::string path = lab(R"(bus.c = { path = "lab.c" }
host.r = { on = ["b", "c"], ip = ["198.18.1.1/24", "198.18.2.1/24"], forward = true }
host.x = { on = "c", ip = "198.18.2.2/24", gateway = "198.18.2.1" }
host.a = { on = "b", ip = "198.18.1.2/24", gateway = "198.18.1.1" }
capture.all = { on = ["b", "c"], file = "all.pcapng" }
test = { host = "a", run = "ping -c 3 -i 0.2 -W 20 x" }
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_FALSE(std::filesystem::exists(file("out/all.b.pcapng"))) << "the parts are gone";
  const auto fields = [&](const std::string& filter, const std::string& field) {
    return run_program(
               {"tshark", "-r", file("out/all.pcapng"), "-Y", filter, "-T", "fields", "-e", field})
        .out;
  };
  // Each request is on both buses, first on b, and so is each answer, first on c.
  EXPECT_EQ(fields("icmp", "icmp.type"), "8\n8\n0\n0\n8\n8\n0\n0\n8\n8\n0\n0\n");
  EXPECT_EQ(fields("icmp", "ip.ttl"), "64\n63\n64\n63\n64\n63\n64\n63\n64\n63\n64\n63\n");
  const ToolResult times = run_program(
      {"tshark", "-r", file("out/all.pcapng"), "-Y", "icmp && frame.time_delta_displayed < 0"});
  EXPECT_EQ(times.out, "") << "the order of time";
}

TEST_F(Up, TakesEverythingDownIfOneHostDoesNotStart) {
  const std::string path = lab(R"(host.good = { on = "b", ip = "198.18.0.1/24" }
host.bad = { on = "b", ip = "198.18.0.2/24", run = "echo no config; exit 4", ready = "tcp 80" }
)");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_TRUE(contains(
      r.err, "cannot start the lab lab: host bad ended with exit code 4 before it was ready"));
  EXPECT_TRUE(contains(r.err, "  bad | no config\n"));
  EXPECT_EQ(text_of(file("out/bad.log")), "no config\n") << "the logs of a failure stay";
  expect_no_trace();
}

TEST_F(Up, RefusesALabWithErrorsAndRunsNothing) {
  const ToolResult r = up(lab("host.a = { on = \"c\" }\n"));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "lab.toml:2:17: there is no bus \"c\""));
  expect_no_trace();
  EXPECT_FALSE(std::filesystem::exists(file("out")));
  const ToolResult none = up(file("none.toml"));
  EXPECT_EQ(none.status, 1);
  EXPECT_TRUE(contains(none.err, "No such file or directory"));
  EXPECT_EQ(up(lab("host.a = { on = \"b\" }\n"), {"--keep", "some"}).status, 2);
  EXPECT_EQ(up(lab("host.a = { on = \"b\" }\n"), {"--junit", ""}).status, 2);
}

TEST_F(Up, GivesHostsTheirFilesNamesAndEnvironment) {
  std::ofstream(file("tool.sh")) << "#!/bin/sh\necho ran $1\n";
  std::filesystem::permissions(file("tool.sh"), std::filesystem::perms::owner_all);
  std::ofstream(file("covered")) << "of the machine\n";
  const std::string path = lab(R"([host.x]
on = "b"
ip = "198.18.0.9/24"
[host.a]
on = "b"
ip = "198.18.0.1/24"
env = { WORD = "it's", EMPTY = "" }
ready = "log all done"
run = '''
cat /etc/lab/one.conf; grep -w x /etc/hosts
echo "$WORD${EMPTY-unset}$SHMIF_LAB-$SHMIF_HOST"; /run/tool two; cat covered; pwd; echo all done
'''
[host.a.files]
"/etc/lab/one.conf" = "a 'quoted' $line\n"
"/run/tool" = { source = "tool.sh" }
")" + file("covered") + "\" = \"of the host\\n\"\n[test]\nhost = \"x\"\nrun = \"true\"\n");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(text_of(file("out/a.log")),
            "a 'quoted' $line\n198.18.0.9\tx\nit'slab-a\nran two\nof the host\n" +
                file("").substr(0, file("").size() - 1) + "\nall done\n");
  EXPECT_EQ(text_of(file("covered")), "of the machine\n");
  EXPECT_FALSE(std::filesystem::exists("/etc/lab"));
}

TEST_F(Up, AHostIsReachedByTheNameByWhichItCallsItself) {
  const std::string path = lab(R"([host.a]
on = "b"
ip = ["198.18.0.1/24", "fd00::1/64"]
run = "getent hosts a nobody; getent ahostsv4 a; echo own; exec sleep 60"
ready = "log own"
[host.bare]
on = "b"
run = "getent hosts bare; getent hosts a; grep -c '^nameserver' /etc/resolv.conf; echo own"
ready = "log own"
[test]
host = "a"
run = "getent hosts bare"
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 2) << "bare has no address: " << r.out << r.err;
  const std::string own = text_of(file("out/a.log"));
  EXPECT_FALSE(contains(own, "127."));
  EXPECT_EQ(own.rfind("fd00::1 ", 0), 0U) << own;
  EXPECT_TRUE(contains(own, "\n198.18.0.1 "));
  const std::string bare = text_of(file("out/bare.log"));
  EXPECT_TRUE(contains(bare, "127.0.1.1 "));
  EXPECT_TRUE(contains(bare, "fd00::1 "));
  EXPECT_TRUE(contains(bare, "\n0\nown\n"));
}

TEST_F(Up, StartsAHostWhenThoseBeforeItAreReady) {
  // Each ready condition, one after the other. Each host says what it finds when it begins.
  const std::string path = lab(R"(
host.log.on = "b"
host.log.ip = "198.18.0.1/24"
host.log.run = "sleep 0.3; echo it is open now; sleep 600"
host.log.ready = "log is open"
host.file.on = "b"
host.file.ip = "198.18.0.2/24"
host.file.after = "log"
host.file.run = "echo begun; sleep 0.3; touch /run/there; sleep 600"
host.file.ready = "file /run/there"
host.tcp.on = "b"
host.tcp.ip = "198.18.0.3/24"
host.tcp.after = ["log", "file"]
host.tcp.run = "echo begun; sleep 0.3; exec busybox nc -l -p 4000"
host.tcp.ready = "tcp 4000"
host.udp.on = "b"
host.udp.ip = "198.18.0.4/24"
host.udp.after = "tcp"
host.udp.run = "echo begun; sleep 0.3; exec /usr/bin/python3 /run/udp.py"
host.udp.ready = "udp 53"
host.udp.files."/run/udp.py" = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 53))
time.sleep(600)
"""
host.v6.on = "b"
host.v6.after = "udp"
host.v6.run = "echo begun; sleep 0.3; exec /usr/bin/python3 /run/udp.py"
host.v6.ready = "udp 53"
host.v6.files."/run/udp.py" = """
import socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::1", 53))
time.sleep(600)
"""
host.n.on = "b"
host.n.count = 2
host.n.after = "v6"
host.n.run = "echo begun; sleep 0.{i}; echo counted; sleep 600"
host.n.ready = "log counted"
host.last = { on = "b", ip = "198.18.0.5/24", after = "n", run = "echo begun" }
test = { host = "log", run = "true" }
)");
  const ToolResult r = up(path, {"--time-limit", "200"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  std::size_t at = 0;
  for (const char* const line : {"log  | it is open now\n", "file | begun\n", "tcp  | begun\n",
                                 "udp  | begun\n", "v6   | begun\n", "last | begun\n"}) {
    const std::size_t found = r.out.find(line, at);
    ASSERT_NE(found, std::string::npos) << line << " in\n" << r.out;
    at = found;
  }
  for (const char* const line : {"n1   | counted\n", "n2   | counted\n"})
    EXPECT_LT(r.out.find(line), at) << "after = \"n\" is after all of a count";
}

TEST_F(Up, DetachedRunsUntilDownAndBothCanBeRepeated) {
  const std::string path =
      lab("host.a = { on = \"b\", ip = \"198.18.0.1/24\", run = \"echo hello; sleep 600\" }\n");
  EXPECT_TRUE(contains(up(path, {"--detach", "--junit", "x"}).err, "--junit needs the test"));
  const ToolResult first = up(path, {"--detach"});
  ASSERT_EQ(first.status, 0) << first.err;
  const pid_t controller = state()["pid"];
  EXPECT_TRUE(state()["ready"]);
  EXPECT_EQ(state()["buses"][0]["path"], file("lab.b"));
  EXPECT_EQ(state()["hosts"][0]["name"], "a");
  const auto listed = nlohmann::json::parse(run_tool({"ls", "--json"}).out);
  EXPECT_EQ(listed_lab()["name"], "lab");
  EXPECT_EQ(listed_lab()["state"], "up");
  const auto bus = std::ranges::find_if(
      listed["buses"], [&](const auto& each) { return each["path"] == file("lab.b"); });
  ASSERT_NE(bus, listed["buses"].end());
  EXPECT_EQ((*bus)["live_ports"], 1);
  EXPECT_EQ((*bus)["lab"], "lab");
  EXPECT_EQ((*bus)["mtu"], 1500);
  EXPECT_EQ((*bus)["ring_bytes"], Bus::open(file("lab.b")).value().info().ring_bytes);
  for (const char* const key : {"file", "results", "pid", "hosts", "far_hosts"})
    EXPECT_EQ(listed_lab()[key], state()[key]) << key;
  EXPECT_TRUE(contains(run_tool({"--extcap-interfaces"}).out,
                       file("lab.b") + ", 1 port, MTU 1500, lab lab}"));
  EXPECT_TRUE(contains(run_tool({"stat", "lab"}).err,
                       "lab is a lab: name a bus of it, as " + file("lab.b")));
  const ToolResult second = up(path);
  EXPECT_EQ(second.status, 1);
  EXPECT_TRUE(contains(second.err, "is up already"));
  EXPECT_EQ(run_tool({"enter", file("lab.b"), "a", "--", "true"}).status, 0)
      << "the refused one took nothing down";
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  EXPECT_TRUE(is_gone(controller));
  expect_no_trace();
  const ToolResult again = run_tool({"down", "lab"});
  EXPECT_EQ(again.status, 0);
  EXPECT_TRUE(contains(again.err, "is not up"));
  EXPECT_EQ(text_of(file("out/a.log")), "hello\n");
  EXPECT_EQ(up(path, {"--detach"}).status, 0) << "up again";
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
}

TEST_F(Up, GoesOnWithoutACaptureThatWasKilledAndFails) {
  const std::string path = lab(R"(bus.c = { path = "lab.c" }
host.a = { on = "b" }
capture.all = { on = ["b", "c"] }
test = { host = "a", run = "sleep 1" }
)");
  Tool tool(Words{shmifctl_path()} + up_words(path));
  ASSERT_TRUE(tool.wait_for("is up after"));
  for (const pid_t each : children_of(tool.pid())) {
    if (text_of("/proc/" + std::to_string(each) + "/cmdline").find("dump") != std::string::npos) {
      ::kill(each, SIGKILL);
    }
  }
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_TRUE(contains(r.err, "capture-all on c was ended by signal 9 (Killed); the lab goes on"));
}

TEST_F(Up, OnATerminalHasNamesInColoursAndSaysWhoIsAwaited) {
  const std::string path = lab(R"(
host.a.on = "b"
host.a.run = "until [ -e go ]; do sleep .1; done; echo x; sleep 600"
host.a.ready = "log x"
test = { host = "a", run = "true" }
)");
  OnTerminal terminal(
      Words{"env", "-u", "NO_COLOR", "TERM=xterm", shmifctl_path()} + up_words(path), 120, 24);
  EXPECT_TRUE(terminal.wait_for("lab lab: 0 of 1 hosts are ready; waiting for a"));
  std::ofstream(file("go")) << "x";
  EXPECT_EQ(terminal.status(), 0);
  EXPECT_TRUE(std::regex_search(terminal.seen, std::regex("\x1b\\[3[1-6]ma +\\|\x1b\\[0m x")))
      << terminal.seen;
}

TEST_F(Up, ATestThatEndsWithItsHostSaysSo) {
  const std::string path = lab(R"(
host.a = { on = "b", run = "until [ -e die ]; do sleep .05; done; exit 5" }
test = { host = "a", run = "touch die; exec sleep 600" }
)");
  const ToolResult r = up(path, {"--time-limit", "100"});
  EXPECT_GT(r.status, 128) << r.err;
  EXPECT_TRUE(contains(r.err, " with its host a, whose program ended with exit code 5"));
}

TEST_F(Up, AHostWithoutItsFilesOrItsProgramIsNotStartedAlsoIfItMayFail) {
  std::ofstream(file("plain")) << "no program\n";
  const std::pair<const char*, const char*> wrong[] = {
      {"files = { \"/etc/hosts/x\" = \"x\" }, run = \"sleep 600\"",
       "cannot have a file /etc/hosts/x"},
      {"run = \"nosuchprog -v\"", "cannot run \"nosuchprog\" in host a: there is no such program"},
      {"run = \"exec ./none\"", "cannot run \"./none\" in host a: there is no such program"},
      {"run = \"./plain\"", "cannot run \"./plain\" in host a: it is not executable"}};
  for (const auto& [keys, why] : wrong) {
    const ToolResult r = up(lab("host.a = { on = \"b\", may_fail = true, " + std::string(keys) +
                                " }\nhost.x = { on = \"b\", after = \"a\" }\n"
                                "test = { host = \"x\", run = \"touch ran\" }\n"));
    EXPECT_EQ(r.status, 1) << keys << r.err;
    EXPECT_TRUE(contains(r.err,
                         "cannot start the lab lab: host a ended with exit code 125 before it was "
                         "ready"))
        << keys;
    EXPECT_TRUE(contains(r.err, why));
    EXPECT_FALSE(std::filesystem::exists(file("ran"))) << keys;
    expect_no_trace();
  }
}

TEST_F(Up, DownKillsALabThatDoesNotEndInTheTimeThatItHas) {
  ASSERT_EQ(up(lab("host.a = { on = \"b\", ip = \"198.18.0.1/24\" }\n"), {"--detach"}).status, 0);
  const pid_t controller = state()["pid"];
  ::kill(controller, SIGSTOP);
  EXPECT_EQ(run_tool({"down", "lab", "--timeout", "0.1"}).status, 0);
  EXPECT_TRUE(is_gone(controller));
  expect_no_trace();
}

TEST_F(Up, WhatAKilledControllerAndGuardianLeaveIsRemovedByTheNext) {
  const std::string path = lab("host.a = { on = \"b\", ip = \"198.18.0.1/24\" }\n");
  for (const bool by_down : {true, false}) {
    ASSERT_EQ(up(path, {"--detach"}).status, 0);
    kill_controller_and_guardian();
    EXPECT_TRUE(std::filesystem::exists(file("lab.b")));
    EXPECT_EQ(listed_lab()["state"], "dead");
    if (!by_down) {
      EXPECT_EQ(up(path, {"--detach"}).status, 0);
    }
    EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
    expect_no_trace();
  }
}

TEST_F(Up, DoesWhatTheFileSaysInItsOrderAndReportsIt) {
  const std::string path = lab(R"(
host.a = { on = "b", ip = "198.18.0.1/24" }
host.x = { on = "b", ip = "198.18.0.2/24", run = "echo here >>xs; sleep 600" }
host.odd = { on = "b", run = "echo odd; sleep 0.2; exit 6", ready = "log odd" }
host.n = { on = "b", count = 2 }
at = [
  { time = "200ms", stop = "x" },
  { after = "ended x", start = "x" },
  { after = "ended odd", start = "a" },
  { time = "1h", stop = "x" },
  { after = "ended odd", stop = "odd" },
  { after = "ended odd", link = "odd", down = true },
  { time = "1ms", link = "n", down = true },
]
test.host = "a"
test.run = "until [ $(wc -l <xs) = 2 ] && grep -q 'odd down' out/timeline.jsonl; do sleep .1; done"
)");
  const ToolResult r = up(path, {"--junit", file("report.xml"), "--time-limit", "100"});
  EXPECT_EQ(r.status, 1) << r.out << r.err;
  const std::string timeline = text_of(file("out/timeline.jsonl"));
  const std::size_t stopped = timeline.find("\"what\":\"stop x\",\"applied\":true");
  const std::size_t started = timeline.find("\"what\":\"start x\",\"applied\":true");
  EXPECT_NE(stopped, std::string::npos) << timeline;
  EXPECT_NE(started, std::string::npos) << timeline;
  EXPECT_LT(stopped, started);
  EXPECT_TRUE(contains(
      timeline, "\"what\":\"start a\",\"applied\":false,\"result\":\"host a runs already\""));
  const std::string xml = text_of(file("report.xml"));
  EXPECT_TRUE(contains(xml, "<testcase classname=\"lab\" name=\"at 1: stop x\""));
  EXPECT_TRUE(contains(xml, "name=\"host odd\""));
  EXPECT_TRUE(contains(xml, "<failure message=\"ended with exit code 6\">"));
  EXPECT_TRUE(contains(xml, "<failure message=\"host a runs already\">"));
  EXPECT_TRUE(contains(xml, "<failure message=\"the host does not run\">"));
  EXPECT_TRUE(contains(xml, "<failure message=\"cannot "));
  EXPECT_TRUE(contains(timeline, "the link of port n1 is down, and 1 more line"));
  EXPECT_TRUE(contains(xml, "<skipped message=\"the lab ended before it\">"));
  EXPECT_EQ(
      run_program({SHMIF_PYTHON, "-c",
                   "import sys, xml.etree.ElementTree as e; t = e.parse(sys.argv[1]).getroot(); "
                   "assert int(t.get('tests')) == len(t) == 13, len(t); "
                   "assert int(t.get('failures')) == len(t.findall('.//failure')) == 4; "
                   "assert int(t.get('skipped')) == 1",
                   file("report.xml")})
          .err,
      "");
}

TEST_F(Up, CheckPrintsAllProblemsAndRunsNothing) {
  const std::string path = lab("host.a = { on = \"c\", gatway = \"x\" }\n");
  const ToolResult r = run_tool({"check", path});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(count_of_lines(r.err), 3) << r.err;
  const auto said = nlohmann::json::parse(run_tool({"check", path, "--json"}).out);
  EXPECT_EQ(said["errors"], 2);
  EXPECT_EQ(said["problems"][1]["line"], 2);
  EXPECT_EQ(said["problems"][1]["column"], 22);
  EXPECT_EQ(said["problems"][1]["severity"], "error");
  EXPECT_TRUE(contains(said["problems"][1]["text"], "gatway"));
  const std::string kinds =
      lab("host.a = { on = \"b\", run = \"echo 'x\", count = 2 }\n"
          "host.v = { on = \"b\", vm = \"sh -c 'x {nic}\" }\n"
          "host.c = { on = \"b\", container = \"-v 'x alpine\" }\n"
          "test = { host = \"a1\", run = \"for x; do\" }\n");
  const ToolResult shell = run_tool({"check", kinds});
  for (const char* const each : {"2:6: a shell cannot read the `run` of host.a: ",
                                 "3:27: a shell cannot read the `vm` of host.v: ",
                                 "4:34: a shell cannot read the `container` of host.c: ",
                                 "5:8: a shell cannot read the `run` of the test: "}) {
    EXPECT_EQ(times_in(shell.err, each), 1U) << each << shell.err;
  }
  const ToolResult good = run_tool({"check", lab("host.a = { on = \"b\", count = 3 }\n")});
  EXPECT_EQ(good.status, 0);
  EXPECT_TRUE(contains(good.out, "lab lab has 3 hosts on 1 bus\n"));
  const std::string warned =
      lab("machine.m = { ssh = \"m\" }\nhost.a = { on = \"b\", ip = \"198.18.0.7/24\" }\n");
  const json told = json::parse(run_tool({"check", warned, "--json"}).out);
  EXPECT_EQ(told["errors"], 0);
  EXPECT_EQ(told["warnings"], 1);
  EXPECT_EQ(told["problems"][0]["severity"], "warning");
  EXPECT_EQ(told["buses"][0], json({{"name", "b"}, {"path", file("lab.b")}, {"mtu", 1500}}));
  EXPECT_EQ(told["hosts"][0]["name"], "a");
  EXPECT_EQ(told["hosts"][0]["interfaces"][0],
            json({{"bus", "b"}, {"addresses", {"198.18.0.7/24"}}}));
  expect_no_trace();
}

TEST_F(Up, ForeignFoldersOfStateAreRefused) {
  std::filesystem::create_directory(file("run/shmif"));
  std::filesystem::permissions(file("run/shmif"), std::filesystem::perms::all);
  const ToolResult r = up(lab("host.a = { on = \"b\" }\n"));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "others may write to it"));
  EXPECT_EQ(run_tool({"ls"}).status, 0);
}

// Labs and the machine: limits by control groups, a way to the world, an ordinary user, what others
// see.
namespace fs = std::filesystem;

const std::string kSbin = "PATH=$PATH:/usr/sbin:/sbin; ";
constexpr const char* kOther = "65001";

bool finds_program(const std::string& name) {
  return run_program({"sh", "-c", kSbin + "command -v " + name}).status == 0;
}

Words as_other(Words words, const std::string& runtime) {
  Words all = Words{"setpriv", "--reuid",        kOther, "--regid",
                    kOther,    "--clear-groups", "env",  "XDG_RUNTIME_DIR=" + runtime} +
              words;
  return all;
}

class LabRights : public LabRig {
 protected:
  /// A folder of the other user with a lab in it, as `text` has it. Result: the lab's path.
  std::string lab_of_other(const std::string& text) const {
    fs::permissions(file("").substr(0, file("").size() - 1),
                    fs::perms::owner_all | fs::perms::others_exec | fs::perms::group_exec);
    fs::create_directories(file("theirs/run"));
    fs::permissions(file("theirs/run"), fs::perms::owner_all);
    std::ofstream(file("theirs/their.toml")) << "bus.b = { path = \"b.bus\" }\n" << text;
    EXPECT_EQ(
        run_program({"chown", "-R", std::string(kOther) + ":" + kOther, file("theirs")}).status, 0);
    return file("theirs/their.toml");
  }
  /// Why no other user can have a lab here; empty: one can.
  static std::string why_no_other() {
    if (::geteuid() != 0) return "needs root, to be another user";
    if (!finds_program("setpriv")) return "no setpriv here";
    return others_can_run_tool() ? "" : "another user cannot run this build";
  }
};

TEST_F(LabRights, LimitsOfMemoryAndTimeAreThoseOfTheFileAndGoWithTheLab) {
  const std::string path = lab(
      R"(
[host.a]
on = "b"
memory = "32M"
cpu = 0.25
run = "cat /proc/self/cgroup; echo listed; sleep 600"
ready = "log listed"
[host.free]
on = "b"
run = "cat /proc/self/cgroup; echo listed; sleep 600"
ready = "log listed"
[host.big]
on = "b"
memory = "32M"
may_fail = true
run = "head -c 200m /dev/zero | tail; echo tail ended with $?"
)");
  const ToolResult r = up(path, {"--detach"});
  ASSERT_EQ(r.status, 0) << r.err;
  if (text_of(file("out/lab.log")).find("warning: cannot limit") != std::string::npos ||
      r.err.find("warning: cannot limit") != std::string::npos) {
    run_tool({"down", "lab"});
    GTEST_SKIP() << "no control group for memory here: " << r.err;
  }
  const Words groups = state()["groups"];
  ASSERT_GE(groups.size(), 2U) << state();
  unsigned found = 0;
  for (const std::string& group : groups) {
    struct stat info{};
    EXPECT_EQ(::stat(group.c_str(), &info), 0) << group;
    EXPECT_TRUE(contains(group, "shmif-lab-"));
    if (group.find("shmif-lab-a") == std::string::npos) continue;
    for (const char* const name : {"memory.limit_in_bytes", "memory.max"}) {
      if (!fs::exists(group + "/" + name)) continue;
      EXPECT_EQ(text_of(group + "/" + name), "33554432\n");
      ++found;
    }
    if (fs::exists(group + "/cpu.cfs_quota_us")) {
      EXPECT_EQ(text_of(group + "/cpu.cfs_quota_us"), "25000\n");
      EXPECT_EQ(text_of(group + "/cpu.cfs_period_us"), "100000\n");
      ++found;
    } else if (fs::exists(group + "/cpu.max")) {
      EXPECT_EQ(text_of(group + "/cpu.max"), "25000 100000\n");
      ++found;
    }
  }
  EXPECT_EQ(found, 2U);
  const auto of_a = std::ranges::count_if(groups, [](const std::string& group) {
    return group.find("shmif-lab-a") != std::string::npos;
  });
  EXPECT_EQ(times_in(text_of(file("out/a.log")), "shmif-lab-a"), static_cast<std::size_t>(of_a))
      << "the host is in its groups\n"
      << text_of(file("out/a.log"));
  EXPECT_FALSE(contains(text_of(file("out/free.log")), "shmif-lab"));
  EXPECT_TRUE(eventually([&] {
    const std::string log = text_of(file("out/big.log"));
    return log.find("tail ended with 137") != std::string::npos ||
           text_of(file("out/lab.log")).find("host big was ended by signal 9") != std::string::npos;
  })) << text_of(file("out/big.log"))
      << text_of(file("out/lab.log"));
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  for (const std::string& group : groups) EXPECT_FALSE(fs::exists(group)) << group;
  expect_no_trace();
}

TEST_F(LabRights, WithoutRightToLimitItWarnsAndGoesOn) {
  if (const std::string why = why_no_other(); !why.empty()) GTEST_SKIP() << why;
  const std::string path = lab_of_other(R"(
host.a = { on = "b", memory = "32M", cpu = 0.25 }
test = { host = "a", run = "true" }
)");
  const ToolResult r = run_program(as_other(
      {shmifctl_path(), "up", path, "--artifacts", file("theirs/out")}, file("theirs/run")));
  if (r.status == 77) GTEST_SKIP() << "no hosts here for an ordinary user: " << r.err;
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_TRUE(contains(r.err, "warning: cannot limit the memory of a host"));
}

TEST_F(LabRights, AnOrdinaryUserRunsALabAndOthersNeitherEndNorTrustIt) {
  if (const std::string why = why_no_other(); !why.empty()) GTEST_SKIP() << why;
  const std::string path = lab_of_other(R"(bus.c = { path = "c.bus" }
host.r = { on = ["b", "c"], ip = ["198.18.1.1/24", "198.18.2.1/24"], forward = true }
host.web = { on = "c", ip = "198.18.2.80/24", gateway = "198.18.2.1" }
host.user = { on = "b", ip = "198.18.1.7/24", gateway = "198.18.1.1" }
capture.all = { on = ["b", "c"], filter = "icmp[0] == 8" }
at = [{ after = "frame c 'icmp[0] == 8'", link = "web", down = true }]
test.host = "user"
test.run = "id -u; ping -c 1 -W 20 web; while ping -c 1 -W 1 web; do sleep .1; done; true"
)");
  const std::string runtime = file("theirs/run");
  const Words words{shmifctl_path(),    "up",     path,    "--artifacts",
                    file("theirs/out"), "--keep", "always"};
  const ToolResult r = run_program(as_other(words, runtime));
  if (r.status == 77) GTEST_SKIP() << "no hosts here for an ordinary user: " << r.err;
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_TRUE(contains(r.out, "test | 0\n")) << "root in its host";
  EXPECT_TRUE(
      contains(text_of(file("theirs/out/timeline.jsonl")), "link web down\",\"applied\":true"));
  struct stat info{};
  ASSERT_EQ(::stat(file("theirs/out/all.pcapng").c_str(), &info), 0);
  EXPECT_EQ(std::to_string(info.st_uid), kOther);
  const ToolResult ttl =
      run_program({"tshark", "-r", file("theirs/out/all.pcapng"), "-T", "fields", "-e", "ip.ttl"});
  EXPECT_TRUE(contains(ttl.out, "64\n63\n")) << "not by the router";

  // Its labs and buses while it is up: root sees them, as those of somebody else; another user sees
  // neither the lab nor buses that only the owner may open.
  const std::string text = R"(host.a = { on = "b" }
)";
  const std::string second = lab_of_other(text);
  fs::create_directories(file("theirs/tmp-run"));
  const std::string state_folder = "/tmp/shmif-" + std::string(kOther);
  const bool had_state = fs::exists(state_folder);
  const auto without_runtime = [&](Words more) {
    return run_program(Words{"setpriv", "--reuid", kOther, "--regid", kOther, "--clear-groups",
                             "env", "-u", "XDG_RUNTIME_DIR"} +
                       more);
  };
  const ToolResult begun = without_runtime(
      {shmifctl_path(), "up", second, "--artifacts", file("theirs/out2"), "--detach"});
  ASSERT_EQ(begun.status, 0) << begun.err;
  const auto lab_in = [](const std::string& text_of_ls) {
    const json all = json::parse(text_of_ls, nullptr, false);
    for (const json& each : all["labs"]) {
      if (each["name"] == "their") return each;
    }
    return json();
  };
  const json seen = lab_in(run_tool({"ls", "--json"}).out);
  ASSERT_TRUE(seen.is_object()) << "root sees the labs of all users";
  EXPECT_EQ(seen["state"], "up");
  EXPECT_EQ(seen["user"], kOther);
  EXPECT_EQ(seen["buses"][0]["path"], file("theirs/b.bus"));
  const ToolResult stranger =
      run_program({"setpriv", "--reuid", "65002", "--regid", "65002", "--clear-groups", "env", "-u",
                   "XDG_RUNTIME_DIR", shmifctl_path(), "ls", "--json"});
  EXPECT_EQ(stranger.status, 0) << stranger.err;
  EXPECT_FALSE(lab_in(stranger.out).is_object()) << stranger.out;
  EXPECT_FALSE(contains(stranger.out, "b.bus"));
  // A name means a lab of one's own.
  const ToolResult down = run_tool({"down", "their"});
  EXPECT_EQ(down.status, 0);
  EXPECT_TRUE(contains(down.err, "the lab their is not up"));
  EXPECT_TRUE(contains(down.err, "user " + std::string(kOther)));
  EXPECT_TRUE(lab_in(run_tool({"ls", "--json"}).out).is_object()) << "it runs on";
  EXPECT_EQ(without_runtime({shmifctl_path(), "down", "their"}).status, 0);
  EXPECT_FALSE(fs::exists(file("theirs/b.bus")));
  if (!had_state) fs::remove_all(state_folder);
}

// The world is a namespace with a web server.
TEST_F(LabRights, AGatewayLeadsToTheWorld) {
  for (const char* const name : {"busybox", "slirp4netns", "curl", "unshare", "ip"}) {
    if (!finds_program(name)) GTEST_SKIP() << "no " << name << " here";
  }
  fs::create_directory(file("www"));
  std::ofstream(file("www/page")) << "a page of the world\n";
  const std::string path = lab(R"(
gateway.nat = { on = "b", network = "198.18.77.0/24" }
host.a = { on = "b", ip = "198.18.77.100/24", gateway = "198.18.77.2" }
test.host = "a"
test.run = "curl -sS --retry 20 --retry-delay 1 --retry-all-errors http://198.18.9.1/page"
)");
  const std::string world =
      kSbin +
      "ip link set lo up && ip address add 198.18.9.1/32 dev lo && ip link add out type veth peer "
      "name away && ip address add 198.18.8.1/24 dev out && ip link set out up && ip link set away "
      "up && ip route add default via 198.18.8.2 && busybox httpd -p 198.18.9.1:80 -h " +
      file("www") + " && \"$0\" up " + path + " --keep always --artifacts " + file("out") +
      "; code=$?; kill $(busybox pidof busybox) 2>/dev/null; exit $code";
  const ToolResult r =
      run_program({"unshare", "--user", "--map-root-user", "--net", "--pid", "--fork",
                   "--kill-child", "--mount-proc", "sh", "-c", world, shmifctl_path()});
  if (r.err.find("unshare failed") != std::string::npos) GTEST_SKIP() << "no namespaces: " << r.err;
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_TRUE(contains(r.out, "a page of the world\n"));
  EXPECT_FALSE(text_of(file("out/nat.log")).empty()) << "what the gateway said";
  expect_no_trace();
}

TEST_F(LabRights, LsListsStaleLabsAndBusesOfNoLab) {
  const std::string path = lab("host.a = { on = \"b\", count = 2 }\n");
  ASSERT_EQ(run_tool({"create", file("alone")}).status, 0);
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const auto listed = [] { return json::parse(run_tool({"ls", "--json"}).out); };
  const auto bus_in = [&](const json& all, const std::string& bus) {
    for (const json& each : all["buses"]) {
      if (each["path"] == file(bus)) return each;
    }
    return json();
  };
  const json up_now = listed();
  EXPECT_EQ(bus_in(up_now, "lab.b")["lab"], "lab");
  EXPECT_EQ(bus_in(up_now, "lab.b")["live_ports"], 2);
  EXPECT_FALSE(bus_in(up_now, "alone").is_object())
      << "nobody uses it, and it is in no known place";
  {
    Tool user({shmifctl_path(), "dump", file("alone"), "--name", "look"});
    EXPECT_TRUE(eventually([&] { return bus_in(listed(), "alone").is_object(); }));
    EXPECT_TRUE(bus_in(listed(), "alone")["lab"].is_null());
  }
  fs::copy_file(file("run/shmif/lab.json"), file("run/shmif/other.json"));
  EXPECT_EQ(run_tool({"down", "other"}).status, 0);
  EXPECT_EQ(listed_lab()["state"], "up") << "a state is of the lab that it names";
  fs::remove(file("run/shmif/other.json"));
  // Both the controller and the guardian are killed: the lab is dead, its bus has no port.
  kill_controller_and_guardian();
  const json dead_lab = listed_lab();
  EXPECT_EQ(dead_lab["state"], "dead");
  EXPECT_EQ(dead_lab["hosts"].size(), 2U);
  const json dead = listed();
  EXPECT_EQ(bus_in(dead, "lab.b")["live_ports"], 0);
  EXPECT_EQ(bus_in(dead, "lab.b")["lab"], "lab");
  const ToolResult text = run_tool({"ls"});
  EXPECT_TRUE(contains(text.out, "dead"));
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  EXPECT_TRUE(listed_lab().is_null());
  expect_no_trace();
}

}  // namespace
}  // namespace shmif::test
