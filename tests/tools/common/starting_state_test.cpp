// What the tools do with what they inherit: closed standard streams, ignored and blocked signals.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <vector>

#include "bus/layout.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tools/common/bus_lines.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

/// The fixed words at the beginning of a bus file.
std::string fixed_header(const BusRig& rig) {
  std::ifstream file(rig.path(), std::ios::binary);
  std::string bytes(offsetof(bus::BusHeader, created_ns), '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

/// A shell's line that runs `words` of shmifctl with these streams closed.
Words with_closed(const std::string& streams, const Words& words) {
  Words line = Words{"sh", "-c", "exec \"$@\" " + streams, "sh", shmifctl_path()} + words;
  return line;
}

struct Closing {
  const char *name, *streams;
};

void PrintTo(const Closing& closing, std::ostream* out) {
  *out << closing.name;
}

class ClosedStreamsOf : public testing::TestWithParam<Closing> {};

INSTANTIATE_TEST_SUITE_P(ClosedStreams, ClosedStreamsOf,
                         testing::Values(Closing{"Input", "<&-"}, Closing{"Output", ">&-"},
                                         Closing{"Errors", "2>&-"}, Closing{"All", "<&- >&- 2>&-"},
                                         Closing{"OutputAndErrors", ">&- 2>&-"}),
                         testing::PrintToStringParamName());

TEST_P(ClosedStreamsOf, NoCommandWritesItsMessagesOverTheBus) {
  const BusRig rig;
  const std::string before = fixed_header(rig);
  write_capture(rig.file("in.pcap"), {arp_request()});
  std::vector<Words> commands{{"dump", rig.path(), "--timeout", "0", "-w", rig.file("out.pcap")},
                              {"inject", rig.path(), rig.file("in.pcap")},
                              {"bridge", "pcap:" + rig.file("in.pcap"), "bus:" + rig.path()}};
  for (const BusLine& line : kBusLines) {
    if (!line.stays) commands.push_back(line.on(rig.path()));
  }
  for (const auto& words : commands) {
    const ToolResult r = run_program(with_closed(GetParam().streams, words));
    EXPECT_FALSE(r.timed_out) << words[0];
    EXPECT_NE(r.status, 2) << words[0] << ": " << r.err;
    ASSERT_EQ(fixed_header(rig), before) << words[0];
  }
  EXPECT_EQ(run_tool({"audit", rig.path()}).status, 0);
}

TEST(ClosedStreams, WhatCarriesFramesNeedsNoOutput) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), {arp_request()});
  const ToolResult r = run_program(
      with_closed("<&- >&-", {"bridge", "pcap:" + rig.file("in.pcap"), "bus:" + rig.path()}));
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.err, "");
  const ToolResult capture =
      run_program(with_closed(">&-", {"bridge", "pcap:" + rig.file("in.pcap"), "pcap:-"}));
  EXPECT_EQ(capture.status, 1) << "here the output is the capture";
}

/// A command line that Python starts with signals as given: "ignore" or "block".
Words with_signals(const std::string& what, const std::string& names, const Words& words) {
  const std::string script =
      "import os, signal, sys\n"
      "for n in sys.argv[2].split():\n"
      "  n = getattr(signal, n)\n"
      "  signal.signal(n, signal.SIG_IGN) if sys.argv[1] == 'ignore' else "
      "signal.pthread_sigmask(signal.SIG_BLOCK, [n])\n"
      "os.execvp(sys.argv[3], sys.argv[3:])\n";
  Words line = Words{SHMIF_PYTHON, "-c", script, what, names} + words;
  return line;
}

TEST(InheritedSignals, BlockedOnesEndTheCommandsAllTheSame) {
  for (const int number : {SIGTERM, SIGINT}) {
    const BusRig rig;
    Tool dump(with_signals("block", "SIGTERM SIGINT SIGCHLD",
                           {shmifctl_path(), "dump", rig.path(), "--name", "ear"}));
    Tool wait(with_signals("block", "SIGTERM SIGINT SIGCHLD",
                           {shmifctl_path(), "wait", rig.path(), "--port", "none"}));
    ASSERT_TRUE(rig.wait_for_port("ear"));
    dump.signal(number);
    EXPECT_EQ(dump.finish().status, 0);
    ASSERT_TRUE(eventually([&] {  // it has begun to be shmifctl
      std::ifstream name("/proc/" + std::to_string(wait.pid()) + "/comm");
      std::string text;
      return std::getline(name, text) && text == "shmifctl";
    }));
    wait.signal(number);
    const ToolResult r = wait.finish();
    EXPECT_FALSE(r.timed_out);
    EXPECT_EQ(r.status, 128 + number);
  }
}

/// Shows the signals of a process: the lines SigBlk and SigIgn of its status. No shell starts it: a
/// shell (dash) blocks nothing, whatever was blocked before.
const Words kShowSignals{"grep", "-E", "SigBlk|SigIgn", "/proc/self/status"};

TEST(InheritedSignals, ReachTheProgramOfExecAndItsEndIsSeen) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: makes hosts";
  const BusRig rig;
  for (const std::string how : {"ignore", "block"}) {
    const std::string names = how == "ignore" ? "SIGCHLD SIGPIPE SIGHUP" : "SIGTERM SIGINT SIGCHLD";
    const ToolResult plain = run_program(with_signals(how, names, kShowSignals));
    Words exec = Words{shmifctl_path(), "exec", rig.path(), "--via", "veth", "--"} + kShowSignals;
    const ToolResult host = run_program(with_signals(how, names, exec));
    EXPECT_FALSE(host.timed_out) << how;
    EXPECT_EQ(host.status, 0) << host.err;
    EXPECT_EQ(host.out, plain.out) << how;
    const ToolResult code = run_program(with_signals(
        how, names,
        {shmifctl_path(), "exec", rig.path(), "--via", "veth", "--", "sh", "-c", "exit 7"}));
    EXPECT_EQ(code.status, 7) << how << ": " << code.err;
  }
}

}  // namespace
}  // namespace shmif::test
