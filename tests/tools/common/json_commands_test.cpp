// --json of create, repair, inject, dump, bridge: on standard output there is one object, whose
// figures are what happened; what people read is on standard error.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/super_frames.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/relay/peers_rig.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;

/// The object on standard output, which must have nothing else.
json object_of(const ToolResult& result) {
  const json object = json::parse(result.out, nullptr, false);
  EXPECT_TRUE(object.is_object()) << "out: " << result.out << "err: " << result.err;
  return object.is_object() ? object : json::object();
}

void expect_equal(const json& shown, const json& expected) {
  EXPECT_EQ(shown, expected) << json::diff(expected, shown);
}

/// A capture of 7 frames of 60 to 66 bytes, one of which the capture cut short, of one that is too
/// long, and of a record that has no Ethernet header.
void write_mixed_capture(const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  const auto put = [&file](std::vector<std::uint32_t> words) {
    file.write(reinterpret_cast<const char*>(words.data()),
               static_cast<std::streamsize>(words.size() * sizeof(std::uint32_t)));
  };
  put({0xa1b23c4d, 0x00040002, 0, 0, 262144, 1});
  const auto record = [&](std::uint32_t number, std::uint32_t bytes, std::uint32_t true_bytes) {
    put({1'700'000'000, number, bytes, true_bytes});
    file << std::string(bytes, '\xff');
  };
  for (std::uint32_t i = 0; i < 7; ++i) record(i, 60 + i, i == 3 ? 1000 : 60 + i);
  record(7, 2000, 2000);
  record(8, 13, 13);
}

TEST(JsonOfInject, HasWhatWasSentAndWhatWasNotAndWhy) {
  const BusRig rig;
  const std::string capture = rig.file("in.pcap");
  write_mixed_capture(capture);
  json expected = {
      {"path", rig.path()},      {"file", capture},         {"rounds", 1},
      {"tx_frames", 7},          {"tx_bytes", 441},         {"too_long_frames", 1},
      {"unsent_frames", 0},      {"skipped_records", 1},    {"cut_short_frames", 1},
      {"unsegmented_frames", 0}, {"max_frame_bytes", 1522}, {"longest_too_long_bytes", 2000}};
  const ToolResult once = run_tool({"inject", rig.path(), capture, "--timing", "flat", "--json"});
  EXPECT_EQ(once.status, 1);
  EXPECT_TRUE(contains(once.err, "cannot send 1 frame of "));
  expect_equal(object_of(once), expected);

  const ToolResult twice =
      run_tool({"inject", rig.path(), capture, "--timing", "flat", "--loop", "2", "--json"});
  expected.update({{"rounds", 2},
                   {"tx_frames", 14},
                   {"tx_bytes", 882},
                   {"too_long_frames", 2},
                   {"skipped_records", 2},
                   {"cut_short_frames", 2}});
  expect_equal(object_of(twice), expected);

  write_capture(capture, {make_frame(100, 1)});
  const json short_ones = object_of(run_tool({"inject", rig.path(), capture, "--json"}));
  EXPECT_EQ(short_ones["longest_too_long_bytes"], nullptr);
  EXPECT_EQ(short_ones["why_null"], json({{"longest_too_long_bytes", "no frame was too long"}}));
}

TEST(JsonOfDump, HasItsCountsAndLinesGoToStandardError) {
  const BusRig rig;
  Port port = rig.port();
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < 7; ++i) frames.push_back(make_frame(60 + 10 * i, i));
  send(port, frames);
  const Words history{"dump", rig.path(), "--history", "--timeout", "0", "--json"};
  json expected = {
      {"path", rig.path()},         {"file", nullptr},       {"captured_frames", 7},
      {"captured_segments", 7},     {"captured_bytes", 630}, {"filtered_out_frames", 0},
      {"filtered_out_segments", 0}, {"lost_frames", 0},      {"lost_is_lower_bound", false}};
  const ToolResult lines = run_tool(history);
  EXPECT_EQ(lines.status, 0) << lines.err;
  EXPECT_EQ(count_of_lines(lines.err), 7) << lines.err;
  expect_equal(object_of(lines), expected);

  const std::string file = rig.file("x.pcap");
  Words words = history;
  words.insert(words.end(), {"-w", file, "len", ">=", "100"});
  const ToolResult recorded = run_tool(words);
  EXPECT_EQ(recorded.err, "");
  expected.update({{"file", file},
                   {"captured_frames", 3},
                   {"captured_segments", 3},
                   {"captured_bytes", 100 + 110 + 120},
                   {"filtered_out_frames", 4},
                   {"filtered_out_segments", 4}});
  expect_equal(object_of(recorded), expected);
  EXPECT_EQ(read_capture(file).size(), 3U);
}

TEST(JsonOfDump, TellsSuperFramesFromTheirSegmentsAndHasNoCountThatNobodyKnows) {
  const BusRig rig;
  Port port = rig.port();
  Bytes bytes = build({}, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(port.send({&frame, 1}).taken, 1U);
  const json all = object_of(
      run_tool({"dump", rig.path(), "--history", "--timeout", "0", "--json", "-w", "/dev/null"}));
  EXPECT_EQ(all["captured_frames"], 4);
  EXPECT_EQ(all["captured_segments"], 40);

  // A limit on file sizes stands in for a full disk.
  const ToolResult part = run_program({"bash", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"",
                                       "bash", shmifctl_path(), "dump", rig.path(), "--history",
                                       "--timeout", "0", "--json", "-w", rig.file("x.pcap")});
  EXPECT_EQ(part.status, 1);
  const json object = object_of(part);
  EXPECT_EQ(object["captured_segments"], read_capture(rig.file("x.pcap")).size());
  EXPECT_EQ(object["captured_frames"], nullptr);
  EXPECT_EQ(object["captured_bytes"], nullptr);
  const char* const why = "the output took only a part of the frames";
  EXPECT_EQ(object["why_null"], json({{"captured_frames", why}, {"captured_bytes", why}}));
}

TEST(JsonOfCreate, IsWhatStatPrintsOfTheNewBus) {
  const TempDir directory;
  const std::string path = directory.file("bus");
  const ToolResult made =
      run_tool({"create", path, "--size", "128K", "--mtu", "1600", "--flow", "pause", "--json"});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(made.out, run_tool({"stat", path, "--json"}).out);
  EXPECT_EQ(object_of(made)["geometry"]["mtu"], 1600);
  const ToolResult again = run_tool({"create", path, "--json"});
  EXPECT_EQ(again.status, 1);
  EXPECT_EQ(again.out, "");
}

/// Attaches a port in a process that is killed.
void leave_dead_port(const std::string& path) {
  const pid_t child = fork();
  if (child == 0) {
    Port port;
    if (!port.attach(path) || port.up()) _exit(1);
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(JsonOfRepair, HasWhatWasFreedAndWhetherTheRingWasRebuilt) {
  const BusRig rig;
  leave_dead_port(rig.path());
  json expected = {{"path", rig.path()},
                   {"format", "shmif"},
                   {"header_restored", json::array()},
                   {"lock_released", false},
                   {"ring_rebuilt", false},
                   {"ports_freed", 1},
                   {"claims_cleared", 0},
                   {"epoch", 0},
                   {"frames_kept", nullptr},
                   {"why_null", {{"frames_kept", "the ring was not rebuilt"}}}};
  expect_equal(object_of(run_tool({"repair", rig.path(), "--json"})), expected);

  {
    Port port = rig.port();
    for (std::size_t i = 0; i < 8; ++i) send(port, {make_frame(1000, i)});
  }
  // What is at the beginning of the ring is the record of the first frame.
  const std::uint64_t bytes = Bus::open(rig.path()).value().info().ring_bytes;
  std::fstream ring(rig.path(), std::ios::in | std::ios::out | std::ios::binary);
  ring.seekp(-static_cast<std::streamoff>(bytes), std::ios::end);
  ring << std::string(8, '\xde') << std::flush;
  const json rebuilt = object_of(run_tool({"repair", rig.path(), "--json"}));
  expected.update({{"ring_rebuilt", true},
                   {"ports_freed", 0},
                   {"epoch", rebuilt.value("epoch", 0)},
                   {"frames_kept", 7}});
  expected.erase("why_null");
  expect_equal(rebuilt, expected);
  const json stat = object_of(run_tool({"stat", rig.path(), "--json"}));
  EXPECT_EQ(rebuilt["epoch"], stat["epoch"]);
  EXPECT_GT(rebuilt["epoch"], 0);
}

/// What both directions of a bridge without devices say.
json quiet_way(const std::string& from, const std::string& to) {
  const char* const no_device = "the link is not a network interface";
  return {{"from", from},
          {"to", to},
          {"offered_frames", 0},
          {"tx_frames", 0},
          {"tx_segments", 0},
          {"tx_bytes", 0},
          {"lost_frames", 0},
          {"overrun_frames", 0},
          {"too_long_frames", 0},
          {"timed_out_frames", 0},
          {"refused_frames", 0},
          {"rule_refused_frames", nullptr},
          {"link_down_frames", 0},
          {"unheard_frames", 0},
          {"interface_down_frames", nullptr},
          {"interface_queue_full_frames", nullptr},
          {"consumed_frames", 0},
          {"under_way_frames", 0},
          {"faults", nullptr},
          {"why_null",
           {{"rule_refused_frames", "only a gateway has rules"},
            {"interface_down_frames", no_device},
            {"interface_queue_full_frames", no_device},
            {"faults", "no faults were asked for"}}}};
}

TEST(JsonOfBridge, HasBothWaysOfABridgeOfTwoBuses) {
  const BusRig left({.mtu = 3000});
  const BusRig right;
  Port from = left.port();
  Port back = right.port();
  const std::string here = "bus:" + left.path();
  const std::string there = "bus:" + right.path();
  Tool tool({shmifctl_path(), "bridge", here, there, "--port-name", "ear", "--json"});
  ASSERT_TRUE(left.wait_for_port("ear"));
  ASSERT_TRUE(right.wait_for_port("ear"));
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < 5; ++i) frames.push_back(peer_frame(kEverybody, from.mac(), 1, 100));
  frames.push_back(peer_frame(kEverybody, from.mac(), 1, 2000));
  send(from, frames);
  send(back, {peer_frame(kEverybody, back.mac(), 2, 70)});
  EXPECT_EQ(marks_from(back, 5).size(), 5U);
  EXPECT_EQ(marks_from(from, 1).size(), 1U);
  tool.signal(SIGTERM);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.err, "has an MTU of 3000"));
  json right_way = quiet_way(here, there);
  right_way.update({{"offered_frames", 6},
                    {"tx_frames", 5},
                    {"tx_segments", 5},
                    {"tx_bytes", 500},
                    {"too_long_frames", 1}});
  json left_way = quiet_way(there, here);
  left_way.update({{"offered_frames", 1}, {"tx_frames", 1}, {"tx_segments", 1}, {"tx_bytes", 70}});
  expect_equal(object_of(result), {{"directions", {right_way, left_way}}});
}

TEST(JsonOfACommand, IsRefusedWhereACaptureNeedsStandardOutputUnderAnyName) {
  const BusRig rig;
  const std::string bus = rig.path();
  const std::string output = rig.file("output");
  const std::string in = rig.file("in.pcap");
  write_capture(in, {make_frame(60, 1)});
  for (const std::string& file :
       {std::string("-"), std::string("/dev/stdout"), std::string("/dev/fd/1"),
        std::string("/proc/self/fd/1"), output}) {
    const std::string pcap = "pcap:" + file;
    for (const Words& words : {Words{"dump", bus, "--timeout", "0", "-w", file, "--json"},
                               Words{"bridge", "pcap:" + in, pcap, "--force", "--json"}}) {
      Words line{"sh", "-c", "f=$0; exec \"$@\" >\"$f\"", output, shmifctl_path()};
      line.insert(line.end(), words.begin(), words.end());
      const ToolResult result = run_program(line);
      EXPECT_EQ(result.status, 2) << words[0] << ' ' << file;
      const std::string what = words[0] == "dump" ? "-w " + file : pcap;
      EXPECT_TRUE(contains(
          result.err, words[0] + ": --json and " + what + " both need standard output (give "));
      EXPECT_EQ(std::filesystem::file_size(output), 0U);
    }
  }
}

}  // namespace
}  // namespace shmif::test
