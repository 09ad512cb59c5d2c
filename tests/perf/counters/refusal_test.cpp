// What people read when the kernel counts nothing: why, and what would help.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "perf/counters/errors.hpp"
#include "perf/counters/sample_format.hpp"
#include "perf/counters/session.hpp"
#include "perf/counters/stat.hpp"
#include "perf/counters/target_binding.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/perf/membw/trees.hpp"

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

TEST(Refusals, SayWhatEachErrorOfTheKernelMeans) {
  using State = Refusal::State;
  struct Row {
    int error;
    State state;
    const char* reason;
    const char* enable_with;
  };
  for (const Row& row : {
           Row{ENOENT, State::not_supported, "this machine has no such event (ENOENT)", ""},
           Row{ENODEV, State::not_supported,
               "no such device, or this machine's PMU is off (ENODEV)", ""},
           Row{EOPNOTSUPP, State::not_supported,
               "the PMU cannot do this for the event (EOPNOTSUPP)", ""},
           Row{ENOSYS, State::not_supported, "this kernel has no perf_event_open", ""},
           Row{EINVAL, State::not_supported,
               "the PMU does not take it: it may not know the event, count it only for whole CPUs, "
               "or have too few counters for the group (EINVAL)",
               ""},
           Row{EBUSY, State::failed, "another program uses the counter alone (EBUSY)",
               "end that program"},
           Row{EMFILE, State::failed, "this process has too many open files (EMFILE)", "ulimit -n"},
           Row{ENOSPC, State::failed, "all counters of this kind are taken (ENOSPC)", ""},
           Row{ESRCH, State::failed, "the target has ended (ESRCH)", ""},
           Row{ENOMEM, State::failed, "errno 12", ""},
       }) {
    const Refusal refusal = explain_refusal(row.error, event_called("cycles"));
    EXPECT_EQ(refusal.state, row.state) << row.error;
    EXPECT_EQ(refusal.reason, row.reason);
    EXPECT_EQ(refusal.enable_with, row.enable_with) << row.error;
  }
}

TEST(Refusals, NameTheSettingThatWouldPermitTheEvent) {
  const auto expect = [](const CounterEvent& event, const RefusalHints& hints,
                         const std::string& reason, const std::string& enable_with) {
    for (const int error : {EACCES, EPERM}) {
      const Refusal refusal = explain_refusal(error, event, hints);
      EXPECT_EQ(refusal.state, Refusal::State::not_permitted);
      EXPECT_EQ(refusal.reason, reason);
      EXPECT_EQ(refusal.enable_with, enable_with);
    }
  };
  const CounterEvent cycles = event_called("cycles");
  const CounterEvent tracepoint = event_called("sched:sched_switch", PERF_TYPE_TRACEPOINT, 314);
  const std::string on_cpus =
      "kernel.perf_event_paranoid does not allow this user to count everything on a CPU";
  expect(cycles, {}, "kernel.perf_event_paranoid does not allow it to this user",
         "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON");
  expect(cycles, {true, false}, "kernel.perf_event_paranoid does not allow it to this user",
         "count it in user space only, as cycles:u; or sysctl kernel.perf_event_paranoid=1, or the "
         "capability CAP_PERFMON");
  expect(cycles, {true, true}, on_cpus,
         "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON");
  expect(tracepoint, {true, true},
         "kernel.perf_event_paranoid does not allow tracepoints to this user",
         "sysctl kernel.perf_event_paranoid=-1, or the capability CAP_PERFMON");
}

TEST(Refusals, OfAForeignTaskSayAsWhomItCanBeCounted) {
  const Refusal of_root = foreign_refusal(0);
  EXPECT_EQ(of_root.state, Refusal::State::not_permitted);
  EXPECT_EQ(of_root.reason, "the process belongs to root");
  EXPECT_EQ(of_root.enable_with, "run it as root");
  const Refusal of_user = foreign_refusal(1001);
  EXPECT_EQ(of_user.state, Refusal::State::not_permitted);
  EXPECT_EQ(of_user.reason, "the process belongs to another user (uid 1001)");
  EXPECT_EQ(of_user.enable_with, "run it as that user, or as root");
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
  EXPECT_EQ(user_space_note(event_called("cycles")),
            "in user space only, as cycles:u: kernel.perf_event_paranoid does not allow more to "
            "this user (to change that: sysctl kernel.perf_event_paranoid=1, or the capability "
            "CAP_PERFMON)");
  EXPECT_EQ(user_space_source(event_called("cycles")),
            ", in user space only, as cycles:u (kernel.perf_event_paranoid)");
}

TEST(UserSpace, HasAllEventsButSwitchesAndTracepoints) {
  EXPECT_FALSE(happens_in_user_space(event_called("", PERF_TYPE_TRACEPOINT, 314)));
  for (const std::uint64_t config : {PERF_COUNT_SW_CONTEXT_SWITCHES, PERF_COUNT_SW_CPU_MIGRATIONS,
                                     PERF_COUNT_SW_CGROUP_SWITCHES}) {
    EXPECT_FALSE(happens_in_user_space(event_called("", PERF_TYPE_SOFTWARE, config))) << config;
    EXPECT_TRUE(happens_in_user_space(event_called("", PERF_TYPE_HARDWARE, config))) << config;
  }
  for (const std::uint64_t config : {PERF_COUNT_SW_TASK_CLOCK, PERF_COUNT_SW_PAGE_FAULTS}) {
    EXPECT_TRUE(happens_in_user_space(event_called("", PERF_TYPE_SOFTWARE, config))) << config;
  }
}

TEST(CounterErrors, HaveTexts) {
  const auto text = [](CounterErrc code) { return make_error_code(code).message(); };
  EXPECT_EQ(text(CounterErrc::busy), "the session is busy");
  EXPECT_EQ(text(CounterErrc::invalid), "not possible in this state");
  EXPECT_EQ(text(CounterErrc::bad_session), "no such session");
  EXPECT_STREQ(counter_error_category().name(), "shmif counters");
}

TEST(CounterTargets, SayWhatASessionCannotBeLoadedOn) {
  const auto why = [](const CounterTarget& target, bool mask) {
    const auto checked = check_target(target, mask);
    EXPECT_TRUE(checked || checked.error().code == CounterErrc::invalid);
    return checked ? std::string() : checked.error().message;
  };
  CounterTarget cpus;
  cpus.kind = CounterTarget::Kind::cpu;
  EXPECT_EQ(why(cpus, false), "cannot load the session on CPUs: none is named");
  cpus.cpus = {1};
  EXPECT_EQ(why(cpus, true), "");
  cpus.on_exec = true;
  EXPECT_EQ(why(cpus, false), "CPUs execute no program that could be waited for");
  const std::string single =
      "an event that masks the session at an overflow needs one thread or one CPU as its target, "
      "without on_exec";
  cpus.on_exec = false;
  cpus.cpus = {1, 2};
  EXPECT_EQ(why(cpus, true), single);
  EXPECT_EQ(why(cpus, false), "");
  CounterTarget thread;
  thread.kind = CounterTarget::Kind::thread;
  EXPECT_EQ(why(thread, true), "");
  thread.on_exec = true;
  EXPECT_EQ(why(thread, true), single);
  EXPECT_EQ(why(thread, false), "");
  CounterTarget process;
  process.kind = CounterTarget::Kind::process;
  EXPECT_EQ(why(process, true), single);
  EXPECT_EQ(why(process, false), "");
}

TEST(CountersCapabilities, OfATreeSayWhatItsFilesForbid) {
  const Tree tree;
  const std::string paranoid = "/proc/sys/kernel/perf_event_paranoid";
  const auto expect = [&](const std::string& name, Support state, const std::string& reason,
                          const std::string& enable_with) {
    for (const Capability& each : counters_capabilities(tree.files())) {
      if (each.name != name) continue;
      EXPECT_EQ(word_of(each.state), std::string(word_of(state))) << name;
      EXPECT_EQ(each.reason, reason) << name;
      EXPECT_EQ(each.enable_with, enable_with) << name;
      return;
    }
    ADD_FAILURE() << "no entry " << name;
  };
  const std::string permit = "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON";
  tree.put(paranoid, "x\n");
  expect("counters.software", Support::not_supported,
         tree.at(paranoid) +
             " has no number that it can have: it does not tell what the kernel "
             "permits",
         "");
  tree.put("/sys/bus/event_source/devices/cpu/type", "4\n");
  tree.put("/proc/kallsyms", "ffffffff81000000 T _stext\n");
  for (const auto& [level, text] : std::vector<std::pair<std::string, std::string>>{
           {"-1", ""}, {"0", ""}, {"1", ""}, {"2", "."}, {"3", ", or not at all"}}) {
    tree.put(paranoid, level + '\n');
    const std::string reason =
        text.empty() ? ""
                     : tree.at(paranoid) + " is " + level +
                           ": without CAP_PERFMON, in user space only (as page-faults:u)" +
                           (text == "." ? "" : text);
    for (const char* const name : {"counters.software", "counters.hardware", "counters.sampling"}) {
      expect(name, Support::supported, reason, text.empty() ? "" : permit);
    }
  }
  expect("counters.kernel_symbols", Support::supported, "", "");
  tree.put("/proc/kallsyms", "0000000000000000 T _stext\n");
  expect("counters.kernel_symbols", Support::not_permitted,
         tree.at("/proc/kallsyms") + " has zeros for addresses",
         "sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1, or root");
  tree.put("/proc/kallsyms", "0000000000000000\n");
  expect("counters.kernel_symbols", Support::not_supported,
         tree.at("/proc/kallsyms") + " is empty or has another form than \"ADDRESS TYPE NAME\"",
         "");
  tree.put("/sys/bus/event_source/devices/cpu/type", "x\n");
  expect("counters.hardware", Support::not_supported,
         tree.at("/sys/bus/event_source/devices/cpu/type") + " has no number: \"x\"", "");
  tree.remove("/sys/bus/event_source/devices/cpu");
  expect("counters.hardware", Support::not_supported,
         tree.at("/sys/bus/event_source/devices/cpu") + " is not there: no PMU of the CPU", "");
}

TEST(CountersCapabilities, OfThisMachineSayThatOnlyUserSpaceIsPermitted) {
  FakeCounters kernel;
  // What is in the kernel, too, is refused.
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 1 ? -EACCES : 0;
  };
  const auto all = counters_capabilities_by(KernelFiles(), kernel);
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all[0].name, "counters.software");
  EXPECT_EQ(word_of(all[0].state), std::string("supported"));
  EXPECT_EQ(all[0].reason,
            "in user space only (with the modifier u, as in page-faults:u), so without context "
            "switches and migrations: kernel.perf_event_paranoid is above 1");
  EXPECT_EQ(all[0].enable_with,
            "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON");
}

/// A tracepoint is in the kernel. That it can be asked for in user space, where it is not reached,
/// helps nobody.
TEST(CountersCapabilities, SayThatTracepointsAreNotPermittedWhereTheKernelIsNot) {
  Tree tree;
  tree.put("/sys/kernel/tracing/events/sched/sched_switch/id", "316\n");
  FakeCounters kernel;
  kernel.refused = PERF_TYPE_TRACEPOINT;
  for (const Capability& each : counters_capabilities_by(tree.files(), kernel)) {
    if (each.name != "counters.tracepoints") continue;
    EXPECT_EQ(word_of(each.state), std::string("not_permitted"));
    EXPECT_EQ(
        each.reason,
        "perf_event_open: kernel.perf_event_paranoid does not allow tracepoints to this user");
    EXPECT_EQ(each.enable_with,
              "sysctl kernel.perf_event_paranoid=-1, or the capability CAP_PERFMON");
  }
}

StatEvent stat_event_called(const std::string& name, std::uint64_t config, unsigned set = 0) {
  StatEvent event{name, set};
  event.event = event_called(name, PERF_TYPE_SOFTWARE, config);
  return event;
}

TEST(StatReasons, SayWhyAnEventWasNotCounted) {
  static constexpr std::array kBoth{TaskId{kTask, 7}, TaskId{kOther, 7}};
  const auto finished = [](const std::vector<StatEvent>& events, const StatOptions& options,
                           std::size_t processes, std::uint64_t ns, double share) {
    FakeCounters kernel;
    const std::span<const TaskId> targets = std::span(kBoth).first(processes);
    auto run = StatRun::start(events, targets, options, kernel);
    EXPECT_TRUE(run) << run.error().message;
    if (!run) return std::vector<StatEvent>(events.size());
    if (ns > 0) kernel.run(kTask, ns, {{1, 40}}, share);
    return run->finish().value().events;
  };
  const auto expect = [](const StatEvent& event, const std::string& state,
                         const std::string& reason) {
    EXPECT_FALSE(event.value);
    EXPECT_EQ(event.state, state);
    EXPECT_EQ(event.reason, reason);
  };
  const StatEvent one = stat_event_called("one", 1);
  expect(finished({one}, {}, 1, 0, 1)[0], "not counted",
         "the target did not run while the event was to count");
  expect(finished({one}, {}, 1, 1000, 0)[0], "not counted",
         "other events had the counters all the time");
  StatOptions first_set_only;
  first_set_only.turn = std::chrono::nanoseconds(0);
  expect(finished({one, stat_event_called("two", 2, 1)}, first_set_only, 1, 1000, 1)[1],
         "not counted", "its event set had no turn while the target ran");
  StatEvent of_cpu = stat_event_called("of a CPU", 3);
  of_cpu.event->cpus = {1};
  expect(finished({one, of_cpu}, {}, 2, 1000, 1)[1], "not supported",
         "it counts whole CPUs: give one process, not several");
  StatOptions on_another;
  on_another.cpus = {0};
  expect(finished({one, of_cpu}, on_another, 0, 0, 1)[1], "not supported",
         "it cannot be counted on the given CPUs, but on CPU 1");
}

TEST(StatReasons, DeriveTheClockOfTheCpuFromItsCycles) {
  StatResult result;
  result.elapsed_s = 4;
  result.events = {{"task-clock"}, {"cycles"}};
  result.events[0].value = 2e9;
  result.events[1].value = 5e9;
  const auto figures = derived_figures(result);
  ASSERT_EQ(figures.size(), 2U);
  EXPECT_EQ(figures[0].name, "CPUs used");
  EXPECT_EQ(figures[0].value, 0.5);
  EXPECT_EQ(figures[0].unit, "");
  EXPECT_EQ(figures[1].name, "cycles per ns");
  EXPECT_EQ(figures[1].value, 2.5);
  EXPECT_EQ(figures[1].unit, "GHz");
}

TEST(SampleFormats, HaveEachFieldOfASampleInItsPlace) {
  Sample sample;
  sample.time_ns = 11;
  sample.cpu = 2;
  sample.process = 33;
  sample.thread = 44;
  sample.ip = 0x55;
  sample.address = 0x66;
  sample.period = 77;
  const std::array<std::uint64_t, 2> chain{0x55, 0x99};
  sample.chain = chain;
  const auto text_of = [&](const std::string& name) {
    auto format = sample_formats().make(name).value();
    format->sample(sample);
    format->sample(sample);
    return format->text();
  };
  EXPECT_EQ(text_of("raw:max=1"),
            "time 11 cpu 2 process 33 thread 44 ip 0x55 address 0x66 period 77\n"
            "and 1 more, which were not kept\n");
  EXPECT_EQ(text_of("addresses"), "2 process 33 ip 0x55\n");
  EXPECT_EQ(text_of("chains"), "2 process 33 0x55 0x99\n");
  EXPECT_EQ(text_of("chains:depth=1"), "2 process 33 0x55\n");
  const std::array<std::uint64_t, 5> marked{PERF_CONTEXT_KERNEL, 0x88, PERF_CONTEXT_USER, 0x55,
                                            0x99};
  sample.chain = marked;
  EXPECT_EQ(text_of("chains:depth=2"), "2 process 33 0x88 0x55\n") << "marks are no callers";
  sample.in_kernel = true;
  EXPECT_EQ(text_of("raw:max=2").substr(0, 73),
            "time 11 cpu 2 process 33 thread 44 ip 0x55 address 0x66 period 77 kernel\n");
  EXPECT_EQ(text_of("addresses:only=user"), "");
  EXPECT_EQ(text_of("addresses:only=kernel"), "2 process 33 ip 0x55\n");
  const auto why = [](const std::string& name) {
    return sample_formats().make(name).error().message;
  };
  EXPECT_EQ(why("raw:max=100000001"),
            "sampling format \"raw\": \"max=100000001\": it must be 1 to 100000000");
  EXPECT_EQ(why("chains:depth=128"),
            "sampling format \"chains\": \"depth=128\": it must be 1 to 127");
  EXPECT_EQ(why("addresses:max=1"),
            "sampling format \"addresses\": unknown argument \"max=1\" (use only=user, "
            "only=kernel)");
  EXPECT_EQ(why("raw:only=user,only=kernel"), "sampling format \"raw\": \"only\" is given twice");
  SampleFormats own;
  const SampleFormats::Make none = [] { return std::unique_ptr<SampleFormat>(); };
  EXPECT_EQ(own.add("a:b", "", none).error().message,
            "cannot add the sampling format \"a:b\": the name must not contain a colon");
  EXPECT_EQ(own.add("", "", none).error().message,
            "cannot add the sampling format \"\": it has no name");
  ASSERT_TRUE(own.add("a", "about a", none));
  EXPECT_EQ(own.add("a", "", none).error().message,
            "cannot add the sampling format \"a\": a format of this name exists");
  EXPECT_EQ(own.names(), std::vector<std::string>{"a"});
  EXPECT_EQ(own.descriptions(), std::vector<std::string>{"about a"});
}

}  // namespace
}  // namespace shmif::perf::test
