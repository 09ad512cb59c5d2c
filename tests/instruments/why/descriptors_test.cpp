// What the watches say when this process may open no more files: that, with the remedy, and neither
// that a process has ended nor that nothing happened.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>

#include "tests/instruments/why/files_of_processes.hpp"
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

/// Process 41, of one thread.
class NoDescriptorsForThreads : public FilesOfProcesses {
 protected:
  void put_turns(int turns) { put(41, 41, {.run_us = turns, .turns = turns, .voluntary = turns}); }
};

TEST_F(NoDescriptorsForThreads, AreNoReasonToTakeAProcessForOneThatHasEnded) {
  put(41, 41);
  const std::size_t job = sampler().add_job("rx");
  int error = 0;
  {
    const NoDescriptors none;
    EXPECT_FALSE(sampler().add_process(job, 41));
    error = errno;
  }
  EXPECT_EQ(error, EMFILE);
  look();
  EXPECT_TRUE(series().tasks_missed);
  EXPECT_EQ(reason_for(series(), "/proc/PID/task"),
            "cannot list " + tree.at("/proc/41/task") + kRemedy);
}

TEST_F(NoDescriptorsForThreads, ForSwitchesLeaveTheIntervalUnknown) {
  put_turns(0);
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();  // a thread that never ran has switched never: nobody reads how often
  put_turns(3);
  {
    const NoDescriptors none;
    look();
  }
  EXPECT_EQ(reason_for(series(), "/proc/PID/sched"),
            "cannot read " + tree.at("/proc/41/task/41/sched") + kRemedy);
  const auto& steps = series().tasks.at(0).steps;
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_FALSE(steps[0].known);
  EXPECT_EQ(steps[0].run_us, 0U);
  for (const int turns : {5, 9}) {
    put_turns(turns);
    look();
  }
  EXPECT_TRUE(steps.at(2).known);
  EXPECT_EQ(steps[2].voluntary, 4U);
}

}  // namespace
}  // namespace shmif::perf::test
