// A session at its edges: what is refused on which place, what an overflow on several CPUs does,
// reads that go wrong, turns of a target that does not run, and calls of another thread.

#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "perf/counters/sample.hpp"
#include "perf/counters/session.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/support/debug_lines.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

class EdgeSession : public testing::Test {
 protected:
  void program(const std::vector<EventSetup>& events) {
    const auto first = session.program(events);
    EXPECT_TRUE(first) << first.error().message;
  }
  void start(const std::vector<EventSetup>& events, const CounterTarget& target) {
    program(events);
    const auto loaded = session.load(target);
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_TRUE(session.start());
  }
  Reading read(std::size_t event, bool stop_target = false) {
    std::array readings{Reading{event}};
    const auto got = session.read(readings, stop_target);
    EXPECT_TRUE(got) << got.error().message;
    return readings[0];
  }
  std::string why(const CounterTarget& target) {
    fault.reset();
    const auto loaded = session.load(target, &fault);
    EXPECT_EQ(kernel.open_files() == 0, !loaded.has_value());
    return loaded ? "" : loaded.error().message;
  }
  /// Fails the nth open from now on.
  void refuse(int error, int nth) {
    kernel.before = [error, nth, opens = 0](KernelCall call, int /*nth*/) mutable {
      return call == KernelCall::open && (++opens == nth || nth == 0) ? -error : 0;
    };
  }

  FakeCounters kernel;
  CounterSession session = session_over({.switch_by_itself = false}, kernel);
  const CounterTarget thread = CounterTarget::thread({kTask, 7});
  const CounterTarget process = CounterTarget::process({kTask, 7});
  std::optional<VectorFault> fault;
};

struct NoSink final : SampleSink {
  void sample(const Sample& /*sample*/) override {}
};

// ---- Loading ----

TEST_F(EdgeSession, SaysWhereTheClockWasRefusedAndWhatThatNeeds) {
  program({{fake_event(1)}});
  const std::string task = "kernel.perf_event_paranoid does not allow it to this user";
  refuse(EACCES, 1);
  EXPECT_EQ(why(thread),
            "cannot load the session on thread 4711: Permission denied (" + task + ')');
  refuse(EPERM, 1);
  EXPECT_EQ(why(process),
            "cannot load the session on thread 4711: Operation not permitted (" + task + ')');
  refuse(EACCES, 2);
  EXPECT_EQ(why(CounterTarget::cpu({0, 1})),
            "cannot load the session on CPU 1: Permission denied (kernel.perf_event_paranoid does "
            "not allow this user to count everything on a CPU)");
  EXPECT_FALSE(fault) << "it is of no event";
  kernel.owners[kTask] = 0;
  refuse(EACCES, 1);
  EXPECT_EQ(why(thread),
            "cannot load the session on thread 4711: Permission denied (the process belongs to "
            "root)");
  refuse(EBUSY, 1);
  EXPECT_EQ(why(thread),
            "cannot load the session on thread 4711: Device or resource busy (another program uses "
            "the counter alone (EBUSY))")
      << "whoever it belongs to";
  refuse(ENODEV, 1);
  EXPECT_EQ(why(CounterTarget::cpu({0})),
            "cannot load the session on CPU 0: No such device (no such device, or this machine's "
            "PMU is off (ENODEV))")
      << "the CPU is online";
  refuse(ESRCH, 1);
  EXPECT_EQ(why(process),
            "cannot load the session on thread 4711: No such process (the target has "
            "ended (ESRCH))")
      << "its only thread";
}

TEST_F(EdgeSession, SaysWhereAnEventWasRefused) {
  program({{fake_event(1), 0, {.period = 10}}, {fake_event(2)}});
  kernel.processes[kTask] = {kTask, kOther};
  // Two clocks; the first event of the first thread on CPU 0, and on CPU 1 with its member.
  refuse(EBUSY, 6);
  EXPECT_EQ(why(process),
            "cannot load the session on thread 4711, CPU 1: element 1, \"event2\": Device or "
            "resource busy (another program uses the counter alone (EBUSY))");
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->element, 1U);
  EXPECT_EQ(fault->number, EBUSY);
  EXPECT_EQ(fault->refusal.enable_with, "end that program");
  refuse(ENOENT, 2);
  EXPECT_EQ(why(CounterTarget::cpu({1})),
            "cannot load the session on CPU 1: element 0, \"event1\": No such file or directory "
            "(this machine has no such event (ENOENT))");
  kernel.owners[kTask] = 1000;
  refuse(EPERM, 3);
  why(process);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->refusal.reason, "the process belongs to another user (uid 1000)");
  refuse(EBUSY, 3);
  why(process);
  EXPECT_EQ(fault->refusal.reason, "another program uses the counter alone (EBUSY)");
  kernel.owners.clear();
  refuse(EACCES, 2);
  why(CounterTarget::cpu({1}));
  EXPECT_EQ(fault->refusal.enable_with,
            "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON");
}

TEST_F(EdgeSession, RecommendsNoUserSpaceToAnEventThatIsThereAlready) {
  CounterEvent event = fake_event(PERF_COUNT_SW_TASK_CLOCK);
  event.exclude_user = true;
  program({{event}});
  refuse(EACCES, 2);
  why(thread);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->refusal.enable_with,
            "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON");
  const std::size_t opened = kernel.opened.size();
  EXPECT_EQ(opened, 1U) << "the clock: the kernel is not asked for less";
}

TEST_F(EdgeSession, AsksForTheEventInUserSpaceAsAUserWould) {
  program({{fake_event(PERF_COUNT_SW_TASK_CLOCK)}});
  refuse(EACCES, 2);
  why(thread);
  ASSERT_EQ(kernel.opened.size(), 2U);
  const FakeCounters::Event& asked = kernel.opened[1];
  EXPECT_EQ(asked.attr.base.exclude_kernel, 1U);
  EXPECT_EQ(asked.attr.base.exclude_hv, 1U);
  EXPECT_EQ(asked.attr.base.disabled, 1U);
  EXPECT_EQ(asked.task, kTask);
  EXPECT_EQ(asked.group, -1);
}

TEST_F(EdgeSession, LeavesOutAThreadThatHasEndedAndNoCpuThatIsOnline) {
  kernel.processes[kTask] = {kTask, kOther};
  program({{fake_event(1), 0, {.period = 10}}, {fake_event(2)}});
  // Two clocks; then, of each thread and CPU, both events.
  for (const int nth : {3, 5, 7, 9}) {
    refuse(ESRCH, nth);
    EXPECT_EQ(why(process), "") << nth;
    ASSERT_TRUE(session.unload());
    refuse(ENODEV, nth);
    EXPECT_NE(why(process).find("element 0, \"event1\": No such device"), std::string::npos)
        << "the CPU is online";
  }
  kernel.processes[kTask] = {kTask};
  refuse(ESRCH, 2);
  EXPECT_NE(why(process).find("No such process (the target has ended (ESRCH))"), std::string::npos);
}

TEST_F(EdgeSession, ForgetsWhatItWasLoadedOn) {
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

TEST_F(EdgeSession, IsLoadedWithoutADescriptorOfTheTaskOnAnOldKernel) {
  for (const int error : {EINVAL, ENOSYS}) {
    CounterSession old = session_over({.switch_by_itself = false}, kernel);
    kernel.before = [error](KernelCall call, int) {
      return call == KernelCall::open_task ? -error : 0;
    };
    EXPECT_TRUE(old.load(thread)) << error;
    EXPECT_TRUE(old.unload());
    EXPECT_EQ(kernel.open_files(), 0U);
  }
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open_task ? -EMFILE : 0; };
  EXPECT_EQ(why(process),
            "cannot load the session on process 4711: Too many open files (allow this program more "
            "open files: ulimit -n 1024)");
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open_task ? -ESRCH : 0; };
  EXPECT_EQ(why(thread), "cannot load the session on thread 4711: No such process");
  kernel.before = {};
  kernel.processes[kTask] = {};
  EXPECT_EQ(why(process), "cannot load the session on process 4711: No such process");
}

TEST_F(EdgeSession, SaysWhatToDoInEachState) {
  const auto told = [](const Result<void>& done) { return done ? "" : done.error().message; };
  program({{fake_event(1), 0, {.period = 10, .mask = true}}});
  EXPECT_EQ(told(session.start()), "cannot start while the session is unloaded (load it first)");
  ASSERT_TRUE(session.load(thread));
  EXPECT_EQ(told(session.load(thread)),
            "cannot load while the session is loaded (unload it first)");
  EXPECT_EQ(told(session.restart()),
            "cannot restart while the session is loaded (start it: no overflow has stopped it)");
  ASSERT_TRUE(session.start());
  EXPECT_EQ(told(session.restart()),
            "cannot restart while the session is started (it counts: no overflow has stopped it)");
  EXPECT_EQ(told(session.delete_sets(std::array{1U})),
            "cannot delete_sets while the session is started (unload it first)");
  kernel.overflow(1);
  EXPECT_EQ(told(session.start()),
            "cannot start while the session is masked (restart or stop it first)");
  CounterSession moved = std::move(session);
  // NOLINTNEXTLINE(bugprone-use-after-move): what is left is a closed session
  EXPECT_EQ(told(session.start()), "there is no session: it was moved to another place");
  EXPECT_EQ(session.state(), SessionState::closed);
  EXPECT_EQ(session.wake_descriptor(), -1);
}

// ---- Overflows ----

TEST_F(EdgeSession, TakesTheOverflowsOfAllCpusForOne) {
  ASSERT_TRUE(session.create_sets(std::array{SetSetup{5}}));
  start({{fake_event(1), 0, {.period = 10, .switch_set = true}},
         {fake_event(2), 5, {.period = 10, .switch_set = true}}},
        CounterTarget::cpu({0, 1}));
  const auto turns = [&] {
    std::array queries{SetQuery{0}, SetQuery{5}};
    EXPECT_TRUE(session.query_sets(queries));
    return std::pair(queries[0].activations, queries[1].activations);
  };
  kernel.overflow(1);  // on both
  EXPECT_EQ(turns(), std::pair(1UL, 1UL));
  EXPECT_EQ(turns(), std::pair(1UL, 1UL));
  kernel.overflow(2);
  EXPECT_EQ(turns(), std::pair(2UL, 1UL));
  for (const auto& [file, event] : kernel.events) {
    if (event.attr.base.config == 1) {
      EXPECT_EQ(event.limit, 1) << "it stops by itself again";
      EXPECT_TRUE(event.enabled);
    }
  }
}

TEST_F(EdgeSession, IsMaskedOnAllCpusAndCountsTheTimeUntilThen) {
  start({{fake_event(1)}, {fake_event(2), 0, {.period = 10, .mask = true}}},
        CounterTarget::cpu({1}));
  kernel.run(-1, 100, {{1, 5}});
  kernel.overflow(2);
  EXPECT_EQ(session.state(), SessionState::masked);
  EXPECT_FALSE(kernel.counts(PERF_COUNT_SW_DUMMY)) << "the clock stands, too";
  std::array query{SetQuery{0}};
  ASSERT_TRUE(session.query_sets(query));
  EXPECT_EQ(query[0].active_ns, 100U);
  ASSERT_TRUE(session.restart());
  EXPECT_TRUE(kernel.counts(PERF_COUNT_SW_DUMMY));
  EXPECT_TRUE(kernel.counts(1));
  ASSERT_TRUE(session.query_sets(query));
  EXPECT_EQ(query[0].activations, 2U);
  // A restart that the kernel refuses leaves it masked.
  kernel.overflow(2);
  EXPECT_EQ(session.state(), SessionState::masked);
  kernel.before = [](KernelCall call, int) { return call == KernelCall::control ? -ENOSPC : 0; };
  EXPECT_FALSE(session.restart());
  kernel.before = {};
  EXPECT_EQ(session.state(), SessionState::masked);
}

// ---- Reading ----

TEST_F(EdgeSession, TellsWhichValueItCouldNotRead) {
  start({{fake_event(1)}, {fake_event(2)}}, thread);
  const auto failed = [&] {
    std::array readings{Reading{0, 77}};
    const auto got = session.read(readings);
    EXPECT_EQ(readings[0].value, got ? 0U : 77U);
    return got ? "" : got.error().message;
  };
  kernel.before = [](KernelCall call, int) { return call == KernelCall::read ? -EPERM : 0; };
  EXPECT_EQ(failed(), "cannot read \"event1\": Operation not permitted");
  kernel.before = [asked = 0](KernelCall call, int) mutable {
    return call == KernelCall::read && ++asked == 2 ? -EPERM : 0;
  };
  EXPECT_EQ(failed(), "cannot read the session's clock: Operation not permitted");
  kernel.before = {};
  const int member = kernel.events.rbegin()->first;
  const std::uint64_t id = std::exchange(kernel.events.at(member).id, 99'999);
  EXPECT_EQ(failed(),
            "cannot read \"event1\": Input/output error (the kernel gave the value of another "
            "event)");
  kernel.events.at(member).id = id;
  kernel.cut_reads = 8;
  EXPECT_EQ(failed(),
            "cannot read \"event1\": Input/output error (the kernel gave 48 bytes of 56)");
  kernel.cut_reads = 0;
  EXPECT_EQ(failed(), "");
}

TEST_F(EdgeSession, LetsTheThreadsGoThoughItCannotRead) {
  start({{fake_event(1)}}, thread);
  for (const int which : {1, 2}) {  // the event, or the clock
    kernel.log.clear();
    kernel.before = [which, asked = 0](KernelCall call, int) mutable {
      return call == KernelCall::read && ++asked == which ? -EIO : 0;
    };
    std::array readings{Reading{0}};
    EXPECT_FALSE(session.read(readings, true));
    EXPECT_EQ(kernel.log, (std::vector<std::string>{"hold 4711", "release 4711"})) << which;
  }
}

TEST_F(EdgeSession, HoldsNobodyWhoStandsOrReadsItself) {
  start({{fake_event(1)}}, thread);
  ASSERT_TRUE(session.stop());
  EXPECT_TRUE(read(0, true).one_instant);
  EXPECT_TRUE(kernel.log.empty()) << "its counters stand";
  CounterSession own = session_over({.switch_by_itself = false}, kernel);
  ASSERT_TRUE(own.program(std::array{EventSetup{fake_event(1)}}));
  ASSERT_TRUE(own.load(CounterTarget::thread({})));
  ASSERT_TRUE(own.start());
  std::array readings{Reading{0}};
  ASSERT_TRUE(own.read(readings, true));
  EXPECT_FALSE(readings[0].one_instant);
  EXPECT_TRUE(kernel.log.empty());
}

TEST_F(EdgeSession, ReadsOnlyTheGroupsThatAreAskedFor) {
  session = session_over({.group = false, .switch_by_itself = false}, kernel);
  start({{fake_event(1)}, {fake_event(2)}}, thread);
  kernel.run(kTask, 10, {{1, 3}, {2, 4}});
  int reads = 0;
  kernel.before = [&](KernelCall call, int) {
    reads += call == KernelCall::read ? 1 : 0;
    return 0;
  };
  EXPECT_EQ(read(1).value, 4U);
  kernel.before = {};
  EXPECT_EQ(reads, 2) << "one group, and the clock";
  std::array both{Reading{1}, Reading{0}, Reading{1}};
  ASSERT_TRUE(session.read(both));
  EXPECT_EQ(both[0].value, 4U);
  EXPECT_EQ(both[1].value, 3U);
  EXPECT_EQ(both[2].value, 4U);
}

TEST_F(EdgeSession, AddsWhatAllThreadsAndLoadsCounted) {
  kernel.processes[kTask] = {kTask, kOther};
  start({{fake_event(1)}}, process);
  kernel.run(kTask, 10, {{1, 3}}, 0.5);
  kernel.run(kOther, 20, {{1, 40}}, 0.5);
  EXPECT_EQ(session.clock_ns().value(), 30U);
  EXPECT_EQ(read(0).value, 21U);
  EXPECT_EQ(read(0).enabled_ns, 30U);
  EXPECT_EQ(read(0).running_ns, 15U);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(session.clock_ns().value(), 30U);
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 5, {{1, 2}});
  EXPECT_EQ(session.clock_ns().value(), 35U);
  EXPECT_EQ(read(0).value, 23U);
  EXPECT_EQ(read(0).running_ns, 20U);
}

TEST_F(EdgeSession, KeepsItsCountsIfTheyCannotBeReadAtTheEnd) {
  start({{fake_event(1)}}, thread);
  kernel.run(kTask, 10, {{1, 3}});
  ASSERT_TRUE(session.unload());
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 5}});
  kernel.before = [](KernelCall call, int) { return call == KernelCall::read ? -EIO : 0; };
  EXPECT_EQ(session.unload().error().code, std::errc::io_error);
  kernel.before = {};
  EXPECT_EQ(session.state(), SessionState::unloaded);
  EXPECT_EQ(kernel.open_files(), 0U);
  EXPECT_EQ(read(0).value, 3U) << "those of the load before";
  EXPECT_EQ(session.clock_ns().value(), 10U);
}

TEST_F(EdgeSession, SetsNoValueItCannotCountFrom) {
  start({{fake_event(1)}}, thread);
  kernel.run(kTask, 10, {{1, 3}});
  ASSERT_TRUE(session.stop());
  kernel.before = [](KernelCall call, int) { return call == KernelCall::read ? -EIO : 0; };
  EXPECT_EQ(session.set_values(std::array{ValueSetup{0, 100, {}}}).error().code,
            std::errc::io_error);
  EXPECT_FALSE(session.program(std::array{EventSetup{fake_event(2)}})) << "when it began";
  kernel.before = {};
  EXPECT_EQ(read(0).value, 3U);
}

TEST_F(EdgeSession, OfAnotherThreadIsBusyThoughItIsItsOwnProcess) {
  CounterSession own = session_over({.switch_by_itself = false}, kernel);
  ASSERT_TRUE(own.program(std::array{EventSetup{fake_event(1)}}));
  ASSERT_TRUE(own.load(CounterTarget::process({})));
  ASSERT_TRUE(own.start());
  EXPECT_EQ(own.set_values(std::array{ValueSetup{0, 1, {}}}).error().code,
            make_error_code(CounterErrc::busy))
      << "its other threads count";
  ASSERT_TRUE(own.unload());
  const auto may = [&] { return own.set_values(std::array{ValueSetup{0, 1, {}}}).has_value(); };
  ASSERT_TRUE(own.load(thread));
  ASSERT_TRUE(own.start());
  EXPECT_FALSE(may()) << "another one's";
  ASSERT_TRUE(own.unload());
  ASSERT_TRUE(own.load(CounterTarget::thread({})));
  EXPECT_EQ(own.state(), SessionState::loaded);
  ASSERT_TRUE(own.start());
  EXPECT_TRUE(may());
  std::thread([&] { EXPECT_FALSE(may()); }).join();
}

TEST_F(EdgeSession, TellsOfItsEventsStatesAndTurns) {
  CounterSession own = session_over({.switch_by_itself = false}, kernel);
  ASSERT_TRUE(own.create_sets(std::array{SetSetup{5}}));
  ASSERT_TRUE(own.program(std::array{EventSetup{fake_event(1)}, EventSetup{fake_event(2), 5}}));
  const std::string told = shmif::test::debug_lines_of("counters", [&] {
    ASSERT_TRUE(own.load(CounterTarget::thread({})));
    ASSERT_TRUE(own.start());
    ASSERT_TRUE(own.switch_set(5));
    ASSERT_TRUE(own.stop());
  });
  const std::string on_thread = " on thread " + std::to_string(::gettid()) + ": \"";
  EXPECT_EQ(told, "set 0" + on_thread + fake_event(1).name + "\"\nset 5" + on_thread +
                      fake_event(2).name +
                      "\"\nsession: loaded\nsession: counts\n"
                      "set 0 has had its turn, set 5 begins\nsession: stopped\n");
}

TEST_F(EdgeSession, LetsAddedEventsCountIfTheirSetDoes) {
  CounterSession own = session_over({.switch_by_itself = false}, kernel);
  ASSERT_TRUE(own.create_sets(std::array{SetSetup{5}}));
  ASSERT_TRUE(own.program(std::array{EventSetup{fake_event(1)}}));
  ASSERT_TRUE(own.load(CounterTarget::thread({})));
  ASSERT_TRUE(own.start());
  ASSERT_TRUE(own.program(std::array{EventSetup{fake_event(2), 5}}));
  EXPECT_FALSE(kernel.counts(2)) << "it is not its set's turn";
  ASSERT_TRUE(own.program(std::array{EventSetup{fake_event(3)}}));
  EXPECT_TRUE(kernel.counts(3));
  ASSERT_TRUE(own.switch_set(5));
  EXPECT_TRUE(kernel.counts(2));
  EXPECT_FALSE(kernel.counts(1) || kernel.counts(3));
  ASSERT_TRUE(own.switch_set(0));
  const auto files = kernel.open_files();
  kernel.before = [asked = 0](KernelCall call, int) mutable {
    return call == KernelCall::control && ++asked == 2 ? -ENOSPC : 0;
  };
  EXPECT_EQ(own.program(std::array{EventSetup{fake_event(4)}}).error().message,
            "cannot start \"event4\": No space left on device");
  kernel.before = {};
  EXPECT_EQ(kernel.open_files(), files);
  EXPECT_EQ(*own.program(std::array{EventSetup{fake_event(6)}}), 3U) << "the refused one is gone";
}

TEST_F(EdgeSession, WakesForAnEventThatWasAdded) {
  program({{fake_event(1), 0, {.period = 10}}});
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(
      session.program(std::array{EventSetup{fake_event(2), 0, {.period = 5, .mask = true}}}));
  ASSERT_TRUE(session.start());
  pollfd wake{session.wake_descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&wake, 1, 0), 0);
  kernel.overflow(2);
  EXPECT_EQ(::poll(&wake, 1, 0), 1);
  EXPECT_EQ(session.state(), SessionState::masked);
}

TEST_F(EdgeSession, CountsWhatSampledEventsLostAndNoOthers) {
  session = session_over({.group = false, .switch_by_itself = false}, kernel);
  start({{fake_event(1)}, {fake_event(2), 0, {.period = 10}}, {fake_event(3), 0, {.period = 10}}},
        thread);
  kernel.lose(1, 100);
  kernel.lose(2, 3);
  kernel.lose(3, 4);
  NoSink sink;
  const auto counts = session.read_samples(sink).value();
  EXPECT_EQ(counts.lost, 7U);
  EXPECT_FALSE(counts.lost_is_least);
}

// ---- Turns ----

/// Time alone gives no turn: a target that sleeps would lose that of one set.
TEST(SwitchedSession, GivesATurnToATargetOnlyWhileItRuns) {
  FakeCounters kernel;
  CounterSession session = session_over({}, kernel);
  ASSERT_TRUE(session.create_sets(std::array{SetSetup{0, std::chrono::milliseconds(1)},
                                             SetSetup{5, std::chrono::milliseconds(1)}}));
  ASSERT_TRUE(session.program(std::array{EventSetup{fake_event(1)}, EventSetup{fake_event(2), 5}}));
  ASSERT_TRUE(session.load(CounterTarget::thread({kTask, 7})));
  std::atomic<int> looks = 0;
  std::atomic<bool> runs = false;
  // Called under the lock of the session.
  kernel.looked_after = [&] {
    ++looks;
    if (runs) kernel.run(kTask, 1000);
  };
  ASSERT_TRUE(session.start());
  ASSERT_TRUE(shmif::test::eventually([&] { return looks > 10; })) << "it looks each millisecond";
  std::array queries{SetQuery{0}, SetQuery{5}};
  ASSERT_TRUE(session.query_sets(queries));
  EXPECT_EQ(queries[0].activations, 1U);
  EXPECT_EQ(queries[1].activations, 0U);
  runs = true;
  EXPECT_TRUE(shmif::test::eventually([&] {
    return session.query_sets(queries) && queries[0].activations > 3 && queries[1].activations > 3;
  }));
  ASSERT_TRUE(session.close());
  kernel.looked_after = nullptr;
}

TEST(SwitchedSession, HasNoThreadThatItDoesNotNeed) {
  for (const bool by_itself : {false, true}) {
    for (const bool two_sets : {false, true}) {
      FakeCounters kernel;
      std::atomic<int> others = 0;
      const auto own = std::this_thread::get_id();
      kernel.looked_after = [&] { others += std::this_thread::get_id() == own ? 0 : 1; };
      CounterSession session = session_over({.switch_by_itself = by_itself}, kernel);
      if (two_sets) {
        ASSERT_TRUE(session.create_sets(std::array{SetSetup{1}}));
      }
      ASSERT_TRUE(session.program(std::array{EventSetup{fake_event(1)}}));
      ASSERT_TRUE(session.load(CounterTarget::thread({kTask, 7})));
      ASSERT_TRUE(session.start());
      if (by_itself && two_sets) {
        EXPECT_TRUE(shmif::test::eventually([&] { return others > 0; }));
      }
      ASSERT_TRUE(session.close());
      EXPECT_EQ(others > 0, by_itself && two_sets);
      kernel.looked_after = nullptr;
    }
  }
}

}  // namespace
}  // namespace shmif::perf::test
