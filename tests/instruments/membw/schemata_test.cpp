// The texts of allocations, and what a machine can have of them.

#include <gtest/gtest.h>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "instruments/membw/pmu_source.hpp"
#include "tests/instruments/membw/fake_counters.hpp"
#include "tests/instruments/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

TEST(Schemata, AreReadAsPeopleAndTheKernelWriteThem) {
  const Schemata expected{{"MB", 0, "50"}, {"MB", 1, "60"}, {"L3", 0, "ff"}};
  EXPECT_EQ(read_schemata("MB:0=50;1=60;L3:0=ff").value(), expected);
  EXPECT_EQ(read_schemata("    MB:0= 50;1= 60\n    L3:0=ff\n").value(), expected);
  EXPECT_EQ(read_schemata("\t MB \t:\t 4294967295 \t=\t 7 \t").value(),
            (Schemata{{"MB", 4294967295U, "7"}}));
  EXPECT_EQ(schemata_text(expected), "MB:0=50;1=60;L3:0=ff");
  EXPECT_EQ(schemata_lines({{"MB", 0, "50"}, {"L3", 0, "ff"}, {"MB", 1, "60"}}),
            "MB:0=50;1=60\nL3:0=ff\n")
      << "the kernel takes a resource once";
  for (const char* text :
       {"", "MB", "0=50", "MB:0", "MB:0=", "MB:0=\t", "MB:x=50", "MB:-1=50", "MB:4294967296=50",
        "mb:0=50", "L 3:0=1", "[:0=1", "MB:0=50;;", "MB:0=50;1=60;0=70"}) {
    const auto read = read_schemata(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, Errc::bad_argument);
  }
  EXPECT_TRUE(is_same_value({"MB", 0, "50"}, {"MB", 0, "050"}));
  EXPECT_FALSE(is_same_value({"MB", 0, "50"}, {"MB", 0, "51"}));
  EXPECT_TRUE(is_same_value({"L3", 0, "0X0FF"}, {"L3", 0, "ff"}));
  EXPECT_FALSE(is_same_value({"L3", 0, "ff"}, {"L3", 0, "7f"}));
}

TEST(Schemata, StepsGoDownAndUpAndStayWithinTheirRange) {
  const auto steps = [](const std::string& text) {
    const auto read = read_schemata_steps(text);
    if (!read) return "none: " + read.error().message;
    std::string all;
    for (const Schemata& each : *read) all += schemata_text(each) + ' ';
    return all;
  };
  for (const auto& [text, wanted] : std::vector<std::pair<std::string, std::string>>{
           {"MB:0=30..10/10", "MB:0=30 MB:0=20 MB:0=10 "},
           {"MB:0=9..1/3", "MB:0=9 MB:0=6 MB:0=3 "},
           {"MB:0=10..0/5", "MB:0=10 MB:0=5 MB:0=0 "},
           {"MB:0=10..25/10;L3:0=ff", "MB:0=10;L3:0=ff MB:0=20;L3:0=ff "},
           {"MB:0=20..10/10;1=80..100/20", "MB:0=20;1=80 MB:0=10;1=100 "},
           {"SMBA:3=8..10/2", "SMBA:3=8 SMBA:3=10 "},
           {"MB:0=50..50/10", "MB:0=50 "}}) {
    EXPECT_EQ(steps(text), wanted);
  }
  EXPECT_EQ(read_schemata_steps("MB:0=1..1000/1")->size(), 1000U);
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"MB:0=50", "no range"},
           {"MB:0=100..10", "FROM..TO/STEP"},
           {"MB:0=100..10/0", "FROM..TO/STEP"},
           {"MB:0=1/2..3", "FROM..TO/STEP"},
           {"MB:0=..2/1", "FROM..TO/STEP"},
           {"MB:0=0x1..2/1", "FROM..TO/STEP"},
           {"L3:0=1..3/1", "only MB and SMBA"},
           {"MB:0=1..1001/1", "1000 steps"},
           {"MB:0=30..10/10;1=20..10/10", "3 and 2"}}) {
    EXPECT_EQ(steps(text).find("none: "), 0U) << text;
    EXPECT_NE(steps(text).find(words), std::string::npos) << steps(text);
  }
}

class CheckSchemata : public ::testing::Test {
 protected:
  CheckSchemata() { resctrl_.put_allocation(); }
  /// A word of the reason; none: it is possible.
  void expect(const std::string& text, const std::string& word = "") const {
    const auto checked = check_schemata(tree_.files(), kRoot, read_schemata(text).value());
    EXPECT_EQ(checked.has_value(), word.empty()) << text;
    if (!checked) {
      EXPECT_NE(checked.error().message.find(word), std::string::npos) << checked.error().message;
    }
  }
  void put_info(const std::string& name, const std::string& text) const {
    tree_.put(kRoot + "/info/" + name, text + '\n');
  }

  Tree tree_;
  FakeResctrl resctrl_{tree_};
};

TEST_F(CheckSchemata, KnowsTheResourcesAndDomainsOfTheMachine) {
  expect("MB:0=50;1=100;L3:0=7ff;1=3");
  expect("L2:0=ff", "cannot allocate L2:0=ff: there is no L2");
  expect("MB:2=50", "the domains 0, 1");
  expect("MB:0=50;L3:7=ff", "cannot allocate L3:7=ff");
  tree_.put(kRoot + "/schemata", "nonsense\n");
  expect("MB:0=50", "\"nonsense\"");
  tree_.remove(kRoot + "/schemata");
  expect("MB:0=50", "cannot limit caches or bandwidth");
}

TEST_F(CheckSchemata, KnowsTheLimitsAndStepsOfBandwidth) {
  expect("MB:0=10");
  expect("MB:0=9", "the minimum is 10");
  expect("MB:0=100");
  expect("MB:0=110", "the maximum is 100");
  expect("MB:0=55", "use 50 or 60");
  expect("MB:0=ff", "decimal");
  expect("MB:0=4294967296", "decimal");
  put_info("MB/min_bandwidth", "15");
  expect("MB:0=17", "use 20");  // 10 is below the minimum, and steps begin at 0
  expect("MB:0=20");
  put_info("MB/min_bandwidth", "20");
  expect("MB:0=25", "use 20 or 30");
  // AMD: eighths of a GB/s, and no end that a file would name.
  put_info("MB/delay_linear", "0");
  put_info("MB/min_bandwidth", "1");
  put_info("MB/bandwidth_gran", "1");
  expect("MB:0=2048");
  expect("MB:0=0", "the minimum is 1");
  tree_.remove(kRoot + "/info/MB/bandwidth_gran");
  expect("MB:0=50", "bandwidth_gran");
}

TEST_F(CheckSchemata, LeavesMegabytesAsTheyAreWhereResctrlIsMountedSo) {
  const std::string mount = "resctrl " + kRoot + " resctrl rw";
  tree_.put("/proc/mounts", "x /x tmpfs rw,mba_MBps 0 0\n" + mount + " 0 0\n");
  expect("MB:0=5", "the minimum is 10");
  tree_.put("/proc/mounts", "x /x tmpfs rw 0 0\n" + mount + ",relatime,mba_MBps 0 0\n");
  expect("MB:0=4294967295;1=7");
  expect("MB:0=4294967296", "decimal");
}

TEST_F(CheckSchemata, KnowsTheMasksOfACache) {
  expect("L3:0=600;1=0x3");
  expect("L3:0=7ff");
  expect("L3:0=800", "the cache's mask 7ff");
  for (const char* few : {"L3:0=1", "L3:0=0"}) expect(few, "at least 2 contiguous bits");
  expect("L3:0=5f", "must be contiguous");
  expect("L3:0=50%", "hexadecimal");
  put_info("L3/sparse_masks", "1");
  expect("L3:0=503");
  expect("L3:0=5", "at least 2 contiguous bits");
  put_info("L3/min_cbm_bits", "0");
  expect("L3:0=0");
  // An older kernel does not tell, and decides by itself.
  tree_.remove(kRoot + "/info/L3/sparse_masks");
  expect("L3:0=503");
  put_info("L3/cbm_mask", "x");
  expect("L3:0=7", "has no mask");
}

}  // namespace

// Allocations of a control group in the course of a measurement, and that they are put back.

namespace {

using Woken = MembwHooks::Woken;

const std::string kGroup = kRoot + "/c1";

class AllocationTest : public ::testing::Test {
 protected:
  AllocationTest() {
    resctrl_.put_allocation();
    resctrl_.add_group(kGroup);
  }
  Result<void> set(const std::string& text) {
    return allocation_.set(kRoot, kGroup, read_schemata(text).value());
  }

  Tree tree_;
  FakeResctrl resctrl_{tree_};
  ResctrlAllocation allocation_{tree_.files(), resctrl_};
};

TEST_F(AllocationTest, PutsBackWhatItFoundAndNoMore) {
  resctrl_.allot(kGroup, "MB:0=90;L3:1=ff");
  ASSERT_TRUE(set("MB:0=50;L3:0=f"));
  EXPECT_EQ(resctrl_.schemata_of(kGroup), "MB:0=50;1=100;L3:0=f;1=ff");
  ASSERT_TRUE(set("MB:0=20;1=30"));
  resctrl_.allot(kGroup, "L3:1=3");  // somebody else's change of what it never set
  ASSERT_TRUE(allocation_.put_back());
  EXPECT_EQ(resctrl_.schemata_of(kGroup), "MB:0=90;1=100;L3:0=7ff;1=3");
  EXPECT_EQ(resctrl_.schemata_of(kRoot), "MB:0=100;1=100;L3:0=7ff;1=7ff") << "of another group";
  EXPECT_TRUE(allocation_.check()) << "it is not ours any more";
  resctrl_.allot(kGroup, "MB:0=70");
  EXPECT_TRUE(allocation_.put_back());
  EXPECT_EQ(resctrl_.schemata_of(kGroup), "MB:0=70;1=100;L3:0=7ff;1=3") << "once";
  ASSERT_TRUE(set("MB:0=50"));
  resctrl_.delete_group(kGroup);
  EXPECT_TRUE(allocation_.put_back());
}

TEST_F(AllocationTest, ErrorsSayWhatTheKernelSaidAndTheOtherValuesArePutBack) {
  resctrl_.refuse_with = "Overlaps with exclusive group\n";
  const auto refused = set("MB:0=50;L3:0=3");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, std::errc::invalid_argument);
  EXPECT_EQ(refused.error().message,
            "cannot set MB:0=50;L3:0=3: cannot write " + kGroup +
                "/schemata: Invalid argument; the kernel says: Overlaps with exclusive group");
  resctrl_.refuse_with.clear();
  ASSERT_TRUE(set("MB:0=50;1=40;L3:0=f;1=3"));
  resctrl_.refuse_with = "Invalid domain\n";
  resctrl_.refuse_what = "1=";
  const auto kept = allocation_.put_back();
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().message, "cannot put back MB:1=100: cannot write " + kGroup +
                                      "/schemata: Invalid argument; the kernel says: Invalid "
                                      "domain (nor L3:1=7ff)");
  EXPECT_EQ(resctrl_.schemata_of(kGroup), "MB:0=100;1=40;L3:0=7ff;1=3");
  {
    ResctrlAllocation other(tree_.files(), resctrl_);
    resctrl_.refuse_what = "L3";
    ASSERT_TRUE(other.set(kRoot, kGroup, read_schemata("MB:0=50").value()));
    EXPECT_FALSE(other.set(kRoot, kGroup, read_schemata("L3:0=3").value()));
    resctrl_.refuse_with.clear();
  }
  EXPECT_EQ(resctrl_.schemata_of(kGroup), "MB:0=100;1=40;L3:0=7ff;1=3") << "with its owner";
}

TEST_F(AllocationTest, NoticesValuesThatTheKernelDidNotTake) {
  resctrl_.on_allot = [this] { resctrl_.allot(kGroup, "MB:0=60"); };
  const auto set_it = set("MB:0=50;1=50");
  ASSERT_FALSE(set_it);
  EXPECT_EQ(set_it.error().message, "set MB:0=50;1=50, but the kernel now shows MB:0=60");
  resctrl_.on_allot = nullptr;
  ASSERT_TRUE(set("L3:0=0x3"));
  EXPECT_TRUE(allocation_.check()) << "3 is 0x3";
  resctrl_.allot(kGroup, "L3:0=7");
  const auto changed = allocation_.check();
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code, Errc::busy);
  EXPECT_EQ(changed.error().message,
            "another program changed the allocation of " + tree_.at(kGroup) +
                " during the measurement: the kernel shows L3:0=7, membw had set L3:0=0x3");
}

/// A machine whose memory controllers count what a program moves, and as much of it in resctrl as
/// `counted` says.
class SweepTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kLine = 64;

  SweepTest() {
    put_imc(tree_, 0, "0\n");
    put_sockets(tree_);
    tree_.put("/sys/devices/system/cpu/cpu0/cache/index2/level", "2\n");
    tree_.put("/sys/devices/system/cpu/cpu0/cache/index2/id", "9\n");
    tree_.put("/sys/devices/system/cpu/cpu0/cache/index3/level", "3\n");
    tree_.put("/sys/devices/system/cpu/cpu0/cache/index3/id", "1\n");
    resctrl_.put_allocation();
    resctrl_.put_process(10, {10});
  }
  void start(ResctrlOptions options = {}) {
    options.control_group = "c1";
    const auto clock = [this] { return now_; };
    auto pmu = std::make_unique<PmuSource>(tree_.files(), 0U, counters_, clock);
    auto resctrl = std::make_unique<ResctrlSource>(tree_.files(), options, resctrl_, clock);
    resctrl_source_ = resctrl.get();
    sources_.push_back(std::move(pmu));
    sources_.push_back(std::move(resctrl));
    hooks_.sleep = [this](std::chrono::nanoseconds time) { return pass(time); };
    hooks_.pause = [this] { return paused_ = true; };
    hooks_.resume = [this] { return !(paused_ = false); };
    options_.settle = std::chrono::nanoseconds(0);
    options_.samples = 2;
  }
  /// The program moves 100 lines in each direction and second for each percent that it is allowed.
  Woken pass(std::chrono::nanoseconds time) {
    now_ += static_cast<std::uint64_t>(time.count());
    if (stop_after_ != 0 && ++sleeps_ > stop_after_) return Woken::stopped;
    if (paused_) counters_.pass(static_cast<std::uint64_t>(time.count()), 0);
    if (paused_ || time.count() == 0) return Woken::time_is_up;
    const std::uint64_t percent = percent_now();
    allowed_.push_back(percent);
    counters_.pass(static_cast<std::uint64_t>(time.count()), 100 * percent);
    bytes_ += static_cast<std::uint64_t>(static_cast<double>(200 * percent * kLine) *
                                         counted_.at(percent));
    const std::string group = kGroup + "/mon_groups/shmifperf-" + std::to_string(::getpid());
    if (resctrl_.has(group)) {
      resctrl_.count(group, 1, "mbm_local_bytes", std::to_string(bytes_) + '\n');
      resctrl_.count(group, 0, "mbm_local_bytes", std::to_string(99 * bytes_) + '\n');
    }
    return Woken::time_is_up;
  }
  std::uint64_t percent_now() const {
    if (!resctrl_.has(kGroup)) return 100;
    const Schemata all = read_schemata(tree_.text(kGroup + "/schemata")).value();
    for (const Allotment& each : all) {
      if (each.resource == "MB" && each.domain == 1) return std::stoull(each.value);
    }
    return 0;
  }
  MembwResult sweep(const std::string& text) {
    AllocationSteps steps(tree_.files(), read_schemata_steps(text).value(), options_.samples,
                          *resctrl_source_, resctrl_);
    steps.hook_into(hooks_);
    options_.steps = steps.texts().size();
    extras_.allocations = steps.texts();
    return measure_memory(sources_, {10}, options_, hooks_);
  }

  Tree tree_;
  FakeResctrl resctrl_{tree_};
  FakeCounters counters_;
  ResctrlSource* resctrl_source_ = nullptr;
  std::vector<std::unique_ptr<MemorySource>> sources_;
  MembwHooks hooks_;
  MembwOptions options_;
  MembwExtras extras_;
  CompareLimits limits_{.floor_bytes_per_s = 1000};
  std::map<std::uint64_t, double> counted_{{30, 1}, {20, 1}, {10, 1}, {100, 1}};
  std::vector<std::uint64_t> allowed_;
  std::uint64_t now_ = kSecond, bytes_ = 0;
  std::size_t sleeps_ = 0, stop_after_ = 0;
  bool paused_ = false;
};

TEST_F(SweepTest, ComparesTheControllersOfASocketWithTheLocalBytesOfItsDomainAtEachStep) {
  const auto place = place_of_cpu(tree_.files(), 0);
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_EQ(place->l3_domain, 1U);
  EXPECT_EQ(place->socket, 0U);
  start({.local_domain = place->l3_domain});
  const MembwResult result = sweep("MB:1=30..10/10");
  ASSERT_FALSE(result.error) << result.error->message;
  EXPECT_EQ(allowed_, (std::vector<std::uint64_t>{30, 30, 30, 20, 20, 20, 10, 10, 10}))
      << "three windows at each step, of which the first is dropped";
  EXPECT_FALSE(result.partial);
  ASSERT_EQ(result.steps.size(), 3U);
  ASSERT_EQ(result.samples.size(), 6U);
  EXPECT_EQ(result.samples[2].number, 4U);
  EXPECT_EQ(result.samples[2].step, 1U);
  const double per_percent = 200 * kLine;
  for (std::size_t step = 0; step < 3; ++step) {
    const double expected = per_percent * static_cast<double>(30 - 10 * step);
    EXPECT_EQ(result.steps[step][0].rates.total, expected) << step;
    EXPECT_EQ(result.steps[step][1].rates.total, expected) << "of domain 1 alone, step " << step;
    EXPECT_EQ(result.steps[step][1].samples, 2U);
  }
  EXPECT_EQ(result.steps[0][1].label(), "resctrl:local");
  const auto tallies = tally(compare_steps(result, MemoryReport::total, limits_));
  ASSERT_EQ(tallies.size(), 1U);
  EXPECT_EQ(tallies[0].same, 3U);
  EXPECT_EQ(tallies[0].verdict(), MemoryVerdict::same);
  EXPECT_FALSE(resctrl_.has(kGroup)) << "it was made for the measurement";
}

TEST_F(SweepTest, IsDifferentIfOneStepIs) {
  counted_[20] = 0.5;
  start({.local_domain = 1});
  const MembwResult result = sweep("MB:1=30..10/10");
  const auto tallies = tally(compare_steps(result, MemoryReport::total, limits_));
  EXPECT_EQ(tallies.at(0).same, 2U);
  EXPECT_EQ(tallies.at(0).different, 1U);
  EXPECT_EQ(tallies.at(0).verdict(), MemoryVerdict::different);
  const auto json = nlohmann::json::parse(membw_json(result, MemoryReport::total, {}, extras_));
  EXPECT_EQ(json["sweep"]["steps"][1]["allocation"], "MB:1=20");
  EXPECT_EQ(json["samples"][2]["allocation"], "MB:1=20");
  EXPECT_EQ(json["samples"][2]["pids"], std::vector<int>{10});
}

TEST_F(SweepTest, ThatASignalEndsPutsBackTheAllocationOfAGroupThatStood) {
  resctrl_.add_group(kGroup);
  resctrl_.allot(kGroup, "MB:1=90");
  start({.local_domain = 1});
  stop_after_ = 6;  // the background, the wait before the windows, and four of these
  const MembwResult result = sweep("MB:1=30..10/10");
  EXPECT_TRUE(result.partial);
  EXPECT_EQ(allowed_, (std::vector<std::uint64_t>{30, 30, 30, 20}));
  EXPECT_EQ(resctrl_.schemata_of(kGroup), "MB:0=100;1=90;L3:0=7ff;1=7ff");
  EXPECT_EQ(result.steps.at(2)[0].samples, 0U) << "it was not reached";
  EXPECT_EQ(tally(compare_steps(result, MemoryReport::total, limits_)).at(0).verdict(),
            MemoryVerdict::not_measured);
}

TEST_F(SweepTest, EndsWhenSomebodyElseChangesTheAllocation) {
  resctrl_.add_group(kGroup);
  start({.local_domain = 1});
  const auto sleep = hooks_.sleep;
  hooks_.sleep = [&](std::chrono::nanoseconds time) {
    if (allowed_.size() == 4) resctrl_.allot(kGroup, "MB:1=100");
    return sleep(time);
  };
  const MembwResult result = sweep("MB:1=30..10/10");
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code, Errc::busy);
  EXPECT_NE(result.error->message.find("the kernel shows MB:1=100, membw had set MB:1=20"),
            std::string::npos)
      << result.error->message;
}

TEST_F(AllocationTest, StepsWithoutAnEndAreOneAndTheFirstThatCannotBeIsTold) {
  resctrl_.put_process(10, {10});
  ResctrlSource source(tree_.files(), {}, resctrl_);
  ASSERT_TRUE(source.open({10}));
  const auto hooks_of = [&](AllocationSteps& steps) {
    MembwHooks hooks;
    steps.hook_into(hooks);
    return hooks;
  };
  AllocationSteps one(tree_.files(), {read_schemata("MB:0=50").value()}, 0, source, resctrl_);
  const MembwHooks endless = hooks_of(one);
  ASSERT_TRUE(endless.init());
  for (const std::size_t number : {0U, 1U, 2U, 1000U}) {
    EXPECT_TRUE(endless.set_up(number).value()) << number;
  }
  const auto allots = std::ranges::count(resctrl_.calls, "allot MB:0=50\n");
  EXPECT_EQ(allots, 1) << "before the first window";
  ASSERT_TRUE(endless.end());
  EXPECT_EQ(resctrl_.calls.back(), "allot MB:0=100\n");
  AllocationSteps two(tree_.files(), read_schemata_steps("MB:0=20..10/10").value(), 2, source,
                      resctrl_);
  EXPECT_EQ(two.texts(), (std::vector<std::string>{"MB:0=20", "MB:0=10"}));
  const MembwHooks twice = hooks_of(two);
  EXPECT_TRUE(twice.set_up(5).value());
  EXPECT_FALSE(twice.set_up(6).value()) << "two steps of three windows";
  AllocationSteps wrong(tree_.files(),
                        {read_schemata("MB:0=0").value(), read_schemata("MB:0=30").value(),
                         read_schemata("MB:0=101").value()},
                        1, source, resctrl_);
  EXPECT_EQ(hooks_of(wrong).init().error().message,
            "this machine cannot allocate MB:0=0: the minimum is 10");
  AllocationSteps unmounted(tree_.files(), {read_schemata("MB:0=0").value()}, 1, source, resctrl_);
  ASSERT_TRUE(source.close());
  resctrl_.leave_unmounted();
  EXPECT_EQ(hooks_of(unmounted).init().error().code, std::errc::no_such_device);
}

TEST(CpuPlace, IsThatOfTheCacheOfLevelThree) {
  const Tree tree;
  const std::string cpu = "/sys/devices/system/cpu/cpu28";
  const auto why = [&] { return place_of_cpu(tree.files(), 28).error().message; };
  EXPECT_NE(why().find("physical_package_id: No such file"), std::string::npos) << why();
  put_sockets(tree);
  EXPECT_EQ(why(), "CPU 28 has no L3 cache in " + tree.at(cpu) + "/cache");
  for (const auto& [file, text] : {std::pair("a_third/level", "3\n"),  // no cache
                                   {"a_third/id", "5\n"},
                                   {"index0/type", "Data\n"},  // without a level
                                   {"index2/level", "2\n"},
                                   {"index2/id", "6\n"}}) {
    tree.put(cpu + "/cache/" + file, text);
  }
  EXPECT_EQ(why(), "CPU 28 has no L3 cache in " + tree.at(cpu) + "/cache");
  tree.put(cpu + "/cache/index3/level", "3\n");
  EXPECT_NE(why().find("/cache/index3/id: No such file"), std::string::npos) << why();
  tree.put(cpu + "/cache/index3/id", "7\n");
  EXPECT_EQ(place_of_cpu(tree.files(), 28)->l3_domain, 7U);
  EXPECT_EQ(place_of_cpu(tree.files(), 28)->socket, 1U);
}

}  // namespace

}  // namespace shmif::perf::test
