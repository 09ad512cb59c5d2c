// What a namespace loses by fragments that never come, by a peer that is gone, and by frames that
// nobody takes: made with the real kernel, and compared with its own counters. The cause is named
// for a job that it concerns, and for no other.

#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <fstream>

#include "tests/perf/why/watched_namespace.hpp"

namespace shmif::perf::test {
namespace {

std::string grouped(std::uint64_t below_a_million) {
  const std::string digits = std::to_string(below_a_million);
  if (digits.size() < 4) return digits;
  return digits.substr(0, digits.size() - 3) + ',' + digits.substr(digits.size() - 3);
}

/// The words of all causes of the only job, once it is changed by `change`.
template <class Change>
std::vector<std::string> told(const WatchedNamespace& watched, std::uint64_t lost, Change change,
                              std::size_t lost_in) {
  WhySeries series = watched.series();
  change(series.jobs.at(0));
  std::vector<std::string> all;
  for (const Cause& cause :
       find_causes(series, std::vector{traffic_of(series, "rx", lost_in, lost_in + 1, lost)})) {
    if (cause.counted) all.emplace_back(word_of(cause.cause));
  }
  return all;
}
template <class Change>
std::vector<std::string> told(const WatchedNamespace& watched, std::uint64_t lost, Change change) {
  return told(watched, lost, change, watched.series().ends_s.size() - 1);
}
constexpr auto kAsItIs = [](WatchedJob&) {};
using Told = std::vector<std::string>;

/// Sends the begin of datagrams whose ends never come.
void send_first_fragments(const TestNamespace& space, bool v6, int count) {
  const Inside inside(space);
  const UniqueFd socket(::socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  ASSERT_TRUE(socket);
  constexpr std::size_t kData = 64;
  const Address to(v6 ? "::1" : "127.0.0.1", 0);
  for (int i = 1; i <= count; ++i) {
    std::vector<char> packet;
    const auto add = [&packet](const auto& header) {
      const auto* const bytes = reinterpret_cast<const char*>(&header);
      packet.insert(packet.end(), bytes, bytes + sizeof header);
    };
    if (v6) {
      ip6_hdr head{};
      head.ip6_vfc = 0x60;
      head.ip6_plen = htons(sizeof(ip6_frag) + kData);
      head.ip6_nxt = IPPROTO_FRAGMENT;
      head.ip6_hlim = 64;
      head.ip6_src = head.ip6_dst = in6addr_loopback;
      add(head);
      ip6_frag part{};
      part.ip6f_nxt = IPPROTO_UDP;
      part.ip6f_offlg = IP6F_MORE_FRAG;
      part.ip6f_ident = htonl(static_cast<std::uint32_t>(i));
      add(part);
    } else {
      iphdr head{};
      head.version = 4;
      head.ihl = 5;
      head.tot_len = htons(sizeof head + kData);
      head.id = htons(static_cast<std::uint16_t>(i));
      head.frag_off = htons(IP_MF);
      head.ttl = 64;
      head.protocol = IPPROTO_UDP;
      head.saddr = head.daddr = htonl(INADDR_LOOPBACK);
      add(head);
    }
    packet.resize(packet.size() + kData);
    ASSERT_EQ(::sendto(socket.get(), packet.data(), packet.size(), 0, to.get(), to.size()),
              static_cast<ssize_t>(packet.size()))
        << std::strerror(errno);
  }
}

class Fragments {
 public:
  explicit Fragments(bool v6) : v6_(v6) {
    tap::Netlink netlink = watched_.space().netlink();
    EXPECT_TRUE(netlink.set_mtu("lo", 1500));
    const Inside inside(watched_.space());
    std::ofstream(v6 ? "/proc/sys/net/ipv6/ip6frag_time" : "/proc/sys/net/ipv4/ipfrag_time") << 1;
    socket_.reset(::socket(to_.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (v6) {
      to_ = Address("::1", 4000);
      socket_.reset(::socket(to_.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    }
    EXPECT_EQ(::bind(socket_.get(), to_.get(), to_.size()), 0);
  }
  void set_buffer(int bytes) {
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  }
  std::uint64_t kernel(const char* name) const {
    return v6_ ? kernel_count(watched_.space(), "snmp6", "", std::string("Ip6") + name)
               : kernel_count(watched_.space(), "snmp", "Ip", name);
  }
  WatchedNamespace& watched() { return watched_; }
  const Address& to() const { return to_; }

 private:
  bool v6_;
  WatchedNamespace watched_;
  Address to_{"127.0.0.1", 4000};
  UniqueFd socket_;
};

TEST_F(NetLosses, OfFragmentsThatNeverComeAreThoseOfTheKernel) {
  constexpr int kBroken = 40, kWhole = 60;
  for (const bool v6 : {false, true}) {
    Fragments rig(v6);
    WatchedNamespace& watched = rig.watched();
    rig.set_buffer(8 << 20);
    watched.look();
    send_datagrams(watched.space(), rig.to(), kWhole, 4000);
    send_first_fragments(watched.space(), v6, kBroken);
    ASSERT_TRUE(shmif::test::eventually([&] { return rig.kernel("ReasmFails") >= kBroken; }));
    watched.look();
    ASSERT_EQ(rig.kernel("ReasmFails"), kBroken);
    ASSERT_EQ(rig.kernel("ReasmOKs"), kWhole);
    EXPECT_EQ(watched.count(NetLoss::reassembly).lost, kBroken);
    EXPECT_EQ(watched.count(NetLoss::reassembly).passed, kWhole);
    const Cause cause = watched.cause(2 * kBroken);
    EXPECT_EQ(cause.cause, CauseKind::reassembly);
    EXPECT_EQ(cause.sentence,
              "rx: 40 packets were dropped because fragments were missing (" +
                  std::string(v6 ? "Ip6ReasmFails" : "IpReasmFails") +
                  "), 40 % of 0.1 s to 0.2 s; that explains 50 % of its lost frames");
    EXPECT_NEAR(cause.of_losses_share.value_or(0), 0.5, 1e-9);

    EXPECT_EQ(told(watched, 40, kAsItIs), Told{"reassembly"});
    EXPECT_EQ(told(watched, 40, kAsItIs, 0), Told{}) << "lost before the kernel counted anything";
    EXPECT_EQ(told(watched, 1000, kAsItIs), Told{}) << "40 of 1,000 explain too little";
    EXPECT_EQ(told(watched, 40, [](WatchedJob& job) { job.receives = false; }), Told{})
        << "what a job sends is put together elsewhere";
    EXPECT_EQ(told(watched, 40, [](WatchedJob& job) { job.uses_udp = job.uses_tcp = false; }),
              Told{})
        << "its frames are no IP";
    watched.look();
    EXPECT_EQ(watched.count(NetLoss::reassembly).lost, 0U) << "in the next interval";
  }
}

/// The fragments all came, so the loss has another cause.
TEST_F(NetLosses, OfWholeDatagramsAreNotGivenToTheirFragments) {
  for (const bool v6 : {false, true}) {
    Fragments rig(v6);
    WatchedNamespace& watched = rig.watched();
    rig.set_buffer(1);
    watched.look();
    send_datagrams(watched.space(), rig.to(), 100, 4000);
    watched.look();
    EXPECT_EQ(rig.kernel("ReasmOKs"), 100U);
    EXPECT_EQ(rig.kernel("ReasmFails"), 0U);
    EXPECT_EQ(watched.count(NetLoss::reassembly).lost, 0U);
    EXPECT_EQ(told(watched, 90, kAsItIs), Told{"receive_buffer"});
  }
}

/// A connection from a watched namespace to another one. The other end can be taken away.
class Connections {
 public:
  explicit Connections(int count) {
    tap::Netlink near = near_.netlink(), far = far_.netlink();
    works_ = near.add_veth("v0", "v1") && near.move_to("v1", far_.space());
    if (!works_) return;
    EXPECT_TRUE(far.disable_ipv6("v1"));
    EXPECT_TRUE(near.disable_ipv6("v0"));
    EXPECT_TRUE(far.set_up("v1"));
    EXPECT_TRUE(near.set_up("v0"));
    EXPECT_TRUE(near.add_address("v0", tap::Cidr::parse("198.18.0.1/24").value()));
    EXPECT_TRUE(far.add_address("v1", tap::Cidr::parse("198.18.0.2/24").value()));
    EXPECT_TRUE(near.wait_for_carrier("v0", shmif::test::kGenerousTime));
    const Address to("198.18.0.2", 4000);
    UniqueFd listener;
    {
      const Inside inside(far_);
      listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::bind(listener.get(), to.get(), to.size()), 0);
      EXPECT_EQ(::listen(listener.get(), count), 0);
    }
    const Inside inside(near_);
    for (int i = 0; i < count; ++i) {
      sockets_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::connect(sockets_.back().get(), to.get(), to.size()), 0) << std::strerror(errno);
      accepted_.emplace_back(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
  }
  bool works() const { return works_; }
  /// From now on no segment reaches the other end: its address is that of a machine that is gone.
  void take_peer_away() {
    tap::Netlink near = near_.netlink();
    EXPECT_TRUE(near.add_neighbour("v0", tap::Cidr::parse("198.18.0.2/32").value().address,
                                   MacAddress{{2, 0, 0, 0, 0, 0x99}}));
  }
  void send_a_byte_on_each() const {
    for (const UniqueFd& each : sockets_) EXPECT_EQ(::send(each.get(), "x", 1, 0), 1);
  }
  /// Blocks until the other end has a byte of each connection.
  void receive_a_byte_of_each() const {
    for (const UniqueFd& each : accepted_) {
      char byte{};
      EXPECT_EQ(::recv(each.get(), &byte, 1, 0), 1);
    }
  }
  /// Nothing is sent again from now on. Watched children have these sockets, too, so closing them
  /// would not end the connections.
  void reset() {
    sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    for (const UniqueFd& each : sockets_) {
      EXPECT_EQ(::connect(each.get(), &nobody, sizeof nobody), 0) << std::strerror(errno);
    }
  }
  std::uint64_t kernel(const char* name) const { return kernel_count(near_, "snmp", "Tcp", name); }
  const TestNamespace& near() const { return near_; }
  const TestNamespace& far() const { return far_; }

 private:
  TestNamespace near_, far_;
  bool works_ = false;
  std::vector<UniqueFd> sockets_, accepted_;
};

TEST_F(NetLosses, OfAPeerThatIsGoneAreTheSegmentsThatTheKernelSendsAgain) {
  constexpr int kConnections = 30;
  Connections connections(kConnections);
  if (!connections.works()) GTEST_SKIP() << "cannot create the veth pair";
  WatchedNamespace watched(connections.near());
  const std::uint64_t before = connections.kernel("RetransSegs"),
                      sent_before = connections.kernel("OutSegs");
  watched.look();
  connections.take_peer_away();
  connections.send_a_byte_on_each();
  ASSERT_TRUE(shmif::test::eventually(
      [&] { return connections.kernel("RetransSegs") >= before + kConnections; }));
  connections.reset();
  watched.look();
  const std::uint64_t again = connections.kernel("RetransSegs") - before,
                      sent = connections.kernel("OutSegs") - sent_before;
  EXPECT_EQ(watched.count(NetLoss::retransmits).lost, again);
  EXPECT_EQ(watched.count(NetLoss::retransmits).passed, sent);
  // The program lost nothing: it is named without losses.
  const Cause cause = watched.cause(0);
  EXPECT_EQ(cause.cause, CauseKind::retransmits);
  const std::string begin = "rx: " + grouped(again) +
                            " TCP segments were lost or late, and sent again (TcpRetransSegs), ";
  EXPECT_TRUE(cause.sentence.starts_with(begin)) << cause.sentence << " instead of " << begin;
  EXPECT_NEAR(cause.share, static_cast<double>(again) / static_cast<double>(again + sent), 1e-9);
  EXPECT_NEAR(watched.cause(4 * again).of_losses_share.value_or(0), 0.25, 1e-9);

  EXPECT_EQ(told(watched, 0, [](WatchedJob& job) { job.uses_tcp = false; }), Told{})
      << "another program's connections";
  EXPECT_EQ(told(watched, again, [](WatchedJob& job) { job.sends = false; }), Told{})
      << "what it only receives, others send again";
  watched.look();
  EXPECT_EQ(watched.count(NetLoss::retransmits).lost, 0U) << "in the next interval";
  // The namespace counts on from what it had counted before somebody looked.
  WatchedNamespace late(connections.near());
  late.look();
  EXPECT_EQ(late.count(NetLoss::retransmits).lost, 0U);
  EXPECT_EQ(told(late, 100, kAsItIs), Told{}) << "counted before the watch";
}

TEST_F(NetLosses, OfAPeerThatAnswersAreNone) {
  Connections connections(30);
  if (!connections.works()) GTEST_SKIP() << "cannot create the veth pair";
  WatchedNamespace watched(connections.near());
  const std::uint64_t before = connections.kernel("RetransSegs");
  watched.look();
  connections.send_a_byte_on_each();
  connections.receive_a_byte_of_each();
  connections.reset();
  watched.look();
  // A busy machine may be late, and then a segment is sent again.
  const std::uint64_t again = connections.kernel("RetransSegs") - before;
  EXPECT_EQ(watched.count(NetLoss::retransmits).lost, again);
  EXPECT_EQ(told(watched, 0, kAsItIs), again < 10 ? Told{} : Told{"retransmits"});
}

/// A receiver's losses are looked for on the way of its sender, too.
TEST_F(NetLosses, OfAConnectionAreFoundInTheNamespaceOfItsSender) {
  constexpr int kConnections = 30;
  Connections connections(kConnections);
  if (!connections.works()) GTEST_SKIP() << "cannot create the veth pair";
  const shmif::test::StayingChild tx(
      [&] { return ::setns(connections.near().descriptor(), CLONE_NEWNET) == 0; });
  const shmif::test::StayingChild rx(
      [&] { return ::setns(connections.far().descriptor(), CLONE_NEWNET) == 0; });
  WhySampler sampler(KernelFiles(), 0);
  ASSERT_TRUE(
      sampler.add_process(sampler.add_job(WatchedJob{.name = "tx", .sends = false}), tx.pid()));
  ASSERT_TRUE(sampler.add_process(
      sampler.add_job(WatchedJob{.name = "rx", .sends = false, .senders = {0}}), rx.pid()));
  sampler.sample(0);
  const std::uint64_t before = connections.kernel("RetransSegs");
  connections.take_peer_away();
  connections.send_a_byte_on_each();
  ASSERT_TRUE(shmif::test::eventually(
      [&] { return connections.kernel("RetransSegs") >= before + kConnections; }));
  connections.reset();
  sampler.sample(kBetweenNs);
  std::vector<std::string> causes;
  for (const Cause& cause : find_causes(sampler.series(), {})) {
    if (cause.counted) causes.push_back(cause.job + ' ' + word_of(cause.cause));
  }
  EXPECT_EQ(causes, Told{"rx retransmits"});
}

/// Frames of a kind that no program takes: the interface that received them drops them.
TEST_F(NetLosses, OfAnInterfaceThatReceivedAreThoseOfIpLink) {
  constexpr int kFrames = 50;
  TestNamespace space;
  tap::Netlink netlink = space.netlink();
  if (!netlink.add_veth("v0", "v1")) GTEST_SKIP() << "cannot create the veth pair";
  for (const char* const name : {"v0", "v1"}) {
    ASSERT_TRUE(netlink.disable_ipv6(name));
    ASSERT_TRUE(netlink.set_up(name));
  }
  ASSERT_TRUE(netlink.wait_for_carrier("v0", shmif::test::kGenerousTime));
  WatchedNamespace watched(space);
  watched.look();
  {
    const Inside inside(space);
    const UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(::if_nametoindex("v0"));
    std::array<unsigned char, 60> frame{};
    std::fill_n(frame.begin(), 6, std::uint8_t{0xff});
    frame[6] = 2;
    frame[12] = 0x88;
    frame[13] = 0xb6;  // for experiments
    for (int i = 0; i < kFrames; ++i) {
      ASSERT_EQ(::sendto(socket.get(), frame.data(), frame.size(), 0,
                         reinterpret_cast<const sockaddr*>(&to), sizeof to),
                static_cast<ssize_t>(frame.size()));
    }
  }
  const auto dropped = [&space](const std::string& name) {
    const Inside inside(space);
    std::ifstream file("/proc/thread-self/net/dev");
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string word, number;
      words >> word;
      if (word != name + ':') continue;
      for (int i = 0; i < 4; ++i) words >> number;
      return std::stoi(number);
    }
    return -1;
  };
  ASSERT_TRUE(shmif::test::eventually([&] { return dropped("v1") >= kFrames; }));
  watched.look();
  ASSERT_EQ(dropped("v1"), kFrames);
  std::string seen;
  for (const DeviceSeries& device : watched.series().devices) {
    const DeviceStep& step = device.steps.back();
    seen += device.name + ' ' + std::to_string(step.rx_drops) + ' ' +
            std::to_string(step.rx_packets) + ' ' + std::to_string(step.tx_drops) + ' ' +
            std::to_string(step.tx_packets) + '\n';
  }
  EXPECT_NE(seen.find("v0 0 0 0 50\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("v1 50 50 0 0\n"), std::string::npos) << seen;
  const Cause cause = watched.cause(100);
  EXPECT_EQ(cause.cause, CauseKind::device_queue);
  EXPECT_EQ(cause.sentence,
            "the interface v1 dropped 50 packets that it had received, 50 %"
            " of 0.1 s to 0.2 s; that explains 50 % of its lost frames");
  EXPECT_EQ(told(watched, 50, [](WatchedJob& job) { job.receives = false; }), Told{});
  EXPECT_EQ(told(watched, 50, [](WatchedJob& job) { job.uses_network = false; }), Told{});
}

}  // namespace
}  // namespace shmif::perf::test
