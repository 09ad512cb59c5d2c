// The cost of a frame over each engine: one thread sends a batch and receives it. It does not make
// or check frames meanwhile, so this is the cost of the engine and its medium alone. `null` is the
// cost of the calls through the interface.
//
// The counter `ns_per_frame` is the time per frame. If this machine cannot run an engine, its row
// says why.

#include <benchmark/benchmark.h>

#include <chrono>
#include <vector>

#include "perf/engine/engine.hpp"

namespace {

using namespace shmif;
using namespace shmif::perf;

void send_and_receive(benchmark::State& state, EngineKind kind, std::size_t size) {
  constexpr std::size_t kBatch = 32;
  JobOptions job;
  job.name = "bench";
  job.engine = kind;
  const std::size_t ends = kind == EngineKind::null ? 1 : 2;
  auto wire = make_wire(job, ends);
  if (!wire) return state.SkipWithError(wire.error().message.c_str());
  const auto mac_of = [](std::size_t index) {
    return MacAddress::from_u64(0xb2a0'0000'0000U + index);
  };
  const auto end = [&](std::size_t index) {
    return (*wire)
        ->open_end({.name = "bench" + std::to_string(index),
                    .index = index,
                    .mac = mac_of(index),
                    .sent = {},
                    .received = {}})
        .value();
  };
  const auto near = end(0);
  const auto far = ends > 1 ? end(1) : nullptr;
  End& to = far ? *far : *near;
  std::vector<std::byte> bytes(size, std::byte{0x5a});
  const MacAddress mac = mac_of(ends - 1);
  std::copy_n(reinterpret_cast<const std::byte*>(mac.bytes.data()), 6, bytes.begin());
  const std::vector<FrameView> frames(kBatch, FrameView(bytes.data(), bytes.size()));
  FrameBatch batch(kBatch, 1U << 20U);
  for (auto _ : state) {
    std::size_t received = 0;
    if (near->send(frames).taken != kBatch) return state.SkipWithError("the engine is full");
    while (received < kBatch) {
      batch.clear();
      const std::size_t got = to.receive(batch).frames;
      received += got;
      if (got == 0) to.wait(std::chrono::milliseconds(1));
    }
  }
  const auto count = static_cast<std::int64_t>(kBatch) * state.iterations();
  state.SetItemsProcessed(count);
  state.counters["ns_per_frame"] = benchmark::Counter(
      static_cast<double>(count) * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

}  // namespace

int main(int argc, char** argv) {
  for (const EngineKind kind : {EngineKind::null, EngineKind::bus, EngineKind::unix_pair,
                                EngineKind::udp, EngineKind::packet, EngineKind::tap}) {
    for (const std::size_t size : {64U, 1514U}) {
      const std::string name = std::string(name_of(kind)) + '/' + std::to_string(size);
      benchmark::RegisterBenchmark(name.c_str(), send_and_receive, kind, size);
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
