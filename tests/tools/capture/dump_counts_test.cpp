// What a dump counts where frames of the bus and frames shown are not the same, and where nobody
// takes what it writes.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/super_frames.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/on_terminal.hpp"

namespace shmif::test {
namespace {

/// Sends super-frames of ten segments each.
void send_super_frames(Port& port, int count) {
  Bytes bytes = build({}, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  for (int i = 0; i < count; ++i) ASSERT_EQ(port.send({&frame, 1}).taken, 1U);
}

std::vector<std::string> whole_history(const BusRig& rig, const std::vector<std::string>& more) {
  std::vector<std::string> words{shmifctl_path(), "dump",      rig.path(),
                                 "--history",     "--timeout", "0"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// How many frames of the bus a pcapng file says that it has, in its statistics.
std::uint64_t frames_told(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto number = [&](std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    if (at + size <= bytes.size()) std::memcpy(&value, bytes.data() + at, size);
    return value;
  };
  for (std::size_t block = 0; block + 12 <= bytes.size(); block += number(block + 4, 4)) {
    constexpr std::uint64_t kStatistics = 5, kAccepted = 6;
    if (number(block, 4) != kStatistics) continue;
    for (std::size_t at = block + 20; number(at, 2) != 0; at += 12) {
      if (number(at, 2) == kAccepted) return number(at + 4, 8);
    }
  }
  return 0;
}

TEST(DumpCounts, OfSeveralFilesASuperFrameIsOfThatInWhichItBegins) {
  const BusRig rig;
  Port port = rig.port();
  send_super_frames(port, 3);
  // A file is full after 14 segments: one super-frame, and a part of the next.
  const ToolResult r =
      run_program(whole_history(rig, {"-C", "20K", "-w", rig.file("x"), "--format", "pcapng"}));
  EXPECT_EQ(r.err, "3 frames captured (30 after segmentation), 0 filtered out, 0 lost\n");
  std::uint64_t told = 0;
  std::size_t written = 0;
  for (const std::string name : {"x", "x1", "x2"}) {
    written += read_capture(rig.file(name)).size();
    EXPECT_LE(frames_told(rig.file(name)), 2U) << name;
    told += frames_told(rig.file(name));
  }
  EXPECT_EQ(written, 30U);
  EXPECT_EQ(told, 3U) << "two of them go on in the next file";
}

TEST(DumpCounts, ProgressIsOfFramesOfTheBusAndTheBytesShown) {
  const BusRig rig;
  Port port = rig.port();
  send_super_frames(port, 2);
  OnTerminal terminal(whole_history(rig, {"-w", rig.file("x.pcap")}), 80, 24);
  EXPECT_EQ(terminal.status(), 0);
  EXPECT_TRUE(contains(terminal.seen, "\r2 frames, 28.4 KiB, 0 lost\x1b[K")) << terminal.seen;
}

TEST(DumpCounts, WhatAFullDiskDidNotTakeIsNotShownThoughItsFramesWereOfTheBus) {
  const BusRig rig;
  Port port = rig.port();
  send_super_frames(port, 4);
  // A limit on file sizes stands in for the disk.
  std::vector<std::string> words{"bash", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash"};
  for (const std::string& word : whole_history(rig, {"-w", rig.file("x.pcap")}))
    words.push_back(word);
  const ToolResult r = run_program(words);
  EXPECT_EQ(r.status, 1);
  const std::size_t written = read_capture(rig.file("x.pcap")).size();
  EXPECT_GT(written, 0U);
  EXPECT_NE(written, 4U);
  unsigned long long captured = 0, segments = 0;
  const std::string counts = r.err.substr(r.err.find('\n') + 1);
  ASSERT_EQ(std::sscanf(counts.c_str(), "%llu %*s captured (%llu after segmentation), 0 filter",
                        &captured, &segments),
            2)
      << r.err;
  EXPECT_EQ(segments, written);
  EXPECT_EQ(captured, 4U) << "how many of them arrived is not known";
}

TEST(DumpCounts, ThatNobodyReadsDoNotEndItByASignal) {
  const BusRig rig;
  const ToolResult r = run_program(
      {"bash", "-c",
       "{ sleep 0.1; \"$1\" dump \"$2\" --timeout 0 2>&1 >/dev/null; echo $? >\"$3\"; } | true",
       "bash", shmifctl_path(), rig.path(), rig.file("status")});
  EXPECT_EQ(r.status, 0);
  std::string status;
  for (int i = 0; i < 1000 && !(std::ifstream(rig.file("status")) >> status); ++i) usleep(5000);
  EXPECT_EQ(status, "0");
}

}  // namespace
}  // namespace shmif::test
