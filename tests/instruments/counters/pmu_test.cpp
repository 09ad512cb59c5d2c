// Counter sessions against the truth: a virtual machine whose PMU counts exactly runs loops of
// known length (pmu_guest.cpp), and what it printed is compared here.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>

#include "tests/support/run_tool.hpp"

namespace shmif::perf::test {
namespace {

class EmulatedPmu : public ::testing::Test {
 protected:
  /// The machine runs once for all tests of this process.
  static void SetUpTestSuite() {
    shmif::test::Tool machine({shmif::test::in_source("tests/instruments/counters/pmu_machine"),
                               shmif::test::in_build("tests/instruments/pmu_guest")});
    const shmif::test::ToolResult ran = machine.finish(std::chrono::seconds(850));
    status_ = ran.status;
    said_ = ran.out + ran.err;
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string mark, name;
      double value = NAN;
      if (words >> mark >> name && mark == "CASE" && words >> value) values_[name] = value;
    }
  }
  void SetUp() override {
    if (status_ == 77) GTEST_SKIP() << "no emulated PMU: " << said_;
    ASSERT_EQ(status_, 0) << said_;
    ASSERT_EQ(value("end"), 1) << said_;
  }
  static double value(const std::string& name) {
    const auto found = values_.find(name);
    return found == values_.end() ? NAN : found->second;
  }

 private:
  static inline int status_ = -1;
  static inline std::string said_;
  static inline std::map<std::string, double> values_;
};

TEST_F(EmulatedPmu, CountsCyclesAndInstructionsOfALoopExactly) {
  for (const char* rounds : {"2000000", "4000000", "8000000"}) {
    EXPECT_EQ(value(std::string("cycles_beyond_") + rounds), 0) << rounds;
    EXPECT_EQ(value(std::string("instructions_beyond_") + rounds), 0) << rounds;
    EXPECT_EQ(value(std::string("running_is_enabled_") + rounds), 1);
    EXPECT_EQ(value(std::string("scaled_is_raw_") + rounds), 1);
  }
}

TEST_F(EmulatedPmu, ScalesWhatTheKernelCountedInTurns) {
  EXPECT_EQ(value("counted_partly"), 12) << "twelve events, and fewer counters";
  EXPECT_LT(value("worst_error"), 0.01);
}

TEST_F(EmulatedPmu, ScalesSetsThatTakeTurnsByTheirShareOfTheTime) {
  for (const char* set : {"0", "1"}) {
    EXPECT_NEAR(value(std::string("scaled_") + set), 1, 0.01);
    EXPECT_NEAR(value(std::string("raw_") + set), 0.5, 0.05) << "the other set had the other half";
    // 400 ms of the machine's time, in turns of 5 ms.
    EXPECT_NEAR(value(std::string("activations_") + set), 40, 2);
  }
}

TEST_F(EmulatedPmu, TakesASampleForEachPeriodAtThePlaceThatRan) {
  // Four times 150 and 50 million instructions, and a sample for each 20 million.
  EXPECT_EQ(value("samples"), 40);
  EXPECT_EQ(value("all"), 40);
  EXPECT_EQ(value("lost"), 0);
  EXPECT_NEAR(value("in_loop"), 30, 2);
  EXPECT_NEAR(value("in_other_loop"), 10, 2);
  EXPECT_GE(value("in_loop") + value("in_other_loop"), 38);
}

TEST_F(EmulatedPmu, StopsAtAnOverflowUntilItIsRestarted) {
  EXPECT_EQ(value("masked"), 1);
  EXPECT_GE(value("value_when_masked"), 20'000'000);
  EXPECT_LT(value("value_when_masked"), 24'100'000) << "up to a tick late, of 100 million";
  const double more = value("value_after_restart") - value("value_when_masked");
  EXPECT_GE(more, 200'000);
  EXPECT_LT(more, 210'000);
}

}  // namespace
}  // namespace shmif::perf::test
