// bridge: what its summary says became of the frames, and what its options do together.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

using CommandWords = std::vector<std::string>;

/// Overwrites the ring of a bus.
void spoil(const std::string& bus) {
  const std::uint64_t bytes = Bus::open(bus).value().info().ring_bytes;
  std::fstream ring(bus, std::ios::in | std::ios::out | std::ios::binary);
  ring.seekp(-static_cast<std::streamoff>(bytes), std::ios::end);
  ring << std::string(bytes, '\xff');
}

/// Waits for a port of that name, up or not, that has received so many frames.
bool has_heard(const std::string& bus, const std::string& name, std::uint64_t frames) {
  for (int i = 0; i < 2000; ++i) {
    for (const PortInfo& p : Bus::open(bus).value().info().ports) {
      if (p.name == name && p.rx_frames >= frames) return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

CommandWords bridge(const std::string& left, const std::string& right,
                    const CommandWords& more = {}) {
  CommandWords words{shmifctl_path(), "bridge", left, right, "--port-name", "ear"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// A link with faults takes frames for the way back, and only then finds that the bus does not.
TEST(BridgeCounts, WhatABusRefusesIsDroppedAlsoBehindFaultsOfTheWayBack) {
  for (const CommandWords& more : {CommandWords{}, CommandWords{"--fault-left", "delay=1us"}}) {
    const BusRig left;
    const BusRig right;
    Port from = left.port();
    Tool tool(bridge("bus:" + left.path(), "bus:" + right.path(), more));
    ASSERT_TRUE(left.wait_for_port("ear"));
    ASSERT_TRUE(right.wait_for_port("ear"));
    spoil(right.path());
    ASSERT_TRUE(tool.wait_for("cannot receive from the bus " + right.path()));
    send(from, std::vector<Bytes>(3, arp_request()));
    EXPECT_TRUE(has_heard(left.path(), "ear", 3));
    tool.signal(SIGTERM);
    const ToolResult r = tool.finish();
    const std::string said = r.out.substr(0, r.out.find('\n'));
    EXPECT_TRUE(said.starts_with("bus:" + left.path() + " -> bus:" + right.path() + ": 0 frames, "))
        << said;
    EXPECT_TRUE(said.ends_with(", 0 lost, 3 dropped (3 refused) = 3 came")) << said;
  }
}

TEST(BridgeCounts, FramesThatMeetALinkThatIsDownAreSaidToWhicheverEndThatIs) {
  for (const bool first : {true, false}) {
    const BusRig left;
    const BusRig right;
    Port from = left.port();
    Tool tool(bridge("bus:" + left.path(), "bus:" + right.path(), {"--json"}));
    ASSERT_TRUE(left.wait_for_port("ear"));
    ASSERT_TRUE(right.wait_for_port("ear"));
    const ToolResult down = run_tool({"link", (first ? left : right).path(), "ear", "--down"});
    ASSERT_EQ(down.status, 0) << down.err;
    send(from, std::vector<Bytes>(7, arp_request()));
    EXPECT_TRUE(has_heard(left.path(), "ear", 7));
    tool.signal(SIGTERM);
    const nlohmann::json said = nlohmann::json::parse(tool.finish().out)["directions"][0];
    EXPECT_EQ(said["link_down_frames"], 7) << said;
    EXPECT_EQ(said["consumed_frames"], 0) << said;
    EXPECT_EQ(said["tx_frames"], 0) << said;
  }
}

// Its reader has gone before the first byte of the capture, and nobody reads its errors either.
TEST(BridgeCounts, ThatNobodyReadsDoNotEndItByASignal) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), {arp_request()});
  const ToolResult r = run_program(
      {"bash", "-c",
       "{ sleep 0.1; \"$0\" bridge pcap:\"$1\" pcap:- 2>&1; } | true; echo ${PIPESTATUS[0]}",
       shmifctl_path(), rig.file("in.pcap")});
  EXPECT_EQ(r.out, "0\n") << r.err;
}

TEST(BridgeOptions, FaultsThatAreGivenOneByOneAreMetTogether) {
  const BusRig left;
  const BusRig right;
  Tool tool(bridge("bus:" + left.path(), "bus:" + right.path(),
                   {"--fault-left", "duplicate=2%", "--fault", "loss=50%", "--fault-left",
                    "reorder=3%,seed=4", "--fault", "truncate=1%,seed=7"}));
  ASSERT_TRUE(left.wait_for_port("ear"));
  ASSERT_TRUE(right.wait_for_port("ear"));
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_NE(r.out.find(": faults loss=50%,truncate=1%,seed=7: "), std::string::npos) << r.out;
  EXPECT_NE(r.out.find(": faults duplicate=2%,reorder=3%,seed=4: "), std::string::npos) << r.out;
}

TEST(BridgeOptions, ASignalEndsItWhereACaptureIsAPipeWithoutAnotherEnd) {
  using Case = std::pair<bool, int>;
  for (const auto& [reads, number] :
       {Case{true, SIGTERM}, {false, SIGTERM}, {true, SIGINT}, {false, SIGINT}}) {
    const BusRig rig;
    const std::string fifo = rig.file("fifo");
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    const std::string bus = "bus:" + rig.path();
    const std::string capture = "pcap:" + fifo;
    Tool tool(reads ? bridge(capture, bus) : bridge(bus, capture));
    UniqueFd writer;
    for (int i = 0; reads && !writer && i < 2000; ++i) {  // until it has opened the pipe
      writer.reset(open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_TRUE(reads ? static_cast<bool>(writer) : has_heard(rig.path(), "ear", 0));
    tool.signal(number);
    const ToolResult r = tool.finish();
    EXPECT_FALSE(r.timed_out) << capture << ' ' << number;
    EXPECT_EQ(r.status, 0) << r.err;
    const std::string way = reads ? capture + " -> " + bus : bus + " -> " + capture;
    EXPECT_EQ(r.err, way + ": 0 frames, 0 bytes, 0 lost, 0 dropped = 0 came\n");
  }
}

}  // namespace
}  // namespace shmif::test
