// Hosts leave segmentation and checksums to whoever takes their frames: other hosts take them as
// they are, and captures hear the frames they stand for.

#include <fstream>
#include <random>
#include <sstream>

#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

class ExecOffload : public ExecRig {
 protected:
  static constexpr std::size_t kBytes = 4U << 20U;

  /// A file that everybody may read.
  std::string data() const {
    std::mt19937_64 random(1);
    std::string bytes(kBytes, '\0');
    for (std::size_t at = 0; at < kBytes; at += 8) {
      const std::uint64_t word = random();
      bytes.replace(at, 8, reinterpret_cast<const char*>(&word), 8);
    }
    std::ofstream(file("data"), std::ios::binary) << bytes;
    return file("data");
  }
  void remake_bus(BusOptions options) const {
    options.mode = 0666;
    Bus::destroy(bus(), true).value();
    Bus::create(file("bus"), options).value();
  }
  static std::string sha_of(const std::string& path) {
    return run_program({"sha256sum", path}).out.substr(0, 64);
  }
  /// Bytes of a mean frame that the port sent.
  double mean_sent(const std::string& name) const {
    const auto info = port(name);
    return info && info->tx_frames != 0
               ? static_cast<double>(info->tx_bytes) / static_cast<double>(info->tx_frames)
               : 0;
  }
  void serve_and_fetch(Words server_options, Words client_options, const std::string& address) {
    const std::string expected = sha_of(data());
    server_options.insert(server_options.end(), {"--ip", "198.18.0.1/24", "--ip", "fd00::1/64"});
    client_options.insert(client_options.end(), {"--ip", "198.18.0.2/24", "--ip", "fd00::2/64"});
    const auto server = start("web", "cd " + file(".") + "; exec busybox httpd -f -p '[::]:80'",
                              std::move(server_options));
    const ToolResult got =
        run_shell("curl -sS --retry 20 --retry-connrefused --retry-delay 0 http://" + address +
                      "/data | sha256sum",
                  std::move(client_options));
    EXPECT_EQ(got.out.substr(0, 64), expected) << got.err;
    mean_ = mean_sent("web");
  }
  double mean_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Each, ExecOffload, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecOffload, TcpCrossesInSuperFramesAndACaptureShowsTheFramesTheyStandFor) {
  if (!has_program("tshark")) GTEST_SKIP() << "no tshark here";
  const std::string capture = file("capture.pcap");
  Tool dump({shmifctl_path(), "dump", bus(), "-w", capture});
  ASSERT_TRUE(eventually([&] { return !Bus::open(bus()).value().info().ports.empty(); }));
  serve_and_fetch({}, {}, "198.18.0.1");
  EXPECT_GT(mean_, 1514) << "the kernel cut them up itself";
  dump.signal(SIGINT);
  dump.finish();
  // A line for each frame: its length, and the verdicts on its checksums (0: wrong, 1: right).
  const ToolResult shown =
      run_program({"tshark", "-r", capture, "-o", "tcp.check_checksum:TRUE", "-o",
                   "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=:", "-e", "frame.len",
                   "-e", "tcp.checksum.status", "-e", "ip.checksum.status"});
  ASSERT_EQ(shown.status, 0) << shown.err;
  std::istringstream lines(shown.out);
  unsigned full = 0;
  for (std::string line; std::getline(lines, line);) {
    ASSERT_LE(std::stoul(line), 1514U) << line;
    full += line == "1514:1:1" ? 1U : 0U;
    ASSERT_FALSE(contains(line, ":0")) << "a checksum is wrong";
  }
  EXPECT_GT(full, 100U);
}

TEST_P(ExecOffload, TcpArrivesWholeInSuperFramesWhereBothAndTheRingTakeThem) {
  struct Case {
    const char* address;
    Words server, client;
    BusOptions bus;
    double least, most;  ///< of the mean frame
  };
  const BusOptions usual{.ring_bytes = 1U << 20U};
  constexpr double kSuper = 65'536;
  for (const Case& each :
       {Case{"[fd00::1]", {}, {}, usual, 1515, kSuper},
        {"198.18.0.1", {}, {"--no-offload"}, usual, 1515, kSuper},
        {"198.18.0.1", {"--no-offload"}, {}, usual, 1000, 1514},
        {"198.18.0.1", {}, {}, {.ring_bytes = 256U << 10U}, 1, 1514},
        {"198.18.0.1", {}, {}, {.ring_bytes = 2U << 20U, .mtu = 9000}, 9015, kSuper}}) {
    remake_bus(each.bus);
    serve_and_fetch(each.server, each.client, each.address);
    EXPECT_GE(mean_, each.least) << each.address << ' ' << each.bus.ring_bytes;
    EXPECT_LE(mean_, each.most) << each.address << ' ' << each.bus.ring_bytes;
  }
}

TEST_P(ExecOffload, TcpInsideOfATunnelArrives) {
  if (run_program(
          {"unshare", "-n", "ip", "link", "add", "type", "vxlan", "id", "5", "dstport", "4789"})
          .status != 0) {
    GTEST_SKIP() << "no VXLAN here";
  }
  const std::string expected = sha_of(data());
  const auto tunnel = [](const std::string& from, const std::string& to, const std::string& inner) {
    return "ip link add vx0 type vxlan id 5 local " + from + " remote " + to +
           " dstport 4789 && ip addr add " + inner + "/24 dev vx0 && ip link set vx0 up && ";
  };
  const auto server = start("web",
                            tunnel("198.18.0.1", "198.18.0.2", "198.19.0.1") + "cd " + file(".") +
                                "; exec busybox httpd -f -p 80",
                            {"--ip", "198.18.0.1/24"});
  const ToolResult got = run_shell(tunnel("198.18.0.2", "198.18.0.1", "198.19.0.2") +
                                       "curl -sS --retry 20 --retry-connrefused --retry-delay 0 "
                                       "--max-time 60 http://198.19.0.1/data | sha256sum",
                                   {"--ip", "198.18.0.2/24"});
  EXPECT_EQ(got.out.substr(0, 64), expected) << got.err;
}

}  // namespace
}  // namespace shmif::test
