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
  void serve_and_fetch(std::vector<std::string> server_options,
                       std::vector<std::string> client_options, const std::string& address) {
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
    ASSERT_EQ(line.find(":0"), std::string::npos) << "a checksum is wrong: " << line;
  }
  EXPECT_GT(full, 100U);
}

TEST_P(ExecOffload, TcpOverIpv6CrossesInSuperFrames) {
  serve_and_fetch({}, {}, "[fd00::1]");
  EXPECT_GT(mean_, 1514);
}

TEST_P(ExecOffload, AHostThatTakesNoneGetsWholeFramesFromOneThatSendsThem) {
  serve_and_fetch({}, {"--no-offload"}, "198.18.0.1");
  EXPECT_GT(mean_, 1514);
}

TEST_P(ExecOffload, AHostThatSendsNoneSendsFramesOfTheMtu) {
  serve_and_fetch({"--no-offload"}, {}, "198.18.0.1");
  EXPECT_LE(mean_, 1514);
  EXPECT_GT(mean_, 1000);
}

TEST_P(ExecOffload, ARingThatHoldsNoSuperFramesCarriesTcpAllTheSame) {
  remake_bus({.ring_bytes = 256U << 10U});
  serve_and_fetch({}, {}, "198.18.0.1");
  EXPECT_LE(mean_, 1514);
}

TEST_P(ExecOffload, AJumboBusCarriesThemToo) {
  remake_bus({.ring_bytes = 2U << 20U, .mtu = 9000});
  serve_and_fetch({}, {}, "198.18.0.1");
  EXPECT_GT(mean_, 9014);
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

TEST_P(ExecOffload, DatagramsThatOneCallSendsArriveOneByOne) {
  // UDP_SEGMENT (103): the kernel may leave cutting up a buffer to the device.
  const auto receiver =
      start("sink",
            "exec python3 -c \"import socket\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.bind(('', 4000)); s.settimeout(20); print('bound', flush=True)\n"
            "got = [s.recv(65536) for _ in range(30)]\n"
            "print('sound' if [len(g) for g in got] == [1000] * 30 and b''.join(got) == "
            "bytes(i // 1000 for i in range(30000)) else 'wrong', flush=True)\"",
            {"--ip", "198.18.0.1/24"});
  ASSERT_TRUE(receiver->wait_for("bound"));
  const ToolResult sent = run_shell(
      "python3 -c \"import socket\n"
      "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
      "s.connect(('198.18.0.1', 4000)); s.setsockopt(17, 103, 1000)\n"
      "s.send(bytes(i // 1000 for i in range(30000)))\"",
      {"--ip", "198.18.0.2/24"});
  EXPECT_EQ(sent.status, 0) << sent.err;
  EXPECT_TRUE(receiver->wait_for("sound"));
}

// A batch of them may be written to the receiver's device as one. Each burst has an answer, so that
// no queue overflows. The first is a single datagram: while Linux asks who has the address, it
// keeps datagrams back, and those that come meanwhile may overtake them.
TEST_P(ExecOffload, DatagramsThatManyCallsSendArriveOneByOneInOrder) {
  const std::string bursts =
      "import socket, random, sys\n"
      "r = random.Random(1)\n"
      "bursts = [[b'hello']]\n"
      "for i in range(80):\n"
      "  size = r.choice([1, 18, 19, 333, 1400])\n"
      "  bursts.append([r.randbytes(size) for _ in range(20)] + [r.randbytes(r.randint(1, "
      "size))])\n"
      "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(20)\n";
  for (const bool offload : {true, false}) {
    std::vector<std::string> options{"--ip", "198.18.0.1/24", "--ip", "fd00::1/64"};
    if (!offload) options.emplace_back("--no-offload");
    const auto receiver =
        start(offload ? "sink" : "plain",
              "exec python3 -c \"" + bursts +
                  "s.bind(('::', 4000)); print('bound', flush=True)\n"
                  "for wanted in 2 * bursts:\n"
                  "  got = [s.recvfrom(65536) for _ in wanted]\n"
                  "  assert [g[0] for g in got] == wanted\n"
                  "  s.sendto(b'go on', got[0][1])\n"
                  "name = [n for _, n in socket.if_nameindex() if n != 'lo'][0]\n"
                  "path = '/sys/class/net/' + name + '/statistics/rx_packets'\n"
                  "packets = int(open(path).read())\n"
                  "print('sound, in packets:', 'all' if packets >= 3362 else 'few', flush=True)\n"
                  "s.recv(1)\"",
              options);
    ASSERT_TRUE(receiver->wait_for("bound"));
    const ToolResult sent = run_shell("python3 -c \"" + bursts +
                                          "for to in ('::ffff:198.18.0.1', 'fd00::1'):\n"
                                          "  s.connect((to, 4000))\n"
                                          "  for burst in bursts:\n"
                                          "    for d in burst: s.send(d)\n"
                                          "    assert s.recv(10) == b'go on'\n"
                                          "  s.close(); s = socket.socket(s.family, s.type)\n"
                                          "  s.settimeout(20)\"",
                                      {"--ip", "198.18.0.2/24", "--ip", "fd00::2/64"});
    EXPECT_EQ(sent.status, 0) << sent.err;
    EXPECT_TRUE(receiver->wait_for(offload ? "sound" : "sound, in packets: all"));
  }
}

TEST_P(ExecOffload, TcpWithTheLeastMssOfLinuxCrossesInSuperFramesToo) {
  const auto server =
      start("sink",
            "ip route change 198.18.0.0/24 dev $(ls /sys/class/net | grep -v lo) advmss 48; "
            "exec python3 -c \"import socket\n"
            "s = socket.create_server(('', 4000)); print('bound', flush=True)\n"
            "c = s.accept()[0]; got = 0\n"
            "while data := c.recv(65536): got += len(data)\n"
            "print('all' if got == 300000 else 'some', flush=True)\"",
            {"--ip", "198.18.0.1/24"});
  ASSERT_TRUE(server->wait_for("bound"));
  const auto client =
      start("source",
            "python3 -c \"import socket\n"
            "c = socket.create_connection(('198.18.0.1', 4000))\n"
            "print(c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)\n"
            "c.sendall(bytes(300000)); c.close()\"; echo sent; exec sleep 600",
            {"--ip", "198.18.0.2/24"});
  EXPECT_TRUE(server->wait_for("all"));
  ASSERT_TRUE(client->wait_for("sent"));
  unsigned mss = 0;
  std::istringstream(client->so_far().out) >> mss;
  ASSERT_GT(mss, 0U);
  EXPECT_LE(mss, 76U) << "36 bytes and 12 of options; Linux 6.1 takes no less than 88 in all";
  // A port counts a batch when it has passed it on.
  EXPECT_TRUE(eventually([&] { return port("source")->tx_segments >= 300'000U / mss; }));
  const auto source = port("source");
  ASSERT_TRUE(source);
  EXPECT_EQ(source->refused_frames, 0U);
  // On a slow machine the kernel makes super-frames of two or three of these segments.
  EXPECT_GT(source->tx_segments, source->tx_frames * 3 / 2) << "the kernel cut them up itself";
}

TEST_P(ExecOffload, WhatAGuestWantsCutIntoTooManyFramesIsRefusedAndShown) {
  // A packet socket with virtio_net_hdr (PACKET_VNET_HDR, 15): 60,000 bytes of TCP, one byte each.
  const ToolResult sent = run_shell(
      "python3 -c \"import os, socket, struct\n"
      "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
      "s.bind(([i for i in os.listdir('/sys/class/net') if i != 'lo'][0], 0))\n"
      "s.setsockopt(263, 15, 1)\n"
      "ip = struct.pack('!BBHHHBBH8s', 69, 0, 60040, 1, 0, 64, 6, 0, bytes(8))\n"
      "tcp = struct.pack('!HHIIBBHHH', 1, 2, 3, 4, 80, 16, 100, 0, 0)\n"
      "for i in range(5):\n"
      "  s.send(struct.pack('=BBHHHH', 1, 1, 54, 1, 34, 16) + bytes([255]) * 6 + bytes([2]) * 6 +\n"
      "         b'\\x08\\x00' + ip + tcp + bytes(60000))\" && sleep 0.3 && " +
          shmifctl_path() + " stat " + bus() + " --json",
      {"--ip", "198.18.0.2/24", "--name", "guest"});
  EXPECT_EQ(sent.status, 0) << sent.err;
  EXPECT_NE(sent.out.find("\"refused_frames\": 5"), std::string::npos) << sent.out;
  EXPECT_LT(Bus::open(bus()).value().info().frames, 100U);
}

}  // namespace
}  // namespace shmif::test
