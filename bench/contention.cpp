// Several senders on one bus.
//
// `contention`: all send at full speed. Measures their total rate, how even their shares are, and
// how long the longest call of `send` took.
//
// `turn`: one sends a frame about every 200 us, the others send at full speed. Measures how long
// the calls of `send` of that one took.
//
// One iteration runs for a second. `senders` processes send batches of `batch` frames of `bytes`
// bytes, FCS included. No port reads, so the figures are those of the lock and the ring alone.
// `total/s` counts frames. `least%` is the share of the slowest sender; an even share would be
// 100 / senders.

#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/shared_memory.hpp"
#include "shmif/port.hpp"

namespace {

using namespace shmif;
using Clock = std::chrono::steady_clock;

constexpr unsigned kMaxSenders = 16;
constexpr std::chrono::seconds kRunTime{1};

constexpr std::size_t kMaxWaits = 10'000;

struct Outcome {
  std::uint64_t frames = 0;
  std::uint64_t lock_sleeps = 0;
  double longest_wait_ms = 0;
  std::size_t wait_count = 0;
  double waits_us[kMaxWaits] = {};  // of the sender that sends now and then
};

struct Shared {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  Outcome outcomes[kMaxSenders];
};

/// The processes that send, and the memory that starts and stops them.
class Race {
 public:
  Race() : path_("/dev/shm/shmif-bench-" + std::to_string(getpid())) {
    unlink(path_.c_str());
    Bus::create(path_, {}).value();
  }
  Race(const Race&) = delete;
  Race& operator=(const Race&) = delete;
  ~Race() { unlink(path_.c_str()); }
  /// What the first process does: it sends as the others do, or only now and then.
  enum class First : std::uint8_t { busy, polite };

  /// Runs `senders` processes that send batches of `batch` frames of `bytes` bytes. Result: what
  /// they report; empty if one failed.
  std::span<const Outcome> run(unsigned senders, std::size_t bytes, std::size_t batch,
                               First first) {
    shared_ = new (memory_.data()) Shared;
    std::vector<pid_t> children;
    for (unsigned i = 0; i < senders; ++i) {
      children.push_back(fork());
      if (children.back() != 0) continue;
      Outcome& outcome = shared_->outcomes[i];
      if (first == First::polite && i == 0) {
        send(60, 1, std::chrono::microseconds(200), outcome);
      } else {
        send(bytes - 4, batch, std::chrono::microseconds(0), outcome);  // a bus carries no FCS
      }
      _exit(0);
    }
    while (shared_->ready < senders) usleep(100);
    shared_->go = true;
    bool good = true;
    for (const pid_t child : children) {
      int status = 0;
      waitpid(child, &status, 0);
      good = good && status == 0;
    }
    return good ? std::span<const Outcome>(shared_->outcomes, senders) : std::span<const Outcome>();
  }

 private:
  void send(std::size_t frame_bytes, std::size_t batch, std::chrono::microseconds gap,
            Outcome& outcome) {
    Port port;
    port.attach(path_).value();
    if (port.up()) _exit(1);
    std::vector<std::byte> bytes(frame_bytes, std::byte{0xff});
    const std::vector<FrameView> frames(batch, FrameView(bytes));
    ++shared_->ready;
    while (!shared_->go) usleep(100);
    const Clock::time_point end = Clock::now() + kRunTime;
    for (Clock::time_point now = Clock::now(); now < end; now = Clock::now()) {
      if (port.send(frames).error) _exit(1);
      const std::chrono::duration<double, std::micro> wait = Clock::now() - now;
      outcome.longest_wait_ms = std::max(outcome.longest_wait_ms, wait.count() / 1000);
      outcome.frames += batch;
      if (gap.count() == 0) continue;
      if (outcome.wait_count < kMaxWaits) outcome.waits_us[outcome.wait_count++] = wait.count();
      std::this_thread::sleep_for(gap);
    }
    outcome.lock_sleeps = port.counters().lock_sleeps;
  }

  std::string path_;
  base::SharedMemory memory_ =
      base::SharedMemory::anonymous(sizeof(Shared), "no memory to share").value();
  Shared* shared_ = nullptr;
};

void contention(benchmark::State& state) {
  Race race;
  for (auto _ : state) {
    const auto outcomes =
        race.run(static_cast<unsigned>(state.range(0)), static_cast<std::size_t>(state.range(1)),
                 static_cast<std::size_t>(state.range(2)), Race::First::busy);
    if (outcomes.empty()) state.SkipWithError("a sender failed");
    std::uint64_t total = 0;
    std::uint64_t min = UINT64_MAX;
    double longest = 0;
    double sleeps = 0;
    for (const Outcome& o : outcomes) {
      total += o.frames;
      min = std::min(min, o.frames);
      longest = std::max(longest, o.longest_wait_ms);
      sleeps += static_cast<double>(o.lock_sleeps);
    }
    state.counters["total/s"] = static_cast<double>(total);
    state.counters["least%"] = 100 * static_cast<double>(min) / static_cast<double>(total);
    state.counters["longest_ms"] = longest;
    state.counters["lock_sleeps"] = sleeps;
  }
}

void turn(benchmark::State& state) {
  Race race;
  for (auto _ : state) {
    const auto outcomes =
        race.run(static_cast<unsigned>(state.range(0)), static_cast<std::size_t>(state.range(1)),
                 static_cast<std::size_t>(state.range(2)), Race::First::polite);
    if (outcomes.empty() || outcomes.front().wait_count == 0) {
      state.SkipWithError("a sender failed");
      return;
    }
    const Outcome& polite = outcomes.front();
    std::vector<double> waits(polite.waits_us, polite.waits_us + polite.wait_count);
    std::sort(waits.begin(), waits.end());
    state.counters["turns"] = static_cast<double>(waits.size());
    state.counters["p50_us"] = waits[waits.size() / 2];
    state.counters["p99_us"] = waits[waits.size() * 99 / 100];
    state.counters["longest_ms"] = polite.longest_wait_ms;
  }
}

BENCHMARK(contention)
    ->ArgNames({"senders", "bytes", "batch"})
    ->ArgsProduct({{1, 2, 4, 8}, {64}, {1, 32}})
    ->ArgsProduct({{1, 2, 4, 8}, {1518}, {256}})
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);

BENCHMARK(turn)
    ->ArgNames({"senders", "bytes", "batch"})
    ->ArgsProduct({{2, 4}, {64}, {1, 32}})
    ->ArgsProduct({{2, 4}, {1518}, {256}})
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);

}  // namespace

BENCHMARK_MAIN();
