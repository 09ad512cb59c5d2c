// Windows of the counters of memory controllers: scaled by their own times, all or nothing, and
// never a number that was not counted.

#include "instruments/membw/pmu_source.hpp"

#include <gtest/gtest.h>

#include "tests/instruments/membw/fake_counters.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

class PmuSourceTest : public ::testing::Test {
 protected:
  PmuSourceTest() {
    put_sockets(tree_);
    for (unsigned channel = 0; channel < 2; ++channel) put_imc(tree_, channel);
  }
  PmuSource source(std::optional<unsigned> socket = {}) {
    return PmuSource(tree_.files(), socket, calls_, [this] { return now_; });
  }
  /// A window of one second. Counters of writes count twice as much.
  MemoryReading window(PmuSource& source, std::uint64_t count, double share = 1) {
    EXPECT_TRUE(source.enable());
    now_ += kSecond;
    calls_.pass(kSecond, count, share);
    for (FakeCounters::One& each : calls_.all) {
      if (each.is_write()) each.raw.value *= 2;
    }
    EXPECT_TRUE(source.disable());
    return source.read();
  }

  Tree tree_;
  FakeCounters calls_;
  std::uint64_t now_ = 77 * kSecond;
};

TEST_F(PmuSourceTest, AddsTheRatesOfAllControllers) {
  PmuSource pmu = source();
  EXPECT_EQ(pmu.scope(), MemoryScope::machine);
  EXPECT_EQ(pmu.level(), MemoryLevel::dram);
  ASSERT_TRUE(pmu.open({}));
  EXPECT_EQ(calls_.open_now(), 8U);
  EXPECT_EQ(calls_.enabled_now(), 0U) << "a window begins them";
  const MemoryReading reading = window(pmu, 1'000'000);
  EXPECT_EQ(reading.reads, 4 * 64e6);
  EXPECT_EQ(reading.writes, 4 * 128e6);
  EXPECT_EQ(reading.total, 4 * 192e6);
  EXPECT_EQ(reading.begin_ns, 77 * kSecond);
  EXPECT_EQ(reading.window_s(), 1);
  EXPECT_EQ(reading.running_share, 1);
  EXPECT_EQ(reading.reason, "");
  EXPECT_EQ(calls_.enabled_now(), 0U);
  // The second window begins at 0 again, although the times of the counters go on.
  EXPECT_EQ(window(pmu, 10).reads, 4 * 640.0);
  ASSERT_TRUE(pmu.close());
  EXPECT_EQ(calls_.open_now(), 0U);
}

TEST_F(PmuSourceTest, ScalesEachCounterByItsOwnTimes) {
  PmuSource pmu = source(0);
  EXPECT_EQ(pmu.scope(), MemoryScope::socket);
  ASSERT_TRUE(pmu.open({}));
  ASSERT_EQ(calls_.all.size(), 4U);
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000, 0.25);
  calls_.at(0).raw.running_ns += kSecond / 4;  // this one ran for half of the window
  ASSERT_TRUE(pmu.disable());
  const MemoryReading reading = pmu.read();
  EXPECT_DOUBLE_EQ(reading.reads.value(), (2000 + 4000) * 64);
  EXPECT_DOUBLE_EQ(reading.writes.value(), 8000 * 64);
  EXPECT_EQ(reading.running_share, 0.25);
  // The least share counts, whichever counter has it.
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000, 0.25);
  calls_.all.back().raw.running_ns += kSecond / 4;
  ASSERT_TRUE(pmu.disable());
  EXPECT_EQ(pmu.read().running_share, 0.25);
}

TEST_F(PmuSourceTest, SaysNotCountedForACounterThatNeverRan) {
  PmuSource pmu = source();
  ASSERT_TRUE(pmu.open({}));
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000);
  calls_.at(0).raw.running_ns = calls_.start.running_ns;
  calls_.at(0).raw.value = 0;
  ASSERT_TRUE(pmu.disable());
  const MemoryReading reading = pmu.read();
  EXPECT_FALSE(reading.reads);
  EXPECT_FALSE(reading.total) << "reads are a part of it";
  EXPECT_EQ(reading.writes, 4 * 64e3);
  EXPECT_EQ(reading.reason,
            "uncore_imc_0/cas_count_read/ on CPU 0 was not counted: it never ran (other programs "
            "may use its registers)");
  // A window of no length is not counted either.
  ASSERT_TRUE(pmu.enable());
  ASSERT_TRUE(pmu.disable());
  EXPECT_FALSE(pmu.read().writes);
}

TEST_F(PmuSourceTest, OpensAllCountersOrNone) {
  for (int failing = 0; failing < 8; ++failing) {
    calls_.all.clear();
    calls_.fail_open = failing;
    PmuSource pmu = source();
    const auto opened = pmu.open({});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, std::errc::permission_denied);
    EXPECT_EQ(calls_.all.size(), static_cast<std::size_t>(failing));
    EXPECT_EQ(calls_.open_now(), 0U);
  }
}

TEST_F(PmuSourceTest, TellsEachCallThatFailed) {
  PmuSource pmu = source();
  ASSERT_TRUE(pmu.open({}));
  calls_.fail_reset = 2;
  EXPECT_EQ(pmu.enable().error().message,
            "cannot reset uncore_imc_0/cas_count_write/ on CPU 0: Bad file descriptor");
  calls_.fail_reset = -1;
  calls_.fail_enable = 5;
  EXPECT_FALSE(pmu.enable());
  EXPECT_EQ(calls_.enabled_now(), 0U) << "none goes on alone";
  calls_.fail_enable = -1;
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000);
  calls_.fail_disable = 0;
  EXPECT_FALSE(pmu.disable());
  EXPECT_EQ(calls_.enabled_now(), 1U) << "all others are disabled";
  calls_.fail_disable = -1;
  calls_.fail_read = 1;
  const MemoryReading reading = pmu.read();
  EXPECT_FALSE(reading.reads) << "a short read is no count";
  EXPECT_NE(reading.reason.find("cannot read uncore_imc_0/cas_count_read/ on CPU 28: "),
            std::string::npos)
      << reading.reason;
}

TEST_F(PmuSourceTest, OfADataFabricWithoutDirectionsHasATotalOnly) {
  const Tree tree;
  put_fabric(tree, 0x17, false, "0\n");
  PmuSource pmu(tree.files(), {}, calls_, [this] { return now_; });
  ASSERT_TRUE(pmu.open({}));
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 10);
  ASSERT_TRUE(pmu.disable());
  const MemoryReading reading = pmu.read();
  EXPECT_EQ(reading.total, 8 * 640.0);
  EXPECT_FALSE(reading.reads);
  EXPECT_FALSE(reading.writes);
  EXPECT_EQ(reading.reason, "the data fabric of this processor does not tell reads from writes");
}

TEST(PmuCounters, AreAskedForAsTheyAreDescribed) {
  const Tree tree;
  put_imc(tree, 0, "0\n");
  const std::string pmu = kPmuFolder + std::string("uncore_imc_0/");
  tree.put(pmu + "format/a", "config1:0-7\n");
  tree.put(pmu + "format/b", "config2:0-7\n");
  tree.put(pmu + "format/c", "config3:0-7\n");
  tree.put(pmu + "events/cas_count_read", "event=0x04,umask=0x03,a=0x11,b=0x22,c=0x33\n");
  FakeCounters calls;
  PmuSource source(tree.files(), {}, calls);
  ASSERT_TRUE(source.open({}));
  ASSERT_EQ(calls.all.size(), 2U);
  const EventAttr& asked = calls.all[0].event;
  EXPECT_EQ(asked.base.size, sizeof asked.base);
  EXPECT_EQ(asked.base.type, 14U);
  EXPECT_EQ(asked.base.config, 0x304U);
  EXPECT_EQ(asked.base.config1, 0x11U);
  EXPECT_EQ(asked.base.config2, 0x22U);
  EXPECT_EQ(asked.config3, 0x33U);
  EXPECT_EQ(asked.base.disabled, 1U);
  EXPECT_EQ(asked.base.read_format,
            PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
  ASSERT_TRUE(source.open({}));
  EXPECT_EQ(calls.open_now(), 2U) << "those of before were closed";
}

}  // namespace
}  // namespace shmif::perf::test
