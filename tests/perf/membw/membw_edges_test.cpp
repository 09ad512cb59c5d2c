// Allocations, capabilities, comparisons and the counts of the load where something else is wrong
// than usual.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "perf/membw/allocation.hpp"
#include "perf/membw/compare.hpp"
#include "perf/membw/cpu_place.hpp"
#include "perf/membw/fill_load.hpp"
#include "perf/membw/measure.hpp"
#include "tests/perf/membw/as_nobody.hpp"
#include "tests/perf/membw/fake_resctrl.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

// ---- Allocations ----

class SeldomAllocation : public ::testing::Test {
 protected:
  SeldomAllocation() { resctrl_.put_allocation(); }
  std::string set(const std::string& text) {
    const auto done = allocation_.set(kRoot, kRoot, read_schemata(text).value());
    return done ? "" : done.error().message;
  }
  std::string put_back() {
    const auto done = allocation_.put_back();
    return done ? "" : done.error().message;
  }
  const std::string file_ = kRoot + "/schemata";
  Tree tree_;
  FakeResctrl resctrl_{tree_};
  ResctrlAllocation allocation_{tree_.files(), resctrl_};
};

TEST_F(SeldomAllocation, IsPutBackOnce) {
  EXPECT_TRUE(allocation_.check()) << "nothing is set";
  EXPECT_EQ(put_back(), "");
  EXPECT_TRUE(resctrl_.calls.empty());
  EXPECT_EQ(set("MB:0=50"), "");
  EXPECT_EQ(put_back(), "");
  resctrl_.allot(kRoot, "MB:0=70");
  EXPECT_TRUE(allocation_.check()) << "it is not ours any more";
  EXPECT_EQ(put_back(), "");
  EXPECT_EQ(resctrl_.schemata_of(kRoot), "MB:0=70;1=100;L3:0=7ff;1=7ff");
}

TEST_F(SeldomAllocation, SaysWhyAFileIsNoneAndWhatIsMissingInIt) {
  EXPECT_EQ(set("MB:7=50"), "set MB:7=50, but the kernel now shows no MB:7=50");
  EXPECT_EQ(set("MB:0=50"), "");
  tree_.put(file_, "MB\n");
  const auto broken = allocation_.check();
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::bad_argument);
  EXPECT_EQ(broken.error().message.find(tree_.at(file_) + ": \"MB\" is not an allocation"), 0U)
      << broken.error().message;
  EXPECT_EQ(set("MB:0=40").find(tree_.at(file_) + ": "), 0U);
  tree_.remove(file_);
  EXPECT_EQ(allocation_.check().error().code, std::errc::no_such_file_or_directory);
  resctrl_.put_allocation();
}

TEST_F(SeldomAllocation, OfOneValueIsTriedOnceAndSaysNothingThatTheKernelDoesNot) {
  EXPECT_EQ(set("MB:0=50"), "");
  resctrl_.calls.clear();
  resctrl_.refuse_with = "ok\n";  // the kernel has no words for it
  EXPECT_EQ(put_back(), "cannot put back MB:0=100: cannot write " + file_ + ": Invalid argument");
  EXPECT_EQ(resctrl_.calls, std::vector<std::string>{"allot MB:0=100\n"});
  resctrl_.refuse_with.clear();
  resctrl_.allot(kRoot, "MB:0=100");
  EXPECT_EQ(set("MB:0=50"), "");
  resctrl_.refuse_with = "busy\n\n";
  EXPECT_EQ(put_back(), "cannot put back MB:0=100: cannot write " + file_ +
                            ": Invalid argument; the kernel says: busy");
}

TEST_F(SeldomAllocation, StepsWithoutAnEndAreOneAndTheFirstThatCannotBeIsTold) {
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

// ---- Capabilities ----

TEST(MembwCapabilities, SayWhatTheyWereTestedOnAndWhatTheyShare) {
  const Tree tree;
  const auto all = membw_capabilities(tree.files());
  EXPECT_EQ(all[0].tested,
            "with recorded trees and fake counters only, never on memory controllers");
  for (const std::size_t at : {1U, 2U}) {
    EXPECT_EQ(all[at].tested,
              "with recorded trees and fakes only, never on a processor with resctrl");
  }
  EXPECT_EQ(all[3].tested, "");
  EXPECT_EQ(all[2].state, all[1].state);
  EXPECT_EQ(all[2].reason, all[1].reason);
  EXPECT_NE(all[2].reason, "");
}

TEST(MembwCapabilities, OfResctrlNeedEventsAndAPlaceForGroups) {
  const Tree tree;
  FakeResctrl resctrl(tree, {});
  const auto now = [&] { return membw_capabilities(tree.files())[1]; };
  EXPECT_EQ(now().state, Support::not_supported);
  EXPECT_NE(now().reason.find("names no mbm_total_bytes"), std::string::npos) << now().reason;
  tree.put(kRoot + "/info/L3_MON/mon_features", "mbm_total_bytes\n");
  EXPECT_EQ(now().state, Support::supported) << now().reason;
  if (::geteuid() == 0) {
    EXPECT_TRUE(as_nobody(tree, [&] {
      EXPECT_EQ(now().state, Support::not_permitted);
      EXPECT_EQ(now().reason,
                "cannot make groups in " + tree.at(kRoot) + "/mon_groups: Permission denied");
      EXPECT_EQ(now().enable_with, "run it as root");
      EXPECT_EQ(membw_capabilities(tree.files())[2].enable_with, "run it as root");
    }));
  }
  tree.remove(kRoot + "/mon_groups");
  EXPECT_EQ(now().state, Support::not_supported);
  EXPECT_EQ(now().reason,
            "cannot make groups in " + tree.at(kRoot) + "/mon_groups: No such file or directory");
  EXPECT_EQ(now().enable_with, "");
}

TEST(MembwCapabilities, OfCountersAreRootsWhereNobodyTellsTheRights) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const Tree tree;
  put_imc(tree, 0);
  tree.put("/proc/sys/kernel/perf_event_paranoid", "1\n");
  const auto now = [&] { return membw_capabilities(tree.files())[0]; };
  EXPECT_EQ(now().state, Support::supported);
  EXPECT_TRUE(as_nobody(tree, [&] {
    EXPECT_EQ(now().state, Support::not_permitted);
    EXPECT_EQ(now().reason, tree.path() +
                                "/proc/sys/kernel/perf_event_paranoid is 1, and this user has no "
                                "CAP_PERFMON");
  }));
  tree.put("/proc/self/status", "CapEff:\tnot hexadecimal\n");
  EXPECT_EQ(now().state, Support::not_permitted);
  tree.put("/proc/self/status", "CapEff:\t0000000000000000\nCapEff:\t0000004000000000\n");
  EXPECT_EQ(now().state, Support::not_permitted) << "the first line counts";
}

// ---- Comparisons and places ----

TEST(MemoryComparisons, NameTheCopiesFirstAndRefuseWhatIsNoNumber) {
  MemorySummary pmu;
  pmu.source = "pmu";
  pmu.rates.total = 1e10;
  MemorySummary copies = pmu;
  copies.source = "software";
  copies.part = "io";
  copies.level = MemoryLevel::copied;
  const std::string reason =
      "software:io counts copied bytes, and pmu counts bytes of the memory itself";
  EXPECT_EQ(compare_memory(copies, pmu, MemoryReport::total).reason, reason);
  EXPECT_EQ(compare_memory(pmu, copies, MemoryReport::total).reason, reason);
  MemorySummary other = pmu;
  other.source = "other";
  other.rates.reason = "it is broken";
  for (const double none :
       {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    other.rates.total = none;
    const auto compared = compare_memory(pmu, other, MemoryReport::total);
    EXPECT_EQ(compared.verdict, MemoryVerdict::not_measured);
    EXPECT_EQ(compared.reason, "other has no total: it is broken");
    EXPECT_FALSE(compared.first_bytes_per_s);
  }
  other.rates.total = 1e10;
  other.scope = MemoryScope::group;
  pmu.scope = MemoryScope::socket;
  EXPECT_EQ(compare_memory(pmu, other, MemoryReport::total).reason,
            "pmu counts the whole socket, and its background was not measured");
}

TEST(CpuPlace, IsThatOfTheCacheOfLevelThree) {
  const Tree tree;
  const std::string cpu = "/sys/devices/system/cpu/cpu28";
  const auto why = [&] { return place_of_cpu(tree.files(), 28).error().message; };
  EXPECT_EQ(why(), "cannot open " + tree.at(cpu) +
                       "/topology/physical_package_id: No such file or directory");
  put_sockets(tree);
  EXPECT_EQ(why(), "CPU 28 has no L3 cache in " + tree.at(cpu) + "/cache");
  tree.put(cpu + "/cache/a_third/level", "3\n");  // no cache
  tree.put(cpu + "/cache/a_third/id", "5\n");
  tree.put(cpu + "/cache/index0/type", "Data\n");  // without a level
  tree.put(cpu + "/cache/index2/level", "2\n");
  tree.put(cpu + "/cache/index2/id", "6\n");
  EXPECT_EQ(why(), "CPU 28 has no L3 cache in " + tree.at(cpu) + "/cache");
  tree.put(cpu + "/cache/index3/level", "3\n");
  EXPECT_EQ(why(), "cannot open " + tree.at(cpu) + "/cache/index3/id: No such file or directory");
  tree.put(cpu + "/cache/index3/id", "7\n");
  EXPECT_EQ(place_of_cpu(tree.files(), 28)->l3_domain, 7U);
  EXPECT_EQ(place_of_cpu(tree.files(), 28)->socket, 1U);
}

// ---- The counts of the load ----

TEST(FillCounts, OfAThreadThatIsWritingAreNotKnown) {
  FillCounts counts = FillCounts::create().value();
  const int file = ::open(counts.path().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(file, 0);
  constexpr off_t kSlot = 64;
  const auto changes = [&](unsigned thread) {
    std::uint64_t value = 0;
    EXPECT_EQ(::pread(file, &value, sizeof value, kSlot * thread), 8);
    return value;
  };
  const auto put_changes = [&](unsigned thread, std::uint64_t value) {
    EXPECT_EQ(::pwrite(file, &value, sizeof value, kSlot * thread), 8);
  };
  counts.set(0, {1, 2, 3});
  counts.set(1, {4, 5, 6});
  EXPECT_EQ(changes(0), 2U) << "one before the words, and one behind them";
  counts.set(0, {7, 8, 9});
  EXPECT_EQ(changes(0), 4U);
  put_changes(0, 5);
  auto seen = counts.look();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_FALSE(seen[0]);
  EXPECT_EQ(seen[1]->written, 6U);
  // A window of which the begin, or the end, is not known has no rate.
  for (const bool at_the_end : {false, true}) {
    std::uint64_t now = 1;
    LoadSource source(counts, [&now] { return ++now; });
    put_changes(0, at_the_end ? 6 : 7);
    ASSERT_TRUE(source.enable());
    put_changes(0, at_the_end ? 9 : 8);
    if (!at_the_end) counts.set(0, {20, 21, 22});
    counts.set(1, {at_the_end ? 30U : 20U, 21, 22});
    ASSERT_TRUE(source.disable());
    EXPECT_EQ(source.read().reason,
              "thread 0 of the load did not end a round in this window (take a longer --window)");
    EXPECT_FALSE(source.read().total);
    EXPECT_FALSE(source.read().reads);
    put_changes(0, 10);
  }
  ::close(file);
}

TEST(FillCounts, HaveAPlaceForTheLastThread) {
  FillCounts counts = FillCounts::create().value();
  for (unsigned thread = 0; thread < FillCounts::kMaxThreads; ++thread) {
    counts.set(thread, {thread + 1U, 0, 0});
  }
  const auto seen = counts.look();
  ASSERT_EQ(seen.size(), std::size_t{FillCounts::kMaxThreads});
  EXPECT_EQ(seen.back()->time_ns, std::uint64_t{FillCounts::kMaxThreads});
  const shmif::test::TempDir dir;
  EXPECT_EQ(FillCounts::open(dir.file("none")).error().message,
            "cannot open " + dir.file("none") + ": No such file or directory");
  for (const long other : {-1L, 1L}) {
    const std::string path = dir.file("file" + std::to_string(other));
    std::ofstream(path) << "";
    ASSERT_EQ(::truncate(path.c_str(), 64L * FillCounts::kMaxThreads + other), 0);
    EXPECT_FALSE(FillCounts::open(path)) << other;
  }
}

}  // namespace
}  // namespace shmif::perf::test
