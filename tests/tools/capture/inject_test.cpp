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

#include "base/unique_fd.hpp"
#include "tests/tools/capture/dump_rig.hpp"
#include "tests/tools/capture/held_ring.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tools/capture/capture_file.hpp"

namespace shmif::test {
namespace {

constexpr std::uint64_t kHour = 3'600'000'000'000;

std::vector<Bytes> some_frames(std::size_t count) {
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < count; ++i) frames.push_back(make_frame(60 + i, i));
  return frames;
}

/// A bus with a port that hears what is sent, and a capture.
struct Inject : ::testing::Test {
  explicit Inject(const BusOptions& options = {}) : rig(options) {}
  /// Its command line, of the capture.
  Words words(const Words& more = {}) const {
    return Words{shmifctl_path(), "inject", rig.path(), capture} + more;
  }
  ToolResult inject(const Words& more = {}) const { return run_program(words(more)); }
  void record(const std::vector<Bytes>& frames, std::uint64_t apart_ns = 1000) const {
    write_capture(capture, frames, apart_ns);
  }
  /// Puts a record of `kept` bytes, of `bytes` that there were, at its end: a second later.
  void append(std::uint32_t kept, std::uint32_t bytes) const {
    std::ofstream file(capture, std::ios::binary | std::ios::app);
    const std::array<std::uint32_t, 4> head{1'700'000'001, 0, kept, bytes};
    file.write(reinterpret_cast<const char*>(head.data()), sizeof head);
    file << std::string(kept, 'x');
  }
  void cut_off(std::uintmax_t bytes) const {
    std::filesystem::resize_file(capture, std::filesystem::file_size(capture) - bytes);
  }

  const BusRig rig;
  Port port = rig.port();
  const std::string capture = rig.file("in.pcap");
};

TEST_F(Inject, ReplaysAFileInOrderAndUnchangedAsOftenAsAsked) {
  const std::vector<Bytes> frames = some_frames(100);
  record(frames);
  for (const Words& more : {Words{"--timing", "original"},
                            {"--timing", "flat"},
                            {"--timing", "x10"},
                            {"--timing", "x0.5"}}) {
    const ToolResult r = inject(more);
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.out, "100 frames sent, 10.7 KiB\n");
    EXPECT_EQ(r.err, "");
    EXPECT_TRUE(same_frames(frames, collect(port, 100))) << more[1];
  }
  EXPECT_EQ(run_tool({"inject", rig.path(), "-", "--timing", "flat"}, bytes_of(capture)).status, 0);
  EXPECT_TRUE(same_frames(frames, collect(port, 100))) << "from standard input";
  EXPECT_EQ(inject({"--timing", "flat", "--loop", "3"}).out, "300 frames sent, 32.1 KiB\n");
  EXPECT_EQ(collect(port, 300).size(), 300U);
  for (const std::string loops : {"1", "2"}) {
    OnTerminal terminal(words({"--timing", "flat", "--loop", loops}), 80, 24);
    EXPECT_EQ(terminal.status(), 0);
    EXPECT_TRUE(contains(terminal.seen, "frames, "));
    EXPECT_EQ(terminal.seen.find('%') != std::string::npos, loops == "1") << terminal.seen;
  }
}

TEST_F(Inject, KeepsTheTimesOfTheRecordingInEachRound) {
  record(some_frames(2), 600'000'000);
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(inject({"--timing", "x2", "--loop", "2"}).status, 0);
  // Of all rounds together: how late the first frame of a round goes out is the machine's affair.
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2 * 300));
  FrameBatch batch;
  ASSERT_EQ(port.receive(batch).frames, 4U);
  EXPECT_GT(batch[0].time_ns, 1'750'000'000'000'000'000U) << "the time of the recording, 2023";
  // A frame alone is no flood: there is a second before the next round.
  record(some_frames(1));
  begin = std::chrono::steady_clock::now();
  EXPECT_EQ(inject({"--timing", "x4", "--loop", "3"}).out, "3 frames sent, 180 B\n");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2 * 250));
}

TEST_F(Inject, SaysThatTheNextFrameIsFarAwayAndWaitsNoLongerThanAsked) {
  record(some_frames(3), kHour);
  Tool tool(words());
  EXPECT_TRUE(tool.wait_for("is due only in 59 minutes"));
  tool.signal(SIGINT);
  const ToolResult waited = tool.finish();
  EXPECT_EQ(waited.status, 128 + SIGINT);
  EXPECT_EQ(waited.out, "1 frame sent, 60 B\n");
  EXPECT_EQ(count_of_lines(waited.err), 1) << waited.err;
  for (const auto& [option, value] :
       {std::pair{"--max-gap", "0.001"}, {"--max-gap", "0"}, {"--timing", "flat"}}) {
    const ToolResult cut = inject({option, value, "--loop", "2"});
    EXPECT_EQ(cut.status, 0);
    EXPECT_EQ(cut.err, "");
    EXPECT_EQ(cut.out, "6 frames sent, 366 B\n");
  }
}

TEST(InjectGap, IsToldInMinutesHoursOrDays) {
  for (const auto& [minutes, text] : {std::pair{1, " in 1 minute:"},
                                      {119, " in 119 minutes:"},
                                      {120, " in 2 hours:"},
                                      {48 * 60 - 1, " in 47 hours:"},
                                      {48 * 60, " in 2 days:"}}) {
    testing::internal::CaptureStderr();
    tools::say_long_gap("x", std::chrono::minutes(minutes));
    EXPECT_TRUE(contains(testing::internal::GetCapturedStderr(), text));
  }
}

TEST_F(Inject, ASignalEndsItWhileItWaitsForAPipe) {
  const std::string fifo = rig.file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  UniqueFd writer;
  // When it has opened the FIFO, it waits: then a writer can open it without waiting.
  const auto is_open = [&] {
    return eventually([&] {
      writer.reset(open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
      return static_cast<bool>(writer);
    });
  };
  Tool without_writer({shmifctl_path(), "inject", rig.path(), fifo});
  ASSERT_TRUE(is_open());
  without_writer.signal(SIGTERM);
  EXPECT_EQ(without_writer.finish().status, 128 + SIGTERM) << "before the capture began";
  record(some_frames(2));
  const std::string bytes = bytes_of(capture);
  for (const auto& [timing, number] : {std::pair{"flat", SIGTERM}, {"original", SIGINT}}) {
    Tool tool({shmifctl_path(), "inject", rig.path(), fifo, "--timing", timing});
    ASSERT_TRUE(is_open());
    ASSERT_EQ(write(writer.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(collect(port, 2).size(), 2U) << "the last one waits for another";
    tool.signal(number);
    const ToolResult r = tool.finish();
    EXPECT_FALSE(r.timed_out);
    EXPECT_EQ(r.status, 128 + number);
    EXPECT_EQ(r.out, "2 frames sent, 121 B\n");
  }
}

TEST_F(Inject, TellsOfAllRoundsWhatWasShortAndWhatWasTooLong) {
  record({make_frame(60, 1), make_frame(61, 2)});
  append(70, 1514);
  append(10, 10);
  const ToolResult r = inject({"--timing", "flat", "--loop", "3"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out,
            "9 frames sent, 573 B, 3 frames cut short in the capture, 3 records without an "
            "Ethernet header skipped\n");
  EXPECT_EQ(collect(port, 6).size(), 6U) << "the others are for another host";
  record({make_frame(60, 1), make_frame(4000, 2), make_frame(61, 3)});
  const ToolResult long_one = inject({"--timing", "flat", "--loop", "2"});
  EXPECT_EQ(long_one.status, 1);
  EXPECT_EQ(long_one.out, "4 frames sent, 242 B\n");
  EXPECT_EQ(count_of_lines(long_one.err), 1);
  for (const std::string& part :
       {"2 frames of \"" + capture + "\" on " + rig.path(),
        std::string("4000 bytes, the bus takes 1522"), std::string("--mtu")}) {
    EXPECT_TRUE(contains(long_one.err, part));
  }
  EXPECT_TRUE(
      same_frames({make_frame(60, 1), make_frame(61, 3), make_frame(60, 1), make_frame(61, 3)},
                  collect(port, 4)));
  append(80'000, 80'000);
  const ToolResult longest = inject({"--timing", "flat", "--loop", "2"});
  EXPECT_TRUE(contains(longest.err, "4 frames of"));
  EXPECT_TRUE(contains(longest.err, "80000 bytes, the bus takes 1522"));
  EXPECT_TRUE(contains(longest.err, "no bus takes more than 65543"));
}

/// A capture of two super-frames of TCP, made on another bus with `more` words.
std::string recorded_super_frames(const BusRig& rig, const Words& more) {
  Port port = rig.port();
  for (int i = 0; i < 2; ++i) send_super_frame(port);
  const std::string file = rig.file("super.pcapng");
  EXPECT_EQ(dump_history(rig, Words{"-w", file} + more).status, 0);
  return file;
}

TEST_F(Inject, OfSuperFramesThatTheBusDoesNotTakeSaysHowToRecordThem) {
  const BusRig recorded;
  const std::string whole = recorded_super_frames(recorded, {"--super-frames"});
  const ToolResult refused = run_tool({"inject", rig.path(), whole, "--timing", "flat"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.out, "0 frames sent, 0 B\n");
  EXPECT_TRUE(contains(refused.err, "14054 bytes, the bus takes 1522"));
  EXPECT_TRUE(contains(refused.err, "without --super-frames"));
  // The remedy helps.
  const BusRig again;
  const ToolResult sent =
      run_tool({"inject", rig.path(), recorded_super_frames(again, {}), "--timing", "flat"});
  EXPECT_EQ(sent.status, 0) << sent.err;
  EXPECT_TRUE(contains(sent.out, "20 frames sent, "));
}

/// A bus that carries the largest frames there are.
struct InjectOfLargest : Inject {
  InjectOfLargest() : Inject({.mtu = 65521}) {}
};

TEST_F(InjectOfLargest, SuperFramesHaveSoundChecksums) {
  const BusRig recorded;
  const std::string whole = recorded_super_frames(recorded, {"--super-frames"});
  const ToolResult sent = run_tool({"inject", rig.path(), whole, "--timing", "flat"});
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

TEST_F(InjectOfLargest, AFrameThatNoBusTakesIsNeverCut) {
  record({make_frame(60, 1), make_frame(kMaxFrameBytes, 2)});
  append(80'066, 80'066);
  const ToolResult r = inject({"--timing", "flat"});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(r.out, "2 frames sent, 64.1 KiB\n");
  EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
  EXPECT_TRUE(contains(r.err, "1 frame of"));
  EXPECT_TRUE(contains(r.err, "80066 bytes, the bus takes 65543"));
  EXPECT_TRUE(same_frames({make_frame(60, 1), make_frame(kMaxFrameBytes, 2)}, collect(port, 2)));
}

TEST_F(Inject, SendsWhatIsWholeOfADamagedFileAndReadsItOnceHoweverOftenItWasToLoop) {
  record(some_frames(3));
  cut_off(5);
  const ToolResult r = inject({"--timing", "flat", "--loop", "3"});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(r.out, "2 frames sent, 121 B\n");
  EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
  EXPECT_TRUE(contains(r.err, "in.pcap\" is damaged"));
  EXPECT_EQ(collect(port, 2).size(), 2U);
}

TEST_F(Inject, EndsWhenARoundFindsNothingToSend) {
  record({});
  const ToolResult empty = inject({"--loop", "0"});
  EXPECT_FALSE(empty.timed_out);
  EXPECT_EQ(empty.status, 0);
  EXPECT_EQ(empty.out, "0 frames sent, 0 B\n");
  std::filesystem::rename(capture, rig.file("empty.pcap"));
  record(some_frames(2), 20'000'000);
  Tool tool(words({"--loop", "0"}));
  ASSERT_GE(collect(port, 1).size(), 1U);
  std::filesystem::rename(rig.file("empty.pcap"), capture);
  const ToolResult r = tool.finish();
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 0) << r.err;
}

TEST_F(Inject, RefusesWhatCannotBeReplayedInOneLine) {
  std::ofstream(rig.file("text")) << "this is no capture at all, only a text";
  record(some_frames(1));
  struct Case {
    Words words;
    int status;
    std::string said;
  };
  std::vector<Case> cases{{{rig.path(), rig.file("none")}, 1, rig.file("none")},
                          {{rig.path(), rig.file("text")}, 1, rig.file("text")},
                          {{rig.path(), rig.file(".")}, 1, rig.file(".")},
                          {{rig.file("nobus"), capture}, 1, rig.file("nobus")},
                          {{rig.path(), "-", "--loop", "0"}, 2, "only once"},
                          {{rig.path(), "-", "--loop", "2"}, 2, "only once"},
                          {{rig.path()}, 2, ""}};
  for (const char* const timing : {"fast", "x", "x0", "x-1", "xfast", "10", "x1e3", "xinf", ""})
    cases.push_back({{rig.path(), capture, "--timing", timing}, 2, "--timing"});
  for (const auto& [words, status, said] : cases) {
    const ToolResult r = run_tool(Words{"inject"} + words);
    EXPECT_EQ(r.status, status) << words.back();
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
    EXPECT_TRUE(contains(r.err, said));
  }
}

bool has_port_of(const BusRig& rig, LinkKind kind) {
  return eventually([&] {
    const std::vector<PortInfo> ports = Bus::open(rig.path()).value().info().ports;
    return std::ranges::any_of(ports, [&](const PortInfo& p) { return p.link == kind && p.up; });
  });
}

/// On a bus whose ring others hold.
struct InjectHeldUp : Inject {
  InjectHeldUp() : Inject({.ring_bytes = 64U << 10U}) {}
  const HeldRing held{rig};
};

TEST_F(InjectHeldUp, WaitsWhileStoppedWritersHoldTheRingAndThenSendsEveryFrame) {
  record(some_frames(100));
  Tool tool(words({"--timing", "flat"}));
  ASSERT_TRUE(has_port_of(rig, LinkKind::inject));
  EXPECT_FALSE(tool.wait_for("sent", std::chrono::milliseconds(50))) << tool.so_far().err;
  held.let_go();
  EXPECT_TRUE(same_frames(some_frames(100), collect(port, 100)));
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out, "100 frames sent, 10.7 KiB\n");
}

TEST_F(InjectHeldUp, ASignalEndsItAndCountsTheFramesThatItKeptFromBeingSent) {
  record(some_frames(1));
  Tool tool(words({"--json"}));
  ASSERT_TRUE(has_port_of(rig, LinkKind::inject));
  // Until it has read the frame, and waits for room.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 128 + SIGTERM);
  const auto object = nlohmann::json::parse(r.out);
  EXPECT_EQ(object["tx_frames"], 0);
  EXPECT_EQ(object["unsent_frames"], 1) << r.out;
}

TEST_F(Inject, ASignalIsItsStatusThoughFramesWereTooLong) {
  record({make_frame(4000, 1), make_frame(60, 2), make_frame(61, 3)}, 1);
  append(70, 70);  // a second later
  Tool tool(words({"--timing", "x0.0001"}));
  ASSERT_EQ(collect(port, 2).size(), 2U);
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 128 + SIGTERM);
  EXPECT_EQ(r.out, "2 frames sent, 121 B\n");
  EXPECT_TRUE(contains(r.err, "1 frame of "));
}

}  // namespace
}  // namespace shmif::test
