// What is in the frames of a run, and what happens to them on a line with faults.

#include "shmif/capture/pcap_link.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

/// Frames of a run with such options, as they passed a bus.
std::vector<Witnessed> frames_of(const std::string& options) {
  const test::TempBus bus(test::roomy(8));
  const RunResult result = run_text("[j]\nnumber_ios=100\nbus=" + bus.path() + '\n' + options);
  EXPECT_TRUE(passed(result)) << options;
  return witnessed(bus.path());
}

std::vector<std::byte> payload(const Witnessed& w) {
  const std::size_t at = probe_offset(w.bytes) + kProbeBytes;
  return {w.bytes.begin() + static_cast<std::ptrdiff_t>(at), w.bytes.end()};
}

TEST(RunFrames, HaveThePayloadThatIsAskedFor) {
  for (const Witnessed& w : frames_of("bs=500\nbuffer_pattern=0xa1b2\n")) {
    const auto bytes = payload(w);
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
      ASSERT_TRUE((bytes[i] == std::byte{0xa1} && bytes[i + 1] == std::byte{0xb2}) ||
                  (bytes[i] == std::byte{0xb2} && bytes[i + 1] == std::byte{0xa1}));
    }
  }
  for (const Witnessed& w : frames_of("bs=500\npayload=zero\n")) {
    EXPECT_EQ(std::ranges::count(payload(w), std::byte{0}), 500 - 60);
  }
  const auto half = frames_of("bs=1060\nbuffer_compress_percentage=50\n");
  for (const Witnessed& w : half) {
    EXPECT_NEAR(static_cast<double>(std::ranges::count(payload(w), std::byte{0})), 500, 60);
  }
}

TEST(RunFrames, AreTheSameForTheSameSeedAndOthersForAnother) {
  const auto content = [](const std::string& options) {
    std::vector<std::vector<std::byte>> all;
    for (const Witnessed& w : frames_of("bs=60-1500\n" + options)) all.push_back(payload(w));
    return all;
  };
  const auto once = content("randseed=7\n");
  EXPECT_EQ(content("randseed=7\n"), once);
  EXPECT_NE(content("randseed=8\n"), once);
}

/// The payloads of what a run recorded.
std::vector<std::vector<std::byte>> recorded(
    const std::string& options, std::uint64_t& refused,
    const test::Meddler::Deed& deed = [](const auto&) {}) {
  const test::TempDir dir;
  const RunResult result = run_text(
      "[j]\nbs=60-1500\nnumber_ios=10000\nwrite_pcap=" + dir.file("sent") + '\n' + options, deed);
  EXPECT_TRUE(passed(result));
  refused = job_of(result, "j").tx.refused_frames;
  std::vector<std::vector<std::byte>> all;
  auto reader = PcapReader::open(dir.file("sent")).value();
  FrameBatch batch(256, 1U << 20U);
  for (; reader.receive(batch).frames != 0; batch.clear()) {
    for (const FrameView& frame : batch.frames()) {
      EXPECT_EQ(read_probe(frame.bytes, 14).probe.sequence, all.size());
      all.emplace_back(frame.bytes.begin() + 14 + kProbeBytes, frame.bytes.end());
    }
  }
  return all;
}

TEST(RunFrames, AreTheSameWhetherAnEngineRefusesSomeOrNot) {
  std::uint64_t refused = 0;
  const auto expected = recorded("engine=null\n", refused);
  EXPECT_EQ(refused, 0U);
  // Repeats the run until full_queue() has filled the queue.
  while (refused == 0 && !HasFailure()) {
    EXPECT_TRUE(recorded("engine=unix\nrate_iops=10k\n", refused, test::full_queue()) == expected);
  }
}

TEST(RunFrames, GoInBatchesOfTheSizeAskedFor) {
  const auto batches = [](const std::string& options) {
    const RunResult result = run_text("[j]\nengine=null\nnumber_ios=100\n" + options);
    EXPECT_TRUE(passed(result));
    return job_of(result, "j").tx.batches;
  };
  EXPECT_EQ(batches("iodepth_batch=1\n"), 100U);
  EXPECT_EQ(batches("iodepth_batch=30\n"), 4U);
}

TEST(RunFaults, DelayAndJitterAreSeenInTheLatency) {
  const RunResult result = run_text(
      "[global]\nengine=unix\nrate_iops=500\nnumber_ios=150\ndrain_time=300ms\n"
      "[there]\nfault=delay=30ms\n[varies]\nfault=delay=30ms±20ms,seed=4\n"
      "[here]\nto=sink\n[sink]\nrw=rx\nfault_rx=delay=30ms\n");
  EXPECT_TRUE(passed(result));
  for (const char* name : {"there.sink", "sink"}) {
    EXPECT_GE(job_of(result, name).latency->percentile(1), 29'500'000U) << name;
    EXPECT_EQ(flow_to(result, name).lost, 0U);
  }
  EXPECT_GE(job_of(result, "varies.sink").latency->percentile(1), 9'000'000U);
  ASSERT_TRUE(flow_to(result, "varies.sink").jitter_ns.has_value());
  EXPECT_GT(*flow_to(result, "varies.sink").jitter_ns, 2e6);
}

TEST(RunFaults, ADelayedFrameLeavesAtItsTimeThoughItsSenderHasNothingElseToSend) {
  const RunResult result =
      run_text("[j]\nengine=unix\nrate_iops=2\nnumber_ios=3\ndrain_time=300ms\nfault=delay=5ms\n");
  EXPECT_TRUE(passed(result));
  const LatencyHistogram& latency = *job_of(result, "j.sink").latency;
  EXPECT_GE(latency.min(), 4'500'000U);
  EXPECT_LT(latency.percentile(50), 250'000'000U) << "the next frame comes after 500 ms";
}

}  // namespace
}  // namespace shmif::perf
