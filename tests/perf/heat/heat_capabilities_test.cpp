// Which ways to watch heat there are, on trees of kernel files as other machines have them.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "perf/heat/session.hpp"
#include "tests/perf/membw/as_nobody.hpp"
#include "tests/perf/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kFaults = "/proc/sys/vm/unprivileged_userfaultfd";
constexpr const char* kRelease = "/proc/sys/kernel/osrelease";
constexpr const char* kContexts = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds";
constexpr const char* kWithoutDamon =
    "heat without --backend damon, or a kernel with CONFIG_DAMON_VADDR";

class HeatCapabilities : public ::testing::Test {
 protected:
  HeatCapabilities() {
    tree_.put(kFaults, "0\n");
    tree_.put(kRelease, "6.7.0-1-amd64\n");
    tree_.put("/proc/self/clear_refs", "");
    tree_.put("/proc/self/smaps", "00400000-00401000 r--p 0 08:01 7 /bin/a\nReferenced: 4 kB\n");
    tree_.put(kContexts, "0\n");
  }
  Capability one(const std::string& name) const {
    for (const Capability& each : heat_capabilities(tree_.files())) {
      if (each.name == name) return each;
    }
    ADD_FAILURE() << "no entry " << name;
    return {};
  }
  void expect(const std::string& name, Support state, const std::string& reason,
              const std::string& enable_with) const {
    const Capability found = one(name);
    EXPECT_EQ(word_of(found.state), std::string(word_of(state))) << name;
    EXPECT_EQ(found.reason, reason) << name;
    EXPECT_EQ(found.enable_with, enable_with) << name;
  }

  Tree tree_;
};

TEST_F(HeatCapabilities, OfAMachineThatHasEverything) {
  expect("heat.client", Support::supported,
         "of programs that use the library and are started with SHMIF_HEAT=DIR", "");
  expect("heat.pagemap_scan", Support::supported, "", "");
  expect("heat.written", Support::supported,
         "of a program that heat begins (-- PROGRAM), each page that it writes; reads are known "
         "of mappings",
         "");
  expect("heat.damon", Support::supported,
         "of processes or of physical memory, with --backend damon", "");
}

TEST_F(HeatCapabilities, OfPagesDependOnTheReleaseOfTheKernel) {
  const std::string alone =
      "accesses alone: the kernel has no asynchronous write protection, so writes are not told "
      "apart";
  const std::string none = "userfaultfd(2): the kernel cannot write-protect shared memory";
  const std::string by_page =
      "/proc/PID/pagemap has no PAGEMAP_SCAN: it is read page by page, and writes are not told "
      "apart";
  for (const char* const release : {"6.7.0", "6.10.2-generic", "7.0.0"}) {
    tree_.put(kRelease, release);
    EXPECT_EQ(one("heat.client").enable_with, "") << release;
    EXPECT_EQ(word_of(one("heat.client").state), std::string("supported")) << release;
    expect("heat.pagemap_scan", Support::supported, "", "");
  }
  for (const char* const release : {"6.6.99-lts", "6.1.0", "5.19.0"}) {
    tree_.put(kRelease, release);
    expect("heat.written", Support::not_supported,
           "the kernel has no asynchronous write protection", "Linux 6.7 or newer");
    expect("heat.client", Support::supported, alone, "Linux 6.7 or newer");
    expect("heat.pagemap_scan", Support::not_supported, by_page, "Linux 6.7 or newer");
  }
  for (const char* const release : {"5.18.19", "4.20.0", "6", "unknown"}) {
    tree_.put(kRelease, release);
    expect("heat.client", Support::not_supported, none, "Linux 5.19 or newer");
    expect("heat.pagemap_scan", Support::not_supported, by_page, "Linux 6.7 or newer");
  }
  tree_.put(kRelease, "6.7.0");
  tree_.remove(kFaults);
  expect("heat.client", Support::not_supported,
         "userfaultfd(2): the kernel was built without CONFIG_USERFAULTFD", "");
}

TEST_F(HeatCapabilities, OfMappingsNeedWhatTheKernelTellsOfThem) {
  const std::string smaps = "/proc/self/smaps";
  const std::string clear = "/proc/self/clear_refs";
  tree_.put(smaps, "00400000-00401000 r--p 0 08:01 7 /bin/a\nRss: 4 kB\n");
  expect("heat.clear_refs", Support::not_supported,
         tree_.at(smaps) + " does not tell what was referenced", "");
  tree_.remove(smaps);
  expect("heat.clear_refs", Support::not_supported, tree_.at(smaps) + " does not exist",
         "a kernel with CONFIG_PROC_PAGE_MONITOR");
  tree_.remove(clear);
  expect("heat.clear_refs", Support::not_supported, tree_.at(clear) + " does not exist",
         "a kernel with CONFIG_PROC_PAGE_MONITOR");
  std::filesystem::create_directory(tree_.at(clear));
  expect("heat.clear_refs", Support::not_supported, tree_.at(clear) + " is not a file", "");
}

TEST_F(HeatCapabilities, ThatAUserIsRefusedSayWhoMayHaveThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string smaps = "/proc/self/smaps";
  for (const char* const file : {kContexts, "/proc/self/smaps"}) {
    std::filesystem::permissions(tree_.at(file), std::filesystem::perms::none);
  }
  tree_.put("/proc/sys/kernel/yama/ptrace_scope", "2\n");
  EXPECT_TRUE(as_nobody(tree_, [&] {
    expect("heat.damon", Support::not_permitted,
           "cannot open " + tree_.at(kContexts) + ": Permission denied", "run it as root");
    expect("heat.clear_refs", Support::not_permitted,
           "cannot open " + tree_.at(smaps) + ": Permission denied",
           "run it as the user of the watched program, or as root");
    expect("heat.written", Support::not_permitted,
           "a program cannot be stopped at its beginning: ptrace_scope is 2", "run it as root");
  }));
}

TEST_F(HeatCapabilities, OfTheKernelsMonitorLeaveItToThoseWhoUseIt) {
  const std::string number = tree_.at(kContexts);
  tree_.put(kContexts, "1\n");
  expect("heat.damon", Support::not_permitted,
         number + " is 1: somebody else uses DAMON, and is left alone", "end what uses DAMON");
  tree_.put(kContexts, "2\n");
  expect("heat.damon", Support::not_permitted,
         number + " is 2: somebody else uses DAMON, and is left alone", "end what uses DAMON");
  const std::string operations =
      "/sys/kernel/mm/damon/admin/kdamonds/0/contexts/0/avail_operations";
  tree_.put(operations, "vaddr\nfvaddr\npaddr\n");
  expect("heat.damon", Support::not_permitted,
         number + " is 2: somebody else uses DAMON, and is left alone", "end what uses DAMON");
  tree_.put(operations, "paddr\n");
  expect("heat.damon", Support::not_permitted,
         number +
             " is 2: somebody else uses DAMON, and is left alone; this kernel's DAMON cannot "
             "watch processes",
         kWithoutDamon);
  tree_.remove(operations);
  tree_.put(kContexts, "many\n");
  expect("heat.damon", Support::not_supported, number + " has no number: \"many\"", "");
  tree_.remove("/sys/kernel/mm/damon/admin");
  expect("heat.damon", Support::not_supported,
         tree_.at("/sys/kernel/mm/damon/admin") + " does not exist",
         "a kernel with CONFIG_DAMON_SYSFS");
}

TEST_F(HeatCapabilities, OfAKernelsMonitorThatCannotWatchProcessesSayWhatCan) {
  const auto functions = [&](const std::string& names) {
    tree_.put("/proc/kallsyms", "0000000000000000 T damon_select_ops\n" + names);
  };
  const std::string on_processes = "0000000000000000 t damon_va_check_accesses\n";
  const std::string on_memory = "0000000000000000 t damon_pa_check_accesses\n";
  const std::string all = "of processes or of physical memory, with --backend damon";
  functions(on_processes + on_memory);
  expect("heat.damon", Support::supported, all, "");
  functions(on_memory);
  expect("heat.damon", Support::not_supported,
         "this kernel's DAMON cannot watch processes, only physical memory (--backend damon --ops "
         "paddr)",
         kWithoutDamon);
  functions("");
  expect("heat.damon", Support::not_supported, "this kernel's DAMON cannot watch processes",
         kWithoutDamon);
  tree_.put("/proc/kallsyms", "0000000000000000 T other\n");
  expect("heat.damon", Support::supported, all, "");  // the kernel does not tell
}

}  // namespace
}  // namespace shmif::perf::test
