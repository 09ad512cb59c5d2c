// A job's process and thread: how it begins and ends, and where and with which rights it is.

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "perf/control/run_state.hpp"
#include "perf/job/job_options.hpp"
#include "perf/worker/placement.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::job_place {
namespace {

using test::Child;
using test::eventually;

// ---- Processes and threads ----

bool ends(JobRunner& runner) {
  return eventually([&] { return runner.ended(); });
}

TEST(JobRunner, TellsHowAProcessEndedHoweverOftenItIsAsked) {
  const auto status = JobRunner::start(false, [] { return 41; }).value();
  EXPECT_FALSE(status->is_thread());
  EXPECT_GT(status->pid(), 0);
  EXPECT_FALSE(status->ended_already()) << "nobody has looked";
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(ends(*status));
    EXPECT_TRUE(status->ended_already());
    EXPECT_EQ(status->exit().status, 41);
    EXPECT_EQ(status->exit().signal, std::nullopt);
  }
  status->signal(SIGKILL);  // to nobody
  const auto killed = JobRunner::start(false, [] {
                        for (;;) ::pause();
                        return 0;
                      }).value();
  EXPECT_FALSE(killed->ended());
  killed->signal(SIGTERM);
  killed->wait();
  EXPECT_TRUE(killed->ended_already());
  killed->wait();
  EXPECT_EQ(killed->exit().status, std::nullopt);
  EXPECT_EQ(killed->exit().signal, SIGTERM);
}

TEST(JobRunner, AProcessGoesWithItsRunner) {
  pid_t pid = 0;
  {
    const auto runner = JobRunner::start(false, [] {
                          for (;;) ::pause();
                          return 0;
                        }).value();
    pid = runner->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1) << "it is not even a zombie";
}

// ---- Where a job is ----

/// What is found in a thread that took the place of `job`; empty if it could not.
std::optional<int> in_place(const JobOptions& job, const std::function<int()>& look) {
  std::optional<int> found;
  std::thread([&] {
    if (take_place(job)) found = look();
  }).join();
  return found;
}

/// The CPUs that this thread may be on.
std::vector<int> own_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

TEST(JobPlace, IsThatOfItsThreadAlone) {
  JobOptions job;
  EXPECT_EQ(in_place(job, [] { return ::prctl(PR_GET_TIMERSLACK); }), 1) << "it sleeps to the ns";
  EXPECT_GT(::prctl(PR_GET_TIMERSLACK), 1);
  job.nice = 19;  // which anybody may have
  const std::vector<int> last{own_cpus().back()};
  job.cpus_allowed = last;
  const int nice = ::getpriority(PRIO_PROCESS, 0);
  EXPECT_EQ(
      in_place(job, [] { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid())); }), 19);
  EXPECT_EQ(in_place(job, [&] { return own_cpus() == last ? 1 : 0; }), 1);
  EXPECT_EQ(::getpriority(PRIO_PROCESS, 0), nice);
}

// ---- Rights ----

/// In a process of root: becomes what these say. Result: 0 if it is then as wanted.
int becomes(const std::string& uid, const std::string& gid, unsigned user, unsigned group) {
  Child child([&] {
    const gid_t groups[] = {4, 24};
    if (::setgroups(2, groups) != 0) return 1;
    ::prctl(PR_SET_PDEATHSIG, 0);
    JobOptions job;
    job.uid = uid;
    job.gid = gid;
    if (!drop_privileges(job)) return 2;
    uid_t users[3];
    gid_t own[3];
    ::getresuid(&users[0], &users[1], &users[2]);
    ::getresgid(&own[0], &own[1], &own[2]);
    for (const uid_t each : users) {
      if (each != user) return 3;
    }
    for (const gid_t each : own) {
      if (each != group) return 4;
    }
    if (::getgroups(0, nullptr) != 0) return 5;
    int on_death = 0;
    ::prctl(PR_GET_PDEATHSIG, &on_death);
    return on_death == SIGKILL ? 0 : 6;
  });
  return child.wait();
}

TEST(JobRights, AreGivenUpByNumberOrByNameAndEachAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives up rights";
  EXPECT_EQ(becomes("65533", "65532", 65533, 65532), 0);
  EXPECT_EQ(becomes("65533", "", 65533, ::getegid()), 0);
  EXPECT_EQ(becomes("", "65532", ::geteuid(), 65532), 0);
  const passwd* const user = ::getpwnam("nobody");
  if (user == nullptr) return;
  const unsigned uid = user->pw_uid;
  const group* const theirs = ::getgrnam("daemon");
  if (theirs == nullptr) return;
  EXPECT_EQ(becomes("nobody", "daemon", uid, theirs->gr_gid), 0);
}

TEST(JobRights, OfWhomNobodyKnowsAreRefusedBeforeAnyIsGivenUp) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives up rights";
  Child child([] {
    const auto refused = [](const char* uid, const char* gid, const std::string& wanted) {
      JobOptions job;
      job.uid = uid;
      job.gid = gid;
      const auto done = drop_privileges(job);
      return !done && done.error().message == wanted;
    };
    if (!refused("65533", "no-such", "there is no group no-such")) return 1;
    if (!refused("65533x", "65532", "there is no user 65533x")) return 2;
    if (!refused("no-such", "", "there is no user no-such")) return 3;
    return ::geteuid() == 0 && ::getegid() == 0 ? 0 : 4;
  });
  EXPECT_EQ(child.wait(), 0);
  JobOptions none;
  none.thread = true;
  EXPECT_TRUE(drop_privileges(none)) << "nothing is asked for";
}

}  // namespace

}  // namespace shmif::perf::job_place

namespace shmif::perf::numa_nodes {

// The nodes of a machine with several, from a folder like the kernel's.

namespace {

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text << '\n';
}

class NumaMachine : public testing::Test {
 protected:
  void SetUp() override {
    write(folder_.path() + "/online", "0-1,3");
    write(folder_.path() + "/node0/cpulist", "0-3");
    write(folder_.path() + "/node1/cpulist", "4,6");
    write(folder_.path() + "/node3/cpulist", "");  // only memory
  }
  test::TempDir folder_;
  const NumaNodes nodes_{folder_.path()};
};

TEST_F(NumaMachine, AllNodesAreThoseThatAreOnline) {
  EXPECT_EQ(nodes_.named({kAllNodes}, "o").value(), (std::vector{0, 1, 3}));
  EXPECT_EQ(nodes_.named({1, 3}, "o").value(), (std::vector{1, 3}));
  EXPECT_EQ(nodes_.named({}, "o").value(), std::vector<int>());
}

TEST_F(NumaMachine, ANodeThatIsNotThereIsNamedWithThoseThatAre) {
  const auto named = nodes_.named({0, 2}, "numa_mem_policy");
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().message,
            "there is no NUMA node 2 (numa_mem_policy; this machine has 0-1,3)");
  EXPECT_FALSE(nodes_.cpus_of({2}, "numa_cpu_nodes"));
}

TEST_F(NumaMachine, TheCpusAreThoseOfAllItsNodes) {
  EXPECT_EQ(nodes_.cpus_of({0}, "o").value(), (std::vector{0, 1, 2, 3}));
  EXPECT_EQ(nodes_.cpus_of({0, 1}, "o").value(), (std::vector{0, 1, 2, 3, 4, 6}));
  EXPECT_EQ(nodes_.cpus_of({kAllNodes}, "o").value(), (std::vector{0, 1, 2, 3, 4, 6}));
  EXPECT_EQ(nodes_.cpus_of({3}, "o").value(), std::vector<int>());
}

TEST_F(NumaMachine, ANodeOfMemoryOnlyHasAListOfCpusThatIsEmpty) {
  EXPECT_TRUE(nodes_.lists_cpus_of({3}));
  EXPECT_TRUE(nodes_.lists_cpus_of({kAllNodes}));
  EXPECT_FALSE(nodes_.lists_cpus_of({}));
  EXPECT_FALSE(nodes_.lists_cpus_of({2})) << "there is no such node";
}

TEST(NumaMachines, OneWithoutAListHasOneNode) {
  const test::TempDir empty;
  const NumaNodes nodes(empty.path());
  EXPECT_EQ(nodes.named({kAllNodes}, "o").value(), std::vector{0});
  EXPECT_TRUE(nodes.named({0}, "o"));
  EXPECT_FALSE(nodes.named({1}, "o"));
  EXPECT_EQ(nodes.cpus_of({0}, "o").value(), std::vector<int>());
  EXPECT_FALSE(nodes.lists_cpus_of({0}));
  EXPECT_FALSE(nodes.lists_cpus_of({kAllNodes}));
}

}  // namespace

}  // namespace shmif::perf::numa_nodes
