// What is taken from the kernel's answers about queues and neighbours, which a test writes.

#include "instruments/why/net_watch.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/gen_stats.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
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
