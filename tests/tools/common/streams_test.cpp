// What the tools do with what they inherit: closed standard streams, ignored and blocked signals.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/layout.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"

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

// Standard output that is closed, full, or without a reader: a command that has done work says so,
// and one that only shows something ends as other programs do.

/// A kind of standard output that takes no bytes.
struct LostOutput {
  const char* redirection;  ///< of bash
  const char* why;
};
// The third is a pipe without a reader, from the beginning.
constexpr LostOutput kClosed{">&-", "Bad file descriptor"};
constexpr LostOutput kFull{">/dev/full", "No space left on device"};
constexpr LostOutput kUnread{"3<>\"$FIFO\" 4>\"$FIFO\" 3<&- >&4 4>&-", "Broken pipe"};

ToolResult run_into(const LostOutput& output, Words words) {
  const TempDir directory;
  const std::string script = "FIFO=$0.fifo; mkfifo \"$FIFO\"; exec \"$@\" ";
  return run_program(
      Words{"bash", "-c", script + output.redirection, directory.file("x"), shmifctl_path()} +
      words);
}

TEST(LostOutput, OfACommandThatHasDoneItsWorkIsToldWithTheWork) {
  for (const LostOutput& output : {kClosed, kFull, kUnread}) {
    const BusRig rig;
    Port port = rig.port();
    const std::string in = rig.file("in.pcap");
    const std::string out = rig.file("out.pcap");
    const std::string made = rig.file("made");
    write_capture(in, {make_frame(60, 1), make_frame(61, 2), make_frame(62, 3)});
    const std::string repaired =
        "the bus " + rig.path() + " is repaired; 'shmifctl audit' checks it";
    const std::string recorded = "3 frames were recorded in \"" + out + '"';
    struct Case {
      Words words;
      std::string done;
    };
    for (const Case& each : std::vector<Case>{
             {{"create", made, "--json"},
              "the bus " + made + " was made; 'shmifctl stat --json' prints the same"},
             {{"repair", rig.path(), "--json"}, repaired},
             {{"repair", rig.path()}, repaired},
             {{"inject", rig.path(), in, "--json"}, "3 frames were sent"},
             {{"inject", rig.path(), in}, "3 frames were sent"},
             {{"dump", rig.path(), "--history", "--timeout", "0", "-c", "3", "-w", out, "--json"},
              recorded},
             {{"bridge", "pcap:" + in, "pcap:" + out, "--force", "--json"}, recorded}}) {
      const ToolResult result = run_into(output, each.words);
      const std::string what = each.words[0] + ' ' + output.redirection;
      EXPECT_EQ(result.status, 1) << what;
      EXPECT_EQ(result.out, "") << what;
      EXPECT_EQ(result.err, std::string("shmifctl: cannot write to standard output: ") +
                                output.why + " (" + each.done + ")\n")
          << what;
    }
    EXPECT_TRUE(Bus::open(made));
    EXPECT_EQ(read_capture(out).size(), 3U);
  }
}

TEST(LostOutput, OfACommandThatOnlyShowsSomethingEndsItBySigpipe) {
  const BusRig rig;
  for (const char* const command : {"stat", "audit", "ps"}) {
    for (const char* const form : {"", "--json"}) {
      Words words{command, rig.path()};
      if (*form != '\0') words.emplace_back(form);
      const ToolResult unread = run_into(kUnread, words);
      EXPECT_EQ(unread.status, 128 + SIGPIPE) << command << form;
      EXPECT_EQ(unread.err, "") << command << form;
      const ToolResult full = run_into(kFull, words);
      EXPECT_EQ(full.status, 1) << command << form;
      EXPECT_EQ(full.err, "shmifctl: cannot write to standard output: No space left on device\n");
    }
  }
}

// The lines on standard error that show the progress of a command.

/// What a terminal of that size gets for each of `texts`, and at the end.
Words shown_on(unsigned short columns, unsigned short rows, const Words& texts) {
  const BorrowedTerminal terminal(columns, rows, {STDERR_FILENO});
  Words seen;
  {
    tools::Progress progress;
    for (const std::string& text : texts) {
      progress.show(text);
      seen.push_back(terminal.seen());
    }
  }
  seen.push_back(terminal.seen());
  return seen;
}

TEST(Progress, LinesReplaceThoseBeforeHoweverManyTheseWere) {
  EXPECT_EQ(shown_on(80, 24, {"one\ntwo\nthree", "1\n2\n3", "a\nb", "c", "d\ne"}),
            (Words{"\rone\x1b[K\ntwo\x1b[K\nthree\x1b[K\x1b[J",
                   "\r\x1b[2A1\x1b[K\n2\x1b[K\n3\x1b[K\x1b[J", "\r\x1b[2Aa\x1b[K\nb\x1b[K\x1b[J",
                   "\r\x1b[1Ac\x1b[K\x1b[J", "\rd\x1b[K\ne\x1b[K\x1b[J", "\r\x1b[1A\x1b[J"}));
  EXPECT_EQ(shown_on(80, 3, {"one\ntwo\nthree"}),
            (Words{"\rone\x1b[K\ntwo\x1b[K\x1b[J", "\r\x1b[1A\x1b[J"}))
      << "the last row stays empty";
}

/// Sets a variable of the environment while it lives, or removes it.
class WithVariable {
 public:
  WithVariable(const char* name, const char* value) : name_(name) {
    if (const char* const was = std::getenv(name)) was_ = was;
    set(value);
  }
  WithVariable(const WithVariable&) = delete;
  WithVariable& operator=(const WithVariable&) = delete;
  ~WithVariable() { set(was_ ? was_->c_str() : nullptr); }

 private:
  void set(const char* value) const {
    value != nullptr ? setenv(name_, value, 1) : unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> was_;
};

/// The width of tables with that wish in the environment.
unsigned columns_wished(const char* wish) {
  const WithVariable columns("COLUMNS", wish);
  return tools::terminal_columns();
}

TEST(TerminalColumns, AreThoseWishedForOrThoseOfTheTerminal) {
  struct Case {
    const char* wish;
    unsigned columns;
  };
  for (const Case& each : std::vector<Case>{{"1", 1},
                                            {"9999", 9999},
                                            {"10000", 123},
                                            {"0", 123},
                                            {"", 123},
                                            {"wide", 123},
                                            {nullptr, 123}}) {
    unsigned columns = 0;
    {
      const BorrowedTerminal terminal(123, 24);
      columns = columns_wished(each.wish);
    }
    EXPECT_EQ(columns, each.columns) << (each.wish != nullptr ? each.wish : "none");
  }
  unsigned on_errors_alone = 1;
  {
    // Standard output goes to a file here, whatever standard error is.
    const BorrowedTerminal terminal(123, 24, {STDERR_FILENO});
    ::testing::internal::CaptureStdout();
    on_errors_alone = columns_wished(nullptr);
    (void)::testing::internal::GetCapturedStdout();
  }
  EXPECT_EQ(on_errors_alone, 0U);
}

}  // namespace
}  // namespace shmif::test

namespace shmif::tools {
namespace {

// Requests to stop a command: they end writes that wait, where the command wants that.

/// Whether an alarm was set, which is then taken back.
bool was_alarm_set() {
  return ::alarm(0) != 0;
}

TEST(StoppingSignals, EndEachWriteThatWaitsOnlyWhereThatIsWanted) {
  struct sigaction before{};
  sigaction(SIGALRM, nullptr, &before);
  {
    const StopSignals stop;
    std::raise(SIGTERM);
    EXPECT_FALSE(was_alarm_set()) << "not wanted";
    stop.bound_writes();
    EXPECT_TRUE(was_alarm_set()) << "the signal had come already";
    std::raise(SIGALRM);
    EXPECT_TRUE(was_alarm_set()) << "for the next write";
    struct sigaction now{};
    sigaction(SIGALRM, nullptr, &now);
    EXPECT_EQ(now.sa_flags & SA_RESTART, 0) << "the write would go on";
  }
  {
    const StopSignals stop;
    stop.bound_writes();
    EXPECT_FALSE(was_alarm_set()) << "no signal has come";
    std::raise(SIGINT);
    EXPECT_TRUE(was_alarm_set());
    std::raise(SIGUSR1);
    EXPECT_FALSE(was_alarm_set());
  }
  const StopSignals next;
  std::raise(SIGINT);
  EXPECT_FALSE(was_alarm_set()) << "wanted by the one before";
  sigaction(SIGALRM, &before, nullptr);
}

}  // namespace
}  // namespace shmif::tools
