// How long a client waits for its servers after a stop. The tests say what time it is.

#include "perf/remote/stop_patience.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace shmif::perf::stop_patience {
namespace {

using namespace std::chrono_literals;

constexpr StopPatience::Clock::time_point kBegin{1000s};
constexpr auto kDrain = 7s;
const std::string kNoEnd = "it did not end within 10 s of a hard stop";

TEST(StopPatience, AServerThatHasNotStartedItsJobsIsLeftEightSecondsAfterASignal) {
  StopPatience patience(kDrain);
  EXPECT_EQ(patience.why_given_up(false, kBegin + 24h), "") << "nobody has asked for a stop";
  patience.note_signals(1, kBegin);
  patience.note_signals(1, kBegin + 5s);  // each look notes it again
  EXPECT_EQ(patience.why_given_up(false, kBegin + 8s - 1ns), "");
  EXPECT_EQ(patience.why_given_up(false, kBegin + 8s),
            "it neither started its jobs nor ended within 8 s of a stop");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 8s), "") << "it has a result";
}

TEST(StopPatience, ASecondSignalLeavesItAtOnce) {
  StopPatience patience(kDrain);
  patience.note_signals(1, kBegin);
  ASSERT_EQ(patience.why_given_up(false, kBegin + 1s), "");
  patience.note_signals(2, kBegin + 1s);
  EXPECT_EQ(patience.why_given_up(false, kBegin + 1s),
            "a second signal ended the wait for it: its jobs had not started");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 1s), "");
  patience.note_signals(3, kBegin + 1s);
  EXPECT_EQ(patience.why_given_up(true, kBegin + 1s),
            "a third signal ended the wait for its result");
  StopPatience both_at_once(kDrain);
  both_at_once.note_signals(2, kBegin);
  EXPECT_NE(both_at_once.why_given_up(false, kBegin), "");
}

TEST(StopPatience, AServerWithAResultIsStoppedHardAfterItsDrainAndLeftTenSecondsLater) {
  StopPatience patience(kDrain);
  EXPECT_FALSE(patience.take_hard(kBegin + 24h));
  patience.note_signals(1, kBegin);
  EXPECT_FALSE(patience.take_hard(kBegin + 37s));
  EXPECT_TRUE(patience.take_hard(kBegin + 37s + 1ns));
  EXPECT_FALSE(patience.take_hard(kBegin + 38s)) << "once";
  EXPECT_EQ(patience.why_given_up(true, kBegin + 47s), "");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 47s + 1ns), kNoEnd);
}

TEST(StopPatience, ASecondSignalIsAHardStopAtOnce) {
  StopPatience patience(kDrain);
  patience.note_signals(1, kBegin);
  patience.note_signals(2, kBegin + 3s);
  EXPECT_TRUE(patience.take_hard(kBegin + 3s));
  EXPECT_EQ(patience.why_given_up(true, kBegin + 13s - 1ns), "");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 13s), kNoEnd);
}

TEST(StopPatience, AFailureOfAnotherServerIsAStopAndTheFirstOneCounts) {
  StopPatience patience(kDrain);
  patience.note_failure(kBegin);
  EXPECT_EQ(patience.signals(), 0);
  patience.note_failure(kBegin + 4s);
  patience.note_signals(1, kBegin + 5s);
  EXPECT_EQ(patience.why_given_up(false, kBegin + 8s - 1ns), "");
  EXPECT_NE(patience.why_given_up(false, kBegin + 8s), "");
  EXPECT_TRUE(patience.take_hard(kBegin + 37s + 1ns));
}

}  // namespace
}  // namespace shmif::perf::stop_patience
