// Pauses: who comes in vain again and again is served later and later, and who is not there is
// asked later and later.

#include "tools/relay/pauses.hpp"

#include <gtest/gtest.h>

namespace shmif::tools {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr pid_t kLoopingPid = 700, kOtherPid = 701;

TEST(Pauses, OfEachWhoComesInVainDoubleUpToTwoSeconds) {
  Pauses pauses;
  Pauses::Clock::time_point now = Pauses::Clock::now();
  EXPECT_EQ(pauses.before(kLoopingPid, now), milliseconds(0)) << "the first time";
  for (const int expected : {100, 200, 400, 800, 1600, 2000, 2000}) {
    pauses.note(kLoopingPid, true, now);
    EXPECT_EQ(pauses.before(kLoopingPid, now), milliseconds(expected));
    EXPECT_EQ(pauses.before(kOtherPid, now), milliseconds(0)) << "the other did nothing";
    now += seconds(2);
  }
  pauses.note(kOtherPid, true, now);
  pauses.note(kLoopingPid, false, now);
  EXPECT_EQ(pauses.before(kLoopingPid, now), milliseconds(0)) << "it came and carried frames";
  EXPECT_EQ(pauses.before(kOtherPid, now), milliseconds(100));
  pauses.note(kLoopingPid, true, now);
  EXPECT_EQ(pauses.before(kLoopingPid, now), milliseconds(100)) << "from the beginning";
  // A program of another machine has no number here.
  pauses.note(0, true, now);
  EXPECT_EQ(pauses.before(0, now), milliseconds(0));
}

TEST(Pauses, AreForgottenTenSecondsAfterTheLastTime) {
  Pauses pauses;
  const Pauses::Clock::time_point begin = Pauses::Clock::now();
  pauses.note(kLoopingPid, true, begin);
  pauses.note(kOtherPid, true, begin);
  pauses.note(kLoopingPid, true, begin + seconds(1));
  EXPECT_EQ(pauses.before(kOtherPid, begin + seconds(10)), milliseconds(100));
  EXPECT_EQ(pauses.before(kOtherPid, begin + milliseconds(10'001)), milliseconds(0));
  EXPECT_EQ(pauses.before(kLoopingPid, begin + seconds(11)), milliseconds(200));
  EXPECT_EQ(pauses.before(kLoopingPid, begin + milliseconds(11'001)), milliseconds(0));
  pauses.note(kLoopingPid, true, begin + seconds(12));
  EXPECT_EQ(pauses.before(kLoopingPid, begin + seconds(12)), milliseconds(100));
}

TEST(Retries, ComeAfterPausesThatDoubleUnlessTheConnectionWasLong) {
  Retries in_vain, cut_off;
  for (const int expected : {100, 200, 400, 800, 1600, 2000, 2000}) {
    EXPECT_EQ(in_vain.after_failure(), milliseconds(expected));
    EXPECT_EQ(cut_off.after_connection(kLastPause), milliseconds(expected));
  }
  EXPECT_EQ(in_vain.after_connection(kLastPause + milliseconds(1)), milliseconds(100));
  EXPECT_EQ(in_vain.after_failure(), milliseconds(200));
}

}  // namespace
}  // namespace shmif::tools
