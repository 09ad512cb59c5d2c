// shmifctl dump, through the program: how it ends, and what does not end it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/unique_fd.hpp"
#include "bus/offload.hpp"
#include "tests/tools/capture/dump_rig.hpp"
#include "tools/capture/capture_file.hpp"

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

// The files that shmifctl dump writes: their formats, what they say about themselves, and how they
// follow one another.

TEST(DumpFile, IsOfTheFormatAskedForOrThatOfItsName) {
  const BusRig rig;
  Port port = rig.port();
  const std::vector<Bytes> frames{arp_request(), make_frame(1514, 1)};
  send(port, frames);
  struct Asked {
    std::string name;
    Words format;
    bool is_pcapng;
  };
  for (const Asked& asked : std::vector<Asked>{{"a.pcap", {}, false},
                                               {"b.pcapng", {}, true},
                                               {"c", {}, false},
                                               {"d.pcap", {"--format", "pcapng"}, true},
                                               {"e.pcapng", {"--format", "pcap"}, false},
                                               {"-", {}, false},
                                               {"-", {"--format", "pcapng"}, true}}) {
    const std::string file = asked.name == "-" ? "-" : rig.file(asked.name);
    const ToolResult r = dump_history(rig, Words{"-w", file} + asked.format);
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.err, "2 frames captured, 0 filtered out, 0 lost\n");
    const std::string bytes = file == "-" ? r.out : bytes_of(file);
    EXPECT_EQ(number_at(bytes, 0), asked.is_pcapng ? 0x0a0d0d0aU : 0xa1b23c4dU) << asked.name;
    if (file == "-") continue;
    EXPECT_EQ(r.out, "");
    EXPECT_TRUE(same_frames(frames, read_capture(file))) << asked.name;
  }
}

TEST(DumpFile, OnStandardOutputHasEachFrameAtOnce) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool(dump(rig, {"--name", "ear", "-w", "-"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  send(port, {make_frame(60, 1)});
  EXPECT_TRUE(tool.wait_for(text_of(make_frame(60, 1))))
      << "a live reader waits for what is in a buffer";
  tool.signal(SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.out.size(), 24U + 16 + 60);
  EXPECT_EQ(r.err, "1 frame captured, 0 filtered out, 0 lost\n");
}

TEST(DumpFile, KeepsAsMuchOfEachFrameAsWasAskedForAndItsTrueLength) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {make_frame(60, 1), make_frame(1514, 2)});
  for (const auto& [wish, told, kept] : {std::tuple{"0", 262144U, 1514U},
                                         {"14", 14U, 14U},
                                         {"96", 96U, 96U},
                                         {"262144", 262144U, 1514U}}) {
    for (const std::string name : {"x.pcap", "x.pcapng"}) {
      const std::string file = rig.file(name);
      ASSERT_EQ(dump_history(rig, {"-s", wish, "-w", file}).status, 0);
      // In pcapng it is in the description of an interface, the block behind the first.
      EXPECT_EQ(name == "x.pcap" ? number_at(bytes_of(file), 16)
                                 : number_at(blocks_of(file).at(1).bytes, 12),
                told)
          << name;
      PcapReader reader = PcapReader::open(file).value();
      FrameBatch batch;
      while (!reader.receive(batch).error) {
      }
      ASSERT_EQ(batch.size(), 2U);
      EXPECT_EQ(batch[0].size(), std::min(60U, kept));
      EXPECT_EQ(batch[0].truncated(), kept < 60);
      EXPECT_EQ(batch[1].size(), kept);
      EXPECT_EQ(batch[1].truncated() ? batch[1].true_bytes : batch[1].size(), 1514U);
    }
  }
  const ToolResult text = dump_history(rig, {"-nn", "-s", "96"});
  EXPECT_TRUE(contains(text.out, "[cut short: 96 of 1514 bytes]")) << text.err;
}

TEST(DumpFile, HasFramesWithTheirChecksumsFinished) {
  const BusRig rig;
  Port port = rig.port();
  Bytes bytes = build({}, 100, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 0);
  ASSERT_TRUE(frame.offload.needs_checksum());
  ASSERT_EQ(port.send({&frame, 1}).taken, 1U);
  for (const std::string name : {"x.pcap", "x.pcapng"}) {
    ASSERT_EQ(dump_history(rig, {"--super-frames", "-w", rig.file(name)}).status, 0);
    const std::vector<Bytes> kept = read_capture(rig.file(name));
    ASSERT_EQ(kept.size(), 1U);
    EXPECT_NE(kept[0], bytes);
    EXPECT_TRUE(transport_checksum_holds({}, kept[0])) << name;
  }
}

TEST(DumpFile, OfPcapngSaysWhoWroteItAndWhatItIsOfAndItsCounts) {
  const BusRig rig;
  Port port = rig.port("web");
  send(port, {make_frame(60, 1), make_frame(100, 2), make_frame(60, 3), make_frame(60, 4)});
  ASSERT_EQ(dump_history(rig, {"-w", rig.file("a.pcapng")}).status, 0);
  const std::string bytes = bytes_of(rig.file("a.pcapng"));
  const std::string version = run_tool({"--version"}).out;
  for (const std::string& part :
       {version.substr(0, version.find(" (")), "frames of the bus " + rig.path(),
        std::string("bus bus"), "the bus " + rig.path(), std::string("web"),
        "slot 0, library, " + port.mac().to_string()}) {
    EXPECT_TRUE(contains(bytes, part));
  }
  EXPECT_FALSE(contains(bytes, ", filter \"")) << "there was none";
  ASSERT_EQ(dump_history(rig, {"-w", rig.file("b.pcapng"), "less", "60"}).status, 0);
  EXPECT_TRUE(contains(bytes_of(rig.file("b.pcapng")), ", filter \"less 60\""));
  EXPECT_EQ(statistics_in(rig.file("b.pcapng")),
            (std::map<unsigned, std::uint64_t>{
                {Block::kReceived, 4}, {Block::kDropped, 0}, {Block::kAccepted, 3}}));
}

TEST(DumpFile, OfSeveralCountsItsOwnPartAndTogetherTheyAreTheWhole) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  const auto [captured, lost] = overrun_dump(rig, port, {"-C", "10K", "-w", rig.file("x.pcapng")});
  ASSERT_GT(lost, 0U);
  std::uint64_t sum_captured = 0, sum_lost = 0, files = 0;
  for (std::string name = "x.pcapng"; std::filesystem::exists(rig.file(name));
       name = "x.pcapng" + std::to_string(files)) {
    auto told = statistics_in(rig.file(name));
    EXPECT_EQ(told[Block::kReceived], read_capture(rig.file(name)).size()) << name;
    EXPECT_EQ(told[Block::kAccepted], told[Block::kReceived]) << name;
    sum_captured += told[Block::kAccepted];
    sum_lost += told[Block::kDropped];
    ++files;
  }
  EXPECT_GT(files, 2U);
  EXPECT_EQ(sum_captured, captured);
  EXPECT_EQ(sum_lost, lost);

  // A super-frame is of the file in which it begins. One is full after 14 segments.
  const BusRig other;
  Port sender = other.port();
  for (int i = 0; i < 3; ++i) send_super_frame(sender);
  EXPECT_EQ(dump_history(other, {"-C", "20K", "-w", other.file("x"), "--format", "pcapng"}).err,
            "3 frames captured (30 after segmentation), 0 filtered out, 0 lost\n");
  std::uint64_t told = 0;
  std::size_t written = 0;
  for (const std::string name : {"x", "x1", "x2"}) {
    written += read_capture(other.file(name)).size();
    const std::uint64_t here = statistics_in(other.file(name))[Block::kAccepted];
    EXPECT_LE(here, 2U) << name;
    told += here;
  }
  EXPECT_EQ(written, 30U);
  EXPECT_EQ(told, 3U) << "two of them go on in the next file";
}

TEST(DumpRotation, GoesOnInTheNextFileWhenOneIsFull) {
  const BusRig rig;
  Port port = rig.port();
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < 50; ++i) frames.push_back(make_frame(1000, i));
  send(port, frames);
  const auto files = [&](const Words& names) {
    std::vector<Bytes> all;
    for (const std::string& name : names) {
      const std::vector<Bytes> some = read_capture(rig.file(name));
      EXPECT_LE(some.size(), 11U) << name << ": one frame more than 10 KiB";
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  };
  const std::string all_captured = "50 frames captured, 0 filtered out, 0 lost\n";
  EXPECT_EQ(dump_history(rig, {"-C", "10K", "-w", rig.file("x.pcap")}).err, all_captured);
  EXPECT_TRUE(same_frames(frames, files({"x.pcap", "x.pcap1", "x.pcap2", "x.pcap3", "x.pcap4"})));
  EXPECT_FALSE(std::filesystem::exists(rig.file("x.pcap5")));

  EXPECT_EQ(dump_history(rig, {"-C", "10K", "-W", "2", "-w", rig.file("ring.pcapng")}).err,
            all_captured);
  EXPECT_FALSE(std::filesystem::exists(rig.file("ring.pcapng")));
  EXPECT_FALSE(std::filesystem::exists(rig.file("ring.pcapng2")));
  const std::vector<Bytes> kept = files({"ring.pcapng1", "ring.pcapng0"});
  EXPECT_TRUE(std::ranges::find(kept, frames.back()) != kept.end()) << "the newest are kept";

  // A size without a unit is of millions of bytes.
  send(port, std::vector<Bytes>(1100, make_frame(1000, 1)));
  ASSERT_EQ(dump_history(rig, {"-C", "1", "-w", rig.file("m.pcap")}).status, 0);
  const std::uint64_t bytes = std::filesystem::file_size(rig.file("m.pcap"));
  EXPECT_GT(bytes, 1'000'000U);
  EXPECT_LE(bytes, 1'000'000U + 1016);
}

TEST(DumpRotation, GivesTheNamesOfTcpdump) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  const std::string year = std::to_string(parts.tm_year + 1900);
  struct Case {
    std::string pattern;
    std::uint64_t count, files;
    std::optional<std::time_t> time;
    std::string name;
  };
  for (const auto& [pattern, count, files, time, name] :
       std::vector<Case>{{"x", 0, 0, {}, "x"},
                         {"x", 1, 0, {}, "x1"},
                         {"x", 0, 1, {}, "x0"},
                         {"x", 9, 10, {}, "x9"},
                         {"x", 0, 11, {}, "x00"},
                         {"x", 7, 1000, {}, "x007"},
                         {"x-%Y.pcap", 0, 0, now, "x-" + year + ".pcap"},
                         {"x-%Y.pcap", 2, 0, now, "x-" + year + ".pcap2"},
                         {"x-%Y.pcap", 2, 100, now, "x-" + year + ".pcap02"},
                         {"x-%Y.pcap", 0, 0, {}, "x-%Y.pcap"}}) {  // only -G makes a format of it
    EXPECT_EQ(tools::rotated_name(pattern, count, files, time), name);
  }
}

/// Whether the tool has a file of `folder` open.
bool has_open(const Tool& tool, const std::string& folder) {
  const std::string fds = "/proc/" + std::to_string(tool.pid()) + "/fd";
  for (const auto& fd : std::filesystem::directory_iterator(fds)) {
    std::error_code gone;
    if (std::filesystem::read_symlink(fd, gone).string().starts_with(folder)) return true;
  }
  return false;
}

TEST(DumpRotation, BySizeAndTimeKeepsEachFrameAlsoWhereTheNameHasNoTime) {
  // More than all frames, and 17 frames; a number of files is no limit where there is a time.
  for (const auto& [size, files_wished] : {std::pair{"100", 0}, {"2K", 0}, {"2K", 2}}) {
    const BusRig rig;
    Port port = rig.port();
    const std::string folder = rig.file("spans");
    ASSERT_TRUE(std::filesystem::create_directory(folder));
    Words words{"--name", "ear", "-G", "1", "-C", size, "-w", folder + "/t.pcap"};
    if (files_wished > 0) words = words + Words{"-W", std::to_string(files_wished)};
    Tool tool(dump(rig, words));
    ASSERT_TRUE(rig.wait_for_port("ear"));
    const auto heard = [&] {
      for (const PortInfo& p : Bus::open(rig.path()).value().info().ports)
        if (p.name == "ear") return p.rx_frames;
      return std::uint64_t{0};
    };
    std::vector<Bytes> frames;
    constexpr std::size_t kSpans = 3, kInSpan = 50;
    for (std::size_t span = 0; span < kSpans; ++span) {
      for (std::size_t i = 0; i < kInSpan; ++i) {
        frames.push_back(make_frame(100, frames.size()));
        send(port, {frames.back()});
      }
      ASSERT_TRUE(eventually([&] { return heard() == frames.size(); }));
      ASSERT_TRUE(eventually([&] { return !has_open(tool, folder); })) << "its second is over";
    }
    tool.signal(SIGINT);
    EXPECT_EQ(tool.finish().err, "150 frames captured, 0 filtered out, 0 lost\n");
    std::vector<Bytes> kept;
    std::size_t files = 0;
    for (std::string name = files_wished > 0 ? "/t.pcap0" : "/t.pcap";
         std::filesystem::exists(folder + name); name = "/t.pcap" + std::to_string(++files)) {
      for (Bytes& frame : read_capture(folder + name)) kept.push_back(std::move(frame));
    }
    EXPECT_TRUE(same_frames(frames, kept)) << size << ": " << kept.size();
    EXPECT_GE(files, kSpans) << size;
  }
}

TEST(DumpRotation, AFileWhoseTimeIsOverIsCompleteThoughNoFrameComesAndAllAreAfterTheLast) {
  const BusRig rig;
  Port port = rig.port();
  const std::string folder = rig.file("spans");
  ASSERT_TRUE(std::filesystem::create_directory(folder));
  Tool tool(dump(rig, {"--name", "ear", "-G", "1", "-W", "2", "-w", folder + "/x-%s.pcap"}));
  ASSERT_TRUE(rig.wait_for_port("ear"));
  const auto files = [&] { return std::distance(std::filesystem::directory_iterator(folder), {}); };
  ASSERT_TRUE(eventually([&] { return files() == 1; }));
  EXPECT_TRUE(eventually([&] { return !has_open(tool, folder); }));
  send(port, {make_frame(60, 1)});
  EXPECT_TRUE(eventually([&] { return files() == 2; })) << "the next frame has a file";
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << "after the second";
  EXPECT_EQ(r.err, "1 frame captured, 0 filtered out, 0 lost\n");
}

}  // namespace
}  // namespace shmif::test
