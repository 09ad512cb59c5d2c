// shmifctl dump, through the program: how it ends.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "base/unique_fd.hpp"
#include "bus/layout.hpp"
#include "tests/tools/capture/dump_command.hpp"

namespace shmif::test {
namespace {

TEST(Dump, AReaderThatGoesAwayEndsItWithTheCountsAndZero) {
  const BusRig rig;
  Port port = rig.port();
  send(port, std::vector<Bytes>(100, make_frame(1514, 1)));
  // The reader takes a little and goes; the rest is more than the pipe holds. One reader is gone
  // before the first byte.
  const std::vector<std::pair<std::string, std::string>> ways{
      {"--hex", "head -n 1"},
      {"-w -", "head -c 24"},
      {"--format pcapng -w -", "head -c 24"},
      {"-w -", "true"}};
  for (const auto& [option, reader] : ways) {
    const std::string wait = reader == "true" ? "sleep 0.1; " : "";
    const ToolResult r =
        run_program({"bash", "-c",
                     "{ " + wait + shmifctl_path() + " dump " + rig.path() + " --history " +
                         option + "; } | " + reader + " >/dev/null; echo ${PIPESTATUS[0]}"});
    EXPECT_FALSE(r.timed_out) << option;
    EXPECT_EQ(r.out, "0\n") << option << ": " << r.err;
    EXPECT_EQ(lines(r.err), 1) << option << ": " << r.err;
    unsigned long long captured = 1000;
    EXPECT_EQ(std::sscanf(r.err.c_str(), "%llu %*s captured, 0 filtered out, 0 lost", &captured), 1)
        << option << ": " << r.err;
    EXPECT_LT(captured, 100U) << option << ": what never reached the pipe is not captured";
  }
}

TEST(Dump, EndsWhenItsReaderHasGoneThoughNothingPasses) {
  const BusRig rig;
  Port port = rig.port();
  send(port, std::vector<Bytes>(3, make_frame(60, 1)));
  // One reader takes a line, and one all of a capture.
  for (const std::string words : {" | head -n 1", " -w - | head -c 252"}) {
    const ToolResult r = run_program({"bash", "-c",
                                      shmifctl_path() + " dump " + rig.path() + " --history" +
                                          words + " >/dev/null; echo ${PIPESTATUS[0]}"});
    EXPECT_FALSE(r.timed_out) << words;
    EXPECT_EQ(r.out, "0\n") << words;
    EXPECT_EQ(r.err, "3 frames captured, 0 filtered out, 0 lost\n") << words;
  }
}

TEST(Dump, StoppingSignalsEndItWithTheCountsAndZero) {
  for (const int number : {SIGINT, SIGTERM}) {
    const BusRig rig;
    Tool tool(dump(rig, {"--name", "ear"}));
    ASSERT_TRUE(rig.wait_for_port("ear"));
    tool.signal(number);
    const ToolResult r = tool.finish();
    EXPECT_EQ(r.status, 0) << number;
    EXPECT_EQ(r.err, "0 frames captured, 0 filtered out, 0 lost\n");
  }
}

TEST(Dump, AScriptThatRunsItInTheBackgroundEndsItWithSigint) {
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

TEST(Dump, ASignalEndsItTowardsAReaderThatStandsStill) {
  const BusRig rig({.ring_bytes = 1U << 20U});
  Port port = rig.port();
  send(port, std::vector<Bytes>(200, make_frame(1000, 1)));
  ASSERT_EQ(mkfifo(rig.file("fifo").c_str(), 0600), 0);
  struct Case {
    std::string words;
    int pipe_bytes;
    int least;  // in the pipe when the next write waits
    int number;
  };
  for (const auto& [words, pipe_bytes, least, number] :
       {Case{"dump --history -x", 65536, 60'000, SIGTERM},
        Case{"dump --history -w -", 65536, 60'000, SIGTERM},
        Case{"dump --history -x", 65536, 60'000, SIGINT},
        Case{"dump --history -w -", 65536, 60'000, SIGINT}}) {
    const UniqueFd reader(open(rig.file("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_EQ(fcntl(reader.get(), F_SETPIPE_SZ, pipe_bytes), pipe_bytes);
    Tool tool({"sh", "-c", "exec \"$0\" " + words + " \"$1\" >\"$2\"", shmifctl_path(), rig.path(),
               rig.file("fifo")});
    // It stands still when nothing more comes into the pipe.
    ASSERT_TRUE(eventually([&, least = least] {
      int first = 0;
      int second = 0;
      if (ioctl(reader.get(), FIONREAD, &first) != 0) return false;
      usleep(100'000);
      return ioctl(reader.get(), FIONREAD, &second) == 0 && first == second && first > least;
    })) << words;
    tool.signal(number);
    const ToolResult r = tool.finish();
    EXPECT_FALSE(r.timed_out) << words << ' ' << number;
    EXPECT_EQ(r.status, 1) << words;
    EXPECT_TRUE(contains(r.err, "its reader took nothing")) << r.err;
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

TEST(Dump, AFullDiskEndsItWithAnError) {
  const BusRig rig;
  Port port = rig.port();
  send(port, std::vector<Bytes>(100, make_frame(1514, 1)));
  // A limit on file sizes stands in for the disk.
  const ToolResult r =
      run_program({"bash", "-c",
                   "trap '' XFSZ; ulimit -f 8; exec " + shmifctl_path() + " dump " + rig.path() +
                       " --history --timeout 0 -w " + rig.file("out.pcap")});
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot write \"" + rig.file("out.pcap") + "\": File too large"))
      << r.err;
  const std::size_t whole = read_capture(rig.file("out.pcap")).size();
  EXPECT_GT(whole, 0U);
  EXPECT_TRUE(contains(r.err, std::to_string(whole) + " frames captured")) << r.err;
}

TEST(Dump, AccountsForEveryFrameWhenFlooded) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-w", rig.file("out.pcap")}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  constexpr std::size_t kBatches = 2000;
  const std::vector<Bytes> frames(100, make_frame(1000, 1));
  for (std::size_t i = 0; i < kBatches; ++i) send(port, frames);
  // The counts are read when it has heard the last one, however long that takes.
  const Bytes last = arp_request();
  send(port, {last});
  const auto all_passed = [&] {
    const BusInfo info = Bus::open(rig.path()).value().info();
    return std::ranges::any_of(info.ports, [&](const PortInfo& p) {
      return p.name == "ear" && p.rx_frames + p.lost_frames == info.frames;
    });
  };
  for (int i = 0; i < 6000 && !all_passed(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  tool.signal(SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  unsigned long long captured = 0, filtered = 0, lost = 0;
  ASSERT_EQ(std::sscanf(r.err.c_str(), "%llu %*s captured, %llu filtered out, %llu lost", &captured,
                        &filtered, &lost),
            3)
      << r.err;
  EXPECT_EQ(captured + lost, kBatches * frames.size() + 1) << r.err;
  const std::vector<Bytes> written = read_capture(rig.file("out.pcap"));
  EXPECT_EQ(written.size(), captured);
  ASSERT_FALSE(written.empty());
  EXPECT_EQ(written.back(), last);
}

TEST(Dump, ATruncationEndsItWithAnErrorEvenWhereItDoesNotLook) {
  for (const bool reads_only : {false, true}) {
    if (reads_only && geteuid() != 0) continue;  // nobody else to be
    const BusRig rig({.mode = 0644});
    ASSERT_EQ(chmod(rig.directory().c_str(), 0755), 0);
    Port port = rig.port();
    send(port, {arp_request()});
    std::vector<std::string> command;
    if (reads_only) {
      command = {"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"};
    }
    for (const std::string& word : dump(rig, {"--history"})) command.push_back(word);
    Tool tool(command);
    ASSERT_TRUE(tool.wait_for("ARP")) << tool.finish(std::chrono::milliseconds(1)).err;
    // Into the middle of the ring, so that the header and the place where dump waits stay.
    std::filesystem::resize_file(rig.path(), std::filesystem::file_size(rig.path()) - 16384);
    const ToolResult r = tool.finish();
    EXPECT_EQ(r.status, 1) << r.err;
    EXPECT_TRUE(contains(r.err, "truncated")) << r.err;
    EXPECT_TRUE(contains(r.err, "1 frame captured")) << r.err;
  }
}

TEST(Dump, GoesOnWhereACorruptBusWasRepaired) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request()});
  Tool tool(dump(rig, {"--history", "-c", "2"}));
  ASSERT_TRUE(tool.wait_for("ARP")) << tool.finish(std::chrono::milliseconds(1)).err;
  {
    std::fstream file(rig.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(bus::kRingOffset));
    file << std::string(4096, 'x');
  }
  ASSERT_TRUE(tool.wait_for("corrupt")) << tool.finish(std::chrono::milliseconds(1)).err;
  EXPECT_EQ(run_tool({"repair", rig.path()}).status, 0);
  send(port, {arp_request()});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.err, "2 frames captured")) << r.err;
  EXPECT_TRUE(contains(r.err, "at least ")) << "no exact count after corruption: " << r.err;
}

TEST(Dump, GoesOnInTheNextFileAfterATimeAndEndsAfterTheLast) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-G", "1", "-W", "1", "-w", rig.file("x-%Y.pcap")}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  send(port, {make_frame(60, 1)});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.err, "1 frame captured, 0 filtered out, 0 lost\n");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(rig.directory())) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("x-2")) continue;
    EXPECT_EQ(read_capture(entry.path()).size(), 1U);
    ++files;
  }
  EXPECT_EQ(files, 1U);
}

/// Frames that a stopped `dump` has not seen, and then a signal: both are pending when it goes on.
TEST(Dump, ShowsWhatWasOnTheBusWhenTheSignalCame) {
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

TEST(Dump, EndsThoughAFloodGoesOnAfterTheSignal) {
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

TEST(Dump, SignalsForUsersDoNotEndIt) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  tool.signal(SIGUSR1);
  tool.signal(SIGUSR2);
  send(port, {arp_request()});
  ASSERT_TRUE(tool.wait_for("ARP"));
  tool.signal(SIGINT);
  EXPECT_EQ(tool.finish().status, 0);
}

}  // namespace
}  // namespace shmif::test
