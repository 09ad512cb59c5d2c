// What an interface hears: its addresses, promiscuous mode, and the list of others.

#include "tap/guest/watch.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tap/guest/link_news.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/watch_rig.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::eventually;
using std::chrono::milliseconds;

/// A device "dev0" in a namespace, and the watch of it.
class WatchTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
    if (GetParam() == "Tap") {
      const NetNamespace space = space_.space();
      tap_.emplace(TapLink::open(in(space, "dev0")).value());
    } else {
      Netlink netlink = space_.netlink();
      ASSERT_TRUE(netlink.add_veth("dev0", "far0"));
      ASSERT_TRUE(netlink.set_up("far0"));
      ASSERT_TRUE(netlink.set_up("dev0"));
      ASSERT_TRUE(netlink.wait_for_carrier("dev0", milliseconds(20'000)));
    }
  }

  /// `room`: of the socket for news, in bytes, which the kernel makes larger; 0: the usual.
  void begin(const WatchPace& pace, int room = 0) {
    const Inside inside(space_);
    std::vector<UniqueFd> sockets = open_watch_sockets().value();
    if (room != 0) {
      ASSERT_EQ(::setsockopt(sockets.at(0).get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    }
    const WatchedLink link{.index = ::if_nametoindex("dev0")};
    watch_.emplace(GuestWatch::open(WatchSockets::take(sockets), {link}, pace).value());
    // The first question, so that all later ones have another reason.
    ASSERT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu == 1500; }));
  }

  /// Waits until what the watch told last is so, as an event loop would.
  bool becomes(const std::function<bool(const GuestInterfaceState&)>& so) {
    return eventually([&] {
      pollfd entry{watch_->descriptor(), POLLIN, 0};
      std::vector<GuestInterfaceState> changes;
      if (::poll(&entry, 1, 10) > 0) watch_->read(changes);
      if (!changes.empty()) now_ = changes.back();
      return so(now_);
    });
  }
  /// Reads until nothing comes for a while. Result: false if that does not end.
  bool comes_to_rest() {
    for (unsigned i = 0; i < 200; ++i) {
      pollfd entry{watch_->descriptor(), POLLIN, 0};
      if (::poll(&entry, 1, 20) == 0) return true;
      std::vector<GuestInterfaceState> changes;
      watch_->read(changes);
      if (!changes.empty()) now_ = changes.back();
    }
    return false;
  }
  bool hears(const std::vector<MacAddress>& others, bool all = false) {
    return becomes([&](const GuestInterfaceState& now) {
      return now.other_macs == others && now.promiscuous == all;
    });
  }

  void ip(const std::string& words) const {
    const Outcome done = run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; " + words});
    EXPECT_EQ(done.status, 0) << words << ": " << done.output;
  }
  bool has_macvlan(const std::string& kind) const {
    return run(space_, {"sh", "-c",
                        "PATH=$PATH:/usr/sbin:/sbin; ip link add probe0 link far0 type " + kind +
                            " || ip link add probe0 link dev0 type " + kind + " && " +
                            "ip link del probe0"})
               .status == 0;
  }
  /// A program that listens for another address on dev0.
  UniqueFd listener(MacAddress mac) const {
    const Inside inside(space_);
    UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    packet_mreq wish{};
    wish.mr_ifindex = static_cast<int>(::if_nametoindex("dev0"));
    wish.mr_type = PACKET_MR_UNICAST;
    wish.mr_alen = 6;
    std::memcpy(wish.mr_address, mac.bytes.data(), mac.bytes.size());
    EXPECT_EQ(::setsockopt(socket.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &wish, sizeof wish), 0);
    return socket;
  }

  TestNamespace space_;
  std::optional<TapLink> tap_;
  std::optional<GuestWatch> watch_;
  GuestInterfaceState now_;
};
INSTANTIATE_TEST_SUITE_P(On, WatchTest, ::testing::Values("Tap", "Veth"),
                         [](const auto& each) { return each.param; });

TEST_P(WatchTest, AMacvlanIsHeardFromItsBeginningToItsEnd) {
  for (const std::string kind : {"macvlan", "macvtap"}) {
    if (!has_macvlan(kind)) GTEST_SKIP() << "no macvlan here";
    if (!watch_) begin(kAtNews);
    ip("ip link add sub0 link dev0 address 02:00:00:00:00:01 type " + kind + " mode bridge");
    ip("ip link set sub0 up");
    EXPECT_TRUE(hears({kFirst})) << kind;
    ip("ip link set sub0 address 02:00:00:00:00:02");
    EXPECT_TRUE(hears({kSecond})) << kind;
    ip("ip link set sub0 down");
    EXPECT_TRUE(hears({})) << kind;
    ip("ip link set sub0 up");
    EXPECT_TRUE(hears({kSecond})) << kind;
    ip("ip link del sub0");
    EXPECT_TRUE(hears({})) << kind;
  }
}

TEST_P(WatchTest, AnAddressOfTheAdministratorIsHeardAtOnceAndNoLongerThanItIsThere) {
  begin(kAtNews);
  ip("bridge fdb add 02:00:00:00:00:02 dev dev0 self");
  EXPECT_TRUE(hears({kSecond}));
  ip("bridge fdb add 02:00:00:00:00:01 dev dev0 self");
  EXPECT_TRUE(hears({kFirst, kSecond}));
  ip("bridge fdb del 02:00:00:00:00:02 dev dev0 self");
  EXPECT_TRUE(hears({kFirst}));
  ip("bridge fdb del 02:00:00:00:00:01 dev dev0 self");
  EXPECT_TRUE(hears({}));
}

TEST_P(WatchTest, AnAddressOfAProgramIsHeardThoughTheKernelTellsNobody) {
  begin(kOften);
  for (const MacAddress& mac : {kFirst, kSecond}) {
    UniqueFd program = listener(mac);
    EXPECT_TRUE(hears({mac}));
    program.reset();
    EXPECT_TRUE(hears({}));
  }
}

TEST_P(WatchTest, AsksForNothingElseAndTellsNothingTwice) {
  begin(kAtNews);
  ASSERT_TRUE(comes_to_rest());
  const UniqueFd program = listener(kFirst);
  for (const std::string words :
       {"ip link set lo mtu 60000",
        "ip link add other0 type veth peer name other1 && ip link set other0 up",
        "ip link set other1 up && ip link set other0 mtu 1400", "ip link del other0"}) {
    ip(words);
    std::vector<GuestInterfaceState> changes;
    watch_->read(changes);  // the kernel has said all when the command ends
    EXPECT_EQ(changes.size(), 0U) << words;
  }
  ip("ip link set dev0 mtu 1400");
  EXPECT_TRUE(hears({kFirst}));
  EXPECT_EQ(now_.mtu, 1400U);
}

// They come with all traffic.
TEST_P(WatchTest, NewsOfNeighboursDoesNotWakeIt) {
  begin(kAtNews);
  ASSERT_TRUE(comes_to_rest());
  for (const std::string words :
       {"ip neigh add 198.18.0.9 lladdr 02:00:00:00:00:09 dev dev0 nud permanent",
        "ip neigh del 198.18.0.9 dev dev0"}) {
    ip(words);
    pollfd entry{watch_->descriptor(), POLLIN, 0};
    EXPECT_EQ(::poll(&entry, 1, 0), 0) << words;
  }
}

TEST_P(WatchTest, NewsOfTheBridgeThatHasItIsAReasonToAskAndThenToAskOften) {
  if (run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip link add br0 type bridge"}).status !=
      0)
    GTEST_SKIP() << "no bridges here";
  WatchPace pace = kAtNews;
  pace.busy = milliseconds(1);
  begin(pace);
  ip("ip link set dev0 master br0");
  EXPECT_TRUE(hears({}, true)) << "a bridge hears all";
  ASSERT_TRUE(comes_to_rest()) << "that was news of itself, and the time to ask often is over";
  UniqueFd program = listener(kFirst);
  ip("ip link set br0 up");
  EXPECT_TRUE(hears({kFirst}, true));
  program.reset();
  pace.busy_for = std::chrono::hours(1);
  // The kernel tells later that the bridge has carrier. Then another watch must be opened.
  ASSERT_TRUE(eventually([&] {
    watch_.reset();
    begin(pace);
    return hears({}, true) && comes_to_rest();
  })) << "nothing was heard of another interface yet";
  ip("ip link set br0 down");
  for (unsigned i = 0; i < 3; ++i) {
    program = listener(kSecond);
    EXPECT_TRUE(hears({kSecond}, true)) << i;
    program.reset();
    EXPECT_TRUE(hears({}, true)) << i;
  }
}

// Root of a namespace may send to every netlink socket of it.
TEST_P(WatchTest, OnlyNewsOfTheKernelIsBelieved) {
  const Inside inside(space_);
  std::vector<UniqueFd> sockets = open_watch_sockets().value();
  const RouteSocket news(sockets.at(0).get());
  const WatchedLink link{.index = ::if_nametoindex("dev0")};
  watch_.emplace(GuestWatch::open(WatchSockets::take(sockets), {link}, kAtNews).value());
  ASSERT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu == 1500; }));
  ASSERT_TRUE(comes_to_rest());
  ifinfomsg about{};
  about.ifi_index = static_cast<int>(link.index);
  news.send({.type = RTM_NEWLINK,
             .link = about,
             .attributes = {{IFLA_PROMISCUITY, RouteMessage::number(3)},
                            {IFLA_MTU, RouteMessage::number(1300)}}});
  std::vector<GuestInterfaceState> changes;
  watch_->read(changes);
  EXPECT_EQ(changes.size(), 0U);
}

TEST_P(WatchTest, OfTwoInterfacesEachIsToldByItsNumberAndHasItsOwnListAndCount) {
  const NetNamespace space = space_.space();
  const TapLink second = TapLink::open(in(space, "dev1")).value();
  ip("ip link set dev1 promisc on");  // as our bridge makes it
  std::vector<UniqueFd> sockets;
  std::vector<WatchedLink> links(2);
  {
    const Inside inside(space_);
    sockets = open_watch_sockets().value();
    links[0].index = ::if_nametoindex("dev0");
    links[1].index = ::if_nametoindex("dev1");
  }
  links[1].own = 1;
  watch_.emplace(GuestWatch::open(WatchSockets::take(sockets), links, kAtNews).value());
  std::array<GuestInterfaceState, 2> now{};
  const auto are = [&](const std::vector<MacAddress>& first, bool first_all,
                       const std::vector<MacAddress>& other, bool other_all) {
    return eventually([&] {
      pollfd entry{watch_->descriptor(), POLLIN, 0};
      std::vector<GuestInterfaceState> changes;
      if (::poll(&entry, 1, 10) > 0) watch_->read(changes);
      for (const GuestInterfaceState& each : changes) now.at(each.interface) = each;
      return now[0].mtu == 1500 && now[0].other_macs == first && now[0].promiscuous == first_all &&
             now[1].mtu == 1500 && now[1].other_macs == other && now[1].promiscuous == other_all;
    });
  };
  EXPECT_TRUE(are({}, false, {}, false));
  ip("bridge fdb add 02:00:00:00:00:02 dev dev1 self");
  EXPECT_TRUE(are({}, false, {kSecond}, false));
  ip("bridge fdb add 02:00:00:00:00:01 dev dev0 self");
  EXPECT_TRUE(are({kFirst}, false, {kSecond}, false));
  EXPECT_NE(now[0].mac, now[1].mac);
  ip("ip link set dev0 promisc on");
  EXPECT_TRUE(are({kFirst}, true, {kSecond}, false));
  ip("bridge fdb del 02:00:00:00:00:02 dev dev1 self");
  EXPECT_TRUE(are({kFirst}, true, {}, false));
  ip("ip link set dev1 promisc off && ip link set dev0 promisc off");
  EXPECT_TRUE(are({kFirst}, false, {}, false));
}

TEST(InterfaceStack, KnowsWhatIsOnAnInterfaceAtWhateverHeight) {
  InterfaceStack stack;
  const auto is_ours = [](unsigned index) { return index == 7; };
  const auto concerns = [&](unsigned index, unsigned lower, std::optional<int> space = {}) {
    return stack.take({.index = index, .lower = lower, .lower_space = space}, is_ours);
  };
  EXPECT_FALSE(concerns(8, 0));
  EXPECT_FALSE(concerns(9, 8)) << "on another one";
  EXPECT_FALSE(concerns(10, 7, 3)) << "on number 7 of another namespace";
  EXPECT_TRUE(concerns(7, 0));
  EXPECT_TRUE(concerns(11, 7));
  EXPECT_TRUE(concerns(12, 11));
  EXPECT_TRUE(concerns(13, 12));
  EXPECT_TRUE(stack.take({.index = 12, .gone = true}, is_ours));
  EXPECT_FALSE(stack.take({.index = 12, .gone = true}, is_ours)) << "it is forgotten";
  EXPECT_FALSE(concerns(14, 12));
  EXPECT_TRUE(concerns(13, 12)) << "and this one is not";
  for (unsigned i = 100; i < 164; ++i) EXPECT_TRUE(concerns(i, 7));
  EXPECT_FALSE(concerns(13, 12)) << "64 are remembered";
  EXPECT_TRUE(concerns(163, 0));
}

TEST_P(WatchTest, WhatWasMissedInAFloodOfNewsIsAskedFor) {
  begin(kAtNews, 1);  // room for a few
  ip("for i in $(seq 1401 1450); do ip link set dev0 mtu $i; done");
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu == 1450; }));
}

// Far more than are read for one question.
TEST_P(WatchTest, AListOfAnyLengthCostsBoundedWorkAndIsHeardAsPromiscuous) {
  const shmif::test::TempDir directory;
  begin(kOften);
  const auto change = [&](const std::string& how, unsigned first, unsigned last) {
    std::ofstream lines(directory.file("lines"));
    for (unsigned i = first; i <= last; ++i) {
      lines << "fdb " << how << ' ' << MacAddress::from_u64(0x020000000000U + i).to_string()
            << " dev dev0 self\n";
    }
    lines.close();
    ip("bridge -batch " + directory.file("lines"));
  };
  constexpr unsigned kMany = 3600;
  change("add", 1, 17);
  EXPECT_TRUE(hears({}, true)) << "one more than a port can keep";
  change("del", 17, 17);
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) {
    return !now.promiscuous && now.other_macs.size() == 16;
  }));
  change("add", 17, kMany);
  EXPECT_TRUE(hears({}, true));
  change("del", 3, kMany);
  EXPECT_TRUE(hears({kFirst, kSecond}));
}

// The answers about a list that was not read to its end are read before the next question.
TEST_P(WatchTest, WhatIsLeftOfALongListIsNotTheListOfAnotherInterface) {
  const shmif::test::TempDir directory;
  std::ofstream lines(directory.file("lines"));
  for (unsigned i = 1; i <= 7000; ++i) {
    lines << "fdb add " << MacAddress::from_u64(0x020000000000U + i).to_string()
          << " dev dev0 self\n";
  }
  lines.close();
  ip("bridge -batch " + directory.file("lines"));
  const Inside inside(space_);
  InterfaceQuestions questions(std::move(open_watch_sockets().value().at(1)));
  const auto whole = questions.unicast_list(::if_nametoindex("dev0"));
  ASSERT_TRUE(whole);
  EXPECT_FALSE(whole->ended) << "its rest is left";
  std::optional<UnicastList> other;
  unsigned in_vain = 0;
  for (; !other && in_vain < 20; ++in_vain) other = questions.unicast_list(::if_nametoindex("lo"));
  ASSERT_TRUE(other);
  EXPECT_GT(in_vain, 1U) << "the rest took all reads of the first question";
  EXPECT_TRUE(other->ended);
  EXPECT_EQ(other->macs, std::vector<MacAddress>());
}

TEST(ShowOn, APortGetsTheAddressOfItsInterfaceOrHearsItBesidesItsOwn) {
  const shmif::test::TempDir directory;
  const std::string path = directory.file("bus");
  Bus::create(path, {.ring_bytes = 1U << 20U}).value();
  Port port({.name = "a"});
  Port other({.name = "b", .mac = kSecond});
  ASSERT_TRUE(port.attach(path));
  ASSERT_TRUE(other.attach(path));
  ASSERT_FALSE(port.up());
  ASSERT_FALSE(other.up());
  const auto hears = [&](MacAddress mac) {
    std::vector<std::byte> bytes(60);
    std::memcpy(bytes.data(), mac.bytes.data(), mac.bytes.size());
    const FrameView frame(bytes);
    EXPECT_EQ(other.send({&frame, 1}).taken, 1U);
    FrameBatch batch(8);
    EXPECT_FALSE(port.receive(batch).error);
    return batch.size() == 1;
  };
  const MacAddress third = *MacAddress::parse("02:00:00:00:00:03");
  show_on(port, {.mac = kFirst, .other_macs = {third}}, false);
  EXPECT_EQ(port.mac(), kFirst);
  EXPECT_TRUE(hears(kFirst));
  EXPECT_TRUE(hears(third));
  EXPECT_FALSE(hears(kSecond));
  show_on(port, {.carrier = false, .mac = kSecond}, false);
  EXPECT_EQ(port.mac(), kFirst);
  EXPECT_FALSE(port.has_carrier());
  EXPECT_TRUE(hears(kFirst));
  EXPECT_TRUE(hears(kSecond)) << "as on a cable that has the address twice";
  EXPECT_FALSE(hears(third));
  show_on(port, {.promiscuous = true, .mac = kFirst}, false);
  EXPECT_TRUE(hears(third));
  show_on(port, {.mac = kFirst}, false);
  EXPECT_FALSE(hears(third));
  EXPECT_FALSE(hears(kSecond));
  show_on(port, {.mac = kFirst}, true);
  EXPECT_TRUE(hears(third));
  show_on(port, {.mac = {}}, false);
  EXPECT_EQ(port.mac(), kFirst) << "an interface without an address changes nothing";
  EXPECT_FALSE(hears({}));
}

}  // namespace
}  // namespace shmif::tap::test
