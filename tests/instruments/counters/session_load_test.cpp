// Loading a session on a scripted kernel, which refuses, runs out of room, or lets the target end.

#include <linux/perf_event.h>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <thread>

#include "instruments/watch/held_child.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "tests/instruments/counters/session_rig.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::test {
namespace {

TEST_F(ScriptedSession, OpensAllOrNothingWhicheverCallOfTheKernelFails) {
  kernel.processes[kTask] = {kTask, kOther};
  int failed = 0;
  for (const KernelCall call :
       {KernelCall::open_task, KernelCall::open, KernelCall::control, KernelCall::map}) {
    for (const int error : {EMFILE, EACCES, EBUSY, ENODEV}) {
      for (int nth = 1;; ++nth) {
        FakeCounters fresh;
        fresh.processes = kernel.processes;
        fresh.before = [&](KernelCall asked, int number) {
          // A process is opened again where a thread that starts could be the reason (C6).
          const bool fails = error == ENODEV ? number >= nth : number == nth;
          return asked == call && fails ? -error : 0;
        };
        CounterSession one = session_over({.switch_by_itself = false}, fresh);
        const std::array setup{EventSetup{fake_event(1)},
                               EventSetup{fake_event(2), 0, {.period = 10}},
                               EventSetup{fake_event(3)}};
        ASSERT_TRUE(one.program(setup));
        fault.reset();
        const auto loaded = one.load(CounterTarget::process({kTask, 7}), &fault);
        if (loaded) break;  // there are fewer calls
        ++failed;
        EXPECT_EQ(loaded.error().code, std::error_code(error, std::generic_category()));
        EXPECT_EQ(fresh.open_files(), 0U);
        EXPECT_EQ(one.state(), SessionState::unloaded);
        if (fault) {
          EXPECT_EQ(fault->number, error);
        }
        fresh.before = {};
        EXPECT_TRUE(one.load(CounterTarget::process({kTask, 7}))) << "it can be tried again";
      }
    }
  }
  // One for the task; the clocks of two threads and three events on two CPUs each; their numbers,
  // and the rings that the second thread shares with the first; two rings.
  EXPECT_EQ(failed, 4 * (1 + (2 + 12) + (12 + 2) + 2));
}

TEST_F(ScriptedSession, TakesASmallerRingWhereItsUserMayLockNoMoreMemory) {
  for (const int denied : {0, 1, 3, 100}) {
    FakeCounters fresh;
    int asked = 0;
    fresh.before = [&](KernelCall call, int) {
      return call == KernelCall::map && ++asked <= denied ? -EPERM : 0;
    };
    CounterSession one = session_over({.ring_pages = 64}, fresh);
    ASSERT_TRUE(one.program(std::array{EventSetup{fake_event(1), 0, {.period = 10}}}));
    const auto loaded = one.load(CounterTarget::process({kTask, 7}));
    if (denied < 100) {
      EXPECT_TRUE(loaded) << denied;
      ASSERT_TRUE(one.unload());
      EXPECT_EQ(fresh.open_files(), 0U) << "all of the ring is given back";
      continue;
    }
    ASSERT_FALSE(loaded);
    EXPECT_EQ(asked, 7) << "64 pages, 32, and so on down to one";
    EXPECT_EQ(loaded.error().code, Errc::not_supported);
    expect_words(loaded.error().message, {"kernel.perf_event_mlock_kb"});
    EXPECT_EQ(fresh.open_files(), 0U);
  }
}

struct Refused {
  std::optional<uid_t> owner;
  CounterTarget target;
  int error, nth;  ///< of the calls that open: the clock, and the events
  std::vector<std::string> words;
  std::optional<std::size_t> element;  ///< none: no event was refused
  std::string remedy;
};

TEST_F(ScriptedSession, SaysWhatTheKernelRefusedAndWhatWouldHelp) {
  program({{fake_event(1), 0, {.period = 10}}, {fake_event(2)}});
  const CounterTarget cpu = CounterTarget::cpu({1});
  const char* const of_task = "kernel.perf_event_paranoid=1";
  const char* const of_cpu = "kernel.perf_event_paranoid=0";
  for (const Refused& each : std::vector<Refused>{
           {{}, thread, EACCES, 1, {"thread 4711", "perf_event_paranoid"}, {}, ""},
           {{}, CounterTarget::cpu({0, 1}), EACCES, 2, {"CPU 1", "everything on a CPU"}, {}, ""},
           {0, thread, EACCES, 1, {"thread 4711", "belongs to root"}, {}, ""},
           {0, thread, EBUSY, 1, {"another program"}, {}, ""},
           {{}, CounterTarget::cpu({0}), ENODEV, 1, {"CPU 0", "No such device"}, {}, ""},
           {{}, process, ESRCH, 1, {"thread 4711", "the target has ended"}, {}, ""},
           {{}, thread, EACCES, 3, {"thread 4711", "element 1, \"event2\""}, 1, of_task},
           {{}, process, EBUSY, 4, {"CPU 1", "event1"}, 0, "end that program"},
           {{}, cpu, ENOENT, 2, {"CPU 1", "element 0, \"event1\"", "no such event"}, 0, ""},
           {1000,
            thread,
            EPERM,
            3,
            {"another user (uid 1000)"},
            1,
            "run it as that user, or as root"},
           {{}, cpu, EACCES, 2, {"event1"}, 0, of_cpu}}) {
    kernel.owners.clear();
    if (each.owner) kernel.owners[kTask] = *each.owner;
    refuse(KernelCall::open, each.error, each.nth);
    expect_words(why(each.target), each.words);
    ASSERT_EQ(fault.has_value(), each.element.has_value()) << each.words[0];
    if (!fault) continue;
    EXPECT_EQ(fault->element, each.element);
    EXPECT_EQ(fault->number, each.error);
    expect_words(fault->refusal.enable_with, {each.remedy});
  }
}

TEST_F(ScriptedSession, RecommendsUserSpaceWhereThatIsPermitted) {
  struct Case {
    std::uint64_t config;
    bool is_user, is_permitted, recommends;
  };
  for (const Case& each : {Case{PERF_COUNT_SW_TASK_CLOCK, false, true, true},
                           {PERF_COUNT_SW_TASK_CLOCK, false, false, false},
                           {PERF_COUNT_SW_TASK_CLOCK, true, true, false},
                           {PERF_COUNT_SW_CONTEXT_SWITCHES, false, true, false}}) {
    CounterSession one = session_over({.switch_by_itself = false}, kernel);
    kernel.before = [&each, asked = 0](KernelCall call, int /*nth*/) mutable {
      if (call != KernelCall::open) return 0;
      return ++asked == 2 || (asked > 2 && !each.is_permitted) ? -EACCES : 0;
    };
    CounterEvent event = fake_event(each.config);
    event.exclude_kernel = each.is_user;
    ASSERT_TRUE(one.program(std::array{EventSetup{event}}));
    kernel.opened.clear();
    EXPECT_FALSE(one.load(thread, &fault));
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->refusal.enable_with.find("in user space") != std::string::npos ||
                  fault->refusal.enable_with.find(":u") != std::string::npos,
              each.recommends)
        << fault->refusal.enable_with;
    expect_words(fault->refusal.enable_with, {"kernel.perf_event_paranoid=1"});
    EXPECT_EQ(kernel.open_files(), 0U);
    if (!each.recommends) continue;
    const FakeCounters::Event& asked = kernel.opened.at(1);
    EXPECT_EQ(asked.attr.base.exclude_kernel, 1U);
    EXPECT_EQ(asked.attr.base.exclude_hv, 1U);
    EXPECT_EQ(asked.attr.base.disabled, 1U);
    EXPECT_EQ(asked.task, kTask);
  }
}

TEST_F(ScriptedSession, LoadsOnlyOnTheTaskThatWasMeantAlsoIfTheTaskGoesMeanwhile) {
  program({{fake_event(1)}});
  kernel.started[kTask] = 8;
  expect_words(why(thread), {"thread 4711", "number is another one's"});
  kernel.started[kTask] = 7;
  // It ends between the last look and the end of the call.
  kernel.before = [&](KernelCall call, int nth) {
    if (call == KernelCall::control && nth == 1) kernel.end(kTask);
    return 0;
  };
  const auto late = session.load(thread);
  ASSERT_FALSE(late);
  expect_words(late.error().message, {"task 4711", "it has just ended"});
  EXPECT_EQ(kernel.open_files(), 0U);
  EXPECT_EQ(session.load(thread).error().code, std::error_code(ESRCH, std::generic_category()));
}

TEST_F(ScriptedSession, RefusesAPidThatIsAnotherProcesssByTheTimeItIsHeld) {
  program({{fake_event(1)}});
  // The number is named while one process has it; when its descriptor is opened, that has ended and
  // another one has the number.
  kernel.before = [&](KernelCall call, int /*nth*/) {
    if (call == KernelCall::open_task) kernel.started[kTask] = 4000;
    return 0;
  };
  const auto loaded = session.load(CounterTarget::process({kTask, 7}));
  ASSERT_FALSE(loaded);
  expect_words(loaded.error().message, {"process 4711", "number is another one's"});
  EXPECT_EQ(kernel.open_files(), 0U) << "nothing counts on the other one";
  EXPECT_TRUE(session.load(CounterTarget::process({kTask, 4000})));
}

TEST_F(ScriptedSession, SaysWhatIsWrongWithADescriptorOfTheTask) {
  program({{fake_event(1)}});
  for (const int error : {EINVAL, ENOSYS}) {  // an old kernel
    refuse(KernelCall::open_task, error, 0);
    EXPECT_EQ(why(thread), "") << error;
    EXPECT_TRUE(session.unload());
  }
  refuse(KernelCall::open_task, EMFILE, 0);
  expect_words(why(process), {"process 4711", "Too many open files", "ulimit -n"});
  refuse(KernelCall::open_task, ESRCH, 0);
  expect_words(why(thread), {"thread 4711", "No such process"});
  kernel.before = {};
  kernel.unreadable = EMFILE;
  expect_words(why(thread), {"Too many open files", "ulimit -n"});
  kernel.unreadable = ENOENT;
  expect_words(why(thread), {"No such process"});
  kernel.unreadable = 0;
  kernel.processes[kTask] = {};
  expect_words(why(process), {"process 4711", "No such process"});
}

TEST_F(ScriptedSession, LeavesOutAThreadThatHasEndedAndNoCpuThatIsOnline) {
  kernel.processes[kTask] = {kTask, kOther};
  program({{fake_event(1), 0, {.period = 10}}, {fake_event(2)}});
  // Two clocks; then, of each thread and CPU, both events.
  for (const int nth : {3, 5, 7, 9}) {
    refuse(KernelCall::open, ESRCH, nth);
    EXPECT_EQ(why(process), "") << nth;
    ASSERT_TRUE(session.unload());
    refuse(KernelCall::open, ENODEV, nth);
    EXPECT_NE(why(process).find("element 0, \"event1\": No such device"), std::string::npos)
        << "the CPU is online";
  }
  kernel.processes[kTask] = {kTask};
  refuse(KernelCall::open, ESRCH, 2);
  EXPECT_NE(why(process).find("No such process (the target has ended (ESRCH))"), std::string::npos);
}

TEST_F(ScriptedSession, ForgetsWhatItWasLoadedOn) {
  program({{fake_event(1)}});
  CounterTarget on_exec = process;
  on_exec.on_exec = true;
  ASSERT_TRUE(session.load(on_exec));
  ASSERT_TRUE(session.unload());
  ASSERT_TRUE(session.load(CounterTarget::cpu({0})));
  ASSERT_TRUE(session.start());
  EXPECT_TRUE(kernel.counts(1)) << "nothing is waited for";
  EXPECT_EQ(kernel.event_of(1)->attr.base.enable_on_exec, 0U);
  kernel.end(kTask);
  EXPECT_EQ(session.state(), SessionState::started) << "of a CPU";
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(session.load(process).error().code, std::errc::no_such_process);
  EXPECT_EQ(kernel.open_files(), 0U);
}

TEST_F(ScriptedSession, SaysThatACpuIsOffline) {
  kernel.online = {0, 2};
  program({{fake_event(1)}});
  expect_words(why(CounterTarget::cpu({0, 1})), {"CPU 1 is offline"});
  EXPECT_EQ(kernel.open_files(), 0U);
  CounterEvent of_device = fake_event(3);
  of_device.cpus = {1};
  const std::array setup{EventSetup{of_device}};
  CounterSession one = session_over({.switch_by_itself = false}, kernel);
  ASSERT_TRUE(one.program(setup));
  EXPECT_FALSE(one.load(CounterTarget::process({kTask, 7}), &fault));
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->refusal.reason, "CPU 1 is offline");
  EXPECT_EQ(fault->refusal.enable_with, "echo 1 > /sys/devices/system/cpu/cpu1/online");
}

TEST_F(ScriptedSession, SamplesAProcessOnTheOtherCpusWhenOneGoesOfflineMeanwhile) {
  program({{fake_event(1), 0, {.period = 10}}});
  kernel.before = [&](KernelCall call, int nth) {
    if (call == KernelCall::open && nth == 2) kernel.online = {0};
    return 0;
  };
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  ASSERT_TRUE(session.start());
  kernel.overflow(1);
  EXPECT_EQ(samples().samples, 1U);
}

/// The kernel locks only so much memory for the rings of a user.
TEST_F(ScriptedSession, HasOneRingForAllThreadsOfAProcessOnACpu) {
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

TEST_F(ScriptedSession, CountsAnEventOfADeviceOnlyOnTheCpusOfItsTarget) {
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

}  // namespace

// A session on a process whose threads come and go while its events are opened or read.

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
