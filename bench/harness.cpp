// The cost of the harness itself for each frame: making it, and accounting for it. There is no
// medium, so no figure of the harness can exceed these. One iteration is a batch of 32 frames;
// items are frames.
//
// `make` chooses sizes and times and makes frames. `read` only reads them, one by one, and
// `read_together` reads them as a train. `account` notes probes that were read before, one by one.
// `whole` makes, reads and notes frames as a sender and a receiver do. Arguments: bytes of a frame
// without FCS, and whether there are a CRC and latency histograms.

#include <benchmark/benchmark.h>

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "perf/frame/frame_maker.hpp"
#include "perf/frame/probe.hpp"
#include "perf/frame/schedule.hpp"
#include "perf/verify/flow_receiver.hpp"

namespace {

using namespace shmif;
using namespace shmif::perf;

constexpr std::size_t kBatch = 32;
constexpr std::uint64_t kStep = 200;  // ns: 5 million frames a second

struct Sender {
  explicit Sender(const benchmark::State& state)
      : bytes(static_cast<std::uint32_t>(state.range(0))),
        sizes({{{.min = bytes, .max = bytes}}}, 1),
        schedule({.pace = {.frames_per_s = 1'000'000'000 / kStep}}),
        maker(options(state)) {}

  static FrameMakerOptions options(const benchmark::State& state) {
    FrameMakerOptions options;
    options.max_bytes = static_cast<std::size_t>(state.range(0));
    options.checksum = state.range(1) != 0 ? Checksum::crc : Checksum::none;
    return options;
  }

  std::span<const FrameView> batch() {
    now_ns += kBatch * kStep;
    const std::size_t taken = schedule.take(now_ns, sizes, slots);
    frames.clear();
    maker.make_all(sequence, std::span(slots).first(taken), {.nonce = 7, .sent_ns = now_ns},
                   frames);
    sequence += taken;
    return frames;
  }

  std::uint32_t bytes;
  SizeChooser sizes;
  Schedule schedule;
  FrameMaker maker;
  std::array<Schedule::Slot, kBatch> slots;
  std::vector<FrameView> frames;
  std::uint64_t sequence = 0;
  std::uint64_t now_ns = 0;
};

struct Receiver {
  explicit Receiver(bool times)
      : flow({.latency = times ? latency.get() : nullptr,
              .service = times ? service.get() : nullptr}) {}
  std::unique_ptr<LatencyHistogram> latency = std::make_unique<LatencyHistogram>();
  std::unique_ptr<LatencyHistogram> service = std::make_unique<LatencyHistogram>();
  FlowReceiver flow;
};

void count(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
  state.counters["frame"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(kBatch),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void make(benchmark::State& state) {
  Sender sender(state);
  for (auto _ : state) benchmark::DoNotOptimize(sender.batch());
  count(state);
}

void read(benchmark::State& state) {
  Sender sender(state);
  const std::span<const FrameView> frames = sender.batch();
  for (auto _ : state) {
    for (const FrameView& frame : frames) {
      benchmark::DoNotOptimize(read_probe(frame.bytes, kEthernetHeaderBytes));
    }
  }
  count(state);
}

void read_together(benchmark::State& state) {
  Sender sender(state);
  const std::span<const FrameView> frames = sender.batch();
  std::array<ProbeTimes, kBatch> times;
  for (auto _ : state) benchmark::DoNotOptimize(read_train(frames, times));
  count(state);
}

void account(benchmark::State& state) {
  Receiver receiver(state.range(1) != 0);
  Probe probe;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      ++probe.sequence;
      probe.intended_ns += kStep;
      probe.sent_ns = probe.intended_ns + 17;
      receiver.flow.note(probe, 64, probe.intended_ns + 5000 + i * 40);
    }
  }
  count(state);
}

/// As sinks do it: reads a train, and the frames that are not in it one by one.
void whole(benchmark::State& state) {
  Sender sender(state);
  Receiver receiver(state.range(1) != 0);
  std::array<ProbeTimes, kBatch> times;
  for (auto _ : state) {
    const std::span<const FrameView> frames = sender.batch();
    const ProbeTrain train = read_train(frames, times);
    if (train.frames() != 0 && !receiver.flow.note_train(train, sender.now_ns + 500)) {
      state.SkipWithError("not what was made");
    }
    for (const FrameView& frame : frames.subspan(train.frames())) {
      const ProbeReading reading = read_probe(frame.bytes, probe_offset(frame.bytes));
      if (classify(reading, 7) != Arrival::ours) state.SkipWithError("not what was made");
      receiver.flow.note(reading.probe, frame.size(), sender.now_ns + 500);
    }
  }
  count(state);
}

constexpr std::int64_t kSizes[] = {60, 64, 1514};

void arguments(benchmark::internal::Benchmark* b) {
  b->ArgNames({"bytes", "full"});
  for (const std::int64_t bytes : kSizes) b->Args({bytes, 0})->Args({bytes, 1});
}
BENCHMARK(make)->Apply(arguments);
BENCHMARK(read)->Apply(arguments);
BENCHMARK(read_together)
    ->ArgNames({"bytes", "full"})
    ->Args({60, 1})
    ->Args({64, 1})
    ->Args({1514, 1});
BENCHMARK(account)->ArgNames({"bytes", "full"})->Args({64, 0})->Args({64, 1});
BENCHMARK(whole)->Apply(arguments);

}  // namespace

BENCHMARK_MAIN();
