// Messages between a guest's supervisor and its init, over a socket pair.

#include "tap/guest/wire.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/fuse_files.hpp"
#include "tests/support/temp_dir.hpp"

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
      return patient ? hear(supervisor.get(), heard, IfBlocked::wait)
                     : hear(supervisor, heard, nullptr);
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
  EXPECT_EQ(hear(pair.supervisor.get(), heard, IfBlocked::give_up), Heard::nothing);
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

TEST(GuestWire, AnInitThatRunsOnlyThisProgramIsHeardWithItsDescriptorAndItsLastWords) {
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Pair pair;
  GuestMessage heard;
  UniqueFd got;
  EXPECT_EQ(hear_own_init(pair.supervisor.get(), heard, got), Heard::nothing);
  ASSERT_TRUE(say(pair.supervisor.get(), exited(1)));  // which it leaves unread
  ASSERT_TRUE(say(pair.init.get(), exited(17), file.get()));
  ASSERT_TRUE(say(pair.init.get(), exited(18)));
  pair.init.reset();
  ASSERT_EQ(hear_own_init(pair.supervisor.get(), heard, got), Heard::message);
  EXPECT_EQ(heard.a, 17);
  struct stat sent{};
  struct stat arrived{};
  ASSERT_EQ(::fstat(file.get(), &sent), 0);
  ASSERT_EQ(::fstat(got.get(), &arrived), 0);
  EXPECT_EQ(arrived.st_rdev, sent.st_rdev);
  EXPECT_EQ(::fcntl(got.get(), F_GETFD), FD_CLOEXEC);
  got.reset();
  ASSERT_EQ(hear_own_init(pair.supervisor.get(), heard, got), Heard::message);
  EXPECT_EQ(heard.a, 18);
  EXPECT_FALSE(got);
  EXPECT_EQ(hear_own_init(pair.supervisor.get(), heard, got), Heard::end);
}

TEST(GuestWire, ADescriptorOfAFileThatNeverAnswersKeepsNoSupervisor) {
  const shmif::test::TempDir directory;
  std::array<Pair, 2> pairs;
  const auto give = [&](int file) {
    return say(pairs[0].init.get(), exited(1), file) && say(pairs[1].init.get(), exited(1), file);
  };
  const auto met = shmif::test::meet_silent_file(directory.path(), give, [&] {
    for (const bool wanted : {true, false}) {
      base::ForeignSocket supervisor(std::move(pairs[wanted ? 0 : 1].supervisor));
      GuestMessage heard;
      UniqueFd got;
      if (hear(supervisor, heard, wanted ? &got : nullptr) != Heard::end || got)
        return wanted ? 1 : 2;
    }
    return 0;
  });
  if (!met.could_mount) GTEST_SKIP() << "cannot mount a file system of FUSE";
  EXPECT_EQ(met.code, 0);
  EXPECT_TRUE(met.never_answered) << "the file system had ended before";
}

/// Both ways to hear: as init, and as the supervisor.
template <class Check>
void hear_both_ways(const Check& check) {
  for (const bool as_init : {true, false}) {
    Pair pair;
    base::ForeignSocket supervisor;
    if (!as_init) supervisor = base::ForeignSocket(std::move(pair.supervisor));
    check(pair, [&](GuestMessage& heard) {
      return as_init ? hear(pair.supervisor.get(), heard, IfBlocked::give_up)
                     : hear(supervisor, heard, nullptr);
    });
  }
}

TEST(GuestWire, ATextHasAnEndWhateverTheOtherSideSends) {
  hear_both_ways([](const Pair& pair, const auto& hear_it) {
    GuestMessage endless;
    endless.text.fill('x');
    ASSERT_TRUE(say(pair.init.get(), endless));
    GuestMessage heard;
    ASSERT_EQ(hear_it(heard), Heard::message);
    EXPECT_EQ(std::string(heard.text.data()), std::string(999, 'x'));
  });
  GuestMessage cut;
  cut.set_text(std::string(2000, 'y'));
  EXPECT_EQ(std::string(cut.text.data()), std::string(999, 'y'));
}

TEST(GuestWire, WhatIsNoWholeMessageIsTheEnd) {
  for (const std::size_t size : {sizeof(GuestMessage) - 1, sizeof(GuestMessage) + 1}) {
    hear_both_ways([&](const Pair& pair, const auto& hear_it) {
      const std::vector<char> bytes(size);
      ASSERT_EQ(::send(pair.init.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
      GuestMessage heard;
      // Init, whose supervisor is its own program, need not notice that there was more.
      if (size > sizeof heard && pair.supervisor) return;
      EXPECT_EQ(hear_it(heard), Heard::end) << size;
    });
  }
}

}  // namespace
}  // namespace shmif::tap::test
