// A receiver takes trains of frames together, and long frames where they lie. It finds the same as
// if it took each frame by itself.

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "shmif/filter.hpp"
#include "tests/perf/worker/sink_rig.hpp"

namespace shmif::perf::sinks {
namespace {

constexpr std::uint64_t kWindow = 1'000'000;  // when it begins; all times are long ago

/// Batches that came, and how many of the first frames of each were overwritten if they were lent.
struct Traffic {
  std::vector<std::vector<Bytes>> batches;
  std::vector<std::size_t> torn;
};

/// The first number that flows do not reach.
constexpr std::uint64_t kEnd = 100'000;

/// All that can happen to frames on their way, with mostly long trains in order.
Traffic traffic(unsigned seed, std::size_t bytes, Checksum checksum = Checksum::crc) {
  std::mt19937 random(seed);
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  std::array<std::uint64_t, 2> next{};
  std::vector<Bytes> waiting;  // overtaken by others
  Traffic all;
  for (std::size_t batch = 0; batch < 60; ++batch) {
    std::vector<Bytes>& frames = all.batches.emplace_back();
    std::uint32_t flow = 0;
    const std::size_t count = 1 + random() % 64;
    while (frames.size() < count) {
      if (one_in(20)) flow ^= 1U;
      std::uint64_t& number = next[flow];
      const std::uint64_t due = kWindow - 700 + (number + random() % 3) * 10;
      Bytes frame = frame_of(flow, one_in(60) ? 8 : 7, number++, due, bytes, checksum);
      if (one_in(40)) continue;  // lost
      if (one_in(60)) frame = corrupt(frame);
      if (one_in(60)) frame = truncated(frame);
      if (one_in(60)) frame = frame_of(5, 7, number, due, bytes);  // of a flow that is for others
      if (checksum == Checksum::none && one_in(60)) {              // damaged, as its number shows
        frame = frame_of(flow, 7, kEnd + 1023 + random() % 3 * 5000, due, bytes, checksum);
      }
      if (one_in(60)) frame.assign(bytes, std::byte{0x45});
      if (one_in(60)) waiting.push_back(frame);
      frames.push_back(std::move(frame));
      if (!waiting.empty() && one_in(30)) {
        frames.push_back(waiting.back());
        waiting.pop_back();
      }
    }
    frames.resize(count);
    all.torn.push_back(one_in(4) ? random() % (count + 1) : 0);
  }
  return all;
}

enum class How : std::uint8_t { one_by_one, in_trains, lent };

/// All counts, with their names.
std::string result(const Traffic& traffic, How how) {
  SinkRig rig;
  rig.flow.all_sent.set(kEnd);
  Sink::Setup setup = rig.with_flow(kWindow);
  FlowBlock& other = rig.memory->flow(1);
  other.measure_from_ns = kWindow;
  other.all_sent.set(kEnd);
  ExpectedFlow second;
  second.flow = 1;
  second.name = "b";
  second.block = &other;
  second.nonce = 7;
  setup.flows.push_back(std::move(second));
  const FrameFilter never = FrameFilter::compile("ether proto 0x1234").value();
  if (how == How::one_by_one) setup.trigger = &never;
  rig.end.may_lend = how == How::lent;
  Sink sink(std::move(setup), rig.end, rig.job);
  sink.begin(rig.recorder);
  for (std::size_t i = 0; i < traffic.batches.size(); ++i) {
    rig.end.next = traffic.batches[i];
    rig.end.torn = traffic.torn[i];
    sink.step();
  }
  std::string text;
  const auto add = [&](const char* name, std::uint64_t value) {
    text += std::string(name) + ' ' + std::to_string(value) + '\n';
  };
  rig.flow.tx_done = other.tx_done = true;
  rig.flow.window_end_ns = other.window_end_ns = kWindow + 1;
  sink.finish();
  for (const FlowBlock* flow : {&rig.flow, &other}) {
    add("received", flow->received.get());
    add("lost", flow->lost.get());
    add("duplicates", flow->duplicates.get());
    add("reordered", flow->reordered.get());
    add("corrupt", flow->corrupt.get());
    add("truncated", flow->truncated.get());
    add("late", flow->late.get());
    add("gaps", flow->gap_count.get());
    add("all received", flow->all_received.get());
    for (std::size_t i = 0; i < flow->gap_count.get(); ++i) add("gap", flow->gaps[i][0]);
  }
  for (const Period period : {Period::ramp, Period::window}) {
    const ReceivedCounts& counts = rig.job.received[period];
    add("frames", counts[&TrafficResult::frames].get());
    add("bytes", counts[&TrafficResult::bytes].get());
    add("foreign", counts[&TrafficResult::foreign_frames].get());
    add("stale", counts[&TrafficResult::stale_frames].get());
  }
  add("all", rig.job.all_rx_frames.get());
  add("all bytes", rig.job.all_rx_bytes.get());
  add("latencies", rig.job.latency.count());
  add("service times", rig.job.service.count());
  const IntervalResult interval = rig.close_interval().get();
  add("latencies of the interval", interval.latency_count);
  add("lost in the interval", interval.lost_frames);
  text += sink.error();
  return text;
}

TEST(SinkTrains, FindWhatIsFoundInEachFrameByItself) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    const Traffic short_frames = traffic(seed, 200);
    ASSERT_EQ(result(short_frames, How::in_trains), result(short_frames, How::one_by_one)) << seed;
  }
}

TEST(SinkTrains, WithoutACrcFindWhatIsFoundInEachFrameByItself) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    for (const std::size_t bytes : {200U, 1000U}) {
      const Traffic frames = traffic(seed, bytes, Checksum::none);
      const std::string expected = result(frames, How::one_by_one);
      EXPECT_EQ(expected.find("corrupt 0"), std::string::npos) << "some numbers are wrong";
      ASSERT_EQ(result(frames, How::in_trains), expected) << seed;
      ASSERT_EQ(result(frames, How::lent), expected) << seed;
    }
  }
}

TEST(SinkTrains, OfLentFramesUseNoneThatWasOverwrittenAndNoByteThatWasGivenBack) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    const Traffic long_frames = traffic(seed, 1000);
    ASSERT_EQ(result(long_frames, How::lent), result(long_frames, How::one_by_one)) << seed;
  }
}

/// Frames without a CRC, from one number on to another.
std::vector<Bytes> unchecked(std::uint64_t first, std::uint64_t last, std::uint64_t intended_ns) {
  std::vector<Bytes> frames;
  for (std::uint64_t number = first; number <= last; ++number) {
    frames.push_back(frame_of(0, 7, number, intended_ns, 200, Checksum::none));
  }
  return frames;
}

/// A sender tells its count once for each batch, and is at most 1024 frames ahead of it.
TEST(SinkTrains, WithoutACrcHaveNoNumberThatTheSenderCannotHaveSent) {
  struct Case {
    std::uint64_t first, last, frames;
  };
  for (const auto& [first, last, frames] :
       {Case{1221, 1223, 3}, Case{1222, 1224, 2}, Case{1224, 1226, 0}, Case{99, 101, 2}}) {
    SinkRig rig;
    rig.flow.first.set(100);
    rig.flow.all_sent.set(200);
    Sink sink(rig.with_flow(kWindow), rig.end, rig.job);
    sink.begin(rig.recorder);
    rig.end.next = unchecked(first, last, kWindow - 1);
    sink.step();
    EXPECT_EQ(rig.job.received[Period::ramp][&TrafficResult::frames].get(), frames)
        << first << " to " << last;
  }
}

}  // namespace
}  // namespace shmif::perf::sinks
