#pragma once
// A receiver to which that comes which a test says.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "perf/frame/frame_maker.hpp"
#include "perf/worker/run_memory.hpp"
#include "perf/worker/sink.hpp"

namespace shmif::perf::sinks {

using Bytes = std::vector<std::byte>;

inline std::uint64_t clock_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                    std::chrono::nanoseconds(1));
}

/// An end to which that has come which a test gives it.
class ScriptedEnd final : public End {
 public:
  std::vector<Bytes> next;
  std::uint64_t lost = 0;
  std::error_code error;
  std::size_t takes = 0;  ///< frames to send, at each call
  std::size_t room = 0;   ///< how many frames were wanted at once

  SendResult send(std::span<const FrameView> frames) noexcept override {
    return {.taken = std::min(takes, frames.size()), .error = {}};
  }
  /// Frames that were overwritten come to nobody.
  ReceiveResult receive(FrameBatch& into) noexcept override {
    next.erase(next.begin(), next.begin() + static_cast<std::ptrdiff_t>(std::exchange(torn, 0)));
    lent = false;
    return take(into);
  }
  // As an end that lends: what is given back has other bytes from then on.
  bool may_lend = false;
  bool lent = false;     ///< the last receive was a lend
  std::size_t torn = 0;  ///< how many of the next frames were overwritten
  std::size_t open_loans = 0;
  bool lends() const noexcept override { return may_lend; }
  ReceiveResult lend(FrameBatch& into) noexcept override {
    const ReceiveResult result = take(into);
    lent = true;
    if (result.frames != 0) ++open_loans;
    // Before they are read, or only while they are.
    for (std::size_t i = 0; i < torn && torn % 2 != 0; ++i) {
      std::ranges::fill(lent_[i], std::byte{0xee});
    }
    return result;
  }
  std::size_t give_back() noexcept override {
    --open_loans;
    for (Bytes& frame : lent_) std::ranges::fill(frame, std::byte{0xdd});
    return std::exchange(torn, 0);
  }
  void wait(std::chrono::nanoseconds) noexcept override {}
  void wait_to_send(std::chrono::nanoseconds) noexcept override {}
  std::size_t max_frame_bytes() noexcept override { return 1514; }
  std::string address() override { return "scripted"; }
  std::uint64_t corrupt = 0;  ///< how often the medium was, so far
  WireCounters counters() noexcept override { return {.corrupt = corrupt}; }

 private:
  ReceiveResult take(FrameBatch& into) noexcept {
    room = into.max_frames();
    ReceiveResult result;
    lent_ = std::exchange(next, {});
    for (const Bytes& frame : lent_) into.push_lent(FrameView(frame.data(), frame.size()));
    result.frames = lent_.size();
    result.lost = std::exchange(lost, 0);
    result.error = std::exchange(error, {});
    return result;
  }

  std::vector<Bytes> lent_;
};

/// A frame of that flow and run.
inline Bytes frame_of(std::uint32_t flow, std::uint32_t nonce, std::uint64_t number,
                      std::uint64_t intended_ns = 1, std::size_t bytes = 200,
                      Checksum checksum = Checksum::crc) {
  // A maker has buffers, so making one takes much longer than making a frame.
  static std::map<std::tuple<std::uint32_t, std::size_t, Checksum>, FrameMaker> makers;
  auto maker = makers.find({flow, bytes, checksum});
  if (maker == makers.end()) {
    FrameMakerOptions options;
    options.checksum = checksum;
    options.source = MacAddress::from_u64(0xb2a000000000 + flow);
    options.flow = flow;
    options.max_bytes = bytes;
    maker = makers.try_emplace({flow, bytes, checksum}, options).first;
  }
  Probe probe;
  probe.nonce = nonce;
  probe.intended_ns = probe.sent_ns = intended_ns;
  const FrameView frame = maker->second.make(number, bytes, probe);
  return {frame.bytes.begin(), frame.bytes.end()};
}
inline Bytes corrupt(Bytes frame) {
  frame.back() ^= std::byte{1};
  return frame;
}
inline Bytes truncated(Bytes frame) {
  frame.resize(150);
  return frame;
}

struct SinkRig {
  std::unique_ptr<RunMemory> memory = RunMemory::create(2).value();
  JobBlock& job = memory->job(1);
  FlowBlock& flow = memory->flow(0);
  /// Its first interval begins in an hour, so only close_interval() ends one, however long a test
  /// stands still.
  IntervalRecorder recorder{job, clock_ns() + 3'600'000'000'000, 1'000'000'000};
  ScriptedEnd end;
  JobOptions options;

  SinkRig() {
    options.rw = Role::rx;
    options.continue_on_error.verify = true;
  }
  /// Result: what happened since the last call.
  const IntervalBlock& close_interval() {
    const std::uint64_t number = job.intervals_written.load();
    recorder.close(recorder.next_ns());
    return job.intervals[number];
  }
  /// One flow, "a", of run 7, whose window begins then.
  Sink::Setup with_flow(std::uint64_t measure_from_ns, std::uint64_t max_latency_ns = 0) {
    flow.measure_from_ns = measure_from_ns;
    Sink::Setup setup{.options = options, .flows = {}, .nonce = 7};
    ExpectedFlow expected;
    expected.name = "a";
    expected.block = &flow;
    expected.nonce = 7;
    expected.max_latency_ns = max_latency_ns;
    setup.flows.push_back(std::move(expected));
    return setup;
  }
};

}  // namespace shmif::perf::sinks
