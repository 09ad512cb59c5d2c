// A counter session against a scripted kernel: counts, overflows, reads, and what goes wrong.

#include <linux/perf_event.h>
#include <poll.h>
#include <atomic>
#include <chrono>
#include <thread>

#include "instruments/counters/session_table.hpp"
#include "tests/instruments/counters/session_rig.hpp"

namespace shmif::perf::test {
namespace {

TEST_F(ScriptedSession, CountsBetweenStartAndStopAndKeepsItsCountsWhenItIsUnloaded) {
  program({{fake_event(1)}, {fake_event(2)}});
  ASSERT_TRUE(session.load(thread));
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
  kernel.processes[kTask] = {kTask, kOther};
  ASSERT_TRUE(session.load(process));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}}, 0.5);
  kernel.run(kOther, 20, {{1, 40}}, 0.5);
  EXPECT_EQ(read(0).value, 5U + 21U) << "of all threads and loads";
  EXPECT_EQ(read(0).enabled_ns, 40U);
  EXPECT_EQ(read(0).running_ns, 25U);
  EXPECT_EQ(session.clock_ns().value(), 40U);
  ASSERT_TRUE(session.close());
  EXPECT_EQ(kernel.open_files(), 0U);
}

TEST_F(ScriptedSession, NamesTheFirstWrongElementAndAppliesNothing) {
  program({{fake_event(1)}, {fake_event(2), 0, {.period = 10}}});
  const std::array setups{EventSetup{fake_event(3)}, EventSetup{fake_event(4), 9}};
  const auto programmed = session.program(setups);
  ASSERT_FALSE(programmed);
  EXPECT_EQ(programmed.error().code, make_error_code(CounterErrc::invalid));
  expect_words(programmed.error().message, {"element 1", "event4", "no event set 9"});
  const std::array values{ValueSetup{0, 50, {}}, ValueSetup{1, 60, 0}, ValueSetup{7, 1, {}}};
  expect_words(session.set_values(values).error().message, {"element 1", "event2", "period of 0"});
  const std::array no_period{ValueSetup{0, {}, 5}};
  expect_words(session.set_values(no_period).error().message, {"element 0", "not sampled"});
  EXPECT_EQ(read(0).value, 0U);
  std::array readings{Reading{0, 77}, Reading{2, 78}};
  expect_words(session.read(readings).error().message, {"element 1", "no event 2"});
  EXPECT_EQ(readings[0].value, 77U);
  const std::array sets{SetSetup{1}, SetSetup{2}, SetSetup{1}};
  expect_words(session.create_sets(sets).error().message, {"element 2", "twice"});
  const std::array hasty{SetSetup{1}, SetSetup{2, std::chrono::nanoseconds(-1)}};
  expect_words(session.create_sets(hasty).error().message, {"element 1", "less than no time"});
  std::array queries{SetQuery{0}, SetQuery{1}};
  expect_words(session.query_sets(queries).error().message, {"element 1", "no event set 1"});
  const std::array<unsigned, 1> zero{0};
  expect_words(session.delete_sets(zero).error().message, {"element 0", "always exists"});
  EXPECT_EQ(program({{fake_event(6)}}), 2U) << "no event was added by the call that failed";
}

TEST_F(ScriptedSession, RefusesSamplingThatCannotBe) {
  ASSERT_TRUE(session.create_sets(std::array{SetSetup{1}}));
  const Sampling masks{.period = 1, .mask = true}, switches{.period = 1, .switch_set = true};
  const auto refusal = [&](const std::vector<EventSetup>& setups) {
    const auto got = session.program(setups);
    return got ? "" : got.error().message;
  };
  for (const auto& [sampling, words] : std::vector<std::pair<Sampling, const char*>>{
           {{.period = 1, .frequency = 1}, "both a period and a frequency"},
           {{.frequency = 1, .mask = true}, "no period"},
           {{.period = 1, .mask = true, .switch_set = true}, "not both"},
           {{.period = 1, .fields = PERF_SAMPLE_REGS_USER}, "fields"}}) {
    expect_words(refusal({{fake_event(1), 0, sampling}}), {"element 0", "event1", words});
  }
  expect_words(refusal({{fake_event(1), 1, masks}, {fake_event(2)}, {fake_event(3), 1, switches}}),
               {"element 2", "masks or switches already"});
  EXPECT_EQ(refusal({{fake_event(1), 1, masks}, {fake_event(3), 0, switches}}), "");
}

TEST_F(ScriptedSession, ReadsTheCountsOfATargetThatHasEndedAndRefusesToGoOn) {
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}});
  pollfd wake{session.wake_descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&wake, 1, 0), 0);
  kernel.end(kTask);
  EXPECT_EQ(::poll(&wake, 1, 0), 1);
  // Ended comes before "loaded already", and before where the target runs.
  EXPECT_EQ(session.load(thread).error().code, make_error_code(CounterErrc::invalid));
  expect_words(session.stop().error().message, {"session is ended", "unload it"});
  EXPECT_EQ(read(0).value, 3U);
  EXPECT_TRUE(read(0).one_instant);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(session.wake_descriptor(), -1);
  EXPECT_EQ(read(0).value, 3U);
}

// The kernel adds up the overflows that it is asked for.
TEST_F(ScriptedSession, IsMaskedByOneOverflowHoweverOftenItWasStarted) {
  program({{fake_event(2), 0, {.period = 10, .mask = true}}});
  ASSERT_TRUE(session.load(thread));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(session.start());
    ASSERT_TRUE(session.stop());
  }
  ASSERT_TRUE(session.start());
  EXPECT_EQ(kernel.event_of(2)->limit, 1);
  kernel.overflow(2);
  EXPECT_FALSE(kernel.counts(2)) << "the kernel has stopped it, before anybody looks";
}

TEST_F(ScriptedSession, TakesTheOverflowsOfAllCpusForOne) {
  ASSERT_TRUE(session.create_sets(std::array{SetSetup{5}}));
  start({{fake_event(1), 0, {.period = 10, .switch_set = true}},
         {fake_event(2), 5, {.period = 10, .switch_set = true}}},
        CounterTarget::cpu({0, 1}));
  const auto turns = [&] { return std::pair(query(0).activations, query(5).activations); };
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

TEST_F(ScriptedSession, SetsAllPeriodsOrNone) {
  program({{fake_event(1), 0, {.period = 10}}, {fake_event(2), 0, {.period = 20}}});
  ASSERT_TRUE(session.load(thread));
  refuse(KernelCall::control, EINVAL, 2);
  const std::array values{ValueSetup{0, 5, 11}, ValueSetup{1, 5, 21}};
  expect_words(session.set_values(values).error().message, {"element 1", "event2"});
  EXPECT_EQ(kernel.event_of(1)->period, 10U);
  EXPECT_EQ(kernel.event_of(2)->period, 20U);
  EXPECT_EQ(read(0).value, 0U);
  ASSERT_TRUE(session.set_values(values));
  EXPECT_EQ(kernel.event_of(1)->period, 11U);
  EXPECT_EQ(kernel.event_of(2)->period, 21U);
}

TEST_F(ScriptedSession, StopsWhatItStartedIfItCannotStartAll) {
  session = session_over({.group = false, .switch_by_itself = false}, kernel);
  program({{fake_event(1)}, {fake_event(2)}});
  ASSERT_TRUE(session.load(thread));
  refuse(KernelCall::control, ENOSPC, 3);
  expect_words(session.start().error().message, {"event2", "No space left"});
  EXPECT_EQ(session.state(), SessionState::loaded);
  EXPECT_FALSE(kernel.counts(1));
  EXPECT_FALSE(kernel.counts(PERF_COUNT_SW_DUMMY));
}

TEST_F(ScriptedSession, TellsWhichValueItCouldNotReadAndGivesNone) {
  start({{fake_event(1)}, {fake_event(2)}}, thread);
  const auto failed = [&] {
    std::array readings{Reading{0, 77}};
    const auto got = session.read(readings);
    EXPECT_EQ(readings[0].value, got ? 0U : 77U);
    return got ? "" : got.error().message;
  };
  refuse(KernelCall::read, EPERM, 0);
  expect_words(failed(), {"event1", "not permitted"});
  refuse(KernelCall::read, EPERM, 2);
  expect_words(failed(), {"clock", "not permitted"});
  kernel.before = {};
  const int member = kernel.events.rbegin()->first;
  const std::uint64_t id = std::exchange(kernel.events.at(member).id, 99'999);
  expect_words(failed(), {"event1", "another event"});
  kernel.events.at(member).id = id;
  for (const ssize_t cut : {8, 55, 56}) {
    kernel.cut_reads = cut;
    expect_words(failed(), {"event1", "Input/output error"});
  }
  kernel.cut_reads = 0;
  EXPECT_EQ(failed(), "");
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

TEST_F(ScriptedSession, LetsTheThreadsGoThoughItCannotRead) {
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

TEST_F(ScriptedSession, GivesAThreadTheSignalThatCameWhileItWasToBeHeld) {
  kernel.stopped_by[kTask] = 10;
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(session.start());
  EXPECT_TRUE(read(0, true).one_instant);
  EXPECT_EQ(kernel.log, (std::vector<std::string>{"hold 4711", "release 4711 with signal 10"}));
}

TEST_F(ScriptedSession, GivesTheCountsOfATargetThatEndsWhileItIsToBeHeld) {
  program({{fake_event(1)}});
  ASSERT_TRUE(session.load(thread));
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

TEST_F(ScriptedSession, StartsAtOnceIfItWasStoppedBeforeTheExecThatItWaitedFor) {
  const std::array events{EventSetup{fake_event(1)}};
  ASSERT_TRUE(session.program(events));
  CounterTarget target = CounterTarget::process({kTask, 7});
  target.on_exec = true;
  ASSERT_TRUE(session.load(target));
  ASSERT_TRUE(session.start());
  ASSERT_TRUE(session.stop());
  kernel.run(kTask, 10, {{1, 1000}});
  EXPECT_EQ(read(0).value, 0U);
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}});
  EXPECT_EQ(read(0).value, 3U);
}

TEST_F(ScriptedSession, OfAnotherThreadIsBusyThoughItIsItsOwnProcess) {
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

// ---- Events that are added while it is loaded ----

class ChangedSession : public ScriptedSession {
 protected:
  void SetUp() override {
    program({{fake_event(1)}});
    ASSERT_TRUE(session.load(thread));
  }
};

TEST_F(ChangedSession, CountsEventsThatWereAddedWhileItWasStopped) {
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 100, {{1, 10}, {2, 1000}});
  EXPECT_EQ(session.program(std::array{EventSetup{fake_event(2)}}).error().code,
            make_error_code(CounterErrc::busy));
  ASSERT_TRUE(session.stop());
  const std::array more{EventSetup{fake_event(2)}, EventSetup{fake_event(3)}};
  const auto first = session.program(more);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, 1U);
  kernel.run(kTask, 100, {{1, 10}, {2, 1000}});
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 50, {{1, 1}, {2, 20}, {3, 30}});
  EXPECT_EQ(read(0).value, 11U);
  EXPECT_EQ(read(1).value, 20U);
  EXPECT_EQ(read(2).value, 30U);
  EXPECT_EQ(read(2).enabled_ns, 50U);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(kernel.open_files(), 0U);
  // They are programmed as the others are.
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 50, {{1, 1}, {2, 20}, {3, 30}});
  EXPECT_EQ(read(2).value, 60U);
}

TEST_F(ChangedSession, IsAsItWasIfOneOfTheEventsIsRefused) {
  const auto files = kernel.open_files();
  const Sampling mask{.period = 100, .mask = true};
  const std::array more{EventSetup{fake_event(2), 0, mask}, EventSetup{fake_event(3)}};
  int opens = 0;
  kernel.before = [&](KernelCall call, int /*nth*/) {
    return call == KernelCall::open && ++opens == 2 ? -ENOENT : 0;
  };
  const auto refused = session.program(more, &fault);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, std::error_code(ENOENT, std::generic_category()));
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->element, 2U);
  EXPECT_EQ(kernel.open_files(), files);
  kernel.before = {};
  const auto first = session.program(std::array{EventSetup{fake_event(4)}});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, 1U) << "the refused ones have no number";
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 50, {{1, 1}, {4, 40}});
  EXPECT_EQ(read(0).value, 1U);
  EXPECT_EQ(read(1).value, 40U);
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
    ASSERT_TRUE(session.load(thread));
    ASSERT_TRUE(session.start());
    ASSERT_TRUE(session.unload());
  }
  stop = true;
  readers.clear();
  EXPECT_EQ(kernel.open_files(), 0U);
}

}  // namespace

// The table of a session's life: each call in each state, as code, and as it is.

namespace {

constexpr std::uint64_t kTrigger = 40;

class Nobody final : public SampleSink {
 public:
  void sample(const Sample& /*sample*/) override {}
};

const CounterTarget kTarget = CounterTarget::thread({kTask, 7});

/// A session with an event that masks it, in this state.
void bring_to(SessionState state, CounterSession& session, FakeCounters& kernel) {
  const std::array setup{EventSetup{fake_event(kTrigger), 0, {.period = 100, .mask = true}}};
  ASSERT_TRUE(session.program(setup));
  const std::array sets{SetSetup{1}};
  ASSERT_TRUE(session.create_sets(sets));
  if (state == SessionState::closed) {
    ASSERT_TRUE(session.close());
  }
  if (state == SessionState::unloaded || state == SessionState::closed) return;
  ASSERT_TRUE(session.load(kTarget));
  if (state == SessionState::loaded) return;
  ASSERT_TRUE(session.start());
  if (state == SessionState::masked) kernel.overflow(kTrigger);
  if (state == SessionState::ended) kernel.end(kTask);
}

std::optional<std::error_code> code_of(const auto& result) {
  return result ? std::nullopt : std::optional(result.error().code);
}

std::optional<std::error_code> perform(SessionCall call, CounterSession& session) {
  Nobody nobody;
  const std::array create{SetSetup{2}};
  const std::array<unsigned, 1> remove{1};
  const std::array setup{EventSetup{fake_event(1)}};
  const std::array values{ValueSetup{0, 5, 50}};
  std::array readings{Reading{0}};
  std::array query{SetQuery{0}};
  switch (call) {
    case SessionCall::create_set: return code_of(session.create_sets(create));
    case SessionCall::delete_set: return code_of(session.delete_sets(remove));
    case SessionCall::program: return code_of(session.program(setup));
    case SessionCall::set_values: return code_of(session.set_values(values));
    case SessionCall::load: return code_of(session.load(kTarget));
    case SessionCall::start: return code_of(session.start());
    case SessionCall::stop: return code_of(session.stop());
    case SessionCall::restart: return code_of(session.restart());
    case SessionCall::switch_set: return code_of(session.switch_set());
    case SessionCall::read: return code_of(session.read(readings));
    case SessionCall::read_samples: return code_of(session.read_samples(nobody));
    case SessionCall::query_sets: return code_of(session.query_sets(query));
    case SessionCall::unload: return code_of(session.unload());
    case SessionCall::close: return code_of(session.close());
  }
  return std::nullopt;
}

TEST(SessionTable, IsWhatASessionAnswersInEachState) {
  for (std::size_t at = 0; at < kSessionStates; ++at) {
    const auto state = static_cast<SessionState>(at);
    for (const SessionRow& row : kSessionRows) {
      SCOPED_TRACE(std::string(row.name) + " while " + name_of(state));
      FakeCounters kernel;
      {
        CounterSession session = session_over({.switch_by_itself = false}, kernel);
        bring_to(state, session, kernel);
        ASSERT_EQ(session.state(), state);
        const auto code = perform(row.call, session);
        const Answer answer = row.answers[at];
        if (answer == Answer::ok) {
          EXPECT_EQ(code, std::nullopt);
          EXPECT_EQ(session.state(), row.next.value_or(state));
        } else {
          EXPECT_EQ(code, std::optional(make_error_code(
                              answer == Answer::busy ? CounterErrc::busy : CounterErrc::invalid)));
          EXPECT_EQ(session.state(), state) << "what is refused changes nothing";
        }
      }
      EXPECT_EQ(kernel.open_files(), 0U) << "all is given back";
    }
  }
}

TEST(SessionTable, MeansNothingToASessionThatWasMovedAway) {
  FakeCounters kernel;
  CounterSession session = session_over({}, kernel);
  CounterSession heir = std::move(session);
  for (const SessionRow& row : kSessionRows) {
    // NOLINTNEXTLINE(bugprone-use-after-move): what is left is a closed session
    EXPECT_EQ(perform(row.call, session), std::optional(make_error_code(CounterErrc::bad_session)))
        << row.name;
  }
  EXPECT_EQ(heir.state(), SessionState::unloaded);
}

}  // namespace

}  // namespace shmif::perf::test
