// shmifctl dump, through the program: what it shows and records.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/capture/dump_command.hpp"
#include "tests/tools/capture/overrun_dump.hpp"
#include "tools/capture/sender_names.hpp"

namespace shmif::test {
namespace {

TEST(Dump, PrintsALinePerFrameAndTheCountsAtTheEnd) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-c", "2"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  send(port, {arp_request(), make_frame(60, 1), make_frame(60, 2)});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(lines(r.out), 2);
  EXPECT_TRUE(contains(r.out, "ARP, Request who-has 198.18.0.2 tell 198.18.0.1, length 46\n"));
  EXPECT_TRUE(contains(r.out, "ethertype Local Experimental 2 (0x88b6)"));
  EXPECT_EQ(r.err, "2 frames captured, 0 filtered out, 0 lost\n");
}

TEST(Dump, ShowsTheFramesOfASuperFrameOrTheSuperFrameItself) {
  const TempBus bus;
  Port port = port_on(bus.path());
  Bytes bytes = build({}, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  ASSERT_FALSE(port.send({&frame, 1}).error);
  std::string counts;
  const auto shown = [&](const std::vector<std::string>& more) {
    std::vector<std::string> argv{shmifctl_path(), "dump", bus.path(), "--history",
                                  "--timeout",     "0.2",  "-e"};
    argv.insert(argv.end(), more.begin(), more.end());
    const ToolResult r = run_program(argv);
    counts = r.err;
    return r.out;
  };
  const std::string cut = shown({});
  EXPECT_EQ(lines(cut), 10) << cut;
  EXPECT_TRUE(contains(cut, "length 1454")) << cut;
  EXPECT_EQ(counts, "1 frame captured (10 after segmentation), 0 filtered out, 0 lost\n")
      << "what is lost counts as one, too";
  const std::string whole = shown({"--super-frames"});
  EXPECT_EQ(counts, "1 frame captured, 0 filtered out, 0 lost\n");
  EXPECT_EQ(lines(whole), 1) << whole;
  EXPECT_TRUE(contains(whole, "length 14054")) << whole;
}

TEST(Dump, WhatWasCapturedAndWhatWasLostAddUpToTheFramesOfTheBus) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-w", rig.file("out.pcap")}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  Bytes bytes = build({}, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  constexpr std::uint64_t kSuperFrames = 400;  // more than the ring holds
  const ToolResult r = overrun(rig, tool, [&] {
    for (std::uint64_t i = 0; i < kSuperFrames; ++i) ASSERT_FALSE(port.send({&frame, 1}).error);
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

TEST(Dump, IsSeenInThePortTableAsWhatItIs) {
  const BusRig rig;
  const Tool tool(dump(rig, {"--name", "ear"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  const auto ports = Bus::open(rig.path()).value().info().ports;
  ASSERT_EQ(ports.size(), 1U);
  EXPECT_EQ(ports[0].link, LinkKind::dump);
  EXPECT_TRUE(ports[0].promiscuous);
}

TEST(Dump, HearsWhatIsAddressedToOthers) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-c", "1", "-e"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  Bytes frame = make_frame(60, 1);
  for (std::size_t i = 0; i < 6; ++i) frame[i] = std::byte{0x02};
  send(port, {frame});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_TRUE(contains(r.out, " > 02:02:02:02:02:02, ethertype ")) << r.out;
}

TEST(Dump, HistoryShowsWhatIsStillInTheRing) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request(), make_frame(60, 1), make_frame(60, 2)});
  const ToolResult r = run_program(dump(rig, {"--history", "--timeout", "0"}));
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(lines(r.out), 3);
  EXPECT_EQ(r.err, "3 frames captured, 0 filtered out, 0 lost\n");
  EXPECT_EQ(lines(run_program(dump(rig, {"--timeout", "0"})).out), 0) << "only when asked for";
}

TEST(Dump, HistoryIsFollowedByWhatComes) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request()});
  Tool tool(dump(rig, {"--history", "--name", "ear", "-c", "2"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  ASSERT_TRUE(tool.wait_for("ARP")) << "lines must not wait in a buffer";
  send(port, {make_frame(60, 1)});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(lines(r.out), 2);
}

TEST(Dump, TheFilterCountsWhatItLeavesOut) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request(), make_frame(60, 1), make_frame(60, 2), arp_request()});
  const ToolResult r =
      run_program(dump(rig, {"--history", "--timeout", "0", "arp", "and", "less 100"}));
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(lines(r.out), 2);
  EXPECT_EQ(r.err, "2 frames captured, 2 filtered out, 0 lost\n");
}

TEST(Dump, ABadFilterIsWrongUsageInOneLine) {
  const BusRig rig;
  const ToolResult r = run_program(dump(rig, {"-w", rig.file("x.pcap"), "tcp", "prot", "80"}));
  EXPECT_EQ(r.status, 2);
  EXPECT_EQ(lines(r.err), 1) << r.err;
  EXPECT_TRUE(contains(r.err, "\"tcp prot 80\"")) << r.err;
  EXPECT_FALSE(std::filesystem::exists(rig.file("x.pcap"))) << "left half made";
}

TEST(Dump, AMissingBusIsAnErrorAndLeavesNoFile) {
  const TempDir directory;
  const ToolResult r =
      run_tool({"dump", directory.file("none"), "-w", directory.file("x.pcap"), "-c", "1"});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(lines(r.err), 1) << r.err;
  EXPECT_TRUE(contains(r.err, directory.file("none"))) << r.err;
  EXPECT_FALSE(std::filesystem::exists(directory.file("x.pcap")));
}

TEST(Dump, WritesACaptureWithTheTimesOfTheBus) {
  const BusRig rig;
  Port port = rig.port();
  const std::vector<Bytes> frames{arp_request(), make_frame(1514, 1)};
  send(port, frames);
  const ToolResult r = run_program(dump(rig, {"--history", "-c", "2", "-w", rig.file("out.pcap")}));
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out, "");
  EXPECT_EQ(r.err, "2 frames captured, 0 filtered out, 0 lost\n");
  EXPECT_TRUE(same_frames(frames, read_capture(rig.file("out.pcap"))));
}

TEST(Dump, TsharkReadsWhatItWrote) {
  if (std::system("command -v tshark >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "tshark is not installed";
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request(), make_frame(60, 1)});
  run_program(dump(rig, {"--history", "-c", "2", "-w", rig.file("out.pcap")}));
  const ToolResult r = run_program({"tshark", "-r", rig.file("out.pcap"), "-T", "fields", "-e",
                                    "frame.len", "-e", "arp.dst.proto_ipv4"});
  EXPECT_EQ(r.out, "60\t198.18.0.2\n60\t\n") << r.err;
}

TEST(Dump, StandardOutputCarriesALiveCapture) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-w", "-"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  Bytes frame = make_frame(60, 1);
  const std::string mark = "a mark inside a frame";
  std::ranges::transform(mark, frame.begin() + 20,
                         [](char c) { return static_cast<std::byte>(c); });
  send(port, {frame});
  EXPECT_TRUE(tool.wait_for(mark)) << "a live reader waits for what is in a buffer";
  tool.signal(SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.out.size(), 24U + 16 + 60);
  EXPECT_EQ(r.err, "1 frame captured, 0 filtered out, 0 lost\n");
}

TEST(Dump, NeverOverwritesABus) {
  const BusRig rig;
  const ToolResult r = run_program(dump(rig, {"-w", rig.path()}));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "it is a bus")) << r.err;
  EXPECT_TRUE(Bus::open(rig.path()));
}

TEST(Dump, ReplacesAnOlderCaptureAndNoOtherFile) {
  const BusRig rig;
  const std::string path = rig.file("a.pcap");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(run_program(dump(rig, {"-w", path, "--timeout", "0"})).status, 0);
  }
  std::ofstream(path) << "notes";
  const ToolResult r = run_program(dump(rig, {"-w", path, "--timeout", "0"}));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "it exists and is no capture")) << r.err;
  EXPECT_EQ(std::filesystem::file_size(path), 5U);
}

TEST(Dump, FollowsABusThatMayOnlyBeRead) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const BusRig rig({.mode = 0644});
  ASSERT_EQ(chmod(rig.directory().c_str(), 0755), 0);
  Port port = rig.port();
  send(port, {arp_request()});
  Tool tool({"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", shmifctl_path(),
             "dump", rig.path(), "--history", "-c", "2"});
  ASSERT_TRUE(tool.wait_for("ARP")) << tool.finish(std::chrono::milliseconds(1)).err;
  EXPECT_EQ(Bus::open(rig.path()).value().info().ports.size(), 1U) << "it has no slot";
  send(port, {make_frame(60, 1)});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.err, "2 frames captured, 0 filtered out, 0 lost\n");
}

TEST(Dump, ASnapshotLengthCutsFramesAndKeepsTheirTrueLength) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {make_frame(60, 1), make_frame(1514, 2)});
  for (const std::string name : {"out.pcap", "out.pcapng"}) {
    const ToolResult r =
        run_program(dump(rig, {"--history", "--timeout", "0", "-s", "96", "-w", rig.file(name)}));
    EXPECT_EQ(r.err, "2 frames captured, 0 filtered out, 0 lost\n");
    PcapReader reader = PcapReader::open(rig.file(name)).value();
    FrameBatch batch;
    while (!reader.receive(batch).error) {
    }
    ASSERT_EQ(batch.size(), 2U);
    EXPECT_FALSE(batch[0].truncated());
    EXPECT_EQ(batch[1].size(), 96U);
    EXPECT_EQ(batch[1].true_bytes, 1514U);
  }
  const ToolResult text =
      run_program(dump(rig, {"--history", "--timeout", "0", "-nn", "-s", "96"}));
  EXPECT_TRUE(contains(text.out, "[cut short: 96 of 1514 bytes]")) << text.out << text.err;
  EXPECT_EQ(run_program(dump(rig, {"-s", "13"})).status, 2);
}

TEST(Dump, GoesOnInTheNextFileWhenOneIsFull) {
  const BusRig rig;
  Port port = rig.port();
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < 50; ++i) frames.push_back(make_frame(1000, i));
  send(port, frames);
  const auto files = [&](const std::vector<std::string>& names) {
    std::vector<Bytes> all;
    for (const std::string& name : names) {
      const std::vector<Bytes> some = read_capture(rig.file(name));
      EXPECT_LE(some.size(), 11U) << name << ": one frame more than 10 KiB";
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  };
  const std::vector<std::string> all{"--history", "--timeout", "0", "-C", "10K"};
  std::vector<std::string> words = all;
  words.insert(words.end(), {"-w", rig.file("x.pcap")});
  EXPECT_EQ(run_program(dump(rig, words)).err, "50 frames captured, 0 filtered out, 0 lost\n");
  EXPECT_TRUE(same_frames(frames, files({"x.pcap", "x.pcap1", "x.pcap2", "x.pcap3", "x.pcap4"})));
  EXPECT_FALSE(std::filesystem::exists(rig.file("x.pcap5")));

  words = all;
  words.insert(words.end(), {"-W", "2", "-w", rig.file("ring.pcapng")});
  EXPECT_EQ(run_program(dump(rig, words)).err, "50 frames captured, 0 filtered out, 0 lost\n");
  EXPECT_FALSE(std::filesystem::exists(rig.file("ring.pcapng")));
  EXPECT_FALSE(std::filesystem::exists(rig.file("ring.pcapng2")));
  const std::vector<Bytes> kept = files({"ring.pcapng1", "ring.pcapng0"});
  ASSERT_FALSE(kept.empty());
  EXPECT_TRUE(std::ranges::find(kept, frames.back()) != kept.end()) << "the newest are kept";
}

TEST(Dump, RotationThatCouldOnlyLoseFramesIsWrongUsage) {
  const BusRig rig;
  const std::vector<std::vector<std::string>> wrong{{"-C", "1"},
                                                    {"-C", "1", "-w", "-"},
                                                    {"-W", "2", "-w", rig.file("x.pcap")},
                                                    {"-G", "1", "-w", rig.file("x.pcap")},
                                                    {"-C", "0", "-w", rig.file("x.pcap")},
                                                    {"--format", "erf", "-w", rig.file("x.pcap")},
                                                    {"--format", "pcap", "--timeout", "0"}};
  for (const auto& words : wrong) {
    const ToolResult r = run_program(dump(rig, words));
    EXPECT_EQ(r.status, 2) << words.front();
    EXPECT_EQ(lines(r.err), 1) << r.err;
    EXPECT_FALSE(std::filesystem::exists(rig.file("x.pcap"))) << words.front();
  }
}

TEST(Dump, APcapngFileNamesTheSenderOfEachFrame) {
  if (std::system("command -v tshark >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "tshark is not installed";
  const BusRig rig;
  Port web = rig.port("web");
  send(web, {make_frame(60, 1)});
  {
    Port gone = rig.port("gone");
    send(gone, {make_frame(61, 1)});
  }
  send(web, {make_frame(62, 1)});
  run_program(
      dump(rig, {"--history", "--timeout", "0", "-w", rig.file("out.pcapng"), "less", "61"}));
  const ToolResult r = run_program({"tshark", "-r", rig.file("out.pcapng"), "-T", "fields", "-e",
                                    "frame.len", "-e", "frame.interface_name"});
  EXPECT_EQ(r.out, "60\tweb\n61\tgone\n") << r.err;
  const ToolResult about = run_program({"capinfos", rig.file("out.pcapng")});
  EXPECT_TRUE(contains(about.out, "pcapng")) << about.out;
  EXPECT_TRUE(contains(about.out, "frames of the bus " + rig.path() + ", filter \"less 61\""))
      << about.out;
}

TEST(Dump, APcapngFileTellsWhereFramesWereLostAndHowMany) {
  if (std::system("command -v tshark >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "tshark is not installed";
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port("web");
  send(port, {make_frame(60, 1)});
  Tool tool(dump(rig, {"--history", "--name", "ear", "-w", rig.file("out.pcapng")}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  ASSERT_TRUE(eventually([&] {  // it has the first
    std::error_code none_yet;
    const std::uintmax_t bytes = std::filesystem::file_size(rig.file("out.pcapng"), none_yet);
    return !none_yet && bytes >= 300;
  }));
  const OverrunDump said(overrun(rig, tool, [&] { send_200_frames(port); }).err);
  const auto [captured, lost] = said;
  ASSERT_GT(lost, 0U);
  EXPECT_EQ(captured + lost, 201U);
  const ToolResult t =
      run_program({"tshark", "-r", rig.file("out.pcapng"), "-Y", "frame.drop_count", "-T", "fields",
                   "-e", "frame.number", "-e", "frame.drop_count", "-e", "frame.comment"});
  EXPECT_EQ(t.out, "2\t" + std::to_string(lost) + "\t" + std::to_string(lost) +
                       " frames of the bus were lost before this one\n")
      << t.err;
}

TEST(Dump, APcapngFileTellsWhatWasLostBeforeItsFirstFrame) {
  if (std::system("command -v tshark >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "tshark is not installed";
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port("web");
  const auto [captured, lost] = overrun_dump(rig, port, {"-w", rig.file("out.pcapng")});
  ASSERT_GT(lost, 0U);
  EXPECT_EQ(captured + lost, 200U);
  const ToolResult t =
      run_program({"tshark", "-r", rig.file("out.pcapng"), "-Y", "frame.drop_count", "-T", "fields",
                   "-e", "frame.number", "-e", "frame.drop_count"});
  EXPECT_EQ(t.out, "1\t" + std::to_string(lost) + "\n") << t.err;
}

TEST(Dump, ShowsTheFramesOfOnePortAlone) {
  const BusRig rig;
  Port other = rig.port("other");
  const Port silent = rig.port("silent");
  // The slot is used again, by a port of another name.
  {
    Port first = rig.port("first");
    send(first, {make_frame(60, 1)});
  }
  Port web = rig.port("web");
  for (Port* const port : {&other, &web, &other}) send(*port, {make_frame(61, 1)});
  const std::vector<std::string> words{"--history", "--timeout", "0", "-e", "--sender"};
  std::vector<std::string> some = words;
  some.insert(some.end(), {"--port", "web"});
  const ToolResult one = run_program(dump(rig, some));
  EXPECT_EQ(lines(one.out), 1) << one.out;
  EXPECT_TRUE(contains(one.out, " web: ")) << one.out;
  EXPECT_EQ(one.err, "1 frame captured, 3 filtered out, 0 lost\n");
  some.insert(some.end(), {"--port", "other"});
  EXPECT_EQ(lines(run_program(dump(rig, some)).out), 3);
  // Whose name nobody knows any more is not taken for the present owner of the slot.
  const ToolResult all = run_program(dump(rig, words));
  EXPECT_EQ(lines(all.out), 4);
  EXPECT_TRUE(contains(all.out, " slot 2: ")) << all.out;
  EXPECT_EQ(run_program(dump(rig, {"--history", "--timeout", "0", "--port", "slot 2"})).out, "")
      << "what is shown for want of a name is no name";
  const ToolResult none = run_program(dump(rig, {"--timeout", "0", "--port", "wbe"}));
  EXPECT_TRUE(contains(none.err, "no port \"wbe\" on " + rig.path())) << none.err;
  EXPECT_TRUE(contains(none.err, "other, silent, web")) << none.err;
}

TEST(Dump, NamesEachPortThatIsNotThereAndThoseThatAre) {
  const BusRig rig;
  const auto missing = [&](const std::string& port, const std::string& there) {
    return "shmifctl: no port \"" + port + "\" on " + rig.path() +
           " now, waiting for its frames (attached: " + there + ")\n";
  };
  const std::string none = "0 frames captured, 0 filtered out, 0 lost\n";
  EXPECT_EQ(run_program(dump(rig, {"--timeout", "0", "--port", "ghost"})).err,
            missing("ghost", "none") + none);
  const Port alice = rig.port("alice");
  EXPECT_EQ(run_program(dump(rig, {"--timeout", "0", "--port", "ghost", "--port", "alice", "--port",
                                   "wraith"}))
                .err,
            missing("ghost", "alice") + missing("wraith", "alice") + none);
}

/// How many of the newest senders, back to the first that was forgotten, have the numbers that they
/// got first. `of`: looks the sender up, which begins at 1.
template <class Lookup>
std::size_t still_known(const std::vector<std::uint64_t>& ids, const Lookup& of) {
  std::size_t known = 0;
  while (known < ids.size() &&
         of(static_cast<std::uint32_t>(ids.size() - known)).id == ids[ids.size() - 1 - known]) {
    ++known;
  }
  return known;
}

TEST(SendersOfADump, AreBoundedHoweverManyAWriterForges) {
  const BusRig rig;
  tools::SenderNames names(rig.path());
  const Bytes bytes = arp_request();
  FrameView frame(bytes.data(), bytes.size());
  std::size_t others = 0;
  std::vector<std::uint64_t> ids;  // of the senders, in order
  const auto of = [&](std::uint32_t i) -> const tools::SenderNames::Sender& {
    frame.sender = static_cast<std::uint16_t>(i % 300);
    frame.sender_incarnation = i;
    return names.of(frame);
  };
  for (std::uint32_t i = 1; i <= 20'000; ++i) {
    const tools::SenderNames::Sender& sender = of(i);
    if (sender.name == "others") {
      ++others;
    } else if (others == 0) {
      ids.push_back(sender.id);
    }
  }
  EXPECT_GT(others, 0U) << "not every one is worth a look at the table";
  EXPECT_EQ(names.not_looked_up(), others);
  EXPECT_LE(still_known(ids, of), 1024U);
}

TEST(SendersOfADump, AreKnownHoweverOftenAHostStartsAnew) {
  const BusRig rig;
  const Bus bus = Bus::open(rig.path()).value();
  tools::SenderNames names(rig.path());
  const Bytes bytes = arp_request();
  FrameView frame(bytes.data(), bytes.size());
  std::set<std::uint64_t> seen;
  std::vector<std::pair<std::uint16_t, std::uint32_t>> hosts;
  std::vector<std::uint64_t> ids;
  for (unsigned i = 0; i < 1100; ++i) {
    Port port({.name = "web"});
    ASSERT_TRUE(port.attach(rig.path()));
    const std::vector<PortInfo> ports = bus.info().ports;
    const auto web = std::ranges::find(ports, "web", &PortInfo::name);
    ASSERT_NE(web, ports.end());
    frame.sender = static_cast<std::uint16_t>(web->slot);
    frame.sender_incarnation = web->incarnation;
    const tools::SenderNames::Sender& sender = names.of(frame);
    ASSERT_EQ(sender.name, "web") << i;
    ASSERT_TRUE(sender.known) << i;
    ASSERT_TRUE(seen.insert(sender.id).second) << i;
    hosts.emplace_back(frame.sender, frame.sender_incarnation);
    ids.push_back(sender.id);
  }
  EXPECT_EQ(names.not_looked_up(), 0U);
  EXPECT_LE(still_known(ids,
                        [&](std::uint32_t i) -> const tools::SenderNames::Sender& {
                          std::tie(frame.sender, frame.sender_incarnation) = hosts.at(i - 1);
                          return names.of(frame);
                        }),
            1024U);
}

}  // namespace
}  // namespace shmif::test
