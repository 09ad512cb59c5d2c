// Captures of several buses in one file.

#include "tools/lab/merge_captures.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "shmif/capture/pcap_link.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

/// A capture with one frame at `time_ns`, before which `change` was made, and a change at its end.
tools::BusCapture capture_with_changes(const TempDir& directory, const std::string& bus,
                                       std::uint64_t time_ns) {
  const std::string file = directory.file(bus + ".pcapng");
  PcapngWriter writer =
      PcapngWriter::create(file, {.comment = "frames of the bus /x/" + bus + ", filter \"arp\""})
          .value();
  writer.add_interface({"interface of " + bus, {}});
  const Bytes bytes = arp_request();
  FrameView frame(bytes.data(), bytes.size());
  frame.time_ns = time_ns;
  EXPECT_FALSE(writer.put(0, frame, {.comment = "first change of " + bus}));
  writer.put_section("last change of " + bus);
  return {file, bus};
}

TEST(MergedCaptures, HaveTheChangesOfEachAlsoThoseAfterTheLastFrame) {
  const TempDir directory;
  const std::string merged = directory.file("merged.pcapng");
  const auto done = tools::merge_captures({capture_with_changes(directory, "left", 2'000'000'000),
                                           capture_with_changes(directory, "right", 1'000'000'000)},
                                          merged);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(read_capture(merged).size(), 2U);
  std::ifstream in(merged, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  for (const std::string bus : {"left", "right"}) {
    EXPECT_EQ(times_in(text, "first change of " + bus), 1U);
    EXPECT_EQ(times_in(text, "last change of " + bus), 1U);
    EXPECT_EQ(times_in(text, "bus " + bus), 1U) << "its interface says which bus it is";
  }
  EXPECT_EQ(times_in(text, "frames of the buses left, right, filter \"arp\""), 1U);
  EXPECT_EQ(times_in(text, "frames of the bus /x/"), 0U);
  const ToolResult read = run_program({"tshark", "-r", merged, "-Y", "arp"});
  EXPECT_EQ(count_of_lines(read.out), 2) << "the blocks are whole: " << read.err;
  EXPECT_LT(text.find("first change of left"), text.find("last change of right"))
      << "no frame may follow the end";
}

}  // namespace
}  // namespace shmif::test
