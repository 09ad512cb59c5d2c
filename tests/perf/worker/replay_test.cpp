#include "perf/worker/frame_source.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "instruments/watch/clock.hpp"
#include "perf/worker/record_writer.hpp"
#include "shmif/bus.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kReplayStart = 9'000'000'000;

std::vector<std::byte> frame_of(std::uint64_t n, std::size_t size) {
  std::vector<std::byte> bytes(size, static_cast<std::byte>(n));
  bytes[12] = std::byte{0x08};
  return bytes;
}

/// A capture of frames at these times (ns), of 60 bytes and more.
std::string capture_at(const test::TempDir& dir, const std::vector<std::uint64_t>& times) {
  const std::string path = dir.file("capture.pcap");
  auto writer = PcapWriter::create(path).value();
  for (std::size_t n = 0; n < times.size(); ++n) {
    const auto bytes = frame_of(n, 60 + n);
    FrameView frame{std::span<const std::byte>(bytes)};
    frame.time_ns = 1'700'000'000'000'000'000 + times[n];
    EXPECT_EQ(writer.send({&frame, 1}).taken, 1U);
  }
  return path;
}

std::vector<Replay::Slot> take_all(Replay& replay, std::uint64_t now_ns) {
  std::vector<Replay::Slot> all;
  Replay::Slot slots[7];
  while (const std::size_t n = replay.take(now_ns, slots)) all.insert(all.end(), slots, slots + n);
  return all;
}

std::vector<std::uint64_t> intended(const std::vector<Replay::Slot>& slots) {
  std::vector<std::uint64_t> times;
  for (const Replay::Slot& slot : slots) times.push_back(slot.intended_ns - kReplayStart);
  return times;
}

using Times = std::vector<std::uint64_t>;

TEST(Replay, FramesAreDueAtTheTimesOfTheirRecording) {
  const test::TempDir dir;
  Replay replay = Replay::open(capture_at(dir, {0, 1000, 1001, 5000})).value();
  EXPECT_EQ(replay.frames(), 4U);
  EXPECT_EQ(replay.bytes(), 60U + 61 + 62 + 63);
  EXPECT_EQ(replay.longest(), 63U);
  replay.start(kReplayStart);
  EXPECT_EQ(replay.next_ns(), kReplayStart);
  EXPECT_TRUE(take_all(replay, kReplayStart - 1).empty());
  const auto first = take_all(replay, kReplayStart + 1000);
  EXPECT_EQ(intended(first), (Times{0, 1000}));
  EXPECT_EQ(replay.next_ns(), kReplayStart + 1001);
  const auto rest = take_all(replay, kReplayStart + 9000);
  EXPECT_EQ(intended(rest), (Times{1001, 5000}));
  EXPECT_EQ(replay.next_ns(), Replay::kNever);
  EXPECT_TRUE(take_all(replay, kReplayStart + 99'000).empty());
  const auto expected = frame_of(3, 63);
  EXPECT_TRUE(std::ranges::equal(rest[1].frame.bytes, expected));
}

TEST(Replay, HasTheGapsThatInjectHas) {
  const test::TempDir dir;
  constexpr std::uint64_t kS = 1'000'000'000;
  // The clock is set back, and then there is an hour without a frame.
  const std::string path = capture_at(dir, {5000 * kS, 5001 * kS, 100 * kS, 101 * kS, 3701 * kS});
  Replay replay = Replay::open(path).value();
  EXPECT_EQ(replay.longest_gap_ns(), 3600 * kS);
  replay.start(kReplayStart);
  EXPECT_EQ(intended(take_all(replay, kReplayStart + 9000 * kS)),
            (Times{0, kS, kS, 2 * kS, 3602 * kS}));
  Replay cut = Replay::open(path, {.time_scale = 2, .max_gap_ns = kS}).value();
  EXPECT_EQ(cut.longest_gap_ns(), kS) << "of the replay, which takes twice as long";
  cut.start(kReplayStart);
  EXPECT_EQ(intended(take_all(cut, kReplayStart + 9000 * kS)), (Times{0, kS, kS, 2 * kS, 3 * kS}));
}

TEST(Replay, WhatCannotBeReplayedIsRefused) {
  const test::TempDir dir;
  EXPECT_FALSE(Replay::open(dir.file("absent")));
  const auto empty = Replay::open(capture_at(dir, {}));
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().message.find("it contains no frame"), std::string::npos);
  const std::string path = capture_at(dir, {0, 1, 2});
  const auto large = Replay::open(path, {.max_bytes = 100});
  ASSERT_FALSE(large);
  EXPECT_NE(large.error().message.find("more than 100 bytes"), std::string::npos);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 5);
  const auto damaged = Replay::open(path);
  ASSERT_FALSE(damaged);
  EXPECT_NE(damaged.error().message.find("damaged"), std::string::npos) << damaged.error().message;
}

TEST(RecordWriter, WhatItRecordsCanBeReplayedToTheNanosecond) {
  const test::TempDir dir;
  const std::string path = dir.file("sent.pcapng");
  const std::uint64_t start = now_ns();
  constexpr std::uint64_t kFrames = 5000;  // more than the buffer holds
  {
    auto writer = RecordWriter::create(path, 0).value();
    for (std::uint64_t n = 0; n < kFrames; ++n) {
      writer.put(FrameView{std::span<const std::byte>(frame_of(n, 60 + n % 1000))},
                 start + 1003 * n + 7, start + 1000 * n);
    }
    EXPECT_TRUE(writer.finish());
  }
  Replay replay = Replay::open(path).value();
  ASSERT_EQ(replay.frames(), kFrames);
  EXPECT_EQ(replay.cut_short() + replay.skipped(), 0U);
  replay.start(kReplayStart);
  const auto all = take_all(replay, UINT64_MAX - 1);
  for (std::uint64_t n = 0; n < kFrames; ++n) {
    ASSERT_EQ(all[n].intended_ns, kReplayStart + 1003 * n);
    ASSERT_TRUE(std::ranges::equal(all[n].frame.bytes, frame_of(n, 60 + n % 1000)));
  }
}

/// What a command prints.
std::string output_of(const std::string& command) {
  std::string out;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return out;
  for (int c = 0; (c = std::fgetc(pipe)) != EOF;) out.push_back(static_cast<char>(c));
  return pclose(pipe) == 0 ? out : std::string();
}

TEST(RecordWriter, WiresharkShowsTheIntendedTimeBesideTheFrame) {
  if (std::system("command -v tshark >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "tshark is not installed";
  }
  const test::TempDir dir;
  const std::string path = dir.file("sent.pcapng");
  using namespace std::chrono;
  const auto wall_seconds = [] {
    return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
  };
  const auto before = wall_seconds();
  {
    auto writer = RecordWriter::create(path).value();
    const std::uint64_t now = now_ns();
    writer.put(FrameView{std::span<const std::byte>(frame_of(1, 61))}, now, now - 1'000'000'123);
    writer.put(FrameView{std::span<const std::byte>(frame_of(2, 64))}, now + 5, now + 5);
  }
  const std::string shown = output_of("tshark -r '" + path +
                                      "' -T fields -e frame.time_epoch -e frame.len "
                                      "-e frame.comment 2>/dev/null");
  std::vector<std::string> lines;
  for (std::size_t at = 0, end = 0; (end = shown.find('\n', at)) != std::string::npos;
       at = end + 1) {
    lines.push_back(shown.substr(at, end - at));
  }
  ASSERT_EQ(lines.size(), 2U) << shown;
  EXPECT_NE(lines[0].find("\t61\tintended "), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find(", sent 1000000123 ns later"), std::string::npos);
  EXPECT_NE(lines[1].find("\t64\tintended "), std::string::npos);
  EXPECT_NE(lines[1].find(", sent 0 ns later"), std::string::npos);
  EXPECT_EQ(lines[1].substr(0, lines[1].find('\t')),
            lines[1].substr(lines[1].find("intended ") + 9,
                            lines[1].find(',') - lines[1].find("intended ") - 9))
      << "both times are of the same clock";
  EXPECT_GE(std::stoll(lines[1]), before - 1);
  EXPECT_LE(std::stoll(lines[1]), wall_seconds() + 1);
}

TEST(RecordWriter, ABusIsNotOverwritten) {
  const test::TempDir dir;
  const std::string path = dir.file("bus");
  Bus::create(path, {}).value();
  const auto refused = RecordWriter::create(path);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::exists);
  EXPECT_TRUE(Bus::open(path));
}

// ---- The source of a replay's frames ----

constexpr std::uint64_t kMillis = 1'000'000;

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
                    std::uint64_t gap_ns = 10 * kMillis) {
    JobOptions job;
    make_capture(job, dir, {60, 70, 80, 90}, gap_ns);
    job.runtime = milliseconds(runtime_ms);
    change(job);
    source = make_replay_source(job).value();
    source->begin(kReplayStart,
                  runtime_ms == 0 ? FrameSource::kNever : kReplayStart + runtime_ms * kMillis,
                  kReplayStart);
  }
  /// The lengths of the frames that are due so many ms after the start, as they are made.
  std::vector<std::size_t> take(double ms, std::size_t max = 64) {
    const std::size_t count = source->take(kReplayStart + static_cast<std::uint64_t>(ms * kMillis),
                                           std::span(slots).first(max));
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
  EXPECT_EQ(replay.source->next_ns(), kReplayStart + 10 * kMillis);
  EXPECT_EQ(replay.take(9.9), Sizes{});
  const auto unsent = replay.source->give_up(kReplayStart + 30 * kMillis);
  EXPECT_EQ(unsent.frames, 2U) << "one that is due just then was not";
  EXPECT_EQ(unsent.bytes, 70U + 80);
  EXPECT_EQ(replay.take(40), (Sizes{90, 60})) << "the second loop";
  EXPECT_EQ(replay.take(100), (Sizes{70, 80, 90}));
  EXPECT_TRUE(replay.source->ended());
  EXPECT_EQ(replay.source->next_ns(), FrameSource::kNever);
  EXPECT_EQ(replay.source->give_up(kReplayStart + 1000 * kMillis).frames, 0U);
}

TEST(ReplaySource, AtARateHasTheFramesOfAllLoopsAndNoMore) {
  Replayed replay([](JobOptions& o) {
    o.rate_fps.tx = 1000;
    o.loops = 2;
  });
  EXPECT_EQ(replay.take(0), Sizes{60});
  EXPECT_EQ(replay.source->next_ns(), kReplayStart + kMillis);
  EXPECT_EQ(replay.take(2), (Sizes{70, 80}));
  EXPECT_EQ(replay.take(100), (Sizes{90, 60, 70, 80, 90}));
  EXPECT_TRUE(replay.source->ended());
  EXPECT_EQ(replay.take(200), Sizes{});
  Replayed given_up([](JobOptions& o) { o.rate_fps.tx = 1000; });
  EXPECT_EQ(given_up.take(0), Sizes{60});
  const auto unsent = given_up.source->give_up(kReplayStart + 100 * kMillis);
  EXPECT_EQ(unsent.frames, 3U) << "a hundred would have been due";
  EXPECT_EQ(unsent.bytes, 3 * 75U) << "of the mean size";
  Replayed by_bits([](JobOptions& o) { o.rate_bps.tx = 60'000 * 8; });
  EXPECT_EQ(by_bits.take(0), Sizes{60});
  EXPECT_EQ(by_bits.source->next_ns(), kReplayStart + kMillis)
      << "and not at the time of its recording";
}

TEST(ReplaySource, OfOneTimeBeginsAgainAfterASecondAndFloodsNobody) {
  Replayed replay([](JobOptions& o) { o.time_based = true; }, 1500, 0);
  EXPECT_EQ(replay.take(1), (Sizes{60, 70, 80, 90}));
  EXPECT_EQ(replay.source->next_ns(), kReplayStart + 1000 * kMillis);
  EXPECT_EQ(replay.take(1499).size(), 4U);
}

TEST(ReplaySource, TellsOfFramesThatAreNotWholeOrTooLongForTheWire) {
  const test::TempDir dir;
  JobOptions job;
  const auto warning = [&](std::uint32_t wire) {
    return make_replay_source(job, wire).value()->warning();
  };
  make_capture(job, dir, {60, 100}, kMillis);
  EXPECT_EQ(warning(9000), "");
  make_capture(job, dir, {60, 100, 110}, kMillis, 70);
  EXPECT_THAT(warning(9000), HasSubstr("2 frames of the capture were cut short"));
  make_capture(job, dir, {60, 100}, kMillis, 70);
  EXPECT_THAT(warning(9000), HasSubstr("1 frame of the capture was cut short"));
  make_capture(job, dir, {60, 100, 110}, kMillis, 5);
  EXPECT_FALSE(make_replay_source(job, 9000)) << "records that are too short for frames";
  make_capture(job, dir, {100, 1515, 1514}, kMillis);
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

}  // namespace
}  // namespace shmif::perf
