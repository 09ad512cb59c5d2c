// Writers and readers as threads over one mapping, which ThreadSanitizer sees through. (Two
// mappings of one file would hide every race from it.)

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <thread>
#include <vector>

#include "bus/file/liveness.hpp"
#include "bus/ring/counts.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kWriters = 2;
constexpr unsigned kReaders = 2;
constexpr std::uint32_t kRacingFrames = kSanitized ? 20'000 : 300'000;

struct Race {
  Race()
      : file(small_ring()), raw(file.path()), life(open(file.path().c_str(), O_RDWR | O_CLOEXEC)) {
    raw.header().slots_used = kWriters;
    for (unsigned w = 0; w < kWriters; ++w) {
      raw.slot(w).name[0] = static_cast<char>('a' + w);
      raw.slot(w).state = bus::slot_state(bus::SlotState::live, 1);
      EXPECT_TRUE(bus::take_liveness(life.get(), w));
    }
  }

  void write(unsigned sender) {
    bus::BusLock lock(raw.header(), sender, raw.fd());
    bus::RingWriter writer(raw.ring(), sender, 1);
    NumberedBatch all_sizes(raw.ring().max_frame());
    NumberedBatch short_ones(560);  // most of them share records
    NumberedBatch equal_ones(800);  // their records are alike
    equal_ones.fix_size(800);
    NumberedBatch* const kinds[] = {&all_sizes, &short_ones, &equal_ones, &short_ones};
    for (std::uint32_t sequence = 0, batches = 0; sequence < kRacingFrames; ++batches) {
      const std::size_t count = std::min<std::size_t>(1 + sequence % 9, kRacingFrames - sequence);
      const auto batch = kinds[batches % 4]->make(sender, sequence, count);
      const bus::Batch plan = plan_batch(batch);
      auto status = bus::AppendStatus::lost_lock;
      while (status == bus::AppendStatus::lost_lock) {
        const std::uint64_t mine = lock.acquire();
        status = writer.append(mine, plan, 1);
        lock.release(mine);
      }
      if (status != bus::AppendStatus::done) ++failures;
      sequence += static_cast<std::uint32_t>(count);
    }
    --writing;
  }

  /// `room`: frames of a batch. With few, the reader often stops inside of a record.
  void read(std::size_t room) {
    bus::RingReader reader(raw.ring(), nullptr, 0, 0, false);
    if (!reader.seek_end()) ++failures;
    bus::ReadTally tally;
    std::array<std::int64_t, kWriters> latest{};
    latest.fill(-1);
    FrameBatch batch(room);
    ++reading;
    for (bool last_look = false;;) {
      batch.clear();
      const auto status = reader.read(batch, tally);
      for (const FrameView& f : batch.frames()) {
        const auto n = check_numbered(f);
        if (!n || n->sender >= kWriters || n->sequence <= latest.at(n->sender)) {
          ++failures;
        } else {
          latest.at(n->sender) = n->sequence;
        }
      }
      if (status != bus::ReadStatus::empty) continue;
      if (last_look) break;
      last_look = writing == 0;
      std::this_thread::yield();
    }
    if (tally.frames + tally.lost_frames != kWriters * kRacingFrames || tally.corrupt != 0)
      ++failures;
    heard += tally.frames;
  }

  TempBus file;
  RawBus raw;
  UniqueFd life;  // another description, through which the writers are seen to live
  std::atomic<unsigned> writing{kWriters};
  std::atomic<unsigned> reading{0};
  std::atomic<unsigned> failures{0};
  std::atomic<std::uint64_t> heard{0};
};

TEST(RingRace, ThreadsOnOneMappingReadWhatOthersWriteWholeInOrderAndWithoutDataRaces) {
  Race race;
  std::vector<std::jthread> threads;
  for (unsigned r = 0; r < kReaders; ++r)
    threads.emplace_back([&, r] { race.read(r == 0 ? 64 : 3); });
  while (race.reading < kReaders) std::this_thread::yield();
  for (unsigned w = 0; w < kWriters; ++w) threads.emplace_back([&, w] { race.write(w); });
  threads.clear();
  EXPECT_EQ(race.failures, 0U);
  EXPECT_GT(race.heard, 0U);
  const AuditReport report = race.file.audit();
  EXPECT_TRUE(is_clean(report));
  EXPECT_LT(report.records - report.pads, report.frames * 4 / 5) << "few frames shared a record";
}

TEST(RingRace, TakingTheLockAtAnyMomentTearsNothingAndLosesNothing) {
  // A thread that takes the lock away all the time, as from holders that stand still.
  Race race;
  std::jthread thief([&](const std::stop_token& stop) {
    std::uint64_t taken = 0;
    while (!stop.stop_requested()) {
      const std::uint64_t seen = bus::load_seq_cst(race.raw.header().lock);
      if (!bus::lock_word::is_free(seen)) {
        bus::fetch_add(race.raw.header().takeovers, std::uint64_t{1});
        const std::uint64_t mine = bus::lock_word::next_held_by(seen, 100);
        if (bus::compare_and_swap(race.raw.header().lock, seen, mine)) {
          bus::compare_and_swap(race.raw.header().lock, mine, bus::lock_word::freed(mine));
          ++taken;
        }
      }
      for (unsigned i = 0; i < 200 + taken % 500; ++i) bus::cpu_relax();
    }
    EXPECT_GT(taken, 0U);
  });
  std::vector<std::jthread> threads;
  for (unsigned r = 0; r < kReaders; ++r)
    threads.emplace_back([&, r] { race.read(r == 0 ? 64 : 3); });
  while (race.reading < kReaders) std::this_thread::yield();
  for (unsigned w = 0; w < kWriters; ++w) threads.emplace_back([&, w] { race.write(w); });
  threads.clear();
  thief.request_stop();
  thief.join();
  EXPECT_EQ(race.failures, 0U);
  EXPECT_TRUE(is_clean(race.file.audit()));
}

/// Runs both at the same time.
template <class A, class B>
void together(A a, B b) {
  std::barrier start(2);
  std::jthread other([&] {
    start.arrive_and_wait();
    b();
  });
  start.arrive_and_wait();
  a();
}

TEST(CountRace, WhatSenderAndReceiverBothCountIsExact) {
  constexpr std::uint64_t kTimes = kSanitized ? 100'000 : 2'000'000;
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  bus::PortSlot& slot = raw.slot(3);
  bus::Counts counts;
  together(
      [&] {
        for (std::uint64_t i = 0; i < kTimes; ++i) counts.corrupt.add(1, slot.corrupt);
      },
      [&] {
        for (std::uint64_t i = 0; i < kTimes; ++i) counts.add(bus::ReadTally{.corrupt = 1}, slot);
      });
  EXPECT_EQ(counts.get().corrupt, 2 * kTimes);
  EXPECT_EQ(bus::load_seq_cst(slot.corrupt), 2 * kTimes);
}

TEST(SetterRace, APortAndItsSlotSayTheSameAfterSettersOfTwoThreads) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  Port port = port_on(file.path());
  bus::PortSlot& slot = raw.slot(port.slot());
  const MacAddress one{{0x02, 0, 0, 0, 0, 1}};
  const MacAddress two{{0x02, 0, 0, 0, 0, 2}};
  const auto set = [&](MacAddress mac, bool promiscuous) {
    for (unsigned i = 0; i < 20; ++i) {
      EXPECT_FALSE(port.set_mac(mac));
      EXPECT_FALSE(port.set_promiscuous(promiscuous));
    }
  };
  for (unsigned round = 0; round < (kSanitized ? 100 : 1000); ++round) {
    together([&] { set(one, true); }, [&] { set(two, false); });
    ASSERT_EQ(MacAddress::from_u64(bus::load_seq_cst(slot.mac)), port.mac()) << round;
  }
  // What the port says of itself outlives a slot that was overwritten.
  const bool promiscuous = (bus::load_seq_cst(slot.flags) & bus::kFlagPromiscuous) != 0;
  bus::store_seq_cst(slot.flags, std::uint32_t{0});
  bus::fetch_add(raw.header().epoch, std::uint64_t{1});
  FrameBatch batch;
  static_cast<void>(port.receive(batch));
  EXPECT_EQ((bus::load_seq_cst(slot.flags) & bus::kFlagPromiscuous) != 0, promiscuous);
}

}  // namespace
}  // namespace shmif::test
