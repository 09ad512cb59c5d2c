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
