// The limits of allocations and comparisons, from both sides, and the words that name them.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "perf/membw/compare.hpp"
#include "perf/membw/measure.hpp"
#include "perf/membw/schemata.hpp"
#include "tests/perf/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

class SchemataLimits : public ::testing::Test {
 protected:
  SchemataLimits() { resctrl_.put_allocation(); }
  std::string check(const std::string& text) const {
    const auto checked = check_schemata(tree_.files(), kRoot, read_schemata(text).value());
    return checked ? "possible" : checked.error().message;
  }
  void put_info(const std::string& name, const std::string& text) const {
    tree_.put(kRoot + "/info/" + name, text + '\n');
  }

  Tree tree_;
  FakeResctrl resctrl_{tree_};
};

TEST_F(SchemataLimits, OfBandwidthAreAllowedThemselves) {
  put_info("MB/bandwidth_gran", "1");
  EXPECT_EQ(check("MB:0=10"), "possible");
  EXPECT_EQ(check("MB:1=100"), "possible");
  EXPECT_EQ(check("MB:1=101"), "this machine cannot allocate MB:1=101: the maximum is 100");
  put_info("MB/bandwidth_gran", "10");
  put_info("MB/min_bandwidth", "15");
  EXPECT_EQ(check("MB:0=17"),
            "this machine cannot allocate MB:0=17: the machine has steps of 10; use 20")
      << "10 is below the minimum";
  EXPECT_EQ(check("MB:0=27"),
            "this machine cannot allocate MB:0=27: the machine has steps of 10; use 20 or 30");
  EXPECT_EQ(check("MB:0=20"), "possible") << "steps begin at 0, not at the minimum";
  EXPECT_EQ(check("MB:0=15"),
            "this machine cannot allocate MB:0=15: the machine has steps of 10; use 20");
}

TEST_F(SchemataLimits, OfMasksAreAllowedThemselves) {
  EXPECT_EQ(check("L3:0=7ff"), "possible");
  EXPECT_EQ(check("L3:0=3"), "possible");
  EXPECT_EQ(check("L3:0=800"),
            "this machine cannot allocate L3:0=800: the mask has bits outside of the cache's mask "
            "7ff");
  put_info("L3/min_cbm_bits", "3");
  EXPECT_EQ(check("L3:0=3"),
            "this machine cannot allocate L3:0=3: a mask needs at least 3 contiguous bits");
  EXPECT_EQ(check("L3:0=1c"), "possible");
  put_info("L3/cbm_mask", "");
  EXPECT_EQ(check("L3:0=7"), tree_.at(kRoot + "/info/L3/cbm_mask") + " has no mask");
}

TEST(SchemataSteps, MayBeAThousandAndSayHowARangeIsWritten) {
  const auto steps = read_schemata_steps("MB:0=1..1000/1");
  ASSERT_TRUE(steps) << steps.error().message;
  EXPECT_EQ(steps->size(), 1000U);
  EXPECT_EQ(schemata_text(steps->front()), "MB:0=1");
  EXPECT_EQ(schemata_text(steps->back()), "MB:0=1000");
  const auto why = [](const char* text) { return read_schemata_steps(text).error().message; };
  EXPECT_NE(
      why("MB:0=1..10").find("a range is FROM..TO/STEP in decimal digits, such as 100..10/10"),
      std::string::npos)
      << why("MB:0=1..10");
  EXPECT_NE(why("MB:0=1").find("it has no range, such as 100..10/10"), std::string::npos)
      << why("MB:0=1");
}

TEST(SchemataValues, AreTheSameWhateverTheirForm) {
  const auto same = [](const char* resource, const char* one, const char* other) {
    return is_same_value({resource, 0, one}, {resource, 0, other});
  };
  EXPECT_TRUE(same("MB", "50", "050"));
  EXPECT_FALSE(same("MB", "50", "51"));
  EXPECT_TRUE(same("SMBA", "8", "08"));
  EXPECT_TRUE(same("L3", "ff", "0x0ff"));
  EXPECT_FALSE(same("L3", "ff", "7f"));
}

MemorySummary rates_of(const std::string& source, MemoryScope scope, double total) {
  MemorySummary made;
  made.source = source;
  made.scope = scope;
  made.rates.total = total;
  return made;
}

TEST(ComparisonLimits, AreReachedByTheToleranceAndTheFloorThemselves) {
  const auto one = rates_of("pmu", MemoryScope::machine, 1000e6);
  const auto other = rates_of("load", MemoryScope::machine, 750e6);
  CompareLimits limits;
  limits.floor_bytes_per_s = 750e6;
  limits.tolerance = 0.25;
  auto result = compare_memory(one, other, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::same);
  EXPECT_EQ(result.first_bytes_per_s, 1000e6);
  EXPECT_EQ(result.second_bytes_per_s, 750e6);
  EXPECT_EQ(result.difference_bytes_per_s, 250e6);
  EXPECT_EQ(result.difference_share, 0.25);
  limits.tolerance = 0.2499;
  EXPECT_EQ(compare_memory(one, other, MemoryReport::total, limits).verdict,
            MemoryVerdict::different);
  limits.floor_bytes_per_s = 751e6;
  result = compare_memory(one, other, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::refused);
  EXPECT_EQ(result.reason, "below 751 MB/s, other traffic weighs too much");
}

TEST(ComparisonLimits, OfTheBackgroundAreSharesOfWhatWasCounted) {
  auto machine = rates_of("pmu", MemoryScope::machine, 1000e6);
  const auto group = rates_of("resctrl", MemoryScope::group, 750e6);
  CompareLimits limits;
  limits.floor_bytes_per_s = 1;
  limits.background = 0.25;
  auto result = compare_memory(group, machine, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::refused);
  EXPECT_EQ(result.reason, "pmu counts the whole machine, and its background was not measured");
  machine.background.emplace();
  machine.background->total = 250e6;
  result = compare_memory(group, machine, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::same) << result.reason;
  EXPECT_EQ(result.first_bytes_per_s, 750e6);
  EXPECT_EQ(result.second_bytes_per_s, 750e6) << "without the background";
  machine.background->total = 251e6;
  result = compare_memory(group, machine, MemoryReport::total, limits);
  EXPECT_EQ(result.verdict, MemoryVerdict::refused);
  EXPECT_EQ(result.reason,
            "pmu counted a background of 251 MB/s, which is too much beside 1000 MB/s");
  const auto socket = rates_of("pmu", MemoryScope::socket, 1000e6);
  EXPECT_EQ(compare_memory(machine, socket, MemoryReport::total, limits).reason,
            "one counts a socket, and the other the machine");
}

TEST(ComparisonTallies, CountEachVerdictOfEachPair) {
  const auto step = [](MemoryVerdict first, MemoryVerdict second) {
    std::vector<MemoryComparison> pairs(2);
    pairs[0].first = "a";
    pairs[0].second = "b";
    pairs[0].verdict = first;
    pairs[1].first = "a";
    pairs[1].second = "c";
    pairs[1].verdict = second;
    return pairs;
  };
  using V = MemoryVerdict;
  const auto counts =
      tally({step(V::same, V::not_comparable), step(V::same, V::same), step(V::same, V::same),
             step(V::different, V::same), step(V::different, V::same), step(V::refused, V::same),
             step(V::not_measured, V::same)});
  ASSERT_EQ(counts.size(), 1U) << "the other pair cannot be compared";
  EXPECT_EQ(counts[0].first, "a");
  EXPECT_EQ(counts[0].second, "b");
  EXPECT_EQ(counts[0].same, 3U);
  EXPECT_EQ(counts[0].different, 2U);
  EXPECT_EQ(counts[0].refused, 1U);
  EXPECT_EQ(counts[0].not_measured, 1U);
  EXPECT_TRUE(tally({}).empty());
  const auto verdict = [](auto same, auto different, auto refused, auto not_measured) {
    MemoryTally sum{"a", "b"};
    sum.same = same;
    sum.different = different;
    sum.refused = refused;
    sum.not_measured = not_measured;
    return std::string(word_of(sum.verdict()));
  };
  EXPECT_EQ(verdict(9, 1, 9, 9), "different");
  EXPECT_EQ(verdict(9, 0, 9, 1), "not_measured");
  EXPECT_EQ(verdict(1, 0, 9, 0), "same");
  EXPECT_EQ(verdict(0, 0, 1, 0), "refused");
}

TEST(MembwCapabilities, OfProcessesNeedTheirCountsOfBytes) {
  const Tree tree;
  const auto software = [&] { return membw_capabilities(tree.files())[3]; };
  EXPECT_EQ(software().reason, "of buses and network devices only: there is no " +
                                   tree.at("/proc/self/io") +
                                   " (the kernel was built without CONFIG_TASK_IO_ACCOUNTING)");
  tree.put("/proc/self/io", "none\n");
  EXPECT_EQ(software().reason, "of buses and network devices only: " + tree.at("/proc/self/io") +
                                   " is not as proc_pid_io(5) describes it");
  EXPECT_EQ(software().state, Support::supported);
  put_imc(tree, 0);
  tree.put("/proc/sys/kernel/perf_event_paranoid", "x\n");
  EXPECT_EQ(membw_capabilities(tree.files())[0].reason,
            tree.at("/proc/sys/kernel/perf_event_paranoid") +
                " has no number that it can have: it does not tell what the kernel permits");
}

}  // namespace
}  // namespace shmif::perf::test
