// shmifctl dump, through the program: what it shows, of whom, and what it counts.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/own_namespaces.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/tools/capture/dump_rig.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tools/capture/dump_sink.hpp"

namespace shmif::test {
namespace {

TEST(Dump, PrintsALinePerFrameOfAnybodyAndTheCountsAtTheEnd) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-c", "2", "-e"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  const auto ports = Bus::open(rig.path()).value().info().ports;
  ASSERT_EQ(ports.size(), 2U);
  EXPECT_EQ(ports[1].link, LinkKind::dump);
  EXPECT_TRUE(ports[1].promiscuous);
  Bytes to_another = make_frame(60, 1);
  std::fill_n(to_another.begin(), 6, std::byte{2});
  send(port, {arp_request(), to_another, make_frame(60, 2)});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(count_of_lines(r.out), 2);
  EXPECT_TRUE(contains(r.out, "ARP, Request who-has 198.18.0.2 tell 198.18.0.1, length 46\n"));
  EXPECT_TRUE(contains(r.out, " > 02:02:02:02:02:02, ethertype Local Experimental 2 (0x88b6)"));
  EXPECT_EQ(r.err, "2 frames captured, 0 filtered out, 0 lost\n");
}

TEST(Dump, HistoryIsShownIfAskedForAndFollowedByWhatComes) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request()});
  EXPECT_EQ(run_program(dump(rig, {"--timeout", "0"})).out, "");
  Tool tool(dump(rig, {"--history", "--name", "ear", "-c", "2"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  ASSERT_TRUE(tool.wait_for("ARP")) << "lines must not wait in a buffer";
  send(port, {make_frame(60, 1)});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(count_of_lines(r.out), 2);
}

/// Frames of the bus, and those shown: the segments of a super-frame, of which a filter may take a
/// part.
TEST(Dump, CountsFramesOfTheBusAndSaysHowManySegmentsTheyAre) {
  const BusRig rig;
  Port port = rig.port();
  // Nine segments of 1454 bytes, and a last one of 954.
  for (int i = 0; i < 2; ++i) send_super_frame(port, true, 13'500);
  send(port, {arp_request()});
  struct Case {
    Words words;
    std::int64_t lines;
    const char* counts;
  };
  for (const auto& [words, lines, counts] : std::vector<Case>{
           {{}, 21, "3 frames captured (21 after segmentation), 0 filtered out, 0 lost\n"},
           {{"--super-frames"}, 3, "3 frames captured, 0 filtered out, 0 lost\n"},
           {{"arp", "and", "less 100"},
            1,
            "1 frame captured, 2 filtered out (20 after segmentation), 0 lost\n"},
           {{"greater", "954"},
            20,
            "2 frames captured (20 after segmentation), 1 filtered out, 0 lost\n"},
           {{"greater", "955"},
            18,
            "2 frames captured (18 after segmentation), 1 filtered out (3 after segmentation), "
            "0 lost\n"}}) {
    const ToolResult r = dump_history(rig, words);
    EXPECT_EQ(count_of_lines(r.out), lines) << counts;
    EXPECT_EQ(r.err, counts);
  }
  EXPECT_TRUE(contains(dump_history(rig, {"-e"}).out, "length 1454:"));
  EXPECT_TRUE(contains(dump_history(rig, {"-e", "--super-frames"}).out, "length 13554:"));
  // Progress is of frames of the bus, and of the bytes shown; it is gone when the counts come.
  OnTerminal terminal(history(rig, {"-w", rig.file("a.pcap"), "greater", "955"}), 80, 24);
  EXPECT_EQ(terminal.status(), 0);
  EXPECT_TRUE(contains(terminal.seen, "\r2 frames, 25.6 KiB, 0 lost\x1b[K"));
  EXPECT_TRUE(contains(terminal.seen, "\r\x1b[J2 frames captured"));
}

TEST(Dump, WhatWasCapturedAndWhatWasLostAddUpToTheFramesOfTheBus) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-w", rig.file("out.pcap")}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  constexpr std::uint64_t kSuperFrames = 400;  // more than the ring holds
  const ToolResult r = overrun(rig, tool, [&] {
    for (std::uint64_t i = 0; i < kSuperFrames; ++i) send_super_frame(port);
  });
  unsigned long long captured = 0, segments = 0, lost = 0;
  ASSERT_EQ(std::sscanf(r.err.c_str(),
                        "%llu %*s captured (%llu after segmentation), 0 filtered out, %llu lost",
                        &captured, &segments, &lost),
            3)
      << r.err;
  EXPECT_GT(lost, 0U);
  EXPECT_EQ(captured + lost, kSuperFrames) << r.err;
  EXPECT_EQ(segments, read_capture(rig.file("out.pcap")).size()) << r.err;
  // The last one may have been cut up only in part when the signal came.
  EXPECT_LE(segments, captured * 10) << r.err;
  EXPECT_GT(segments, (captured - 1) * 10) << r.err;
}

TEST(Dump, ResumesWhereItWasAskedTo) {
  for (const char* const where : {"first", "newest"}) {
    const BusRig rig({.ring_bytes = 64U << 10U});
    Port port = rig.port();
    const OverrunDump dump = overrun_dump(rig, port, {"--resume", where});
    EXPECT_EQ(dump.captured + dump.lost, 200U);
    if (where == std::string("newest")) {
      EXPECT_EQ(dump.captured, 0U);
    } else {
      EXPECT_GT(dump.captured, 20U) << "a ring of 64 KiB holds more than 20 of these frames";
    }
  }
}

TEST(Dump, RefusesWhatCannotBeInOneLineAndLeavesNoFile) {
  const BusRig rig;
  const std::string file = rig.file("x.pcap");
  const std::string notes = rig.file("notes.pcap");
  std::ofstream(notes) << "notes";
  struct Case {
    Words words;
    int status;
    std::string said;
  };
  for (const auto& [words, status, said] : std::vector<Case>{
           {{"-w", file, "tcp", "prot", "80"}, 2, "\"tcp prot 80\""},
           {{"-s", "13"}, 2, "--snapshot-length"},
           {{"--resume", "oldest", "--timeout", "0"}, 2, "first or newest"},
           {{"-C", "1"}, 2, "-w FILE"},
           {{"-C", "1", "-w", "-"}, 2, "-w FILE"},
           {{"-W", "2", "-w", file}, 2, "-C or -G"},
           {{"-G", "1", "-w", file}, 2, "%"},
           {{"-C", "0", "-w", file}, 2, "--rotate-size"},
           {{"-C", "1152921504607", "-w", file}, 2, "\"1152921504607\" is not a size"},
           {{"-C", "18446744073710", "-w", file}, 2, "\"18446744073710\" is not a size"},
           {{"-C", "99999999999999999999", "-w", file}, 2, "is not a size"},
           {{"--format", "erf", "-w", file}, 2, "erf"},
           {{"--format", "pcap", "--timeout", "0"}, 2, "-w FILE"},
           {{"-w", rig.path()}, 1, "it is a bus"},
           {{"-w", notes, "--timeout", "0"}, 1, "is no capture"}}) {
    const ToolResult r = run_program(dump(rig, words));
    EXPECT_EQ(r.status, status) << words[1];
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
    EXPECT_TRUE(contains(r.err, said));
    EXPECT_FALSE(std::filesystem::exists(file)) << words[1];
  }
  EXPECT_TRUE(Bus::open(rig.path()));
  EXPECT_EQ(bytes_of(notes), "notes");
  const ToolResult missing = run_tool({"dump", rig.file("none"), "-w", file, "-c", "1"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_TRUE(contains(missing.err, rig.file("none")));
  EXPECT_FALSE(std::filesystem::exists(file));
  // Nor is a time in the name needed where files have a size, too; and a capture is replaced.
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(run_program(dump(rig, {"--timeout", "0", "-G", "9", "-C", "1", "-w", file})).status,
              0);
  }
}

TEST(Dump, ShowsTheFramesOfOnePortAlone) {
  const BusRig rig;
  Port other = rig.port("other");
  const Port silent = rig.port("silent");
  {  // the slot is used again, by a port of another name
    Port first = rig.port("first");
    send(first, {make_frame(60, 1)});
  }
  Port web = rig.port("web");
  for (Port* const port : {&other, &web, &other}) send(*port, {make_frame(61, 1)});
  const ToolResult one = dump_history(rig, {"--sender", "--port", "web"});
  EXPECT_EQ(count_of_lines(one.out), 1) << one.out;
  EXPECT_TRUE(contains(one.out, " web: "));
  EXPECT_EQ(one.err, "1 frame captured, 3 filtered out, 0 lost\n");
  EXPECT_EQ(count_of_lines(dump_history(rig, {"--port", "web", "--port", "other"}).out), 3);
  // A sender whose name nobody knows any more is not taken for the present owner of the slot.
  const ToolResult all = dump_history(rig, {"--sender"});
  EXPECT_EQ(count_of_lines(all.out), 4);
  EXPECT_TRUE(contains(all.out, " slot 2: "));
  EXPECT_EQ(dump_history(rig, {"--port", "slot 2"}).out, "")
      << "what is shown for want of a name is no name";
}

TEST(Dump, NamesEachPortThatIsNotThereAndThoseThatAre) {
  const BusRig rig;
  const auto said = [&](const Words& ports) { return run_program(dump(rig, ports)).err; };
  const std::string none = said({"--timeout", "0", "--port", "ghost"});
  EXPECT_TRUE(contains(none, "no port \"ghost\" on " + rig.path()));
  EXPECT_TRUE(contains(none, "(attached: none)"));
  Tool dead({shmifctl_path(), "ping", rig.path(), "--respond", "--name", "dead"});
  ASSERT_TRUE(dead.wait_for("answering"));
  dead.signal(SIGKILL);
  ASSERT_EQ(dead.finish().status, 128 + SIGKILL);
  const Port alice = rig.port("alice");
  const Port web = rig.port("web");
  const std::string two =
      said({"--timeout", "0", "--port", "ghost", "--port", "alice", "--port", "wraith"});
  EXPECT_EQ(times_in(two, "no port \""), 2U) << two;
  EXPECT_TRUE(contains(two, "\"wraith\""));
  EXPECT_EQ(times_in(two, "(attached: alice, web)"), 2U) << two;
}

/// Sends frames, each in a record of its own, and makes each the frame of a sender that nobody
/// knows.
void send_of_strangers(const BusRig& rig, Port& port, std::uint32_t count) {
  const RawBus raw(rig.path());
  std::uint64_t at = raw.header().last;
  for (std::uint32_t sent = 0; sent < count; ++sent) send(port, {arp_request()});
  for (std::uint32_t i = 1; i <= count; ++i) {
    auto& record = raw.ring().record(at);
    record.slot = static_cast<std::uint16_t>(200 + i % 50);
    record.incarnation = i;
    at += raw.ring().step(raw.ring().word_at(at), at);
  }
}

TEST(DumpNames, OfTooManyNewSendersAreSaidToBeMissing) {
  const BusRig rig({.ring_bytes = 4U << 20U});
  Port port = rig.port("web");
  constexpr std::uint32_t kStrangers = 20'000;
  send_of_strangers(rig, port, kStrangers);
  // One name is looked up in a millisecond, and 4096 at once.
  const auto begin = std::chrono::steady_clock::now();
  const ToolResult shown = dump_history(rig, {"--sender"});
  const ToolResult chosen = dump_history(rig, {"--port", "web"});
  if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(15)) {
    GTEST_SKIP() << "so slow a machine has the time to look them all up";
  }
  const std::string what = "shmifctl: too many new senders to look up all their names: ";
  const auto told = [&](const std::string& err) {
    unsigned long long frames = 0;
    EXPECT_EQ(std::sscanf(err.c_str(), (what + "%llu frames").c_str(), &frames), 1) << err;
    EXPECT_GT(frames, 1U);
    return frames;
  };
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_EQ(told(shown.err), times_in(shown.out, " others: "));
  EXPECT_TRUE(contains(shown.err, "\n20000 frames captured, 0 filtered out, 0 lost\n"));
  EXPECT_GT(told(chosen.err), 1U);
  EXPECT_TRUE(contains(chosen.err, "left out by --port\n0 frames captured, 20000 filtered out"));
}

/// A view of that sender.
FrameView frame_of(const Bytes& bytes, unsigned slot, std::uint32_t incarnation) {
  FrameView frame(bytes.data(), bytes.size());
  frame.sender = static_cast<std::uint16_t>(slot);
  frame.sender_incarnation = incarnation;
  return frame;
}

TEST(DumpNames, StayTheSameWhenTheTableIsReadAgain) {
  const BusRig rig;
  const Port a = rig.port("a");
  const Bytes bytes = arp_request();
  tools::SenderNames names(rig.path());
  const auto id_of = [&](const Port& port) {
    const auto ports = Bus::open(rig.path()).value().info().ports;
    const auto at = std::ranges::find(ports, port.slot(), &PortInfo::slot);
    return names.of(frame_of(bytes, at->slot, at->incarnation)).id;
  };
  const std::uint64_t first = id_of(a);
  const Port b = rig.port("b");
  EXPECT_NE(id_of(b), first);
  EXPECT_EQ(id_of(a), first) << "else it has a second interface in a capture";
}

/// However many a writer forges: names are kept of the newest 1024 at most, and a file has as many.
TEST(DumpNames, AreBounded) {
  const BusRig rig;
  const Bytes bytes = arp_request();
  tools::SenderNames names(rig.path());
  std::size_t others = 0;
  std::vector<std::uint64_t> ids;
  const auto of = [&](std::size_t i) -> const tools::SenderNames::Sender& {
    return names.of(frame_of(bytes, static_cast<unsigned>(i % 300), static_cast<std::uint32_t>(i)));
  };
  for (std::size_t i = 1; i <= 20'000; ++i) {
    const tools::SenderNames::Sender& sender = of(i);
    if (sender.name == "others") ++others;
    if (others == 0) ids.push_back(sender.id);
  }
  EXPECT_GT(others, 0U) << "not every one is worth a look at the table";
  EXPECT_EQ(names.not_looked_up(), others);
  std::size_t known = 0;  // with the number that it got first
  while (known < ids.size() && of(ids.size() - known).id == ids[ids.size() - 1 - known]) ++known;
  EXPECT_LE(known, 1024U);

  tools::SenderNames few(rig.path());
  tools::WantedOutput wanted;
  wanted.bus = rig.path();
  wanted.file = rig.file("x.pcapng");
  tools::DumpSink sink(wanted, &few);
  for (std::uint32_t i = 0; i < 2060; ++i) {
    FrameView frame = frame_of(bytes, i % 1030 % 200, 1 + i % 1030);
    frame.number = i;
    sink.put(frame, 0);
  }
  ASSERT_TRUE(sink.finish({}));
  EXPECT_EQ(sink.arrived(), 2060U);
  EXPECT_EQ(std::ranges::count(blocks_of(rig.file("x.pcapng")), Block::kInterface, &Block::type),
            1 + 1024 + 1)
      << "the bus, as many senders as have names of their own, and the others";
}

/// The result of a receive: the numbers of its frames, and how many frames it reported as lost.
struct Received {
  std::vector<std::uint64_t> numbers;
  std::uint64_t lost = 0;
};

TEST(DumpGaps, AreWhereTheNumbersAreMissingAndNeverMoreThanWasLost) {
  struct Case {
    const char* what;
    std::vector<Received> received;
    std::vector<std::uint64_t> before;  // how many frames are placed before each frame
  };
  for (const Case& c : std::vector<Case>{
           {"nothing lost", {{{10, 11}}, {{12}}}, {0, 0, 0}},
           {"among frames", {{{10}}, {{14, 15, 17}, 4}, {{18, 20}, 1}}, {0, 3, 0, 1, 0, 1}},
           {"segments have one number", {{{10, 10, 12, 12, 12}, 1}}, {0, 0, 1, 0, 0}},
           {"before the first what is not among", {{{100, 101, 103, 106}, 8}}, {5, 0, 1, 2}},
           {"told before the first came", {{{}, 7}, {{100, 102}, 1}}, {7, 1}},
           {"segments after it", {{{100, 100, 100, 102, 102}, 4}}, {3, 0, 0, 1, 0}},
           {"told early", {{{10}}, {{}, 3}, {{14, 15}}}, {0, 3, 0}},
           {"told early, of the first", {{{10, 11}, 2}, {{14, 15}}}, {2, 0, 0, 0}},
           {"told late", {{{10}}, {{11}, 2}, {{14, 15}}, {{16}}}, {0, 0, 2, 0, 0}},
           {"a repair lets numbers jump", {{{10}}, {{1000, 1001}, 3}, {{1002}}}, {0, 3, 0, 0}},
           {"and nothing was lost", {{{10}}, {{1000}}}, {0, 0}},
           {"numbers begin anew", {{{1000}}, {{5}, 4}, {{6}}}, {0, 0, 4}}}) {
    tools::Gaps gaps;
    std::vector<std::uint64_t> before;
    for (const Received& received : c.received) {
      std::vector<FrameView> frames(received.numbers.size());
      for (std::size_t i = 0; i < frames.size(); ++i) frames[i].number = received.numbers[i];
      gaps.received(frames, received.lost);
      for (const std::uint64_t number : received.numbers) before.push_back(gaps.before(number));
    }
    EXPECT_EQ(before, c.before) << c.what;
  }
  // Which frames are segments of one: a repair can begin the numbers anew, but not the times.
  FrameView frame;
  EXPECT_FALSE(tools::UnitOfBus().is_of(frame)) << "there was none before";
  const tools::UnitOfBus unit(frame);
  EXPECT_TRUE(unit.is_of(frame));
  frame.time_ns = 8;
  EXPECT_FALSE(unit.is_of(frame));
}

TEST(DumpGaps, BeforeFramesThatTheFilterLeavesOutAreToldAtTheNextThatItTakes) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  const std::string path = rig.file("x.pcapng");
  Tool tool(dump(rig, {"--name", "ear", "-w", path, "greater", "1000"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  const ToolResult r = overrun(rig, tool, [&] {
    for (int i = 0; i < 10; ++i) send(port, std::vector<Bytes>(20, make_frame(999, 1)));
    send(port, {make_frame(1000, 1), make_frame(999, 1), make_frame(1001, 1)});
  });
  unsigned long long filtered = 0, lost = 0;
  ASSERT_EQ(std::sscanf(r.err.c_str(), "2 frames captured, %llu filtered out, %llu lost", &filtered,
                        &lost),
            2)
      << r.err;
  ASSERT_GT(lost, 0U);
  ASSERT_GT(filtered, 1U);
  std::vector<std::uint64_t> drops;
  for (const Block& block : blocks_of(path)) {
    if (block.type != Block::kFrame) continue;
    drops.push_back(block.options.contains(Block::kDropCount) ? block.options.at(Block::kDropCount)
                                                              : 0);
  }
  EXPECT_EQ(drops, (std::vector<std::uint64_t>{lost, 0}));
}

/// Where it can have no port, because the table is full, it follows the bus without one.
TEST(DumpWithoutAPort, ShowsWhatAPortWouldWhereTheTableIsFull) {
  const BusRig rig;
  std::vector<Port> ports(Bus::open(rig.path()).value().info().slots);
  for (Port& port : ports) ASSERT_TRUE(port.attach(rig.path()));
  ASSERT_FALSE(ports[0].up());
  send_super_frame(ports[0]);
  for (const auto& [words, counts] : std::vector<std::pair<Words, std::string>>{
           {{}, "0 frames captured,"},
           {{"--history"}, "1 frame captured (10 after segmentation),"},
           {{"--history", "--super-frames"}, "1 frame captured,"}}) {
    EXPECT_EQ(run_program(dump(rig, words + Words{"--timeout", "0"})).err,
              counts + " 0 filtered out, 0 lost\n");
  }
  const ToolResult named = run_program(dump(rig, {"--timeout", "0", "--name", "ear"}));
  EXPECT_EQ(named.status, 1) << "who asks for a port is told that there is none";
  EXPECT_TRUE(contains(named.err, std::to_string(ports.size())));
}

TEST(DumpWithoutAPort, FollowsAndResumesOnABusThatMayOnlyBeRead) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const BusRig rig({.ring_bytes = 64U << 10U, .mode = 0644});
  ASSERT_EQ(chmod(rig.directory().c_str(), 0755), 0);
  Port port = rig.port();
  send(port, {make_frame(60, 1)});
  Tool tool(as_somebody_else() + dump(rig, {"--history", "-c", "2", "--resume", "newest"}));
  ASSERT_TRUE(tool.wait_for("\n")) << tool.finish(std::chrono::milliseconds(1)).err;
  EXPECT_EQ(Bus::open(rig.path()).value().info().ports.size(), 1U) << "it has no slot";
  tool.stop();
  send_200_frames(port);
  tool.signal(SIGCONT);
  for (int i = 0; i < 1000; ++i) {  // those sent before it has gone on count as lost, too
    send(port, {arp_request()});
    if (tool.wait_for("ARP", std::chrono::milliseconds(20))) break;
  }
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_TRUE(contains(r.out, "ARP")) << r.err;
  const OverrunDump dump(r.err);
  EXPECT_EQ(dump.captured, 2U);
  EXPECT_GE(dump.lost, 200U);
}

TEST(DumpWithoutAPort, ShowsWhatIsInACopyAndOnAFileSystemThatMayOnlyBeRead) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request()});
  const std::string copy = rig.file("copy");
  std::filesystem::copy_file(rig.path(), copy);
  const Words words{"dump", copy, "--history", "--timeout", "0"};
  const ToolResult r = run_tool(words);
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "ARP"));
  EXPECT_FALSE(contains(r.err, "without one")) << "who does not ask is not told";
  const std::string told = run_tool(Words{"--log-level", "info"} + words).err;
  EXPECT_TRUE(contains(told, copy) && contains(told, "without one")) << told;

  if (geteuid() != 0) GTEST_SKIP() << "needs root: has mounts of its own";
  const ToolResult there = run_program(
      Words{"unshare", "-m", "sh", "-c",
            "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 99; shift; "
            "exec \"$@\"",
            "sh", rig.directory()} +
      history(rig));
  if (!contains(there.err, "captured") && !contains(there.err, "shmifctl"))
    GTEST_SKIP() << "no namespaces here with mounts of their own: " << there.err;
  EXPECT_EQ(there.status, 0) << there.err;
  EXPECT_TRUE(contains(there.out, "ARP"));
}

// Commands whose clocks are those of another time namespace, or whose wall clock is stepped at
// every look.

/// What is put in front of a command.
struct Odd {
  const char* name;
  Words before;
};

std::ostream& operator<<(std::ostream& out, const Odd& odd) {
  return out << odd.name;
}

Words in_time(std::int64_t shift_s) {
  Words words = {"unshare", "--time"};
  if (geteuid() != 0) words.insert(words.end(), {"--user", "--map-current-user"});
  for (const char* clock : {"--monotonic=", "--boottime="}) {
    words.push_back(clock + std::to_string(shift_s));
  }
  return words;
}

std::vector<Odd> odds() {
  return {{"TenDaysAhead", in_time(10 * kDay)},
          {"AsFarBehindAsCanBe", in_time(furthest_back())},
          {"SteppedWallClock",
           {"env", std::string("LD_PRELOAD=") + in_build("tests/tools/libstepped_clock.so")}}};
}

class Clocks : public ::testing::TestWithParam<Odd> {
 protected:
  void SetUp() override {
    Words probe = GetParam().before;
    probe.emplace_back("true");
    if (run_program(probe).status != 0) GTEST_SKIP() << "no time namespaces here";
  }
  /// A command line of shmifctl, by the odd clock.
  static Words odd(Words words) {
    Words line = GetParam().before;
    line.push_back(shmifctl_path());
    line.insert(line.end(), words.begin(), words.end());
    return line;
  }

  BusRig rig;
};

INSTANTIATE_TEST_SUITE_P(Are, Clocks, ::testing::ValuesIn(odds()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Clocks, RoundTripsAreOfTheAskersClock) {
  Tool responder(odd({"ping", rig.path(), "--respond", "--name", "responder"}));
  ASSERT_TRUE(rig.wait_for_port("responder"));
  for (const bool asker_is_odd : {false, true}) {
    const Words words = {"ping", rig.path(), "--to",      "responder", "-c",    "30",
                         "-i",   "0.01",     "--timeout", "100",       "--json"};
    const ToolResult asked = asker_is_odd ? run_program(odd(words)) : run_tool(words);
    ASSERT_EQ(asked.status, 0) << asked.err;
    const auto said = nlohmann::json::parse(asked.out)["responders"][0];
    EXPECT_EQ(said["answered"], 30);
    EXPECT_GT(said["rtt_ns_min"], 0);
    EXPECT_LT(said["rtt_ns_max"].get<double>(), 60e9) << "not days";
  }
}

TEST_P(Clocks, TimeoutsEndAndNoneTooEarly) {
  const auto lasts = [](Words words, int status) {
    const auto began = std::chrono::steady_clock::now();
    const ToolResult ended = run_program(odd(words));
    EXPECT_EQ(ended.status, status) << words[0] << ended.err;
    EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(300)) << words[0];
  };
  lasts({"dump", rig.path(), "--timeout", "0.3"}, 0);
  lasts({"wait", rig.path(), "--port", "nobody", "--timeout", "0.3"}, 1);
  lasts({"ping", rig.path(), "-c", "2", "--timeout", "0.3"}, 1);
  lasts({"top", rig.path(), "-n", "2", "--interval", "0.2"}, 0);
}

TEST_P(Clocks, ARecordIsInTheOrderOfTheBus) {
  const std::string capture = rig.file("capture");
  const std::string recorded = rig.file("recorded");
  std::vector<Bytes> frames;
  for (unsigned i = 0; i < 60; ++i) frames.push_back(make_frame(100, i));
  write_capture(capture, frames, 5'000'000);
  Tool dump(odd({"dump", rig.path(), "-c", "60", "--name", "dump", "-w", recorded}));
  ASSERT_TRUE(rig.wait_for_port("dump"));
  const ToolResult sent = run_program(odd({"inject", rig.path(), capture, "--timing", "original"}));
  EXPECT_EQ(sent.status, 0) << sent.err;
  const ToolResult dumped = dump.finish();
  EXPECT_EQ(dumped.status, 0) << dumped.err;
  EXPECT_TRUE(contains(dumped.err, " 0 lost"));
  EXPECT_EQ(read_capture(recorded), frames);
  // Its times may go back; played by them, it ends all the same.
  EXPECT_EQ(run_program(odd({"inject", rig.path(), recorded, "--timing", "x1000000"})).status, 0);
}

TEST_P(Clocks, HostsReachEachOther) {
  Tool host(odd({"exec", rig.path(), "--name", "host", "--via", "veth", "--ip", "198.18.0.1/24",
                 "--", "sleep", "600"}));
  if (!rig.wait_for_port("host")) GTEST_SKIP() << "no hosts here: " << host.finish().err;
  const ToolResult pinged =
      run_tool({"exec", rig.path(), "--via", "veth", "--ip", "198.18.0.2/24", "--", "ping", "-q",
                "-c", "3", "-i", "0.2", "-W", "60", "198.18.0.1"});
  EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err;
}

}  // namespace
}  // namespace shmif::test
