// Each field of a header: its place, its default, its values, and which headers are refused.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "perf/frame/frame_maker.hpp"
#include "perf/frame/header_template.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using Bytes = std::vector<std::byte>;

/// Frame number `number` with `headers`.
Bytes frame_of(const std::string& headers, std::uint64_t number = 0, std::uint64_t seed = 1) {
  FrameMakerOptions options;
  options.headers = HeaderTemplate::parse(headers).value();
  options.destination = MacAddress::from_u64(0x020000000002);
  options.source = MacAddress::from_u64(0x020000000001);
  options.seed = seed;
  options.max_bytes = 200;
  FrameMaker maker(options);
  const FrameView frame = maker.make(number, 200, {.nonce = 7});
  return {frame.bytes.begin(), frame.bytes.end()};
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    std::array<char, 3> two{};
    (void)std::snprintf(two.data(), two.size(), "%02x", std::to_integer<unsigned>(b));
    text += two.data();
  }
  return text;
}

unsigned number_at(const Bytes& frame, std::size_t at) {
  return std::to_integer<unsigned>(frame[at]) << 8U | std::to_integer<unsigned>(frame[at + 1]);
}

std::string why(const std::string& headers) {
  const auto read = HeaderTemplate::parse(headers);
  return read ? "" : read.error().message;
}

struct Place {
  const char* headers;
  std::size_t at;
  const char* bytes;
};

TEST(HeaderFields, StandWhereTheStandardsPutThemAndHaveTheirDefaults) {
  for (const Place& place : std::initializer_list<Place>{
           {"ipv4", 0, "020000000002020000000001"},
           {"ipv4", 12, "080045"},
           {"ipv4", 18, "00000000"},
           {"ipv4", 22, "40fd"},
           {"ipv4", 26, "c6120001c6130001"},
           {"ipv4/udp", 23, "11"},
           {"ipv4/tcp", 23, "06"},
           {"ipv4(proto=99)", 23, "63"},
           {"ipv4(ecn=1)", 15, "01"},
           {"ipv4(ecn=3)", 15, "03"},
           {"ipv4(dscp=63)", 15, "fc"},
           {"ipv4(dscp=1,ecn=2)", 15, "06"},
           {"ipv4(id=0x1234)", 18, "12340000"},
           {"ipv4(df=1)", 18, "00004000"},
           {"ipv4(ttl=7)", 22, "07"},
           {"ipv4(src=1.2.3.4)", 26, "01020304c6130001"},
           {"ipv4(dst=1.2.3.4)", 26, "c612000101020304"},
           {"ipv4/udp", 34, "04000009"},
           {"ipv4/udp(sport=1,dport=2)", 34, "00010002"},
           {"ipv4/udp(checksum=0)", 40, "0000"},
           {"ipv4/tcp", 34, "0400000900000000000000005010ffff"},
           {"ipv4/tcp(sport=1,dport=2)", 34, "00010002"},
           {"ipv4/tcp(seq=0x01020304)", 38, "0102030400000000"},
           {"ipv4/tcp(ack=0x01020304)", 38, "0000000001020304"},
           {"ipv4/tcp(window=0x0102)", 46, "50100102"},
           {"ipv4/tcp(flags=F)", 47, "01"},
           {"ipv4/tcp(flags=S)", 47, "02"},
           {"ipv4/tcp(flags=R)", 47, "04"},
           {"ipv4/tcp(flags=P)", 47, "08"},
           {"ipv4/tcp(flags=A)", 47, "10"},
           {"ipv4/tcp(flags=U)", 47, "20"},
           {"ipv4/tcp(flags=E)", 47, "40"},
           {"ipv4/tcp(flags=C)", 47, "80"},
           {"ipv4/tcp(flags=0x15)", 47, "15"},
           {"ipv6", 12, "86dd60000000"},
           {"ipv6", 20, "fd40"},
           {"ipv6", 22, "2001000200000000000000000000000120010002000000000000000000000002"},
           {"ipv6/udp", 20, "11"},
           {"ipv6/tcp", 20, "06"},
           {"ipv6(next=59)", 20, "3b"},
           {"ipv6(hlim=9)", 21, "09"},
           {"ipv6(dscp=63)", 14, "6fc00000"},
           {"ipv6(ecn=3)", 14, "60300000"},
           {"ipv6(flow=0xfffff)", 14, "600fffff"},
           {"vlan", 12, "8100000188b5"},
           {"vlan/vlan", 12, "88a800018100000188b5"},
           {"vlan/vlan(id=7)", 12, "88a800018100000788b5"},
           {"vlan(id=7)/vlan", 12, "88a800078100000188b5"},
           {"vlan(id=0xabc)", 12, "81000abc"},
           {"vlan(prio=5)", 12, "8100a001"},
           {"vlan(dei=1)", 12, "81001001"},
           {"vlan(tpid=0x88a8,id=5)", 12, "88a80005"},
           {"eth(type=0x88b6)", 12, "88b6"},
           {"eth(type=0x88b6)/vlan(id=3)", 12, "8100000388b6"},
           {"eth(dst=02:00:00:00:00:08)", 0, "020000000008020000000001"},
           {"eth(src=02:00:00:00:00:09)", 0, "020000000002020000000009"},
           {"ether/dot1q(id=4)/ip/udp", 12, "81000004080045"},
       }) {
    const Bytes frame = frame_of(place.headers);
    const std::size_t size = std::string_view(place.bytes).size() / 2;
    EXPECT_EQ(hex(std::span(frame).subspan(place.at, size)), place.bytes)
        << place.headers << " at " << place.at;
  }
  EXPECT_NE(number_at(frame_of("ipv4/udp(checksum=1)"), 40), 0U);
}

TEST(HeaderFields, VaryByTheirStepFromTheFirstToTheLast) {
  const auto ids = [](const std::string& value) {
    std::vector<unsigned> all;
    for (std::uint64_t n = 0; n < 4; ++n) {
      all.push_back(number_at(frame_of("ipv4(id=" + value + ")", n), 18));
    }
    return all;
  };
  EXPECT_EQ(ids("inc(10,25,7)"), (std::vector<unsigned>{10, 17, 24, 10}));
  EXPECT_EQ(ids("dec(10,25,7)"), (std::vector<unsigned>{24, 17, 10, 24}));
  EXPECT_EQ(ids("inc(5,5)"), (std::vector<unsigned>{5, 5, 5, 5}));
  std::set<unsigned> random;
  for (std::uint64_t n = 0; n < 60; ++n) {
    random.insert(number_at(frame_of("ipv4(id=random(10,25,7))", n), 18));
  }
  EXPECT_EQ(random, (std::set<unsigned>{10, 17, 24}));
}

/// A capture of frames, and headers that begin with one of them.
class HeadersOfACapture : public testing::Test {
 protected:
  void record(const std::vector<Bytes>& frames) const {
    PcapWriter writer = PcapWriter::create(path).value();
    for (const Bytes& frame : frames) {
      const FrameView view(frame.data(), frame.size());
      ASSERT_EQ(writer.send({&view, 1}).taken, 1U);
    }
  }
  test::TempDir dir;
  std::string path = dir.file("frames.pcap");
};

TEST_F(HeadersOfACapture, AreThoseOfItsFirstFrameUnlessItSaysWhich) {
  record({frame_of("ipv4(ttl=1)/udp"), frame_of("ipv4(ttl=2)/udp")});
  EXPECT_EQ(frame_of("pcap(" + path + ")")[22], std::byte{1});
  EXPECT_EQ(frame_of("pcap(" + path + ",1)")[22], std::byte{1});
  EXPECT_EQ(frame_of("pcap(" + path + ",2)")[22], std::byte{2});
  EXPECT_NE(why("pcap(" + path + ",3)").find("there is no frame 3"), std::string::npos);
  EXPECT_NE(why("pcap(" + path + ",0)").find("pcap needs a path"), std::string::npos);
  EXPECT_NE(why("pcap(" + path + ")/tcp").find("too few layers of type tcp"), std::string::npos);
  EXPECT_NE(why("pcap(" + path + ")/vlan").find("too few layers of type vlan"), std::string::npos);
}

TEST_F(HeadersOfACapture, AreOfNoFragmentAndOfUdpOrTcpAlone) {
  Bytes more = frame_of("ipv4/udp");
  more[20] = std::byte{0x20};
  Bytes offset = frame_of("ipv4/udp");
  offset[21] = std::byte{1};
  Bytes far = frame_of("ipv4/udp");
  far[20] = std::byte{0x1f};  // and its last eight bits are 0
  Bytes options = frame_of("ipv4/udp");
  options[14] = std::byte{0x46};
  Bytes tcp_options = frame_of("ipv4/tcp");
  tcp_options[46] = std::byte{0x60};
  record({frame_of("ipv4(df=1)/udp"), more, offset, options, frame_of("ipv4"), frame_of("vlan"),
          tcp_options, far});
  EXPECT_EQ(frame_of("pcap(" + path + ",1)")[20], std::byte{0x40}) << "that is no fragment";
  for (int number = 2; number <= 8; ++number) {
    const std::string text = std::to_string(number);
    EXPECT_NE(why("pcap(" + path + ',' + text + ')').find("frame " + text), std::string::npos);
    EXPECT_NE(why("pcap(" + path + ',' + text + ')').find("is not UDP or TCP"), std::string::npos);
  }
}

}  // namespace
}  // namespace shmif::perf
