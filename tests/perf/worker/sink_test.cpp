// What a receiver makes of the frames that come to it. The tests say which those are.

#include <gtest/gtest.h>
#include <array>
#include <random>
#include <string_view>

#include "shmif/filter.hpp"
#include "shmif/ping.hpp"
#include "tests/perf/worker/sink_rig.hpp"

namespace shmif::perf::sinks {
namespace {

TEST(Sink, OfARecordEachFateIsTheSumOverTheFlowsOfAllRuns) {
  SinkRig rig;
  Sink::Setup setup{.options = rig.options, .flows = {}};
  setup.recorded = &rig.flow;
  Sink sink(std::move(setup), rig.end, rig.job);
  sink.begin(rig.recorder);
  // One flow of two runs, and another flow of the first: 100, 101 twice, 103; and a damaged frame.
  for (const auto& [flow, nonce] : {std::pair{3U, 7U}, {3U, 8U}, {4U, 7U}}) {
    for (const std::uint64_t number : {100U, 101U, 101U, 103U}) {
      rig.end.next.push_back(frame_of(flow, nonce, number));
    }
  }
  rig.end.next.push_back(corrupt(frame_of(3, 7, 102)));
  EXPECT_TRUE(sink.step());
  sink.finish();
  EXPECT_EQ(rig.flow.all_sent.get(), 3U * 4);
  EXPECT_EQ(rig.flow.all_judged.get(), 3U * 4);
  EXPECT_EQ(rig.flow.received.get(), 3U * 3);
  EXPECT_EQ(rig.flow.duplicates.get(), 3U);
  EXPECT_EQ(rig.flow.corrupt.get(), 1U);
  EXPECT_EQ(rig.flow.lost.get(), 2U);
  EXPECT_TRUE(rig.flow.complete.load());
}

TEST(Sink, TheFirstFrameThatTookTooLongIsNamed) {
  SinkRig rig;
  const std::uint64_t now = clock_ns();
  Sink sink(rig.with_flow(1, 1'000'000), rig.end, rig.job);
  sink.begin(rig.recorder);
  rig.end.next = {frame_of(0, 7, 0, now + 60'000'000'000), frame_of(0, 7, 1, now - 2'000'000),
                  frame_of(0, 7, 2, now - 9'000'000)};
  EXPECT_TRUE(sink.step());
  EXPECT_EQ(sink.error().find("frame 1 of a took "), 0U) << sink.error();
  EXPECT_NE(sink.error().find(", longer than max_latency (1ms)"), std::string::npos)
      << sink.error();
}

// ---- Which frames are of this run ----

/// Frames of flow 0 of run 7, whose sender has this address, and a receiver that counts them.
struct MarkRig : SinkRig {
  const MacAddress from = MacAddress::from_u64(0xb2a000000000);

  /// What becomes of a frame: "received", "corrupt", "truncated", "stale", "foreign" or "nothing".
  std::string_view fate_of(Sink& sink, const Bytes& frame) {
    const auto counts = [&] {
      const ReceivedCounts& all = job.received[Period::window];
      return std::array{flow.received.get(), flow.corrupt.get(), flow.truncated.get(),
                        all[&TrafficResult::stale_frames].get(),
                        all[&TrafficResult::foreign_frames].get()};
    };
    constexpr std::array kFates{"received", "corrupt", "truncated", "stale", "foreign"};
    const auto before = counts();
    end.next = {frame};
    (void)sink.step();
    const auto after = counts();
    for (std::size_t i = 0; i < kFates.size(); ++i) {
      if (after[i] != before[i]) return kFates[i];
    }
    return "nothing";
  }
  Sink::Setup expecting(const FrameMakerOptions& made) {
    Sink::Setup setup = with_flow(1);
    setup.flows[0].from = from;
    if (made.vlan) setup.flows[0].probe_at = 18;
    if (made.headers) setup.flows[0].headers = made.headers->places();
    return setup;
  }
  Bytes made(FrameMakerOptions how, std::uint64_t number) const {
    how.source = from;
    FrameMaker maker(how);
    const FrameView frame = maker.make(number, 200, {.nonce = 7, .intended_ns = 1, .sent_ns = 1});
    return {frame.bytes.begin(), frame.bytes.end()};
  }
};

/// A plain frame, one with a tag, and one with the headers of UDP.
std::vector<FrameMakerOptions> kinds_of_frames() {
  std::vector<FrameMakerOptions> kinds(3);
  kinds[1].vlan = 5;
  kinds[2].headers = HeaderTemplate::parse("ipv4/udp").value();
  return kinds;
}

/// Frames of others: a ping, some with the EtherType of probes and without it, and UDP whose data
/// begins like a probe.
std::vector<Bytes> frames_of_others() {
  std::vector<Bytes> all;
  std::array<std::byte, kPingFrameBytes> ping{};
  write_ping({.destination = MacAddress::from_u64(0xffffffffffff),
              .source = MacAddress::from_u64(0x020000000001),
              .id = 5},
             ping);
  all.emplace_back(ping.begin(), ping.end());
  for (const std::size_t size : {14U, 20U, 60U, 61U, 300U}) {
    for (const std::uint16_t type : {kProbeEtherType, std::uint16_t{0x0806}}) {
      Bytes frame(size, std::byte{0x5a});
      frame[12] = static_cast<std::byte>(type >> 8U);
      frame[13] = static_cast<std::byte>(type);
      all.push_back(frame);
    }
  }
  for (const std::string_view data : {"speed=100 speed=100 speed=100", "spam"}) {
    FrameMakerOptions options;
    options.headers = HeaderTemplate::parse("ipv4/udp").value();
    FrameMaker maker(options);
    const FrameView made = maker.make(0, 100, {});
    Bytes frame(made.bytes.begin(), made.bytes.end());
    std::ranges::fill(frame.begin() + 42, frame.end(), std::byte{0});
    std::ranges::transform(data, frame.begin() + 42, [](char c) { return std::byte(c); });
    all.push_back(frame);
  }
  return all;
}

TEST(SinkMarks, FramesOfOthersAreForeignWhateverTheyBeginWith) {
  for (const bool verifies : {true, false}) {
    for (const FrameMakerOptions& kind : kinds_of_frames()) {
      MarkRig rig;
      rig.options.do_verify = verifies;
      rig.options.continue_on_error.verify = false;
      Sink sink(rig.expecting(kind), rig.end, rig.job);
      sink.begin(rig.recorder);
      EXPECT_EQ(rig.fate_of(sink, rig.made(kind, 0)), "received");
      for (const Bytes& frame : frames_of_others()) {
        EXPECT_EQ(rig.fate_of(sink, frame), "foreign") << frame.size();
      }
      EXPECT_EQ(sink.error(), "");
    }
  }
}

TEST(SinkMarks, OneWrongMarkIsDamageAndTwoAreAFrameOfOthers) {
  for (const FrameMakerOptions& kind : kinds_of_frames()) {
    MarkRig rig;
    Sink sink(rig.expecting(kind), rig.end, rig.job);
    sink.begin(rig.recorder);
    const Bytes whole = rig.made(kind, 0);
    const std::size_t probe = kind.headers ? kind.headers->places().probe : kind.vlan ? 18 : 14;
    // Where the magic, the length, the nonce and the source are.
    const std::array<std::pair<std::size_t, std::size_t>, 4> marks{
        {{probe, 2}, {probe + 4, 4}, {probe + 12, 4}, {6, 6}}};
    for (std::size_t one = 0; one < marks.size(); ++one) {
      for (std::size_t two = one; two < marks.size(); ++two) {
        Bytes frame = whole;
        for (const auto& [at, bytes] : {marks[one], marks[two]}) {
          for (std::size_t i = at; i < at + bytes; ++i) frame[i] = std::byte{0x33};
        }
        EXPECT_EQ(rig.fate_of(sink, frame), one == two ? "corrupt" : "foreign") << one << two;
      }
    }
    // Any one bit behind the addresses, and any end that is missing.
    for (std::size_t bit = 12 * 8; bit < whole.size() * 8; ++bit) {
      Bytes frame = whole;
      frame[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      EXPECT_EQ(rig.fate_of(sink, frame), "corrupt") << "bit " << bit;
    }
    for (std::size_t size = 14; size < whole.size(); ++size) {
      const Bytes frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_EQ(rig.fate_of(sink, frame), "truncated") << size;
    }
  }
}

// ---- A flow whose sender is on another server ----

/// The least number of frames that may have been sent before that time.
std::uint64_t sent_before(const SentLog& log, std::uint64_t time_ns, std::uint64_t all) {
  for (const SentMark& mark : log.marks()) {
    if (mark.time_ns >= time_ns) all = std::min(all, mark.frames);
  }
  return all;
}

TEST(SentLog, LaterKnowsEachTimeToWithinAFewThousandthsAndIsNeverTooLow) {
  SentLog log;
  constexpr std::uint64_t kFrames = 1'000'000;
  for (std::uint64_t i = 0; i < kFrames; i += 3) log.note(10 * i, i);
  EXPECT_LE(log.marks().size(), 1024U);
  for (std::uint64_t time = 0; time < 10 * kFrames; time += 9'999) {
    const std::uint64_t before = (time + 9) / 10;
    ASSERT_GE(sent_before(log, time, kFrames), before) << time;
    ASSERT_LE(sent_before(log, time, kFrames), before + kFrames / 400) << time;
  }
}

/// A receiver of frames of flow 3 of run 7.
struct FarSink {
  SinkRig rig;
  std::unique_ptr<Sink> sink;

  FarSink() {
    rig.options.verify_only = rig.options.other_end_elsewhere = true;
    Sink::Setup setup{.options = rig.options, .flows = {}};
    setup.recorded = &rig.flow;
    sink = std::make_unique<Sink>(std::move(setup), rig.end, rig.job);
    sink->begin(rig.recorder);
  }
  void take(const Bytes& frame) {
    rig.end.next = {frame};
    EXPECT_TRUE(sink->step());
  }
  void take(std::uint64_t number) { take(frame_of(3, 7, number)); }
};

TEST(FarFlow, WhatComesADrainTimeAfterTheEndOfTheSenderIsLate) {
  FarSink far;
  far.take(0);
  far.sink->sender_ends(clock_ns() - 10, 3'600'000'000'000);
  far.take(1);
  far.sink->sender_ends(clock_ns() - 10, 5);  // it was stopped earlier
  far.take(2);
  far.take(4);
  far.take(frame_of(4, 7, 0));
  far.sink->finish();
  EXPECT_EQ(far.rig.flow.received.get(), 2U);
  EXPECT_EQ(far.rig.flow.late.get(), 3U) << "also of a flow that begins then";
  EXPECT_EQ(far.rig.flow.lost.get(), 1U);
}

TEST(FarFlow, DamageBehindTheFramesThatCameMayBeTheirFateAndTheSenderKnows) {
  FarSink far;
  far.take(corrupt(frame_of(3, 7, 0)));  // no flow is known yet
  for (const std::uint64_t number : {1U, 2U, 4U}) far.take(number);
  far.take(corrupt(frame_of(3, 7, 2)));    // it came whole
  far.take(truncated(frame_of(3, 7, 3)));  // the only one that is missing
  far.take(corrupt(frame_of(3, 7, 5)));
  far.take(truncated(frame_of(3, 7, 6)));
  far.sink->finish();
  EXPECT_EQ(far.rig.flow.corrupt.get(), 0U);
  EXPECT_EQ(far.rig.flow.truncated.get(), 1U);
  EXPECT_EQ(far.rig.flow.corrupt_copies.get(), 3U);
  EXPECT_EQ(far.rig.flow.corrupt_apart.get(), 2U) << "numbers 0 and 5";
  EXPECT_EQ(far.rig.flow.truncated_copies.get(), 1U);
  EXPECT_EQ(far.rig.flow.truncated_apart.get(), 1U);
}

TEST(FarFlow, TheReceiverTellsWhichNumbersItMissedAndItsJitterWithoutACommonClock) {
  FarSink far;
  EXPECT_FALSE(far.rig.options.clock_shift_ns);
  for (const std::uint64_t number : {2U, 3U, 6U, 9U}) far.take(number);
  EXPECT_EQ(far.rig.flow.end_number.get(), 0U) << "not before the end";
  far.sink->finish();
  EXPECT_EQ(far.rig.flow.first_number.get(), 2U);
  EXPECT_EQ(far.rig.flow.end_number.get(), 10U);
  ASSERT_EQ(far.rig.flow.gap_count.get(), 2U);
  EXPECT_EQ(far.rig.flow.gaps[0], (std::array<std::uint64_t, 2>{4, 6}));
  EXPECT_EQ(far.rig.flow.gaps[1], (std::array<std::uint64_t, 2>{7, 9}));
  EXPECT_NE(far.rig.flow.jitter_ps.get(), 0U);
  EXPECT_EQ(far.rig.job.latency.count(), 0U);
}

TEST(FarFlow, AllHaveComeWhenAsManyHaveComeAsThereWere) {
  FarSink far;
  EXPECT_TRUE(far.sink->has_all_of(0));
  EXPECT_FALSE(far.sink->has_all_of(1));
  for (const std::uint64_t number : {0U, 0U, 2U}) far.take(number);
  EXPECT_TRUE(far.sink->has_all_of(2)) << "and a duplicate";
  EXPECT_FALSE(far.sink->has_all_of(3));
  far.sink->sender_ends(clock_ns() - 10, 5);
  far.take(1);
  EXPECT_EQ(far.rig.flow.late.get(), 1U);
  EXPECT_TRUE(far.sink->has_all_of(3)) << "one came late";
  far.take(frame_of(4, 7, 0));
  EXPECT_FALSE(far.sink->has_all_of(3)) << "of whom, is not known";
}

}  // namespace

// A receiver takes trains of frames together, and long frames where they lie. It finds the same as
// if it took each frame by itself.

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
