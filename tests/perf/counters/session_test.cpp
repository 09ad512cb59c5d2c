// A counter session against a scripted kernel: every error, and every race.

#include "perf/counters/session.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "perf/counters/sample.hpp"
#include "tests/perf/counters/fake_counters.hpp"

namespace shmif::perf::test {
namespace {

const CounterTarget kThread = CounterTarget::thread({kTask, 7});
constexpr SessionOptions kByHand{.switch_by_itself = false};

class ScriptedSession : public testing::Test {
 protected:
  std::size_t program(std::vector<EventSetup> events) {
    const auto first = session.program(events);
    EXPECT_TRUE(first) << first.error().message;
    return first ? *first : 0;
  }
  Reading read(std::size_t event, bool stop_target = false) {
    std::array readings{Reading{event}};
    const auto got = session.read(readings, stop_target);
    EXPECT_TRUE(got) << got.error().message;
    return readings[0];
  }

  FakeCounters kernel;
  CounterSession session = session_over(kByHand, kernel);
};

struct Gathered final : SampleSink {
  void sample(const Sample& sample) override {
    addresses.push_back(sample.ip);
    events.push_back(sample.event);
  }
  std::vector<std::uint64_t> addresses;
  std::vector<std::size_t> events;
};

TEST_F(ScriptedSession, CountsBetweenStartAndStopAndKeepsItsCountsWhenItIsUnloaded) {
  program({{fake_event(1)}, {fake_event(2)}});
  ASSERT_TRUE(session.load(kThread));
  kernel.run(kTask, 10, {{1, 1000}});
  EXPECT_EQ(read(0).value, 0U);
  EXPECT_FALSE(read(0).scaled) << "not counted is not 0";
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 5}, {2, 7}});
  EXPECT_EQ(read(0).value, 5U);
  EXPECT_EQ(read(1).value, 7U);
  EXPECT_EQ(read(1).enabled_ns, 10U);
  EXPECT_FALSE(read(1).one_instant);
  ASSERT_TRUE(session.stop());
  kernel.run(kTask, 10, {{1, 1000}});
  EXPECT_EQ(read(0).value, 5U);
  EXPECT_TRUE(read(0).one_instant);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(kernel.open_files(), 0U);
  EXPECT_EQ(read(1).value, 7U);
  EXPECT_EQ(read(1).running_ns, 10U);
  EXPECT_EQ(read(1).scaled, 7.0);

  ASSERT_TRUE(session.load(CounterTarget::thread({kOther, 7})));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 1000}});
  kernel.run(kOther, 3, {{1, 20}});
  EXPECT_EQ(read(0).value, 25U) << "it counts on, on the other target";
  EXPECT_EQ(read(0).enabled_ns, 13U);
}

TEST_F(ScriptedSession, CountsOnFromTheValueThatItIsGiven) {
  program({{fake_event(1)}});
  const std::array before{ValueSetup{0, 100, {}}};
  ASSERT_TRUE(session.set_values(before));
  EXPECT_EQ(read(0).value, 100U);
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 5}});
  ASSERT_TRUE(session.stop());
  EXPECT_EQ(read(0).value, 105U);
  const std::array again{ValueSetup{0, ~std::uint64_t{0}, {}}};
  ASSERT_TRUE(session.set_values(again));
  EXPECT_EQ(read(0).running_ns, 0U);
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 4, {{1, 3}});
  EXPECT_EQ(read(0).value, 2U) << "64 bits, and around";
  EXPECT_EQ(read(0).running_ns, 4U);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(read(0).value, 2U);
}

TEST_F(ScriptedSession, ScalesByTheTimeThatTheKernelGaveToTheEvent) {
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 1000, {{1, 400}}, 0.25);
  EXPECT_EQ(read(0).value, 100U);
  EXPECT_EQ(read(0).running_ns, 250U);
  EXPECT_EQ(read(0).enabled_ns, 1000U);
  EXPECT_EQ(read(0).scaled, 400.0);
}

TEST_F(ScriptedSession, NamesTheFirstWrongElementAndAppliesNothing) {
  program({{fake_event(1)}, {fake_event(2), 0, {.period = 10}}});
  struct Case {
    Result<void> result;
    std::string message;
  };
  const std::array setups{EventSetup{fake_event(3)}, EventSetup{fake_event(4), 9},
                          EventSetup{fake_event(5), 8}};
  const auto programmed = session.program(setups);
  ASSERT_FALSE(programmed);
  EXPECT_EQ(programmed.error().message, "element 1: \"event4\": no event set 9");
  EXPECT_EQ(programmed.error().code, make_error_code(CounterErrc::invalid));

  const std::array values{ValueSetup{0, 50, {}}, ValueSetup{1, 60, 0}, ValueSetup{7, 1, {}}};
  EXPECT_EQ(session.set_values(values).error().message,
            "element 1: \"event2\" cannot have a period of 0");
  const std::array no_period{ValueSetup{0, {}, 5}};
  EXPECT_EQ(session.set_values(no_period).error().message,
            "element 0: \"event1\" is not sampled by a period");
  EXPECT_EQ(read(0).value, 0U);

  std::array readings{Reading{0, 77}, Reading{2, 78}};
  EXPECT_EQ(session.read(readings).error().message, "element 1: no event 2");
  EXPECT_EQ(readings[0].value, 77U);

  const std::array sets{SetSetup{1}, SetSetup{2}, SetSetup{1}};
  EXPECT_EQ(session.create_sets(sets).error().message, "element 2: event set 1 is there twice");
  std::array queries{SetQuery{0}, SetQuery{1}};
  EXPECT_EQ(session.query_sets(queries).error().message, "element 1: no event set 1");
  const std::array<unsigned, 1> zero{0};
  EXPECT_EQ(session.delete_sets(zero).error().message, "element 0: event set 0 always exists");

  EXPECT_EQ(program({{fake_event(6)}}), 2U) << "no event was added by the call that failed";
}

TEST_F(ScriptedSession, TakesEmptyVectorsInEveryCall) {
  EXPECT_TRUE(session.program({}));
  EXPECT_TRUE(session.set_values({}));
  EXPECT_TRUE(session.create_sets({}));
  EXPECT_TRUE(session.delete_sets({}));
  EXPECT_TRUE(session.query_sets({}));
  EXPECT_TRUE(session.load(kThread)) << "also without events";
  EXPECT_TRUE(session.start());
  EXPECT_TRUE(session.read({}));
}

TEST_F(ScriptedSession, RefusesSamplingThatCannotBe) {
  const auto message = [&](Sampling sampling) {
    const std::array setup{EventSetup{fake_event(1), 0, sampling}};
    const auto got = session.program(setup);
    return got ? "" : got.error().message;
  };
  EXPECT_EQ(message({.period = 1, .frequency = 1}),
            "element 0: \"event1\": it has both a period and a frequency");
  EXPECT_EQ(message({.frequency = 1, .mask = true}),
            "element 0: \"event1\": it masks or switches at an overflow, and has no period");
  EXPECT_EQ(message({.period = 1, .mask = true, .switch_set = true}),
            "element 0: \"event1\": it can mask or switch sets, not both");
  EXPECT_EQ(message({.period = 1, .fields = PERF_SAMPLE_REGS_USER}),
            "element 0: \"event1\": it asks for fields that samples do not have here");
  EXPECT_EQ(message({.period = 1, .mask = true}), "");
  EXPECT_EQ(message({.period = 1, .switch_set = true}),
            "element 0: \"event1\": its set has an event that masks or switches already");
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
      continue;
    }
    ASSERT_FALSE(loaded);
    EXPECT_EQ(asked, 7) << "64 pages, 32, and so on down to one";
    EXPECT_EQ(loaded.error().code, Errc::not_supported);
    EXPECT_NE(loaded.error().message.find("raise kernel.perf_event_mlock_kb"), std::string::npos)
        << loaded.error().message;
    EXPECT_EQ(fresh.open_files(), 0U);
  }
}

TEST_F(ScriptedSession, OpensAllOrNothingWhicheverCallOfTheKernelFails) {
  kernel.processes[kTask] = {kTask, kOther};
  program({{fake_event(1)}, {fake_event(2), 0, {.period = 10}}, {fake_event(3)}});
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
        CounterSession one = session_over(kByHand, fresh);
        const std::array setup{EventSetup{fake_event(1)},
                               EventSetup{fake_event(2), 0, {.period = 10}},
                               EventSetup{fake_event(3)}};
        ASSERT_TRUE(one.program(setup));
        std::optional<VectorFault> fault;
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

TEST_F(ScriptedSession, SaysWhichEventTheKernelRefusedAndWhatWouldHelp) {
  program({{fake_event(1)}, {fake_event(2)}});
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 3 ? -EACCES : 0;
  };
  std::optional<VectorFault> fault;
  const auto loaded = session.load(kThread, &fault);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().message,
            "cannot load the session on thread 4711: element 1, \"event2\": Permission denied "
            "(kernel.perf_event_paranoid does not allow it to this user)");
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->element, 1U);
  EXPECT_EQ(fault->number, EACCES);
}

TEST_F(ScriptedSession, LoadsOnlyOnTheTaskThatWasMeantAlsoIfTheTaskGoesMeanwhile) {
  program({{fake_event(1)}});
  kernel.started[kTask] = 8;
  EXPECT_EQ(session.load(kThread).error().message,
            "cannot load the session on thread 4711: No such process (its number is another one's "
            "now)");
  kernel.started[kTask] = 7;
  // It ends between the last look and the end of the call.
  kernel.before = [&](KernelCall call, int nth) {
    if (call == KernelCall::control && nth == 1) kernel.end(kTask);
    return 0;
  };
  const auto late = session.load(kThread);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().message,
            "cannot load the session on task 4711: No such process (it has just ended)");
  EXPECT_EQ(kernel.open_files(), 0U);
  EXPECT_EQ(session.load(kThread).error().code, std::error_code(ESRCH, std::generic_category()));
}

TEST_F(ScriptedSession, LeavesOutThreadsThatEndWhileTheirProcessIsLoaded) {
  kernel.processes[kTask] = {kTask, kOther};
  program({{fake_event(1)}});
  kernel.before = [&](KernelCall call, int nth) {
    if (call == KernelCall::open && nth == 2) kernel.ended.insert(kOther);
    return 0;
  };
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}});
  EXPECT_EQ(read(0).value, 3U);
}

TEST_F(ScriptedSession, ReadsTheCountsOfATargetThatHasEndedAndRefusesToGoOn) {
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}});
  pollfd wake{session.wake_descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&wake, 1, 0), 0);
  kernel.end(kTask);
  EXPECT_EQ(::poll(&wake, 1, 0), 1);
  // Ended comes before "loaded already", and before where the target runs.
  EXPECT_EQ(session.load(kThread).error().code, make_error_code(CounterErrc::invalid));
  EXPECT_EQ(session.stop().error().message,
            "cannot stop while the session is ended (the target has ended: read the counts, and "
            "unload it)");
  EXPECT_EQ(read(0).value, 3U);
  EXPECT_TRUE(read(0).one_instant);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(session.wake_descriptor(), -1);
  EXPECT_EQ(read(0).value, 3U);
}

TEST_F(ScriptedSession, HasAWakeDescriptorThatIsClosedOnExec) {
  ASSERT_TRUE(session.load(kThread));
  EXPECT_EQ(::fcntl(session.wake_descriptor(), F_GETFD), FD_CLOEXEC);
}

TEST_F(ScriptedSession, IsMaskedByAnOverflowUntilItIsRestarted) {
  program({{fake_event(1)}, {fake_event(2), 0, {.period = 10, .mask = true}}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}});
  kernel.overflow(2, 0xabc);
  EXPECT_EQ(session.state(), SessionState::masked);
  kernel.run(kTask, 10, {{1, 1000}});
  EXPECT_EQ(read(0).value, 3U);
  Gathered gathered;
  const auto counts = session.read_samples(gathered);
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->samples, 1U);
  EXPECT_EQ(gathered.addresses, std::vector<std::uint64_t>{0xabc});
  EXPECT_EQ(gathered.events, std::vector<std::size_t>{1});
  EXPECT_EQ(session.state(), SessionState::masked) << "reading the sample is no restart";
  const std::array slower{ValueSetup{1, {}, 20}};
  ASSERT_TRUE(session.set_values(slower));
  ASSERT_TRUE(session.restart());
  EXPECT_EQ(kernel.event_of(2)->period, 20U);
  kernel.run(kTask, 10, {{1, 4}});
  EXPECT_EQ(read(0).value, 7U);
  kernel.overflow(2);
  EXPECT_EQ(session.state(), SessionState::masked) << "unread samples or not";
  ASSERT_TRUE(session.stop());
  EXPECT_EQ(session.state(), SessionState::loaded);
}

TEST_F(ScriptedSession, WakesItsReaderAtAnOverflow) {
  program({{fake_event(2), 0, {.period = 10, .mask = true}}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  pollfd wake{session.wake_descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&wake, 1, 0), 0);
  kernel.overflow(2);
  EXPECT_EQ(::poll(&wake, 1, 0), 1);
}

TEST_F(ScriptedSession, MasksOnlyOneThreadOrOneCpu) {
  program({{fake_event(2), 0, {.period = 10, .mask = true}}});
  EXPECT_FALSE(session.load(CounterTarget::process({kTask, 7})));
  EXPECT_FALSE(session.load(CounterTarget::cpu({0, 1})));
  EXPECT_EQ(kernel.open_files(), 0U);
  EXPECT_TRUE(session.load(CounterTarget::cpu({1})));
}

TEST_F(ScriptedSession, SetsAllPeriodsOrNone) {
  program({{fake_event(1), 0, {.period = 10}}, {fake_event(2), 0, {.period = 20}}});
  ASSERT_TRUE(session.load(kThread));
  int asked = 0;
  kernel.before = [&](KernelCall call, int /*nth*/) {
    return call == KernelCall::control && ++asked == 2 ? -EINVAL : 0;
  };
  const std::array values{ValueSetup{0, 5, 11}, ValueSetup{1, 5, 21}};
  EXPECT_EQ(session.set_values(values).error().message,
            "element 1: cannot set the period of \"event2\": Invalid argument");
  EXPECT_EQ(kernel.event_of(1)->period, 10U);
  EXPECT_EQ(kernel.event_of(2)->period, 20U);
  EXPECT_EQ(read(0).value, 0U);
  ASSERT_TRUE(session.set_values(values));
  EXPECT_EQ(kernel.event_of(1)->period, 11U);
  EXPECT_EQ(kernel.event_of(2)->period, 21U);
}

TEST_F(ScriptedSession, CountsLostRecordsAndPassesOverBrokenOnes) {
  program({{fake_event(1), 0, {.period = 10}}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  const int file = kernel.events.rbegin()->first;
  const std::array<std::uint64_t, 2> lost{kernel.events.at(file).id, 9};
  kernel.overflow(1, 1);
  kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
  const std::array<std::uint64_t, 1> lost_samples{4};
  kernel.put(file, PERF_RECORD_LOST_SAMPLES, std::as_bytes(std::span(lost_samples)));
  kernel.put(file, PERF_RECORD_SAMPLE, std::as_bytes(std::span(lost)));  // cut off
  kernel.overflow(1, 2);
  Gathered gathered;
  const auto counts = session.read_samples(gathered);
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->lost, 13U);
  EXPECT_EQ(counts->samples, 2U);
  EXPECT_EQ(gathered.addresses, (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(ScriptedSession, TakesNoShortReadForAValue) {
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  for (const ssize_t cut : {8, 39, 40}) {
    kernel.cut_reads = cut;
    std::array readings{Reading{0, 77}};
    const auto got = session.read(readings);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, std::error_code(EIO, std::generic_category()));
    EXPECT_EQ(readings[0].value, 77U);
  }
  kernel.cut_reads = 0;
  EXPECT_EQ(read(0).value, 0U);
}

TEST_F(ScriptedSession, StopsWhatItStartedIfItCannotStartAll) {
  session = session_over({.group = false, .switch_by_itself = false}, kernel);
  program({{fake_event(1)}, {fake_event(2)}});
  ASSERT_TRUE(session.load(kThread));
  int asked = 0;
  kernel.before = [&](KernelCall call, int /*nth*/) {
    return call == KernelCall::control && ++asked == 3 ? -ENOSPC : 0;
  };
  EXPECT_EQ(session.start().error().message, "cannot start \"event2\": No space left on device");
  EXPECT_EQ(session.state(), SessionState::loaded);
  EXPECT_FALSE(kernel.counts(1));
  EXPECT_FALSE(kernel.counts(PERF_COUNT_SW_DUMMY));
}

TEST_F(ScriptedSession, StopsTheClocksOfAllThreadsIfOneCannotStart) {
  kernel.processes[kTask] = {kTask, kOther};
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  int asked = 0;
  kernel.before = [&](KernelCall call, int /*nth*/) {
    return call == KernelCall::control && ++asked == 2 ? -ENOSPC : 0;
  };
  EXPECT_EQ(session.start().error().message,
            "cannot start the session's clock: No space left on device");
  EXPECT_EQ(session.state(), SessionState::loaded);
  for (const auto& [file, event] : kernel.events) EXPECT_FALSE(event.enabled) << event.task;
}

TEST_F(ScriptedSession, AsksTheKernelToLeaveOutWhatTheEventLeavesOut) {
  using Flag = bool CounterEvent::*;
  const std::array<Flag, 5> flags{&CounterEvent::exclude_user, &CounterEvent::exclude_kernel,
                                  &CounterEvent::exclude_hypervisor, &CounterEvent::exclude_host,
                                  &CounterEvent::exclude_guest};
  std::vector<EventSetup> setups;
  for (std::size_t i = 0; i < flags.size(); ++i) {
    EventSetup setup{fake_event(i + 1)};
    setup.event.*flags.at(i) = true;
    setups.push_back(setup);
  }
  program(setups);
  ASSERT_TRUE(session.load(kThread));
  for (std::size_t i = 0; i < flags.size(); ++i) {
    const auto* const event = kernel.event_of(i + 1);
    ASSERT_NE(event, nullptr);
    const perf_event_attr& attr = event->attr.base;
    const std::array<bool, 5> asked{attr.exclude_user != 0, attr.exclude_kernel != 0,
                                    attr.exclude_hv != 0, attr.exclude_host != 0,
                                    attr.exclude_guest != 0};
    for (std::size_t k = 0; k < asked.size(); ++k) EXPECT_EQ(asked.at(k), k == i) << i << ' ' << k;
  }
}

// The kernel adds up the overflows that it is asked for.
TEST_F(ScriptedSession, IsMaskedByOneOverflowHoweverOftenItWasStarted) {
  program({{fake_event(2), 0, {.period = 10, .mask = true}}});
  ASSERT_TRUE(session.load(kThread));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(session.start());
    ASSERT_TRUE(session.stop());
  }
  ASSERT_TRUE(session.start());
  EXPECT_EQ(kernel.event_of(2)->limit, 1);
  kernel.overflow(2);
  EXPECT_FALSE(kernel.counts(2)) << "the kernel has stopped it, before anybody looks";
}

TEST_F(ScriptedSession, HoldsAllThreadsOfItsTargetForAReadOfOneInstant) {
  kernel.processes[kTask] = {kTask};
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(CounterTarget::process({kTask, 7})));
  ASSERT_TRUE(session.start());
  kernel.before = [&](KernelCall call, int nth) {
    // The first thread starts another one before it stands.
    if (call == KernelCall::hold && nth == 1) kernel.processes[kTask] = {kTask, kOther};
    return 0;
  };
  EXPECT_TRUE(read(0, true).one_instant);
  EXPECT_EQ(kernel.log,
            (std::vector<std::string>{"hold 4711", "hold 4712", "release 4711", "release 4712"}));
  kernel.before = [&](KernelCall call, int nth) {
    return call == KernelCall::hold && nth == 4 ? -EPERM : 0;
  };
  kernel.log.clear();
  std::array readings{Reading{0}};
  EXPECT_EQ(session.read(readings, true).error().code,
            std::error_code(EPERM, std::generic_category()));
  EXPECT_EQ(kernel.log, (std::vector<std::string>{"hold 4711", "release 4711"}));
}

TEST_F(ScriptedSession, GivesAThreadTheSignalThatCameWhileItWasToBeHeld) {
  kernel.stopped_by[kTask] = 10;
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  EXPECT_TRUE(read(0, true).one_instant);
  EXPECT_EQ(kernel.log, (std::vector<std::string>{"hold 4711", "release 4711 with signal 10"}));
}

TEST_F(ScriptedSession, GivesTheCountsOfATargetThatEndsWhileItIsToBeHeld) {
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}});
  kernel.before = [&](KernelCall call, int /*nth*/) {
    if (call != KernelCall::hold) return 0;
    kernel.end(kTask);
    return -ESRCH;
  };
  EXPECT_EQ(read(0, true).value, 3U);
  EXPECT_EQ(session.state(), SessionState::ended);
}

TEST_F(ScriptedSession, LeavesTheStartToTheExecThatItWaitsFor) {
  program({{fake_event(1)}});
  CounterTarget target = CounterTarget::process({kTask, 7});
  target.on_exec = true;
  ASSERT_TRUE(session.load(target));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 1000}});
  kernel.exec(kTask);
  kernel.run(kTask, 10, {{1, 3}});
  EXPECT_EQ(read(0).value, 3U);
  EXPECT_EQ(read(0).enabled_ns, 10U);
}

TEST_F(ScriptedSession, IsClosedWhileLoadedWithoutHarmToTheTarget) {
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(kThread));
  ASSERT_TRUE(session.start());
  ASSERT_TRUE(session.close());
  EXPECT_EQ(kernel.open_files(), 0U);
  EXPECT_TRUE(kernel.log.empty());
  EXPECT_EQ(session.start().error().message,
            "cannot start while the session is closed (make another one)");
}

TEST_F(ScriptedSession, AnswersThreadsThatCallAtTheSameTimeOneAfterTheOther) {
  program({{fake_event(1)}, {fake_event(2)}});
  std::atomic<bool> stop = false;
  std::atomic<int> reads = 0;
  std::vector<std::jthread> readers;
  constexpr int kRounds = 200;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      std::array readings{Reading{0}, Reading{1}};
      while (!stop) {
        if (session.read(readings)) ++reads;
      }
    });
  }
  for (int round = 0; round < kRounds || reads < kRounds; ++round) {
    ASSERT_TRUE(session.load(kThread));
    ASSERT_TRUE(session.start());
    ASSERT_TRUE(session.unload());
  }
  stop = true;
  readers.clear();
  EXPECT_EQ(kernel.open_files(), 0U);
}

}  // namespace
}  // namespace shmif::perf::test
