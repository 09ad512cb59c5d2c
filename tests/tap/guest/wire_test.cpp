// Messages between a guest's supervisor and its init, over a socket pair.

#include "tap/guest/wire.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

namespace shmif::tap::test {
namespace {

struct Pair {
  Pair() {
    std::array<int, 2> both{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, both.data()) != 0) return;
    supervisor.reset(both[0]);
    init.reset(both[1]);
  }
  UniqueFd supervisor;
  UniqueFd init;
};

GuestMessage exited(int status) {
  GuestMessage m;
  m.what = GuestSays::exited;
  m.a = status;
  return m;
}

// "stop" sends a SIGTERM and a SIGCONT. If the program ends by the first, init has not read the
// second when it leaves.
TEST(GuestWire, LastWordsOfAnInitThatLeftOrdersUnreadAreHeard) {
  for (const bool patient : {false, true}) {
    Pair pair;
    GuestMessage order;
    order.what = GuestSays::signal;
    ASSERT_TRUE(say(pair.supervisor.get(), order));
    ASSERT_TRUE(say(pair.init.get(), exited(15)));
    ASSERT_TRUE(say(pair.init.get(), exited(16)));
    pair.init.reset();
    base::ForeignSocket supervisor(std::move(pair.supervisor));
    const auto hear_one = [&](GuestMessage& heard) {
      return patient ? hear(supervisor.get(), heard, true) : hear(supervisor, heard, nullptr);
    };
    for (const int status : {15, 16}) {
      GuestMessage heard;
      ASSERT_EQ(hear_one(heard), Heard::message) << patient;
      EXPECT_EQ(heard.what, GuestSays::exited);
      EXPECT_EQ(heard.a, status);
    }
    GuestMessage heard;
    EXPECT_EQ(hear_one(heard), Heard::end) << patient;
  }
}

TEST(GuestWire, NothingIsHeardFromASideThatIsThereAndSilent) {
  const Pair pair;
  GuestMessage heard;
  EXPECT_EQ(hear(pair.supervisor.get(), heard, false), Heard::nothing);
}

// The guest's command may have taken over its init.
TEST(GuestWire, OnlyOneDescriptorOfAnInterfaceIsTakenAndOnlyWhereOneBelongs) {
  const UniqueFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto heard_with = [&](int sent, bool wanted) {
    Pair pair;
    base::ForeignSocket supervisor(std::move(pair.supervisor));
    EXPECT_TRUE(say(pair.init.get(), exited(1), sent));
    GuestMessage heard;
    UniqueFd got;
    const Heard what = hear(supervisor, heard, wanted ? &got : nullptr);
    EXPECT_EQ(static_cast<bool>(got), what == Heard::message);
    return what;
  };
  EXPECT_EQ(heard_with(netlink.get(), true), Heard::message);
  EXPECT_EQ(heard_with(netlink.get(), false), Heard::end);
  EXPECT_EQ(heard_with(file.get(), true), Heard::end);
}

}  // namespace
}  // namespace shmif::tap::test
