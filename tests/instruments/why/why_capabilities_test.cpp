// What `why` can see, on this machine and on trees of others.

#include "instruments/why/why.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "tests/instruments/membw/as_nobody.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

class WhyCapabilities : public ::testing::Test {
 protected:
  WhyCapabilities() {
    std::string stat = "1 (cat) R";
    for (int field = 4; field <= 52; ++field) stat += " 0";
    tree.put("/proc/self/stat", stat + '\n');
    tree.put("/proc/self/schedstat", "107690 2434208 2\n");
    tree.put("/proc/self/sched", "se.nr_migrations     :     1\n");
    tree.put("/proc/self/cgroup", "0::/rig\n");
    tree.put("/proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
    tree.put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
    tree.put("/proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
    tree.put("/proc/net/softnet_stat", "01c5a5a1 00000000\n");
  }
  Capability one(const std::string& name) const {
    for (const Capability& each : why_capabilities(tree.files())) {
      if (each.name == name) return each;
    }
    ADD_FAILURE() << "no entry " << name;
    return {};
  }
  Tree tree;
};

TEST_F(WhyCapabilities, OfAMachineThatHasEverythingAreSupportedWithoutAReason) {
  const auto all = why_capabilities(tree.files());
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
  const Tree empty;
  for (const Capability& each : why_capabilities(empty.files())) {
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
    const std::string text = tree.text(file);
    for (const char* const other : {"", "garbage\n", "total=some avg10\n"}) {
      tree.put(file, other);
      EXPECT_EQ(one(name).state, Support::not_supported) << name << " of \"" << other << '"';
      EXPECT_NE(one(name).reason.find(file), std::string::npos) << one(name).reason;
    }
    tree.remove(file);
    ASSERT_EQ(::mkfifo(tree.at(file).c_str(), 0600), 0);
    EXPECT_EQ(one(name).state, Support::not_supported) << name << " of a FIFO, without waiting";
    tree.remove(file);
    tree.put(file, text);
    EXPECT_EQ(one(name).state, Support::supported) << name;
  }
}

TEST_F(WhyCapabilities, ThatAUserMayNotReadSayWhoMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::map<std::string, std::string> files{{"why.schedstat", "/proc/self/schedstat"},
                                                 {"why.psi", "/proc/pressure/memory"},
                                                 {"why.softnet", "/proc/net/softnet_stat"}};
  for (const auto& [name, file] : files) ASSERT_EQ(::chmod(tree.at(file).c_str(), 0), 0);
  EXPECT_TRUE(as_nobody(tree, [&] {
    for (const auto& [name, file] : files) {
      const Capability found = one(name);
      EXPECT_EQ(found.state, Support::not_permitted) << name;
      EXPECT_NE(found.reason.find(file + ": Permission denied"), std::string::npos);
      EXPECT_NE(found.enable_with.find("as root"), std::string::npos) << found.enable_with;
    }
  }));
}

/// What a file says, and what is told of it: two words of the reason, and one of the remedy.
TEST_F(WhyCapabilities, TellWhatIsMissingAndTheRemedy) {
  struct Case {
    const char *name, *file, *text;
    Support state;
    const char *reason, *remedy;
  };
  constexpr auto kYes = Support::supported, kNo = Support::not_supported;
  const char* const v1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpuacct,cpu 0 0\n";
  const char* const no_steal = "cpu  1 2 3 4 5 6 7 0 9 10\n";
  for (const Case& each : {
           Case{"why.schedstat", "/proc/self/schedstat", "0 0 0\n", kNo, "only zeros", "delayacct"},
           {"why.schedstat", "/proc/self/schedstat", nullptr, kNo, "No such", "TASK_DELAY_ACCT"},
           {"why.migrations", "/proc/self/sched", "cat (1)\n", kYes, "no nr_migrations", ""},
           {"why.psi", "/proc/pressure/memory", "full total=1\n", kNo, "\"total\"", "psi=1"},
           {"why.psi", "/proc/pressure/memory", nullptr, kNo, "No such", "psi=1"},
           {"why.cgroup", "/proc/mounts", v1, kYes, "memory limits are not seen", ""},
           {"why.cgroup", "/proc/mounts", "cgroup /m cgroup rw,memory 0 0\n", kYes,
            "quotas are not seen", ""},
           {"why.cgroup", "/proc/mounts", "cgroup /s cgroup rw,cpuset,memory_like,cpu_like 0 0\n",
            kNo, "neither the controller cpu nor memory", "mount -t cgroup2"},
           {"why.steal", "/proc/stat", "cpu  1 2 3 4 5 6 7\n", kNo, "no figure of steal", ""},
           {"why.steal", "/proc/stat", no_steal, kYes, "", ""},
           {"why.steal", "/proc/cpuinfo", "flags\t\t: fpu vme hypervisor lahf_lm\n", kYes,
            "hypervisor may hide it", ""},
       }) {
    if (each.text != nullptr) tree.put(each.file, each.text);
    if (each.text == nullptr) tree.remove(each.file);
    const Capability found = one(each.name);
    EXPECT_EQ(found.state, each.state) << each.name;
    EXPECT_NE(found.reason.find(each.reason), std::string::npos) << found.reason;
    EXPECT_NE(found.enable_with.find(each.remedy), std::string::npos) << found.enable_with;
    EXPECT_EQ(found.reason.empty(), *each.reason == 0) << found.reason;
  }
}

}  // namespace
}  // namespace shmif::perf::test
