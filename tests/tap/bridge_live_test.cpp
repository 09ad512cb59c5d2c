// The bridge between real devices: unmodified programs in two network namespaces talk through it.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/ping.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/frames.hpp"
#include "tests/tap/packet_peer.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::make_frame;

/// One of two hosts, 198.18.0.N and fd00::N, whose interface is a link of ours.
class Host {
 public:
  Host(unsigned n, bool tap, std::uint32_t mtu) {
    const std::string number = std::to_string(n);
    const std::vector<Cidr> addresses{Cidr::parse("198.18.0." + number + "/24").value(),
                                      Cidr::parse("fd00::" + number + "/64").value()};
    const NetNamespace where = space_.space();
    if (tap) {
      TapOptions options;
      options.name = "eth0";
      options.mtu = mtu;
      options.addresses = addresses;
      options.where = &where;
      link_.emplace(std::make_unique<TapLink>(TapLink::open(options).value()));
      return;
    }
    // A veth pair whose far end lives in a namespace of its own, offloads as the kernel sets them.
    const NetNamespace outside = far_.space();
    Netlink inside = space_.netlink();
    Netlink far = far_.netlink();
    inside.add_veth("eth0", "far0", &outside).value();
    far.disable_ipv6("far0").value();
    far.set_mtu("far0", mtu).value();
    far.set_up("far0").value();
    inside.set_mtu("eth0", mtu).value();
    for (const Cidr& a : addresses) inside.add_address("eth0", a).value();
    inside.set_up("eth0").value();
    wait_until_ready();
    link_.emplace(std::make_unique<PacketLink>(
        PacketLink::open("far0", {.promiscuous = true, .where = &outside}).value()));
  }
  /// The kernel lets frames out of a veth some time after its carrier came back, up to a second.
  void wait_until_ready() {
    space_.netlink().wait_for_carrier("eth0", std::chrono::seconds(30)).value();
    if (Netlink far = far_.netlink(); far.interface("far0")) {
      far.wait_for_carrier("far0", std::chrono::seconds(30)).value();
    }
  }
  AnyLink& link() { return *link_; }
  const TestNamespace& space() const { return space_; }

 private:
  TestNamespace space_, far_;
  std::optional<AnyLink> link_;
};

struct Kind {
  bool left_tap;
  bool right_tap;
  std::string name;

  friend std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }
};

/// Sends one request. After the last of several requests, ping waits only twice as long as the
/// earlier answers took, which is too short on a busy machine.
const std::vector<std::string> kPing{"ping", "-c1", "-W5", "-q"};

class BridgeLive : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
    if (GetParam().left_tap || GetParam().right_tap) {
      if (const auto tun = check_tun_device(); !tun) GTEST_SKIP() << tun.error().message;
    }
  }
  void start(std::uint32_t mtu = 1500) {
    left_ = std::make_unique<Host>(1, GetParam().left_tap, mtu);
    right_ = std::make_unique<Host>(2, GetParam().right_tap, mtu);
    bridge_ = std::make_unique<Bridge>(Bridge::create().value());
    ASSERT_TRUE(bridge_->add(left_->link(), right_->link()));
    thread_ = std::thread([this] { end_ = bridge_->run(); });
  }
  void TearDown() override {
    if (!thread_.joinable()) return;
    bridge_->stop();
    thread_.join();
  }
  void expect_ping(std::vector<std::string> options) {
    options.insert(options.begin(), kPing.begin(), kPing.end());
    for (int n = 0; n < 3; ++n) {
      const Outcome ping = run(left_->space(), options);
      EXPECT_EQ(ping.status, 0) << ping.output;
      EXPECT_NE(ping.output.find("1 received"), std::string::npos) << ping.output;
      EXPECT_EQ(ping.output.find("DUP"), std::string::npos) << ping.output;
    }
  }

  std::unique_ptr<Host> left_, right_;
  std::unique_ptr<Bridge> bridge_;
  std::thread thread_;
  BridgeEnd end_;
};

TEST_P(BridgeLive, PingCrossesWithArpAndWithNeighbourDiscovery) {
  start();
  expect_ping({"198.18.0.2"});
  expect_ping({"-6", "fd00::2"});
  expect_ping({"-6", "-I", "eth0", "ff02::1"});  // multicast
}

TEST_P(BridgeLive, JumboFramesCrossWhole) {
  start(9000);
  expect_ping({"-s", "8972", "-M", "do", "198.18.0.2"});
  expect_ping({"-6", "-s", "8952", "-M", "do", "fd00::2"});
}

TEST_P(BridgeLive, TaggedFramesCrossUnchanged) {
  start();
  PacketPeer left(left_->space(), "eth0");
  PacketPeer right(right_->space(), "eth0");
  std::vector<Bytes> sent;
  for (unsigned tags = 0; tags <= 2; ++tags) sent.push_back(make_frame(400, tags, tags));
  for (const Bytes& f : sent) left.send(f);
  std::vector<Bytes> heard;
  for (int i = 0; i < 1000 && heard.size() < sent.size(); ++i) {
    for (Bytes& f : own(right.heard())) heard.push_back(std::move(f));
    ::usleep(5000);
  }
  EXPECT_TRUE(shmif::test::same_frames(sent, heard));
}

/// Reads until `into` is full or the stream ends. recv() with MSG_WAITALL may return earlier.
bool fill(int socket, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::recv(socket, into.data(), into.size(), 0);
    if (got <= 0) return false;
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

/// Sends `size` bytes by TCP from one host to another, and compares them.
void transfer(const TestNamespace& from, const TestNamespace& to, std::size_t size) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(5001);
  address.sin_addr.s_addr = htonl(0xc6120002);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  UniqueFd listener;
  {
    const Inside inside(to);
    listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(listener.get(), generic, sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
  }
  std::thread sender([&] {
    const Inside inside(from);
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(socket.get(), generic, sizeof address), 0);
    std::mt19937_64 random(42);
    std::vector<std::uint64_t> chunk(8192);
    for (std::size_t sent = 0; sent < size; sent += chunk.size() * 8) {
      std::generate(chunk.begin(), chunk.end(), std::ref(random));
      ASSERT_EQ(::send(socket.get(), chunk.data(), chunk.size() * 8, MSG_NOSIGNAL),
                static_cast<ssize_t>(chunk.size() * 8));
    }
  });
  const UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  std::mt19937_64 random(42);
  std::vector<std::uint64_t> chunk(8192);
  std::size_t got = 0;
  std::size_t wrong = 0;
  while (fill(socket.get(), std::as_writable_bytes(std::span(chunk)))) {
    for (const std::uint64_t word : chunk) wrong += word != random() ? 1U : 0U;
    got += chunk.size() * 8;
  }
  sender.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GE(got, size);
}

TEST_P(BridgeLive, TcpCarriesEveryByte) {
  start();
  transfer(left_->space(), right_->space(), std::size_t{16} << 20U);
  const PairCounters c = bridge_->counters(0);
  EXPECT_EQ(c.to_right.dropped_too_long, 0U) << "super-frames are cut before they cross";
  EXPECT_GT(c.to_right.frames, 10000U);
}

TEST_P(BridgeLive, AnInterfaceThatGoesDownAndUpAgainWorksOn) {
  start();
  expect_ping({"198.18.0.2"});
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(right_->space().netlink().set_up("eth0", false));
    EXPECT_NE(run(left_->space(), {"ping", "-c1", "-W1", "198.18.0.2"}).status, 0);
    ASSERT_TRUE(right_->space().netlink().set_up("eth0"));
    right_->wait_until_ready();
    expect_ping({"198.18.0.2"});
  }
}

TEST_P(BridgeLive, ADeletedDeviceEndsTheBridgeAndIsNamed) {
  start();
  expect_ping({"198.18.0.2"});
  ASSERT_TRUE(right_->space().netlink().remove("eth0"));
  thread_.join();
  EXPECT_EQ(end_.why, BridgeEnd::Why::link_ended);
  EXPECT_EQ(end_.address, right_->link().address());
  EXPECT_EQ(end_.error, Errc::link_ended);
}

INSTANTIATE_TEST_SUITE_P(Links, BridgeLive,
                         ::testing::Values(Kind{true, true, "TapTap"},
                                           Kind{true, false, "TapPacket"},
                                           Kind{false, false, "PacketPacket"}),
                         [](const auto& kind) { return kind.param.name; });

Interceptor ping_responder(MacAddress self) {
  return [self](const FrameView& frame, AnyLink& back) {
    std::array<std::byte, kPingFrameBytes> bytes{};
    const auto reply = answer_ping(frame, self, bytes);
    return reply && back.send({&*reply, 1}).taken == 1;
  };
}

/// Two hosts on one bus, each with a bridge of its own, as two `exec` processes have.
TEST_P(BridgeLive, TwoBridgesShareABus) {
  std::string directory = "/dev/shm/shmif-bridge-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  const std::string path = directory + "/bus";
  Bus::create(path, {}).value();
  Host left(1, GetParam().left_tap, 1500);
  Host right(2, GetParam().right_tap, 1500);
  std::vector<std::unique_ptr<AnyLink>> ports;
  std::vector<Bridge> bridges;
  for (Host* host : {&left, &right}) {
    auto port = std::make_unique<Port>(PortOptions{.kind = LinkKind::tap, .learn = true});
    port->attach(path).value();
    ASSERT_FALSE(port->up());
    const MacAddress mac = port->mac();
    ports.push_back(std::make_unique<AnyLink>(std::move(port)));
    bridges.push_back(Bridge::create().value());
    ASSERT_TRUE(bridges.back().add(host->link(), *ports.back(), {}, ping_responder(mac)));
  }
  {
    std::thread first([&] { bridges[0].run(); });
    std::thread second([&] { bridges[1].run(); });
    for (const char* to : {"198.18.0.2", "fd00::2"}) {
      std::vector<std::string> words = kPing;
      words.emplace_back(to);
      const Outcome ping = run(left.space(), words);
      EXPECT_NE(ping.output.find("1 received"), std::string::npos) << ping.output;
    }
    transfer(left.space(), right.space(), std::size_t{4} << 20U);
    bridges[0].stop();
    bridges[1].stop();
    first.join();
    second.join();
  }
  // A port that asks both hosts, below any IP stack: each bridge answers for its host.
  Port asker;
  asker.attach(path).value();
  ASSERT_FALSE(asker.up());
  Ping question{
      .destination = MacAddress::from_u64(0xffffffffffffU), .source = asker.mac(), .id = 7};
  std::array<std::byte, kPingFrameBytes> bytes{};
  write_ping(question, bytes);
  const FrameView view(bytes.data(), bytes.size());
  ASSERT_EQ(asker.send({&view, 1}).taken, 1U);
  std::thread first([&] { bridges[0].run(); });
  std::thread second([&] { bridges[1].run(); });
  std::size_t answers = 0;
  FrameBatch batch;
  while (answers < 2 && asker.wait(std::chrono::seconds(20))) {
    batch.clear();
    (void)asker.receive(batch);
    for (const FrameView& f : batch.frames()) {
      const auto ping = read_ping(f);
      if (ping && ping->type == PingType::reply && ping->id == 7) ++answers;
    }
  }
  EXPECT_EQ(answers, 2U);
  bridges[0].stop();
  bridges[1].stop();
  first.join();
  second.join();
  ports.clear();
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ASSERT_EQ(::rmdir(directory.c_str()), 0);
}

TEST(BridgeUnprivileged, PacketLinkWorksInANamespaceThatAnOrdinaryUserMade) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 &&
        (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0)) {
      ::_exit(70);
    }
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) ::_exit(77);
    const int verdict = [] {
      auto netlink = Netlink::open();
      if (!netlink || !netlink->add_veth("v0", "v1")) return 1;
      if (!netlink->disable_ipv6("v0") || !netlink->disable_ipv6("v1")) return 2;
      if (!netlink->disable_offloads("v1")) return 3;
      if (!netlink->set_up("v0") || !netlink->set_up("v1")) return 4;
      if (!netlink->wait_for_carrier("v0", std::chrono::seconds(30))) return 5;
      auto a = PacketLink::open("v0");
      auto b = PacketLink::open("v1");
      if (!a || !b) return 6;
      const Bytes frame = make_frame(1514, 1, 1);
      const FrameView view(frame.data(), frame.size());
      for (int round = 0; round < 10; ++round) {
        if (a->send({&view, 1}).taken != 1) return 7;
        if (shmif::test::collect(*b, 1) != std::vector<Bytes>{frame}) return 8;
      }
      return 0;
    }();
    ::_exit(verdict);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "this machine forbids user namespaces";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace shmif::tap::test
