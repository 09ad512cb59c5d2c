// What the IP stack of a namespace loses, against what the kernel itself counts there.

#include <arpa/inet.h>
#include <linux/gen_stats.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "instruments/why/analysis.hpp"
#include "instruments/why/net_watch.hpp"
#include "instruments/why/why.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/instruments/why/why_series.hpp"
#include "tests/support/eventually.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::test {
namespace {

using tap::test::Inside;
using tap::test::TestNamespace;

constexpr std::uint64_t kBetweenNs = 100'000'000;

/// A process in a namespace of its own, and somebody who looks at it.
class WatchedNamespace {
 public:
  WatchedNamespace() {
    child_ = std::make_unique<shmif::test::Child>([this]() -> int {
      inside_->joined = ::setns(space_.descriptor(), CLONE_NEWNET) == 0;
      for (;;) ::pause();
    });
    EXPECT_TRUE(shmif::test::eventually([this] { return inside_->joined.load(); }));
    EXPECT_TRUE(sampler_.add_process(sampler_.add_job("rx"), child_->pid()));
    look();
  }
  void look() { sampler_.sample(kBetweenNs * looks_++); }
  const TestNamespace& space() const { return space_; }
  const WhySeries& series() const { return sampler_.series(); }
  NetCount count(NetLoss loss) const {
    EXPECT_EQ(series().nets.size(), 1U);
    const auto& count = series().nets.at(0).steps.back()[loss];
    EXPECT_TRUE(count.has_value());
    return count.value_or(NetCount{});
  }
  /// The first cause of a receiver that lost `lost` frames in the last interval.
  Cause cause(std::uint64_t lost) const {
    const std::size_t count = series().ends_s.size();
    const auto causes =
        find_causes(series(), std::vector{traffic_of(series(), "rx", count - 1, count, lost)});
    EXPECT_FALSE(causes.empty());
    return causes.empty() ? Cause{} : causes[0];
  }

 private:
  struct State {
    std::atomic<bool> joined = false;
  };
  TestNamespace space_;
  shmif::test::Shared<State> inside_;
  std::unique_ptr<shmif::test::Child> child_;
  WhySampler sampler_{KernelFiles(), 0};
  std::uint64_t looks_ = 0;
};

/// A figure of a file of the namespace, read by other code than the watch's.
std::uint64_t kernel_count(const TestNamespace& space, const std::string& file,
                           const std::string& group, const std::string& name) {
  const Inside inside(space);
  std::ifstream text("/proc/thread-self/net/" + file);
  std::string names, numbers;
  while (std::getline(text, names)) {
    if (group.empty() && names.starts_with(name)) return std::stoull(names.substr(name.size()));
    if (group.empty() || !names.starts_with(group + ":")) continue;
    std::getline(text, numbers);
    std::istringstream a(names), b(numbers);
    for (std::string key, value; a >> key && b >> value;) {
      if (key == name) return std::stoull(value);
    }
  }
  ADD_FAILURE() << file << " has no " << name;
  return 0;
}

class Address {
 public:
  Address(const char* text, std::uint16_t port) {
    v6_ = ::inet_pton(AF_INET6, text, &in6_.sin6_addr) == 1;
    in6_.sin6_family = AF_INET6;
    in6_.sin6_port = htons(port);
    if (!v6_) ::inet_pton(AF_INET, text, &in_.sin_addr);
    in_.sin_family = AF_INET;
    in_.sin_port = htons(port);
  }
  int family() const { return v6_ ? AF_INET6 : AF_INET; }
  const sockaddr* get() const {
    const void* const any = v6_ ? static_cast<const void*>(&in6_) : &in_;
    return static_cast<const sockaddr*>(any);
  }
  socklen_t size() const { return v6_ ? sizeof in6_ : sizeof in_; }

 private:
  bool v6_;
  sockaddr_in6 in6_{};
  sockaddr_in in_{};
};

void send_datagrams(const TestNamespace& space, const Address& to, int count,
                    std::size_t bytes = 1000) {
  const Inside inside(space);
  const UniqueFd socket(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int many = 8 << 20;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &many, sizeof many);
  const std::vector<char> data(bytes);
  for (int i = 0; i < count; ++i) {
    (void)::sendto(socket.get(), data.data(), data.size(), 0, to.get(), to.size());
  }
}

class NetLosses : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = tap::test::no_namespaces_because(); !why.empty())
      GTEST_SKIP() << why;
  }
};

TEST_F(NetLosses, OfASocketThatNobodyReadsAreThoseOfTheKernel) {
  for (const char* const address : {"127.0.0.1", "::1"}) {
    WatchedNamespace watched;
    const Address to(address, 4000);
    const bool v6 = to.family() == AF_INET6;
    UniqueFd socket;
    {
      const Inside inside(watched.space());
      socket.reset(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const int few = 1;
      ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
      ASSERT_EQ(::bind(socket.get(), to.get(), to.size()), 0);
    }
    send_datagrams(watched.space(), to, 300);
    watched.look();
    const std::uint64_t lost = v6 ? kernel_count(watched.space(), "snmp6", "", "Udp6RcvbufErrors")
                                  : kernel_count(watched.space(), "snmp", "Udp", "RcvbufErrors");
    EXPECT_GT(lost, 200U);
    EXPECT_EQ(watched.count(NetLoss::receive_buffer).lost, lost);
    const Cause cause = watched.cause(2 * lost);
    EXPECT_EQ(cause.cause, CauseKind::receive_buffer) << cause.sentence;
    EXPECT_NEAR(cause.of_losses_share.value_or(0), 0.5, 1e-9);
    EXPECT_NE(cause.sentence.find(v6 ? "(Udp6RcvbufErrors)" : "(UdpRcvbufErrors)"),
              std::string::npos)
        << cause.sentence;
    watched.look();
    EXPECT_EQ(watched.count(NetLoss::receive_buffer).lost, 0U) << "in the next interval";
  }
}

TEST_F(NetLosses, ForWantOfANeighbourNameIt) {
  for (const char* const address : {"198.18.0.9", "fd00::9"}) {
    WatchedNamespace watched;
    tap::Netlink netlink = watched.space().netlink();
    if (!netlink.add_veth("v0", "v1")) GTEST_SKIP() << "cannot create the veth pair";
    const bool v6 = Address(address, 1).family() == AF_INET6;
    ASSERT_TRUE(netlink.set_up("v0"));
    ASSERT_TRUE(netlink.set_up("v1"));
    ASSERT_TRUE(
        netlink.add_address("v0", tap::Cidr::parse(v6 ? "fd00::1/64" : "198.18.0.1/24").value()));
    watched.look();
    send_datagrams(watched.space(), Address(address, 4000), 2000);
    watched.look();
    EXPECT_EQ(watched.series().nets.at(0).neighbour, address);
    EXPECT_GT(watched.count(NetLoss::neighbour).lost, 100U) << "what did not fit into its queue";
    const Cause cause = watched.cause(2000);
    EXPECT_EQ(cause.cause, CauseKind::neighbour) << cause.sentence;
    EXPECT_NE(cause.sentence.find(address), std::string::npos) << cause.sentence;
  }
}

TEST_F(NetLosses, OfTheQueueOfAnInterfaceAreThoseOfTc) {
  WatchedNamespace watched;
  const auto tc = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "tc");
    return tap::test::run(watched.space(), std::move(words));
  };
  const auto made = tc({"qdisc", "add", "dev", "lo", "root", "tbf", "rate", "8kbit", "burst",
                        "2000", "limit", "5000"});
  ASSERT_EQ(made.status, 0) << made.output;
  watched.look();
  send_datagrams(watched.space(), Address("127.0.0.1", 4000), 200);
  watched.look();
  const QueueSeries* queue = nullptr;
  for (const QueueSeries& each : watched.series().queues) {
    if (each.kind == "tbf") queue = &each;
  }
  ASSERT_NE(queue, nullptr);
  EXPECT_EQ(queue->interface, "lo");
  const std::string told = tc({"-s", "qdisc", "show", "dev", "lo"}).output;
  const std::string dropped = "(dropped " + std::to_string(queue->steps.back().drops) + ',';
  EXPECT_GT(queue->steps.back().drops, 100U);
  EXPECT_NE(told.find(dropped), std::string::npos) << dropped << " is not in " << told;
  const Cause cause = watched.cause(200);
  EXPECT_EQ(cause.cause, CauseKind::qdisc) << cause.sentence;
  EXPECT_NE(cause.sentence.find("the queue tbf of the interface lo dropped"), std::string::npos);
}

/// The names that are looked for are those of this kernel.
TEST(NetTotals, AreAllKnownOnThisMachine) {
  const auto table = [](const char* name) {
    return KernelFiles().read("/proc/self/net/" + std::string(name)).value();
  };
  const NetTotals totals = net_totals(table("snmp"), table("netstat"), table("snmp6"));
  for (std::size_t i = 0; i < kNetLosses; ++i) EXPECT_TRUE(totals.totals.at(i)) << i;
}

/// A last look sees what was lost when the processes of the namespace ended.
TEST_F(NetLosses, UntilTheEndOfTheProcessAreSeen) {
  TestNamespace space;
  shmif::test::Shared<std::atomic<bool>> joined;
  auto child = std::make_unique<shmif::test::Child>([&]() -> int {
    *joined = ::setns(space.descriptor(), CLONE_NEWNET) == 0;
    for (;;) ::pause();
  });
  ASSERT_TRUE(shmif::test::eventually([&] { return joined->load(); }));
  WhySampler sampler(KernelFiles(), 0);
  ASSERT_TRUE(sampler.add_process(sampler.add_job("rx"), child->pid()));
  sampler.sample(0);
  send_datagrams(space, Address("198.18.0.9", 4000), 25);
  child->kill_and_wait();
  sampler.sample(kBetweenNs);
  ASSERT_EQ(sampler.series().nets.size(), 1U);
  ASSERT_EQ(sampler.series().nets[0].steps.size(), 1U);
  EXPECT_EQ(sampler.series().nets[0].steps[0][NetLoss::no_route].value_or(NetCount{}).lost, 25U);
  sampler.sample(2 * kBetweenNs);
  EXPECT_EQ(sampler.series().nets[0].steps.size(), 1U) << "it was let go";
}

TEST(NetTotals, ComeFromTheColumnsOfTheirNames) {
  const std::string snmp =
      "Ip: OutRequests OutNoRoutes ReasmOKs ReasmFails\nIp: 100 3 40 5\n"
      "Icmp: OutDestUnreachs\nIcmp: 12\n"
      "Tcp: PassiveOpens OutSegs RetransSegs\nTcp: 7 800 9\n"
      "UdpLite: RcvbufErrors\nUdpLite: 99\n"
      "Udp: InDatagrams NoPorts RcvbufErrors MemErrors\nUdp: 1000 2 11 13\n";
  const std::string netstat =
      "TcpExt: ListenOverflows ListenDrops TCPBacklogDrop\nTcpExt: 17 19 1\n"
      "IpExt: InNoRoutes\nIpExt: 23\n";
  const std::string snmp6 =
      "Ip6OutRequests 50\nIp6OutNoRoutes  \t4\nIp6InNoRoutes 6\nIp6ReasmOKs 1\nIp6ReasmFails 29\n"
      "Icmp6OutDestUnreachs 3\nUdp6InDatagrams 500\nUdp6NoPorts 1\nUdp6RcvbufErrors 31\n"
      "Udp6MemErrors 37\n";
  const auto told = [](NetTotals totals) {
    std::string all;
    for (std::size_t i = 0; i < kNetLosses; ++i) {
      const auto& each = totals.totals.at(i);
      all += each ? std::to_string(each->lost) + '+' + std::to_string(each->lost6) + '/' +
                        std::to_string(each->passed) + ' '
                  : "- ";
    }
    return all;
  };
  EXPECT_EQ(told(net_totals(snmp, netstat, snmp6)),
            "11+31/1500 13+37/1500 5+29/41 19+0/7 9+0/800 26+10/150 10+2/150 ");
  EXPECT_EQ(told(net_totals(snmp, netstat, "")),
            "11+0/1000 13+0/1000 5+0/40 19+0/7 9+0/800 26+0/100 10+0/100 ")
      << "no IPv6";
  EXPECT_EQ(told(net_totals(snmp, netstat, std::nullopt)), "- - - 19+0/7 9+0/800 - - ");
  EXPECT_EQ(told(net_totals(snmp, std::nullopt, snmp6)),
            "11+31/1500 13+37/1500 5+29/41 - 9+0/800 - 10+2/150 ");
  EXPECT_EQ(told(net_totals(std::nullopt, netstat, snmp6)), "- - - 19+0/0 - - - ");
  EXPECT_EQ(told(net_totals("Udp: InDatagrams\nUdp: 1\n", "", "")), "- - - - - - - ")
      << "an old kernel";
  EXPECT_EQ(told(net_totals("Icmp: OutDestUnreachs\nIcmp: 3\nUdp: NoPorts\nUdp: 7\n", {},
                            "Icmp6OutDestUnreachs 2\nUdp6NoPorts 5\n"))
                .substr(12),
            "0+0/0 ")
      << "of closed ports, the kernel tells no more often than its limit of ICMP allows";
}

TEST(NetTotals, OfATableThatCannotBeReadAreUnknownAndNotZero) {
  const Tree tree;
  tree.put("/proc/41/ns/net", "");
  const auto put = [&](int errors) {
    tree.put("/proc/41/net/snmp",
             "Udp: InDatagrams RcvbufErrors\nUdp: 9 " + std::to_string(errors) + '\n');
  };
  put(1000);
  WhySeries series;
  NetWatch watch(tree.files());
  ASSERT_NE(watch.find(41, series), 0U);
  std::vector<std::optional<std::uint64_t>> lost;
  for (const int errors : {1003, -1, 1010, 1014}) {
    if (errors < 0) tree.put("/proc/41/net/snmp", "");
    if (errors >= 0) put(errors);
    series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    watch.sample(series);
    const auto& count = series.nets.at(0).steps.back()[NetLoss::receive_buffer];
    lost.push_back(count ? std::optional(count->lost) : std::nullopt);
  }
  using Lost = std::vector<std::optional<std::uint64_t>>;
  EXPECT_EQ(lost, (Lost{3, std::nullopt, std::nullopt, 4}));
  std::vector<std::string> missing;
  for (const MissingSource& each : series.missing) missing.push_back(each.source);
  EXPECT_EQ(missing, (std::vector<std::string>{"/proc/PID/net/netstat", "/proc/PID/net/snmp"}));
}

/// The files of a namespace, which grow by another part of `n` each.
void put_net(const Tree& tree, const std::string& process, int n, bool has_v6 = true) {
  const auto text = [](int value) { return std::to_string(value); };
  const std::string folder = "/proc/" + process + "/net/";
  tree.put(folder + "snmp", "Udp: InDatagrams RcvbufErrors MemErrors\nUdp: " + text(100 + 2 * n) +
                                ' ' + text(200 + 3 * n) + ' ' + text(300) +
                                "\nTcp: PassiveOpens OutSegs RetransSegs\nTcp: 5 " +
                                text(400 + 5 * n) + ' ' + text(500 + 7 * n) + '\n');
  tree.put(folder + "netstat", "TcpExt: ListenDrops\nTcpExt: " + text(600 + 11 * n) + '\n');
  if (has_v6) {
    tree.put(folder + "snmp6", "Udp6InDatagrams " + text(700 + 13 * n) + "\nUdp6RcvbufErrors " +
                                   text(800) + "\nUdp6MemErrors " + text(900 + 17 * n) + '\n');
  }
  tree.put(folder + "dev", "Inter-|\n face |\neth0: 1 " + text(10 + 19 * n) + " 2 " +
                               text(20 + 23 * n) + " 3 4 5 6 7 " + text(30 + 29 * n) + " 8 " +
                               text(40 + 31 * n) + " 9 10 11 12\n");
}

TEST(NetFiles, GiveEachCountOfAnInterval) {
  const Tree tree;
  tree.put("/proc/41/ns/net", "");
  put_net(tree, "41", 0);
  WhySeries series;
  NetWatch watch(tree.files());
  const std::uint64_t net = watch.find(41, series);
  EXPECT_EQ(watch.find(41, series), net) << "known";
  for (const int n : {1, 11}) {
    put_net(tree, "41", n);
    series.ends_s.push_back(n);
    watch.sample(series);
  }
  ASSERT_EQ(series.nets.size(), 1U);
  EXPECT_TRUE(series.missing.empty());
  EXPECT_EQ(series.nets[0].net, net);
  ASSERT_EQ(series.nets[0].steps.size(), 2U);
  ASSERT_EQ(series.devices.size(), 1U);
  EXPECT_EQ(series.devices[0].name, "eth0");
  EXPECT_EQ(series.devices[0].net, net);
  EXPECT_EQ(series.devices[0].first, 0U);
  ASSERT_EQ(series.devices[0].steps.size(), 2U);
  for (const std::size_t i : {0U, 1U}) {
    const std::uint64_t n = i == 0 ? 1 : 10;
    const NetStep& step = series.nets[0].steps[i];
    const auto expect_count = [&](NetLoss loss, std::uint64_t lost, std::uint64_t passed, bool v4,
                                  bool v6) {
      ASSERT_TRUE(step[loss]);
      EXPECT_EQ(step[loss]->lost, lost);
      EXPECT_EQ(step[loss]->passed, passed);
      EXPECT_EQ(step[loss]->v4, v4);
      EXPECT_EQ(step[loss]->v6, v6);
    };
    expect_count(NetLoss::receive_buffer, 3 * n, 15 * n, true, false);
    expect_count(NetLoss::socket_memory, 17 * n, 15 * n, false, true);
    expect_count(NetLoss::retransmits, 7 * n, 5 * n, true, false);
    expect_count(NetLoss::listen_queue, 11 * n, 0, true, false);
    EXPECT_FALSE(step[NetLoss::no_route]) << "this kernel has no such line";
    const DeviceStep& device = series.devices[0].steps[i];
    EXPECT_EQ(device.rx_packets, 19 * n);
    EXPECT_EQ(device.rx_drops, 23 * n);
    EXPECT_EQ(device.tx_packets, 29 * n);
    EXPECT_EQ(device.tx_drops, 31 * n);
  }
}

TEST(NetFiles, OfAKernelWithoutIpv6AreKnown) {
  const Tree tree;
  tree.put("/proc/41/ns/net", "");
  put_net(tree, "41", 0, false);
  WhySeries series;
  NetWatch watch(tree.files());
  watch.find(41, series);
  put_net(tree, "41", 1, false);
  series.ends_s.push_back(1);
  watch.sample(series);
  EXPECT_EQ(series.nets.at(0).steps.at(0)[NetLoss::receive_buffer].value_or(NetCount{}).lost, 3U);
  EXPECT_TRUE(series.missing.empty());
}

TEST(NetFiles, OfVeryManyNamespacesAreNotKeptOpen) {
  const Tree tree;
  const auto open_files = [&] {
    std::size_t count = 0;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(each.path(), gone).string();
      if (target.starts_with(tree.path() + "/proc/1")) ++count;
    }
    return count;
  };
  WhySeries series;
  NetWatch watch(tree.files());
  const auto add = [&](int process) {
    const std::string number = std::to_string(process);
    tree.put("/proc/" + number + "/ns/net", "");
    put_net(tree, number, 0);
    ASSERT_NE(watch.find(process, series), 0U);
  };
  const auto look = [&] {
    series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    watch.sample(series);
  };
  for (int process = 1001; process <= 1060; ++process) add(process);
  look();
  EXPECT_EQ(open_files(), 4U * 60U);
  add(1061);
  look();
  EXPECT_EQ(open_files(), 0U);
  put_net(tree, "1061", 2);
  look();
  ASSERT_EQ(series.nets.size(), 61U);
  EXPECT_EQ(series.nets[60].steps.back()[NetLoss::retransmits].value_or(NetCount{}).lost, 14U);
  EXPECT_EQ(series.devices.at(60).steps.back().tx_drops, 62U);
}

TEST(NetFiles, TakeAnInterfaceThatComesBackForAnotherOne) {
  const Tree tree;
  tree.put("/proc/41/ns/net", "");
  WhySeries series;
  NetWatch watch(tree.files());
  ASSERT_NE(watch.find(41, series), 0U);
  for (const int received : {10, 15, -1, 3, 4}) {
    std::string table = "Inter-|   Receive\n face |bytes\n";
    if (received >= 0) {
      table += "veth0: 0 " + std::to_string(received) + " 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
    }
    tree.put("/proc/41/net/dev", table);
    series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    watch.sample(series);
  }
  std::vector<std::string> told;
  for (const DeviceSeries& device : series.devices) {
    std::string line = "from " + std::to_string(device.first) + ':';
    for (const DeviceStep& step : device.steps) line += ' ' + std::to_string(step.rx_packets);
    told.push_back(std::move(line));
  }
  EXPECT_EQ(told, (std::vector<std::string>{"from 1: 5", "from 3: 3 1"}))
      << "all since it was made";
}

}  // namespace

// What is taken from the kernel's answers about queues and neighbours, which a test writes.

namespace {

template <class T>
std::string bytes_of(const T& value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::string padded(std::string bytes) {
  bytes.resize((bytes.size() + 3) / 4 * 4);
  return bytes;
}

std::string attribute(unsigned short type, const std::string& value) {
  const rtattr header{static_cast<unsigned short>(sizeof(rtattr) + value.size()), type};
  return padded(bytes_of(header) + value);
}

std::string netlink_message(std::uint16_t type, std::uint32_t sequence, const std::string& body,
                            std::uint16_t flags = 0) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + body.size());
  header.nlmsg_type = type;
  header.nlmsg_flags = flags;
  header.nlmsg_seq = sequence;
  return padded(bytes_of(header) + body);
}

std::string queue_stats(std::uint32_t drops) {
  gnet_stats_queue queue{};
  queue.qlen = 70;
  queue.backlog = 71;
  queue.drops = drops;
  queue.requeues = 72;
  queue.overlimits = 73;
  return attribute(TCA_STATS_QUEUE, bytes_of(queue));
}

std::string basic_stats(std::uint32_t packets) {
  gnet_stats_basic basic{};
  basic.bytes = 80;
  basic.packets = packets;
  return attribute(TCA_STATS_BASIC, bytes_of(basic));
}

std::string queue_body(int interface, std::uint32_t parent, const std::string& attributes) {
  tcmsg head{};
  head.tcm_family = AF_UNSPEC;
  head.tcm_ifindex = interface;
  head.tcm_handle = 0x10000;
  head.tcm_parent = parent;
  return bytes_of(head) + attributes;
}

std::string plain_queue(int interface, const char* kind, std::uint32_t packets, std::uint32_t drops,
                        std::uint32_t parent = TC_H_ROOT) {
  return queue_body(interface, parent,
                    attribute(TCA_KIND, std::string(kind) + '\0') +
                        attribute(TCA_STATS2, basic_stats(packets) + queue_stats(drops)));
}

std::string neighbour_body(int state, int family, const std::string& address) {
  ndmsg head{};
  head.ndm_family = static_cast<unsigned char>(family);
  head.ndm_ifindex = 1;
  head.ndm_state = static_cast<std::uint16_t>(state);
  const std::string link("\1\2\3\4\5\6", 6);
  return bytes_of(head) + attribute(NDA_LLADDR, link) + attribute(NDA_DST, address);
}

std::string address_bytes(const char* text) {
  std::array<char, sizeof(in6_addr)> bytes{};
  const bool v6 = std::string_view(text).find(':') != std::string_view::npos;
  EXPECT_EQ(::inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes.data()), 1);
  return {bytes.data(), v6 ? sizeof(in6_addr) : sizeof(in_addr)};
}

/// A kernel that has answered before it is asked.
class WrittenKernel {
 public:
  WrittenKernel() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    own_.reset(ends[0]);
    asks_.reset(ends[1]);
  }
  QueueDump dump() { return QueueDump::over(std::move(asks_)); }
  /// The next answer, in one part.
  void answer(std::uint16_t type, const std::vector<std::string>& bodies, std::uint16_t flags = 0) {
    ++sequence_;
    std::string part;
    for (const std::string& body : bodies) part += netlink_message(type, sequence_, body, flags);
    send(part);
    send(netlink_message(NLMSG_DONE, sequence_, bytes_of(0)));
  }
  void refuse(int error) { send(netlink_message(NLMSG_ERROR, ++sequence_, bytes_of(-error))); }

 private:
  void send(const std::string& bytes) const {
    EXPECT_EQ(::send(own_.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }
  UniqueFd own_, asks_;
  std::uint32_t sequence_ = 0;
};

/// A namespace of which a test writes what the kernel says.
class WrittenNamespace : public ::testing::Test {
 protected:
  WrittenNamespace() {
    tree.put("/proc/41/ns/net", "");
    put_unreachable(0);
    put_discards(0);
    net = watch.find(41, series);
    EXPECT_NE(net, 0U);
    // The figure of the discards is that of an interval.
    look();
  }
  void ask() { watch.ask(net, kernel.dump(), series); }
  void look() {
    series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    watch.sample(series);
  }
  void answer_queues(const std::vector<std::string>& bodies = {}, std::uint16_t flags = 0) {
    kernel.answer(RTM_NEWQDISC, bodies, flags);
  }
  void answer_failed(const char* address) {
    kernel.answer(RTM_NEWNEIGH, {neighbour_body(NUD_INCOMPLETE, AF_INET6, address_bytes("fd00::1")),
                                 neighbour_body(NUD_FAILED, AF_INET, address_bytes(address))});
  }
  void put_unreachable(int count) const {
    tree.put("/proc/41/net/snmp", "Ip: OutRequests\nIp: 9\nIcmp: OutDestUnreachs\nIcmp: " +
                                      std::to_string(count) + "\nUdp: NoPorts\nUdp: 0\n");
  }
  void put_discards(int arp, int ndisc = 0) const {
    const auto put = [&](const char* table, int count) {
      std::array<char, 64> text{};
      std::snprintf(text.data(), text.size(), "entries unresolved_discards\n00000001 %08x\n",
                    static_cast<unsigned>(count));
      tree.put("/proc/net/stat/" + std::string(table), text.data());
    };
    put("arp_cache", arp);
    put("ndisc_cache", ndisc);
  }
  std::optional<std::uint64_t> lost() const {
    const auto& count = series.nets.at(0).steps.back()[NetLoss::neighbour];
    return count ? std::optional(count->lost) : std::nullopt;
  }
  std::vector<std::string> missed() const {
    std::vector<std::string> all;
    for (const MissingSource& each : series.missing) {
      if (each.source != "/proc/PID/net/netstat") all.push_back(each.source);
    }
    return all;
  }
  using Names = std::vector<std::string>;
  /// "tbf from 1: 50/20 0/0": packets and drops.
  Names queues_told() const {
    Names told;
    for (const QueueSeries& each : series.queues) {
      std::string line =
          each.kind + (each.ingress ? " in" : "") + " from " + std::to_string(each.first) + ':';
      for (const QueueStep& step : each.steps) {
        line += ' ' + std::to_string(step.packets) + '/' + std::to_string(step.drops);
      }
      told.push_back(std::move(line));
      EXPECT_EQ(each.net, net);
    }
    return told;
  }

  const Tree tree;
  WrittenKernel kernel;
  WhySeries series;
  NetWatch watch{tree.files()};
  std::uint64_t net = 0;
};

TEST_F(WrittenNamespace, HasTheCountsOfEachOfItsQueues) {
  const std::string kind = attribute(TCA_KIND, std::string("hfsc\0", 5));
  answer_queues({plain_queue(1, "tbf", 100, 10), plain_queue(2, "pfifo", 1000, 5),
                 plain_queue(1, "sfq", 7, 7, 0x10001),  // of a class: a part of the whole
                 queue_body(1, TC_H_ROOT, kind),
                 queue_body(1, TC_H_ROOT, kind + std::string("\3\0\7\0", 4)),
                 bytes_of(tcmsg{}).substr(0, 8)});
  ask();
  answer_queues({plain_queue(2, "pfifo", 1003, 7), plain_queue(1, "tbf", 150, 30)});
  look();
  // One is new, and the counts of another one pass 32 bits.
  answer_queues({plain_queue(1, "tbf", 150, 30), plain_queue(2, "pfifo", 2, 8),
                 plain_queue(1, "ingress", 20, 3, TC_H_INGRESS)});
  look();
  // A queue is replaced, and comes back.
  for (const auto& body : {plain_queue(1, "pfifo_fast", 4, 1), plain_queue(1, "tbf", 7, 3)}) {
    answer_queues({body});
    look();
  }
  EXPECT_EQ(queues_told(),
            (Names{"tbf from 1: 50/20 0/0", "pfifo from 1: 3/2 0/1", "ingress in from 2: 20/3",
                   "pfifo_fast from 3: 4/1", "tbf from 4: 7/3"}));
  EXPECT_EQ(series.queues.at(0).interface, "lo");
  EXPECT_EQ(missed(), Names{});
}

TEST_F(WrittenNamespace, WhoseQueuesChangedWhileTheyWereReadIsReadAnewWithoutAWord) {
  answer_queues({plain_queue(1, "tbf", 100, 10)});
  ask();
  answer_queues({plain_queue(1, "tbf", 150, 30)}, NLM_F_DUMP_INTR);
  look();
  answer_queues({plain_queue(1, "tbf", 170, 31)});
  look();
  answer_queues({plain_queue(1, "tbf", 171, 33)});
  look();
  EXPECT_EQ(missed(), Names{});
  EXPECT_EQ(queues_told(), (Names{"tbf from 1:", "tbf from 3: 1/2"}))
      << "what it did before is not known";
  kernel.refuse(EPERM);
  look();
  EXPECT_EQ(missed(), Names{"queues of interfaces"});
}

TEST_F(WrittenNamespace, LosesWhatIsDiscardedWhileANeighbourIsSilent) {
  answer_queues();
  ask();
  answer_queues();
  put_discards(3, 4);
  answer_failed("198.18.0.9");
  look();
  EXPECT_EQ(lost(), 7U) << "of both tables";
  EXPECT_EQ(series.nets.at(0).neighbour, "198.18.0.9");
  answer_queues();
  put_discards(8, 4);
  put_unreachable(2);
  kernel.answer(RTM_NEWNEIGH, {neighbour_body(NUD_STALE, AF_INET, address_bytes("198.18.0.9")),
                               neighbour_body(NUD_FAILED, AF_INET, address_bytes("fd00::1"))});
  look();
  EXPECT_EQ(lost(), 2U) << "it answers now: those discards are another namespace's";
  EXPECT_EQ(series.nets[0].neighbour, "198.18.0.9");
  answer_queues();
  put_discards(9, 4);
  put_unreachable(4);
  answer_failed("198.18.0.8");
  look();
  EXPECT_EQ(lost(), 3U);
  EXPECT_EQ(series.nets[0].neighbour, "198.18.0.8") << "the newest";
  answer_queues();
  look();
  EXPECT_EQ(lost(), 0U) << "nobody is asked where nothing was lost";
  EXPECT_EQ(missed(), Names{});
  answer_queues();
  put_unreachable(6);
  kernel.refuse(EPERM);
  look();
  EXPECT_EQ(lost(), std::nullopt);
  EXPECT_EQ(missed(), Names{"neighbours"});
}

}  // namespace

}  // namespace shmif::perf::test
