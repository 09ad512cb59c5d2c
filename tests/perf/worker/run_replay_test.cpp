// Captures as the source of a job's frames, and records of what jobs sent.

#include "perf/worker/frame_source.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/own_namespaces.hpp"

namespace shmif::perf {
namespace {

using Frames = std::vector<std::vector<std::byte>>;

/// Frames to everybody, of many sizes.
Frames some_frames(std::size_t count) {
  Frames frames;
  for (std::size_t n = 0; n < count; ++n) {
    std::vector<std::byte> bytes(60 + 131 * n % 1400, static_cast<std::byte>(n));
    std::fill_n(bytes.begin(), 6, std::byte{0xff});
    frames.push_back(std::move(bytes));
  }
  return frames;
}

/// Their capture, `gap_ns` apart.
std::string capture_of(const test::TempDir& dir, const Frames& frames, std::uint64_t gap_ns) {
  const std::string path = dir.file("capture.pcap");
  auto writer = PcapWriter::create(path).value();
  for (std::size_t n = 0; n < frames.size(); ++n) {
    FrameView frame{std::span<const std::byte>(frames[n])};
    frame.time_ns = 1'700'000'000'000'000'000 + n * gap_ns;
    EXPECT_EQ(writer.send({&frame, 1}).taken, 1U);
  }
  return path;
}

Frames bytes_of(const std::vector<Witnessed>& witnessed) {
  Frames all;
  for (const Witnessed& w : witnessed) all.push_back(w.bytes);
  return all;
}

class RunReplay : public testing::Test {
 protected:
  /// Replays 20 frames that were recorded 20 ms apart. Result: what the job sent.
  TrafficResult replay(const std::string& options) {
    const test::TempDir dir;
    const test::TempBus bus(test::roomy(4));
    const Frames frames = some_frames(20);
    const RunResult result =
        run_text("[j]\ndrain_time=50ms\nreplay=" + capture_of(dir, frames, 20'000'000) +
                 "\nbus=" + bus.path() + '\n' + options);
    EXPECT_TRUE(passed(result)) << options;
    const auto seen = witnessed(bus.path());
    EXPECT_EQ(bytes_of(seen), frames) << "byte for byte, in order";
    EXPECT_EQ(job_of(result, "j").tx.frames, 20U);
    EXPECT_EQ(job_of(result, "j").tx.offered_frames, 20U);
    EXPECT_EQ(job_of(result, "j.sink").rx.frames, 20U);
    EXPECT_EQ(flow_to(result, "j.sink").lost, 0U);
    return job_of(result, "j").tx;
  }
};

TEST_F(RunReplay, SendsThemFasterOrSlower) {
  EXPECT_GE(replay("replay_time_scale=50\n").seconds, 0.759);
  const TrafficResult fast = replay("replay_time_scale=400\n");
  EXPECT_GE(fast.seconds, 0.094);
  EXPECT_LT(fast.offered_seconds, 0.11) << "when the last frame was due";
}

TEST_F(RunReplay, SendsThemWithoutPauses) {
  // On a busy machine any frame may be late.
  double seconds = 1;
  for (int round = 0; round < 10 && seconds >= 0.38; ++round) {
    seconds = replay("replay_no_stall\n").seconds;
  }
  EXPECT_LT(seconds, 0.38) << "in each of ten runs";
}

TEST_F(RunReplay, SendsThemAtTheRateThatIsAskedFor) {
  const test::TempDir dir;
  const std::string capture = capture_of(dir, some_frames(50), 20'000'000);
  for (const char* const options :
       {"rate_iops=1000\n", "rate_iops=1000\nreplay_no_stall\nrate_process=poisson\n",
        "replay_no_stall\nthinktime=10ms\nthinktime_blocks=10\n"}) {
    SCOPED_TRACE(options);
    // With a think time, the next frame is due after the last one went.
    const RunResult result = test::run_until(
        [&] {
          return run_text("[j]\nengine=unix\ndrain_time=20ms\nreplay=" + capture + '\n' + options);
        },
        [](const RunResult& ran) { return job_of(ran, "j").tx.offered_seconds <= 0.3; });
    EXPECT_TRUE(passed(result));
    EXPECT_EQ(flow_to(result, "j.sink").received, 50U);
    EXPECT_GE(job_of(result, "j").tx.seconds, 0.02) << "no frame goes before its time";
    EXPECT_LE(job_of(result, "j").tx.offered_seconds, 0.3) << "that of the capture is a second";
  }
  const RunResult paced =
      run_text("[j]\nengine=unix\ndrain_time=20ms\nrate_iops=1000\nreplay=" + capture + '\n');
  const TrafficResult& tx = job_of(paced, "j").tx;
  EXPECT_NEAR(static_cast<double>(tx.offered_frames) / tx.offered_seconds, 1000, 1e-6);
}

TEST_F(RunReplay, LoopsAndTimeBasedBeginAgain) {
  const test::TempDir dir;
  const std::string job =
      "[j]\nengine=unix\ndrain_time=50ms\nreplay=" + capture_of(dir, some_frames(10), 1'000'000);
  EXPECT_EQ(job_of(run_text(job + "\nloops=3\n"), "j").tx.frames, 30U);
  const RunResult timed = run_text(job + "\ntime_based\nruntime=55ms\n");
  EXPECT_TRUE(passed(timed));
  EXPECT_EQ(job_of(timed, "j").tx.offered_frames, 55U);
}

TEST_F(RunReplay, LastsAsLongAsItsRuntimeThoughTheNextFrameIsDueLater) {
  const test::TempDir dir;
  const RunResult result = run_text("[j]\nengine=unix\ndrain_time=50ms\nruntime=200ms\nreplay=" +
                                    capture_of(dir, some_frames(2), 20'000'000'000) + '\n');
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j").tx.frames, 1U);
  EXPECT_DOUBLE_EQ(job_of(result, "j").tx.seconds, 0.2);
}

TEST_F(RunReplay, FramesThatAreRefusedGoAgainAsThemselves) {
  const test::TempDir dir;
  const Frames frames = some_frames(10'000);
  const std::string capture = capture_of(dir, frames, 100'000);
  RunResult result;
  do {  // until full_queue() has filled the queue
    result =
        run_text("[j]\nengine=unix\nreplay=" + capture + "\nwrite_pcap=" + dir.file("sent") + '\n',
                 test::full_queue());
    ASSERT_TRUE(passed(result));
  } while (job_of(result, "j").tx.refused_frames == 0);
  auto reader = PcapReader::open(dir.file("sent")).value();
  FrameBatch batch(64, 1U << 20U);
  std::size_t n = 0;
  for (; reader.receive(batch).frames != 0; batch.clear()) {
    for (const FrameView& frame : batch.frames()) {
      ASSERT_LT(n, frames.size());
      ASSERT_TRUE(std::ranges::equal(frame.bytes, frames[n++])) << n;
    }
  }
  EXPECT_EQ(n, frames.size());
}

TEST_F(RunReplay, ALongPauseIsToldOfOnceInARun) {
  class Listener : public RunObserver {
   public:
    std::vector<std::string> notices;
    void on_notice(const std::string& what) override { notices.push_back(what); }
    void on_progress(const RunProgress&) override {}
    void on_interval(const RunProgress&) override {}
  };
  const test::TempDir dir;
  const JobSet set = test::set_of("[j]\nengine=unix\nruntime=50ms\ndrain_time=10ms\nreplay=" +
                                  capture_of(dir, some_frames(2), 90'000'000'000) + '\n');
  auto runner = Runner::create(set.run, expand(set).value()).value();
  Listener listener;
  RunControl control;
  EXPECT_TRUE(passed(runner->run(&listener, control)));
  EXPECT_EQ(listener.notices,
            std::vector<std::string>{"j: the longest pause of the capture takes 1 minute "
                                     "(replay_max_gap=1 cuts it to a second)"});
}

TEST_F(RunReplay, ItsLimitsAreThoseOfAnyJob) {
  const test::TempDir dir;
  const Frames frames = some_frames(4);  // of 60, 191, 322 and 453 bytes
  const std::string replay =
      "replay_no_stall\ndrain_time=20ms\nreplay=" + capture_of(dir, frames, 1000) + '\n';
  for (const char* limit : {"io_limit=400\n", "number_ios=2\n", "loops=5\nnumber_ios=2\n"}) {
    const test::TempBus bus(test::roomy(4));
    EXPECT_TRUE(passed(run_text("[j]\nbus=" + bus.path() + '\n' + replay + limit))) << limit;
    EXPECT_EQ(bytes_of(witnessed(bus.path())), Frames(frames.begin(), frames.begin() + 2)) << limit;
  }
}

TEST_F(RunReplay, ACaptureThatIsNoneIsAnErrorOfTheStart) {
  EXPECT_TRUE(failed(run_text("[j]\nreplay=/no/such.pcap\n"), "/no/such.pcap"));
  EXPECT_TRUE(failed(run_text("[j]\nreplay=/proc/self/status\n"), "job \"j\": did not start"));
}

class RunRecord : public testing::TestWithParam<const char*> {};

TEST_P(RunRecord, HasEveryFrameThatWasSentAndCanBeReplayed) {
  const test::TempDir dir;
  const std::string path = dir.file("sent.pcapng");
  const std::string engine = "engine=" + std::string(GetParam()) + '\n';
  const RunResult result = run_text(
      "[j]\nbs=60-1000\nnumber_ios=60\nrate_iops=1000\nwrite_pcap=" + path + '\n' + engine);
  if (failed(result, "/dev/net/tun")) GTEST_SKIP() << "no TUN device";
  EXPECT_TRUE(passed(result));
  auto reader = PcapReader::open(path).value();
  FrameBatch batch(256, 1U << 20U);
  ASSERT_EQ(reader.receive(batch).frames, 60U);
  std::uint64_t sequence = 0;
  const std::uint64_t first = batch.frames()[0].time_ns;
  for (const FrameView& frame : batch.frames()) {
    const ProbeReading reading = read_probe(frame.bytes, probe_offset(frame.bytes));
    EXPECT_EQ(reading.finding, Finding::whole);
    EXPECT_EQ(reading.probe.sequence, sequence++);
    EXPECT_EQ(frame.time_ns - first,
              reading.probe.sent_ns - read_probe(batch.frames()[0].bytes, 14).probe.sent_ns);
  }
  const RunResult again = run_text("[j]\nengine=null\nreplay_no_stall\nreplay=" + path + '\n');
  EXPECT_TRUE(passed(again));
  EXPECT_EQ(job_of(again, "j").tx.frames, 60U);
  EXPECT_EQ(job_of(again, "j").tx.bytes, job_of(result, "j").tx.bytes);
}

INSTANTIATE_TEST_SUITE_P(Over, RunRecord,
                         testing::Values("bus", "tap", "packet", "unix", "udp", "null"),
                         [](const auto& each) { return std::string(each.param); });

TEST(RunRecordTo, AnEchoJobHasItsReplies) {
  const test::TempDir dir;
  EXPECT_TRUE(passed(run_text("[j]\nrw=pingpong\nnumber_ios=20\nto=e\n[e]\nrw=echo\nwrite_pcap=" +
                              dir.file("replies") + '\n')));
  auto reader = PcapReader::open(dir.file("replies")).value();
  FrameBatch batch;
  ASSERT_EQ(reader.receive(batch).frames, 20U);
  for (const FrameView& frame : batch.frames())
    EXPECT_EQ(read_probe(frame.bytes, 14).probe.kind, Probe::Kind::reply);
}

TEST(RunRecordTo, AFullDiskFailsTheRecordAndKeepsTheFigures) {
  const test::OwnTmpfs disk("size=64k,mode=0777");
  if (!disk.missing().empty()) GTEST_SKIP() << disk.missing();
  const RunResult result = run_text(
      "[j]\nengine=unix\nbs=1000\nnumber_ios=3000\nwrite_pcap=" + disk.file("sent.pcapng") + '\n');
  EXPECT_TRUE(failed(result, "No space left on device"));
  EXPECT_EQ(job_of(result, "j").tx.frames, 3000U);
  EXPECT_EQ(flow_to(result, "j.sink").received, 3000U);
}

class RunOffload : public testing::TestWithParam<const char*> {};

// On one CPU: Linux queues what an IP stack sends to itself for each CPU, and a sender that moves
// may overtake itself.
TEST_P(RunOffload, SendsEveryFrameOnceAndInOrderFromAThreadOfItsOwn) {
  const RunResult result = run_text(
      "[j]\nio_submit_mode=offload\ncpus_allowed=0\nrate_iops=5k\nnumber_ios=1000\nengine=" +
      std::string(GetParam()) + '\n');
  if (failed(result, "/dev/net/tun")) GTEST_SKIP() << "no TUN device";
  EXPECT_TRUE(passed(result));
  const FlowResult& flow = flow_to(result, "j.sink");
  EXPECT_EQ(flow.sent, 1000U);
  EXPECT_EQ(flow.received, 1000U);
  EXPECT_EQ(flow.reordered, 0U);
}

INSTANTIATE_TEST_SUITE_P(Over, RunOffload,
                         testing::Values("bus", "tap", "packet", "unix", "udp", "host"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace shmif::perf
