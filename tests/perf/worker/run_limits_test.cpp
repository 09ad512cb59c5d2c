// However limits combine, the first one that is reached ends the job, and none is ever exceeded.

#include <gtest/gtest.h>

#include "shmif/capture/pcap_link.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using test::job_of;
using test::passed;
using test::run_text;

// How limits of frames and bytes combine is told by sender_limits_test.cpp.
TEST(RunLimit, OfATimeAndACountTheFirstEndsTheJobAndTheRampIsOfTheCountAlone) {
  struct Case {
    const char* limits;
    std::uint64_t offered, ramp;
  };
  for (const Case& c : {Case{"runtime=50ms\nnumber_ios=5000\n", 50, 0},
                        {"runtime=20\nnumber_ios=50\n", 50, 0},
                        {"ramp_time=30ms\nruntime=20\nnumber_ios=50\n", 20, 30},
                        {"ramp_time=30ms\nruntime=20ms\n", 20, 30}}) {
    SCOPED_TRACE(c.limits);
    const RunResult result =
        run_text(std::string("[j]\nbs=100\nengine=unix\nthread\nrate_iops=1000\n") + c.limits);
    EXPECT_TRUE(passed(result));
    const JobResult& job = job_of(result, "j");
    EXPECT_EQ(job.tx.offered_frames + job.tx.ramp_frames, c.offered + c.ramp);
    EXPECT_EQ(job.counts.generator_tx, job.tx.frames + job.tx.ramp_frames);
    const JobResult& sink = job_of(result, "j.sink");
    EXPECT_EQ(sink.rx.frames + sink.rx.ramp_frames, job.counts.generator_tx);
  }
}

TEST(RunLimit, BytesOfAMixAreNotExceededByTheLastFrame) {
  const RunResult result = run_text("[j]\nengine=unix\nbs=imix\nio_limit=100000\n");
  EXPECT_TRUE(passed(result));
  EXPECT_LE(job_of(result, "j").tx.bytes, 100'000U);
  EXPECT_GT(job_of(result, "j").tx.bytes, 100'000U - 1514);
}

TEST(RunLimit, NothingIsSentAtTheEndOfTheRuntimeOrLater) {
  const test::TempBus bus(test::roomy(8));
  const RunResult result = run_text("[j]\nbus=" + bus.path() + "\nrate_iops=10k\nruntime=200ms\n");
  EXPECT_TRUE(passed(result));
  const auto frames = test::witnessed(bus.path());
  ASSERT_FALSE(frames.empty());
  EXPECT_EQ(job_of(result, "j").tx.offered_frames, 2000U);
  EXPECT_EQ(frames.size(), job_of(result, "j").tx.frames);
  EXPECT_LT(frames.back().probe().sent_ns - frames.front().probe().intended_ns, 200'000'000U);
}

/// Frames of 60, 160, 260 ... bytes.
std::string capture_of(const test::TempDir& dir, std::size_t frames) {
  const std::string path = dir.file("c.pcap");
  auto writer = PcapWriter::create(path).value();
  for (std::size_t n = 0; n < frames; ++n) {
    std::vector<std::byte> bytes(60 + 100 * n, static_cast<std::byte>(n + 1));
    FrameView frame{std::span<const std::byte>(bytes)};
    frame.time_ns = 1'700'000'000'000'000'000 + n * 1000;
    EXPECT_EQ(writer.send({&frame, 1}).taken, 1U);
  }
  return path;
}

TEST(RunLimit, HoldsForACaptureToo) {
  const test::TempDir dir;
  const std::string replay =
      "replay_no_stall\ndrain_time=20ms\nreplay=" + capture_of(dir, 4) + '\n';
  // 60 and 160 bytes, and no room for the 260 of the third.
  for (const char* limit : {"io_limit=300\n", "number_ios=2\n", "loops=5\nnumber_ios=2\n"}) {
    const test::TempBus bus(test::roomy(4));
    const RunResult result = run_text("[j]\nbus=" + bus.path() + '\n' + replay + limit);
    EXPECT_TRUE(passed(result)) << limit;
    const auto frames = test::witnessed(bus.path());
    ASSERT_EQ(frames.size(), 2U) << limit;
    EXPECT_EQ(frames[0].bytes, std::vector<std::byte>(60, std::byte{1}));
    EXPECT_EQ(frames[1].bytes, std::vector<std::byte>(160, std::byte{2}));
  }
}

}  // namespace
}  // namespace shmif::perf
