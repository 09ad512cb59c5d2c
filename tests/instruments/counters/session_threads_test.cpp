// A session on a process whose threads come and go while its events are opened or read.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/session.hpp"
#include "instruments/watch/held_child.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "tests/instruments/counters/fake_counters.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::test {
namespace {

constexpr SessionOptions kAlone{.switch_by_itself = false};
constexpr pid_t kNew = 4713;
/// Two clocks and two groups of two.
constexpr int kOpensOfTwoThreads = 6;

class ThreadedSession : public testing::Test {
 protected:
  ThreadedSession() {
    kernel.processes[kTask] = {kTask, kOther};
    const std::array events{EventSetup{fake_event(1)}, EventSetup{fake_event(2)}};
    EXPECT_TRUE(session.program(events));
  }
  void TearDown() override { kernel.before = {}; }
  Result<void> load() { return session.load(CounterTarget::process({kTask, 7})); }
  /// How often an event of this config is open for this thread.
  std::ptrdiff_t open_for(pid_t thread, std::uint64_t config) const {
    return std::ranges::count_if(kernel.events, [&](const auto& each) {
      return each.second.task == thread && each.second.attr.base.config == config;
    });
  }

  FakeCounters kernel;
  CounterSession session = session_over(kAlone, kernel);
};

TEST_F(ThreadedSession, CountsAThreadThatStartedWhileEventsWereOpenedOnce) {
  for (const int nth : {1, 2, kOpensOfTwoThreads}) {
    kernel.processes[kTask] = {kTask, kOther};
    int opened = 0;
    kernel.before = [&](KernelCall call, int) {
      if (call == KernelCall::open && ++opened == nth) kernel.processes[kTask].push_back(kNew);
      return 0;
    };
    ASSERT_TRUE(load());
    EXPECT_EQ(opened, kOpensOfTwoThreads + 9) << "all again";
    for (const pid_t thread : {kTask, kOther, kNew}) {
      EXPECT_EQ(open_for(thread, 1), 1) << thread;
      EXPECT_EQ(open_for(thread, 2), 1) << thread;
      EXPECT_EQ(open_for(thread, PERF_COUNT_SW_DUMMY), 1) << thread;
    }
    kernel.before = {};
    ASSERT_TRUE(session.unload());
  }
}

/// The first event may have ended with another thread, which an anchor prevents (C7).
TEST_F(ThreadedSession, OpensAGroupAgainWithAnAnchorIfTheKernelTookOnlyItsFirstEvent) {
  for (const int error : {EINVAL, ENODEV, ESRCH}) {
    int opened = 0;
    kernel.before = [&](KernelCall call, int) {
      // The second event of the first thread, after two clocks and the first event.
      return call == KernelCall::open && ++opened == 4 ? -error : 0;
    };
    std::optional<VectorFault> fault;
    const std::array events{EventSetup{fake_event(1)}, EventSetup{fake_event(2)}};
    CounterSession one = session_over(kAlone, kernel);
    ASSERT_TRUE(one.program(events));
    const std::size_t first = kernel.opened.size();
    const auto loaded = one.load(CounterTarget::process({kTask, 7}), &fault);
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_FALSE(fault);
    EXPECT_EQ(opened, kOpensOfTwoThreads + 4)
        << "whether the thread has ended, the anchor, and the group of two again";
    // What was refused is not in this list.
    const FakeCounters::Event& anchor = kernel.opened.at(first + 4);
    EXPECT_EQ(anchor.task, kTask);
    EXPECT_EQ(anchor.attr.base.inherit, 0);
    EXPECT_EQ(kernel.events.size(), static_cast<std::size_t>(kOpensOfTwoThreads))
        << "neither the anchor nor the first group is left open";
    kernel.before = {};
  }
}

/// Since Linux 6.15, the kernel then says ENODEV.
TEST_F(ThreadedSession, LeavesOutAThreadThatEndsBetweenTheEventsOfItsGroup) {
  for (const int error : {EINVAL, ENODEV, ESRCH}) {
    kernel.processes[kTask] = {kTask, kOther};
    int opened = 0;
    kernel.before = [&](KernelCall call, int) {
      if (call != KernelCall::open || ++opened < kOpensOfTwoThreads) return 0;
      kernel.processes[kTask] = {kTask};
      return opened == kOpensOfTwoThreads ? -error : -ESRCH;
    };
    const auto loaded = load();
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(opened, kOpensOfTwoThreads + 1) << "all but the last one stay open";
    EXPECT_EQ(open_for(kOther, 1), 0) << "closed again";
    for (const std::uint64_t config : {1, 2}) EXPECT_EQ(open_for(kTask, config), 1);
    kernel.before = {};
    ASSERT_TRUE(session.unload());
  }
}

TEST_F(ThreadedSession, IsRefusedWithTheKernelsReasonIfThatRemains) {
  kernel.before = [&](KernelCall call, int) {
    const bool member = std::ranges::any_of(
        kernel.events, [](const auto& each) { return each.second.attr.base.config == 1; });
    return call == KernelCall::open && member ? -EINVAL : 0;
  };
  std::optional<VectorFault> fault;
  const auto loaded = session.load(CounterTarget::process({kTask, 7}), &fault);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code.value(), EINVAL);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->element, 1U);
  EXPECT_EQ(kernel.open_files(), 0U);
}

TEST_F(ThreadedSession, IsLoadedAlthoughThreadsComeForEver) {
  pid_t last = kNew;
  int opened = 0;
  kernel.before = [&](KernelCall call, int) {
    if (call != KernelCall::open) return 0;
    ++opened;
    kernel.processes[kTask] = {kTask, ++last};
    return 0;
  };
  ASSERT_TRUE(load());
  EXPECT_EQ(opened, 16 * kOpensOfTwoThreads);
  EXPECT_EQ(open_for(kTask, 1), 1);
}

TEST_F(ThreadedSession, IsNotLoadedIfItsGroupsCannotBeReadInTheEnd) {
  kernel.before = [&](KernelCall call, int) { return call == KernelCall::read ? -ECHILD : 0; };
  const auto loaded = load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code.value(), EAGAIN);
  EXPECT_NE(loaded.error().message.find("process 4711: Resource temporarily unavailable (its "
                                        "threads start faster than events can be opened"),
            std::string::npos)
      << loaded.error().message;
  EXPECT_EQ(kernel.open_files(), 0U);
  EXPECT_EQ(session.state(), SessionState::unloaded);
}

TEST_F(ThreadedSession, ReadsAgainWhileAThreadIsEnding) {
  ASSERT_TRUE(load());
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 7}, {2, 8}});
  int tries = 0;
  kernel.before = [&](KernelCall call, int) {
    return call == KernelCall::read && ++tries <= 40 ? -ECHILD : 0;
  };
  std::array readings{Reading{0}, Reading{1}};
  ASSERT_TRUE(session.read(readings));
  EXPECT_EQ(readings[0].value, 7U);
  EXPECT_EQ(readings[1].value, 8U);
  kernel.before = [&](KernelCall call, int) { return call == KernelCall::read ? -ECHILD : 0; };
  const auto never = session.read(readings);
  ASSERT_FALSE(never);
  EXPECT_NE(never.error().message.find("threads of the target end too fast; read again"),
            std::string::npos)
      << never.error().message;
  // Other errors are no reason to repeat it.
  tries = 0;
  kernel.before = [&](KernelCall call, int) {
    return call == KernelCall::read && ++tries > 0 ? -EIO : 0;
  };
  EXPECT_EQ(session.read(readings).error().code.value(), EIO);
  EXPECT_EQ(tries, 2) << "of the group, and of the clock";
}

constexpr const char* kChurnTime = "20000";  // ms; the tests end it long before

/// On this machine's kernel: threads that come, or come and go, as fast as they can.
TEST(LiveThreads, OfAProcessMayStartAndEndWhileItIsLoadedAndRead) {
  for (int round = 0; round < 30; ++round) {
    const std::string churn = round % 2 == 0 ? "rising" : "churning";
    auto load = HeldChild::start({.argv = {shmif::test::in_build("tests/instruments/known_load"),
                                           churn, round % 2 == 0 ? "300" : kChurnTime}})
                    .value();
    ASSERT_TRUE(load.release());
    const std::string threads = "/proc/" + std::to_string(load.pid()) + "/task";
    ASSERT_TRUE(shmif::test::eventually([&] {
      const auto names = KernelFiles().list(threads);
      return names && names->size() > 1;
    }));
    CounterSession session(kAlone);
    const std::array events{EventSetup{fake_event(PERF_COUNT_SW_TASK_CLOCK)},
                            EventSetup{fake_event(PERF_COUNT_SW_CPU_CLOCK)}};
    ASSERT_TRUE(session.program(events));
    const auto loaded = session.load(CounterTarget::process({load.pid()}));
    ASSERT_TRUE(loaded) << churn << ": " << loaded.error().message;
    ASSERT_TRUE(session.start());
    std::uint64_t last = 0;
    for (int i = 0; i < 100; ++i) {
      std::array readings{Reading{0}, Reading{1}};
      const auto got = session.read(readings);
      ASSERT_TRUE(got) << churn << ": " << got.error().message;
      EXPECT_GE(readings[0].value, last);
      last = readings[0].value;
    }
    load.kill(SIGKILL);
  }
}

}  // namespace
}  // namespace shmif::perf::test
