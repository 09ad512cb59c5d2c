// The files that shmifctl dump writes: their formats, what they say about themselves, and how they
// follow one another; and what becomes of a dump whose bus is corrupt.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>

#include "bus/layout.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tools/capture/overrun_dump.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tools/capture/capture_rotation.hpp"
#include "tools/relay/await.hpp"

namespace shmif::test {
namespace {

std::string recorded_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class Number>
Number recorded_number(const std::string& bytes, std::size_t at) {
  Number value{};
  if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// `shmifctl dump --history --timeout 0` with more words.
ToolResult dump_history(const BusRig& rig, const std::vector<std::string>& more) {
  std::vector<std::string> words{"dump", rig.path(), "--history", "--timeout", "0"};
  words.insert(words.end(), more.begin(), more.end());
  return run_tool(words);
}

TEST(DumpFile, IsOfTheFormatAskedForOrThatOfItsName) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {make_frame(60, 1)});
  struct Asked {
    std::string name;
    std::vector<std::string> format;
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
    std::vector<std::string> words{"-w", file};
    words.insert(words.end(), asked.format.begin(), asked.format.end());
    const ToolResult dumped = dump_history(rig, words);
    EXPECT_EQ(dumped.status, 0) << dumped.err;
    const std::string bytes = asked.name == "-" ? dumped.out : recorded_bytes(file);
    EXPECT_EQ(recorded_number<std::uint32_t>(bytes, 0), asked.is_pcapng ? 0x0a0d0d0aU : 0xa1b23c4dU)
        << asked.name << ' ' << (asked.format.empty() ? "" : asked.format[1]);
  }
}

TEST(DumpFile, OfPcapSaysHowMuchOfEachFrameItKeeps) {
  const BusRig rig;
  for (const auto& [wish, kept] :
       {std::pair{"0", 262144U}, {"14", 14U}, {"96", 96U}, {"262144", 262144U}}) {
    ASSERT_EQ(dump_history(rig, {"-w", rig.file("a.pcap"), "-s", wish}).status, 0);
    EXPECT_EQ(recorded_number<std::uint32_t>(recorded_bytes(rig.file("a.pcap")), 16), kept);
  }
}

TEST(DumpFile, OfPcapngSaysWhoWroteItAndWhatItIsOf) {
  const BusRig rig;
  Port port = rig.port("web");
  send(port, {make_frame(60, 1)});
  ASSERT_EQ(dump_history(rig, {"-w", rig.file("a.pcapng")}).status, 0);
  const std::string bytes = recorded_bytes(rig.file("a.pcapng"));
  const std::string version = run_tool({"--version"}).out;
  for (const std::string& part :
       {version.substr(0, version.find(" (")), "frames of the bus " + rig.path(),
        std::string("bus bus"), "the bus " + rig.path(), std::string("web"),
        "slot 0, library, " + port.mac().to_string()}) {
    EXPECT_NE(bytes.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(bytes.find(", filter \""), std::string::npos) << "there was none";
}

/// What a pcapng file says of its first interface: by the code of the option, as
/// 4 isb_ifrecv, 5 isb_ifdrop, 6 isb_filteraccept.
std::map<unsigned, std::uint64_t> statistics_in(const std::string& path) {
  constexpr std::uint32_t kInterfaceStatistics = 5;
  const std::string bytes = recorded_bytes(path);
  std::map<unsigned, std::uint64_t> told;
  for (std::size_t block = 0; block + 12 <= bytes.size();
       block += recorded_number<std::uint32_t>(bytes, block + 4)) {
    if (recorded_number<std::uint32_t>(bytes, block) != kInterfaceStatistics) continue;
    EXPECT_EQ(recorded_number<std::uint32_t>(bytes, block + 8), 0U) << "the bus is the first one";
    EXPECT_TRUE(told.empty()) << "said twice";
    for (std::size_t at = block + 20; recorded_number<std::uint16_t>(bytes, at) != 0; at += 12) {
      told[recorded_number<std::uint16_t>(bytes, at)] =
          recorded_number<std::uint64_t>(bytes, at + 4);
    }
  }
  return told;
}

TEST(DumpFile, OfPcapngCountsTheWholeCapture) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {make_frame(60, 1), make_frame(100, 2), make_frame(60, 3), make_frame(60, 4)});
  ASSERT_EQ(dump_history(rig, {"-w", rig.file("a.pcapng"), "less", "60"}).status, 0);
  EXPECT_EQ(statistics_in(rig.file("a.pcapng")),
            (std::map<unsigned, std::uint64_t>{{4, 4}, {5, 0}, {6, 3}}));
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
    const std::size_t frames = read_capture(rig.file(name)).size();
    EXPECT_EQ(told[4], frames) << name;
    EXPECT_EQ(told[6], frames) << name;
    sum_captured += told[6];
    sum_lost += told[5];
    ++files;
  }
  EXPECT_GT(files, 2U);
  EXPECT_EQ(sum_captured, captured);
  EXPECT_EQ(sum_lost, lost);
}

TEST(DumpFile, MillionsOfBytesAreMillionsAndHistoryIsAllOfItWhateverTheTime) {
  const BusRig rig;
  Port port = rig.port();
  const std::vector<Bytes> frames(1100, make_frame(1000, 1));
  send(port, frames);
  const ToolResult dumped = dump_history(rig, {"-C", "1", "-w", rig.file("m.pcap")});
  EXPECT_EQ(dumped.err, "1100 frames captured, 0 filtered out, 0 lost\n");
  const std::uint64_t bytes = std::filesystem::file_size(rig.file("m.pcap"));
  EXPECT_GT(bytes, 1'000'000U);
  EXPECT_LE(bytes, 1'000'000U + 1016);
}

TEST(DumpFile, NamesOfSeveralAreThoseOfTcpdump) {
  using tools::rotated_name;
  const auto names = [](std::uint64_t files, std::uint64_t last) {
    return rotated_name("x", 0, files, {}) + ' ' + rotated_name("x", last, files, {});
  };
  EXPECT_EQ(names(0, 1), "x x1");
  EXPECT_EQ(names(1, 0), "x0 x0");
  EXPECT_EQ(names(10, 9), "x0 x9");
  EXPECT_EQ(names(11, 10), "x00 x10");
  EXPECT_EQ(names(1000, 7), "x000 x007");
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  const std::string year = std::to_string(parts.tm_year + 1900);
  EXPECT_EQ(rotated_name("x-%Y.pcap", 0, 0, now), "x-" + year + ".pcap");
  EXPECT_EQ(rotated_name("x-%Y.pcap", 2, 0, now), "x-" + year + ".pcap2");
  EXPECT_EQ(rotated_name("x-%Y.pcap", 2, 100, now), "x-" + year + ".pcap02");
  EXPECT_EQ(rotated_name("x-%Y.pcap", 0, 0, {}), "x-%Y.pcap") << "only -G makes a format of it";
}

TEST(DumpFile, IsFullWhenItIsLargerThanWasAskedForAndTheOldestIsUsedAgain) {
  const TempDir directory;
  std::vector<std::string> opened;
  const Bytes bytes = make_frame(60, 1);
  const FrameView frame(bytes.data(), bytes.size());
  constexpr std::uint64_t kTwoFrames = 24 + 2 * (16 + 60);
  tools::RotatingCapture capture(directory.file("x"), {.file_bytes = kTwoFrames, .files = 2},
                                 [&](const std::string& file) {
                                   opened.push_back(file.substr(file.rfind('/') + 1));
                                   return tools::create_capture(file);
                                 });
  for (int file = 0; file < 3; ++file) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(capture.is_due()) << file << ' ' << i;
      ASSERT_EQ(capture.file().send({&frame, 1}).taken, 1U);
    }
    EXPECT_TRUE(capture.is_due()) << file;
    EXPECT_FALSE(capture.is_last()) << file;
    capture.next();
  }
  EXPECT_EQ(opened, (std::vector<std::string>{"x0", "x1", "x0", "x1"}));
}

TEST(DumpFile, OfASuperFrameOfWhichTheFilterTakesAPartIsOneFrameAndThatPart) {
  const BusRig rig;
  Port port = rig.port();
  Bytes bytes = build({}, 13'500, 1);  // nine segments of 1454 bytes, and a last one of 954
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  for (int i = 0; i < 2; ++i) ASSERT_FALSE(port.send({&frame, 1}).error);
  send(port, {make_frame(60, 1)});
  EXPECT_EQ(dump_history(rig, {"greater", "954"}).err,
            "2 frames captured (20 after segmentation), 1 filtered out, 0 lost\n");
  EXPECT_EQ(dump_history(rig, {"greater", "955"}).err,
            "2 frames captured (18 after segmentation), 1 filtered out (3 after segmentation), "
            "0 lost\n");
  EXPECT_EQ(dump_history(rig, {"less", "954", "and", "greater", "61"}).err,
            "2 frames captured, 1 filtered out (19 after segmentation), 0 lost\n");
}

TEST(DumpFile, ProgressOnATerminalCountsWhatIsInIt) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {make_frame(60, 1), make_frame(1000, 2), make_frame(61, 3)});
  OnTerminal terminal({shmifctl_path(), "dump", rig.path(), "--history", "--timeout", "0", "-w",
                       rig.file("a.pcap"), "less", "60", "or", "greater", "1000"},
                      80, 24);
  EXPECT_EQ(terminal.status(), 0);
  EXPECT_NE(terminal.seen.find("\r2 frames, 1.0 KiB, 0 lost\x1b[K"), std::string::npos)
      << terminal.seen;
  EXPECT_NE(terminal.seen.find("\r\x1b[J2 frames captured, 1 filtered out, 0 lost"),
            std::string::npos)
      << "it is gone when the counts come: " << terminal.seen;
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
    Tool tool({shmifctl_path(), "dump", rig.path(), "--history", "--timeout", timeout});
    ASSERT_TRUE(tool.wait_for("ARP"));
    std::fstream file(rig.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(bus::kRingOffset));
    file << std::string(4096, 'x') << std::flush;
    r = tool.finish();
    if (contains(r.err, what)) break;
  }
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_TRUE(contains(r.err, what)) << r.err;
  EXPECT_EQ(r.err.find(what), r.err.rfind(what)) << r.err;
}

TEST(DumpOfACorruptBus, IsToldEachTimeItBecomesSoAndOnceEach) {
  const tools::StopSignals stop;
  ::raise(SIGINT);  // so that nothing is waited for
  tools::Corruption corruption("/bus");
  const auto said = [&](const std::error_code& error, bool is_corrupt) {
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(corruption.met(error, stop), is_corrupt);
    EXPECT_EQ(corruption.lasts(), is_corrupt);
    return count_of_lines(::testing::internal::GetCapturedStderr());
  };
  EXPECT_EQ(said({}, false), 0);
  EXPECT_EQ(said(Errc::corrupt, true), 1);
  EXPECT_EQ(said(Errc::corrupt, true), 0);
  EXPECT_EQ(said({}, false), 0);
  EXPECT_EQ(said(Errc::corrupt, true), 1);
  EXPECT_EQ(said(Errc::bus_lost, false), 0);
}

TEST(DumpUnderNohup, OutlivesTheHangup) {
  const BusRig rig;
  Port port = rig.port();
  Tool tool({"sh", "-c", "trap '' HUP; exec \"$1\" dump \"$2\" --name ear -c 1", "sh",
             shmifctl_path(), rig.path()});
  ASSERT_TRUE(rig.wait_for_port("ear"));
  tool.signal(SIGHUP);
  send(port, {arp_request()});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.err, "1 frame captured, 0 filtered out, 0 lost\n");
}

}  // namespace
}  // namespace shmif::test
