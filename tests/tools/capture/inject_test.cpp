// shmifctl inject, through the program.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/unique_fd.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tools/capture/held_ring.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tools/capture/capture_file.hpp"

namespace shmif::test {
namespace {

ToolResult inject(const BusRig& rig, const std::vector<std::string>& more, std::string input = {}) {
  std::vector<std::string> argv{"inject", rig.path()};
  argv.insert(argv.end(), more.begin(), more.end());
  return run_tool(argv, std::move(input));
}

std::vector<Bytes> some_frames(std::size_t count) {
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < count; ++i) frames.push_back(make_frame(60 + i, i));
  return frames;
}

TEST(Inject, ReplaysAFileInOrderAndUnchanged) {
  for (const char* const timing : {"original", "flat", "x10", "x0.5"}) {
    const BusRig rig;
    Port port = rig.port();
    const std::vector<Bytes> frames = some_frames(100);
    write_capture(rig.file("in.pcap"), frames);
    const ToolResult r = inject(rig, {rig.file("in.pcap"), "--timing", timing});
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.out, "100 frames sent, 10.7 KiB\n");
    EXPECT_EQ(r.err, "");
    EXPECT_TRUE(same_frames(frames, collect(port, 100))) << timing;
  }
}

TEST(Inject, EndsWhenALaterRoundFindsNothingToSend) {
  const BusRig rig;
  Port port = rig.port();
  const std::string path = rig.file("in.pcap");
  write_capture(path, some_frames(2), 20'000'000);
  write_capture(rig.file("empty.pcap"), {});
  Tool tool({shmifctl_path(), "inject", rig.path(), path, "--loop", "0"});
  ASSERT_GE(collect(port, 1).size(), 1U);
  std::filesystem::rename(rig.file("empty.pcap"), path);
  const ToolResult r = tool.finish();
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 0) << r.err;
}

TEST(Inject, ReadsADamagedFileOnceHoweverOftenItWasToLoop) {
  const BusRig rig;
  Port port = rig.port();
  const std::string path = rig.file("in.pcap");
  write_capture(path, some_frames(3));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 5);
  const ToolResult r = inject(rig, {path, "--timing", "flat", "--loop", "3"});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(r.out, "2 frames sent, 121 B\n");
  EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
}

TEST(Inject, FramesCarryTheTimeOfTheirReplay) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(1));
  EXPECT_EQ(inject(rig, {rig.file("in.pcap")}).status, 0);
  FrameBatch batch;
  ASSERT_EQ(port.receive(batch).frames, 1U);
  EXPECT_GT(batch[0].time_ns, 1'750'000'000'000'000'000U) << "the time of the recording, 2023";
}

TEST(Inject, LoopsAsOftenAsAsked) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(10));
  EXPECT_EQ(inject(rig, {rig.file("in.pcap"), "--timing", "flat", "--loop", "3"}).status, 0);
  EXPECT_EQ(collect(port, 30).size(), 30U);
}

TEST(Inject, KeepsTheTimesOfTheRecordingInEachRound) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(2), 600'000'000);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(inject(rig, {rig.file("in.pcap"), "--timing", "x2", "--loop", "2"}).status, 0);
  // Of all rounds together: how late the first frame of a round goes out is the machine's affair.
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2 * 300));
  FrameBatch batch;
  EXPECT_EQ(port.receive(batch).frames, 4U);
}

TEST(Inject, AFrameAloneIsNoFlood) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), some_frames(1));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(inject(rig, {rig.file("in.pcap"), "--timing", "x4", "--loop", "3"}).out,
            "3 frames sent, 180 B\n");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2 * 250));
}

TEST(Inject, SaysThatTheNextFrameIsFarAwayAndWaitsNoLongerThanAsked) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), some_frames(3), 3'600'000'000'000);  // an hour apart
  Tool tool({shmifctl_path(), "inject", rig.path(), rig.file("in.pcap")});
  EXPECT_TRUE(tool.wait_for("is due only in 59 minutes")) << tool.so_far().err;
  tool.signal(SIGINT);
  const ToolResult waited = tool.finish();
  EXPECT_EQ(waited.status, 128 + SIGINT);
  EXPECT_EQ(count_of_lines(waited.err), 1) << waited.err;
  const ToolResult cut = inject(rig, {rig.file("in.pcap"), "--max-gap", "0.001", "--loop", "2"});
  EXPECT_EQ(cut.status, 0);
  EXPECT_EQ(cut.err, "");
  EXPECT_EQ(cut.out, "6 frames sent, 366 B\n");
}

TEST(Inject, TellsALongGapInTheLargestUnitOfWhichItHasTwo) {
  using std::chrono::minutes;
  const auto told = [](std::chrono::nanoseconds left) {
    ::testing::internal::CaptureStderr();
    tools::say_long_gap("a.pcap", left);
    const std::string text = ::testing::internal::GetCapturedStderr();
    const std::string begin = "the next frame of \"a.pcap\" is due only in ";
    const std::size_t at = text.find(begin) + begin.size();
    EXPECT_TRUE(
        text.ends_with(": so far apart its times are (--max-gap 1 waits at most a second)\n"))
        << text;
    return text.substr(at, text.find(':', at) - at);
  };
  EXPECT_EQ(told(minutes(1)), "1 minute");
  EXPECT_EQ(told(minutes(2) - std::chrono::nanoseconds(1)), "1 minute");
  EXPECT_EQ(told(minutes(2)), "2 minutes");
  EXPECT_EQ(told(minutes(119)), "119 minutes");
  EXPECT_EQ(told(minutes(120)), "2 hours");
  EXPECT_EQ(told(minutes(48 * 60 - 1)), "47 hours");
  EXPECT_EQ(told(minutes(48 * 60)), "2 days");
  EXPECT_EQ(told(minutes(1000 * 24 * 60 - 1)), "999 days");
}

TEST(Inject, OfNoGapAtAllIsNotAsRecorded) {
  const auto gap_of = [](std::vector<std::string> words) {
    tools::Options options("inject", "");
    options.words(0, 0).value("max-gap", "SECONDS", "");
    return tools::max_gap_of(options.parse({.words = std::move(words), .tail = {}})).count();
  };
  EXPECT_EQ(gap_of({}), 0) << "as recorded";
  EXPECT_EQ(gap_of({"--max-gap", "0"}), 1);
  EXPECT_EQ(gap_of({"--max-gap", "1.5"}), 1'500'000'000);
}

TEST(Inject, ASignalEndsItWhileItWaitsForAPipe) {
  const BusRig rig;
  ASSERT_EQ(mkfifo(rig.file("fifo").c_str(), 0600), 0);
  Tool without_writer({shmifctl_path(), "inject", rig.path(), rig.file("fifo")});
  // When it has opened the FIFO, it waits: then a writer can open it without waiting.
  UniqueFd writer;
  ASSERT_TRUE(eventually([&] {
    writer.reset(open(rig.file("fifo").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    return static_cast<bool>(writer);
  }));
  without_writer.signal(SIGTERM);
  EXPECT_EQ(without_writer.finish().status, 128 + SIGTERM) << "before the capture began";
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(2));
  std::ifstream file(rig.file("in.pcap"), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  using Case = std::pair<const char*, int>;
  for (const auto& [timing, number] :
       {Case{"flat", SIGTERM}, {"original", SIGTERM}, {"flat", SIGINT}, {"original", SIGINT}}) {
    Tool tool({shmifctl_path(), "inject", rig.path(), rig.file("fifo"), "--timing", timing});
    ASSERT_TRUE(eventually([&] {
      writer.reset(open(rig.file("fifo").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
      return static_cast<bool>(writer);
    }));
    ASSERT_EQ(write(writer.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(collect(port, 2).size(), 2U) << "the last one waits for another";
    tool.signal(number);
    const ToolResult r = tool.finish();
    EXPECT_FALSE(r.timed_out);
    EXPECT_EQ(r.status, 128 + number);
    EXPECT_EQ(r.out, "2 frames sent, 121 B\n");
  }
}

TEST(Inject, ReadsStandardInput) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(10));
  std::ifstream file(rig.file("in.pcap"), std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  EXPECT_EQ(inject(rig, {"-", "--timing", "flat"}, bytes.str()).status, 0);
  EXPECT_EQ(collect(port, 10).size(), 10U);
}

TEST(Inject, CountsAndReportsFramesThatAreTooLong) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"),
                {make_frame(60, 1), make_frame(9000, 2), make_frame(61, 3), make_frame(4000, 4)});
  const ToolResult r = inject(rig, {rig.file("in.pcap"), "--timing", "flat"});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(r.out, "2 frames sent, 121 B\n");
  EXPECT_EQ(count_of_lines(r.err), 1);
  EXPECT_TRUE(contains(r.err, "2 frames")) << r.err;
  EXPECT_TRUE(contains(r.err, "9000 bytes, the bus takes 1522")) << r.err;
  EXPECT_TRUE(same_frames({make_frame(60, 1), make_frame(61, 3)}, collect(port, 2)));
}

/// A bus that carries the largest frames there are, with super-frames of TCP of which a capture is
/// made with `more` words.
std::string recorded_super_frames(const BusRig& rig, const std::vector<std::string>& more) {
  constexpr std::uint16_t kSegment = 1400;
  Port port = rig.port();
  for (const unsigned seed : {1U, 2U}) {
    Bytes bytes = build({}, 14'000, seed);
    std::fill_n(bytes.begin(), 6, std::byte{0xff});
    FrameView frame(bytes.data(), bytes.size());
    frame.offload = header_for({}, kSegment);
    EXPECT_FALSE(port.send({&frame, 1}).error);
  }
  const std::string file = rig.file("super.pcapng");
  std::vector<std::string> words{"dump", rig.path(), "--history", "--timeout", "0", "-w", file};
  words.insert(words.end(), more.begin(), more.end());
  EXPECT_EQ(run_tool(words).status, 0);
  return file;
}

TEST(Inject, OfSuperFramesThatTheBusDoesNotTakeSaysHowToRecordThem) {
  const BusRig recorded;
  const BusRig rig;
  Port port = rig.port();
  const std::string whole = recorded_super_frames(recorded, {"--super-frames"});
  const ToolResult refused = inject(rig, {whole, "--timing", "flat"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.out, "0 frames sent, 0 B\n");
  EXPECT_EQ(refused.err, "shmifctl: cannot send 2 frames of \"" + whole + "\" on " + rig.path() +
                             ": the longest has 14054 bytes, the bus takes 1522 (the capture has "
                             "unsegmented TSO packets: record it without --super-frames)\n");
  // The remedy helps.
  const BusRig again;
  const ToolResult sent = inject(rig, {recorded_super_frames(again, {}), "--timing", "flat"});
  EXPECT_EQ(sent.status, 0) << sent.err;
  EXPECT_EQ(sent.out.rfind("20 frames sent, ", 0), 0U) << sent.out;
}

TEST(Inject, OfSuperFramesThatTheBusTakesSendsThemWithSoundChecksums) {
  const BusRig recorded;
  const BusRig rig({.mtu = 65521});
  Port port = rig.port();
  const std::string whole = recorded_super_frames(recorded, {"--super-frames"});
  const ToolResult sent = inject(rig, {whole, "--timing", "flat"});
  EXPECT_EQ(sent.status, 0) << sent.err;
  FrameBatch batch(8, std::size_t{1} << 17U);
  std::size_t sound = 0;
  EXPECT_TRUE(eventually([&] {
    batch.clear();
    EXPECT_FALSE(port.receive(batch).error);
    for (const FrameView& frame : batch.frames()) {
      EXPECT_FALSE(frame.offload.needs_checksum());
      EXPECT_EQ(frame.size(), 14'054U);
      EXPECT_TRUE(transport_checksum_holds({}, to_bytes(frame)));
      ++sound;
    }
    return sound == 2;
  }));
}

TEST(Inject, AFrameThatNoBusTakesIsNeverCut) {
  // The largest frame that any bus takes, and one that is larger.
  const BusRig rig({.mtu = 65521});
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), {make_frame(60, 1), make_frame(kMaxFrameBytes, 2)});
  {
    std::ofstream file(rig.file("in.pcap"), std::ios::binary | std::ios::app);
    const std::uint32_t length = 80'066;
    const std::array<std::uint32_t, 4> head{1'700'000'001, 0, length, length};
    file.write(reinterpret_cast<const char*>(head.data()), sizeof head);
    file << std::string(length, 'x');
  }
  const ToolResult r = inject(rig, {rig.file("in.pcap"), "--timing", "flat"});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(r.out, "2 frames sent, 64.1 KiB\n");
  EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
  EXPECT_TRUE(contains(r.err, "1 frame of")) << r.err;
  EXPECT_TRUE(contains(r.err, "80066 bytes, the bus takes 65543")) << r.err;
  EXPECT_TRUE(same_frames({make_frame(60, 1), make_frame(kMaxFrameBytes, 2)}, collect(port, 2)));
}

TEST(Inject, SendsWhatIsWholeOfADamagedFileAndFails) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(3));
  std::filesystem::resize_file(rig.file("in.pcap"),
                               std::filesystem::file_size(rig.file("in.pcap")) - 5);
  const ToolResult r = inject(rig, {rig.file("in.pcap"), "--timing", "flat"});
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "in.pcap\" is damaged")) << r.err;
  EXPECT_EQ(collect(port, 2).size(), 2U);
}

TEST(Inject, WhatCannotBeReplayedIsAnErrorOfOneLine) {
  const BusRig rig;
  std::ofstream(rig.file("text")) << "this is no capture at all, only a text";
  for (const std::string name : {"none", "text", "."}) {
    const ToolResult r = inject(rig, {rig.file(name)});
    EXPECT_EQ(r.status, 1) << name;
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
    EXPECT_TRUE(contains(r.err, rig.file(name))) << r.err;
  }
  write_capture(rig.file("in.pcap"), some_frames(1));
  const ToolResult r = run_tool({"inject", rig.file("nobus"), rig.file("in.pcap")});
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, rig.file("nobus"))) << r.err;
}

TEST(Inject, WrongTimingsAreWrongUsage) {
  const BusRig rig;
  for (const char* const timing : {"fast", "x", "x0", "x-1", "xfast", "10", "x1e3", "xinf", ""}) {
    const ToolResult r = inject(rig, {rig.file("in.pcap"), "--timing", timing});
    EXPECT_EQ(r.status, 2) << timing;
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
  }
  for (const char* const loops : {"0", "2"})
    EXPECT_EQ(inject(rig, {"-", "--loop", loops}).status, 2) << "it can be read once";
  EXPECT_EQ(run_tool({"inject", rig.path()}).status, 2);
}

TEST(Inject, ASignalEndsItBeforeTheNextFrame) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(2), 3'600'000'000'000);  // an hour apart
  Tool tool({shmifctl_path(), "inject", rig.path(), rig.file("in.pcap")});
  ASSERT_EQ(collect(port, 1).size(), 1U);
  tool.signal(SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 130);
  EXPECT_EQ(r.out, "1 frame sent, 60 B\n");
}

TEST(Inject, AnEmptyFileDoesNotLoopForEver) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), {});
  const ToolResult r = inject(rig, {rig.file("in.pcap"), "--loop", "0"});
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.out, "0 frames sent, 0 B\n");
}

/// Puts a record of `kept` bytes, of `bytes` that there were, at the end of a capture.
void append_record(const std::string& path, std::uint32_t kept, std::uint32_t bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::app);
  const std::array<std::uint32_t, 4> head{1'700'000'001, 0, kept, bytes};
  file.write(reinterpret_cast<const char*>(head.data()), sizeof head);
  file << std::string(kept, 'x');
}

TEST(Inject, TellsOfAllRoundsWhatWasShortAndWhatWasTooLong) {
  const BusRig rig;
  Port port = rig.port();
  const std::string path = rig.file("in.pcap");
  write_capture(path, {make_frame(60, 1), make_frame(61, 2)});
  append_record(path, 70, 1514);
  append_record(path, 10, 10);
  const ToolResult r = inject(rig, {path, "--timing", "flat", "--loop", "3"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(
      r.out,
      "9 frames sent, 573 B, 3 frames cut short in the capture, 3 records without an Ethernet "
      "header skipped\n");
  write_capture(path, {make_frame(60, 1), make_frame(4000, 2), make_frame(61, 3)});
  const ToolResult long_one = inject(rig, {path, "--timing", "flat", "--loop", "2"});
  EXPECT_EQ(long_one.status, 1);
  EXPECT_EQ(long_one.out, "4 frames sent, 242 B\n");
  EXPECT_TRUE(contains(long_one.err, "cannot send 2 frames of \"" + path + "\" on " + rig.path() +
                                         ": the longest has 4000 bytes, the bus takes 1522 (create "
                                         "a bus with a larger --mtu)\n"))
      << long_one.err;
  append_record(path, 80'000, 80'000);
  const ToolResult longest = inject(rig, {path, "--timing", "flat", "--loop", "2"});
  EXPECT_TRUE(contains(longest.err, "4 frames of")) << longest.err;
  EXPECT_TRUE(
      contains(longest.err, "has 80000 bytes, the bus takes 1522 (no bus takes more than 65543)\n"))
      << longest.err;
}

TEST(Inject, ProgressOnATerminalIsOfTheFile) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), {make_frame(60, 1), make_frame(1000, 2)});
  const auto seen = [&](const char* rounds) {
    OnTerminal terminal({shmifctl_path(), "inject", rig.path(), rig.file("in.pcap"), "--timing",
                         "flat", "--loop", rounds},
                        80, 24);
    EXPECT_EQ(terminal.status(), 0);
    return terminal.seen;
  };
  EXPECT_TRUE(contains(seen("1"), "\r100 %, 2 frames, 1.0 KiB\x1b[K")) << seen("1");
  EXPECT_TRUE(contains(seen("2"), "\r2 frames, 1.0 KiB\x1b[K"))
      << "of how many rounds: " << seen("2");
}

TEST(Inject, EachRoundHasTheTimingThatWasAskedFor) {
  const BusRig rig;
  Port port = rig.port();
  write_capture(rig.file("in.pcap"), some_frames(3), 3'600'000'000'000);  // an hour apart
  const ToolResult r = inject(rig, {rig.file("in.pcap"), "--timing", "flat", "--loop", "3"});
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out, "9 frames sent, 549 B\n");
}

/// A replay of so many frames, for a bus whose ring others hold.
Tool held_up(const BusRig& rig, const std::string& name, std::size_t frames) {
  write_capture(rig.file(name), some_frames(frames));
  return Tool({shmifctl_path(), "inject", rig.path(), rig.file(name), "--timing", "flat"});
}

bool is_there(const BusRig& rig, LinkKind kind) {
  for (int i = 0; i < 2000; ++i) {
    const std::vector<PortInfo> ports = Bus::open(rig.path()).value().info().ports;
    if (std::ranges::any_of(ports, [&](const PortInfo& p) { return p.link == kind && p.up; }))
      return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

TEST(Inject, WaitsWhileStoppedWritersHoldTheRingAndThenSendsEveryFrame) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  const HeldRing held(rig);
  Tool tool = held_up(rig, "in.pcap", 100);
  ASSERT_TRUE(is_there(rig, LinkKind::inject));
  EXPECT_FALSE(tool.wait_for("sent", std::chrono::milliseconds(50))) << tool.so_far().err;
  held.let_go();
  EXPECT_TRUE(same_frames(some_frames(100), collect(port, 100)));
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out, "100 frames sent, 10.7 KiB\n");
}

TEST(Inject, ASignalEndsItWhereItWaitsForRoom) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  const HeldRing held(rig);
  Tool tool = held_up(rig, "in.pcap", 1);
  ASSERT_TRUE(is_there(rig, LinkKind::inject));
  tool.signal(SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 128 + SIGINT);
  EXPECT_EQ(r.out, "0 frames sent, 0 B\n");
}

TEST(Inject, AsJsonCountsTheFramesThatASignalKeptFromBeingSent) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  const HeldRing held(rig);
  write_capture(rig.file("in.pcap"), some_frames(1));
  Tool tool({shmifctl_path(), "inject", rig.path(), rig.file("in.pcap"), "--json"});
  ASSERT_TRUE(is_there(rig, LinkKind::inject));
  // Until it has read the frame, and waits for room.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 128 + SIGTERM);
  const auto object = nlohmann::json::parse(r.out);
  EXPECT_EQ(object["tx_frames"], 0);
  EXPECT_EQ(object["unsent_frames"], 1) << r.out;
}

TEST(Inject, ASignalIsItsStatusThoughFramesWereTooLong) {
  const BusRig rig;
  Port port = rig.port();
  const std::string path = rig.file("in.pcap");
  write_capture(path, {make_frame(4000, 1), make_frame(60, 2), make_frame(61, 3)}, 1);
  append_record(path, 70, 70);  // a second later
  Tool tool({shmifctl_path(), "inject", rig.path(), path, "--timing", "x0.0001"});
  ASSERT_EQ(collect(port, 2).size(), 2U);
  const std::vector<PortInfo> ports = Bus::open(rig.path()).value().info().ports;
  EXPECT_EQ(ports.at(1).link, LinkKind::inject);
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 128 + SIGTERM);
  EXPECT_EQ(r.out, "2 frames sent, 121 B\n");
  EXPECT_TRUE(contains(r.err, "1 frame of ")) << r.err;
}

}  // namespace
}  // namespace shmif::test
