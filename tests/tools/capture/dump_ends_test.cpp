// shmifctl dump, through the program: how it ends, and what does not end it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/unique_fd.hpp"
#include "tests/tools/capture/dump_rig.hpp"

namespace shmif::test {
namespace {

/// `shmifctl dump BUS WORDS | READER`: its own exit code is printed.
ToolResult piped(const BusRig& rig, const std::string& words, const std::string& reader) {
  return run_program({"bash", "-c",
                      "{ " + std::string(reader == "true" ? "sleep 0.1; " : "") + shmifctl_path() +
                          " dump " + rig.path() + " --history " + words + "; } | " + reader +
                          " >/dev/null; echo ${PIPESTATUS[0]}"});
}

TEST(DumpEnds, WhenItsReaderHasGoneWithTheCountsAndZero) {
  const BusRig full, few;
  Port port = full.port(), other = few.port();
  send(port, std::vector<Bytes>(100, make_frame(1514, 1)));
  send(other, std::vector<Bytes>(3, make_frame(60, 1)));
  struct Case {
    const BusRig& rig;
    std::string words, reader;
    unsigned least, most;  // captured: what never reached the pipe is not
  };
  // The first readers take a little and go; the rest is more than the pipe holds. The fourth is
  // gone before the first byte. The last two have a line, and all of a capture, and nothing more
  // passes.
  for (const auto& [rig, words, reader, least, most] :
       std::vector<Case>{{full, "--hex", "head -n 1", 0, 99},
                         {full, "-w -", "head -c 24", 0, 99},
                         {full, "--format pcapng -w -", "head -c 24", 0, 99},
                         {full, "-w -", "true", 0, 99},
                         {few, "", "head -n 1", 3, 3},
                         {few, "-w -", "head -c 252", 3, 3}}) {
    const ToolResult r = piped(rig, words, reader);
    EXPECT_FALSE(r.timed_out) << words;
    EXPECT_EQ(r.out, "0\n") << words << ": " << r.err;
    EXPECT_EQ(count_of_lines(r.err), 1) << words << ": " << r.err;
    unsigned captured = 1000;
    EXPECT_EQ(std::sscanf(r.err.c_str(), "%u %*s captured, 0 filtered out, 0 lost", &captured), 1)
        << words << ": " << r.err;
    EXPECT_GE(captured, least) << words;
    EXPECT_LE(captured, most) << words;
  }
}

TEST(DumpEnds, WithZeroWhereNobodyReadsItsCounts) {
  const BusRig rig;
  const ToolResult r = run_program(
      {"bash", "-c",
       "{ sleep 0.1; \"$1\" dump \"$2\" --timeout 0 2>&1 >/dev/null; echo $? >\"$3\"; } | true",
       "bash", shmifctl_path(), rig.path(), rig.file("status")});
  EXPECT_EQ(r.status, 0);
  std::string status;
  EXPECT_TRUE(eventually([&] { return bool(std::ifstream(rig.file("status")) >> status); }));
  EXPECT_EQ(status, "0");
}

TEST(DumpEnds, AtSigintWhereAScriptRunsItInTheBackground) {
  const BusRig rig;
  // The shell starts its background jobs with SIGINT ignored.
  Tool tool({"sh", "-c",
             shmifctl_path() + " dump " + rig.path() + " --name ear & echo $! >" + rig.file("pid") +
                 "; wait $!; echo exit $?"});
  ASSERT_TRUE(rig.wait_for_port("ear"));
  pid_t pid = 0;  // the shell may write it later than `dump` is ready
  ASSERT_TRUE(eventually([&] { return bool(std::ifstream(rig.file("pid")) >> pid); }));
  ASSERT_GT(pid, 0);
  kill(pid, SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.out, "exit 0\n") << r.err;
  if (r.timed_out) kill(pid, SIGKILL);
}

TEST(DumpEnds, AtASignalTowardsAReaderThatStandsStill) {
  const BusRig rig({.ring_bytes = 1U << 20U});
  Port port = rig.port();
  send(port, std::vector<Bytes>(200, make_frame(1000, 1)));
  ASSERT_EQ(mkfifo(rig.file("fifo").c_str(), 0600), 0);
  for (const auto& [words, number] :
       {std::pair{"-x", SIGTERM}, {"-w -", SIGTERM}, {"-x", SIGINT}}) {
    const UniqueFd reader(open(rig.file("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_EQ(fcntl(reader.get(), F_SETPIPE_SZ, 65536), 65536);
    Tool tool({"sh", "-c", std::string("exec \"$0\" dump --history ") + words + " \"$1\" >\"$2\"",
               shmifctl_path(), rig.path(), rig.file("fifo")});
    // It stands still when nothing more comes into the pipe.
    ASSERT_TRUE(eventually([&] {
      int first = 0, second = 0;
      if (ioctl(reader.get(), FIONREAD, &first) != 0) return false;
      usleep(100'000);
      return ioctl(reader.get(), FIONREAD, &second) == 0 && first == second && first > 60'000;
    })) << words;
    tool.signal(number);
    const ToolResult r = tool.finish();
    EXPECT_FALSE(r.timed_out) << words << ' ' << number;
    EXPECT_EQ(r.status, 1) << words;
    EXPECT_TRUE(contains(r.err, "its reader took nothing"));
  }
  // A FIFO that nobody reads.
  for (const auto& [format, number] : {std::pair{"pcap", SIGTERM}, {"pcapng", SIGINT}}) {
    Tool tool(dump(rig, {"--name", "ear", "--format", format, "-w", rig.file("fifo")}));
    ASSERT_TRUE(rig.wait_for_port("ear"));
    tool.signal(number);
    const ToolResult r = tool.finish();
    EXPECT_FALSE(r.timed_out) << format;
    EXPECT_EQ(r.status, 0) << r.err;
  }
}

/// Frames that a stopped `dump` has not seen, and then a signal: both are pending when it goes on.
TEST(DumpEnds, AtASignalWithWhatWasOnTheBusWhenItCame) {
  for (const int number : {SIGINT, SIGTERM}) {
    const BusRig rig;
    Port port = rig.port();
    Tool tool(dump(rig, {"--name", "ear", "-w", rig.file("out.pcap")}));
    ASSERT_TRUE(rig.wait_for_port("ear"));
    tool.stop();
    std::vector<Bytes> frames;
    for (std::size_t i = 0; i < 2000; ++i) frames.push_back(make_frame(100, i));
    send(port, frames);
    tool.signal(number);
    tool.signal(SIGCONT);
    const ToolResult r = tool.finish();
    EXPECT_EQ(r.status, 0) << number;
    EXPECT_EQ(r.err, "2000 frames captured, 0 filtered out, 0 lost\n");
    EXPECT_TRUE(same_frames(frames, read_capture(rig.file("out.pcap"))));
  }
}

TEST(DumpEnds, ThoughAFloodGoesOnAfterTheSignal) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-w", rig.file("out.pcap")}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  std::atomic<bool> over{false};
  std::thread flood([&] {
    const Bytes frame = make_frame(1000, 1);
    while (!over) static_cast<void>(port.send(FrameView(frame.data(), frame.size())));
  });
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  over = true;
  flood.join();
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 0) << r.err;
}

TEST(DumpEnds, NeitherAtSignalsForUsersNorAtAHangupUnderNohup) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool({"sh", "-c", "trap '' HUP; exec \"$1\" dump \"$2\" --name ear -c 1", "sh",
             shmifctl_path(), rig.path()});
  ASSERT_TRUE(rig.wait_for_port("ear"));
  for (const int number : {SIGHUP, SIGUSR1, SIGUSR2}) tool.signal(number);
  send(port, {arp_request()});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.err, "1 frame captured, 0 filtered out, 0 lost\n");
}

TEST(DumpEnds, WithAnErrorWhereTheDiskIsFullAndCountsWhatIsInTheFile) {
  const BusRig rig;
  Port port = rig.port();
  send(port, std::vector<Bytes>(100, make_frame(1514, 1)));
  const std::string file = rig.file("out.pcap");
  for (const Words& more : {Words{}, Words{"-C", "10K"}}) {
    const ToolResult r = run_program(on_a_full_disk() + history(rig, Words{"-w", file} + more));
    EXPECT_EQ(r.status, 1);
    EXPECT_TRUE(contains(r.err, "cannot write \"" + file + "\": File too large"));
    const std::size_t whole = read_capture(file).size();
    EXPECT_GT(whole, 0U);
    EXPECT_TRUE(contains(r.err, std::to_string(whole) + " frames captured"));
    EXPECT_FALSE(std::filesystem::exists(file + "1")) << "one that is not complete is the last";
  }
  const BusRig of_super_frames;
  Port other = of_super_frames.port();
  for (int i = 0; i < 4; ++i) send_super_frame(other);
  const std::string err =
      run_program(on_a_full_disk() + history(of_super_frames, {"-w", file})).err;
  // How many of them arrived whole is not known.
  EXPECT_TRUE(contains(err, "\n4 frames captured (" + std::to_string(read_capture(file).size()) +
                                " after segmentation)"));
}

TEST(DumpEnds, WithAnErrorWhereItsBusIsTruncatedAlsoWhereItDoesNotLook) {
  for (const bool reads_only : {false, true}) {
    if (reads_only && geteuid() != 0) continue;  // nobody else to be
    const BusRig rig({.mode = 0644});
    ASSERT_EQ(chmod(rig.directory().c_str(), 0755), 0);
    Port port = rig.port();
    send(port, {arp_request()});
    Tool tool((reads_only ? as_somebody_else() : Words{}) + dump(rig, {"--history"}));
    ASSERT_TRUE(tool.wait_for("ARP")) << tool.finish(std::chrono::milliseconds(1)).err;
    // Into the middle of the ring, so that the header and the place where dump waits stay.
    std::filesystem::resize_file(rig.path(), std::filesystem::file_size(rig.path()) - 16384);
    const ToolResult r = tool.finish();
    EXPECT_EQ(r.status, 1) << r.err;
    EXPECT_TRUE(contains(r.err, "truncated"));
    EXPECT_TRUE(contains(r.err, "1 frame captured"));
  }
}

TEST(DumpOfACorruptBus, GoesOnWhereThatWasRepairedWithAPortAndWithout) {
  for (const bool is_full : {false, true}) {
    const BusRig rig;
    std::vector<Port> ports(is_full ? Bus::open(rig.path()).value().info().slots : 1);
    for (Port& port : ports) ASSERT_TRUE(port.attach(rig.path()));
    ASSERT_FALSE(ports[0].up());
    send(ports[0], {arp_request()});
    Tool tool(dump(rig, {"--history", "-c", "2"}));
    ASSERT_TRUE(tool.wait_for("ARP")) << tool.finish(std::chrono::milliseconds(1)).err;
    corrupt(rig);
    ASSERT_TRUE(tool.wait_for("corrupt")) << tool.finish(std::chrono::milliseconds(1)).err;
    EXPECT_EQ(run_tool({"repair", rig.path()}).status, 0);
    send(ports[0], {arp_request()});
    const ToolResult r = tool.finish();
    EXPECT_EQ(r.status, 0) << r.err;
    // The ring begins anew, and so do the numbers of its frames.
    EXPECT_TRUE(contains(r.err, "2 frames captured, 0 filtered out, at least "));
  }
}

TEST(DumpOfACorruptBus, EndsWithItsTimeAndFailsAndSaysItOnce) {
  ToolResult r;
  std::string what;
  // Half a second is plenty to corrupt a bus, unless one has to wait for a CPU.
  for (const char* const timeout : {"0.5", "5", "15"}) {
    const BusRig rig;
    what = "cannot go on with " + rig.path() + ": the bus is corrupt";
    Port port = rig.port();
    send(port, {arp_request()});
    Tool tool(dump(rig, {"--history", "--timeout", timeout}));
    ASSERT_TRUE(tool.wait_for("ARP"));
    corrupt(rig);
    r = tool.finish();
    if (contains(r.err, what)) break;
  }
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_EQ(times_in(r.err, what), 1U) << r.err;
}

}  // namespace
}  // namespace shmif::test
