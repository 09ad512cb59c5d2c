// What is said about a frame that is too long for the other side.

#include <gtest/gtest.h>

#include "tools/relay/device_watch.hpp"

namespace shmif::tools {
namespace {

TEST(TooLongText, NamesBothMtusAndWhatHelps) {
  const std::string same = "; give both sides the same MTU)";
  struct Case {
    std::size_t bytes;
    const char* from;
    std::optional<std::uint32_t> from_mtu;
    const char* to;
    std::uint32_t to_mtu;
    std::string said, remedy;
  };
  for (const Case& c : std::vector<Case>{
           {4014, "bus:/b/one", 9000, "bus:/b/two", 1500, "4014 bytes from bus:/b/one (MTU 9000)",
            same},
           {4014, "pcap:in", {}, "bus:/b/two", 1500, "from pcap:in: ", same},
           // A bridge whose kernel has put it together from fragments.
           {1523, "packet:br0", 1500, "bus:/b", 1400, "longer than the MTU of br0",
            "from which such frames come)"},
           {1522, "packet:br0", 1500, "bus:/b", 1400, "from packet:br0 (MTU 1500)", same},
           {1523, "tap:br0", 1500, "bus:/b", 1400, "from tap:br0 (MTU 1500)", same},
           // A second tag does not pass through a packet socket.
           {1522, "bus:/b", 1500, "packet:v0", 1500, "v0 carries its MTU and one VLAN tag",
            "--via tap)"},
           {1519, "bus:/b", 1500, "packet:v0", 1500, "v0 carries its MTU and one VLAN tag",
            "--via tap)"},
           {1518, "bus:/b", 9000, "packet:v0", 1500, "packet:v0 (MTU 1500)", same},
           {1523, "bus:/b", 9000, "packet:v0", 1500, "packet:v0 (MTU 1500)", same},
           {1522, "bus:/b", 9000, "tap:v0", 1500, "tap:v0 (MTU 1500)", same}}) {
    const std::string text = too_long_text(c.bytes, c.from, c.from_mtu, c.to, c.to_mtu);
    EXPECT_NE(text.find(c.said), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with(c.remedy)) << text;
  }
}

}  // namespace
}  // namespace shmif::tools
