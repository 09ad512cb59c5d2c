// What a session costs a program that cannot afford memory while it reads. A program of its own,
// because it counts allocations with an operator new, of which ThreadSanitizer has one, too.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "perf/counters/session.hpp"

namespace {
thread_local long allocations = 0;
}

// Counts; otherwise as the ones of the library.
void* operator new(std::size_t bytes) {
  ++allocations;
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}

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
  const long before = allocations;
  const bool first = session.read(readings).has_value();
  const bool second = session.read(readings).has_value();
  const long after = allocations;
  EXPECT_TRUE(first && second);
  EXPECT_EQ(after - before, 0);
  EXPECT_GT(readings[15].value, 0U);
  allocations = 0;
  delete new int;
  EXPECT_EQ(allocations, 1) << "the count counts";
}

}  // namespace
}  // namespace shmif::perf::test
