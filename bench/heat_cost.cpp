// The cost of `shmifperf heat` at 10 Hz.
//
//   shmif_bench_heat_cost            all of these
//   shmif_bench_heat_cost target     its share of a CPU for a target of 1 GiB and for a sparse one
//                                    of 1 TiB, and the cost to the targets
//   shmif_bench_heat_cost bus        how much slower a bus becomes while it is watched
//   shmif_bench_heat_cost outsider   the cost to a program that does not share its heat
//
// The two sides of a comparison are measured in turns. Run it on an idle machine: a look costs a
// port a fixed time. On a busy machine a port gets little time, so a look takes a larger share.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
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
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "instruments/heat/session.hpp"
#include "shmif/bus.hpp"
#include "shmif/heat_share.hpp"
#include "shmif/port.hpp"

namespace shmif::perf {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kGibibyte = 1U << 30U;

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
/// CPU seconds of another process, all threads.
double cpu_of(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// The quartile `number` of `values`; 2 is the median.
double quartile(std::vector<double> values, std::size_t number) {
  std::ranges::sort(values);
  return values[values.size() * number / 4];
}
double median(std::vector<double> values) {
  return quartile(std::move(values), 2);
}

/// Starts a process that runs `work` until it is killed.
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
  std::atomic<int> userfaultfd;  ///< of the child, until this process has it
};
/// Memory that children share.
Counter* shared_counters() {
  return static_cast<Counter*>(
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

/// Touches a tenth of 1 GiB in a mapping of `size` bytes ten times a second.
[[noreturn]] void touch_a_tenth(std::uint64_t size, Counter& rounds) {
  const UniqueFd file(::memfd_create("heat", MFD_CLOEXEC));
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) ::_exit(1);
  void* const at =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
  if (at == MAP_FAILED) ::_exit(1);
  const auto share = HeatShare::of(at, size, "target");
  if (!share) ::_exit(1);
  auto* const bytes = static_cast<volatile char*>(at);
  for (;;) {  // until killed
    for (std::uint64_t i = size / 2; i < size / 2 + kGibibyte / 10; i += kPage) bytes[i] = 1;
    ++rounds.count;
    std::this_thread::sleep_for(milliseconds(100));
  }
}

/// The field `name` in the status of a process, in KiB.
std::uint64_t status_of(pid_t pid, const char* name) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::uint64_t kibibytes = 0;
  for (std::string word; status >> word;) {
    if (word == name) status >> kibibytes;
  }
  return kibibytes;
}

bool measure_target(const std::string& clients, const char* name, std::uint64_t size) {
  Counter* const rounds = shared_counters();
  const pid_t target = run_beside([&] { touch_a_tenth(size, *rounds); });
  std::this_thread::sleep_for(std::chrono::seconds(2));
  constexpr auto kTime = std::chrono::seconds(3);
  constexpr int kRounds = 5;
  std::vector<double> monitor;
  std::vector<double> extra;
  const std::uint64_t tables = status_of(target, "VmPTE:");
  // Cost of one round of the target, because it does fewer rounds on a busy machine.
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
    watch_for(session, std::chrono::seconds(1));  // lets it settle
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
  const std::uint64_t more_tables = status_of(target, "VmPTE:") - tables;
  end(target);
  const double most = median(monitor);
  std::printf(
      "a target of %s at 10 Hz: the monitor takes %.3f %% of a CPU (at most 1 %%); the target "
      "takes %.3f %% and %llu KiB of page tables more\n",
      name, most, median(extra), static_cast<unsigned long long>(more_tables));
  return most <= 1;
}

enum class End : std::uint8_t { tx, rx };

[[noreturn]] void use_bus(const std::string& path, End end, Counter& counter) {
  PortOptions options;
  options.name = end == End::tx ? "tx" : "rx";
  Port port(options);
  if (!port.attach(path) || port.up()) ::_exit(1);
  std::array<std::byte, 1500> bytes{};
  std::ranges::fill(std::span(bytes).first(6), std::byte{0xff});
  const std::vector<FrameView> frames(32, FrameView(bytes));
  FrameBatch batch(32);
  for (;;) {  // until killed
    if (end == End::tx) {
      counter.count += port.send(frames).taken;
      continue;
    }
    batch.clear();
    const auto got = port.receive(batch).frames;
    if (got == 0) port.wait(milliseconds(10));
    counter.count += got;
  }
}

/// Measures the frames per second of a bus, in turns without and with a monitor.
bool measure_bus(const std::string& folder) {
  const std::string path = "/dev/shm/shmif-bench-heat-" + std::to_string(::getpid());
  Bus::create(path, {}).value();
  Counter* const counter = shared_counters();
  const pid_t rx = run_beside([&] { use_bus(path, End::rx, counter[0]); });
  const pid_t tx = run_beside([&] { use_bus(path, End::tx, counter[1]); });
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
  std::array<std::vector<double>, 2> samples;  // looks per second: of the listener, of the sender
  for (int i = 0; i < kRounds; ++i) {
    UniqueFd userfaultfd;
    const auto alone = [&] { return moved([&] { std::this_thread::sleep_for(kTime); }); };
    const auto watched = [&] {
      HeatSession session(ten_times_a_second(folder));
      for (const pid_t pid : {rx, tx}) session.add(Process::open(pid).value());
      watch_for(session, milliseconds(200));  // lets all connect
      const double rate = moved([&] { watch_for(session, kTime); });
      session.finish();
      const auto results = session.results();
      for (std::size_t each = 0; each < samples.size(); ++each) {
        for (const HeatWindow& window : results[each].windows) {
          samples[each].push_back(window.samples / (window.end_s - window.begin_s));
        }
      }
      return rate;
    };
    const bool first = i % 2 == 0;  // A B, B A
    const double a = first ? alone() : watched();
    const double b = first ? watched() : alone();
    lost.push_back(first ? 100 * (1 - b / a) : 100 * (1 - a / b));
  }
  end(tx);
  end(rx);
  std::filesystem::remove(path);
  if (samples[0].empty() || samples[1].empty()) {
    std::printf("not measured: the ports could not be watched\n");
    return false;
  }
  const double overhead = median(lost);
  std::printf(
      "a bus with a sender and a listener, both watched at 10 Hz: %.2f %% slower (at most 2 %%; "
      "quartiles %.2f to %.2f)\n"
      "  samples a second: %.1f of the sender, %.1f of the listener; a costly one is followed by a "
      "rest\n",
      overhead, quartile(lost, 1), quartile(lost, 3), median(samples[1]), median(samples[0]));
  return overhead <= 2;
}

/// Makes a userfaultfd(2) for the monitor, and then writes a tenth of 64 MiB without a pause.
[[noreturn]] void write_a_tenth(Counter& rounds) {
  constexpr int kUserModeOnly = 1;
  const auto file =
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
  rounds.userfaultfd = file;
  while (rounds.userfaultfd == file) ::usleep(100);
  ::close(file);
  constexpr std::uint64_t kSize = 64U << 20U;
  void* const at =
      ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) ::_exit(1);
  auto* const bytes = static_cast<volatile char*>(at);
  for (std::uint64_t i = 0; i < kSize; i += kPage) bytes[i] = 1;  // makes all pages exist
  for (;;) {                                                      // until killed
    for (std::uint64_t i = kSize / 2; i < kSize / 2 + kSize / 10; i += 64) bytes[i] = 1;
    rounds.count.fetch_add(1, std::memory_order_relaxed);
  }
}

/// Measures a program's rounds per second of its own CPU time, in turns without and with a monitor.
bool measure_outsider(const std::string& folder) {
  Counter* const counter = shared_counters();
  pid_t writer = 0;
  UniqueFd userfaultfd;  // that of the writer
  constexpr int kRounds = 9;
  constexpr auto kTime = std::chrono::seconds(3);
  std::vector<double> monitor;
  std::vector<double> samples;
  const auto speed = [&](auto wait) {
    const std::uint64_t before = counter->count;
    const double cpu = cpu_of(writer);
    wait();
    return static_cast<double>(counter->count - before) / (cpu_of(writer) - cpu);
  };
  const auto alone = [&] { return speed([&] { std::this_thread::sleep_for(kTime); }); };
  const auto watched = [&] {
    HeatOptions options = ten_times_a_second(folder);
    options.backend = HeatBackend::written;
    HeatSession session(options);
    session.add(Process::open(writer).value(), std::move(userfaultfd));
    watch_for(session, milliseconds(500));  // lets it settle
    const double rate = speed([&] { monitor.push_back(100 * watch_for(session, kTime)); });
    session.finish();
    const auto results = session.results();
    for (const HeatWindow& window : results[0].windows) {
      samples.push_back(window.samples / (window.end_s - window.begin_s));
    }
    return rate;
  };
  std::vector<double> ratios;
  for (int i = 0; i < kRounds; ++i) {
    counter->userfaultfd = 0;
    writer = run_beside([&] { write_a_tenth(*counter); });
    while (counter->userfaultfd == 0) std::this_thread::sleep_for(milliseconds(1));
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, writer, 0)));
    const int number = counter->userfaultfd;
    userfaultfd.reset(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    counter->userfaultfd = -1;
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const bool first = i % 2 == 0;  // A B, B A
    const double a = first ? alone() : watched();
    const double b = first ? watched() : alone();
    ratios.push_back(first ? b / a : a / b);
    end(writer);
  }
  if (samples.empty()) {
    std::printf("not measured: the program could not be watched page by page\n");
    return false;
  }
  std::printf(
      "a program that writes a tenth of its 64 MiB without a pause, watched from outside: %.3f "
      "(%.3f to %.3f) of its speed; %.1f samples a second; the monitor takes %.3f %% of a CPU\n",
      median(ratios), *std::ranges::min_element(ratios), *std::ranges::max_element(ratios),
      median(samples), median(monitor));
  return true;
}

}  // namespace
}  // namespace shmif::perf

int main(int argc, char** argv) {
  const std::string_view only = argc > 1 ? argv[1] : "";
  if (!only.empty() && only != "target" && only != "bus" && only != "outsider") {
    std::fprintf(stderr, "target, bus or outsider\n");
    return 2;
  }
  const auto is_asked = [&](std::string_view part) { return only.empty() || only == part; };

  std::array<char, 32> folder{"/tmp/shmif-bench-heat-XXXXXX"};
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  ::setenv("SHMIF_HEAT", folder.data(), 1);
  const bool target =
      !is_asked("target") ||
      (shmif::perf::measure_target(folder.data(), "1 GiB", shmif::perf::kGibibyte) &&
       shmif::perf::measure_target(folder.data(), "1 TiB", shmif::perf::kGibibyte << 10U));
  const bool bus = !is_asked("bus") || shmif::perf::measure_bus(folder.data());
  const bool outsider = !is_asked("outsider") || shmif::perf::measure_outsider(folder.data());
  std::filesystem::remove_all(folder.data());
  return target && bus && outsider ? 0 : 1;
}
