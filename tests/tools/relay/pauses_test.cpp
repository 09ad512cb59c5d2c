// Pauses: who comes in vain again and again is served later and later, and who is not there is
// asked later and later.

#include "tools/relay/pauses.hpp"

#include <gtest/gtest.h>

namespace shmif::tools {
namespace {

constexpr pid_t kLoopingProcess = 700;
constexpr pid_t kOtherProcess = 701;

TEST(Pauses, OfWhoComesInVainDoubleUpToTwoSeconds) {
  Pauses pauses;
  Pauses::Clock::time_point now = Pauses::Clock::now();
  EXPECT_EQ(pauses.before(kLoopingProcess, now), std::chrono::milliseconds(0)) << "the first time";
  for (const int expected : {100, 200, 400, 800, 1600, 2000, 2000}) {
    pauses.note(kLoopingProcess, true, now);
    EXPECT_EQ(pauses.before(kLoopingProcess, now), std::chrono::milliseconds(expected));
    EXPECT_EQ(pauses.before(kOtherProcess, now), std::chrono::milliseconds(0))
        << "the other did nothing";
    now += std::chrono::seconds(2);
  }
}

TEST(Pauses, OfTwoProcessesAreTwo) {
  Pauses pauses;
  const Pauses::Clock::time_point now = Pauses::Clock::now();
  pauses.note(kLoopingProcess, true, now);
  pauses.note(kOtherProcess, true, now);
  pauses.note(kOtherProcess, true, now);
  EXPECT_EQ(pauses.before(kLoopingProcess, now), std::chrono::milliseconds(100));
  EXPECT_EQ(pauses.before(kOtherProcess, now), std::chrono::milliseconds(200));
  pauses.note(kLoopingProcess, false, now);
  EXPECT_EQ(pauses.before(kLoopingProcess, now), std::chrono::milliseconds(0))
      << "it came and carried frames";
  EXPECT_EQ(pauses.before(kOtherProcess, now), std::chrono::milliseconds(200));
  pauses.note(kLoopingProcess, true, now);
  EXPECT_EQ(pauses.before(kLoopingProcess, now), std::chrono::milliseconds(100))
      << "from the beginning";
}

TEST(Pauses, AreForgottenTenSecondsAfterTheLastTime) {
  Pauses pauses;
  const Pauses::Clock::time_point begin = Pauses::Clock::now();
  pauses.note(kLoopingProcess, true, begin);
  pauses.note(kOtherProcess, true, begin);
  pauses.note(kLoopingProcess, true, begin + std::chrono::seconds(1));
  EXPECT_EQ(pauses.before(kOtherProcess, begin + std::chrono::seconds(10)),
            std::chrono::milliseconds(100));
  EXPECT_EQ(pauses.before(kOtherProcess, begin + std::chrono::milliseconds(10'001)),
            std::chrono::milliseconds(0));
  EXPECT_EQ(pauses.before(kLoopingProcess, begin + std::chrono::seconds(11)),
            std::chrono::milliseconds(200));
  EXPECT_EQ(pauses.before(kLoopingProcess, begin + std::chrono::milliseconds(11'001)),
            std::chrono::milliseconds(0));
  pauses.note(kLoopingProcess, true, begin + std::chrono::seconds(12));
  EXPECT_EQ(pauses.before(kLoopingProcess, begin + std::chrono::seconds(12)),
            std::chrono::milliseconds(100))
      << "from the beginning";
}

// A program of another machine has no number here.
TEST(Pauses, OfProcessesThatAreNotKnownAreNone) {
  Pauses pauses;
  const Pauses::Clock::time_point now = Pauses::Clock::now();
  pauses.note(0, true, now);
  pauses.note(0, true, now);
  EXPECT_EQ(pauses.before(0, now), std::chrono::milliseconds(0));
}

TEST(Retries, ComeAfterPausesThatDoubleUpToTwoSecondsAlsoWhereEachConnectionIsShort) {
  Retries in_vain, cut_off;
  for (const int expected : {100, 200, 400, 800, 1600, 2000, 2000}) {
    EXPECT_EQ(in_vain.after_failure(), std::chrono::milliseconds(expected));
    EXPECT_EQ(cut_off.after_connection(kLastPause), std::chrono::milliseconds(expected));
  }
}

TEST(Retries, ComeSoonAfterALongConnectionHoweverLongItsProgramHadToBeWaitedFor) {
  Retries retries;
  for (unsigned i = 0; i < 10; ++i) static_cast<void>(retries.after_failure());
  EXPECT_EQ(retries.after_connection(std::chrono::hours(1)), std::chrono::milliseconds(100));
  EXPECT_EQ(retries.after_failure(), std::chrono::milliseconds(200));
  EXPECT_EQ(retries.after_connection(kLastPause + std::chrono::milliseconds(1)),
            std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace shmif::tools
