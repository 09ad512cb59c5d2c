// Events that are added, and values that are set, while a session is loaded.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <vector>

#include "perf/counters/sample.hpp"
#include "perf/counters/session.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/perf/counters/page_faults.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

const CounterTarget kChanged = CounterTarget::thread({kTask, 7});

class ChangedSession : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(session.program(std::array{EventSetup{fake_event(1)}}));
    ASSERT_TRUE(session.load(kChanged));
  }
  Reading reading(std::size_t event) {
    std::array readings{Reading{event}};
    const auto got = session.read(readings);
    EXPECT_TRUE(got) << got.error().message;
    return readings[0];
  }

  FakeCounters kernel;
  CounterSession session = session_over({}, kernel);
};

TEST_F(ChangedSession, CountsEventsThatWereAddedWhileItWasStopped) {
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 100, {{1, 10}, {2, 1000}});
  EXPECT_EQ(session.program(std::array{EventSetup{fake_event(2)}}).error().code,
            make_error_code(CounterErrc::busy));
  ASSERT_TRUE(session.stop());
  const std::array more{EventSetup{fake_event(2)}, EventSetup{fake_event(3)}};
  const auto first = session.program(more);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, 1U);
  kernel.run(kTask, 100, {{1, 10}, {2, 1000}});
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 50, {{1, 1}, {2, 20}, {3, 30}});
  EXPECT_EQ(reading(0).value, 11U);
  EXPECT_EQ(reading(1).value, 20U);
  EXPECT_EQ(reading(2).value, 30U);
  EXPECT_EQ(reading(2).enabled_ns, 50U);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(kernel.open_files(), 0U);
  // They are programmed as the others are.
  ASSERT_TRUE(session.load(kChanged));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 50, {{1, 1}, {2, 20}, {3, 30}});
  EXPECT_EQ(reading(2).value, 60U);
}

TEST_F(ChangedSession, IsAsItWasIfOneOfTheEventsIsRefused) {
  const auto files = kernel.open_files();
  const Sampling mask{.period = 100, .mask = true};
  const std::array more{EventSetup{fake_event(2), 0, mask}, EventSetup{fake_event(3)}};
  int opens = 0;
  kernel.before = [&](KernelCall call, int /*nth*/) {
    return call == KernelCall::open && ++opens == 2 ? -ENOENT : 0;
  };
  std::optional<VectorFault> fault;
  const auto refused = session.program(more, &fault);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, std::error_code(ENOENT, std::generic_category()));
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->element, 2U);
  EXPECT_EQ(kernel.open_files(), files);
  kernel.before = {};
  const auto first = session.program(std::array{EventSetup{fake_event(4)}});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, 1U) << "the refused ones have no number";
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 50, {{1, 1}, {4, 40}});
  EXPECT_EQ(reading(0).value, 1U);
  EXPECT_EQ(reading(1).value, 40U);
}

TEST_F(ChangedSession, TakesAnEventThatMasksItWhereOneCanBe) {
  const Sampling mask{.period = 100, .mask = true};
  ASSERT_TRUE(session.program(std::array{EventSetup{fake_event(2), 0, mask}}));
  ASSERT_TRUE(session.start());
  kernel.overflow(2);
  EXPECT_EQ(session.state(), SessionState::masked);
  // Also while it is masked.
  ASSERT_TRUE(session.program(std::array{EventSetup{fake_event(3)}}));
  ASSERT_TRUE(session.restart());
  kernel.run(kTask, 50, {{3, 30}});
  EXPECT_EQ(reading(2).value, 30U);
  const auto second = session.program(std::array{EventSetup{fake_event(5), 0, mask}});
  EXPECT_EQ(second.error().code, make_error_code(CounterErrc::busy));
}

TEST_F(ChangedSession, TakesNoEventsWhileItIsOnAProcess) {
  ASSERT_TRUE(session.unload());
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  const auto refused = session.program(std::array{EventSetup{fake_event(2)}});
  EXPECT_EQ(refused.error().code, make_error_code(CounterErrc::busy));
  EXPECT_NE(refused.error().message.find("unload the session first"), std::string::npos)
      << refused.error().message;
}

TEST(SessionOnItself, TakesEventsAndValuesWhileItCounts) {
  CounterSession session;
  ASSERT_TRUE(session.program(std::array{EventSetup{page_faults()}}));
  ASSERT_TRUE(session.load(CounterTarget::thread({})));
  ASSERT_TRUE(session.start());
  const auto value = [&](std::size_t event) {
    std::array readings{Reading{event}};
    EXPECT_TRUE(session.read(readings));
    return readings[0].value;
  };
  fault(100);
  EXPECT_GE(value(0), 100U);
  ASSERT_TRUE(session.set_values(std::array{ValueSetup{0, 1'000'000, {}}}));
  fault(100);
  EXPECT_GE(value(0), 1'000'100U);
  // Another thread has to stop it first.
  std::thread([&] {
    EXPECT_EQ(session.set_values(std::array{ValueSetup{0, 5, {}}}).error().code,
              make_error_code(CounterErrc::busy));
    EXPECT_EQ(session.program(std::array{EventSetup{page_faults()}}).error().code,
              make_error_code(CounterErrc::busy));
  }).join();
  const Sampling sampled{.period = 10, .mask = true};
  const auto added = session.program(std::array{EventSetup{page_faults(), 0, sampled}});
  ASSERT_TRUE(added) << added.error().message;
  fault(100);
  pollfd wake{session.wake_descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&wake, 1, static_cast<int>(shmif::test::kGenerousTime.count())), 1);
  EXPECT_EQ(session.state(), SessionState::masked);
  EXPECT_GE(value(*added), 10U);
}

}  // namespace
}  // namespace shmif::perf::test
