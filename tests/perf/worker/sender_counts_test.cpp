// What a sender, and one who answers, count is what their end took. The test says what the end
// takes and what time it is.

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

#include "perf/frame/probe.hpp"
#include "perf/worker/echoer.hpp"
#include "perf/worker/generator.hpp"
#include "tests/perf/engine/engine_rig.hpp"

namespace shmif::perf::sender_counts {
namespace {

// A sender whose end takes what a test says, at the time that the test says.

using shmif::test::Bytes;

/// An end that takes what the test says, and all that comes after.
class SaidEnd : public End {
 public:
  std::deque<SendResult> answers;
  std::vector<Bytes> sent;

  SendResult send(std::span<const FrameView> frames) noexcept override {
    SendResult answer{.taken = frames.size(), .error = {}};
    if (!answers.empty()) {
      answer = answers.front();
      answers.pop_front();
    }
    for (const FrameView& frame : frames.first(answer.taken)) {
      sent.push_back(shmif::test::to_bytes(frame));
    }
    return answer;
  }
  ReceiveResult receive(FrameBatch&) noexcept override { return {}; }
  void wait(std::chrono::nanoseconds) noexcept override {}
  void wait_to_send(std::chrono::nanoseconds) noexcept override {}
  std::size_t max_frame_bytes() noexcept override { return 1514; }
  std::string address() override { return "said"; }
};

/// Frames at times that the test says; frame number n has 100 + n bytes.
class ListedSource final : public FrameSource {
 public:
  explicit ListedSource(std::vector<std::uint64_t> times, Unsent given_up = {})
      : times_(std::move(times)), skipped_(given_up) {}

  void begin(std::uint64_t, std::uint64_t, std::uint64_t) override {}
  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) override {
    std::size_t n = 0;
    for (; n < into.size() && next_ns() <= now_ns; ++n, ++next_) {
      into[n] = {.intended_ns = times_[next_], .bytes = bytes_of(next_)};
    }
    return n;
  }
  void make(std::uint64_t, std::span<const Slot> slots, std::uint64_t,
            std::vector<FrameView>& into) override {
    for (const Slot& slot : slots) into.emplace_back(zeros_.data(), slot.bytes);
  }
  std::uint64_t next_ns() const noexcept override {
    return next_ < times_.size() ? times_[next_] : kNever;
  }
  std::uint64_t due_ns() const noexcept override { return next_ns(); }
  Unsent give_up(std::uint64_t now_ns) noexcept override {
    Unsent unsent;
    for (; next_ns() < now_ns; ++next_) {
      ++unsent.frames;
      unsent.bytes += bytes_of(next_);
    }
    return unsent;
  }
  Unsent skipped() const noexcept override { return skipped_; }
  std::size_t max_bytes() const noexcept override { return zeros_.size(); }
  std::size_t max_frames() const noexcept override { return 64; }

 private:
  static std::uint32_t bytes_of(std::size_t number) noexcept {
    return static_cast<std::uint32_t>(100 + number);
  }
  std::vector<std::uint64_t> times_;
  Unsent skipped_;
  std::size_t next_ = 0;
  Bytes zeros_ = Bytes(1000);
};

/// A job that sends the frames of a list from 1000 ns on, with a ramp of 100 ns.
struct Sender {
  JobOptions options;
  std::unique_ptr<RunMemory> memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  FlowBlock& flow = memory->flow(0);
  SaidEnd end;
  IntervalRecorder recorder{job, 1000, 1'000'000'000'000};
  std::optional<Generator> generator;

  explicit Sender(std::vector<std::uint64_t> times, FrameSource::Unsent skipped = {}) {
    options.rate_fps.tx = 1;
    options.iodepth_batch = 4;
    options.ramp_time = std::chrono::nanoseconds(100);
    times_ = std::move(times);
    skipped_ = skipped;
  }
  Generator& begin(std::uint64_t first_sequence = 0, std::optional<FlowShare> share = std::nullopt,
                   std::uint64_t begin_ns = 1000) {
    generator.emplace(Generator::Setup{.options = options,
                                       .source = std::make_unique<ListedSource>(times_, skipped_),
                                       .record = nullptr,
                                       .share = std::move(share),
                                       .first_sequence = first_sequence},
                      end, job, flow);
    generator->begin(begin_ns, recorder);
    return *generator;
  }
  /// A step at that time, at which the end answers so.
  bool step(std::uint64_t now, std::size_t taken, std::error_code error = {}) {
    end.answers.assign(1, SendResult{.taken = taken, .error = error});
    const bool moved = generator->step(now);
    EXPECT_TRUE(end.answers.empty()) << "nothing was sent at " << now;
    return moved;
  }

 private:
  std::vector<std::uint64_t> times_;
  FrameSource::Unsent skipped_;
};

/// frames, bytes, offered frames, offered bytes, skipped, refused, batches, errors
std::vector<std::uint64_t> of(const SentCounts& c) {
  const TrafficResult t = c.get();
  return {t.frames,         t.bytes,          t.offered_frames, t.offered_bytes,
          t.skipped_frames, t.refused_frames, t.batches,        t.errors};
}
using Counts = std::vector<std::uint64_t>;

using rig::frame_to;

TEST(SenderCounts, AreOfWhatItsEndTookAndOfThePeriodOfEachFrame) {
  const std::error_code broken(EIO, std::generic_category());
  Sender sender({1000, 1050, 1099, 1100, 1150, 1200, 1250, 1300, 1350, 1380, 1390, 1500},
                {.frames = 5, .bytes = 700});
  sender.options.continue_on_error.tx = true;
  Generator& generator = sender.begin(70);
  EXPECT_FALSE(generator.step(999)) << "it has not begun";
  EXPECT_TRUE(sender.step(1100, 2));  // of three of the ramp and one of the window
  EXPECT_TRUE(generator.is_refused());
  EXPECT_EQ(generator.next_look_ns(1101), 0U);
  EXPECT_TRUE(sender.step(1110, 1, broken)) << "one went before the error";
  EXPECT_TRUE(sender.step(1120, 1));
  EXPECT_FALSE(generator.is_refused());
  EXPECT_EQ(generator.next_look_ns(1121), 1150U);
  EXPECT_TRUE(sender.step(1200, 2));
  EXPECT_FALSE(sender.step(1360, 0));
  EXPECT_FALSE(sender.step(1365, 0)) << "frames are refused once, however often they are offered";
  EXPECT_TRUE(sender.step(1370, 3));
  generator.stop(1400);

  EXPECT_EQ(generator.error(), "");
  EXPECT_TRUE(generator.done());
  // 100 + 101 + 102 bytes in two batches; what is skipped or given up is the window's.
  EXPECT_EQ(of(sender.job.sent[Period::ramp]), (Counts{3, 303, 3, 303, 0, 1, 2, 0}));
  // Numbers 3 to 8 went, 9 and 10 were due and did not, and 5 were skipped. The error came with
  // number 3 in front.
  constexpr std::uint64_t kBytes = 103 + 104 + 105 + 106 + 107 + 108;
  EXPECT_EQ(of(sender.job.sent[Period::window]),
            (Counts{6, kBytes, 6 + 2 + 5, kBytes + 109 + 110 + 700, 5, 4, 3, 1}));
  EXPECT_EQ(sender.job.first_tx_error.get(), broken.message());
  EXPECT_EQ(sender.job.all_tx_frames.get(), 9U);
  EXPECT_EQ(sender.job.all_tx_bytes.get(), 303 + kBytes);
  EXPECT_EQ(sender.flow.first.get(), 70U);
  EXPECT_EQ(sender.flow.all_sent.get(), 79U);
  EXPECT_EQ(sender.flow.ramp_sent.get(), 3U);
  EXPECT_EQ(generator.sequence(), 79U);
  EXPECT_TRUE(sender.flow.tx_done.load());
  EXPECT_EQ(sender.flow.measure_from_ns.load(), 1100U);
  EXPECT_EQ(sender.job.window_begin_ns.load(), 1100U);
  EXPECT_EQ(sender.job.window_end_ns.load(), 1400U);
  EXPECT_EQ(sender.flow.window_end_ns.load(), 1400U);
  EXPECT_EQ(sender.job.offered_until_ns.get(), 1400U);
  // How late each of the window was: 20, 50, 0, 120, 70, 20 ns.
  const LatencyHistogram& late = sender.job.spacing_error;
  EXPECT_EQ(late.count(), 6U);
  EXPECT_EQ(late.min(), 0U);
  EXPECT_EQ(late.max(), 120U);
  EXPECT_DOUBLE_EQ(late.mean(), (20 + 50 + 0 + 120 + 70 + 20) / 6.0);
  // The curve has all of them.
  const IntervalResult curve = sender.job.intervals[0].get();
  EXPECT_EQ(curve.tx_frames, 9U);
  EXPECT_EQ(curve.tx_bytes, 303 + kBytes);
  EXPECT_TRUE(curve.ends_at_border);
}

TEST(SenderCounts, OnlyAnEndThatTakesNothingForTenSecondsIsGivenUp) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  Sender sender({1100, 1100, 1100, 1100});
  Generator& generator = sender.begin();
  std::uint64_t now = 2000;
  // It is never free of refused frames, but each of them goes within ten seconds.
  EXPECT_TRUE(sender.step(now, 1));
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(sender.step(now + 9 * kSecond, 0));
    EXPECT_EQ(generator.error(), "") << i;
    now += 10 * kSecond - 1;
    EXPECT_TRUE(sender.step(now, 1));
    EXPECT_EQ(generator.error(), "") << i;
  }
  EXPECT_FALSE(sender.step(now + 10 * kSecond - 1, 0));
  EXPECT_EQ(generator.error(), "");
  EXPECT_FALSE(sender.step(now + 10 * kSecond, 0));
  EXPECT_EQ(generator.error(), "the engine has taken no frame for 10 s");
  EXPECT_TRUE(generator.done());
  EXPECT_EQ(sender.job.sent[Period::window][&TrafficResult::frames].get(), 3U);
  EXPECT_EQ(sender.job.sent[Period::window][&TrafficResult::offered_frames].get(), 4U);
}

TEST(SenderCounts, AnErrorEndsAJobThatWasNotToldToGoOnAfterItsClass) {
  struct Case {
    std::error_code error;
    bool tx, lock, goes_on;
  };
  const std::error_code broken(EIO, std::generic_category());
  for (const Case& c : {Case{broken, false, true, false},
                        {broken, true, false, true},
                        {Errc::frame_too_long, true, false, true},
                        {Errc::busy, true, false, false},
                        {Errc::busy, false, true, true},
                        {Errc::bus_lost, true, true, false},
                        {Errc::link_ended, true, true, false}}) {
    SCOPED_TRACE(c.error.message());
    Sender sender({1100, 1101});
    sender.options.continue_on_error.tx = c.tx;
    sender.options.continue_on_error.lock = c.lock;
    Generator& generator = sender.begin();
    EXPECT_FALSE(sender.step(1200, 0, c.error));
    EXPECT_EQ(generator.done(), !c.goes_on);
    EXPECT_EQ(generator.error(), c.goes_on ? "" : "cannot send on said: " + c.error.message());
    EXPECT_EQ(sender.job.sent[Period::window][&TrafficResult::errors].get(), 1U);
    EXPECT_EQ(sender.job.sent[Period::window][&TrafficResult::offered_frames].get(),
              c.goes_on ? 0U : 2U);
  }
}

// ---- One who answers ----

Probe request_of(std::uint32_t flow, std::uint64_t number) {
  Probe probe;
  probe.kind = Probe::Kind::request;
  probe.flow = flow;
  probe.sequence = number;
  return probe;
}

/// An echoer with requests of 100, 200 and 300 bytes, of which the first is of the ramp.
struct Answering {
  std::unique_ptr<RunMemory> memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  SaidEnd end;
  IntervalRecorder recorder{job, 1000, 1'000'000'000'000};
  Echoer echoer{end, job};
  std::vector<Bytes> requests;

  void ask() {
    requests.clear();
    for (const std::uint64_t i : {1U, 2U, 3U}) {
      const Bytes& request = requests.emplace_back(frame_to(0, i, 100 * i, i));
      echoer.add(FrameView(request.data(), request.size()), 14,
                 request_of(static_cast<std::uint32_t>(i), 10 * i),
                 i == 1 ? Period::ramp : Period::window);
    }
  }
};

TEST(EchoerCounts, AreOfWhatItsEndTookAndOfThePeriodOfEachRequest) {
  Answering all;
  all.ask();
  all.end.answers = {{.taken = 1, .error = {}}, {.taken = 0, .error = {}}};  // and then the rest
  const auto sent = all.echoer.flush(all.recorder);
  ASSERT_EQ(sent.size(), 3U);
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sent[i].flow, i + 1);
    EXPECT_EQ(sent[i].number, 10 * (i + 1));
    EXPECT_EQ(sent[i].period, i == 0 ? Period::ramp : Period::window);
    // Back to whoever asked, with all that was asked.
    const Bytes& reply = all.end.sent.at(i);
    const Bytes& request = all.requests.at(i);
    ASSERT_EQ(reply.size(), request.size());
    EXPECT_TRUE(std::equal(reply.begin(), reply.begin() + 6, request.begin() + 6));
    EXPECT_TRUE(std::equal(reply.begin() + 6, reply.begin() + 12, request.begin()));
    EXPECT_TRUE(std::equal(reply.begin() + 60, reply.end(), request.begin() + 60));
    const ProbeReading reading = read_probe(reply, 14);
    EXPECT_EQ(reading.finding, Finding::whole);
    EXPECT_EQ(reading.probe.kind, Probe::Kind::reply);
    EXPECT_EQ(reading.probe.sequence, 10 * (i + 1));
  }
  EXPECT_EQ(of(all.job.sent[Period::ramp]), (Counts{1, 100, 1, 100, 0, 0, 0, 0}));
  EXPECT_EQ(of(all.job.sent[Period::window]), (Counts{2, 500, 2, 500, 0, 2, 1, 0}));
  EXPECT_EQ(all.job.all_tx_frames.get(), 3U);
  EXPECT_EQ(all.job.all_tx_bytes.get(), 600U);
  EXPECT_TRUE(all.echoer.flush(all.recorder).empty()) << "each goes once";
  all.recorder.border(2000);
  const IntervalResult curve = all.job.intervals[0].get();
  EXPECT_EQ(curve.tx_frames, 3U);
  EXPECT_EQ(curve.tx_bytes, 600U);
}

// ---- Jobs that send in a proportion, and requests without a reply ----

TEST(RequestWindow, OpensWhenSoManyRepliesHaveComeAndGivesUpWhatIsLate) {
  struct Case {
    std::uint32_t depth, low, replies;
    std::uint32_t opens_at;  // so many are still open then
  };
  for (const Case& c :
       {Case{4, 0, 1, 3}, {4, 2, 1, 2}, {4, 9, 1, 3}, {4, 0, 3, 1}, {4, 3, 4, 0}, {0, 0, 0, 0}}) {
    SCOPED_TRACE(testing::Message() << c.depth << ' ' << c.low << ' ' << c.replies);
    const std::uint32_t depth = std::max(c.depth, 1U);
    Window window(c.depth, c.low, c.replies, 100);
    EXPECT_EQ(window.room(), depth);
    for (std::uint32_t i = 0; i < depth; ++i) {
      EXPECT_EQ(window.room(), depth - i) << "till it is full";
      window.sent(50 + i, 1000);
    }
    EXPECT_EQ(window.room(), 0U);
    for (std::uint32_t open = depth; open > c.opens_at;) {
      EXPECT_EQ(window.room(), 0U) << open;
      EXPECT_EQ(window.replied(50 + --open), Window::Reply::first);
    }
    EXPECT_EQ(window.room(), depth - c.opens_at);
  }
  Window window(3, 0, 1, 100);
  EXPECT_EQ(window.expire(0), UINT64_MAX) << "nothing waits";
  window.sent(7, 1000);
  window.sent(8, 1010);
  window.sent(9, 1020);
  EXPECT_EQ(window.replied(8), Window::Reply::first);
  EXPECT_EQ(window.replied(8), Window::Reply::again);
  EXPECT_EQ(window.expire(1099), 1100U);
  EXPECT_EQ(window.room(), 1U);
  EXPECT_EQ(window.expire(1100), 1120U) << "number 8 has its reply";
  EXPECT_EQ(window.room(), 2U);
  EXPECT_EQ(window.replied(7), Window::Reply::too_late);
  EXPECT_EQ(window.replied(7), Window::Reply::again);
  EXPECT_EQ(window.room(), 2U) << "who was given up does not make room again";
  EXPECT_EQ(window.expire(1120), UINT64_MAX);
  EXPECT_EQ(window.room(), 3U);
  EXPECT_EQ(window.replied(10), Window::Reply::again) << "was never sent";
}

// ---- Where a sender ends ----

/// How many frames of 100, 101, 102... bytes a job with these options sends, of 20.
std::uint64_t sent_with(const std::function<void(JobOptions&)>& change) {
  Sender sender(std::vector<std::uint64_t>(20, 1100));
  change(sender.options);
  Generator& generator = sender.begin(70);
  for (int i = 0; i < 100 && !generator.done(); ++i) (void)generator.step(1200);
  if (!generator.done()) generator.stop(1300);
  EXPECT_EQ(generator.error(), "");
  EXPECT_EQ(sender.end.sent.size(), sender.job.all_tx_frames.get());
  return sender.end.sent.size();
}

TEST(SenderLimits, AreOfFramesOfBytesInALoopAndOfBytesInAll) {
  using O = JobOptions;
  EXPECT_EQ(sent_with([](O&) {}), 20U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 1; }), 1U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 5; }), 5U) << "more than a batch";
  // Three frames have 303 bytes.
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 99; }), 0U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 302; }), 2U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 303; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 405; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 101, o.loops = 3; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 303, o.loops = 0; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 303; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 303, o.loops = 3; }), 3U) << "in all loops";
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 303, o.size_bytes = 1000; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.io_limit_bytes = 1000, o.size_bytes = 303; }), 3U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 2, o.size_bytes = 303; }), 2U);
  EXPECT_EQ(sent_with([](O& o) { o.number_ios = 4, o.size_bytes = 303; }), 3U);
  // With time_based, loops last as long as the time.
  EXPECT_EQ(sent_with([](O& o) { o.size_bytes = 303, o.time_based = true; }), 20U);
  EXPECT_EQ(
      sent_with([](O& o) { o.size_bytes = 101, o.io_limit_bytes = 303, o.time_based = true; }), 3U);
}

TEST(SenderLimits, WhatNoLimitAllowsWasNotOffered) {
  Sender sender({1100, 1200, 1300, 1400, 1500});
  sender.options.size_bytes = 303;
  sender.options.iodepth_batch = 3;
  Generator& generator = sender.begin();
  EXPECT_TRUE(sender.step(1450, 3));
  EXPECT_EQ(sender.job.offered_until_ns.get(), 1400U);
  EXPECT_TRUE(generator.done());
  EXPECT_EQ(of(sender.job.sent[Period::window]),
            (std::vector<std::uint64_t>{3, 303, 3, 303, 0, 0, 1, 0}));
  // The same where the frame that does not fit is found only when it is due.
  Sender late({1100, 1200, 1300, 1400, 1500});
  late.options.size_bytes = 304;
  Generator& other = late.begin();
  EXPECT_TRUE(late.step(1450, 3));
  EXPECT_TRUE(other.done());
  EXPECT_EQ(of(late.job.sent[Period::window]),
            (std::vector<std::uint64_t>{3, 303, 3, 303, 0, 0, 1, 0}));
  EXPECT_EQ(late.job.offered_until_ns.get(), 1400U) << "when it would have been due";
}

TEST(SenderLimits, WithAPaceTheLastFrameTakesItsTimeUntilTheNextWouldBeDue) {
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  for (const bool paced : {true, false}) {
    const std::uint64_t begin = now_ns();
    Sender sender({begin + 100, begin + 200, begin + kHour});
    if (!paced) sender.options.rate_fps.tx = 0;
    sender.options.number_ios = 2;
    Generator& generator = sender.begin(0, std::nullopt, begin);
    EXPECT_TRUE(sender.step(begin + 300, 2));
    const std::uint64_t after = now_ns();
    EXPECT_TRUE(generator.done());
    const auto is_now = [&](std::uint64_t time) { return time >= begin && time <= after; };
    EXPECT_TRUE(is_now(sender.flow.window_end_ns)) << "nothing was sent later";
    if (paced) {
      EXPECT_EQ(sender.flow.rate_end_ns.get(), begin + kHour);
      EXPECT_EQ(sender.job.window_end_ns.load(), begin + kHour);
      EXPECT_EQ(sender.job.offered_until_ns.get(), begin + kHour);
    } else {
      EXPECT_TRUE(is_now(sender.flow.rate_end_ns.get()));
      EXPECT_TRUE(is_now(sender.job.window_end_ns));
      EXPECT_TRUE(is_now(sender.job.offered_until_ns.get()));
    }
  }
}

TEST(SenderLimits, TheRuntimeBeginsBehindTheRampAndItsEndIsNoMoreOfIt) {
  Sender sender({1100, 1100, 1499, 1500});
  sender.options.runtime = std::chrono::nanoseconds(400);
  sender.options.number_ios = 50;
  Generator& generator = sender.begin();
  EXPECT_EQ(generator.next_look_ns(1000), 1100U);
  EXPECT_TRUE(sender.step(1100, 2));
  EXPECT_TRUE(sender.step(1499, 1));
  EXPECT_EQ(generator.next_look_ns(1499), 1500U);
  EXPECT_FALSE(generator.step(1700));
  EXPECT_TRUE(generator.done());
  EXPECT_EQ(generator.next_look_ns(1700), FrameSource::kNever);
  for (const std::uint64_t end :
       {sender.flow.window_end_ns.load(), sender.flow.rate_end_ns.get(),
        sender.job.window_end_ns.load(), sender.job.offered_until_ns.get()}) {
    EXPECT_EQ(end, 1500U) << "though it was noticed later";
  }
  EXPECT_EQ(sender.job.sent[Period::window][&TrafficResult::frames].get(), 3U);
  generator.stop(1200);
  EXPECT_EQ(sender.job.window_end_ns.load(), 1500U) << "it has ended once";
}

TEST(SenderLimits, AStopBeforeItsBeginningOffersNothing) {
  Sender sender({1100, 1200}, {});
  Generator& generator = sender.begin();
  generator.stop(900);
  EXPECT_TRUE(generator.done());
  EXPECT_TRUE(sender.flow.tx_done);
  EXPECT_EQ(of(sender.job.sent[Period::window]), std::vector<std::uint64_t>(8));
  EXPECT_FALSE(generator.step(1500));
  EXPECT_TRUE(sender.end.sent.empty());
}

TEST(SenderLimits, OneThatGoesOnWhereAnEarlierRunEndedSharesFromItsOwnBeginning) {
  const auto memory = RunMemory::create(1).value();
  memory->job(0).start_ns = 1;
  Sender sender(std::vector<std::uint64_t>(100, 1100));
  sender.options.iodepth_batch = 32;
  Generator& generator =
      sender.begin(1'000'000, FlowShare(1, {{&memory->job(0), &memory->flow(0), 1}}));
  while (generator.step(1200)) {
  }
  EXPECT_EQ(sender.end.sent.size(), 64U) << "so many rounds ahead of one that sent nothing";
  EXPECT_EQ(generator.next_look_ns(1200), 1200U + 100'000) << "it looks again soon";
  memory->job(0).all_tx_frames.set(7);
  while (generator.step(1300)) {
  }
  EXPECT_EQ(sender.end.sent.size(), 71U);
  memory->flow(0).tx_done = true;
  while (generator.step(1400)) {
  }
  EXPECT_EQ(sender.end.sent.size(), 100U);
}

TEST(SenderLimits, NoTimesAreKeptWhereNoneAreWantedOrDue) {
  const auto times = [](const std::function<void(JobOptions&)>& change) {
    Sender sender({1100, 1200});
    change(sender.options);
    sender.begin();
    EXPECT_TRUE(sender.step(1300, 2));
    return sender.job.spacing_error.count();
  };
  EXPECT_EQ(times([](JobOptions&) {}), 2U);
  EXPECT_EQ(times([](JobOptions& o) { o.disable_lat = true; }), 0U);
  EXPECT_EQ(times([](JobOptions& o) { o.rate_fps = {}; }), 0U);
}

}  // namespace

}  // namespace shmif::perf::sender_counts
