// What a machine can measure of its memory bandwidth, and what would change that.

#include <gtest/gtest.h>

#include "perf/membw/fill_load.hpp"
#include "perf/membw/measure.hpp"
#include "tests/perf/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

TEST(MembwCapabilities, AreFourAndTheSoftwareSourceAlwaysWorks) {
  const auto all = membw_capabilities(KernelFiles());
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].name, "membw.pmu");
  EXPECT_EQ(all[1].name, "membw.resctrl");
  EXPECT_EQ(all[2].name, "membw.allocation");
  EXPECT_EQ(all[3].name, "membw.software");
  EXPECT_EQ(all[3].state, Support::supported);
  for (const Capability& each : all) {
    EXPECT_EQ(each.reason.empty(), each.state == Support::supported) << each.name;
  }
}

TEST(MembwCapabilities, OfCountersDependOnTheSettingAndTheUser) {
  const Tree tree;
  const auto pmu = [&] { return membw_capabilities(tree.files())[0]; };
  EXPECT_EQ(pmu().state, Support::not_supported);
  EXPECT_EQ(pmu().enable_with, "");
  put_imc(tree, 0);
  EXPECT_EQ(pmu().state, Support::not_supported) << "no perf_event_open";
  tree.put("/proc/sys/kernel/perf_event_paranoid", "2\n");
  tree.put("/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n");
  EXPECT_EQ(pmu().state, Support::not_permitted);
  EXPECT_EQ(pmu().reason, tree.path() +
                              "/proc/sys/kernel/perf_event_paranoid is 2, and this user "
                              "has no CAP_PERFMON");
  EXPECT_EQ(pmu().enable_with, "sysctl kernel.perf_event_paranoid=0");
  for (const char* suffices : {"0000004000000000", "0000000000200000", "0000004000200000"}) {
    tree.put("/proc/self/status", std::string("CapEff:\t") + suffices + '\n');
    EXPECT_EQ(pmu().state, Support::supported) << suffices << ": CAP_PERFMON, or CAP_SYS_ADMIN";
  }
  for (const char* others : {"ffffffbfffdfffff", "0000000000000000"}) {
    tree.put("/proc/self/status", std::string("CapEff:\t") + others + '\n');
    EXPECT_EQ(pmu().state, Support::not_permitted) << others;
  }
  for (const char* open : {"0\n", "-1\n"}) {
    tree.put("/proc/sys/kernel/perf_event_paranoid", open);
    EXPECT_EQ(pmu().state, Support::supported) << open;
  }
}

TEST(MembwCapabilities, AreNotThoseOfAFileWithoutANumber) {
  const Tree tree;
  put_imc(tree, 0);
  tree.put("/proc/self/status", "CapEff:\t0000004000000000\n");
  for (const char* other : {"", "garbage\n", "-\n", "0x0\n"}) {
    tree.put("/proc/sys/kernel/perf_event_paranoid", other);
    EXPECT_EQ(membw_capabilities(tree.files())[0].state, Support::not_supported) << other;
  }
  tree.put("/proc/self/io", "garbage\n");
  EXPECT_NE(membw_capabilities(tree.files())[3].reason.find("is not as proc_pid_io(5)"),
            std::string::npos);
}

TEST(MembwCapabilities, OfResctrlSayHowToMountIt) {
  const Tree tree;
  FakeResctrl resctrl(tree);
  const auto now = [&] { return membw_capabilities(tree.files())[1]; };
  EXPECT_EQ(now().state, Support::supported) << now().reason;
  resctrl.leave_unmounted();
  EXPECT_EQ(now().state, Support::not_supported);
  EXPECT_EQ(now().reason, "resctrl is not mounted");
  EXPECT_EQ(now().enable_with, "mount -t resctrl resctrl /sys/fs/resctrl");
  tree.put("/proc/filesystems", "nodev\tproc\n");
  EXPECT_EQ(now().state, Support::not_supported);
  EXPECT_EQ(now().enable_with, "");
}

TEST(MembwCapabilities, OfAllocationNeedTheFileThatSetsIt) {
  const Tree tree;
  FakeResctrl resctrl(tree);
  const auto now = [&] { return membw_capabilities(tree.files())[2]; };
  EXPECT_EQ(now().state, Support::not_supported);
  EXPECT_EQ(now().reason, "there is no " + tree.at(kRoot) +
                              "/schemata: this machine cannot limit caches or bandwidth");
  resctrl.put_allocation();
  EXPECT_EQ(now().state, Support::supported) << now().reason;
  resctrl.leave_unmounted();
  EXPECT_EQ(now().reason, "resctrl is not mounted");
  EXPECT_EQ(now().enable_with, "mount -t resctrl resctrl /sys/fs/resctrl");
}

TEST(FillLoad, CountsWhatItReadAndWrote) {
  const auto filled =
      fill_memory(std::chrono::milliseconds(20), {.threads = 2, .buffer_bytes = 1U << 20U});
  ASSERT_TRUE(filled) << filled.error().message;
  EXPECT_EQ(filled->threads, 2U);
  EXPECT_EQ(filled->bytes % (3U << 19U), 0U) << "whole rounds of three halves";
  EXPECT_GT(filled->bytes, 0U);
  EXPECT_GE(filled->seconds, 0.02);
  EXPECT_FALSE(fill_memory({}, {.threads = 1, .buffer_bytes = std::uint64_t{1} << 62U}));
}

}  // namespace
}  // namespace shmif::perf::test
