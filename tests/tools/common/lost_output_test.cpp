// Standard output that is closed, full, or without a reader: a command that has done work says so,
// and one that only shows something ends as other programs do.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tools/common/output.hpp"

namespace shmif::test {
namespace {

/// A kind of standard output that takes no bytes.
struct LostOutput {
  const char* redirection;  ///< of bash
  const char* why;
};
// The third is a pipe without a reader, from the beginning.
constexpr LostOutput kClosed{">&-", "Bad file descriptor"};
constexpr LostOutput kFull{">/dev/full", "No space left on device"};
constexpr LostOutput kUnread{"3<>\"$FIFO\" 4>\"$FIFO\" 3<&- >&4 4>&-", "Broken pipe"};

ToolResult run_into(const LostOutput& output, std::vector<std::string> words) {
  const TempDir directory;
  const std::string script = "FIFO=$0.fifo; mkfifo \"$FIFO\"; exec \"$@\" ";
  std::vector<std::string> all{"bash", "-c", script + output.redirection, directory.file("x"),
                               shmifctl_path()};
  all.insert(all.end(), words.begin(), words.end());
  return run_program(all);
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
      std::vector<std::string> words;
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

TEST(LostOutput, OfWhatWasSentIsToldBesideWhatCouldNotBeSent) {
  const BusRig rig;
  const std::string in = rig.file("in.pcap");
  write_capture(in, {make_frame(60, 1), make_frame(4000, 2)});
  for (const LostOutput& output : {kClosed, kFull, kUnread}) {
    const ToolResult result = run_into(output, {"inject", rig.path(), in, "--json"});
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(count_of_lines(result.err), 2) << result.err;
    EXPECT_TRUE(contains(result.err, "cannot send 1 frame of ")) << result.err;
    EXPECT_TRUE(
        contains(result.err, std::string("output: ") + output.why + " (1 frame was sent)\n"))
        << result.err;
  }
}

// The counters of a bridge of two links are all that it leaves: nothing else is to be told of it.
TEST(LostOutput, OfABridgeIsAFailureUnlessItWasClosedAndNoJsonIsWanted) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), {make_frame(60, 1)});
  const std::string from = "pcap:" + rig.file("in.pcap");
  for (const LostOutput& output : {kClosed, kFull, kUnread}) {
    const ToolResult text = run_into(output, {"bridge", from, "bus:" + rig.path()});
    const std::string lost =
        std::string("shmifctl: cannot write to standard output: ") + output.why + '\n';
    const bool vanishes = output.redirection == kClosed.redirection;
    EXPECT_EQ(text.err, vanishes ? "" : lost);
    EXPECT_EQ(text.status, vanishes ? 0 : 1);
    const ToolResult told = run_into(output, {"bridge", from, "bus:" + rig.path(), "--json"});
    EXPECT_EQ(told.err, lost);
    EXPECT_EQ(told.status, 1);
  }
}

TEST(LostOutput, OfACommandThatOnlyShowsSomethingEndsItBySigpipe) {
  const BusRig rig;
  for (const char* const command : {"stat", "audit", "ps"}) {
    for (const char* const form : {"", "--json"}) {
      std::vector<std::string> words{command, rig.path()};
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

// It prints a line and goes on. What is lost then is told with its reason when it ends.
TEST(LostOutput, OfACommandThatGoesOnKeepsItsReasonUntilItEnds) {
  const BusRig rig;
  Tool tool({"sh", "-c", "exec \"$0\" ping \"$1\" --respond --name ear >/dev/full", shmifctl_path(),
             rig.path()});
  ASSERT_TRUE(rig.wait_for_port("ear"));
  tool.signal(SIGTERM);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "shmifctl: cannot write to standard output: No space left on device\n");
  const ToolResult ping =
      run_into(kFull, {"ping", rig.path(), "-c", "2", "--timeout", "0.01", "--interval", "0.01"});
  EXPECT_TRUE(contains(ping.err, "cannot write to standard output: No space left on device\n"))
      << ping.err;
}

/// Another program that shares it may have set O_NONBLOCK.
TEST(LostOutput, IsNoneWhereStandardOutputDoesNotBlockAndItsReaderIsSlow) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const int room = ::fcntl(writer.get(), F_SETPIPE_SZ, 4096);
  ASSERT_EQ(::fcntl(writer.get(), F_SETFL, O_NONBLOCK), 0);
  const std::vector<std::string> words{shmifctl_path(), "exec", "--help"};
  const std::string expected = run_program(words).out;
  ASSERT_GT(expected.size(), static_cast<std::size_t>(room));
  const pid_t tool = ::fork();
  if (tool == 0) {
    ::dup2(writer.get(), STDOUT_FILENO);
    ::execl(words[0].c_str(), words[0].c_str(), "exec", "--help", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  writer.reset();
  EXPECT_TRUE(eventually([&] {  // it is full
    int waiting = 0;
    return ::ioctl(reader.get(), FIONREAD, &waiting) == 0 && waiting == room;
  }));
  std::string seen;
  std::array<char, 512> part{};
  for (ssize_t n = 0; (n = ::read(reader.get(), part.data(), part.size())) > 0;) {
    seen.append(part.data(), static_cast<std::size_t>(n));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(tool, &status, 0), tool);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(seen, expected);
}

TEST(StandardOutput, KeepsTheFirstReasonForWhichItWasLost) {
  std::fflush(stdout);
  const UniqueFd saved(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  const UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  dup2(full.get(), STDOUT_FILENO);
  tools::begin_output();
  std::fputs("text", stdout);
  const int first = tools::flush_output();
  errno = EINTR;  // as other calls leave it
  const int again = tools::flush_output();
  dup2(saved.get(), STDOUT_FILENO);
  std::clearerr(stdout);
  tools::begin_output();
  EXPECT_EQ(first, ENOSPC);
  EXPECT_EQ(again, ENOSPC);
  EXPECT_EQ(tools::flush_output(), 0);
  EXPECT_EQ(tools::lost_output_text(first),
            "cannot write to standard output: No space left on device");
}

TEST(StandardOutput, IsAFileUnderAnyNameButNotTheNullDevice) {
  const TempDir directory;
  const std::string path = directory.file("x");
  std::ofstream(path) << "text";
  std::ofstream(directory.file("other")) << "text";
  std::filesystem::create_symlink(path, directory.file("link"));
  std::filesystem::create_hard_link(path, directory.file("hard"));
  struct Seen {
    std::vector<std::string> are, are_not;
  };
  // Nothing may be printed meanwhile.
  const auto look = [](const std::string& output, const std::vector<std::string>& paths) {
    const UniqueFd saved(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    const UniqueFd file(open(output.c_str(), O_WRONLY | O_CLOEXEC));
    std::fflush(stdout);
    dup2(file.get(), STDOUT_FILENO);
    Seen seen;
    for (const std::string& each : paths)
      (tools::is_standard_output(each) ? seen.are : seen.are_not).push_back(each);
    dup2(saved.get(), STDOUT_FILENO);
    return seen;
  };
  const Seen file = look(
      path, {"-", path, directory.file("link"), directory.file("hard"), "/dev/stdout",
             "/proc/self/fd/1", directory.file("other"), directory.file("none"), "/dev/null", ""});
  EXPECT_EQ(file.are,
            (std::vector<std::string>{"-", path, directory.file("link"), directory.file("hard"),
                                      "/dev/stdout", "/proc/self/fd/1"}));
  EXPECT_EQ(file.are_not.size(), 4U);
  const Seen null = look("/dev/null", {"-", "/dev/null", "/dev/stdout", path});
  EXPECT_EQ(null.are, std::vector<std::string>{"-"});
  const Seen full = look("/dev/full", {"/dev/full", "/dev/null"});
  EXPECT_EQ(full.are, std::vector<std::string>{"/dev/full"});
}

}  // namespace
}  // namespace shmif::test
