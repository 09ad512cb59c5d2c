// Several writers and readers on a tiny ring: every listener hears every frame that it does not
// count as lost, whole, once, in the order of the bus and of its sender.

#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kWriters = 3;
constexpr unsigned kReaders = 2;

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

/// Sends until the readers have heard enough, at least `least` frames and at most `most`.
int write_frames(const std::string& path, Rig& rig, unsigned sender, std::uint32_t least,
                 std::uint32_t most) {
  Port port = port_on(path, {.name = "writer" + std::to_string(sender)});
  NumberedBatch batch(port.max_frame_bytes());
  ++rig.ready;
  while (!rig.go) std::this_thread::yield();
  std::uint32_t sequence = 0;
  while (sequence < least || (!rig.enough && sequence < most)) {
    const std::size_t count = 1 + (sequence * 7 + sender) % NumberedBatch::kMax;
    const SendResult sent = port.send(batch.make(sender, sequence, count));
    if (sent.error || sent.taken != count) return 1;
    sequence += static_cast<std::uint32_t>(count);
  }
  rig.sent += sequence;
  return 0;
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
      if (n->sequence <= latest.at(n->sender)) ++report.out_of_order;
      latest.at(n->sender) = n->sequence;
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

TEST(Soak, TenMillionFramesOfEverySizeReachEveryListenerInOrderWholeAndOnceOrAreCountedAsLost) {
  constexpr std::uint64_t kTarget = kSanitized ? 500'000 : 10'000'000;
  constexpr std::uint32_t kLeast = kTarget / kWriters + 1;
  constexpr std::uint32_t kMost = 15 * kLeast;  // about a minute
  const TempBus bus(small_ring());
  const Shared<Rig> rig;
  std::vector<Child> readers;
  std::vector<Child> writers;
  for (unsigned r = 0; r < kReaders; ++r) {
    readers.emplace_back([&] { return read_frames(bus.path(), *rig, rig->readers.at(r), r == 1); });
  }
  for (unsigned w = 0; w < kWriters; ++w) {
    writers.emplace_back([&] { return write_frames(bus.path(), *rig, w, kLeast, kMost); });
  }
  ASSERT_TRUE(eventually([&] { return rig->ready == kReaders + kWriters; }));
  rig->go = true;
  eventually([&] { return heard_by_all(*rig) >= kTarget; }, std::chrono::seconds(45));
  rig->enough = true;
  for (Child& w : writers) EXPECT_EQ(w.wait(), 0);
  rig->done = true;
  for (Child& r : readers) EXPECT_EQ(r.wait(), 0);

  const std::uint64_t total = rig->sent;
  EXPECT_GE(total, kTarget);
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
