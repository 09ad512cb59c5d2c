// What crosses between hosts, and what a stopped host costs the others.

#include <signal.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
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

}  // namespace
}  // namespace shmif::test
