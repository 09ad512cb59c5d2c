// What can be counted: on a scripted kernel, and on the tree of another machine.

#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "instruments/counters/stat.hpp"
#include "tests/instruments/counters/session_rig.hpp"
#include "tests/instruments/membw/as_nobody.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

Capability named_in(const std::vector<Capability>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &Capability::name);
  EXPECT_NE(found, all.end()) << name;
  return found == all.end() ? Capability{} : *found;
}

/// What the machine does not have is not asked for in user space.
TEST(CountersCapabilities, ThatTheMachineLacksAreNotThoseOfUserSpace) {
  const Tree tree;
  for (const int error : {ENOENT, EACCES}) {
    FakeCounters kernel;
    kernel.before = [error](KernelCall call, int nth) {
      return call == KernelCall::open && nth == 2 ? -error : 0;  // behind the session's clock
    };
    const Capability software =
        named_in(counters_capabilities_by(tree.files(), kernel), "counters.software");
    const bool lacks = error == ENOENT;
    EXPECT_EQ(software.state, lacks ? Support::not_supported : Support::supported);
    EXPECT_EQ(software.reason.find(lacks ? "perf_event_open: this machine has no such event"
                                         : "in user space only"),
              0U)
        << software.reason;
  }
}

/// What files say, and what is told of it: a word of the reason, and one of the remedy.
TEST(CountersCapabilities, OfATreeAreWhatItsFilesTell) {
  const Tree tree;
  for (const Capability& each : counters_capabilities(tree.files())) {
    EXPECT_EQ(each.state, Support::not_supported) << each.name;
    EXPECT_NE(each.reason, "") << each.name;
  }
  const char* const paranoid = "/proc/sys/kernel/perf_event_paranoid";
  const char* const pmu = "/sys/bus/event_source/devices/cpu/type";
  const char* const symbols = "/proc/kallsyms";
  tree.put(paranoid, "-1\n");
  tree.put("/sys/kernel/tracing/events/sched/sched_switch/id", "314\n");
  tree.put(pmu, "4\n");
  tree.put(symbols, "ffffffff81000000 T _stext\n");
  const auto all = counters_capabilities(tree.files());
  EXPECT_EQ(all.size(), 5U);
  for (const Capability& each : all) {
    EXPECT_EQ(each.state, Support::supported) << each.name << each.reason;
    EXPECT_EQ(each.reason, "") << each.name;
  }
  struct Case {
    const char *file, *text, *name;
    Support state;
    const char *reason, *remedy;
  };
  constexpr auto kYes = Support::supported, kNo = Support::not_supported;
  for (const Case& each :
       {Case{paranoid, "1\n", "software", kYes, "", ""},
        {paranoid, "2\n", "software", kYes, "in user space only", "perf_event_paranoid=1"},
        {paranoid, "2\n", "sampling", kYes, "is 2", "CAP_PERFMON"},
        {paranoid, "3\n", "hardware", kYes, "or not at all", "perf_event_paranoid=1"},
        {paranoid, "x\n", "software", kNo, "no number", ""},
        {paranoid, "", "sampling", kNo, "is empty", ""},
        {paranoid, "2 3\n", "software", kNo, "no number", ""},
        {paranoid, "99999999999\n", "software", kNo, "no number", ""},
        {paranoid, "0\n", "hardware", kYes, "", ""},
        {pmu, "x\n", "hardware", kNo, "no number", ""},
        {pmu, nullptr, "hardware", kNo, "no PMU of the CPU", ""},
        {symbols, "0000000000000000 T _stext\n", "kernel_symbols", Support::not_permitted,
         "zeros for addresses", "kernel.kptr_restrict=0 kernel.perf_event_paranoid=1, or root"},
        {symbols, "0000000000000000\n", "kernel_symbols", kNo, "another form", ""},
        {symbols, "", "kernel_symbols", kNo, "is empty", ""}}) {
    if (each.text != nullptr) tree.put(each.file, each.text);
    if (each.text == nullptr) tree.remove("/sys/bus/event_source/devices/cpu");
    const Capability found =
        named_in(counters_capabilities(tree.files()), "counters." + std::string(each.name));
    EXPECT_EQ(found.state, each.state) << each.name;
    expect_words(found.reason, {each.reason});
    expect_words(found.enable_with, {each.remedy});
    EXPECT_EQ(found.reason.empty(), *each.reason == 0) << found.reason;
  }
}

TEST(CountersCapabilities, AskForAnEventOfEachKind) {
  const Tree tree;
  tree.put("/sys/kernel/tracing/events/sched/sched_switch/id", "314\n");
  tree.put("/proc/kallsyms", "ffffffff81000000 T _stext\n");
  FakeCounters kernel;
  const auto all = counters_capabilities_by(tree.files(), kernel);
  std::string names;
  for (const Capability& each : all) names += each.name.substr(each.name.find('.') + 1) + ' ';
  EXPECT_EQ(names, "software hardware tracepoints sampling kernel_symbols ");
  std::string asked;
  for (const FakeCounters::Event& each : kernel.opened) {
    const perf_event_attr& attr = each.attr.base;
    if (attr.config == PERF_COUNT_SW_DUMMY && attr.type == PERF_TYPE_SOFTWARE) continue;  // clocks
    asked += std::to_string(attr.type) + ':' + std::to_string(attr.config) + ':' +
             std::to_string(attr.sample_period) + (attr.exclude_kernel == 0 ? "" : "u") + ' ';
    EXPECT_EQ(attr.exclude_hv, 1U);
  }
  EXPECT_EQ(asked, "1:3:0 0:0:0 2:314:0 1:0:1000000000 ")
      << "context switches, cycles, the tracepoint, and the clock each second";
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
    expect_words(each.reason, {"tracepoints"});
    EXPECT_EQ(each.enable_with,
              "sysctl kernel.perf_event_paranoid=-1, or the capability CAP_PERFMON");
  }
}

TEST(CountersCapabilities, SayThatRootMayReadTracepoints) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const Tree tree;
  const std::string id = "/sys/kernel/tracing/events/sched/sched_switch/id";
  tree.put(id, "314\n");
  ASSERT_EQ(::chmod(tree.at(id).c_str(), 0600), 0);
  EXPECT_TRUE(as_nobody(tree, [&] {
    const EventNames names{tree.files(), false};
    const auto events =
        find_stat_events(names, std::vector<std::string>{"sched:sched_switch,task-clock"});
    ASSERT_TRUE(events) << events.error().message;
    EXPECT_EQ(events->at(0).state, "not permitted");
    EXPECT_EQ(events->at(0).enable_with, "root");
    EXPECT_NE(events->at(0).reason, "");
    EXPECT_EQ(events->at(1).state, "");
    FakeCounters kernel;
    for (const Capability& each : counters_capabilities_by(tree.files(), kernel)) {
      if (each.name != "counters.tracepoints") continue;
      EXPECT_EQ(word_of(each.state), std::string("not_permitted"));
      EXPECT_EQ(each.enable_with, "root");
      EXPECT_NE(each.reason.find("sched_switch/id"), std::string::npos) << each.reason;
    }
  }));
}

}  // namespace
}  // namespace shmif::perf::test
