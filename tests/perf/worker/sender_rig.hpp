#pragma once
// A sender whose end takes what a test says, at the time that the test says.

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/worker/generator.hpp"
#include "tests/perf/engine/engine_rig.hpp"

namespace shmif::perf::sender_counts {

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
  MacAddress mac() const noexcept override { return {}; }
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
inline std::vector<std::uint64_t> of(const SentCounts& c) {
  const TrafficResult t = c.get();
  return {t.frames,         t.bytes,          t.offered_frames, t.offered_bytes,
          t.skipped_frames, t.refused_frames, t.batches,        t.errors};
}
using Counts = std::vector<std::uint64_t>;

}  // namespace shmif::perf::sender_counts
