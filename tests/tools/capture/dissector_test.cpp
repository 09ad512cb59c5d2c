// tools/shmif.lua: what Wireshark shows of the frames of shmifperf and of `shmifctl ping`.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "shmif/ping.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/capture/dump_command.hpp"

namespace shmif::test {
namespace {

/// These fields of each frame of a capture.
ToolResult fields_of_frames(const std::string& file, const std::vector<std::string>& fields) {
  std::vector<std::string> words{"tshark", "-n", "-X", "lua_script:" + in_source("tools/shmif.lua"),
                                 "-r",     file, "-T", "fields"};
  for (const std::string& field : fields) words.insert(words.end(), {"-e", field});
  return run_program(words);
}

bool has_tshark() {
  return std::system("command -v tshark >/dev/null 2>&1") == 0;
}

TEST(Dissector, ShowsTheFieldsOfAProbeAndWhetherItsFrameWasChanged) {
  if (!has_tshark()) GTEST_SKIP() << "tshark is not installed";
  const TempDir dir;
  const std::string file = dir.file("x.pcapng");
  const ToolResult run =
      run_program({shmifperf_path(), "run", "--rw=tx", "--bs=300", "--number_ios=3",
                   "--headers=vlan(id=7)/ipv4(src=198.18.0.1,dst=198.18.0.2)/udp(sport=40000,"
                   "dport=inc(40001,40003))",
                   "--write_pcap=" + file, "--output=/dev/null"});
  ASSERT_EQ(run.status, 0) << run.err;
  {
    std::ifstream in(file, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    const std::size_t last = bytes.rfind("sp\x01");
    ASSERT_NE(last, std::string::npos);
    bytes.at(last + 100) ^= '\x01';
    std::ofstream(file, std::ios::binary) << bytes;
  }
  const ToolResult shown = fields_of_frames(
      file, {"udp.dstport", "shmifperf.version", "shmifperf.kind", "shmifperf.flow",
             "shmifperf.length", "shmifperf.sequence", "shmifperf.crc.status"});
  EXPECT_EQ(shown.out,
            "40001\t1\t0\t0\t300\t0\tright\n"
            "40002\t1\t0\t0\t300\t1\tright\n"
            "40003\t1\t0\t0\t300\t2\twrong\n")
      << shown.err;
  // The comment of the recording has the same difference of times.
  const ToolResult late = fields_of_frames(file, {"shmifperf.late_ns", "frame.comment"});
  std::size_t lines = 0;
  for (std::size_t at = 0, end = 0; (end = late.out.find('\n', at)) != std::string::npos;
       at = end + 1, ++lines) {
    const std::string line = late.out.substr(at, end - at);
    EXPECT_TRUE(contains(line, ", sent " + line.substr(0, line.find('\t')) + " ns later")) << line;
  }
  EXPECT_EQ(lines, 3U) << late.err;
}

TEST(Dissector, ShowsTheFieldsOfAPing) {
  if (!has_tshark()) GTEST_SKIP() << "tshark is not installed";
  const TempDir dir;
  std::vector<Bytes> frames;
  for (const PingType type : {PingType::request, PingType::reply}) {
    Bytes bytes(kPingFrameBytes);
    write_ping({.destination = MacAddress::from_u64(0xb2a000000001),
                .source = MacAddress::from_u64(0xb2a000000002),
                .type = type,
                .id = 0x01020304,
                .sequence = 7,
                .sent_ns = 5'000'000'001},
               std::span<std::byte, kPingFrameBytes>(bytes));
    frames.push_back(bytes);
  }
  write_capture(dir.file("x.pcap"), frames);
  const ToolResult shown = fields_of_frames(
      dir.file("x.pcap"),
      {"shmifping.type", "shmifping.id", "shmifping.sequence", "shmifping.sent_ns"});
  EXPECT_EQ(shown.out, "1\t0x01020304\t7\t5000000001\n2\t0x01020304\t7\t5000000001\n") << shown.err;
}

}  // namespace
}  // namespace shmif::test
