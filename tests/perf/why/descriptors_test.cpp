// What the watches say when this process may open no more files: that, with the remedy, and neither
// that a process has ended nor that nothing happened.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>

#include "perf/why/group_watch.hpp"
#include "perf/why/net_watch.hpp"
#include "perf/why/sampler.hpp"
#include "tests/perf/membw/trees.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kRemedy =
    ": Too many open files (allow this program more open files: ulimit -n 1024)";

/// Nothing can be opened while it exists.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit none = before_;
    none.rlim_cur = 0;
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;
  ~NoDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

std::string reason_for(const WhySeries& series, const std::string& source) {
  const auto at = std::ranges::find(series.missing, source, &MissingSource::source);
  return at == series.missing.end() ? "" : at->reason;
}

TEST(NoMoreDescriptors, OfAFileAreToldUntilItCanBeRead) {
  const Tree tree;
  tree.put("/proc/stat", "cpu 1\n");
  std::vector<char> buffer;
  RepeatedFile file(tree.at("/proc/stat"));
  {
    const NoDescriptors none;
    EXPECT_FALSE(file.read(buffer));
    EXPECT_EQ(file.error(), EMFILE);
  }
  EXPECT_EQ(file.why(), "cannot read " + tree.at("/proc/stat") + kRemedy);
  EXPECT_EQ(file.read(buffer), "cpu 1\n");
  EXPECT_EQ(file.error(), 0);
  EXPECT_EQ(file.why(), tree.at("/proc/stat") + " is empty or has another form");
  {
    const NoDescriptors none;
    EXPECT_EQ(file.read(buffer), "cpu 1\n") << "it is open";
    file.close();
    EXPECT_FALSE(file.read(buffer));
  }
  tree.remove("/proc/stat");
  EXPECT_FALSE(file.read(buffer));
  EXPECT_EQ(file.why(), "cannot read " + tree.at("/proc/stat") + ": No such file or directory");
  EXPECT_EQ(file.path(), tree.at("/proc/stat"));
}

TEST(NoMoreDescriptors, OfAGroupAreMissed) {
  if (shmif::test::kSanitized)
    GTEST_SKIP() << "checks of objects need descriptors themselves, under sanitizers";
  const Tree tree;
  tree.put("/proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n");
  const std::string file = "/sys/fs/cgroup/rig/cpu.stat";
  tree.put(file, "throttled_usec 500\n");
  WhySeries series;
  GroupWatch watch(tree.files());
  {
    const NoDescriptors none;
    EXPECT_EQ(watch.find("0::/rig\n", series), 0U);
  }
  EXPECT_EQ(reason_for(series, "control groups"), "cannot read " + tree.at(file) + kRemedy);
  for (const int us : {507, 509}) {
    tree.put(file, "throttled_usec " + std::to_string(us) + '\n');
    series.ends_s.push_back(us);
    watch.sample(series);
  }
  EXPECT_EQ(series.groups.at(0).steps.at(0).throttled_us, 0U) << "where it began is not known";
  EXPECT_EQ(series.groups[0].steps.at(1).throttled_us, 2U);
  EXPECT_EQ(series.missing.size(), 1U);
}

TEST(NoMoreDescriptors, OfInterfacesAreMissedAndThoseOfATableThatIsNotThereAreNot) {
  const Tree tree;
  for (const char* const process : {"41", "42"}) {
    tree.put("/proc/" + std::string(process) + "/ns/net", "");
  }
  tree.put("/proc/41/net/dev", "eth0: 0 10 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
  WhySeries series;
  NetWatch watch(tree.files());
  ASSERT_NE(watch.find(42, series), 0U);
  EXPECT_EQ(reason_for(series, "/proc/PID/net/dev"), "");
  {
    const NoDescriptors none;
    ASSERT_NE(watch.find(41, series), 0U);
  }
  EXPECT_EQ(reason_for(series, "/proc/PID/net/dev"),
            "cannot read " + tree.at("/proc/41/net/dev") + kRemedy);
  EXPECT_TRUE(series.devices.empty());
}

/// Process 41, of one thread.
class NoDescriptorsForThreads : public ::testing::Test {
 protected:
  NoDescriptorsForThreads() {
    tree.put("/proc/41/status", "Name:\tprog\n");
    put(0);
  }
  void put(int turns) {
    std::string line = "41 (prog) S";
    for (int field = 4; field <= 52; ++field) {
      line += field == 20 ? " 1" : field == 22 ? " 7" : " 0";
    }
    const std::string count = std::to_string(turns);
    tree.put("/proc/41/task/41/stat", line + '\n');
    tree.put("/proc/41/task/41/schedstat", count + "000 0 " + count + '\n');
    tree.put("/proc/41/task/41/sched", "se.nr_migrations : " + count +
                                           "\nnr_voluntary_switches : " + count +
                                           "\nnr_involuntary_switches : 0\n");
  }
  void look() { sampler.sample(looks_++ * (kSecond / 10)); }

  const Tree tree;
  // Its constructor reads files of the tree.
  WhySampler sampler{(put_self(), tree.files()), 0};

 private:
  void put_self() const {
    tree.put("/proc/self/schedstat", "5 5 5\n");
    tree.put("/proc/self/sched", "se.nr_migrations : 1\nnr_voluntary_switches : 1\n");
  }
  std::uint64_t looks_ = 0;
};

TEST_F(NoDescriptorsForThreads, AreNoReasonToTakeAProcessForOneThatHasEnded) {
  const std::size_t job = sampler.add_job("rx");
  int error = 0;
  {
    const NoDescriptors none;
    EXPECT_FALSE(sampler.add_process(job, 41));
    error = errno;
  }
  EXPECT_EQ(error, EMFILE);
  look();
  EXPECT_TRUE(sampler.series().tasks_missed);
  EXPECT_EQ(reason_for(sampler.series(), "/proc/PID/task"),
            "cannot list " + tree.at("/proc/41/task") + kRemedy);
}

TEST_F(NoDescriptorsForThreads, AtTheFirstLookAreTheReasonThatItIsNotKnown) {
  ASSERT_TRUE(sampler.add_process(sampler.add_job("rx"), 41));
  {
    const NoDescriptors none;
    look();
  }
  EXPECT_FALSE(sampler.add_process(0, 41)) << "it is still watched";
  EXPECT_TRUE(sampler.series().tasks_missed);
  EXPECT_EQ(reason_for(sampler.series(), "/proc/PID/task"),
            "cannot read " + tree.at("/proc/41/task/41/stat") + kRemedy);
  EXPECT_TRUE(sampler.series().tasks.empty());
  look();
  put(3);
  look();
  ASSERT_EQ(sampler.series().tasks.size(), 1U);
  EXPECT_EQ(sampler.series().tasks[0].first, 1U) << "it did not begin there, it was missed";
  ASSERT_EQ(sampler.series().tasks[0].steps.size(), 1U);
  EXPECT_EQ(sampler.series().tasks[0].steps[0].voluntary, 3U);
}

TEST_F(NoDescriptorsForThreads, ForSwitchesLeaveTheIntervalUnknown) {
  ASSERT_TRUE(sampler.add_process(sampler.add_job("rx"), 41));
  look();  // a thread that never ran has switched never: nobody reads how often
  put(3);
  {
    const NoDescriptors none;
    look();
  }
  EXPECT_EQ(reason_for(sampler.series(), "/proc/PID/sched"),
            "cannot read " + tree.at("/proc/41/task/41/sched") + kRemedy);
  const auto& steps = sampler.series().tasks.at(0).steps;
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_FALSE(steps[0].known);
  EXPECT_EQ(steps[0].run_us, 0U);
  for (const int turns : {5, 9}) {
    put(turns);
    look();
  }
  EXPECT_TRUE(steps.at(2).known);
  EXPECT_EQ(steps[2].voluntary, 4U);
}

}  // namespace
}  // namespace shmif::perf::test
