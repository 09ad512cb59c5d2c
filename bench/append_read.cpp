// Append and read across two processes: one sends, the other reads and never sleeps.
//
// Google Benchmark prints the sent frames per second as items_per_second. The counters show what
// the reader got: `read` frames per second, and the `lost` share, which is normal on a lossy bus.
// With pause=1 the sender waits for the reader instead. Compare ratios of
// interleaved runs only
// (--benchmark_enable_random_interleaving=true --benchmark_repetitions=N).

#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/shared_memory.hpp"
#include "shmif/port.hpp"

namespace {

using namespace shmif;

/// Memory that both processes share.
struct Shared {
  std::atomic<bool> listening{false};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> lost{0};
};

class SharedPage {
 public:
  Shared* operator->() const noexcept { return shared_; }

 private:
  base::SharedMemory memory_ =
      base::SharedMemory::anonymous(sizeof(Shared), "no memory to share").value();
  Shared* shared_ = new (memory_.data()) Shared;
};

[[noreturn]] void read_until_stopped(const std::string& path, SharedPage& shared) {
  PortOptions options;
  options.name = "reader";
  options.promiscuous = true;
  Port port(options);
  port.attach(path).value();
  if (port.up()) _exit(1);
  FrameBatch batch(256, 1U << 20U);
  shared->listening = true;
  while (!shared->stop) {
    batch.clear();
    const ReceiveResult got = port.receive(batch);
    benchmark::DoNotOptimize(batch.frames().data());
    if (got.error) _exit(1);
    shared->received.store(shared->received.load(std::memory_order_relaxed) + got.frames,
                           std::memory_order_relaxed);
    shared->lost.store(shared->lost.load(std::memory_order_relaxed) + got.lost,
                       std::memory_order_relaxed);
  }
  _exit(0);
}

void append_and_read(benchmark::State& state) {
  const auto frame_bytes = static_cast<std::size_t>(state.range(0)) - 4;  // a bus carries no FCS
  const auto batch = static_cast<std::size_t>(state.range(1));
  const std::string path = "/dev/shm/shmif-bench-" + std::to_string(getpid());
  unlink(path.c_str());
  BusOptions options;
  options.flow = state.range(2) != 0 ? Flow::pause : Flow::ethernet;
  Bus::create(path, options).value();
  SharedPage shared;
  const pid_t child = fork();
  if (child == 0) read_until_stopped(path, shared);
  while (!shared->listening) usleep(100);

  Port port;
  port.attach(path).value();
  if (port.up()) state.SkipWithError("cannot bring the port up");
  std::vector<std::byte> bytes(frame_bytes);
  for (std::size_t i = 0; i < 6; ++i) bytes[i] = std::byte{0xff};
  const std::vector<FrameView> frames(batch, FrameView(bytes));
  const auto begin = std::chrono::steady_clock::now();
  for (auto _ : state) {
    const SendResult sent = port.send(frames);
    if (sent.taken != batch) state.SkipWithError("a batch was refused");
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const double received = static_cast<double>(shared->received);
  const double lost = static_cast<double>(shared->lost);
  shared->stop = true;
  waitpid(child, nullptr, 0);
  unlink(path.c_str());

  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batch));
  state.counters["read/s"] = received / seconds.count();
  state.counters["lost%"] = received + lost > 0 ? 100 * lost / (received + lost) : 0;
  state.counters["Gbit/s"] = received * static_cast<double>(frame_bytes) * 8e-9 / seconds.count();
  state.counters["lock_sleeps"] = static_cast<double>(port.counters().lock_sleeps);
  state.counters["pauses"] = static_cast<double>(port.counters().pauses);
  state.counters["doorbells"] = static_cast<double>(port.counters().doorbells);
}

BENCHMARK(append_and_read)
    ->ArgNames({"bytes", "batch", "pause"})
    ->ArgsProduct({{64, 1514}, {1, 8, 32}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kNanosecond);

}  // namespace

BENCHMARK_MAIN();
