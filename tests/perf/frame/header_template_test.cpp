// Headers of layers 2 to 4: what each frame has, right sums, and what tshark says of them.

#include "perf/frame/header_template.hpp"

#include <array>
#include <cstdio>
#include <set>
#include <span>
#include <sstream>
#include <string_view>

#include "perf/frame/frame_maker.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/run_tool.hpp"

namespace shmif::perf {
namespace {

using Bytes = std::vector<std::byte>;
using Rows = std::vector<std::vector<std::string>>;

/// A sum of 16-bit words as RFC 1071 has it, of big-endian bytes.
std::uint32_t plain_sum(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8U : 0U);
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return sum;
}

FrameMaker maker_of(const std::string& headers) {
  FrameMakerOptions options;
  options.headers = HeaderTemplate::parse(headers).value();
  options.source = MacAddress::from_u64(0x020000000001);
  options.destination = MacAddress::from_u64(0x020000000002);
  options.max_bytes = 300;
  return FrameMaker(options);
}

/// Frame number `number` with `headers`, of 200 bytes.
Bytes frame_of(const std::string& headers, std::uint64_t number = 0) {
  FrameMaker maker = maker_of(headers);
  const FrameView frame = maker.make(number, 200, {.nonce = 7});
  return {frame.bytes.begin(), frame.bytes.end()};
}

TEST(HeaderTemplate, SumsAreRightForEveryKindSizeAndValue) {
  for (const std::string headers :
       {"ipv4(src=inc(198.18.0.1,198.18.0.9))/udp(sport=random(1024,65535))",
        "vlan/vlan(id=inc(1,4094),prio=random(0,7))/ipv4(id=inc(0,65535),ttl=random(1,255))/"
        "tcp(seq=inc(0,9999,3))",
        "ipv6(src=inc(fd00::1,fd00::ff),flow=random(0,1048575))/udp",
        "ipv6(dscp=inc(0,63),flow=random(0,9),dst=inc(fd00::ff,fd00::1ff))/"
        "tcp(flags=PA,ack=random(1,4294967295))",
        "ipv4(dscp=inc(0,63),ecn=random(0,3),df=random(0,1))/"
        "tcp(flags=inc(0,255),window=dec(0,65535,7),dport=random(0,65535))",
        "vlan/ipv4(dscp=dec(0,63),dst=random(0.0.0.0,255.255.255.255))/udp(dport=dec(0,65535))",
        "ipv6(hlim=inc(0,255),ecn=inc(0,3),src=random(::,::ffff:ffff))/udp(sport=inc(0,65535,99))",
        "ipv4(df=1)"}) {
    SCOPED_TRACE(headers);
    FrameMaker maker = maker_of(headers);
    for (std::uint64_t n = 0; n < 200; ++n) {
      const std::span<const std::byte> frame =
          maker.make(n, maker.min_bytes() + n * 7 % 100, {.nonce = 7, .sent_ns = n * 1000}).bytes;
      EXPECT_TRUE(maker.payload_is_as_made(frame));
      const HeaderPlaces p = places_of(frame);
      ASSERT_NE(p.ip, 0U);
      if (!p.v6) {
        EXPECT_EQ(plain_sum(frame.subspan(p.ip, 20)), 0xffffU);
      }
      EXPECT_TRUE(transport_checksum_is_right(frame, p));
      const ProbeReading reading = read_probe(frame, probe_place(frame));
      EXPECT_EQ(reading.finding, Finding::whole);
      if (p.transport == 0) continue;
      // Once more by the book: pseudo header, header and data.
      const auto length = static_cast<std::uint32_t>(frame.size() - p.transport);
      const auto addresses = p.v6 ? frame.subspan(p.ip + 8, 32) : frame.subspan(p.ip + 12, 8);
      std::uint32_t sum =
          plain_sum(addresses) + length + (p.tcp ? 6 : 17) + plain_sum(frame.subspan(p.transport));
      while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
      EXPECT_EQ(sum, 0xffffU);
    }
  }
}

// RFC 768: a sum that is 0 is sent as its complement, for 0 says that there is none.
TEST(HeaderTemplate, AUdpSumThatIsZeroIsWrittenAsAllOnes) {
  FrameMaker maker = maker_of("ipv4/udp");
  bool all_ones = false;
  for (std::size_t n = 0; n < 1'000'000 && !all_ones; ++n) {
    const FrameView frame = maker.make(n, maker.min_bytes(), {.nonce = 7, .sent_ns = n});
    const std::byte* const sum = &frame.bytes[14 + 20 + 6];
    ASSERT_FALSE(sum[0] == std::byte{0} && sum[1] == std::byte{0}) << "frame " << n;
    all_ones = sum[0] == std::byte{0xff} && sum[1] == std::byte{0xff};
  }
  EXPECT_TRUE(all_ones) << "no frame had that sum";
}

TEST(HeaderTemplate, ErrorsNameTheFieldAndHowToWriteIt) {
  const auto why = [](const char* text) {
    const auto read = HeaderTemplate::parse(text);
    return read ? "read" : read.error().message;
  };
  EXPECT_EQ(why("ipv4(ttl=256)"), "headers: ipv4.ttl is at most 255");
  EXPECT_NE(why("ipv4(src=1.2.3)").find("ipv4.src: \"1.2.3\" is not a value (an IPv4 address"),
            std::string::npos);
  EXPECT_NE(why("ipv4(tos=1)").find("\"tos=1\" is not a field of ipv4 (dscp, ecn, id"),
            std::string::npos);
  EXPECT_NE(why("ospf").find("\"ospf\" is not a layer"), std::string::npos);
  EXPECT_NE(why("udp").find("do not fit together"), std::string::npos);
  for (const char* text : {"udp/ipv4", "eth/eth", "ipv4/ipv6", "ipv4/udp/tcp",
                           "vlan/vlan/vlan/vlan/vlan/vlan/vlan/vlan/vlan"}) {
    EXPECT_NE(why(text).find("do not fit together"), std::string::npos) << text;
  }
  for (const char* text : {"5,4", "5", "1,2,3,4", "x,4", "1,x", "1,2,x", "1,2,0"}) {
    EXPECT_NE(why(("vlan(id=inc(" + std::string(text) + "))").c_str()).find("inc needs the least"),
              std::string::npos)
        << text;
  }
  EXPECT_EQ(why("vlan(id=inc(1,4096))"), "headers: vlan.id is at most 4095");
  for (const char* text :
       {"eth(src=2)", "ipv6(src=1.1.1.1)", "ipv4/tcp(flags=X)", "ipv4/tcp(flags=)"}) {
    EXPECT_NE(why(text).find("is not a value"), std::string::npos) << text;
  }
  EXPECT_NE(why("ipv4(ttl)").find("\"ttl\" is not a field of ipv4"), std::string::npos);
  EXPECT_NE(why("eth(type=inc(1,2))").find("eth.type must be the same in all frames"),
            std::string::npos);
  EXPECT_NE(why("eth(type=1)/ipv4").find("must name the next header"), std::string::npos);
  EXPECT_NE(why("ipv4(src=1.1.1.1").find("has no closing parenthesis"), std::string::npos);
  EXPECT_NE(why("ipv6/udp(checksum=0)").find("UDP over IPv6 always has a checksum"),
            std::string::npos);
  EXPECT_NE(why("ipv6(src=inc(fd00::1,fd01::1))").find("begin with the same 64 bits"),
            std::string::npos);
  EXPECT_NE(why("pcap(/nonexistent)").find("/nonexistent"), std::string::npos);
}

/// What tshark finds in a capture, a row for each frame.
Rows tshark(const std::string& path, const std::vector<std::string>& fields) {
  std::vector<std::string> words{"tshark", "-r", path,          "-n", "-T",
                                 "fields", "-E", "separator=|", "-E", "occurrence=a"};
  for (const char* sums : {"ip", "udp", "tcp"}) {
    words.insert(words.end(), {"-o", std::string(sums) + ".check_checksum:TRUE"});
  }
  for (const std::string& field : fields) words.insert(words.end(), {"-e", field});
  const test::ToolResult said = test::run_program(words);
  EXPECT_EQ(said.status, 0) << said.err;
  Rows rows;
  std::istringstream text(said.out);
  for (std::string line; std::getline(text, line);) {
    std::vector<std::string>& row = rows.emplace_back();
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, '|');) row.push_back(cell);
  }
  return rows;
}

/// Frames with `headers`, in a capture below `dir`.
std::string capture(const test::TempDir& dir, const std::string& headers) {
  const std::string path = dir.file("frames.pcap");
  const RunResult result = run_text("[j]\nengine=pcap\nnumber_ios=6\nbs=120-130\nfilename=" + path +
                                    "\nheaders=" + headers + '\n');
  EXPECT_TRUE(passed(result));
  return path;
}

TEST(Headers, TsharkReadsTheFieldsThatWereAskedForAndFindsEverySumRight) {
  const test::TempDir dir;
  const std::string path =
      capture(dir,
              "eth(src=inc(02:00:00:00:00:01,02:00:00:00:00:03))/vlan(id=100,prio=5)/"
              "vlan(id=inc(7,8),dei=1)/ipv4(src=dec(198.18.0.1,198.18.0.3),dscp=46,ttl=3)/"
              "udp(sport=inc(1000,1010,5),dport=53)");
  EXPECT_EQ(tshark(path, {"eth.src", "ieee8021ad.id", "ieee8021ad.priority", "vlan.id", "vlan.dei",
                          "ip.src", "ip.dsfield.dscp", "ip.ttl", "udp.srcport", "udp.dstport",
                          "ip.checksum.status", "udp.checksum.status"}),
            (Rows{{"02:00:00:00:00:01", "100", "5", "7", "1", "198.18.0.3", "46", "3", "1000", "53",
                   "1", "1"},
                  {"02:00:00:00:00:02", "100", "5", "8", "1", "198.18.0.2", "46", "3", "1005", "53",
                   "1", "1"},
                  {"02:00:00:00:00:03", "100", "5", "7", "1", "198.18.0.1", "46", "3", "1010", "53",
                   "1", "1"},
                  {"02:00:00:00:00:01", "100", "5", "8", "1", "198.18.0.3", "46", "3", "1000", "53",
                   "1", "1"},
                  {"02:00:00:00:00:02", "100", "5", "7", "1", "198.18.0.2", "46", "3", "1005", "53",
                   "1", "1"},
                  {"02:00:00:00:00:03", "100", "5", "8", "1", "198.18.0.1", "46", "3", "1010", "53",
                   "1", "1"}}));
}

TEST(Headers, OfACaptureAreTakenAndChanged) {
  const test::TempDir dir;
  const std::string before =
      capture(dir, "vlan(id=9)/ipv4(src=198.18.7.7,ttl=11)/udp(sport=inc(5000,5005),dport=6000)");
  const std::string taken = dir.file("taken.pcap");
  const RunResult result =
      run_text("[j]\nengine=pcap\nnumber_ios=2\nbs=120\nfilename=" + taken + "\nheaders=pcap(" +
               before + ",3)/ipv4(dst=inc(198.19.0.5,198.19.0.6))\n");
  ASSERT_TRUE(passed(result));
  EXPECT_EQ(tshark(taken, {"vlan.id", "ip.src", "ip.dst", "ip.ttl", "udp.srcport", "udp.dstport",
                           "udp.checksum.status"}),
            (Rows{{"9", "198.18.7.7", "198.19.0.5", "11", "5002", "6000", "1"},
                  {"9", "198.18.7.7", "198.19.0.6", "11", "5002", "6000", "1"}}));
  EXPECT_EQ(HeaderTemplate::parse("pcap(" + before + ",7)").error().message,
            "headers: there is no frame 7 of \"" + before + '"');
}

TEST(Headers, LatencyAndVerificationAreOfTheSameFrames) {
  // Over a bus, with faults: each frame has one fate, though headers are damaged, too.
  const RunResult result = run_text(
      "[j]\nengine=bus\nbus_size=16m\nrate_iops=20k\nnumber_ios=4000\nbs=100-200\n"
      "verify=regenerate\ncontinue_on_error=verify\n"
      "fault=loss=2%,corrupt=10%,duplicate=3%,seed=7\n"
      "headers=vlan(id=inc(1,99))/ipv4(src=random(198.18.0.1,198.18.0.99))/"
      "udp(sport=inc(1,999))\n");
  ASSERT_TRUE(passed(result));
  ASSERT_EQ(result.links.size(), 1U);
  const FaultCounters& faults = result.links[0].faults;
  const FlowResult& flow = flow_to(result, "j.sink");
  EXPECT_EQ(flow.lost, faults.lost);
  EXPECT_EQ(flow.corrupt + flow.corrupt_copies, faults.corrupted);
  EXPECT_GT(flow.corrupt, 200U);
  EXPECT_EQ(job_of(result, "j.sink").rx.foreign_frames, 0U);
  EXPECT_GE(job_of(result, "j.sink").latency->count(), 3000U);
}

// ---- Fields ----

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
           {"ipv4()", 26, "c6120001c6130001"},
           {"ipv4/tcp(seq=0XFF)", 38, "000000ff00000000"},
           {"ipv6(dst=fd00::1:0:0:9)", 38, "fd000000000000000001000000000009"},
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
  for (const std::string& inside : {path + ",0", path + ",x", path + ",1,2", std::string()}) {
    EXPECT_NE(why("pcap(" + inside + ")").find("pcap needs a path"), std::string::npos) << inside;
  }
  EXPECT_NE(why("pcap(" + path + ")/tcp").find("too few layers of type tcp"), std::string::npos);
  EXPECT_NE(why("pcap(" + path + ")/vlan").find("too few layers of type vlan"), std::string::npos);
}

TEST_F(HeadersOfACapture, MayBeOfIpv6AndOfTcp) {
  record({frame_of("vlan(id=9)/ipv6(hlim=7)/tcp(sport=5)")});
  const Bytes frame = frame_of("pcap(" + path + ")/vlan(prio=1)/ipv6/tcp(dport=6)");
  EXPECT_EQ(hex(std::span(frame).subspan(12, 6)), "8100200986dd");
  EXPECT_EQ(hex(std::span(frame).subspan(24, 2)), "0607");
  EXPECT_EQ(hex(std::span(frame).subspan(58, 4)), "00050006");
  EXPECT_TRUE(transport_checksum_is_right(frame, places_of(frame)));
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
