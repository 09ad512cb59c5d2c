// Decoding at the bounds: headers that just fit, and lengths that just are lengths.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tools/packets/decode.hpp"

namespace shmif::tools {
namespace {

using Raw = std::vector<std::uint8_t>;

/// A frame with the EtherType `type` and this behind it.
Raw raw_frame(unsigned type, const Raw& behind) {
  Raw bytes{0xb2, 0xa0, 0, 0, 0, 2, 0xb2, 0xa0, 0, 0, 0, 1};
  bytes.push_back(static_cast<std::uint8_t>(type >> 8U));
  bytes.push_back(static_cast<std::uint8_t>(type & 0xffU));
  bytes.insert(bytes.end(), behind.begin(), behind.end());
  return bytes;
}

/// An IPv6 packet from fd00::1 to fd00::2.
Raw ipv6(std::uint8_t next, const Raw& payload, bool with_length = true) {
  Raw packet(40);
  packet[0] = 0x60;
  packet[5] = static_cast<std::uint8_t>(with_length ? payload.size() : 0);
  packet[6] = next;
  packet[7] = 64;
  packet[8] = packet[24] = 0xfd;
  packet[23] = 1;
  packet[39] = 2;
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

/// The decoded line without its time.
std::string said_of(const Raw& bytes, const DecodeOptions& options = {}) {
  const std::string out = decode(FrameView(bytes.data(), bytes.size()), options);
  return out.substr(out.find(' ') + 1, out.size() - out.find(' ') - 2);
}

TEST(DecodeBounds, ExtensionHeadersHaveTheLengthThatTheirKindCountsIn) {
  constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kAuthentication = 51, kNone = 59,
                         kDestination = 60, kOspf = 89, kMobility = 135;
  Raw authenticated(24 + 30);
  authenticated[0] = kOspf;
  authenticated[1] = 4;  // six words of 32 bits
  EXPECT_EQ(said_of(raw_frame(0x86dd, ipv6(kAuthentication, authenticated))),
            "IP6 fd00::1 > fd00::2: OSPF, length 30");
  Raw options(16 + 30);
  options[0] = kOspf;
  options[1] = 1;  // two words of 64 bits
  options[2] = 1;
  options[3] = 12;
  for (const std::uint8_t kind : {kHopByHop, kRouting, kDestination, kMobility}) {
    EXPECT_EQ(said_of(raw_frame(0x86dd, ipv6(kind, options))),
              "IP6 fd00::1 > fd00::2: OSPF, length 30")
        << unsigned{kind};
  }
  EXPECT_EQ(said_of(raw_frame(0x86dd, ipv6(kHopByHop, {kNone, 0, 1, 4, 0, 0, 0, 0}))),
            "IP6 fd00::1 > fd00::2: no next header, length 0")
      << "one that ends with its packet";
}

TEST(DecodeBounds, AnIpv6PacketWithoutALengthIsAsLongAsItIs) {
  EXPECT_EQ(said_of(raw_frame(0x86dd, ipv6(89, Raw(30), false))),
            "IP6 fd00::1 > fd00::2: OSPF, length 30");
}

TEST(DecodeBounds, ATagNeedsRoomForItselfAndForTheTypeBehindIt) {
  EXPECT_EQ(said_of(raw_frame(0x8100, {0x60, 5, 0x88, 0xb6})),
            "vlan 5, p 3, ethertype Local Experimental 2 (0x88b6), length 0: ");
  EXPECT_EQ(said_of(raw_frame(0x8100, {0x60, 5, 0x88})),
            "ethertype 802.1Q (0x8100), length 3: 600588");
}

TEST(DecodeBounds, SixteenBytesAreShownAndOfMoreThatThereAreMore) {
  const std::string shown = "ethertype Local Experimental 2 (0x88b6), length ";
  const std::string zeros(32, '0');
  EXPECT_EQ(said_of(raw_frame(0x88b6, Raw(16))), shown + "16: " + zeros);
  EXPECT_EQ(said_of(raw_frame(0x88b6, Raw(17))), shown + "17: " + zeros + "...");
}

TEST(DecodeBounds, InTheLinkHeaderATypeUpTo1500IsALengthToo) {
  const std::string to = "b2:a0:00:00:00:01 > b2:a0:00:00:00:02, ";
  const DecodeOptions with_header{.link_header = true};
  EXPECT_EQ(said_of(raw_frame(1500, Raw(46)), with_header).find(to + "802.3, length 60: "), 0U);
  EXPECT_EQ(said_of(raw_frame(1501, Raw(46)), with_header)
                .find(to + "ethertype Unknown (0x05dd), length 60: "),
            0U);
}

TEST(DecodeBounds, AHeaderWithNothingBehindItIsAFrameAndOneByteLessIsNone) {
  Raw bytes = raw_frame(0x88b6, {});
  EXPECT_EQ(said_of(bytes), "ethertype Local Experimental 2 (0x88b6), length 0: ");
  bytes.pop_back();
  EXPECT_EQ(said_of(bytes), "frame of 13 bytes, malformed");
}

TEST(DecodeBounds, OfBytesThePrintableOnesAreShownAsText) {
  const std::string out =
      said_of(raw_frame(0x88b6, {0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0xff, 0}), {.hex_dump = true});
  EXPECT_NE(out.find(" 1f20  ............... \n"), std::string::npos) << out;
  EXPECT_TRUE(out.ends_with("  !~....")) << out;
}

}  // namespace
}  // namespace shmif::tools
