// Messages between a guest's supervisor and its init, over a socket pair.

#include "tap/guest/wire.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

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
    UniqueFd none;
    for (const int status : {15, 16}) {
      GuestMessage heard;
      ASSERT_EQ(hear(pair.supervisor.get(), heard, none, patient), Heard::message) << patient;
      EXPECT_EQ(heard.what, GuestSays::exited);
      EXPECT_EQ(heard.a, status);
    }
    GuestMessage heard;
    EXPECT_EQ(hear(pair.supervisor.get(), heard, none, patient), Heard::end) << patient;
  }
}

TEST(GuestWire, NothingIsHeardFromASideThatIsThereAndSilent) {
  const Pair pair;
  GuestMessage heard;
  UniqueFd none;
  EXPECT_EQ(hear(pair.supervisor.get(), heard, none, false), Heard::nothing);
}

}  // namespace
}  // namespace shmif::tap::test
