// What people read when the kernel counts nothing: why, and what would help.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <cerrno>
#include <string>
#include <vector>

#include "instruments/counters/errors.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/session.hpp"
#include "instruments/counters/stat.hpp"
#include "tests/instruments/counters/session_rig.hpp"

namespace shmif::perf::test {
namespace {

CounterEvent event_called(const std::string& name, std::uint32_t type = PERF_TYPE_HARDWARE,
                          std::uint64_t config = 0) {
  CounterEvent event;
  event.name = name;
  event.type = type;
  event.config = config;
  return event;
}

TEST(Refusals, NameTheSettingThatWouldPermitTheEvent) {
  const CounterEvent cycles = event_called("cycles");
  const CounterEvent tracepoint = event_called("sched:sched_switch", PERF_TYPE_TRACEPOINT, 314);
  struct Case {
    const CounterEvent& event;
    RefusalHints hints;
    const char *reason, *enable_with;
  };
  for (const Case& each :
       {Case{cycles, {}, "does not allow it to this user", "sysctl kernel.perf_event_paranoid=1"},
        {cycles, {true, false}, "to this user", "in user space only, as cycles:u; or sysctl"},
        {cycles, {true, true}, "everything on a CPU", "sysctl kernel.perf_event_paranoid=0"},
        {tracepoint, {true, true}, "tracepoints", "sysctl kernel.perf_event_paranoid=-1"}}) {
    for (const int error : {EACCES, EPERM}) {
      const Refusal refusal = explain_refusal(error, each.event, each.hints);
      EXPECT_EQ(refusal.state, Refusal::State::not_permitted);
      expect_words(refusal.reason, {"kernel.perf_event_paranoid", each.reason});
      expect_words(refusal.enable_with, {each.enable_with, "CAP_PERFMON"});
    }
  }
}

TEST(UserSpace, IsAskedForByTheModifierThatTheNameCanHave) {
  for (const auto& [name, in_user_space] : std::vector<std::pair<std::string, std::string>>{
           {"cycles", "cycles:u"},
           {"cycles:k", "cycles:ku"},
           {"cycles:ukhGHp", "cycles:ukhGHpu"},
           {"sched:sched_switch", "sched:sched_switch:u"},
           {"a:b:pp", "a:b:ppu"},
           {"a:", "a::u"},
           {"cpu/event=1/", "cpu/event=1/u"},
           {"cpu/event=1/k", "cpu/event=1/ku"}}) {
    EXPECT_EQ(user_space_name(event_called(name)), in_user_space);
  }
  expect_words(user_space_note(event_called("cycles")),
               {"in user space only", "cycles:u", "kernel.perf_event_paranoid=1"});
}

TEST(CounterTargets, SayWhatASessionCannotBeLoadedOn) {
  const auto why = [](const CounterTarget& target, bool mask) {
    const auto checked = check_target(target, mask);
    EXPECT_TRUE(checked || checked.error().code == CounterErrc::invalid);
    return checked ? std::string() : checked.error().message;
  };
  const auto words = [&why](const CounterTarget& target, bool mask, const char* expected) {
    expect_words(why(target, mask), {expected});
    EXPECT_EQ(why(target, mask).empty(), *expected == 0) << why(target, mask);
  };
  const char* const single = "needs one thread or one CPU";
  words(CounterTarget::cpu({}), false, "none is named");
  words(CounterTarget::cpu({1}), true, "");
  words(CounterTarget::cpu({1, 2}), true, single);
  words(CounterTarget::cpu({1, 2}), false, "");
  CounterTarget cpu = CounterTarget::cpu({1});
  cpu.on_exec = true;
  words(cpu, false, "execute no program");
  CounterTarget thread = CounterTarget::thread({});
  words(thread, true, "");
  thread.on_exec = true;
  words(thread, true, single);
  words(thread, false, "");
  words(CounterTarget::process({}), true, single);
  words(CounterTarget::process({}), false, "");
}

}  // namespace
}  // namespace shmif::perf::test
