// What `why` can see, on this machine and on trees of others.

#include "perf/why/sampler.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

class WhyCapabilities : public ::testing::Test {
 protected:
  WhyCapabilities() {
    std::string stat = "1 (cat) R";
    for (int field = 4; field <= 52; ++field) stat += " 0";
    put("/proc/self/stat", stat + '\n');
    put("/proc/self/schedstat", "107690 2434208 2\n");
    put("/proc/self/sched", "se.nr_migrations     :     1\n");
    put("/proc/self/cgroup", "0::/rig\n");
    put("/proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
    put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
    put("/proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
    put("/proc/net/softnet_stat", "01c5a5a1 00000000\n");
  }
  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(dir_.path() + name).parent_path());
    std::ofstream(dir_.path() + name) << text;
  }
  void remove(const std::string& name) const { std::filesystem::remove(dir_.path() + name); }
  Capability one(const std::string& name) const {
    for (const Capability& each : why_capabilities(files_)) {
      if (each.name == name) return each;
    }
    ADD_FAILURE() << "no entry " << name;
    return {};
  }
  void expect(const std::string& name, Support state, const std::string& reason,
              const std::string& enable_with) const {
    const Capability found = one(name);
    EXPECT_EQ(found.state, state) << name;
    EXPECT_EQ(found.reason, reason) << name;
    EXPECT_EQ(found.enable_with, enable_with) << name;
  }

  shmif::test::TempDir dir_;
  KernelFiles files_{dir_.path()};
};

TEST_F(WhyCapabilities, OfAMachineThatHasEverythingAreSupportedWithoutAReason) {
  const auto all = why_capabilities(files_);
  std::vector<std::string> names;
  for (const Capability& each : all) {
    names.push_back(each.name);
    EXPECT_EQ(each.state, Support::supported) << each.name << ": " << each.reason;
    EXPECT_EQ(each.reason + each.enable_with, "") << each.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"why", "why.schedstat", "why.migrations", "why.psi",
                                             "why.cgroup", "why.steal", "why.softnet"}));
}

TEST_F(WhyCapabilities, OfAnEmptyTreeNameTheFileThatIsMissing) {
  const shmif::test::TempDir empty;
  for (const Capability& each : why_capabilities(KernelFiles(empty.path()))) {
    EXPECT_EQ(each.state, Support::not_supported) << each.name;
    EXPECT_NE(each.reason.find("cannot open " + empty.path() + "/proc/"), std::string::npos)
        << each.reason;
    EXPECT_NE(each.reason.find("No such file or directory: "), std::string::npos) << each.reason;
  }
}

TEST_F(WhyCapabilities, AreThoseOfWhatIsInTheFilesAndNotOfTheirNames) {
  const std::map<std::string, std::string> file_of{
      {"why", "/proc/self/stat"},           {"why.schedstat", "/proc/self/schedstat"},
      {"why.psi", "/proc/pressure/memory"}, {"why.cgroup", "/proc/self/cgroup"},
      {"why.steal", "/proc/stat"},          {"why.softnet", "/proc/net/softnet_stat"}};
  for (const auto& [name, file] : file_of) {
    std::ifstream whole(dir_.path() + file);
    const std::string text{std::istreambuf_iterator<char>(whole), {}};
    for (const char* const other : {"", "garbage\n", "total=some avg10\n"}) {
      put(file, other);
      EXPECT_EQ(one(name).state, Support::not_supported) << name << " of \"" << other << '"';
      EXPECT_NE(one(name).reason.find(file), std::string::npos) << one(name).reason;
    }
    remove(file);
    std::filesystem::create_directory(dir_.path() + file);
    EXPECT_EQ(one(name).state, Support::not_supported) << name << " of a directory";
    remove(file);
    ASSERT_EQ(::mkfifo((dir_.path() + file).c_str(), 0600), 0);
    EXPECT_EQ(one(name).state, Support::not_supported) << name << " of a FIFO, without waiting";
    remove(file);
    put(file, text);
    EXPECT_EQ(one(name).state, Support::supported) << name;
  }
}

TEST_F(WhyCapabilities, ThatAUserMayNotReadSayWhoMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::map<std::string, std::string> files{{"why.schedstat", "/proc/self/schedstat"},
                                                 {"why.psi", "/proc/pressure/memory"},
                                                 {"why.softnet", "/proc/net/softnet_stat"}};
  for (const auto& [name, file] : files) {
    std::filesystem::permissions(dir_.path() + file, std::filesystem::perms::none);
  }
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  shmif::test::Child child([&] {
    if (::setuid(65534) != 0) return 1;
    for (const auto& [name, file] : files) {
      expect(name, Support::not_permitted,
             "cannot open " + dir_.path() + file + ": Permission denied",
             "run it as the user of the watched program, or as root");
    }
    return HasFailure() ? 2 : 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(WhyCapabilities, TellWhyThereIsNoRunDelay) {
  put("/proc/self/schedstat", "0 0 0\n");
  expect("why.schedstat", Support::not_supported,
         dir_.path() + "/proc/self/schedstat has only zeros: the kernel does not count",
         "delayacct on the kernel's command line");
  remove("/proc/self/schedstat");
  EXPECT_EQ(one("why.schedstat").enable_with,
            "a kernel with CONFIG_TASK_DELAY_ACCT or CONFIG_SCHEDSTATS");
}

TEST_F(WhyCapabilities, TellHowMigrationsAreCountedWithoutTheFile) {
  put("/proc/self/sched", "cat (1, #threads: 1)\n");
  expect("why.migrations", Support::supported,
         dir_.path() +
             "/proc/self/sched has no nr_migrations: only the changes of CPU between two samples "
             "are counted",
         "");
}

TEST_F(WhyCapabilities, TellHowToSwitchPressureOn) {
  put("/proc/pressure/memory", "full avg10=0.00 total=1\n");
  expect("why.psi", Support::not_supported,
         dir_.path() + "/proc/pressure/memory has no figure \"total\"",
         "psi=1 on the kernel's command line");
  remove("/proc/pressure/memory");
  const Capability psi = one("why.psi");
  EXPECT_EQ(psi.state, Support::not_supported);
  EXPECT_EQ(psi.enable_with, "psi=1 on the kernel's command line");
}

TEST_F(WhyCapabilities, KnowTheControllersOfBothVersions) {
  put("/proc/mounts",
      "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
      "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpuacct,cpu 0 0\n");
  expect("why.cgroup", Support::supported,
         "memory limits are not seen: the controller is not mounted", "");
  put("/proc/mounts", "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n");
  expect("why.cgroup", Support::supported, "quotas are not seen: the controller cpu is not mounted",
         "");
  put("/proc/mounts", "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset,memory_like,cpu_like 0 0\n");
  expect("why.cgroup", Support::not_supported,
         dir_.path() + "/proc/mounts mounts neither the controller cpu nor memory",
         "mount -t cgroup2 none /sys/fs/cgroup");
}

TEST_F(WhyCapabilities, DoubtAStealOfZeroInAVirtualMachine) {
  put("/proc/stat", "cpu  1 2 3 4 5 6 7 0 9 10\n");
  expect("why.steal", Support::supported, "", "");
  put("/proc/cpuinfo", "flags\t\t: fpu vme hypervisor lahf_lm\n");
  expect("why.steal", Support::supported,
         "no steal was counted since boot: this hypervisor may hide it", "");
  put("/proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\n");
  expect("why.steal", Support::supported, "", "");
  put("/proc/stat", "cpu  1 2 3 4 5 6 7\n");
  expect("why.steal", Support::not_supported, dir_.path() + "/proc/stat has no figure of steal",
         "");
}

}  // namespace
}  // namespace shmif::perf::test
