// What messages of the kernel say about interfaces and their lists, whoever made them.

#include "tap/guest/link_news.hpp"

#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tap/guest/watch.hpp"
#include "tests/tap/guest/route_message.hpp"
#include "tests/tap/guest/watch_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

constexpr unsigned kLowerUp = 1U << 16U;

/// News of interface 3.
RouteMessage news() {
  ifinfomsg about{};
  about.ifi_index = 3;
  about.ifi_flags = IFF_UP | IFF_RUNNING | kLowerUp;
  return {.type = RTM_NEWLINK,
          .link = about,
          .attributes = {{IFLA_PROMISCUITY, RouteMessage::number(2)},
                         {IFLA_MTU, RouteMessage::number(1400)},
                         {IFLA_ADDRESS, RouteMessage::address(kFirst)},
                         {IFLA_LINK, RouteMessage::number(5)},
                         {IFLA_MASTER, RouteMessage::number(6)},
                         {IFLA_LINK_NETNSID, RouteMessage::number(9)}}};
}
std::optional<LinkNews> read_one(const RouteMessage& message) {
  const LinkNewsBatch batch = read_link_news(message.bytes());
  EXPECT_LE(batch.links.size(), 1U);
  return batch.links.empty() ? std::nullopt : std::optional(batch.links.front());
}

TEST(LinkNews, SayAllOfAnInterface) {
  const auto all = read_one(news());
  ASSERT_TRUE(all);
  EXPECT_EQ(all->index, 3U);
  EXPECT_FALSE(all->gone);
  EXPECT_EQ(all->promiscuity, 2U);
  EXPECT_TRUE(all->carrier);
  EXPECT_EQ(all->mtu, 1400U);
  EXPECT_EQ(all->mac, kFirst);
  EXPECT_EQ(all->lower, 5U);
  EXPECT_EQ(all->master, 6U);
  EXPECT_EQ(all->lower_space, 9);
  for (const unsigned missing : {unsigned{IFF_UP}, unsigned{IFF_RUNNING}, kLowerUp}) {
    RouteMessage without = news();
    without.link->ifi_flags &= ~missing;
    EXPECT_FALSE(read_one(without)->carrier) << missing;
  }
}

/// News of an address of interface 3, which may have a peer.
RouteMessage ip_news(const std::string& own, const std::string& peer = {}) {
  const auto bytes_of = [](const std::string& text) {
    const IpAddress address = IpAddress::parse(text).value();
    RouteMessage::Bytes bytes(address.bits() / 8);
    std::memcpy(bytes.data(), address.bytes.data(), bytes.size());
    return bytes;
  };
  ifaddrmsg about{};
  about.ifa_family = own.find(':') == std::string::npos ? AF_INET : AF_INET6;
  about.ifa_index = 3;
  RouteMessage made{.type = RTM_NEWADDR, .ip = about};
  made.attributes = {{IFA_ADDRESS, bytes_of(peer.empty() ? own : peer)}};
  if (!peer.empty()) made.attributes.push_back({IFA_LOCAL, bytes_of(own)});
  return made;
}

std::vector<std::string> addresses_in(const RouteMessage& message) {
  std::vector<std::string> all;
  for (const IpAddress& each : read_link_news(message.bytes()).addresses)
    all.push_back(each.to_string());
  return all;
}

TEST(LinkNews, SayWhichIpAddressesAnInterfaceGets) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(addresses_in(ip_news("198.18.0.7")), Texts{"198.18.0.7"});
  EXPECT_EQ(addresses_in(ip_news("198.18.0.7", "198.18.0.8")), Texts{"198.18.0.7"})
      << "the other one is at the far end";
  EXPECT_EQ(addresses_in(ip_news("fd00::7")), Texts{"fd00::7"});
  RouteMessage gone = ip_news("198.18.0.7");
  gone.type = RTM_DELADDR;
  EXPECT_EQ(addresses_in(gone), Texts());
  RouteMessage bare = ip_news("198.18.0.7");
  bare.attributes.clear();
  EXPECT_EQ(addresses_in(bare), Texts());
  for (const int family : {AF_INET6, AF_PACKET}) {
    RouteMessage wrong = ip_news("198.18.0.7");
    wrong.ip->ifa_family = static_cast<std::uint8_t>(family);
    EXPECT_EQ(addresses_in(wrong), Texts()) << "four bytes are no address of family " << family;
  }
  auto both = ip_news("198.18.0.7").bytes();
  const auto second = ip_news("fd00::7").bytes();
  both.insert(both.end(), second.begin(), second.end() - 1);
  EXPECT_EQ(read_link_news(both).addresses.size(), 1U) << "the second is cut";
}

TEST(LinkNews, LeaveOutWhatTheInterfaceDoesNotHave) {
  RouteMessage plain = news();
  plain.attributes.resize(1);
  const auto read = read_one(plain);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->mtu, 0U);
  EXPECT_EQ(read->mac, MacAddress());
  EXPECT_EQ(read->lower, 0U);
  EXPECT_EQ(read->master, 0U);
  EXPECT_EQ(read->lower_space, std::nullopt);
  for (const std::size_t size : {4U, 8U, 20U}) {
    RouteMessage other = news();
    other.attributes[2].value = RouteMessage::address(kFirst, size);
    EXPECT_EQ(read_one(other)->mac, MacAddress()) << size;
  }
}

TEST(LinkNews, AreOnlyThoseOfInterfacesThemselves) {
  RouteMessage bridge = news();
  bridge.link->ifi_family = AF_BRIDGE;
  EXPECT_FALSE(read_one(bridge)) << "a bridge about its port";
  RouteMessage ipv6 = news();
  ipv6.link->ifi_family = AF_INET6;
  EXPECT_FALSE(read_one(ipv6));
  RouteMessage other = news();
  other.type = RTM_NEWADDR;
  EXPECT_FALSE(read_one(other));
  RouteMessage no_count = news();
  no_count.attributes.erase(no_count.attributes.begin());
  EXPECT_FALSE(read_one(no_count));
  for (const std::size_t i : {0U, 1U, 3U, 4U, 5U}) {
    RouteMessage broken = news();
    broken.attributes.at(i).value.resize(2);
    EXPECT_FALSE(read_one(broken)) << i;
  }
}

TEST(LinkNews, OfTheEndNeedNothingButTheNumber) {
  RouteMessage end = news();
  end.type = RTM_DELLINK;
  end.attributes.clear();
  const auto read = read_one(end);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->gone);
  EXPECT_EQ(read->index, 3U);
  end.link->ifi_family = AF_BRIDGE;
  EXPECT_FALSE(read_one(end)) << "it has only left a bridge";
}

TEST(LinkNews, OfOneDatagramAreReadAllAndListsAreNamedIfThereAreAny) {
  RouteMessage second = news();
  second.link->ifi_index = 4;
  RouteMessage::Bytes both = news().bytes();
  std::ranges::copy(second.bytes(), std::back_inserter(both));
  const LinkNewsBatch links = read_link_news(both);
  ASSERT_EQ(links.links.size(), 2U);
  EXPECT_EQ(links.links[0].index, 3U);
  EXPECT_EQ(links.links[1].index, 4U);
  EXPECT_FALSE(links.lists);
  for (const unsigned type : {RTM_NEWNEIGH, RTM_DELNEIGH}) {
    RouteMessage::Bytes with_list = RouteMessage{.type = type}.bytes();
    EXPECT_TRUE(read_link_news(with_list).lists) << type;
    std::ranges::copy(news().bytes(), std::back_inserter(with_list));
    const LinkNewsBatch mixed = read_link_news(with_list);
    EXPECT_TRUE(mixed.lists) << type;
    EXPECT_EQ(mixed.links.size(), 1U) << type;
  }
  both.resize(both.size() - 4);
  EXPECT_EQ(read_link_news(both).links.size(), 1U) << "the second is cut";
}

RouteMessage entry_of(const MacAddress& mac) {
  return {.attributes = {{NDA_LLADDR, RouteMessage::address(mac)}}};
}
UnicastList list_of(const std::vector<RouteMessage>& messages) {
  UnicastList list;
  for (const RouteMessage& each : messages) read_unicast_list(each.bytes(), 7, 3, list);
  return list;
}
using Macs = std::vector<MacAddress>;

TEST(UnicastLists, HaveOnlyTheEntriesOfTheInterfaceItself) {
  EXPECT_EQ(list_of({entry_of(kFirst), entry_of(kSecond)}).macs, (Macs{kFirst, kSecond}));
  RouteMessage foreign = entry_of(kFirst);
  foreign.entry.ndm_ifindex = 4;
  RouteMessage neighbour = entry_of(kFirst);
  neighbour.entry.ndm_family = AF_INET;
  RouteMessage of_bridge = entry_of(kFirst);
  of_bridge.entry.ndm_flags = NTF_MASTER;
  RouteMessage gone = entry_of(kFirst);
  gone.type = RTM_DELNEIGH;
  RouteMessage long_one = entry_of(kFirst);
  long_one.attributes[0].value = RouteMessage::address(kFirst, 8);
  RouteMessage no_address = entry_of(kFirst);
  no_address.attributes.clear();
  RouteMessage of_other_question = entry_of(kFirst);
  of_other_question.question = 6;
  const RouteMessage multicast = entry_of(*MacAddress::parse("01:00:5e:00:00:01"));
  const std::vector<RouteMessage> all{foreign,  neighbour,  of_bridge,         gone,
                                      long_one, no_address, of_other_question, multicast};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const UnicastList list = list_of({all[i], entry_of(kSecond)});
    EXPECT_EQ(list.macs, Macs{kSecond}) << i;
    EXPECT_FALSE(list.failed) << i;
    EXPECT_FALSE(list.ended) << i;
  }
}

TEST(UnicastLists, ThatChangedWhileTheyWereReadAreNone) {
  RouteMessage changed = entry_of(kFirst);
  changed.flags |= NLM_F_DUMP_INTR;
  const UnicastList whole = list_of({entry_of(kFirst), entry_of(kSecond)});
  EXPECT_EQ(whole.macs, (Macs{kFirst, kSecond}));
  EXPECT_FALSE(whole.failed);
  EXPECT_TRUE(list_of({changed, entry_of(kSecond)}).failed);
  EXPECT_TRUE(list_of({entry_of(kSecond), changed}).failed);
}

TEST(UnicastLists, EndWithTheMessageThatSaysSoOrWithAnError) {
  const UnicastList done =
      list_of({entry_of(kFirst), {.type = NLMSG_DONE}, entry_of(kSecond), {.type = NLMSG_ERROR}});
  EXPECT_TRUE(done.ended);
  EXPECT_FALSE(done.failed) << "what comes behind the end does not count";
  EXPECT_EQ(done.macs, Macs{kFirst});
  const UnicastList error = list_of({{.type = NLMSG_ERROR}, entry_of(kFirst)});
  EXPECT_TRUE(error.ended);
  EXPECT_TRUE(error.failed);
  const UnicastList of_another = list_of({{.type = NLMSG_DONE, .question = 8}, entry_of(kFirst)});
  EXPECT_FALSE(of_another.ended);
  EXPECT_EQ(of_another.macs, Macs{kFirst});
  EXPECT_TRUE(list_of({{.type = NLMSG_DONE, .flags = NLM_F_MULTI | NLM_F_DUMP_INTR}}).failed)
      << "also at the end it is said that the list changed";
}

TEST(UnicastLists, HaveOneMoreThanAPortCanKeepAtMost) {
  std::vector<RouteMessage> many;
  for (unsigned i = 0; i < 40; ++i)
    many.push_back(entry_of(MacAddress::from_u64(0x020000000000U + i)));
  const UnicastList list = list_of(many);
  ASSERT_EQ(list.macs.size(), UnicastList::kMaxMacs + 1);
  EXPECT_EQ(list.macs.back(), MacAddress::from_u64(0x020000000000U + 16));
}

// Root of a namespace may send to every netlink socket of it.
TEST(InterfaceQuestions, OnlyTheKernelAnswers) {
  if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  const TestNamespace space;
  const Inside inside(space);
  std::vector<UniqueFd> sockets = open_watch_sockets().value();
  const RouteSocket reached(sockets.at(1).get());
  RouteMessage lie = news();
  lie.question = 1;
  lie.link->ifi_index = static_cast<int>(::if_nametoindex("lo"));
  reached.send(lie);
  lie.question = 2;
  reached.send(lie);
  RouteMessage of_list = entry_of(kFirst);
  of_list.question = 3;
  of_list.entry.ndm_ifindex = lie.link->ifi_index;
  reached.send(of_list);
  InterfaceQuestions questions(std::move(sockets.at(1)));
  const unsigned lo = ::if_nametoindex("lo");
  for (unsigned i = 0; i < 2; ++i) {
    const auto now = questions.link(lo);
    ASSERT_TRUE(now);
    EXPECT_EQ(now->index, lo);
    EXPECT_EQ(now->mtu, 65536U);
    EXPECT_EQ(now->promiscuity, 0U);
  }
  const auto list = questions.unicast_list(lo);
  ASSERT_TRUE(list);
  EXPECT_EQ(list->macs, Macs());
  EXPECT_TRUE(list->ended);
}

TEST(InterfaceQuestions, OfWhatIsNotThereHaveNoAnswerAndTheNextOneHas) {
  if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  const TestNamespace space;
  const Inside inside(space);
  InterfaceQuestions questions(std::move(open_watch_sockets().value().at(1)));
  const unsigned lo = ::if_nametoindex("lo");
  ASSERT_TRUE(questions.link(lo));
  EXPECT_FALSE(questions.link(4711)) << "the answer before is not this one's";
  EXPECT_FALSE(questions.link("none", {}));
  const auto by_name = questions.link("lo", {});
  ASSERT_TRUE(by_name);
  EXPECT_EQ(by_name->index, lo);
  const TestNamespace other;
  EXPECT_FALSE(questions.link(lo, Place{.space = 4711})) << "no such namespace";
  const auto number = questions.space_number(other.space().descriptor());
  ASSERT_TRUE(number);
  EXPECT_EQ(questions.space_number(other.space().descriptor()), number) << "it keeps its number";
  const TestNamespace third;
  const auto of_third = questions.space_number(third.space().descriptor());
  ASSERT_TRUE(of_third);
  EXPECT_NE(of_third, number);
  ASSERT_TRUE(other.netlink().set_mtu("lo", 1234));
  EXPECT_EQ(questions.link("lo", Place{.space = *number})->mtu, 1234U);
  EXPECT_EQ(questions.link(1, Place{.space = *number})->mtu, 1234U);
  EXPECT_EQ(questions.link("lo", {})->mtu, 65536U);
}

}  // namespace
}  // namespace shmif::tap::test
