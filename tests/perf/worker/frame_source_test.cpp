// Where a sender's frames come from: which are due, which are given up, and what those were.

#include "perf/worker/frame_source.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shmif/capture/pcap_link.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::frame_sources {
namespace {

constexpr std::uint64_t kStart = 9'000'000'000;
constexpr std::uint64_t kMs = 1'000'000;

/// A source of a capture of four frames of 60, 70, 80 and 90 bytes, 0, 10, 20 and 30 ms after the
/// first, and what is taken from it.
struct Replayed {
  test::TempDir dir;
  std::unique_ptr<FrameSource> source;
  std::array<FrameSource::Slot, 64> slots{};

  explicit Replayed(const std::function<void(JobOptions&)>& change, std::uint64_t runtime_ms = 0) {
    const std::string path = dir.file("capture.pcap");
    auto writer = PcapWriter::create(path).value();
    for (std::uint64_t n = 0; n < 4; ++n) {
      const std::vector<std::byte> bytes(60 + 10 * n, static_cast<std::byte>(n));
      FrameView frame{std::span<const std::byte>(bytes)};
      frame.time_ns = 1'700'000'000'000'000'000 + n * 10 * kMs;
      EXPECT_EQ(writer.send({&frame, 1}).taken, 1U);
    }
    EXPECT_FALSE(writer.flush());
    JobOptions job;
    job.replay = path;
    job.runtime = std::chrono::milliseconds(runtime_ms);
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

TEST(ReplaySource, WhatIsMadeAgainIsTheFrameThatWasRefused) {
  for (const bool flat_out : {false, true}) {
    Replayed replay([&](JobOptions& o) { o.replay_no_stall = flat_out; });
    EXPECT_EQ(replay.take(40), (Sizes{60, 70, 80, 90}));
    std::vector<FrameView> views;
    replay.source->make(1002, std::span(replay.slots).subspan(2, 2), 0, views);
    ASSERT_EQ(views.size(), 2U);
    EXPECT_EQ(views[0].size(), 80U);
    EXPECT_EQ(views[1].size(), 90U);
    EXPECT_EQ(views[1].bytes[59], std::byte{3});
  }
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
  EXPECT_EQ(replay.source->next_ns(), FrameSource::kNever);
  EXPECT_EQ(replay.take(200), Sizes{});
  EXPECT_EQ(replay.source->give_up(kStart + 300 * kMs).frames, 0U);
}

TEST(ReplaySource, AtARateGivesUpNoMoreThanItHas) {
  Replayed replay([](JobOptions& o) { o.rate_fps.tx = 1000; });
  EXPECT_EQ(replay.take(0), Sizes{60});
  const auto unsent = replay.source->give_up(kStart + 100 * kMs);
  EXPECT_EQ(unsent.frames, 3U);
  EXPECT_EQ(unsent.bytes, 3 * 75U) << "of the mean size";
}

TEST(ReplaySource, BitsPerSecondAreARateToo) {
  Replayed replay([](JobOptions& o) { o.rate_bps.tx = 60'000 * 8; });
  EXPECT_EQ(replay.take(0), Sizes{60});
  EXPECT_EQ(replay.source->next_ns(), kStart + kMs) << "and not at the time of its recording";
}

TEST(ReplaySource, WithTimeBasedItRepeatsTheCaptureToItsEnd) {
  for (const bool paced : {false, true}) {
    Replayed replay(
        [&](JobOptions& o) {
          o.time_based = true;
          if (paced) o.rate_fps.tx = 100;
        },
        95);
    EXPECT_EQ(replay.take(1000), (Sizes{60, 70, 80, 90, 60, 70, 80, 90, 60, 70})) << paced;
    EXPECT_EQ(replay.source->next_ns(), FrameSource::kNever);
    EXPECT_FALSE(replay.source->ended()) << "the capture has no end";
  }
}

TEST(ProbeSource, CountsWhatItSkipsAndGivesUpWithItsBytes) {
  JobOptions job;
  job.bs.tx.parts = {{.min = 100, .max = 200, .weight = 1}};
  job.rate_fps.tx = 1000;
  job.rate_catchup = CatchUp::skip;
  const auto source = make_probe_source({.job = job, .to = {}, .from = {}});
  source->begin(kStart, FrameSource::kNever, kStart);
  std::array<FrameSource::Slot, 64> slots{};
  EXPECT_EQ(source->take(kStart, slots), 1U);
  EXPECT_EQ(source->skipped().frames, 0U);
  (void)source->take(kStart + 50 * kMs, slots);
  const auto skipped = source->skipped();
  EXPECT_GE(skipped.frames, 48U);
  EXPECT_GE(skipped.bytes, skipped.frames * 100);
  EXPECT_LE(skipped.bytes, skipped.frames * 200);
  const std::uint64_t due = source->next_ns();
  const auto unsent = source->give_up(due + 10 * kMs);
  EXPECT_EQ(unsent.frames, 10U);
  EXPECT_NEAR(static_cast<double>(unsent.bytes), 1500, 10);
  EXPECT_EQ(source->max_bytes(), 200U);
}

TEST(ProbeSource, SaysHowManyRandomNumbersItHasUsedAndGoesOnThere) {
  JobOptions job;
  job.bs.tx.parts = {{.min = 100, .max = 1000, .weight = 1}};
  const auto sizes_from = [&](std::uint64_t position, std::size_t count) {
    const auto source =
        make_probe_source({.job = job, .to = {}, .from = {}, .random_position = position});
    source->begin(kStart, FrameSource::kNever, kStart);
    std::vector<FrameSource::Slot> slots(count);
    EXPECT_EQ(source->take(kStart, slots), count);
    Sizes sizes;
    for (const auto& slot : slots) sizes.push_back(slot.bytes);
    return std::pair(sizes, source->random_position());
  };
  const auto [all, end] = sizes_from(0, 20);
  const auto [first, middle] = sizes_from(0, 8);
  const auto [rest, last] = sizes_from(middle, 12);
  EXPECT_EQ(first, Sizes(all.begin(), all.begin() + 8));
  EXPECT_EQ(rest, Sizes(all.begin() + 8, all.end()));
  EXPECT_EQ(last, end);
}

}  // namespace
}  // namespace shmif::perf::frame_sources
