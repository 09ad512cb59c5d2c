// Control groups: which files tell what, of both versions and wherever they are mounted.

#include "instruments/why/task_watch.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

/// Groups in a tree of files, at which a test looks.
class GroupFiles : public ::testing::Test {
 protected:
  void mount(const std::string& lines) { tree.put("/proc/self/mountinfo", lines); }
  void begin() { watch_.emplace(tree.files()); }
  std::uint16_t find(const std::string& text) {
    if (!watch_) begin();
    return watch_->find(text, series);
  }
  void look() {
    series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    watch_->sample(series);
  }
  /// Of the last interval.
  const GroupStep& step(std::size_t group = 0) const {
    return series.groups.at(group).steps.back();
  }

  static constexpr const char* kUnified =
      "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
  const Tree tree;
  WhySeries series;

 private:
  std::optional<GroupWatch> watch_;
};

TEST_F(GroupFiles, OfVersion2TellQuotasLimitsAndPressure) {
  mount(kUnified);
  const std::string folder = "/sys/fs/cgroup/rig/";
  const auto put = [&](int us, int periods, const std::string& events, int pressure) {
    tree.put(folder + "cpu.stat", "usage_usec 9\nnr_periods 7\nnr_throttled " +
                                      std::to_string(periods) + "\nthrottled_usec " +
                                      std::to_string(us) + '\n');
    tree.put(folder + "memory.events.local", events);
    tree.put(folder + "memory.pressure",
             "some avg10=0.00 avg60=0.00 avg300=0.00 total=" + std::to_string(pressure) +
                 "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
  };
  put(1000, 10, "low 1\nhigh 20\nmax 300\noom 4000\noom_kill 50000\n", 700);
  EXPECT_EQ(find("0::/rig\n"), 0U);
  ASSERT_EQ(series.groups.size(), 1U);
  EXPECT_EQ(series.groups[0].name, "/rig");
  EXPECT_EQ(series.groups[0].memory_name, "/rig");
  put(1040, 13, "low 9\nhigh 22\nmax 307\noom 4011\noom_kill 99999\n", 777);
  look();
  EXPECT_EQ(step().throttled_us, 40U);
  EXPECT_EQ(step().throttled_periods, 3U);
  EXPECT_EQ(step().at_limit, 2U + 7U + 11U);
  EXPECT_EQ(step().memory_us, 77U);
  look();
  EXPECT_EQ(step().throttled_us + step().throttled_periods + step().at_limit, 0U) << "once";
  EXPECT_EQ(step().memory_us, 0U);
  EXPECT_EQ(series.groups[0].steps.size(), 2U);
  EXPECT_TRUE(series.missing.empty());
}

TEST_F(GroupFiles, OfAGroupAndThoseAboveAddUp) {
  mount(kUnified);
  const auto put = [&](const std::string& group, int limits, int pressure, int throttled) {
    const std::string folder = "/sys/fs/cgroup" + group + '/';
    tree.put(folder + "memory.events.local", "max " + std::to_string(limits) + '\n');
    tree.put(folder + "memory.pressure", "some total=" + std::to_string(pressure) + '\n');
    tree.put(folder + "cpu.stat", "throttled_usec " + std::to_string(throttled) + '\n');
  };
  put("", 1, 1, 1);  // the first group has no limits
  put("/outer", 10, 100, 1000);
  put("/outer/inner", 20, 200, 2000);
  find("0::/outer/inner\n");
  put("", 5000, 5000, 5000);
  put("/outer", 13, 105, 1030);
  put("/outer/inner", 24, 206, 2007);
  look();
  EXPECT_EQ(step().at_limit, 7U);
  EXPECT_EQ(step().memory_us, 11U);
  EXPECT_EQ(step().throttled_us, 37U);
}

TEST_F(GroupFiles, OfVersion1AreThoseOfTheControllersOfEachLine) {
  mount(
      "31 25 0:27 / /v1/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "32 25 0:28 / /v1/memory rw - cgroup cgroup rw,memory\n"
      "33 25 0:29 / /v1/cpuset rw - cgroup cgroup rw,cpuset\n"
      "34 25 0:30 / /elsewhere rw - ext4 /dev/sda rw\n");
  const auto put = [&](int ns, int periods, int failures) {
    tree.put("/v1/cpu,cpuacct/fast/cpu.stat", "nr_periods 1\nnr_throttled " +
                                                  std::to_string(periods) + "\nthrottled_time " +
                                                  std::to_string(ns) + '\n');
    tree.put("/v1/memory/small/memory.failcnt", std::to_string(failures) + '\n');
    for (const char* const other : {"/v1/cpuset/set/cpu.stat", "/v1/cpuset/set/memory.failcnt"}) {
      tree.put(other, "nr_throttled " + std::to_string(ns) + '\n');
    }
  };
  put(5000, 2, 40);
  EXPECT_EQ(find("12:cpuset:/set\n4:memory:/small\n3:cpu,cpuacct:/fast\n1:name=systemd:/x\n"), 0U);
  EXPECT_EQ(series.groups.at(0).name, "/fast");
  EXPECT_EQ(series.groups[0].memory_name, "/small");
  put(95'000, 7, 43);
  look();
  EXPECT_EQ(step().throttled_us, 90U) << "nanoseconds";
  EXPECT_EQ(step().throttled_periods, 5U);
  EXPECT_EQ(step().at_limit, 3U);
  EXPECT_FALSE(step().memory_us) << "version 1 does not tell";
  EXPECT_EQ(find("4:memory:/small\n"), 1U);
  EXPECT_EQ(series.groups.at(1).name, "");
  EXPECT_EQ(series.groups[1].memory_name, "/small");
  EXPECT_EQ(find("3:cpu,cpuacct:/fast\n"), 2U);
  EXPECT_EQ(series.groups.at(2).name, "/fast");
  EXPECT_EQ(find("12:cpuset:/set\n"), kNowhere) << "another controller";
}

TEST_F(GroupFiles, InsideOfAContainerAreBelowWhatIsMountedThere) {
  mount("30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
  tree.put("/sys/fs/cgroup/rig/cpu.stat", "throttled_usec 5\n");
  tree.put("/sys/fs/cgroup/docker/other/cpu.stat", "throttled_usec 100\n");
  EXPECT_EQ(find("0::/docker/abc/rig\n"), 0U);
  EXPECT_EQ(series.groups.at(0).name, "/docker/abc/rig");
  tree.put("/sys/fs/cgroup/rig/cpu.stat", "throttled_usec 12\n");
  look();
  EXPECT_EQ(step().throttled_us, 7U);
  EXPECT_EQ(find("0::/docker/other\n"), 1U) << "it is not below the mount";
  tree.put("/sys/fs/cgroup2/cpu.stat", "throttled_usec 5\n");
  EXPECT_EQ(find("0::/docker/abc2\n"), kNowhere);
}

/// A group that is removed, and made again, counts from 0.
TEST_F(GroupFiles, ThatCountLessThanBeforeHaveCountedNothing) {
  mount(kUnified);
  const auto put = [&](int us) {
    tree.put("/sys/fs/cgroup/rig/cpu.stat", "throttled_usec " + std::to_string(us) + '\n');
  };
  put(500);
  find("0::/rig\n");
  put(3);
  look();
  EXPECT_EQ(step().throttled_us, 0U);
  put(10);
  look();
  EXPECT_EQ(step().throttled_us, 7U);
}

TEST_F(GroupFiles, WithoutLimitsAreNoGroup) {
  mount(kUnified);
  tree.put("/sys/fs/cgroup/cpu.stat", "throttled_usec 5\n");  // the first group
  for (const char* const text :
       {"", "0::/\n", "0::/nothing\n", "0\n", "0:\n", "5:cpu:/v1\n", "no colons"}) {
    EXPECT_EQ(find(text), kNowhere) << text;
  }
  EXPECT_TRUE(series.groups.empty());
  look();
  EXPECT_TRUE(series.groups.empty());
}

}  // namespace
}  // namespace shmif::perf::test
