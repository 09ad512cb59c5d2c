// What is said about a frame that is too long for the other side.

#include <gtest/gtest.h>

#include "tools/relay/device_watch.hpp"

namespace shmif::tools {
namespace {

TEST(TooLongText, NamesBothMtusAndAsksForEqualOnes) {
  EXPECT_EQ(too_long_text(4014, "bus:/b/one", 9000, "bus:/b/two", 1500),
            "cannot pass on a frame of 4014 bytes from bus:/b/one (MTU 9000): it is too long for "
            "bus:/b/two (MTU 1500) (such frames are dropped and counted; give both sides the same "
            "MTU)");
  EXPECT_EQ(too_long_text(4014, "pcap:in", std::nullopt, "bus:/b/two", 1500),
            "cannot pass on a frame of 4014 bytes from pcap:in: it is too long for bus:/b/two (MTU "
            "1500) (such frames are dropped and counted; give both sides the same MTU)");
}

TEST(TooLongText, NamesThePortOfABridgeWhereTheInterfaceItselfIsTooSmall) {
  const std::string why =
      "cannot pass on a frame of 1523 bytes from packet:br0 (MTU 1500): it is too long for bus:/b "
      "(MTU 1400) (such frames are dropped and counted; it is longer than the MTU of br0: its "
      "kernel put it together from fragments, and only plain IP packets can be cut again; if this "
      "is a bridge, give packet: the port of it from which such frames come)";
  EXPECT_EQ(too_long_text(1523, "packet:br0", 1500, "bus:/b", 1400), why);
  const std::string fits = too_long_text(1522, "packet:br0", 1500, "bus:/b", 1400);
  EXPECT_TRUE(fits.ends_with("; give both sides the same MTU)")) << fits;
  const std::string tap = too_long_text(1523, "tap:br0", 1500, "bus:/b", 1400);
  EXPECT_TRUE(tap.ends_with("; give both sides the same MTU)")) << tap;
}

TEST(TooLongText, SaysHowASecondTagPassesThroughAPacketSocket) {
  const std::string why =
      "cannot pass on a frame of 1522 bytes from bus:/b (MTU 1500): it is too long for packet:v0 "
      "(MTU 1500) (such frames are dropped and counted; v0 carries its MTU and one VLAN tag; for a "
      "second tag, raise the MTU of the interface by 4, or start a host with --via tap)";
  EXPECT_EQ(too_long_text(1522, "bus:/b", 1500, "packet:v0", 1500), why);
  EXPECT_NE(too_long_text(1519, "bus:/b", 1500, "packet:v0", 1500).find("; v0 carries its MTU and"),
            std::string::npos);
  for (const std::size_t bytes : {1518U, 1523U}) {
    const std::string other = too_long_text(bytes, "bus:/b", 9000, "packet:v0", 1500);
    EXPECT_TRUE(other.ends_with("; give both sides the same MTU)")) << other;
  }
  const std::string tap = too_long_text(1522, "bus:/b", 9000, "tap:v0", 1500);
  EXPECT_TRUE(tap.ends_with("; give both sides the same MTU)")) << tap;
}

}  // namespace
}  // namespace shmif::tools
