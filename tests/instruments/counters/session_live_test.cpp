// Counter sessions on this machine's kernel, with software events, which every machine has.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "instruments/counters/event.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/sample.hpp"
#include "instruments/counters/session.hpp"
#include "instruments/watch/held_child.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::test {
namespace {

// Page faults, an event that every machine counts.

CounterEvent page_faults() {
  CounterEvent event;
  event.name = "page-faults";
  event.type = PERF_TYPE_SOFTWARE;
  event.config = PERF_COUNT_SW_PAGE_FAULTS;
  return event;
}

/// Touches pages that cost one fault each, and those of a sanitizer, if there is one.
void fault(std::size_t pages) {
  constexpr std::size_t kPage = 4096;
  void* const memory =
      ::mmap(nullptr, kPage * pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::madvise(memory, kPage * pages, MADV_NOHUGEPAGE);
  for (std::size_t at = 0; at < pages; ++at) static_cast<volatile char*>(memory)[at * kPage] = 1;
  ::munmap(memory, kPage * pages);
}

CounterEvent software(std::uint64_t config) {
  CounterEvent event;
  event.name = "software:" + std::to_string(config);
  event.type = PERF_TYPE_SOFTWARE;
  event.config = config;
  return event;
}

Reading reading_of(CounterSession& session, std::size_t event, bool stop_target = false) {
  std::array readings{Reading{event}};
  const auto got = session.read(readings, stop_target);
  EXPECT_TRUE(got) << got.error().message;
  return readings[0];
}

HeldChild known_load(std::vector<std::string> words) {
  words.insert(words.begin(), shmif::test::in_build("tests/instruments/known_load"));
  return HeldChild::start({.argv = words}).value();
}

TEST(LiveSession, CountsThePageFaultsOfItsOwnThreadExactly) {
  CounterSession session;
  const std::array events{EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS)},
                          EventSetup{software(PERF_COUNT_SW_TASK_CLOCK)}};
  ASSERT_TRUE(session.program(events));
  const auto loaded = session.load(CounterTarget::thread({}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  fault(64);
  ASSERT_TRUE(session.start());
  fault(1);  // the code, and the reading
  const auto before = reading_of(session, 0).value;
  fault(1000);
  const auto faults = reading_of(session, 0).value - before;
  EXPECT_GE(faults, 1000U);
  EXPECT_TRUE(shmif::test::kSanitized || faults == 1000U) << faults;
  ASSERT_TRUE(session.stop());
  const Reading clock = reading_of(session, 1);
  EXPECT_GT(clock.value, 0U);
  EXPECT_EQ(clock.enabled_ns, clock.running_ns);
  const auto own = session.clock_ns();
  ASSERT_TRUE(own);
  EXPECT_NEAR(static_cast<double>(*own), static_cast<double>(clock.enabled_ns),
              0.2 * static_cast<double>(clock.enabled_ns));
}

/// It inherits the descriptors, a lock, and the handle of a thread that it does not have.
TEST(LiveSession, OfAParentGoesOnWhateverAForkedChildDoesWithIt) {
  CounterSession session;
  const std::array sets{SetSetup{1, std::chrono::hours(1)}};
  ASSERT_TRUE(session.create_sets(sets));
  const std::array events{
      EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS), 0, {.period = 1}},
      EventSetup{software(PERF_COUNT_SW_TASK_CLOCK), 1},
  };
  ASSERT_TRUE(session.program(events));
  ASSERT_TRUE(session.load(CounterTarget::thread({})));
  ASSERT_TRUE(session.start());
  shmif::test::Child child([&] {
    const auto stopped = session.stop();
    if (stopped || stopped.error().code != Errc::forked) return 1;
    if (session.unload() || session.clock_ns() || session.read({})) return 2;
    if (session.state() != SessionState::closed || session.wake_descriptor() != -1) return 3;
    CounterSession own;  // one of the child's own works
    const std::array faults{EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS)}};
    if (!own.program(faults) || !own.load(CounterTarget::thread({})) || !own.start()) return 4;
    session = std::move(own);  // ends the inherited one
    return session.state() == SessionState::started ? 0 : 5;
  });
  ASSERT_EQ(child.wait(), 0);
  EXPECT_EQ(session.state(), SessionState::started);
  const std::uint64_t before = reading_of(session, 0).value;
  fault(100);
  EXPECT_GE(reading_of(session, 0).value - before, 100U) << "it counts on";
  EXPECT_TRUE(session.stop());
}

TEST(LiveSession, CountsThreadsAndChildrenOfAProcessFromItsExecOn) {
  auto child = known_load({"faults", "2000", "threads", "2", "children", "1"});
  CounterSession process, thread;
  const std::array events{EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS)}};
  for (CounterSession* session : {&process, &thread}) {
    ASSERT_TRUE(session->program(events));
    CounterTarget target = session == &process ? CounterTarget::process({child.pid()})
                                               : CounterTarget::thread({child.pid()});
    target.on_exec = true;
    const auto loaded = session->load(target);
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_TRUE(session->start());
  }
  EXPECT_EQ(reading_of(process, 0).value, 0U);
  ASSERT_TRUE(child.release());
  EXPECT_EQ(shell_status(child.wait()), 0);
  EXPECT_EQ(process.state(), SessionState::ended);
  const auto all = reading_of(process, 0).value;
  const auto one = reading_of(thread, 0).value;
  constexpr std::uint64_t kStart = 1500;  // at most, of a program like this
  EXPECT_GE(all, 8000U);
  EXPECT_LT(all, 8000U + kStart);
  EXPECT_GE(one, 2000U);
  EXPECT_LT(one, 2000U + kStart);
}

TEST(LiveSession, StopsItsTargetForAReadAndLetsItGo) {
  auto child = known_load({"threads", "2", "burn", "20000"});
  ASSERT_TRUE(child.release());
  CounterSession session;
  const std::array events{EventSetup{software(PERF_COUNT_SW_TASK_CLOCK)},
                          EventSetup{software(PERF_COUNT_SW_CPU_CLOCK)}};
  ASSERT_TRUE(session.program(events));
  const auto loaded = session.load(CounterTarget::process({child.pid()}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_TRUE(session.start());
  ASSERT_TRUE(shmif::test::eventually([&] { return reading_of(session, 0).value > 0; }));
  EXPECT_FALSE(reading_of(session, 0).one_instant);
  const Reading stopped = reading_of(session, 0, true);
  EXPECT_TRUE(stopped.one_instant);
  // It runs again, and no debugger is left on it.
  EXPECT_TRUE(
      shmif::test::eventually([&] { return reading_of(session, 0).value > stopped.value; }));
  const auto status = KernelFiles().read("/proc/" + std::to_string(child.pid()) + "/status");
  ASSERT_TRUE(status);
  EXPECT_NE(status->find("TracerPid:\t0\n"), std::string::npos);
  child.kill(SIGTERM);
  EXPECT_EQ(shell_status(child.wait()), 128 + SIGTERM) << "its status is still there";
  // The target has ended.
  EXPECT_TRUE(reading_of(session, 0, true).one_instant);
}

struct Addresses final : SampleSink {
  void sample(const Sample& sample) override { threads.insert(sample.thread); }
  std::set<pid_t> threads;
};

TEST(LiveSession, IsMaskedByAnOverflowAndCountsNothingUntilItIsRestarted) {
  CounterSession session;
  const std::array events{
      EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS), 0, {.period = 100, .mask = true}}};
  ASSERT_TRUE(session.program(events));
  const auto loaded = session.load(CounterTarget::thread({}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_TRUE(session.start());
  EXPECT_EQ(session.state(), SessionState::started);
  fault(1000);
  pollfd wake{session.wake_descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&wake, 1, 60'000), 1);
  EXPECT_EQ(session.state(), SessionState::masked);
  const auto masked = reading_of(session, 0).value;
  EXPECT_GE(masked, 100U);
  EXPECT_LT(masked, 1000U) << "it stopped long before the end";
  fault(1000);
  EXPECT_EQ(reading_of(session, 0).value, masked);
  Addresses addresses;
  const auto counts = session.read_samples(addresses);
  ASSERT_TRUE(counts);
  EXPECT_GE(counts->samples, 1U);
  EXPECT_EQ(addresses.threads, std::set<pid_t>{static_cast<pid_t>(::syscall(SYS_gettid))});
  ASSERT_TRUE(session.restart());
  EXPECT_EQ(session.state(), SessionState::started);
  fault(1000);
  EXPECT_EQ(session.state(), SessionState::masked);
  EXPECT_GE(reading_of(session, 0).value, masked + 100);
}

TEST(LiveSession, SwitchesSetsByTimeAndScalesThemByItsOwnClock) {
  auto child = known_load({"burn", "20000"});
  CounterSession session;
  const std::array sets{SetSetup{0, std::chrono::milliseconds(2)},
                        SetSetup{1, std::chrono::milliseconds(1)}};
  ASSERT_TRUE(session.create_sets(sets));
  const std::array events{EventSetup{software(PERF_COUNT_SW_TASK_CLOCK), 0},
                          EventSetup{software(PERF_COUNT_SW_TASK_CLOCK), 1}};
  ASSERT_TRUE(session.program(events));
  CounterTarget target = CounterTarget::process({child.pid()});
  target.on_exec = true;
  ASSERT_TRUE(session.load(target));
  ASSERT_TRUE(session.start());
  ASSERT_TRUE(child.release());
  const auto activations = [&](unsigned id) {
    std::array queries{SetQuery{id}};
    EXPECT_TRUE(session.query_sets(queries));
    return queries[0].activations;
  };
  ASSERT_TRUE(shmif::test::eventually([&] { return activations(0) > 20 && activations(1) > 20; }));
  ASSERT_TRUE(session.stop());
  const auto clock = static_cast<double>(session.clock_ns().value());
  for (const std::size_t event : {0U, 1U}) {
    const Reading reading = reading_of(session, event);
    EXPECT_LT(static_cast<double>(reading.running_ns), clock);
    ASSERT_TRUE(reading.scaled);
    EXPECT_NEAR(*reading.scaled, clock, 0.01 * clock);
  }
}

/// Two sets, each with an event that switches at its 100th page fault.
void program_two_sets(CounterSession& session) {
  ASSERT_TRUE(session.create_sets(std::array{SetSetup{1}}));
  const Sampling at_100{.period = 100, .switch_set = true};
  const std::array events{EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS), 0, at_100},
                          EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS_MIN), 1, at_100}};
  ASSERT_TRUE(session.program(events));
}

std::uint64_t activations_of_set_1(CounterSession& session) {
  std::array queries{SetQuery{1}};
  EXPECT_TRUE(session.query_sets(queries));
  return queries[0].activations;
}

TEST(LiveSession, SwitchesSetsByOverflowThoughNobodyReadsTheSamples) {
  CounterSession session({.ring_pages = 1});
  program_two_sets(session);
  ASSERT_TRUE(session.load(CounterTarget::thread({})));
  ASSERT_TRUE(session.start());
  // A page has room for some 120 samples of each set.
  EXPECT_TRUE(shmif::test::eventually([&] {
    for (int more = 0; more < 20; ++more) {
      fault(200);
      activations_of_set_1(session);
    }
    return activations_of_set_1(session) > 200;
  }));
  Addresses addresses;
  const auto counts = session.read_samples(addresses);
  ASSERT_TRUE(counts);
  EXPECT_GT(counts->lost, 50U) << "what made room is told";
  EXPECT_GT(counts->samples, 10U);
}

/// With several sets, a thread of the session also waits for overflows.
TEST(LiveSession, TellsEachOverflowByItsWakeDescriptorThoughSetsTakeTurns) {
  CounterSession session;
  const Sampling mask_at_10{.period = 10, .mask = true};
  const Sampling switch_at_10{.period = 10, .switch_set = true};
  for (const Sampling& sampling : {mask_at_10, switch_at_10}) {
    ASSERT_TRUE(session.create_sets(std::array{SetSetup{0}, SetSetup{1}}));
    const std::array events{EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS), 0, sampling},
                            EventSetup{software(PERF_COUNT_SW_PAGE_FAULTS_MIN), 1, sampling}};
    ASSERT_TRUE(session.program(events));
    ASSERT_TRUE(session.load(CounterTarget::thread({})));
    ASSERT_TRUE(session.start());
    for (int overflow = 0; overflow < 100; ++overflow) {
      fault(100);
      pollfd wake{session.wake_descriptor(), POLLIN, 0};
      ASSERT_EQ(::poll(&wake, 1, static_cast<int>(shmif::test::kGenerousTime.count())), 1)
          << "overflow " << overflow << (sampling.mask ? " that masks" : " that switches");
      Addresses addresses;
      ASSERT_TRUE(session.read_samples(addresses));
      if (!sampling.mask) continue;
      ASSERT_EQ(session.state(), SessionState::masked);
      ASSERT_TRUE(session.restart());
    }
    ASSERT_TRUE(session.unload());
  }
}

}  // namespace

// Counter sessions on CPUs of this machine, with software events. The kernel permits them to root,
// or where kernel.perf_event_paranoid is at most 0.

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
