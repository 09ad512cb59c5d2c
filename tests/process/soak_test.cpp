// Several writers and readers on a tiny ring: every listener hears every frame that it does not
// count as lost, whole, once, in the order of the bus and of its sender.
//
// A long run: SHMIF_SOAK_FRAMES=10000000000 SHMIF_SOAK_LARGEST=150 soak_test. It prints how far it
// is once a minute. With SHMIF_SOAK_RING=4194304 the ring is larger, and less is lost.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "bus/layout.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kWriters = 3;
constexpr unsigned kReaders = 2;

/// How much, from the environment or as CI does it.
std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 0) : otherwise;
}
struct Plan {
  /// Frames that are sent, and frames that are heard in all, before the writers stop.
  std::uint64_t frames = setting("SHMIF_SOAK_FRAMES", kSanitized ? 500'000 : 10'000'000);
  std::chrono::seconds at_least{setting("SHMIF_SOAK_SECONDS", 0)};
  std::chrono::seconds at_most{std::getenv("SHMIF_SOAK_FRAMES") != nullptr ? 24 * 3600 : 240};
  std::uint64_t ring_bytes = setting("SHMIF_SOAK_RING", bus::kMinRingBytes);
  std::size_t largest_frame = setting("SHMIF_SOAK_LARGEST", 1522);
};

struct ReaderReport {
  std::atomic<std::uint64_t> heard{0};
  std::atomic<std::uint64_t> gaps{0};  ///< frame numbers of the bus that were not heard
  std::atomic<std::uint64_t> torn{0};
  std::atomic<std::uint64_t> out_of_order{0};
  std::atomic<std::uint64_t> accounted{0};  ///< what the port's counters say passed
  std::atomic<std::uint64_t> lost{0};
  std::atomic<std::uint64_t> corrupt{0};
};
struct Rig {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> enough{false};
  std::atomic<std::uint64_t> sent{0};
  std::atomic<bool> go{false};
  std::atomic<bool> done{false};
  std::array<ReaderReport, kReaders> readers;
};

/// Sends until the readers have heard enough.
int write_frames(const std::string& path, Rig& rig, unsigned sender, const Plan& plan) {
  Port port = port_on(path, {.name = "writer" + std::to_string(sender)});
  NumberedBatch batch(plan.largest_frame);
  ++rig.ready;
  while (!rig.go) std::this_thread::yield();
  std::uint64_t sequence = 0;  // a frame carries its low 32 bits
  while (!rig.enough) {
    const std::size_t count = 1 + (sequence * 7 + sender) % NumberedBatch::kMax;
    const SendResult sent =
        port.send(batch.make(sender, static_cast<std::uint32_t>(sequence), count));
    if (sent.error || sent.taken != count) return 1;
    sequence += count;
  }
  rig.sent += sequence;
  return 0;
}

/// The sequence number nearest behind `latest` whose low bits a frame carries.
std::int64_t unfold(std::uint32_t low, std::int64_t latest) {
  return latest + static_cast<std::int32_t>(low - static_cast<std::uint32_t>(latest));
}

int read_frames(const std::string& path, Rig& rig, ReaderReport& report, bool by_newest) {
  Port port = port_on(path, {.resume = by_newest ? Resume::newest : Resume::first});
  std::array<std::int64_t, kWriters> latest{};
  latest.fill(-1);
  std::uint64_t expected = 0;
  FrameBatch batch(64);
  ++rig.ready;
  for (;;) {
    const bool was_done = rig.done;
    batch.clear();
    if (port.receive(batch).error) return 1;
    if (batch.empty()) {
      if (was_done) break;
      port.wait(std::chrono::milliseconds(20));
      continue;
    }
    report.heard += batch.size();
    for (const FrameView& frame : batch.frames()) {
      report.gaps += frame.number - expected;
      if (frame.number < expected) ++report.out_of_order;
      expected = frame.number + 1;
      const auto n = check_numbered(frame);
      if (!n || n->sender >= kWriters) {
        ++report.torn;
        continue;
      }
      std::int64_t& before = latest.at(n->sender);
      const std::int64_t sequence = unfold(n->sequence, before);
      if (sequence <= before) ++report.out_of_order;
      before = sequence;
    }
  }
  const PortCounters c = port.counters();
  report.gaps += c.rx_frames + c.lost_frames - expected;  // lost behind the last one heard
  report.accounted = passed(c);
  report.lost = c.lost_frames;
  report.corrupt = c.corrupt;
  return 0;
}

std::uint64_t heard_by_all(const Rig& rig) {
  std::uint64_t sum = 0;
  for (const ReaderReport& r : rig.readers) sum += r.heard;
  return sum;
}

/// Waits until the plan is fulfilled, and tells how far it is once a minute.
void watch(const TempBus& bus, const Rig& rig, const Plan& plan) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  Clock::time_point told = begin;
  for (Clock::time_point now = begin; now - begin < plan.at_most; now = Clock::now()) {
    const std::uint64_t heard = std::min(heard_by_all(rig), bus.info().frames);
    if (heard >= plan.frames && now - begin >= plan.at_least) return;
    if (now - told >= std::chrono::minutes(1)) {
      told = now;
      std::printf("%.3f of %.3f G frames\n", static_cast<double>(heard) * 1e-9,
                  static_cast<double>(plan.frames) * 1e-9);
      std::fflush(stdout);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

TEST(Soak, TenMillionFramesOfEverySizeReachEveryListenerInOrderWholeAndOnceOrAreCountedAsLost) {
  const Plan plan;
  const TempBus bus(BusOptions{.ring_bytes = plan.ring_bytes});
  const Shared<Rig> rig;
  std::vector<Child> readers;
  std::vector<Child> writers;
  for (unsigned r = 0; r < kReaders; ++r) {
    readers.emplace_back([&] { return read_frames(bus.path(), *rig, rig->readers.at(r), r == 1); });
  }
  for (unsigned w = 0; w < kWriters; ++w) {
    writers.emplace_back([&] { return write_frames(bus.path(), *rig, w, plan); });
  }
  ASSERT_TRUE(eventually([&] { return rig->ready == kReaders + kWriters; }));
  rig->go = true;
  watch(bus, *rig, plan);
  rig->enough = true;
  for (Child& w : writers) EXPECT_EQ(w.wait(), 0);
  rig->done = true;
  for (Child& r : readers) EXPECT_EQ(r.wait(), 0);

  const std::uint64_t total = rig->sent;
  EXPECT_GE(total, plan.frames);
  EXPECT_GE(heard_by_all(*rig), plan.frames);
  EXPECT_EQ(bus.info().frames, total);
  EXPECT_TRUE(is_clean(bus.audit()));
  for (const ReaderReport& report : rig->readers) {
    EXPECT_EQ(report.torn, 0U);
    EXPECT_EQ(report.out_of_order, 0U);
    EXPECT_EQ(report.corrupt, 0U);
    EXPECT_EQ(report.accounted, total);
    EXPECT_EQ(report.heard + report.lost, total);
    EXPECT_EQ(report.gaps, report.lost) << "what was lost is not what was counted as lost";
    EXPECT_GT(report.heard, 0U);
    std::printf(
        "heard %llu of %llu, counted %llu as lost\n", static_cast<unsigned long long>(report.heard),
        static_cast<unsigned long long>(total), static_cast<unsigned long long>(report.lost));
  }
}

}  // namespace
}  // namespace shmif::test
