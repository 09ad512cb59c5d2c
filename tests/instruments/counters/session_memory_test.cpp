// What a session costs a program that cannot afford memory while it reads. A program of its own,
// because it counts allocations with an operator new, of which ThreadSanitizer has one, too.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "instruments/counters/session.hpp"
#include "tests/support/counted_allocations.hpp"

namespace shmif::perf::test {
namespace {

TEST(SessionMemory, ReadsSixteenEventsWithoutAnAllocation) {
  CounterSession session;
  std::vector<EventSetup> events;
  std::vector<Reading> readings;
  constexpr std::size_t kEvents = 16;
  for (std::size_t i = 0; i < kEvents; ++i) {
    CounterEvent event;
    event.name = std::to_string(i);
    event.type = PERF_TYPE_SOFTWARE;
    event.config = i % 2 == 0 ? PERF_COUNT_SW_PAGE_FAULTS : PERF_COUNT_SW_TASK_CLOCK;
    events.push_back({event});
    readings.push_back({i});
  }
  ASSERT_TRUE(session.program(events));
  ASSERT_TRUE(session.load(CounterTarget::thread({})));
  ASSERT_TRUE(session.start());
  const std::size_t before = shmif::test::allocations;
  const bool first = session.read(readings).has_value();
  const bool second = session.read(readings).has_value();
  const std::size_t after = shmif::test::allocations;
  EXPECT_TRUE(first && second);
  EXPECT_EQ(after - before, 0U);
  EXPECT_GT(readings[15].value, 0U);
  shmif::test::allocations = 0;
  delete new int;
  EXPECT_EQ(shmif::test::allocations, 1U) << "the count counts";
}

}  // namespace
}  // namespace shmif::perf::test
