// Captures as the source of a job's frames: which are sent when, and what is told of those that are
// not. The tests set the time.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "perf/worker/frame_source.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::replay_source {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kSourceStart = 9'000'000'000;
constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kGap = 20 * kMs;

/// A job that replays frames of 100, 110, 120 bytes and so on, recorded 20 ms apart.
class ReplayedCapture : public testing::Test {
 protected:
  JobOptions job_of(std::size_t frames, std::uint64_t gap_ns = kGap) {
    JobOptions job;
    job.replay = dir_.file("capture.pcap");
    auto writer = PcapWriter::create(job.replay).value();
    for (std::size_t n = 0; n < frames; ++n) {
      const std::vector<std::byte> bytes(100 + 10 * n);
      FrameView frame{std::span<const std::byte>(bytes)};
      frame.time_ns = 1'700'000'000'000'000'000 + n * gap_ns;
      EXPECT_EQ(writer.send({&frame, 1}).taken, 1U);
    }
    return job;
  }
  static std::unique_ptr<FrameSource> source_of(const JobOptions& job,
                                                std::uint64_t end_ns = FrameSource::kNever) {
    auto source = make_replay_source(job).value();
    source->begin(kSourceStart, end_ns, kSourceStart);
    return source;
  }
  /// The lengths of the frames that are to be sent now, at most `max`.
  static std::vector<std::uint32_t> take(FrameSource& source, std::uint64_t now_ns,
                                         std::size_t max = 8) {
    std::vector<FrameSource::Slot> slots(max);
    slots.resize(source.take(now_ns, slots));
    std::vector<std::uint32_t> lengths;
    for (const FrameSource::Slot& slot : slots) lengths.push_back(slot.bytes);
    return lengths;
  }
  using Lengths = std::vector<std::uint32_t>;

  test::TempDir dir_;
};

TEST_F(ReplayedCapture, GivesUpThoseThatWereDueAndSaysHowManyBytesTheyHad) {
  const auto source = source_of(job_of(6));
  EXPECT_EQ(source->max_bytes(), 150U);
  EXPECT_EQ(take(*source, kSourceStart + kGap, 1), Lengths{100});
  const FrameSource::Unsent unsent = source->give_up(kSourceStart + 4 * kGap);
  EXPECT_EQ(unsent.frames, 3U) << "the fifth was not due before";
  EXPECT_EQ(unsent.bytes, 110U + 120 + 130);
  EXPECT_EQ(source->next_ns(), kSourceStart + 4 * kGap);
}

TEST_F(ReplayedCapture, GivesUpMoreThanItLooksAtAtOnce) {
  const auto source = source_of(job_of(100));
  const FrameSource::Unsent unsent = source->give_up(kSourceStart + 90 * kGap);
  EXPECT_EQ(unsent.frames, 90U);
  EXPECT_EQ(unsent.bytes, 90U * 100 + 10 * (89 * 90 / 2));
}

TEST_F(ReplayedCapture, OfOneTimeBeginsAgainAfterASecondAndFloodsNobody) {
  for (const std::size_t frames : {1U, 3U}) {
    JobOptions job = job_of(frames, 0);  // all at one time
    job.loops = 2;
    const auto twice = source_of(job);
    EXPECT_EQ(take(*twice, kSourceStart, 1), Lengths{100});
    EXPECT_EQ(twice->give_up(kSourceStart + kGap).frames, frames - 1);
    EXPECT_EQ(twice->next_ns(), kSourceStart + 1'000'000'000);
    job.time_based = true;
    job.runtime = milliseconds(20);
    const auto endless = source_of(job, kSourceStart + kGap);
    EXPECT_EQ(take(*endless, kSourceStart + 1, 8).size(), frames);
    EXPECT_EQ(endless->give_up(kSourceStart + kGap).frames, 0U);
  }
}

TEST_F(ReplayedCapture, AtTheRateOfTheJobHasNoTimesOfItsOwn) {
  JobOptions job = job_of(6);
  job.rate_bps.tx = 8'000'000;  // a byte in a microsecond
  const auto by_bits = source_of(job);
  EXPECT_EQ(take(*by_bits, kSourceStart), Lengths{100});
  EXPECT_EQ(by_bits->next_ns(), kSourceStart + 100'000);
  EXPECT_EQ(by_bits->due_ns(), kSourceStart + 100'000);
  EXPECT_EQ(take(*by_bits, kSourceStart + 209'999), Lengths{110});
  EXPECT_EQ(take(*by_bits, kSourceStart + 210'000), Lengths{120});
  job.rate_bps.tx = 0;
  job.rate_fps.tx = 1000;
  const auto by_frames = source_of(job, kSourceStart + 3 * kMs);
  EXPECT_EQ(take(*by_frames, kSourceStart + 9 * kMs), (Lengths{100, 110, 120})) << "until its end";
  EXPECT_EQ(by_frames->next_ns(), FrameSource::kNever);
  EXPECT_FALSE(by_frames->ended());
  job.rate_fps.tx = 0;
  EXPECT_EQ(source_of(job)->due_ns(), kSourceStart);
  const auto timed = source_of(job, kSourceStart + 2 * kGap);
  EXPECT_EQ(take(*timed, kSourceStart + 9 * kGap), (Lengths{100, 110}));
}

TEST_F(ReplayedCapture, AtTheRateOfTheJobGivesUpNoMoreThanItHas) {
  JobOptions job = job_of(5);  // of 120 bytes on average
  job.rate_fps.tx = 1000;
  const auto some = source_of(job);
  EXPECT_EQ(take(*some, kSourceStart, 1).size(), 1U);
  FrameSource::Unsent unsent = some->give_up(kSourceStart + 3 * kMs);
  EXPECT_EQ(unsent.frames, 2U);
  EXPECT_EQ(unsent.bytes, 240U);
  const auto all = source_of(job);
  EXPECT_EQ(take(*all, kSourceStart, 1).size(), 1U);
  unsent = all->give_up(kSourceStart + 1000 * kMs);
  EXPECT_EQ(unsent.frames, 4U) << "a thousand would have been due";
  EXPECT_EQ(unsent.bytes, 480U);
}

TEST_F(ReplayedCapture, PausesAfterEachBurstAndSpinsForAPartOfIt) {
  JobOptions job = job_of(5);
  job.replay_no_stall = true;
  job.thinktime = milliseconds(10);
  job.thinktime_spin = milliseconds(4);
  job.thinktime_blocks = 2;
  const auto source = source_of(job);
  EXPECT_EQ(take(*source, kSourceStart), (Lengths{100, 110}));
  EXPECT_EQ(take(*source, kSourceStart), Lengths{}) << "they have not left";
  EXPECT_EQ(source->all_left(kSourceStart + kMs), kSourceStart + 5 * kMs);
  EXPECT_EQ(source->all_left(kSourceStart + kMs), 0U) << "a pause begins once";
  EXPECT_EQ(source->next_ns(), kSourceStart + 11 * kMs);
  EXPECT_EQ(take(*source, kSourceStart + 11 * kMs), (Lengths{120, 130}));
  EXPECT_EQ(source->all_left(kSourceStart + 12 * kMs), kSourceStart + 16 * kMs);
  EXPECT_EQ(take(*source, kSourceStart + 22 * kMs), Lengths{140});
  EXPECT_TRUE(source->ended());
  EXPECT_EQ(source->next_ns(), FrameSource::kNever);
}

}  // namespace
}  // namespace shmif::perf::replay_source
