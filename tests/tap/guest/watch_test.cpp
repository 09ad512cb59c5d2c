// What an interface hears: its addresses, promiscuous mode, and the list of others.

#include "tap/guest/watch.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
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
#include <span>
#include <string>
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
  void open(const WatchPace& pace, int room = 0, bool comes_up_later = false) {
    const Inside inside(space_);
    std::vector<UniqueFd> sockets = open_watch_sockets().value();
    if (room != 0) {
      ASSERT_EQ(::setsockopt(sockets.at(0).get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    }
    const WatchedLink link{.index = ::if_nametoindex("dev0"), .comes_up_later = comes_up_later};
    watch_.emplace(GuestWatch::open(WatchSockets::take(sockets), {link}, pace).value());
  }
  void begin(const WatchPace& pace, int room = 0) {
    open(pace, room);
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

TEST_P(WatchTest, TellsThatAnInterfaceIsDownAgainBeforeAnybodyReadThatItCameUp) {
  Netlink netlink = space_.netlink();
  ip("ip link set dev0 down");
  open(kAtNews, 0, true);
  ASSERT_TRUE(netlink.set_up("dev0"));
  ASSERT_TRUE(netlink.wait_for_carrier("dev0", milliseconds(20'000)));
  ip("ip link set dev0 down");
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) {
    return now.mtu == 1500 && now.carrier_known && !now.carrier;
  }));
}

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

// Who asks at any news in a namespace that many share does so without pause.
TEST_P(WatchTest, OnlyNewsOfAnInterfaceOnTheWatchedOneIsAReasonToAsk) {
  if (!has_macvlan("macvlan")) GTEST_SKIP() << "no macvlan here";
  begin(kAtNews);
  const UniqueFd program = listener(kFirst);
  const auto expect_silence = [&](const std::string& words) {
    ip(words);
    std::vector<GuestInterfaceState> changes;
    watch_->read(changes);  // the kernel has said all when the command ends
    EXPECT_EQ(changes.size(), 0U) << words;
  };
  expect_silence("ip link set lo mtu 60000");
  expect_silence("ip link add other0 type veth peer name other1 && ip link set other0 up");
  expect_silence("ip link add on0 link other0 type macvlan && ip link set on0 up");
  expect_silence("ip link del other0");
  ip("ip link add sub0 link dev0 address 02:00:00:00:00:02 type macvlan mode bridge");
  EXPECT_TRUE(hears({kFirst})) << "the address of the macvlan comes when that is up";
  expect_silence("ip link set lo mtu 50000");
}

TEST_P(WatchTest, NewsOfAnInterfaceOnTheBridgeOfTheWatchedOneIsAReasonToAsk) {
  if (!has_macvlan("macvlan")) GTEST_SKIP() << "no macvlan here";
  if (run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip link add br0 type bridge"}).status !=
      0)
    GTEST_SKIP() << "no bridges here";
  begin(kAtNews);
  ip("ip link set dev0 master br0");
  EXPECT_TRUE(hears({}, true)) << "a bridge hears all";
  const UniqueFd program = listener(kFirst);
  ip("ip link add sub0 link br0 type macvlan");
  EXPECT_TRUE(hears({kFirst}, true));
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

TEST_P(WatchTest, ACaptureIsPromiscuousWhateverIsInTheList) {
  begin(kAtNews);
  ip("ip link set dev0 promisc on");
  EXPECT_TRUE(hears({}, true));
  ip("bridge fdb add 02:00:00:00:00:02 dev dev0 self");
  EXPECT_TRUE(hears({kSecond}, true));
  ip("ip link set dev0 promisc off");
  EXPECT_TRUE(hears({kSecond}));
  ip("ip link set dev0 promisc on");
  EXPECT_TRUE(hears({kSecond}, true));
  ip("bridge fdb del 02:00:00:00:00:02 dev dev0 self");
  EXPECT_TRUE(hears({}, true));
  ip("ip link set dev0 promisc off");
  EXPECT_TRUE(hears({}));
}

TEST_P(WatchTest, AnotherAddressOfTheInterfaceIsTold) {
  begin(kAtNews);
  ip("ip link set dev0 address 02:00:00:00:00:01");
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mac == kFirst; }));
  ip("ip link set dev0 address 02:00:00:00:00:02");
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mac == kSecond; }));
}

TEST_P(WatchTest, WhatWasMissedInAFloodOfNewsIsAskedFor) {
  begin(kAtNews, 1);  // room for a few
  ip("for i in $(seq 1401 1450); do ip link set dev0 mtu $i; done");
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) { return now.mtu == 1450; }));
}

TEST_P(WatchTest, TheNewsThatAnInterfaceCameUpCanBeAmongTheMissed) {
  ip("ip link set dev0 down");
  open(kAtNews, 1, true);
  ip("for i in $(seq 1401 1450); do ip link set dev0 mtu $i; done; "
     "ip link set dev0 up; ip link set dev0 down");
  EXPECT_TRUE(becomes([](const GuestInterfaceState& now) {
    return now.mtu == 1450 && now.carrier_known && !now.carrier;
  }));
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

/// A message of the answer to question 7, about interface 3.
std::vector<std::byte> entry_of(MacAddress mac, unsigned flags = 0) {
  struct {
    nlmsghdr header;
    ndmsg about;
    nlattr attribute;
    std::array<std::uint8_t, 8> mac;  // and two bytes of padding
  } message{};
  static_assert(sizeof message == NLMSG_HDRLEN + sizeof(ndmsg) + NLA_HDRLEN + 8);
  message.header.nlmsg_len = sizeof message;
  message.header.nlmsg_type = RTM_NEWNEIGH;
  message.header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_MULTI | flags);
  message.header.nlmsg_seq = 7;
  message.about.ndm_family = AF_BRIDGE;
  message.about.ndm_ifindex = 3;
  message.about.ndm_flags = NTF_SELF;
  message.attribute = {.nla_len = NLA_HDRLEN + 6, .nla_type = NDA_LLADDR};
  std::ranges::copy(mac.bytes, message.mac.begin());
  const auto bytes = std::as_bytes(std::span(&message, 1));
  return {bytes.begin(), bytes.end()};
}

TEST(UnicastLists, ThatChangedWhileTheyWereReadAreNone) {
  const auto read = [](const std::vector<std::byte>& first, const std::vector<std::byte>& second) {
    UnicastList list;
    read_unicast_list(first, 7, 3, list);
    read_unicast_list(second, 7, 3, list);
    return list;
  };
  const UnicastList whole = read(entry_of(kFirst), entry_of(kSecond));
  EXPECT_EQ(whole.macs, (std::vector<MacAddress>{kFirst, kSecond}));
  EXPECT_FALSE(whole.failed);
  EXPECT_TRUE(read(entry_of(kFirst, NLM_F_DUMP_INTR), entry_of(kSecond)).failed);
  EXPECT_TRUE(read(entry_of(kFirst), entry_of(kSecond, NLM_F_DUMP_INTR)).failed);
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
}

}  // namespace
}  // namespace shmif::tap::test
