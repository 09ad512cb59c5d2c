// Headers of layers 2 to 4: what each frame has, right sums, and what tshark says of them.

#include "perf/frame/header_template.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "perf/frame/frame_maker.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using test::flow_to;
using test::job_of;
using test::passed;
using test::run_text;
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

/// The frames of `headers` as the maker makes them, of sizes that change.
std::vector<std::vector<std::byte>> frames_of(const std::string& headers, std::size_t count) {
  FrameMakerOptions options;
  options.headers = HeaderTemplate::parse(headers).value();
  options.source = MacAddress::from_u64(0x020000000001);
  options.destination = MacAddress::from_u64(0x020000000002);
  options.max_bytes = 300;
  FrameMaker maker(options);
  std::vector<std::vector<std::byte>> frames;
  for (std::size_t n = 0; n < count; ++n) {
    const std::size_t bytes = maker.min_bytes() + n * 7 % 100;
    const FrameView frame = maker.make(n, bytes, {.nonce = 7, .sent_ns = n * 1000});
    frames.emplace_back(frame.bytes.begin(), frame.bytes.end());
    EXPECT_TRUE(maker.payload_is_as_made(frame.bytes));
  }
  return frames;
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
    for (const auto& frame : frames_of(headers, 200)) {
      const HeaderPlaces p = places_of(frame);
      ASSERT_NE(p.ip, 0U);
      if (!p.v6) {
        EXPECT_EQ(plain_sum(std::span(frame).subspan(p.ip, 20)), 0xffffU);
      }
      EXPECT_TRUE(transport_checksum_is_right(frame, p));
      const ProbeReading reading = read_probe(frame, probe_place(frame));
      EXPECT_EQ(reading.finding, Finding::whole);
      if (p.transport == 0) continue;
      // Once more by the book: pseudo header, header and data.
      const auto length = static_cast<std::uint32_t>(frame.size() - p.transport);
      const auto addresses =
          p.v6 ? std::span(frame).subspan(p.ip + 8, 32) : std::span(frame).subspan(p.ip + 12, 8);
      std::uint32_t sum = plain_sum(addresses) + length + (p.tcp ? 6 : 17) +
                          plain_sum(std::span(frame).subspan(p.transport));
      while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
      EXPECT_EQ(sum, 0xffffU);
    }
  }
}

// RFC 768: a sum that is 0 is sent as its complement, for 0 says that there is none.
TEST(HeaderTemplate, AUdpSumThatIsZeroIsWrittenAsAllOnes) {
  FrameMakerOptions options;
  options.headers = HeaderTemplate::parse("ipv4/udp").value();
  FrameMaker maker(options);
  bool all_ones = false;
  for (std::size_t n = 0; n < 1'000'000 && !all_ones; ++n) {
    const FrameView frame = maker.make(n, maker.min_bytes(), {.nonce = 7, .sent_ns = n});
    const std::byte* const sum = &frame.bytes[14 + 20 + 6];
    ASSERT_FALSE(sum[0] == std::byte{0} && sum[1] == std::byte{0}) << "frame " << n;
    all_ones = sum[0] == std::byte{0xff} && sum[1] == std::byte{0xff};
  }
  EXPECT_TRUE(all_ones) << "no frame had that sum";
}

TEST(HeaderTemplate, AnyBitThatChangesBehindTheAddressesIsFound) {
  const auto frame = frames_of("vlan(prio=5,id=7)/ipv4/udp", 1)[0];
  for (std::size_t bit = 12 * 8; bit < frame.size() * 8; ++bit) {
    auto damaged = frame;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    const ProbeReading reading = read_probe(damaged, probe_place(damaged));
    const bool found = reading.finding != Finding::whole ||
                       !transport_checksum_is_right(damaged, places_of(damaged));
    EXPECT_TRUE(found) << "bit " << bit;
  }
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
  EXPECT_NE(why("udp/ipv4").find("do not fit together"), std::string::npos);
  EXPECT_NE(why("vlan(id=inc(5,4))").find("vlan.id: inc needs the least"), std::string::npos);
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

}  // namespace
}  // namespace shmif::perf
