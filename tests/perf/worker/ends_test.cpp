// Ends that put something between a job and its wire, over a wire that fails as it is told to.

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "perf/engine/link_end.hpp"
#include "perf/worker/echoer.hpp"
#include "perf/worker/equipment.hpp"
#include "perf/worker/generator.hpp"
#include "perf/worker/sink.hpp"
#include "tests/perf/engine/engine_rig.hpp"

namespace shmif::perf::rig {
namespace {

using namespace std::chrono_literals;

/// What a test tells a wire to do, and what came to it.
struct Told {
  std::mutex mutex;
  std::vector<std::error_code> errors;  // of the next sends, the last first
  bool full = false;                    // takes nothing
  std::error_code full_error;           // and says so
  std::vector<Bytes> sent;
  std::vector<Bytes> to_receive;  // by the next call
  std::error_code receive_error;
  std::uint64_t sent_ns = 0;         // the end of the last send
  std::function<void(int)> on_wait;  // of waits for room, with how many there have been
  std::atomic<int> waits{0};         // for frames

  std::vector<Bytes> so_far() {
    const std::lock_guard lock(mutex);
    return sent;
  }
};

class ToldEnd final : public End {
 public:
  explicit ToldEnd(Told& told) : told_(told) {}
  SendResult send(std::span<const FrameView> frames) noexcept override {
    const std::lock_guard lock(told_.mutex);
    if (told_.full) return {0, told_.full_error};
    // One at a time: an error comes in the middle of a batch.
    told_.sent.push_back(shmif::test::to_bytes(frames.front()));
    told_.sent_ns = now_ns();
    if (told_.errors.empty()) return {1, {}};
    const std::error_code error = told_.errors.back();
    told_.errors.pop_back();
    return {1, error};
  }
  ReceiveResult receive(FrameBatch& into) noexcept override {
    const std::lock_guard lock(told_.mutex);
    ReceiveResult result{.error = told_.receive_error};
    for (const Bytes& frame : told_.to_receive) {
      into.push_lent(FrameView(frame.data(), frame.size()));
      ++result.frames;
    }
    lent_ = std::exchange(told_.to_receive, {});
    return result;
  }
  void wait(std::chrono::nanoseconds) noexcept override { ++told_.waits; }
  void wait_to_send(std::chrono::nanoseconds at_most) noexcept override {
    if (told_.on_wait) told_.on_wait(++waits_);
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(at_most, 1ms));
  }
  std::size_t max_frame_bytes() noexcept override { return 1514; }
  std::string address() override { return "told"; }
  std::optional<FaultsMade> faults_sent() const noexcept override {
    return FaultsMade{{.frames = 7}};
  }
  std::optional<FaultsMade> faults_received() const noexcept override {
    return FaultsMade{{.frames = 9}};
  }
  WireCounters counters() noexcept override {
    WireCounters counters;
    counters.tx_frames = 11;
    counters.rx_bytes = 13;
    return counters;
  }

 private:
  Told& told_;
  int waits_ = 0;
  std::vector<Bytes> lent_;  // until the next call
};

TEST(OffloadEnd, TellsOfEachErrorOnceAndGoesOnBehindIt) {
  Told told;
  told.errors.resize(40);
  told.errors[38] = Errc::frame_too_long;  // with the second frame
  told.errors[30] = Errc::busy;            // and with the tenth
  const auto end = make_offload_end(std::make_unique<ToldEnd>(told), 4);
  const auto frames = frames_to(1, 0, 20);
  const auto views = shmif::test::views(frames);
  std::vector<std::error_code> seen;
  std::span<const FrameView> left = views;
  for (int i = 0; i < 1000 && (!left.empty() || told.so_far().size() < frames.size()); ++i) {
    const SendResult result = end->send(left);
    left = left.subspan(result.taken);
    if (result.error) seen.push_back(result.error);
    if (result.taken == 0) end->wait_to_send(10ms);
    if (left.empty()) std::this_thread::sleep_for(1ms);
  }
  const std::vector<std::error_code> expected{Errc::frame_too_long, Errc::busy};
  EXPECT_EQ(seen, expected);
  EXPECT_TRUE(shmif::test::same_frames(frames, told.so_far()));
}

TEST(OffloadEnd, WaitsAtItsEndAsLongAsItMayForAWireThatIsFull) {
  Told told;
  told.full = true;
  std::atomic<bool> ending{false};
  told.on_wait = [&](int) {
    if (!ending) return;
    const std::lock_guard lock(told.mutex);
    told.full = false;
  };
  const auto end = make_offload_end(std::make_unique<ToldEnd>(told), 4);
  EXPECT_EQ(end->send(shmif::test::views(frames_to(1, 0, 3))).taken, 3U);
  ending = true;
  EXPECT_EQ(end->finish_sending(10s).frames, 0U);
  EXPECT_EQ(told.so_far().size(), 3U);
}

/// A link that never takes a frame.
class RefusingLink {
 public:
  SendResult send(std::span<const FrameView>) noexcept { return {0, Errc::port_down}; }
  ReceiveResult receive(FrameBatch&) noexcept { return {}; }
  int descriptor() noexcept { return -1; }
  WaitHint prepare_wait() noexcept { return {}; }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return kMaxFrameBytes; }
  std::string address() { return "refusing:"; }
};

TEST(LinkEnd, TellsAtTheEndWhatTheMediumBehindTheFaultsRefused) {
  EndOptions only_to_it;
  only_to_it.received.loss = 0.5;
  EndOptions from_it;
  from_it.sent.duplicate = 1;
  for (const auto& [options, refused] : {std::pair{only_to_it, 3U}, {from_it, 6U}}) {
    const auto end = make_end(RefusingLink(), options, RoomWait::sleep, [](RefusingLink&) {
                       return WireCounters{};
                     }).value();
    EXPECT_EQ(end->finish_sending(0ms).frames, 0U);
    EXPECT_EQ(end->send(shmif::test::views(frames_to(1, 0, 3))).taken, 3U) << "on their way";
    EXPECT_EQ(end->finish_sending(0ms).frames, refused);
  }
}

TEST(Echoer, GivesUpAtOnceWhenItsJobIsToldToStop) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder recorder(job, now_ns(), 100'000'000);
  Told told;
  told.full = true;
  ToldEnd end(told);
  Echoer echoer(end, job);
  const Bytes request = frame_to(0, 1, 100, 1);
  const FrameView view(request.data(), request.size());
  echoer.add(view, 14, Probe{}, Period::window);
  int waits = 0;
  told.on_wait = [&](int so_far) {
    waits = so_far;
    if (so_far == 3) job.order.store(Order::stop);
  };
  EXPECT_TRUE(echoer.flush(recorder).empty());
  EXPECT_EQ(waits, 3) << "a second of them is for those that are not stopped";
  EXPECT_EQ(job.sent[Period::window][&TrafficResult::frames].get(), 0U);
  EXPECT_EQ(job.sent[Period::window][&TrafficResult::offered_frames].get(), 1U);
}

TEST(Sink, CountsWhatItsThreadsHaveCheckedThoughNothingMoreComes) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder recorder(job, now_ns(), 100'000'000);
  Told told;
  told.to_receive = frames_to(0, 1, 3);
  ToldEnd end(told);
  JobOptions options;
  options.rw = Role::rx;
  options.verify_async = 1;
  Sink sink({.options = options, .flows = {}}, end, job);
  sink.prepare().value();
  sink.begin(recorder);
  EXPECT_TRUE(sink.step());
  for (int i = 0; i < 10'000 && job.all_foreign.get() < 3; ++i) {
    std::this_thread::sleep_for(1ms);
    EXPECT_FALSE(sink.step());
  }
  EXPECT_EQ(job.received[Period::window][&TrafficResult::foreign_frames].get(), 3U);
}

}  // namespace
}  // namespace shmif::perf::rig
