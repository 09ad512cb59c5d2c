// bridge, tap and ping: which signals end them, and what still goes out.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

/// What arrives at a port, until `count` frames have come or half a minute has passed.
std::vector<Bytes> heard(Port& port, std::size_t count) {
  std::vector<Bytes> frames;
  FrameBatch batch;
  for (int i = 0; i < 300 && frames.size() < count; ++i) {
    port.wait(std::chrono::milliseconds(100));
    batch.clear();
    EXPECT_FALSE(port.receive(batch).error);
    for (const FrameView& frame : batch.frames()) frames.push_back(to_bytes(frame));
  }
  return frames;
}

std::vector<std::string> bridge_of(const BusRig& left, const BusRig& right) {
  return {shmifctl_path(),       "bridge",      "bus:" + left.path(),
          "bus:" + right.path(), "--port-name", "ear"};
}

TEST(BridgeEnds, WhatWasOnTheBusWhenTheSignalCameGoesOut) {
  for (const int number : {SIGINT, SIGTERM}) {
    const BusRig left;
    const BusRig right;
    Port from = left.port();
    Port to = right.port();
    Tool tool(bridge_of(left, right));
    ASSERT_TRUE(left.wait_for_port("ear"));
    ASSERT_TRUE(right.wait_for_port("ear"));
    tool.stop();
    std::vector<Bytes> frames;
    for (std::size_t i = 0; i < 3000; ++i) {
      frames.push_back(make_frame(100, i));
      std::fill_n(frames.back().begin(), 6, std::byte{0xff});
    }
    send(from, frames);
    tool.signal(number);
    tool.signal(SIGCONT);
    const ToolResult r = tool.finish();
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_TRUE(same_frames(frames, heard(to, frames.size()))) << r.out;
  }
}

// A live capture: `tcpdump -w - | shmifctl bridge pcap:- bus:...`.
TEST(BridgeEnds, EachFrameOfAPipeIsPassedOnBeforeTheNextOneComesAndASignalEndsTheWait) {
  for (const bool on_standard_input : {true, false}) {
    for (const int number : {SIGINT, SIGTERM}) {
      const BusRig rig;
      const std::string fifo = rig.file("fifo");
      ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
      // For both, so that neither side waits until it is opened.
      const UniqueFd writer(open(fifo.c_str(), O_RDWR | O_CLOEXEC));
      ASSERT_TRUE(writer);
      const std::string from = on_standard_input ? "pcap:-" : "pcap:" + fifo;
      Tool tool({"sh", "-c", R"(exec "$0" bridge "$1" bus:"$2" --port-name ear < "$3")",
                 shmifctl_path(), from, rig.path(), fifo});
      Port to = rig.port();
      const std::vector<Bytes> frames{make_frame(60, 1), make_frame(100, 2), make_frame(61, 3)};
      write_capture(rig.file("in.pcap"), frames);
      std::ifstream file(rig.file("in.pcap"), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      constexpr std::size_t kFileHeader = 24, kRecordHeader = 16;
      std::size_t begin = 0, end = kFileHeader;
      for (const Bytes& frame : frames) {
        end += kRecordHeader + frame.size();
        ASSERT_EQ(write(writer.get(), bytes.data() + begin, end - begin),
                  static_cast<ssize_t>(end - begin));
        begin = end;
        EXPECT_TRUE(same_frames({frame}, heard(to, 1))) << from;
      }
      tool.signal(number);
      const ToolResult r = tool.finish();
      EXPECT_FALSE(r.timed_out) << from << ' ' << number;
      EXPECT_EQ(r.status, 0) << r.err;
      EXPECT_NE((r.out + r.err).find("3 frames, 221 bytes"), std::string::npos) << r.out << r.err;
    }
  }
}

TEST(BridgeEnds, SignalsForUsersEndNothing) {
  const BusRig left;
  const BusRig right;
  Port from = left.port();
  Port to = right.port();
  Tool bridge(bridge_of(left, right));
  Tool answerer({shmifctl_path(), "ping", right.path(), "--respond", "--name", "answerer"});
  ASSERT_TRUE(left.wait_for_port("ear"));
  ASSERT_TRUE(right.wait_for_port("answerer"));
  for (const int number : {SIGUSR1, SIGUSR2}) {
    bridge.signal(number);
    answerer.signal(number);
  }
  send(from, {arp_request()});
  EXPECT_EQ(heard(to, 1).size(), 1U);
  EXPECT_EQ(run_tool({"ping", right.path(), "--to", "answerer", "-c", "1"}).status, 0);
  for (Tool* const tool : {&bridge, &answerer}) {
    tool->signal(SIGTERM);
    EXPECT_EQ(tool->finish().status, 0);
  }
}

}  // namespace
}  // namespace shmif::test
