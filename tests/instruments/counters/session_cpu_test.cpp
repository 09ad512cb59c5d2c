// Counter sessions on CPUs of this machine, with software events. The kernel permits them to root,
// or where kernel.perf_event_paranoid is at most 0.

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/sample.hpp"
#include "instruments/counters/session.hpp"
#include "tests/instruments/counters/page_faults.hpp"

namespace shmif::perf::test {
namespace {

/// On the first CPU that it may use, in a thread of its own.
void on_one_cpu(const std::function<void(int cpu)>& body) {
  std::thread([&] {
    cpu_set_t may{};
    ASSERT_EQ(::sched_getaffinity(0, sizeof may, &may), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &may)) ++cpu;
    cpu_set_t one{};
    CPU_SET(cpu, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    body(cpu);
  }).join();
}

/// As the kernel charges them to it; it need not be as many as there are pages.
std::uint64_t faults_of_this_thread() {
  rusage usage{};
  EXPECT_EQ(::getrusage(RUSAGE_THREAD, &usage), 0);
  return static_cast<std::uint64_t>(usage.ru_minflt + usage.ru_majflt);
}

class CpuSession : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: counts whole CPUs";
  }
  std::uint64_t value() {
    std::array readings{Reading{0}};
    const auto got = session.read(readings);
    EXPECT_TRUE(got) << got.error().message;
    return readings[0].value;
  }
  void load(const Sampling& sampling, std::vector<int> cpus) {
    ASSERT_TRUE(session.program(std::array{EventSetup{page_faults(), 0, sampling}}));
    const auto loaded = session.load(CounterTarget::cpu(std::move(cpus)));
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_TRUE(session.start());
  }

  CounterSession session;
};

struct ByThread final : SampleSink {
  void sample(const Sample& sample) override { ++samples[sample.thread]; }
  std::map<pid_t, std::uint64_t> samples;
};

struct TimesSink final : SampleSink {
  void sample(const Sample& sample) override {
    falls += sample.time_ns < last ? 1 : 0;
    last = sample.time_ns;
    ++samples[sample.cpu];
  }
  std::uint64_t last = 0, falls = 0;
  std::map<int, std::uint64_t> samples;
};

TEST_F(CpuSession, SamplesSeveralInTheOrderOfTime) {
  const std::vector<int> online = kernel_counters().online_cpus();
  if (online.size() < 2) GTEST_SKIP() << "this machine has one CPU";
  load({.period = 1, .fields = PERF_SAMPLE_CPU}, {online[0], online[1]});
  std::vector<std::thread> threads;
  for (const int cpu : {online[0], online[1]}) {
    threads.emplace_back([cpu] {
      cpu_set_t one{};
      CPU_SET(cpu, &one);
      ::sched_setaffinity(0, sizeof one, &one);
      fault(300);
    });
  }
  TimesSink sink;
  ASSERT_TRUE(session.read_samples(sink));
  for (std::thread& each : threads) each.join();
  ASSERT_TRUE(session.stop());
  ASSERT_TRUE(session.read_samples(sink));
  EXPECT_EQ(sink.falls, 0U);
  EXPECT_GT(sink.samples[online[0]], 0U);
  EXPECT_GT(sink.samples[online[1]], 0U);
}

TEST_F(CpuSession, CountsWhatRunsThereAndSamplesIt) {
  on_one_cpu([&](int cpu) {
    load({.period = 1}, {cpu});
    const std::uint64_t before = faults_of_this_thread();
    fault(1000);
    const std::uint64_t faults = faults_of_this_thread() - before;
    ASSERT_TRUE(session.stop());
    EXPECT_EQ(::sched_getcpu(), cpu);
    EXPECT_GT(faults, 0U);
    EXPECT_GE(value(), faults);
    ByThread sink;
    const auto counts = session.read_samples(sink);
    ASSERT_TRUE(counts);
    const auto own = sink.samples[static_cast<pid_t>(::syscall(SYS_gettid))];
    EXPECT_GE(own + counts->lost, faults)  // others can fill the ring first
        << own << " own samples of " << counts->samples << ", " << counts->lost << " lost";
    EXPECT_GT(session.clock_ns().value(), 0U);
    const auto stopped = value();
    fault(100);
    EXPECT_EQ(value(), stopped);
  });
}

TEST_F(CpuSession, CannotBeStoppedForARead) {
  load({}, kernel_counters().online_cpus());
  std::array readings{Reading{0}};
  EXPECT_FALSE(session.read(readings, true));
  EXPECT_TRUE(session.read(readings));
}

TEST_F(CpuSession, OfACpuThatDoesNotExistSaysWhichThereAre) {
  ASSERT_TRUE(session.program(std::array{EventSetup{page_faults()}}));
  const auto loaded = session.load(CounterTarget::cpu({60'000}));
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("(there is no CPU 60000; online are 0"), std::string::npos)
      << loaded.error().message;
}

/// Sessions of the same event on the same CPU, as when two people sample it.
TEST_F(CpuSession, HasItsSamplesAlsoBesideAnotherOfTheSameEvent) {
  on_one_cpu([&](int cpu) {
    CounterSession other;
    load({.period = 1}, {cpu});
    ASSERT_TRUE(other.program(std::array{EventSetup{page_faults(), 0, {.period = 1}}}));
    ASSERT_TRUE(other.load(CounterTarget::cpu({cpu})));
    ASSERT_TRUE(other.start());
    fault(1000);
    for (CounterSession* each : {&session, &other}) {
      ASSERT_TRUE(each->stop());
      ByThread sink;
      const auto counts = each->read_samples(sink);
      ASSERT_TRUE(counts);
      const auto own = sink.samples[static_cast<pid_t>(::syscall(SYS_gettid))];
      EXPECT_GE(own + counts->lost, 1000U) << own << " of " << counts->samples;
      EXPECT_GE(own, 500U) << "they are not all lost";
    }
  });
}

}  // namespace
}  // namespace shmif::perf::test
