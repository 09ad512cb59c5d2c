// What crosses between hosts, and what a stopped host costs the others.

#include <signal.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "shmif/capture/pcap_link.hpp"
#include "shmif/faults.hpp"
#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

class ExecTraffic : public ExecRig {
 protected:
  /// A host whose program runs. From then on it answers, but its ports are up a little before.
  std::unique_ptr<Tool> start_ready(Words options) const {
    const std::string ready = file("ready");
    auto host = start("host", "touch " + ready + " && exec sleep 600", std::move(options));
    EXPECT_TRUE(eventually([&] { return ::access(ready.c_str(), F_OK) == 0; }));
    return host;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, ExecTraffic, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

Bytes frame_to(const char* destination, std::size_t size, std::uint64_t seed, unsigned tags = 0) {
  Bytes frame = make_frame(size, seed, tags);
  std::memcpy(frame.data(), MacAddress::parse(destination)->bytes.data(), 6);
  return frame;
}

/// One of every kind that an Ethernet carries, up to the largest that `mtu` allows with one tag.
std::vector<Bytes> frames_of_every_kind(const char* receiver, std::uint32_t mtu) {
  std::vector<Bytes> frames;
  std::uint64_t seed = 1;
  for (const char* to : {receiver, "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb", "33:33:00:00:00:01",
                         "01:80:c2:00:00:0e", "b2:a0:00:00:00:77"}) {
    for (const std::size_t size : {std::size_t{60}, std::size_t{61}, std::size_t{mtu} + 14}) {
      frames.push_back(frame_to(to, size, ++seed));
    }
    frames.push_back(frame_to(to, 64, ++seed, 1));
    frames.push_back(frame_to(to, mtu + 18, ++seed, 1));
    frames.push_back(frame_to(to, mtu + 18, ++seed, 1));
    frames.back()[12] = std::byte{0x88};  // 802.1ad, not 802.1Q
    frames.back()[13] = std::byte{0xa8};
    frames.push_back(frame_to(to, 68, ++seed, 2));
  }
  return frames;
}

std::vector<Bytes> recorded(const std::string& path) {
  std::vector<Bytes> frames;
  Result<PcapReader> reader = PcapReader::open(path);
  if (!reader) return frames;  // not yet
  FrameBatch batch(64, std::size_t{1} << 20U);
  for (ReceiveResult got; !got.error;) {
    batch.clear();
    got = reader->receive(batch);
    for (const FrameView& f : batch.frames()) {
      if (is_suite_frame(f)) frames.push_back(to_bytes(f));
    }
  }
  return frames;
}

/// "Who has 198.18.0.1?" from 198.18.0.9.
Bytes arp_question(const MacAddress& asker) {
  constexpr unsigned char kRest[] = {0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1};
  constexpr unsigned char kAddresses[] = {198, 18, 0, 9, 0, 0, 0, 0, 0, 0, 198, 18, 0, 1};
  Bytes frame(42, std::byte{0xff});
  std::memcpy(frame.data() + 6, asker.bytes.data(), 6);
  std::memcpy(frame.data() + 12, kRest, sizeof kRest);
  std::memcpy(frame.data() + 22, asker.bytes.data(), 6);
  std::memcpy(frame.data() + 28, kAddresses, sizeof kAddresses);
  return frame;
}

/// A datagram from 198.19.0.1 to a port of 198.18.0.1 that nobody has opened. To say so, the host
/// asks for its gateway.
Bytes question_from_beyond_the_gateway(const MacAddress& asker, const MacAddress& host) {
  constexpr unsigned char kRest[] = {8,  0, 0x45, 0,   0,  28, 0, 0, 0, 0, 64, 17, 0xee, 0xa9, 198,
                                     19, 0, 1,    198, 18, 0,  1, 0, 9, 0, 9,  0,  8,    0,    0};
  Bytes frame(12 + sizeof kRest);
  std::memcpy(frame.data(), host.bytes.data(), 6);
  std::memcpy(frame.data() + 6, asker.bytes.data(), 6);
  std::memcpy(frame.data() + 12, kRest, sizeof kRest);
  return frame;
}

TEST_P(ExecTraffic, AHostWhosePortHasCarrierAnswersTheFirstQuestion) {
  for (unsigned time = 0; time < 8; ++time) {
    Port asker = port_on(bus());
    const std::string name = "h" + std::to_string(time);  // the one before may just be ending
    const Tool host(host_line(
        {"sleep", "600"}, {"--name", name, "--ip", "198.18.0.1/24", "--gateway", "198.18.0.254"}));
    std::optional<PortInfo> now;
    const auto begin = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - begin < kGenerousTime) {
      now = port(name);
      if (now && now->up && now->carrier) break;
    }
    ASSERT_TRUE(now);
    const std::vector<Bytes> questions = {arp_question(asker.mac()),
                                          question_from_beyond_the_gateway(asker.mac(), now->mac)};
    ASSERT_EQ(asker.send(views(questions)).taken, questions.size());
    bool answered = false;
    bool asked_for_gateway = false;
    static_cast<void>(eventually(
        [&] {
          FrameBatch batch;
          EXPECT_FALSE(asker.receive(batch).error);
          for (const FrameView& frame : batch.frames()) {
            if (frame.size() < 42 || frame.source() != now->mac) continue;
            answered =
                answered || (frame.destination() == asker.mac() && frame.bytes[21] == std::byte{2});
            asked_for_gateway = asked_for_gateway || (frame.bytes[21] == std::byte{1} &&
                                                      frame.bytes[41] == std::byte{254});
          }
          return answered && asked_for_gateway;
        },
        std::chrono::seconds(5)));
    EXPECT_TRUE(answered) << "host " << time;
    EXPECT_TRUE(asked_for_gateway) << "host " << time;
  }
}

TEST_P(ExecTraffic, FramesOfEveryKindCrossUnchangedInOrder) {
  for (const std::uint32_t mtu : {1500U, 9000U}) {
    SCOPED_TRACE("MTU " + std::to_string(mtu));
    const std::string wire = bus("wire" + std::to_string(mtu), mtu);
    const std::string sent = file("sent" + std::to_string(mtu));
    const std::string heard = file("heard" + std::to_string(mtu));
    const std::vector<Bytes> frames = frames_of_every_kind("b2:a0:00:00:00:0b", mtu);
    {
      PcapWriter writer = PcapWriter::create(sent).value();
      ASSERT_EQ(writer.send(views(frames)).taken, frames.size());
    }
    ::chmod(sent.c_str(), 0644);
    const auto on_wire = [&](const std::string& mac, const std::string& script) {
      return by_caller({shmifctl_path(), "exec", wire, "--via", GetParam().via, "--mac", mac, "--",
                        "sh", "-c", script});
    };
    Tool listener(on_wire("b2:a0:00:00:00:0b", std::string("exec ") + shmifctl_path() +
                                                   " bridge packet:tap0 pcap:" + heard));
    ASSERT_TRUE(eventually([&] {
      const BusInfo info = Bus::open(wire).value().info();
      return std::any_of(info.ports.begin(), info.ports.end(),
                         [](const PortInfo& p) { return p.up && p.promiscuous; });
    })) << "the listener's interface never became promiscuous";
    const std::string replay =
        std::string(shmifctl_path()) + " bridge pcap:" + sent + " packet:tap0";
    const ToolResult replayed = run_program(on_wire("b2:a0:00:00:00:0a", replay));
    ASSERT_EQ(replayed.status, 0) << replayed.err;
    EXPECT_TRUE(eventually([&] { return recorded(heard).size() >= frames.size(); }))
        << recorded(heard).size() << " of " << frames.size();
    listener.signal(SIGTERM);
    listener.finish();
    EXPECT_EQ(recorded(heard), frames);
  }
}

TEST_P(ExecTraffic, HostStoppedWhileItSendsFlatOutDoesNotHoldUpTheOthers) {
  const auto flooded = start("flooded", "sleep 600", {"--ip", "198.18.0.1/24"});
  const auto flooder =
      start("flooder", "exec ping -f -q -s 1400 198.18.0.1", {"--ip", "198.18.0.2/24"});
  for (int round = 0; round < 5; ++round) {
    const std::uint64_t before = port("flooder")->tx_frames;
    ASSERT_TRUE(eventually([&] { return port("flooder")->tx_frames > before + 100; }));
    flooder->signal(SIGSTOP);
    // With -w it asks until three are answered. Without it, whoever is answered late counts as
    // lost.
    const ToolResult pinged =
        run_shell("ping -q -c 3 -i 0.2 -w 10 198.18.0.1", {"--ip", "198.18.0.3/24"});
    EXPECT_EQ(pinged.status, 0) << pinged.out;
    EXPECT_TRUE(contains(pinged.out, " 3 received"));
    flooder->signal(SIGCONT);
  }
  EXPECT_EQ(run_program({shmifctl_path(), "audit", bus()}).status, 0);
}

/// Who asks: an answer to kTrial, which may come late, is none to the questions that are counted.
constexpr std::uint8_t kAsker = 7;
constexpr std::uint8_t kTrial = 8;

/// An ARP request to all from 198.18.0.`sender` for 198.18.0.`target`.
Bytes question_for(std::uint8_t target, std::uint8_t sender = kAsker) {
  constexpr std::uint8_t kBytes[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,   7,  8, 6,
                                     0,    1,    8,    0,    6,    4,    0, 1, 2, 0, 0,   0,  0, 7,
                                     198,  18,   0,    7,    0,    0,    0, 0, 0, 0, 198, 18, 0};
  Bytes frame(sizeof kBytes + 1);
  std::memcpy(frame.data(), kBytes, sizeof kBytes);
  frame[31] = static_cast<std::byte>(sender);
  frame.back() = static_cast<std::byte>(target);
  return frame;
}

/// The frames that came to an interface, by /proc/net/dev.
std::uint64_t frames_to(const std::string& interface, const std::string& net_dev) {
  const std::size_t at = net_dev.find(interface + ":");
  std::istringstream line(at == std::string::npos ? "" : net_dev.substr(at + interface.size() + 1));
  std::uint64_t bytes = 0;
  std::uint64_t frames = 0;
  line >> bytes >> frames;
  EXPECT_GT(frames, 0U) << net_dev;
  return frames;
}

/// Whether the frame is an ARP reply to that port, as 198.18.x.`sender`.
bool answers(const FrameView& f, const Port& asker, std::uint8_t sender = kAsker) {
  return f.size() >= 42 && f.destination() == asker.mac() && f.bytes[21] == std::byte{2} &&
         f.bytes[41] == static_cast<std::byte>(sender);
}

/// So many of 200 hosts that ask each other at once are answered only because each host leaves out
/// the questions for the others while it is far behind.
TEST_P(ExecTraffic, AHostThatIsFarBehindAnswersEachQuestionForItAndSeesFewOfThoseForOthers) {
  constexpr std::size_t kForOthers = 2000;
  constexpr std::size_t kForIt = 200;
  const auto host = start_ready({"--ip", "198.18.0.1/24"});
  Port asker(PortOptions{.mac = MacAddress::parse("02:00:00:00:00:07")});
  asker.attach(bus()).value();
  ASSERT_FALSE(asker.up());
  FrameBatch heard;
  std::size_t answered = 0;
  const auto count_answers = [&](std::uint8_t sender = kAsker) {
    heard.clear();
    ASSERT_FALSE(asker.receive(heard).error);
    for (const FrameView& f : heard.frames()) answered += answers(f, asker, sender);
  };
  const auto seen_by_host = [&] {
    const ToolResult read = run_program(
        by_caller({shmifctl_path(), "enter", bus(), "host", "--", "cat", "/proc/net/dev"}));
    EXPECT_EQ(read.status, 0) << read.err;
    return frames_to("tap0", read.out);
  };
  const Bytes for_it = question_for(1);
  const Bytes for_other = question_for(9);
  // Frames that come before the interface works are lost.
  const Bytes trial = question_for(1, kTrial);
  ASSERT_TRUE(eventually([&] {
    EXPECT_FALSE(asker.send(std::vector{FrameView(trial)}).error);
    static_cast<void>(asker.wait(std::chrono::milliseconds(200)));
    count_answers(kTrial);
    return answered > 0;
  }));
  answered = 0;
  const std::uint64_t before = seen_by_host();
  host->signal(SIGSTOP);
  for (std::size_t i = 0; i < kForOthers; ++i) {
    ASSERT_FALSE(asker.send(std::vector{FrameView(for_other)}).error);
    if (i % (kForOthers / kForIt) != 0) continue;
    ASSERT_FALSE(asker.send(std::vector{FrameView(for_it)}).error);
  }
  host->signal(SIGCONT);
  EXPECT_TRUE(eventually([&] {
    count_answers();
    return answered == kForIt;
  })) << answered;
  // It has caught up, so it sees each question again.
  ASSERT_FALSE(asker.send(std::vector{FrameView(for_other), FrameView(for_it)}).error);
  EXPECT_TRUE(eventually([&] {
    count_answers();
    return answered == kForIt + 1;
  })) << answered;
  const std::uint64_t seen = seen_by_host() - before;
  // Of the questions for others it sees those among the first 128 frames, before it could have
  // answered, and those among the last 256, its own answers included.
  EXPECT_GE(seen, kForIt + 1 + 100);
  EXPECT_LE(seen, kForIt + 1 + 400);
  EXPECT_EQ(run_program({shmifctl_path(), "audit", bus()}).status, 0);
}

// Hosts leave segmentation and checksums to whoever takes their frames: other hosts take them as
// they are, and captures hear the frames they stand for.

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

// shmifctl exec --fault: the line of a host loses, delays and limits what really crosses it.

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
