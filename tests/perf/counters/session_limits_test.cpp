// What a session does at the limits that the kernel, the machine and the user's rights set: records
// that find no room, CPUs that go offline, pids that are used again, events that are not permitted.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include "perf/counters/sample.hpp"
#include "perf/counters/session.hpp"
#include "tests/perf/counters/fake_counters.hpp"

namespace shmif::perf::test {
namespace {

const CounterTarget kLimitedThread = CounterTarget::thread({kTask, 7});
constexpr SessionOptions kNoSwitcher{.switch_by_itself = false};

class LimitedSession : public testing::Test {
 protected:
  void program(std::vector<EventSetup> events) {
    const auto first = session.program(events);
    EXPECT_TRUE(first) << first.error().message;
  }

  FakeCounters kernel;
  CounterSession session = session_over(kNoSwitcher, kernel);
};

struct LimitedSink final : SampleSink {
  void sample(const Sample& /*sample*/) override {}
};

/// What was lost behind the last record that found room is in no record.
TEST_F(LimitedSession, CountsTheRecordsThatWereLostLast) {
  for (const bool alone : {true, false}) {
    CounterSession one = session_over(kNoSwitcher, kernel);
    const std::array sampled{EventSetup{fake_event(1), 0, {.period = 10}},
                             EventSetup{fake_event(2), 0, {.period = 10}}};
    ASSERT_TRUE(one.program(std::span(sampled).first(alone ? 1 : 2)));
    ASSERT_TRUE(one.load(kLimitedThread));
    ASSERT_TRUE(one.start());
    const int file = std::ranges::find_if(kernel.events, [](const auto& each) {
                       return each.second.attr.base.config == 1;
                     })->first;
    const auto counts = [&] {
      LimitedSink sink;
      return one.read_samples(sink).value();
    };
    EXPECT_EQ(counts().lost, 0U);
    EXPECT_FALSE(counts().lost_is_least);
    kernel.lose(1, 9);
    const std::array<std::uint64_t, 2> lost{kernel.events.at(file).id, 9};
    kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
    EXPECT_EQ(counts().lost, 9U) << "not twice";
    kernel.lose(1, 5);
    EXPECT_EQ(counts().lost, 5U) << "without a record";
    const std::array<std::uint64_t, 2> late{kernel.events.at(file).id, 5};
    kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(late)));
    EXPECT_EQ(counts().lost, 0U) << "its record comes late";
    if (!alone) {
      kernel.lose(2, 3);
      EXPECT_EQ(counts().lost, 3U);
    }
    kernel.run(kTask, 10, {{1, 4}});
    std::array readings{Reading{0}};
    ASSERT_TRUE(one.read(readings));
    EXPECT_EQ(readings[0].value, 4U);
    EXPECT_EQ(readings[0].enabled_ns, 10U);
  }
}

TEST_F(LimitedSession, SaysThatMoreMayBeLostWhereTheKernelDoesNotTell) {
  kernel.tells_lost = false;
  program({{fake_event(1), 0, {.period = 10}}});
  ASSERT_TRUE(session.load(kLimitedThread));
  ASSERT_TRUE(session.start());
  const int file = kernel.events.rbegin()->first;
  const std::array<std::uint64_t, 2> lost{kernel.events.at(file).id, 9};
  kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
  kernel.lose(1, 14);
  LimitedSink sink;
  const auto counts = session.read_samples(sink);
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->lost, 9U);
  EXPECT_TRUE(counts->lost_is_least);
}

/// A trigger needs room in its ring, and takes the oldest records out of a full one.
TEST_F(LimitedSession, CountsOnceWhatARecordToldThatMadeRoom) {
  for (const bool tells : {true, false}) {
    kernel.tells_lost = tells;
    CounterSession one = session_over({.switch_by_itself = false, .ring_pages = 1}, kernel);
    const std::array masks{EventSetup{fake_event(1), 0, {.period = 10, .mask = true}}};
    ASSERT_TRUE(one.program(masks));
    ASSERT_TRUE(one.load(kLimitedThread));
    ASSERT_TRUE(one.start());
    const int file = std::ranges::find_if(kernel.events, [](const auto& each) {
                       return !each.second.ring.empty();
                     })->first;
    const std::array<std::uint64_t, 2> lost{kernel.events.at(file).id, 9};
    kernel.lose(1, 9);
    kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
    std::uint64_t samples = 0;
    constexpr std::uint64_t kFull = 120;  // of 32 bytes each, in a page
    for (; samples < kFull; ++samples) {
      const std::array<std::uint64_t, 3> sample{kernel.events.at(file).id, 0x1000, 0};
      kernel.put(file, PERF_RECORD_SAMPLE, std::as_bytes(std::span(sample)));
    }
    EXPECT_EQ(one.state(), SessionState::masked);
    ASSERT_TRUE(one.restart());
    LimitedSink sink;
    const auto counts = one.read_samples(sink);
    ASSERT_TRUE(counts);
    EXPECT_LT(counts->samples, kFull) << "some made room";
    EXPECT_EQ(counts->lost, 9 + kFull - counts->samples) << tells;
    EXPECT_EQ(one.read_samples(sink).value().lost, 0U);
    ASSERT_TRUE(one.stop());
  }
}

TEST_F(LimitedSession, OfNoSampledEventLosesNothing) {
  kernel.tells_lost = false;
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(kLimitedThread));
  LimitedSink sink;
  EXPECT_FALSE(session.read_samples(sink).value().lost_is_least);
}

TEST_F(LimitedSession, TakesAnotherRefusalOfASampledEventForWhatItIs) {
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth > 1 ? -EINVAL : 0;
  };
  program({{fake_event(1), 0, {.period = 10}}});
  std::optional<VectorFault> fault;
  EXPECT_FALSE(session.load(kLimitedThread, &fault));
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->number, EINVAL);
  kernel.before = {};
  ASSERT_TRUE(session.load(kLimitedThread));
  LimitedSink sink;
  EXPECT_FALSE(session.read_samples(sink).value().lost_is_least);
}

TEST_F(LimitedSession, SaysThatDescriptorsAreWantingAndNotThatTheProcessHasEnded) {
  program({{fake_event(1)}});
  kernel.unreadable = EMFILE;
  const auto loaded = session.load(kLimitedThread);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, std::errc::too_many_files_open);
  EXPECT_EQ(loaded.error().message,
            "cannot load the session on thread 4711: Too many open files (allow this program more "
            "open files: ulimit -n 1024)");
  kernel.unreadable = ENOENT;
  EXPECT_EQ(session.load(kLimitedThread).error().code, std::errc::no_such_process);
}

TEST_F(LimitedSession, SaysThatTheProcessBelongsToAnotherUser) {
  program({{fake_event(1)}});
  kernel.owners[kTask] = 1000;
  kernel.before = [&](KernelCall call, int /*nth*/) {
    return call == KernelCall::open ? -EACCES : 0;
  };
  std::optional<VectorFault> fault;
  const auto loaded = session.load(kLimitedThread, &fault);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("the process belongs to another user (uid 1000)"),
            std::string::npos)
      << loaded.error().message;
  const Refusal refusal = foreign_refusal(1000);
  EXPECT_EQ(refusal.state, Refusal::State::not_permitted);
  EXPECT_EQ(refusal.enable_with, "run it as that user, or as root");
}

TEST_F(LimitedSession, RefusesAPidThatIsAnotherProcesssByTheTimeItIsHeld) {
  program({{fake_event(1)}});
  // The number is named while one process has it; when its descriptor is opened, that has ended and
  // another one has the number.
  kernel.before = [&](KernelCall call, int /*nth*/) {
    if (call == KernelCall::open_task) kernel.started[kTask] = 4000;
    return 0;
  };
  const auto loaded = session.load(CounterTarget::process({kTask, 7}));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().message,
            "cannot load the session on process 4711: No such process (its number is another one's "
            "now)");
  EXPECT_EQ(kernel.open_files(), 0U) << "nothing counts on the other one";
  EXPECT_TRUE(session.load(CounterTarget::process({kTask, 4000})));
}

TEST_F(LimitedSession, SaysThatACpuIsOffline) {
  kernel.online = {0, 2};
  program({{fake_event(1)}});
  std::optional<VectorFault> fault;
  EXPECT_EQ(session.load(CounterTarget::cpu({0, 1}), &fault).error().message,
            "cannot load the session on CPU 1: No such device (CPU 1 is offline)");
  EXPECT_EQ(kernel.open_files(), 0U);
  CounterEvent of_device = fake_event(3);
  of_device.cpus = {1};
  const std::array setup{EventSetup{of_device}};
  CounterSession one = session_over(kNoSwitcher, kernel);
  ASSERT_TRUE(one.program(setup));
  EXPECT_FALSE(one.load(CounterTarget::process({kTask, 7}), &fault));
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->refusal.reason, "CPU 1 is offline");
  EXPECT_EQ(fault->refusal.enable_with, "echo 1 > /sys/devices/system/cpu/cpu1/online");
}

TEST_F(LimitedSession, SamplesAProcessOnTheOtherCpusWhenOneGoesOfflineMeanwhile) {
  program({{fake_event(1), 0, {.period = 10}}});
  kernel.before = [&](KernelCall call, int nth) {
    if (call == KernelCall::open && nth == 2) kernel.online = {0};
    return 0;
  };
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  ASSERT_TRUE(session.start());
  kernel.overflow(1);
  LimitedSink sink;
  EXPECT_EQ(session.read_samples(sink).value().samples, 1U);
}

TEST_F(LimitedSession, RecommendsUserSpaceWhereThatIsPermitted) {
  const auto refusal = [&](const std::string& name, std::uint64_t config, bool there = true) {
    FakeCounters fresh;
    fresh.before = [there](KernelCall call, int nth) {
      return call == KernelCall::open && (nth == 2 || (nth > 2 && !there)) ? -EACCES : 0;
    };
    CounterSession one = session_over(kNoSwitcher, fresh);
    CounterEvent event = fake_event(config);
    event.name = name;
    const std::array setup{EventSetup{event}};
    EXPECT_TRUE(one.program(setup));
    std::optional<VectorFault> fault;
    EXPECT_FALSE(one.load(kLimitedThread, &fault));
    EXPECT_EQ(fresh.open_files(), 0U);
    return fault ? fault->refusal.enable_with : "";
  };
  const std::string sysctl = "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON";
  const std::string instead = "count it in user space only, as ";
  EXPECT_EQ(refusal("task-clock", PERF_COUNT_SW_TASK_CLOCK),
            "count it as task-clock:u; or " + sysctl);
  EXPECT_EQ(refusal("cpu/cycles/", PERF_COUNT_SW_PAGE_FAULTS),
            instead + "cpu/cycles/u; or " + sysctl);
  EXPECT_EQ(refusal("cycles:pp", PERF_COUNT_SW_PAGE_FAULTS), instead + "cycles:ppu; or " + sysctl);
  EXPECT_EQ(refusal("perf::CYCLES", PERF_COUNT_SW_PAGE_FAULTS),
            instead + "perf::CYCLES:u; or " + sysctl);
  EXPECT_EQ(refusal("task-clock", PERF_COUNT_SW_TASK_CLOCK, false), sysctl)
      << "not permitted there either";
  EXPECT_EQ(refusal("context-switches", PERF_COUNT_SW_CONTEXT_SWITCHES), sysctl)
      << "there are none in user space";
}

TEST_F(LimitedSession, CountsWhatIsLostFromEachLoadOn) {
  program({{fake_event(1), 0, {.period = 10}}});
  for (const std::uint64_t lost : {9U, 4U}) {
    ASSERT_TRUE(session.load(kLimitedThread));
    ASSERT_TRUE(session.start());
    kernel.lose(1, lost);
    LimitedSink sink;
    EXPECT_EQ(session.read_samples(sink).value().lost, lost);
    ASSERT_TRUE(session.unload());
  }
}

/// The kernel locks only so much memory for the rings of a user.
TEST_F(LimitedSession, HasOneRingForAllThreadsOfAProcessOnACpu) {
  kernel.processes[kTask] = {kTask, kOther};
  program({{fake_event(1), 0, {.period = 10}}, {fake_event(2), 0, {.period = 10}}});
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  std::map<int, int> rings_on;
  for (const auto& [file, event] : kernel.events) rings_on[event.cpu] += event.ring.empty() ? 0 : 1;
  EXPECT_EQ(rings_on, (std::map<int, int>{{-1, 0}, {0, 1}, {1, 1}}));
  for (const auto& [file, event] : kernel.events) {
    if (event.output < 0) continue;
    EXPECT_EQ(kernel.events.at(event.output).cpu, event.cpu);
  }
}

TEST_F(LimitedSession, CountsAnEventOfADeviceOnlyOnTheCpusOfItsTarget) {
  CounterEvent of_device = fake_event(3);
  of_device.cpus = {0, 1};
  program({{of_device}});
  ASSERT_TRUE(session.load(CounterTarget::cpu({1})));
  for (const auto& [file, event] : kernel.events) EXPECT_EQ(event.cpu, 1);
  ASSERT_TRUE(session.unload());
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})))
      << "of a process, on all of its own";
  std::vector<int> cpus;
  for (const auto& [file, event] : kernel.events) {
    if (event.attr.base.config == 3) cpus.push_back(event.cpu);
  }
  EXPECT_EQ(cpus, (std::vector<int>{0, 1}));
}

TEST_F(LimitedSession, HasAClockThatRunsInTheChildrenOfAProcessToo) {
  for (const bool process : {true, false}) {
    ASSERT_TRUE(session.load(process ? CounterTarget::process({kTask, 7}) : kLimitedThread));
    EXPECT_EQ(kernel.event_of(PERF_COUNT_SW_DUMMY)->attr.base.inherit, process ? 1U : 0U);
    ASSERT_TRUE(session.unload());
  }
}

TEST_F(LimitedSession, KeepsThePeriodsOfAllThreadsIfOneCannotChange) {
  kernel.processes[kTask] = {kTask, kOther};
  program({{fake_event(1), 0, {.period = 10}}});
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  kernel.before = [asked = 0](KernelCall call, int /*nth*/) mutable {
    return call == KernelCall::control && ++asked == 3 ? -EINVAL : 0;
  };
  EXPECT_FALSE(session.set_values(std::array{ValueSetup{0, {}, 11}}));
  for (const auto& [file, event] : kernel.events) {
    if (event.attr.base.config != 1) continue;
    EXPECT_EQ(event.period, 10U);
  }
}

}  // namespace
}  // namespace shmif::perf::test
