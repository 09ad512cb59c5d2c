// Where a sender's frames come from: which are due, which are given up, what those were, and what
// is told of a capture that is not sent as it is. The tests set the time.

#include "perf/worker/frame_source.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "shmif/capture/pcap_link.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::frame_sources {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kStart = 9'000'000'000;
constexpr std::uint64_t kMs = 1'000'000;

/// Frames of these sizes, one each `gap_ns`, as the capture of `job`; of the longer ones only
/// `snap` bytes are there.
void make_capture(JobOptions& job, const test::TempDir& dir, const std::vector<std::size_t>& sizes,
                  std::uint64_t gap_ns, std::uint32_t snap = 65535) {
  job.replay = dir.file("capture.pcap");
  std::filesystem::remove(job.replay);
  auto writer = PcapWriter::create(job.replay, {.snap_bytes = snap}).value();
  std::uint64_t n = 0;
  for (const std::size_t size : sizes) {
    const std::vector<std::byte> bytes(size, static_cast<std::byte>(n));
    FrameView frame{std::span<const std::byte>(bytes)};
    frame.time_ns = 1'700'000'000'000'000'000 + n++ * gap_ns;
    ASSERT_EQ(writer.send({&frame, 1}).taken, 1U);
  }
}

/// A source of a capture of four frames of 60, 70, 80 and 90 bytes, each `gap_ns` after the one
/// before, and what is taken from it.
struct Replayed {
  test::TempDir dir;
  std::unique_ptr<FrameSource> source;
  std::array<FrameSource::Slot, 64> slots{};

  explicit Replayed(const std::function<void(JobOptions&)>& change, std::uint64_t runtime_ms = 0,
                    std::uint64_t gap_ns = 10 * kMs) {
    JobOptions job;
    make_capture(job, dir, {60, 70, 80, 90}, gap_ns);
    job.runtime = milliseconds(runtime_ms);
    change(job);
    source = make_replay_source(job).value();
    source->begin(kStart, runtime_ms == 0 ? FrameSource::kNever : kStart + runtime_ms * kMs,
                  kStart);
  }
  /// The lengths of the frames that are due so many ms after the start, as they are made.
  std::vector<std::size_t> take(double ms, std::size_t max = 64) {
    const std::size_t count =
        source->take(kStart + static_cast<std::uint64_t>(ms * kMs), std::span(slots).first(max));
    std::vector<FrameView> views;
    source->make(number, std::span(slots).first(count), 0, views);
    std::vector<std::size_t> sizes;
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(views[i].size(), slots[i].bytes);
      sizes.push_back(views[i].size());
    }
    number += count;
    return sizes;
  }
  std::uint64_t number = 1000;
};

using Sizes = std::vector<std::size_t>;

TEST(ReplaySource, AtItsOwnTimesGivesUpWhatWasDueAndNotTaken) {
  Replayed replay([](JobOptions& o) { o.loops = 2; });
  EXPECT_EQ(replay.source->max_bytes(), 90U);
  EXPECT_EQ(replay.take(0), Sizes{60});
  EXPECT_EQ(replay.source->next_ns(), kStart + 10 * kMs);
  EXPECT_EQ(replay.take(9.9), Sizes{});
  const auto unsent = replay.source->give_up(kStart + 30 * kMs);
  EXPECT_EQ(unsent.frames, 2U) << "one that is due just then was not";
  EXPECT_EQ(unsent.bytes, 70U + 80);
  EXPECT_EQ(replay.take(40), (Sizes{90, 60})) << "the second loop";
  EXPECT_EQ(replay.take(100), (Sizes{70, 80, 90}));
  EXPECT_TRUE(replay.source->ended());
  EXPECT_EQ(replay.source->next_ns(), FrameSource::kNever);
  EXPECT_EQ(replay.source->give_up(kStart + 1000 * kMs).frames, 0U);
}

TEST(ReplaySource, AtARateHasTheFramesOfAllLoopsAndNoMore) {
  Replayed replay([](JobOptions& o) {
    o.rate_fps.tx = 1000;
    o.loops = 2;
  });
  EXPECT_EQ(replay.take(0), Sizes{60});
  EXPECT_EQ(replay.source->next_ns(), kStart + kMs);
  EXPECT_EQ(replay.take(2), (Sizes{70, 80}));
  EXPECT_EQ(replay.take(100), (Sizes{90, 60, 70, 80, 90}));
  EXPECT_TRUE(replay.source->ended());
  EXPECT_EQ(replay.take(200), Sizes{});
  Replayed given_up([](JobOptions& o) { o.rate_fps.tx = 1000; });
  EXPECT_EQ(given_up.take(0), Sizes{60});
  const auto unsent = given_up.source->give_up(kStart + 100 * kMs);
  EXPECT_EQ(unsent.frames, 3U) << "a hundred would have been due";
  EXPECT_EQ(unsent.bytes, 3 * 75U) << "of the mean size";
  Replayed by_bits([](JobOptions& o) { o.rate_bps.tx = 60'000 * 8; });
  EXPECT_EQ(by_bits.take(0), Sizes{60});
  EXPECT_EQ(by_bits.source->next_ns(), kStart + kMs) << "and not at the time of its recording";
}

TEST(ReplaySource, OfOneTimeBeginsAgainAfterASecondAndFloodsNobody) {
  Replayed replay([](JobOptions& o) { o.time_based = true; }, 1500, 0);
  EXPECT_EQ(replay.take(1), (Sizes{60, 70, 80, 90}));
  EXPECT_EQ(replay.source->next_ns(), kStart + 1000 * kMs);
  EXPECT_EQ(replay.take(1499).size(), 4U);
}

TEST(ReplaySource, TellsOfFramesThatAreNotWholeOrTooLongForTheWire) {
  const test::TempDir dir;
  JobOptions job;
  const auto warning = [&](std::uint32_t wire) {
    return make_replay_source(job, wire).value()->warning();
  };
  make_capture(job, dir, {60, 100}, kMs);
  EXPECT_EQ(warning(9000), "");
  make_capture(job, dir, {60, 100, 110}, kMs, 70);
  EXPECT_THAT(warning(9000), HasSubstr("2 frames of the capture were cut short"));
  make_capture(job, dir, {60, 100, 110}, kMs, 5);
  EXPECT_FALSE(make_replay_source(job, 9000)) << "records that are too short for frames";
  make_capture(job, dir, {100, 1515, 1514}, kMs);
  EXPECT_THAT(warning(1514), AllOf(HasSubstr("1 frame"), HasSubstr("mtu=1501")));
  const auto source = make_replay_source(job, 1514).value();
  EXPECT_EQ(source->max_bytes(), 1514U);
  source->begin(1, FrameSource::kNever, 1);
  std::array<FrameSource::Slot, 8> slots{};
  ASSERT_EQ(source->take(1'000'000'000, slots), 2U);
  EXPECT_EQ(slots[1].bytes, 1514U) << "the other one is left out";
  const auto none = make_replay_source(job, 99);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::frame_too_long);
  EXPECT_THAT(none.error().message, AllOf(HasSubstr(job.replay), HasSubstr("mtu=")));
}

TEST(ReplaySource, TellsOfAPauseOfMoreThanAMinuteThatItWillKeep) {
  const test::TempDir dir;
  JobOptions job;
  const auto notice = [&](std::uint64_t seconds) {
    make_capture(job, dir, {60, 60}, seconds * 1000 * kMs);
    return make_replay_source(job).value()->notice();
  };
  EXPECT_EQ(notice(60), "");
  EXPECT_THAT(notice(120), AllOf(HasSubstr("2 minutes"), HasSubstr("replay_max_gap")));
  job.replay_time_scale = 0.5;
  EXPECT_EQ(notice(120), "");
  job.replay_time_scale = 1;
  job.replay_max_gap = std::chrono::seconds(30);
  EXPECT_EQ(notice(3600), "");
  job.replay_max_gap = {};
  job.rate_fps.tx = 10;
  EXPECT_EQ(notice(3600), "") << "it has a rate of its own";
}

}  // namespace
}  // namespace shmif::perf::frame_sources
