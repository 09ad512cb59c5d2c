// What a machine can measure of its memory bandwidth, and what would change that.

#include <gtest/gtest.h>
#include <unistd.h>

#include "instruments/membw/measure.hpp"
#include "tests/instruments/membw/as_nobody.hpp"
#include "tests/instruments/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kParanoid = "/proc/sys/kernel/perf_event_paranoid";

/// With a word of the reason, and one of the remedy; no word: there is none.
void expect_capability(const Tree& tree, const std::string& name, Support state,
                       const std::string& reason = "", const std::string& remedy = "") {
  SCOPED_TRACE(name);
  for (const Capability& each : membw_capabilities(tree.files())) {
    if (each.name != name) continue;
    EXPECT_EQ(word_of(each.state), std::string(word_of(state))) << each.reason;
    EXPECT_NE(each.reason.find(reason), std::string::npos) << each.reason;
    EXPECT_NE(each.enable_with.find(remedy), std::string::npos) << each.enable_with;
    EXPECT_EQ(each.enable_with.empty(), remedy.empty()) << each.enable_with;
    return;
  }
  ADD_FAILURE() << "no entry";
}

TEST(MembwCapabilities, HaveAReasonWhereSomethingIsMissingAndTheSoftwareSourceAlwaysWorks) {
  for (const Capability& each : membw_capabilities(KernelFiles())) {
    EXPECT_EQ(each.reason.empty(), each.state == Support::supported) << each.name;
  }
  const Tree tree;
  expect_capability(tree, "membw.software", Support::supported, "CONFIG_TASK_IO_ACCOUNTING");
  tree.put("/proc/self/io", "garbage\n");
  expect_capability(tree, "membw.software", Support::supported, "proc_pid_io(5)");
}

TEST(MembwCapabilities, OfCountersDependOnTheSettingAndTheUser) {
  const Tree tree;
  const auto expect = [&](Support state, const std::string& reason = "",
                          const std::string& remedy = "") {
    expect_capability(tree, "membw.pmu", state, reason, remedy);
  };
  expect(Support::not_supported);
  put_imc(tree, 0);
  expect(Support::not_supported);  // no perf_event_open
  tree.put(kParanoid, "2\n");
  const auto expect_of = [&](const char* rights, bool suffices) {
    tree.put("/proc/self/status", std::string("Name:\tx\nCapEff:\t") + rights + '\n');
    expect(suffices ? Support::supported : Support::not_permitted, suffices ? "" : "CAP_PERFMON",
           suffices ? "" : "kernel.perf_event_paranoid=0");
  };
  for (const char* rights : {"0000004000000000", "0000000000200000"}) expect_of(rights, true);
  for (const char* rights : {"ffffffbfffdfffff", "0000000000000000", "not hexadecimal"}) {
    expect_of(rights, false);
  }
  for (const char* open : {"0\n", "-1\n"}) {
    tree.put(kParanoid, open);
    expect(Support::supported);
  }
  tree.put("/proc/self/status", "CapEff:\t0000004000000000\n");
  for (const char* other : {"", "garbage\n", "-\n", "0x0\n"}) {
    tree.put(kParanoid, other);
    expect(Support::not_supported, "perf_event_paranoid");
  }
  if (::geteuid() != 0) return;
  tree.put(kParanoid, "1\n");
  tree.remove("/proc/self/status");  // nobody tells the rights
  expect(Support::supported);
  EXPECT_TRUE(as_nobody(tree, [&] {
    expect(Support::not_permitted, "CAP_PERFMON", "kernel.perf_event_paranoid=0");
  }));
}

TEST(MembwCapabilities, OfResctrlNeedItMountedEventsAndAPlaceForGroups) {
  const Tree tree;
  FakeResctrl resctrl(tree, {});
  const auto expect = [&](Support state, const std::string& reason = "",
                          const std::string& remedy = "") {
    expect_capability(tree, "membw.resctrl", state, reason, remedy);
  };
  expect(Support::not_supported, "names no mbm_total_bytes");
  tree.put(kRoot + "/info/L3_MON/mon_features", "mbm_total_bytes\n");
  expect(Support::supported);
  if (::geteuid() == 0) {
    EXPECT_TRUE(as_nobody(
        tree, [&] { expect(Support::not_permitted, "mon_groups: Permission denied", "root"); }));
  }
  expect_capability(tree, "membw.allocation", Support::not_supported, "schemata");
  resctrl.put_allocation();
  expect_capability(tree, "membw.allocation", Support::supported);
  resctrl.leave_unmounted();
  for (const char* name : {"membw.resctrl", "membw.allocation"}) {
    expect_capability(tree, name, Support::not_supported, "not mounted", "mount -t resctrl");
  }
  tree.put("/proc/filesystems", "nodev\tproc\n");
  expect(Support::not_supported);
}

}  // namespace
}  // namespace shmif::perf::test
