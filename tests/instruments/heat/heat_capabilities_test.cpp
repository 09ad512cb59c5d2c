// Which ways to watch heat there are, on trees of kernel files as other machines have them.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "instruments/heat/session.hpp"
#include "tests/instruments/membw/as_nobody.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kFaults = "/proc/sys/vm/unprivileged_userfaultfd";
constexpr const char* kRelease = "/proc/sys/kernel/osrelease";
constexpr const char* kContexts = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds";
constexpr const char* kSelfSmaps = "/proc/self/smaps";

class HeatCapabilities : public ::testing::Test {
 protected:
  HeatCapabilities() {
    tree_.put(kFaults, "0\n");
    tree_.put(kRelease, "6.7.0-1-amd64\n");
    tree_.put("/proc/self/clear_refs", "");
    tree_.put(kSelfSmaps, "00400000-00401000 r--p 0 08:01 7 /bin/a\nReferenced: 4 kB\n");
    tree_.put(kContexts, "0\n");
  }
  /// With a word of the reason, and one of the remedy; no word: there is none.
  void expect(const std::string& name, Support state, const std::string& reason,
              const std::string& remedy) const {
    SCOPED_TRACE(name);
    for (const Capability& each : heat_capabilities(tree_.files())) {
      if (each.name != name) continue;
      EXPECT_EQ(word_of(each.state), std::string(word_of(state)));
      EXPECT_NE(each.reason.find(reason), std::string::npos) << each.reason;
      EXPECT_NE(each.enable_with.find(remedy), std::string::npos) << each.enable_with;
      EXPECT_EQ(each.enable_with.empty(), remedy.empty()) << each.enable_with;
      return;
    }
    ADD_FAILURE() << "no entry";
  }

  Tree tree_;
};

TEST_F(HeatCapabilities, OfPagesDependOnTheReleaseOfTheKernel) {
  for (const char* const release : {"6.7.0", "6.10.2-generic", "7.0.0"}) {
    tree_.put(kRelease, release);
    expect("heat.client", Support::supported, "SHMIF_HEAT=DIR", "");
    expect("heat.pagemap_scan", Support::supported, "", "");
    expect("heat.written", Support::supported, "-- PROGRAM", "");
  }
  for (const char* const release : {"6.6.99-lts", "6.1.0", "5.19.0"}) {
    tree_.put(kRelease, release);
    expect("heat.written", Support::not_supported, "write protection", "Linux 6.7");
    expect("heat.client", Support::supported, "accesses alone", "Linux 6.7");
    expect("heat.pagemap_scan", Support::not_supported, "PAGEMAP_SCAN", "Linux 6.7");
  }
  for (const char* const release : {"5.18.19", "4.20.0", "6", "unknown"}) {
    tree_.put(kRelease, release);
    expect("heat.client", Support::not_supported, "userfaultfd(2)", "Linux 5.19");
  }
  tree_.put(kRelease, "6.7.0");
  tree_.remove(kFaults);
  expect("heat.client", Support::not_supported, "CONFIG_USERFAULTFD", "");
}

TEST_F(HeatCapabilities, OfMappingsNeedWhatTheKernelTellsOfThem) {
  const std::string clear = "/proc/self/clear_refs";
  expect("heat.clear_refs", Support::supported, "", "");
  tree_.put(kSelfSmaps, "00400000-00401000 r--p 0 08:01 7 /bin/a\nRss: 4 kB\n");
  expect("heat.clear_refs", Support::not_supported, "does not tell", "");
  tree_.remove(kSelfSmaps);
  expect("heat.clear_refs", Support::not_supported, tree_.at(kSelfSmaps),
         "CONFIG_PROC_PAGE_MONITOR");
  tree_.remove(clear);
  expect("heat.clear_refs", Support::not_supported, tree_.at(clear), "CONFIG_PROC_PAGE_MONITOR");
  std::filesystem::create_directory(tree_.at(clear));
  expect("heat.clear_refs", Support::not_supported, "is not a file", "");
}

TEST_F(HeatCapabilities, ThatAUserIsRefusedSayWhoMayHaveThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  for (const char* const file : {kContexts, kSelfSmaps}) {
    std::filesystem::permissions(tree_.at(file), std::filesystem::perms::none);
  }
  tree_.put("/proc/sys/kernel/yama/ptrace_scope", "2\n");
  EXPECT_TRUE(as_nobody(tree_, [&] {
    expect("heat.damon", Support::not_permitted, "Permission denied", "root");
    expect("heat.clear_refs", Support::not_permitted, "Permission denied", "the user of");
    expect("heat.written", Support::not_permitted, "ptrace_scope is 2", "root");
  }));
}

TEST_F(HeatCapabilities, OfTheKernelsMonitorLeaveItToThoseWhoUseItAndSayWhatItCannot) {
  expect("heat.damon", Support::supported, "--backend damon", "");
  const std::string operations =
      "/sys/kernel/mm/damon/admin/kdamonds/0/contexts/0/avail_operations";
  tree_.put(kContexts, "2\n");
  expect("heat.damon", Support::not_permitted, "somebody else", "end what uses DAMON");
  tree_.put(operations, "paddr\n");
  expect("heat.damon", Support::not_permitted, "cannot watch processes", "CONFIG_DAMON_VADDR");
  tree_.remove(operations);
  tree_.put(kContexts, "0\n");
  // The names of the kernel's functions tell it while nobody uses DAMON.
  const std::string any = "0000000000000000 T damon_select_ops\n";
  const std::string memory = "0000000000000000 t damon_pa_check_accesses\n";
  tree_.put("/proc/kallsyms", any + memory + "0000000000000000 t damon_va_check_accesses\n");
  expect("heat.damon", Support::supported, "--backend damon", "");
  tree_.put("/proc/kallsyms", any + memory);
  expect("heat.damon", Support::not_supported, "--ops paddr", "CONFIG_DAMON_VADDR");
  tree_.put("/proc/kallsyms", any);
  expect("heat.damon", Support::not_supported, "cannot watch processes", "CONFIG_DAMON_VADDR");
  tree_.put("/proc/kallsyms", "0000000000000000 T other\n");  // the kernel does not tell
  expect("heat.damon", Support::supported, "--backend damon", "");
  tree_.put(kContexts, "many\n");
  expect("heat.damon", Support::not_supported, "\"many\"", "");
  tree_.remove("/sys/kernel/mm/damon/admin");
  expect("heat.damon", Support::not_supported, "does not exist", "CONFIG_DAMON_SYSFS");
}

}  // namespace
}  // namespace shmif::perf::test
