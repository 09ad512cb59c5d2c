// Standard output that is closed, full, or without a reader: a command that has done work says so,
// and one that only shows something ends as other programs do.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
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

}  // namespace
}  // namespace shmif::test
