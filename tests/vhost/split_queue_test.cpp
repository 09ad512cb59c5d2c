// The device side of a split queue, without a link around it.

#include "vhost/split_queue.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using vhost::GuestMemory;
using vhost::SplitQueue;

/// A queue with both of its sides in this process, and nobody between them.
struct QueuePair {
  explicit QueuePair(bool event_index, std::uint16_t size = 8) : driver(machine, size) {
    std::vector<UniqueFd> file;
    file.emplace_back(::dup(machine.file()));
    const vhost::MemoryRegion region = machine.region();
    memory = GuestMemory::map({&region, 1}, file).value();
    buffers.reserve(SplitQueue::kMinMaxBuffers);
    EXPECT_TRUE(start(event_index));
  }
  bool start(bool event_index) {
    return device.start(memory, {.size = driver.size,
                                 .descriptors = MachineMemory::kUser + driver.descriptors_at,
                                 .available = MachineMemory::kUser + driver.available_at,
                                 .used = MachineMemory::kUser + driver.used_at,
                                 .event_index = event_index});
  }
  /// Takes the next chain and gives it back.
  void consume() {
    buffers.clear();
    SplitQueue::Chain chain;
    ASSERT_TRUE(
        device.read_chain(0, SplitQueue::Direction::from_driver, ~std::size_t{0}, buffers, chain))
        << device.fault();
    device.give_back(chain.head, 0);
    (void)device.publish();
  }
  MachineMemory machine;
  DriverQueue driver;
  GuestMemory memory;
  SplitQueue device;
  std::vector<Buffer> buffers;
};

class SplitQueueSleep : public testing::TestWithParam<bool> {};

// The driver lends a buffer at any moment while the device falls asleep. If the device did not look
// again after it had asked for a notice, it would sleep for ever.
TEST_P(SplitQueueSleep, MissesNothingThatComesWhileItFallsAsleep) {
  constexpr unsigned kRounds = 50'000;
  QueuePair pair(GetParam());
  pair.driver.descriptor(0) = {MachineMemory::kGuest + (std::uint64_t{1} << 20), 64, 0, 0};
  std::atomic<bool> failed{false};
  std::jthread driver([&] {
    std::minstd_rand random(7);
    for (unsigned round = 0; round < kRounds && !failed; ++round) {
      while (!pair.driver.collect() && round > 0 && !failed) std::this_thread::yield();
      for (volatile unsigned spin = random() % 256; spin > 0;) spin = spin - 1;
      pair.driver.lend(0);
      (void)pair.driver.show(GetParam());
    }
  });
  unsigned sleeps = 0;
  for (unsigned done = 0; done < kRounds && !failed;) {
    if (pair.device.has(1)) {
      pair.consume();
      ++done;
      continue;
    }
    if (!pair.device.prepare_wait()) {
      pollfd waiting{.fd = pair.driver.kick.get(), .events = POLLIN, .revents = 0};
      failed = ::poll(&waiting, 1, 10'000) != 1;
      std::uint64_t count = 0;
      EXPECT_EQ(::read(pair.driver.kick.get(), &count, sizeof count), 8) << "in round " << done;
      ++sleeps;
    }
    pair.device.finish_wait();
  }
  EXPECT_FALSE(failed) << "it was not woken after " << sleeps << " sleeps";
  EXPECT_GT(sleeps, 0U);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEventIndex, SplitQueueSleep, testing::Bool());

TEST(SplitQueue, CountsPastTheEndOfItsNumbers) {
  QueuePair pair(true);
  pair.driver.descriptor(3) = {MachineMemory::kGuest + (std::uint64_t{1} << 20), 64, 0, 0};
  for (unsigned i = 0; i < 200'000; ++i) {
    ASSERT_FALSE(pair.device.has(1));
    pair.driver.lend(3);
    (void)pair.driver.show(true);
    ASSERT_TRUE(pair.device.has(1));
    ASSERT_FALSE(pair.device.has(2));
    pair.consume();
    ASSERT_TRUE(pair.driver.collect().has_value());
  }
  EXPECT_EQ(pair.device.position(), 200'000 % 65'536);
}

TEST(SplitQueue, NotifiesWhenTheDriversEventIsPassed) {
  QueuePair pair(true);
  pair.driver.descriptor(0) = {MachineMemory::kGuest + (std::uint64_t{1} << 20), 64, 0, 0};
  const auto give_back = [&](unsigned count) {
    for (unsigned i = 0; i < count; ++i) pair.driver.lend(0);
    (void)pair.driver.show(true);
    SplitQueue::Chain chain;
    for (unsigned i = 0; i < count; ++i) {
      EXPECT_TRUE(pair.device.has(1));
      pair.buffers.clear();
      EXPECT_TRUE(
          pair.device.read_chain(0, SplitQueue::Direction::from_driver, 1, pair.buffers, chain));
      pair.device.give_back(chain.head, 0);
    }
    return pair.device.publish();
  };
  pair.driver.used_event() = 0;
  EXPECT_TRUE(give_back(1)) << "0 to 1";
  EXPECT_FALSE(give_back(1)) << "0 is behind";
  pair.driver.used_event() = 4;
  EXPECT_FALSE(give_back(2)) << "2 to 4: the entry of number 4 is not there yet";
  EXPECT_TRUE(give_back(3)) << "4 to 7";
  EXPECT_FALSE(pair.device.publish()) << "nothing new";
  // The numbers have 16 bits.
  std::uint16_t at = 7;
  const auto go_to = [&](std::uint16_t number) {
    for (; at != number; ++at) (void)give_back(1);
  };
  go_to(0xfffe);
  pair.driver.used_event() = 0xffff;
  EXPECT_FALSE(give_back(1)) << "0xfffe to 0xffff";
  EXPECT_TRUE(give_back(3)) << "0xffff to 2, over the end";
  at = 2;
  go_to(0xfffe);
  pair.driver.used_event() = 1;
  EXPECT_FALSE(give_back(3)) << "0xfffe to 1: 1 is not there yet";
  EXPECT_TRUE(give_back(1)) << "1 to 2";
  at = 2;
  go_to(0xfffe);
  pair.driver.used_event() = 0xfffd;
  EXPECT_FALSE(give_back(4)) << "0xfffe to 2: 0xfffd is behind";
}

}  // namespace
}  // namespace shmif::test
