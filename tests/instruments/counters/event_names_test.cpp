// Events by name: the kernel's generic ones, those of PMUs in a recorded tree, tracepoints, and
// those that libpfm4 knows.

#include "instruments/counters/event_names.hpp"

#include <linux/perf_event.h>

#include "tests/instruments/counters/session_rig.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

class RecordedPmus : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const {
    tree.put(kPmuFolder + name, text);
  }
  void SetUp() override {
    write("cpu/type", "4\n");
    write("cpu/format/event", "config:0-7,32-35\n");
    write("cpu/format/umask", "config:8-15\n");
    write("cpu/format/edge", "config:18\n");
    write("cpu/format/ldlat", "config1:0-15\n");
    write("cpu/format/filter", "config3:4-7\n");
    write("cpu/events/cpu-cycles", "event=0x3c\n");
    write("cpu/events/mem-loads", "event=0xcd,umask=0x1,ldlat=3\n");
    write("cpu/events/mem-slow", "event=0xcd,umask=0x1,ldlat=?\n");
    write("uncore_imc_0/type", "14\n");
    write("uncore_imc_0/cpumask", "0,28\n");
    write("uncore_imc_0/format/event", "config:0-7\n");
    write("uncore_imc_0/format/umask", "config:8-15\n");
    write("uncore_imc_0/events/cas_count_read", "event=0x04,umask=0x03\n");
    write("uncore_imc_0/events/cas_count_read.scale", "6.103515625e-5\n");
    write("uncore_imc_0/events/cas_count_read.unit", "MiB\n");
    write("broken/type", "x\n");
    write("bad/type", "9\n");
    write("bad/format/event", "config:7-0\n");
    write("bad/events/empty", "");
    write("bad/events/ten", "config=10\n");
    write("bad/events/ten.scale", "much\n");
  }
  CounterEvent found(const std::string& name) const {
    const auto event = names.find(name);
    EXPECT_TRUE(event) << event.error().message;
    return event ? *event : CounterEvent{};
  }
  std::string refusal(const std::string& name) const {
    const auto event = names.find(name);
    return event ? "accepted" : event.error().message;
  }

  Tree tree;
  EventNames names{tree.files(), false};
};

TEST_F(RecordedPmus, GiveTheirEventsByTermsAndByName) {
  CounterEvent event = found("cpu/event=0x13c,umask=0x2,edge/u");
  EXPECT_EQ(event.type, 4U);
  EXPECT_EQ(event.config, 0x10004023cU);
  EXPECT_TRUE(event.exclude_kernel);
  EXPECT_EQ(event.name, "cpu/event=0x13c,umask=0x2,edge/u");
  event = found("cpu/cpu-cycles/");
  EXPECT_EQ(event.config, 0x3cU);
  EXPECT_FALSE(event.exclude_kernel);
  event = found("cpu/mem-loads/pp");
  EXPECT_EQ(event.config, 0x1cdU);
  EXPECT_EQ(event.config1, 3U);
  EXPECT_EQ(event.precise, 2);
  event = found("cpu/mem-loads,ldlat=30/");
  EXPECT_EQ(event.config1, 30U) << "what the user says goes before the file";
  event = found("cpu/ldlat=31,mem-slow/");
  EXPECT_EQ(event.config1, 31U);
  event = found("cpu/umask=4,mem-loads,ldlat=30,edge/");
  EXPECT_EQ(event.config, 0x404cdU) << "also what stands before the name of the event";
  EXPECT_EQ(event.config1, 30U);
  event = found("cpu/filter=0xf,config=1,config1=2,config2=7/");
  EXPECT_EQ(event.config3, 0xf0U);
  EXPECT_EQ(event.config, 1U);
  EXPECT_EQ(event.config1, 2U);
  EXPECT_EQ(event.config2, 7U);
  EXPECT_EQ(found("cpu//").config, 0U);
  write("cpu/format/split", "config3:32-35,0-7\n");
  EXPECT_EQ(found("cpu/split=0xab5/").config3, 0x5000000abU) << "the lowest bits come first";
}

TEST_F(RecordedPmus, CountWhereTheModifiersSay) {
  const auto excluded = [this](const std::string& modifiers) {
    const CounterEvent event = found("cycles:" + modifiers);
    std::string all;
    for (const auto& [is, letter] : {std::pair(event.exclude_user, 'u'),
                                     {event.exclude_kernel, 'k'},
                                     {event.exclude_hypervisor, 'h'},
                                     {event.exclude_guest, 'G'},
                                     {event.exclude_host, 'H'}}) {
      if (is) all += letter;
    }
    return all + std::to_string(event.precise);
  };
  for (const auto& [modifiers, wanted] : {std::pair("u", "kh0"),
                                          {"k", "uh0"},
                                          {"h", "uk0"},
                                          {"ukh", "0"},
                                          {"G", "H0"},
                                          {"H", "G0"},
                                          {"GH", "0"},
                                          {"kppp", "uh3"}}) {
    EXPECT_EQ(excluded(modifiers), wanted) << modifiers;
  }
}

/// The formats of a machine may be anything.
TEST_F(RecordedPmus, HaveNoTermsWithoutAFormatOfBits) {
  for (const char* wrong :
       {"config", "config:", "config4:0", "Config:0", "config:64", "config:0-7,", "config:0-7,7",
        "config:0-64", "config:-1", "config:0--1", "config: 0", "config:0x1", "config1"}) {
    write("bad/format/event", wrong);
    expect_words(refusal("bad/event=1/"), {"bad/format/event"});
  }
}

TEST_F(RecordedPmus, GiveScaleUnitAndTheCpusThatCount) {
  const CounterEvent event = found("uncore_imc_0/cas_count_read/");
  EXPECT_EQ(event.type, 14U);
  EXPECT_EQ(event.config, 0x304U);
  EXPECT_EQ(event.scale, 6.103515625e-5);
  EXPECT_EQ(event.unit, "MiB");
  EXPECT_EQ(event.cpus, (std::vector<int>{0, 28}));
  EXPECT_TRUE(event.source.ends_with("/sys/bus/event_source/devices/uncore_imc_0"));
}

TEST_F(RecordedPmus, SayWhatIsWrongAndInWhichFile) {
  for (const auto& [name, words] : std::map<std::string, std::vector<std::string>>{
           {"gpu/x/", {"no PMU \"gpu\"", "event_source/devices"}},
           {"../cpu/x/", {"\"..\""}},
           {"cpu/../type=1/", {"\"..\""}},
           {"cpu/nothing/", {"no term \"nothing\"", "devices/cpu/format"}},
           {"cpu/umask=256/", {"umask", "8 bits"}},
           {"cpu/umask=z/", {"umask=z", "no number"}},
           {"cpu/mem-slow/", {"mem-slow", "ldlat=1"}},
           {"cpu/ldlat=?/", {"ldlat=?", "no value"}},
           {"cpu/cpu-cycles", {"second slash"}},
           {"cpu/cpu-cycles/z", {"\"z\" are not modifiers"}},
           {"cycles:pppp", {"\"pppp\""}},
           {"broken/x/", {"devices/broken/type", "no number"}},
           {"bad/event=1/", {"bad/format/event", "7-0", "not bits"}},
           {"bad/empty/", {"bad/events/empty", "not a term"}},
           {"bad/ten/", {"ten.scale", "no number"}},
           {"cylces", {"did you mean cycles?"}},
           {"cylces:u", {"did you mean cycles:u?"}},
           {"cycles:", {"did you mean cycles?"}},
           {"cycles:x", {"\"x\" are not modifiers"}},
           {"rxyz", {"no event \"rxyz\"", "shmifperf stat --help"}}}) {
    expect_words(refusal(name), words);
  }
}

TEST_F(RecordedPmus, AreBesideTheGenericEventsWhichNeedNoFile) {
  EXPECT_EQ(found("cycles").type, static_cast<unsigned>(PERF_TYPE_HARDWARE));
  EXPECT_EQ(found("instructions:u").config, std::uint64_t{PERF_COUNT_HW_INSTRUCTIONS});
  EXPECT_TRUE(found("instructions:u").exclude_kernel);
  EXPECT_EQ(found("faults").config, std::uint64_t{PERF_COUNT_SW_PAGE_FAULTS});
  EXPECT_EQ(found("cs").config, std::uint64_t{PERF_COUNT_SW_CONTEXT_SWITCHES});
  EXPECT_EQ(found("task-clock").unit, "ns");
  EXPECT_EQ(found("LLC-load-misses").type, static_cast<unsigned>(PERF_TYPE_HW_CACHE));
  EXPECT_EQ(found("LLC-load-misses").config, 0x10002U);
  EXPECT_EQ(found("dTLB-stores").config, 0x103U);
  EXPECT_EQ(found("node-prefetch-misses").config, 0x10206U);
  EXPECT_EQ(found("ref-cycles").config, std::uint64_t{PERF_COUNT_HW_REF_CPU_CYCLES});
  EXPECT_EQ(found("r1a8").type, static_cast<unsigned>(PERF_TYPE_RAW));
  EXPECT_EQ(found("r1a8:k").config, 0x1a8U);
  EXPECT_TRUE(found("r1a8:k").exclude_user);
  const auto all = names.find_all("cs,cpu/event=1,umask=2/,cycles:k");
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 3U);
  EXPECT_EQ((*all)[1].config, 0x201U);
  EXPECT_FALSE(names.find_all("cs,nothing-like-it"));
}

TEST_F(RecordedPmus, OfEventsWithAUnitButNoScaleCountOne) {
  write("uncore_imc_0/events/joules", "event=0x01\n");
  write("uncore_imc_0/events/joules.unit", "Joules\nand more\n");
  const CounterEvent event = found("uncore_imc_0/joules/");
  EXPECT_EQ(event.unit, "Joules");
  EXPECT_EQ(event.scale, 1);
  write("uncore_imc_0/cpumask", "0,x\n");
  expect_words(refusal("uncore_imc_0/joules/"), {"uncore_imc_0/cpumask", "no list of CPUs"});
}

TEST_F(RecordedPmus, AreBesideTracepointsWhereverTracefsIs) {
  EXPECT_EQ(names.find("sched:sched_switch").error().code, make_error_code(Errc::not_supported));
  expect_words(refusal("sched:sched_switch"), {"sched:sched_switch", "no tracefs"});
  tree.put("/sys/kernel/debug/tracing/events/sched/sched_switch/id", "315\n");
  EXPECT_EQ(found("sched:sched_switch").config, 315U);
  expect_words(refusal("sched:sched_nothing"), {"no tracepoint sched:sched_nothing"});
  const std::string newer = "/sys/kernel/tracing/events/sched/sched_switch/id";
  tree.put(newer, "316\n");
  const CounterEvent event = found("sched:sched_switch:u");
  EXPECT_EQ(event.type, static_cast<unsigned>(PERF_TYPE_TRACEPOINT));
  EXPECT_EQ(event.config, 316U) << "the newer place goes first";
  EXPECT_TRUE(event.exclude_kernel);
  EXPECT_EQ(event.source, "tracefs, events/sched/sched_switch");
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chmod(tree.at(newer).c_str(), 0), 0);
  EXPECT_TRUE(as_nobody(tree, [&] {
    expect_words(refusal("sched:sched_switch"), {"Permission denied", "only root"});
  }));
}

TEST(LibraryEvents, AreFoundUnderTheNamesOfLibpfm) {
  // Names that libpfm4 has for the kernel's own events work on every machine.
  const auto event = EventNames().find("perf::CONTEXT-SWITCHES");
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->type, static_cast<unsigned>(PERF_TYPE_SOFTWARE));
  EXPECT_EQ(event->config, std::uint64_t{PERF_COUNT_SW_CONTEXT_SWITCHES});
  EXPECT_TRUE(event->source.starts_with("libpfm4, PMU perf")) << event->source;
  const auto user = EventNames().find("perf::CYCLES:u");
  ASSERT_TRUE(user) << user.error().message;
  EXPECT_TRUE(user->exclude_kernel);
  const auto none = EventNames().find("no_such_pmu::NO_SUCH_EVENT");
  ASSERT_FALSE(none);
  EXPECT_EQ(
      none.error().message.find("there is no event \"no_such_pmu::NO_SUCH_EVENT\" (libpfm4: "), 0U);
}

TEST(Tracepoints, OfThisKernelAreFoundWhereverTracefsIs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto event = EventNames().find("sched:sched_switch");
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->type, static_cast<unsigned>(PERF_TYPE_TRACEPOINT));
  EXPECT_GT(event->config, 0U);
  EXPECT_FALSE(EventNames().find("sched:sched_nothing"));
}

}  // namespace
}  // namespace shmif::perf::test
