#pragma once
// Real processes to which something happens at a known time, and the real sampler.

#include <gtest/gtest.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "instruments/watch/clock.hpp"
#include "instruments/why/analysis.hpp"
#include "instruments/why/why.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf::test {

using shmif::test::Child;

inline constexpr std::uint64_t kMillisecond = 1'000'000;

/// Uses the CPU for that long.
inline void work_for(std::uint64_t ns) {
  const std::uint64_t end = now_ns() + ns;
  while (now_ns() < end) {
  }
}

/// What a receiver does: it works for a part of its time. Runs until killed.
[[noreturn]] inline void work_and_sleep(std::uint64_t work_ns, std::uint64_t sleep_ns) {
  const timespec sleep{0, static_cast<long>(sleep_ns)};
  for (;;) {
    work_for(work_ns);
    ::nanosleep(&sleep, nullptr);
  }
}

inline std::vector<int> allowed_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ::sched_getaffinity(0, sizeof mask, &mask);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

/// Result: false if the kernel refused.
inline bool pin(pid_t task, int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(cpu), &one);
  return ::sched_setaffinity(task, sizeof one, &one) == 0;
}

constexpr int kSubjectPriority = 10, kHogPriority = 20, kWatcherPriority = 30;

/// Puts the calling thread before all other programs of the machine, whose load must not decide a
/// test. Needs a privilege. Its children begin as usual. Result: whether it was granted.
inline bool go_first(int priority) {
  const sched_param param{.sched_priority = priority};
  return ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) == 0;
}
/// Whether processes of this test may do that.
inline bool may_go_first() {
  static const bool may =
      Child([]() -> int { return go_first(kSubjectPriority) ? 0 : 1; }).wait() == 0;
  return may;
}

/// Programs that use a CPU from begin() to end(). They are in place when the constructor returns.
class Hogs {
 public:
  explicit Hogs(int cpu) {
    constexpr int kHogs = 8;
    for (int i = 0; i < kHogs; ++i) {
      hogs_.push_back(std::make_unique<Child>([this, cpu]() -> int {
        pin(0, cpu);
        go_first(kHogPriority);
        ++shared_->ready;
        constexpr useconds_t kLook = 5000;
        while (!shared_->go) ::usleep(kLook);
        const std::uint64_t latest = now_ns() + 10'000 * kMillisecond;
        while (shared_->go && now_ns() < latest) {
        }
        return 0;
      }));
    }
    EXPECT_TRUE(shmif::test::eventually([this] { return shared_->ready == kHogs; }));
  }
  void begin() { shared_->go = true; }
  void end() { shared_->go = false; }

 private:
  struct State {
    std::atomic<int> ready = 0;
    std::atomic<bool> go = false;
  };
  shmif::test::Shared<State> shared_;
  std::vector<std::unique_ptr<Child>> hogs_;
};

/// What was planted, and what was found.
struct Planted {
  double begin_s = 0, end_s = 0;
  std::vector<Cause> causes;
  WhySeries series;
  /// The part of the CPUs' time that the hypervisor took meanwhile: nobody planted that.
  double stolen_share = 0;
};

/// The time of all CPUs since the boot, and how much of it the hypervisor took, in ticks.
struct CpuTime {
  double all = 0, stolen = 0;

  static CpuTime now() {
    std::ifstream stat("/proc/stat");
    std::string word;
    stat >> word;  // "cpu": the sum of all; then user, nice, system, idle, iowait, irq, softirq
    CpuTime time;
    for (int i = 0; i < 8; ++i) {
      stat >> time.stolen;
      time.all += time.stolen;
    }
    return time;
  }
};

/// Looks at process `pid`, and at a bus if one is given, ten times a second: for 1.2 s of quiet,
/// for 1.5 s after `begin`, and for 0.6 s after `end`.
inline Planted watch(pid_t pid, const std::function<void()>& begin,
                     const std::function<void()>& end, const std::string& bus = {}) {
  constexpr std::uint64_t kInterval = 100 * kMillisecond;
  constexpr std::uint64_t kBefore = 1200 * kMillisecond, kDuring = 1500 * kMillisecond,
                          kAfter = 600 * kMillisecond;
  go_first(kWatcherPriority);
  const CpuTime before = CpuTime::now();
  const std::uint64_t origin = now_ns();
  WhySampler sampler(KernelFiles(), origin);
  EXPECT_TRUE(sampler.add_process(sampler.add_job("rx"), pid));
  if (!bus.empty()) {
    EXPECT_TRUE(sampler.add_bus(bus));
  }
  const auto at = [origin] { return static_cast<double>(now_ns() - origin) * 1e-9; };
  const auto sample_until = [&](std::uint64_t time) {
    do {
      sampler.sample(now_ns());
      sleep_until(std::min(time, sampler.next_ns(kInterval)));
    } while (now_ns() < time);
  };
  Planted planted;
  sample_until(origin + kBefore);
  planted.begin_s = at();
  begin();
  sample_until(now_ns() + kDuring);
  end();
  planted.end_s = at();
  sample_until(now_ns() + kAfter);
  sampler.sample(now_ns());
  const CpuTime after = CpuTime::now();
  planted.stolen_share = (after.stolen - before.stolen) / std::max(after.all - before.all, 1.0);
  planted.causes = find_causes(sampler.series(), {});
  planted.series = sampler.series();
  return planted;
}

inline std::string told(const Planted& planted) {
  std::string text = "planted at " + std::to_string(planted.begin_s) + " to " +
                     std::to_string(planted.end_s) + "; found:\n";
  for (const Cause& cause : planted.causes) text += "  " + cause.sentence + '\n';
  return text;
}

/// The first cause is `kind`, or the first one behind the hypervisor, if that really took CPUs. Its
/// window has most of the time that was planted, and most of it was planted.
inline void expect_first(const Planted& planted, CauseKind kind) {
  constexpr double kStolen = 0.02;
  const auto found = std::ranges::find_if(planted.causes, [&](const Cause& cause) {
    return cause.cause != CauseKind::steal || planted.stolen_share < kStolen;
  });
  ASSERT_NE(found, planted.causes.end()) << told(planted);
  const Cause& first = *found;
  EXPECT_STREQ(word_of(first.cause), word_of(kind)) << told(planted);
  EXPECT_EQ(first.job, "rx");
  const double both =
      std::min(first.end_s, planted.end_s) - std::max(first.begin_s, planted.begin_s);
  constexpr double kMax = 0.6;
  EXPECT_GE(both, kMax * (planted.end_s - planted.begin_s)) << told(planted);
  EXPECT_GE(both, kMax * (first.end_s - first.begin_s)) << told(planted);
}

}  // namespace shmif::perf::test
