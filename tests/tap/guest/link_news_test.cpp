// What messages of the kernel say about interfaces and their lists, whoever made them.

#include "tap/guest/link_news.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tap/guest/watch.hpp"
#include "tests/support/eventually.hpp"
#include "tests/tap/guest/watch_rig.hpp"
#include "tests/tap/tap_rig.hpp"
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

// Interfaces that somebody moves into other network namespaces while they are watched.

using shmif::test::eventually;

/// A device "dev0" in a namespace, and the watch of it. The far end of a veth pair is in a
/// namespace of its own, as that of a host is.
class AbroadTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
    if (GetParam() == "Tap") {
      const NetNamespace space = home_.space();
      tap_.emplace(TapLink::open(in(space, "dev0")).value());
    } else {
      const NetNamespace space = home_.space();
      ASSERT_TRUE(far_.netlink().add_veth("far0", "dev0", &space));
      ASSERT_TRUE(far_.netlink().set_up("far0"));
      ASSERT_TRUE(home_.netlink().set_up("dev0"));
      ASSERT_TRUE(home_.netlink().wait_for_carrier("dev0", std::chrono::seconds(20)));
      const Inside inside(far_);
      packets_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
      sockaddr_ll all{};
      all.sll_family = AF_PACKET;
      all.sll_ifindex = static_cast<int>(::if_nametoindex("far0"));
      ASSERT_EQ(::bind(packets_.get(), reinterpret_cast<const sockaddr*>(&all), sizeof all), 0);
    }
  }

  /// `own`: how often we made the interface promiscuous ourselves.
  void begin(const WatchPace& pace, unsigned own = 0) {
    std::vector<UniqueFd> sockets;
    {
      const Inside inside(home_);
      sockets = open_watch_sockets().value();
    }
    if (!tap_) {
      const Inside inside(far_);
      std::vector<UniqueFd> abroad = open_abroad_sockets().value();
      std::ranges::move(abroad, sockets.begin() + 2);
    }
    WatchedLink link{.index = index_at(home_)};
    link.own = own;
    link.has_list = has_list_;
    link.our_end = tap_ ? tap_->descriptor() : packets_.get();
    link.kind = tap_ ? LinkKind::tap : LinkKind::veth;
    std::vector<WatchedLink> links = before_;
    links.push_back(link);
    watch_.emplace(GuestWatch::open(WatchSockets::take(sockets), links, pace).value());
    // The first question, so that all later ones have another reason.
    ASSERT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu == 1500; }));
  }

  static unsigned index_at(const TestNamespace& space) {
    const auto found = space.netlink().interface("dev0");
    return found ? found->index : 0;
  }

  /// Waits until what the watch told last is so, as an event loop would.
  bool becomes(const std::function<bool(const GuestInterfaceState&)>& so) {
    return eventually([&] {
      pollfd entry{watch_->descriptor(), POLLIN, 0};
      std::vector<GuestInterfaceState> changes;
      if (::poll(&entry, 1, 10) > 0) watch_->read(changes);
      for (const GuestInterfaceState& each : changes) {
        if (each.interface == before_.size()) now_ = each;
      }
      return so(now_);
    });
  }
  bool has_carrier(bool on) {
    return becomes(
        [on](const GuestInterfaceState& now) { return now.carrier_known && now.carrier == on; });
  }

  /// Everything about the interface is told where it is now.
  void expect_followed(const TestNamespace& space, MacAddress mac, std::uint32_t mtu) {
    Netlink there = space.netlink();
    EXPECT_TRUE(has_carrier(false)) << "it arrives down";
    ASSERT_TRUE(there.set_mac("dev0", mac));
    ASSERT_TRUE(there.set_up("dev0"));
    EXPECT_TRUE(has_carrier(true));
    EXPECT_TRUE(becomes([&](const GuestInterfaceState& now) { return now.mac == mac; }));
    EXPECT_FALSE(now_.promiscuous);
    ASSERT_TRUE(there.set_mtu("dev0", mtu));
    EXPECT_TRUE(becomes([&](const GuestInterfaceState& now) { return now.mtu == mtu; }));
    ASSERT_TRUE(set_promiscuous(space.space(), "dev0", true));
    EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.promiscuous; }));
    ASSERT_TRUE(set_promiscuous(space.space(), "dev0", false));
    EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return !now.promiscuous; }));
  }

  /// A veth pair needs up to a second for each change.
  void expect_followed_under_another_name(const TestNamespace& space) {
    Netlink there = space.netlink();
    const GuestInterfaceState before = now_;
    ASSERT_TRUE(there.set_up("dev0", false));
    EXPECT_TRUE(has_carrier(false));
    ASSERT_TRUE(there.rename("dev0", "dev1"));
    ASSERT_TRUE(there.set_up("dev1"));
    EXPECT_TRUE(has_carrier(true));
    EXPECT_EQ(now_, before);
    ASSERT_TRUE(there.set_up("dev1", false));
    ASSERT_TRUE(there.rename("dev1", "dev0"));
  }

  static void ip(const TestNamespace& space, const std::string& words) {
    const Outcome done = run(space, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; " + words});
    EXPECT_EQ(done.status, 0) << words << ": " << done.output;
  }

  TestNamespace home_;
  TestNamespace far_;
  bool has_list_ = true;
  std::vector<WatchedLink> before_;  ///< others that are watched, too
  std::optional<TapLink> tap_;
  UniqueFd packets_;
  std::optional<GuestWatch> watch_;
  GuestInterfaceState now_;
};
INSTANTIATE_TEST_SUITE_P(On, AbroadTest, ::testing::Values("Tap", "Veth"),
                         [](const auto& each) { return each.param; });

TEST_P(AbroadTest, AnInterfaceIsWhatItsDeviceSaysInWhateverNamespaceItIs) {
  const TestNamespace first;
  const TestNamespace second;
  begin(kAtNews);
  ASSERT_TRUE(home_.netlink().move_to("dev0", first.space()));
  expect_followed(first, kFirst, 1400);
  ASSERT_TRUE(first.netlink().move_to("dev0", second.space()));
  expect_followed(second, kSecond, 1300);
  expect_followed_under_another_name(second);
  ASSERT_TRUE(second.netlink().move_to("dev0", home_.space()));
  expect_followed(home_, kFirst, 1200);
  ip(home_, "bridge fdb add 02:00:00:00:00:02 dev dev0 self");
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) {
    return now.other_macs == std::vector<MacAddress>{kSecond} && !now.promiscuous;
  })) << "at home its list is known again";
  ASSERT_TRUE(home_.netlink().move_to("dev0", second.space()));
  EXPECT_TRUE(has_carrier(false)) << "and it may go again";
}

TEST_P(AbroadTest, OneThatWasMovedBeforeTheWatchBeganIsFollowedFromTheBegin) {
  const TestNamespace other;
  ASSERT_TRUE(home_.netlink().move_to("dev0", other.space()));
  for (const bool has_list : {false, true}) {
    has_list_ = has_list;
    now_ = {};
    begin(kAtNews);
    EXPECT_TRUE(has_carrier(false)) << "it arrived down";
    ASSERT_TRUE(other.netlink().set_up("dev0"));
    EXPECT_TRUE(has_carrier(true));
    ASSERT_TRUE(other.netlink().set_up("dev0", false));
  }
}

TEST_P(AbroadTest, AddressesThatItReceivesAbroadMakeItHearAll) {
  const TestNamespace other;
  begin(kAtNews);
  ASSERT_TRUE(home_.netlink().move_to("dev0", other.space()));
  ASSERT_TRUE(other.netlink().set_up("dev0"));
  EXPECT_TRUE(has_carrier(true));
  ip(other, "bridge fdb add 02:00:00:00:00:02 dev dev0 self");
  ASSERT_TRUE(other.netlink().set_mtu("dev0", 1400));
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) {
    return now.mtu == 1400 && now.promiscuous && now.other_macs.empty();
  }));
}

// Our bridge, which made it promiscuous, is at home.
TEST_P(AbroadTest, AbroadNobodyHasMadeItPromiscuousForUs) {
  const TestNamespace other;
  begin(kAtNews, 1);
  ASSERT_TRUE(set_promiscuous(home_.space(), "dev0", true));
  ASSERT_TRUE(home_.netlink().set_mtu("dev0", 1400));
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu == 1400; }));
  EXPECT_FALSE(now_.promiscuous);
  ASSERT_TRUE(set_promiscuous(home_.space(), "dev0", false));
  ASSERT_TRUE(home_.netlink().move_to("dev0", other.space()));
  ASSERT_TRUE(other.netlink().set_up("dev0"));
  EXPECT_TRUE(has_carrier(true));
  EXPECT_FALSE(now_.promiscuous);
  ASSERT_TRUE(set_promiscuous(other.space(), "dev0", true));
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.promiscuous; }));
}

TEST_P(AbroadTest, AnInterfaceThatTookItsNameAndNumberIsNotIt) {
  const TestNamespace other;
  begin(kAtNews);
  const std::string index = std::to_string(index_at(home_));
  ASSERT_TRUE(home_.netlink().move_to("dev0", other.space()));
  ASSERT_TRUE(other.netlink().set_up("dev0"));
  EXPECT_TRUE(has_carrier(true));
  const Outcome made = run(home_, {"sh", "-c",
                                   "PATH=$PATH:/usr/sbin:/sbin; ip link add dev0 index " + index +
                                       " type veth peer name dev1"});
  ASSERT_EQ(made.status, 0) << made.output;
  ip(home_, "ip link set dev0 mtu 1300");
  ASSERT_TRUE(other.netlink().set_mtu("dev0", 1400));
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu != 1500; }));
  EXPECT_EQ(now_.mtu, 1400U);
  EXPECT_TRUE(now_.carrier) << "the other one has none";
  ip(home_, "ip link del dev0");
  ASSERT_TRUE(other.netlink().set_mtu("dev0", 1350));
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu == 1350; }));
  EXPECT_TRUE(now_.carrier);
}

TEST_P(AbroadTest, NewsThatGotLostIsAskedFor) {
  const TestNamespace other;
  begin(kAtNews);
  Netlink home = home_.netlink();
  // Far more than a socket keeps.
  for (std::uint32_t mtu = 1000; mtu <= 1600; ++mtu) ASSERT_TRUE(home.set_mtu("dev0", mtu));
  ASSERT_TRUE(home.move_to("dev0", other.space()));
  Netlink there = other.netlink();
  ASSERT_TRUE(there.set_up("dev0"));
  EXPECT_TRUE(
      becomes([](const GuestInterfaceState& now) { return now.mtu == 1600 && now.carrier; }));
  for (std::uint32_t mtu = 1000; mtu <= 1600; ++mtu) ASSERT_TRUE(there.set_mtu("dev0", mtu));
  ASSERT_TRUE(there.set_up("dev0", false));
  EXPECT_TRUE(has_carrier(false));
}

TEST_P(AbroadTest, ANamespaceThatOnlyTheWatchKnowsEnds) {
  std::optional<TestNamespace> other(std::in_place);
  begin(kAtNews);
  ASSERT_TRUE(home_.netlink().move_to("dev0", other->space()));
  ASSERT_TRUE(other->netlink().set_up("dev0"));
  EXPECT_TRUE(has_carrier(true));
  other.reset();
  // The kernel deletes the device with its namespace.
  EXPECT_TRUE(eventually([&] {
    ifreq request{};
    return tap_ ? ::ioctl(tap_->descriptor(), TUNGETIFF, &request) != 0
                : !far_.netlink().interface("far0");
  }));
}

/// What a program without rights over the namespaces of others can do.
void without_rights(const std::function<void()>& task) {
  std::thread([&] {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> none{};
    ASSERT_EQ(::syscall(SYS_capset, &header, none.data()), 0);
    task();
  }).join();
}

TEST_P(AbroadTest, AnInterfaceWhereNobodyMayLookHasNoKnownCarrierUntilItCanBeSeen) {
  const TestNamespace other;
  begin(kOften);
  ASSERT_TRUE(home_.netlink().move_to("dev0", other.space()));
  without_rights([&] {
    EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return !now.carrier_known; }));
  });
  EXPECT_TRUE(now_.carrier) << "nobody may call it lost";
  EXPECT_TRUE(now_.promiscuous) << "nor say what it hears";
  EXPECT_TRUE(has_carrier(false));
  EXPECT_FALSE(now_.promiscuous);
  ASSERT_TRUE(other.netlink().set_up("dev0"));
  EXPECT_TRUE(has_carrier(true));
}

/// The search for interfaces that left a namespace.
class AbroadAlone : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
    UniqueFd news = socket();
    news_ = news.get();
    abroad_.emplace(asker_.get(), std::move(news), socket());
  }
  UniqueFd socket() const {
    const Inside inside(home_);
    return UniqueFd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  }

  TestNamespace home_;
  const UniqueFd asker_ = socket();
  int news_ = -1;
  std::optional<Abroad> abroad_;
};

TEST_F(AbroadAlone, ADeletedDeviceIsGoneAndOneThatCannotBeAskedForIsUnknown) {
  const NetNamespace space = home_.space();
  TapLink tap = TapLink::open(in(space, "dev0")).value();
  const UniqueFd file(::fcntl(tap.descriptor(), F_DUPFD_CLOEXEC, 0));
  const OurEnd end(file.get(), LinkKind::tap);
  EXPECT_EQ(abroad_->find(end).where, Abroad::Where::here);
  ASSERT_TRUE(home_.netlink().remove("dev0"));
  EXPECT_EQ(abroad_->find(end).where, Abroad::Where::gone);
  const UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::dup3(other.get(), file.get(), O_CLOEXEC), file.get());
  EXPECT_EQ(abroad_->find(end).where, Abroad::Where::unknown);
}

TEST_F(AbroadAlone, ListensOnceItMay) {
  int told = 0;
  socklen_t bytes = sizeof told;
  if (::getsockopt(news_, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &told, &bytes) != 0)
    GTEST_SKIP() << "this kernel does not tell to which namespaces a socket listens";
  const auto listens = [&] {
    int on = -1;
    socklen_t size = sizeof on;
    EXPECT_EQ(::getsockopt(news_, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, &size), 0);
    return on;
  };
  without_rights([&] { abroad_->listen(true); });
  EXPECT_EQ(listens(), 0);
  abroad_->listen(true);
  EXPECT_EQ(listens(), 1);
  abroad_->listen(false);
  EXPECT_EQ(listens(), 0);
}

}  // namespace
}  // namespace shmif::tap::test
