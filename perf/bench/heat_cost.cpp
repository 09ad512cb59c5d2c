// What `shmifperf heat` costs at 10 Hz: its own share of a CPU for a target of 1 GiB, what the
// target pays, and how much slower a bus becomes that is watched. What is compared is measured in
// turns. Run it on an idle machine: what a look costs a port is a fixed time, and a larger share of
// the little time that a port gets on a busy one.

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/heat/session.hpp"
#include "shmif/bus.hpp"
#include "shmif/heat_share.hpp"
#include "shmif/port.hpp"

namespace shmif::perf {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kTarget = 1U << 30U;

HeatOptions ten_times_a_second(const std::string& clients) {
  HeatOptions options;
  options.attributes = read_attributes("100ms,1s,1s,10,1000").value();
  options.clients = clients;
  options.backend = HeatBackend::client;
  options.keep_windows = 2;
  return options;
}

double cpu_seconds(const rusage& usage) {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}
double own_cpu() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return cpu_seconds(usage);
}
/// Of another process, all threads.
double cpu_of(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// A process that runs `work` until it is killed.
template <class Work>
pid_t run_beside(Work work) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  work();
  ::_exit(1);
}
void end(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

/// Watches for `time`. Result: the share of a CPU that this process used.
double watch_for(HeatSession& session, Clock::duration time) {
  const auto begun = Clock::now();
  const double before = own_cpu();
  while (Clock::now() - begun < time) {
    const auto next = std::min(session.step(), begun + time);
    std::this_thread::sleep_until(next);
  }
  return (own_cpu() - before) / std::chrono::duration<double>(Clock::now() - begun).count();
}

struct Counter {
  alignas(64) std::atomic<std::uint64_t> count;
};
/// Memory that children share.
Counter* shared_counters() {
  return static_cast<Counter*>(
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

/// Touches a tenth of 1 GiB ten times a second.
[[noreturn]] void touch_a_tenth(Counter& rounds) {
  const UniqueFd file(::memfd_create("heat", MFD_CLOEXEC));
  if (::ftruncate(file.get(), kTarget) != 0) ::_exit(1);
  void* const at = ::mmap(nullptr, kTarget, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (at == MAP_FAILED) ::_exit(1);
  const auto share = HeatShare::of(at, kTarget, "target");
  if (!share) ::_exit(1);
  auto* const bytes = static_cast<volatile char*>(at);
  for (;;) {  // until killed
    for (std::uint64_t i = kTarget / 2; i < kTarget / 2 + kTarget / 10; i += kPage) bytes[i] = 1;
    ++rounds.count;
    std::this_thread::sleep_for(milliseconds(100));
  }
}

bool measure_target(const std::string& clients) {
  Counter* const rounds = shared_counters();
  const pid_t target = run_beside([&] { touch_a_tenth(*rounds); });
  std::this_thread::sleep_for(std::chrono::seconds(2));
  constexpr auto kTime = std::chrono::seconds(3);
  constexpr int kRounds = 5;
  std::vector<double> monitor;
  std::vector<double> extra;
  // Of a round: a busy machine lets it do fewer of them.
  const auto cost = [&](auto wait) {
    const double before = cpu_of(target);
    const std::uint64_t first = rounds->count;
    wait();
    const std::uint64_t done = std::max<std::uint64_t>(rounds->count - first, 1);
    return (cpu_of(target) - before) / static_cast<double>(done);
  };
  for (int i = 0; i < kRounds; ++i) {
    const double alone = cost([&] { std::this_thread::sleep_for(kTime); });
    HeatSession session(ten_times_a_second(clients));
    session.add(Process::open(target).value());
    watch_for(session, std::chrono::seconds(1));  // until it has settled
    const double watched = cost([&] { monitor.push_back(100 * watch_for(session, kTime)); });
    constexpr double kPerCentAtTenHertz = 10 * 100;
    extra.push_back(kPerCentAtTenHertz * (watched - alone));
    const auto results = session.results();
    if (results[0].windows.empty()) {
      std::printf("not measured: %s\n", results[0].reason.c_str());
      end(target);
      return false;
    }
  }
  end(target);
  const double most = median(monitor);
  std::printf(
      "a target of 1 GiB at 10 Hz: the monitor takes %.3f %% of a CPU (at most 1 %%); the "
      "target %.3f %% more\n",
      most, median(extra));
  return most <= 1;
}

[[noreturn]] void use_bus(const std::string& path, bool sends, Counter& counter) {
  PortOptions options;
  options.name = sends ? "tx" : "rx";
  Port port(options);
  if (!port.attach(path) || port.up()) ::_exit(1);
  std::array<std::byte, 1500> bytes{};
  std::ranges::fill(std::span(bytes).first(6), std::byte{0xff});
  const std::vector<FrameView> frames(32, FrameView(bytes));
  FrameBatch batch(32);
  for (;;) {  // until killed
    if (sends) {
      counter.count += port.send(frames).taken;
      continue;
    }
    batch.clear();
    const auto got = port.receive(batch).frames;
    if (got == 0) port.wait(milliseconds(10));
    counter.count += got;
  }
}

/// Frames sent and received in a second, without and with a monitor, in turns.
bool measure_bus(const std::string& folder) {
  const std::string path = "/dev/shm/shmif-bench-heat-" + std::to_string(::getpid());
  Bus::create(path, {}).value();
  Counter* const counter = shared_counters();
  const pid_t rx = run_beside([&] { use_bus(path, false, counter[0]); });
  const pid_t tx = run_beside([&] { use_bus(path, true, counter[1]); });
  std::this_thread::sleep_for(std::chrono::seconds(1));
  constexpr int kRounds = 30;
  constexpr auto kTime = milliseconds(500);
  const auto moved = [&](auto wait) {
    const std::uint64_t before = counter[1].count;
    const auto begun = Clock::now();
    wait();
    return static_cast<double>(counter[1].count - before) /
           std::chrono::duration<double>(Clock::now() - begun).count();
  };
  std::vector<double> lost;
  for (int i = 0; i < kRounds; ++i) {
    const auto alone = [&] { return moved([&] { std::this_thread::sleep_for(kTime); }); };
    const auto watched = [&] {
      HeatSession session(ten_times_a_second(folder));
      for (const pid_t pid : {rx, tx}) session.add(Process::open(pid).value());
      watch_for(session, milliseconds(200));  // until all are connected
      return moved([&] { watch_for(session, kTime); });
    };
    const bool first = i % 2 == 0;  // A B, B A
    const double a = first ? alone() : watched();
    const double b = first ? watched() : alone();
    lost.push_back(first ? 100 * (1 - b / a) : 100 * (1 - a / b));
  }
  end(tx);
  end(rx);
  std::filesystem::remove(path);
  const double overhead = median(lost);
  std::printf(
      "a bus with a sender and a listener, both watched at 10 Hz: %.2f %% slower (at most "
      "2 %%)\n",
      overhead);
  return overhead <= 2;
}

}  // namespace
}  // namespace shmif::perf

int main() {
  std::array<char, 32> folder{"/tmp/shmif-bench-heat-XXXXXX"};
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  ::setenv("SHMIF_HEAT", folder.data(), 1);
  const bool target = shmif::perf::measure_target(folder.data());
  const bool bus = shmif::perf::measure_bus(folder.data());
  std::filesystem::remove_all(folder.data());
  return target && bus ? 0 : 1;
}
