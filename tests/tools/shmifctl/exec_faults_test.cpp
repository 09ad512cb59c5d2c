// shmifctl exec --fault: the line of a host loses, delays and limits what really crosses it.

#include <algorithm>
#include <sstream>

#include "shmif/faults.hpp"
#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

class ExecFaults : public ExecRig {
 protected:
  /// A host that answers at 198.18.0.1, and waits.
  std::unique_ptr<Tool> start_peer() const {
    const std::string ready = file("ready");
    auto host = start("peer", "touch " + ready + " && exec sleep 600", {"--ip", "198.18.0.1/24"});
    EXPECT_TRUE(eventually([&] { return ::access(ready.c_str(), F_OK) == 0; }));
    return host;
  }
  /// The numbers of the datagrams that reach the bus from a host that sends 200 of them to all.
  std::vector<unsigned> heard(const std::string& faults) const {
    constexpr std::uint16_t kCounted = 4000;
    constexpr unsigned kLast = 0xffff;
    constexpr std::size_t kPortAt = 36, kNumberAt = 42;
    Port ear = port_on(bus(), {.promiscuous = true});
    const ToolResult sent =
        run({"python3", "-c",
             "import socket, struct\n"
             "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
             "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
             "for i in range(1, 201): s.sendto(struct.pack('!H', i) + bytes(50), ('198.18.0.255', "
             "4000))\n"
             "s.sendto(struct.pack('!H', 0xffff) + bytes(50), ('198.18.0.255', 4001))\n"},
            {"--ip", "198.18.0.2/24", "--fault", faults});
    EXPECT_EQ(sent.status, 0) << sent.err;
    std::vector<unsigned> numbers;
    FrameBatch batch;
    EXPECT_TRUE(eventually([&] {
      batch.clear();
      EXPECT_FALSE(ear.receive(batch).error);
      for (const FrameView& f : batch.frames()) {
        if (f.size() < kNumberAt + 2) continue;
        const auto at = [&f](std::size_t i) {
          return std::to_integer<unsigned>(f.bytes[i]) << 8U |
                 std::to_integer<unsigned>(f.bytes[i + 1]);
        };
        if (at(12) != 0x0800 || std::to_integer<unsigned>(f.bytes[23]) != 17) continue;
        if (at(kNumberAt) == kLast) return true;
        if (at(kPortAt) == kCounted) numbers.push_back(at(kNumberAt));
      }
      return false;
    })) << "the datagram that no fault hits did not come";
    return numbers;
  }
};

std::vector<ExecSetting> settings_of_faults() {
  std::vector<ExecSetting> all = exec_settings();
  if (all.size() > 2) all.resize(2);  // who calls makes no difference here
  return all;
}
INSTANTIATE_TEST_SUITE_P(Each, ExecFaults, ::testing::ValuesIn(settings_of_faults()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecFaults, ADelayOfEachWayIsInEachRoundTrip) {
  const auto peer = start_peer();
  const ToolResult pinged =
      run_shell("ping -c 5 -i 0.2 198.18.0.1", {"--ip", "198.18.0.2/24", "--fault", "delay=20ms"});
  ASSERT_EQ(pinged.status, 0) << pinged.out << pinged.err;
  unsigned answers = 0;
  for (std::size_t at = 0; (at = pinged.out.find("time=", at)) != std::string::npos; ++at) {
    EXPECT_GE(std::atof(pinged.out.c_str() + at + 5), 40.0) << pinged.out;
    ++answers;
  }
  EXPECT_EQ(answers, 5U) << pinged.out;
}

TEST_P(ExecFaults, AFaultOfOneWayLeavesTheOtherAlone) {
  const auto peer = start_peer();
  const auto ping = [&](const std::string& name, const std::string& faults) {
    return run_shell("ping -c 2 -i 0.2 -W 1 198.18.0.1; sleep 0.3; " +
                         std::string(shmifctl_path()) + " stat " + bus() + " --json",
                     {"--ip", "198.18.0.2/24", "--name", name, "--fault", faults});
  };
  const auto tx_of = [](const std::string& json, const std::string& name) {
    const std::size_t at = json.find("\"name\": \"" + name + '"');
    const std::size_t tx = json.find("\"tx_frames\": ", at);
    return at == std::string::npos || tx == std::string::npos ? -1
                                                              : std::atoi(json.c_str() + tx + 13);
  };
  const ToolResult in = ping("in", "in:loss=100%");
  EXPECT_TRUE(contains(in.out, " 0 received"));
  // exec itself asks twice whether another host has the address.
  EXPECT_GT(tx_of(in.out, "in"), 2) << "it asks, and the answers are lost";
  const ToolResult out = ping("out", "out:loss=100%");
  EXPECT_TRUE(contains(out.out, " 0 received"));
  EXPECT_LE(tx_of(out.out, "out"), 2) << out.out;
  const ToolResult none = ping("none", "none");
  EXPECT_TRUE(contains(none.out, " 2 received"));
}

TEST_P(ExecFaults, ExactlyTheFramesThatAreNamedAreLost) {
  if (!match_frames("udp")) GTEST_SKIP() << match_frames("udp").error().message;
  std::vector<unsigned> expected;
  for (unsigned i = 1; i <= 200; ++i) {
    if (i != 3 && (i < 60 || i > 62) && i != 200) expected.push_back(i);
  }
  EXPECT_EQ(heard("out:match='udp port 4000',drop=3,60-62,200"), expected);
}

/// Sends 6 MB to whoever connects; then prints how many segments TCP sent again.
constexpr const char* kSource =
    "python3 -c \"import socket\n"
    "s = socket.create_server(('', 4000)); print('bound', flush=True)\n"
    "c = s.accept()[0]; c.sendall(bytes(range(251)) * 25000)\n"
    "c.shutdown(1); c.recv(1)\n"
    "lines = [l.split() for l in open('/proc/net/snmp') if l.startswith('Tcp:')]\n"
    "print('again:', dict(zip(*lines))['RetransSegs'] + ';', flush=True)\"; exec sleep 600";
/// Fetches them from 198.18.0.1; then says whether they are whole.
constexpr const char* kSink =
    "python3 -c \"import socket\n"
    "c = socket.create_connection(('198.18.0.1', 4000)); got = b''\n"
    "parts = iter(lambda: c.recv(1 << 20), b''); got = b''.join(parts)\n"
    "print('whole' if got == bytes(range(251)) * 25000 else 'damaged')\"";

/// The figure behind "again: ".
int sent_again(const std::string& said) {
  const std::size_t at = said.find("again: ");
  return at == std::string::npos ? -1 : std::atoi(said.c_str() + at + 7);
}

TEST_P(ExecFaults, LossHitsTheSegmentsOfSuperFramesAndATransferArrivesWhole) {
  // Faults of what the source sends: segments are on the bus. Faults of what the sink receives:
  // super-frames are on the bus, as without faults.
  for (const bool at_source : {true, false}) {
    SCOPED_TRACE(at_source ? "out" : "in");
    Words source_options{"--ip", "198.18.0.1/24"};
    Words sink_options{"--ip", "198.18.0.2/24"};
    Words& faulty = at_source ? source_options : sink_options;
    faulty.insert(faulty.end(), {"--fault", at_source ? "out:loss=1%" : "in:loss=1%"});
    const auto source = start("source", kSource, source_options);
    ASSERT_TRUE(source->wait_for("bound"));
    const ToolResult sink = run_shell(kSink, sink_options);
    EXPECT_EQ(sink.out, "whole\n") << sink.err;
    ASSERT_TRUE(source->wait_for(";"));
    // 6 MB are 4,334 segments, of which about 43 are lost.
    EXPECT_GT(sent_again(source->so_far().out), 5) << source->so_far().out;
    EXPECT_LT(sent_again(source->so_far().out), 1000) << source->so_far().out;
    const auto sender = port("source");
    ASSERT_TRUE(sender);
    const std::uint64_t mean = sender->tx_bytes / std::max<std::uint64_t>(sender->tx_frames, 1);
    if (at_source) {
      EXPECT_LE(mean, 1514U);
      EXPECT_EQ(sender->tx_segments, sender->tx_frames);
    } else {
      EXPECT_GT(mean, 1514U) << "the ring has super-frames";
    }
  }
}

TEST_P(ExecFaults, ARateIsWhatATransferGets) {
  if (!has_program("iperf3")) GTEST_SKIP() << "no iperf3 here";
  const auto server = start("server", "exec iperf3 -s -1 --forceflush", {"--ip", "198.18.0.1/24"});
  ASSERT_TRUE(server->wait_for("listening"));
  const ToolResult client =
      run_shell("iperf3 -c 198.18.0.1 -t 3 -O 1 -f k | grep receiver",
                {"--ip", "198.18.0.2/24", "--fault", "rate=10Mbit,delay=5ms"});
  ASSERT_EQ(client.status, 0) << client.out << client.err;
  std::istringstream words(client.out);
  double kbit = 0;
  std::string before;
  for (std::string word; words >> word; before = word) {
    if (word == "Kbits/sec") kbit = std::atof(before.c_str());
  }
  // The headers of Ethernet, IP and TCP take 4.4 % of the line.
  EXPECT_GT(kbit, 9000) << client.out;
  EXPECT_LT(kbit, 10'000) << client.out;
}

}  // namespace
}  // namespace shmif::test
