// Where a job runs, with what rights, and which commands run before and behind it: as the kernel
// says, while it is at work.

#include <grp.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "instruments/watch/process.hpp"
#include "perf/control/campaign.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf {
namespace {

using test::Child;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A line of /proc/PID/status.
std::string status_of(std::int64_t pid, const std::string& key) {
  const std::string text = text_of("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = text.find('\n' + key + ":\t");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + key.size() + 3;
  return text.substr(begin, text.find('\n', begin) - begin);
}

/// Field number `n` of /proc/PID/stat, as proc(5) numbers them.
long stat_of(std::int64_t pid, int n) {
  std::string text = text_of("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  for (int i = 3; i <= n; ++i) fields >> field;
  return std::stol(field);
}

/// Runs a job with such options, looks at it once it is at work, and ends the run then.
RunResult look(const std::string& options, const std::function<void(std::int64_t pid)>& at) {
  bool looked = false;
  const RunResult result =
      test::run_stopped("[j]\nengine=unix\nrate_iops=1000\nruntime=60\ndrain_time=50ms\n" + options,
                        SIGTERM, 1, [&](const RunProgress& progress) {
                          const JobProgress& job = progress.jobs[0];
                          const bool moves = job.tx_frames + job.rx_frames != 0;
                          if (job.state != JobState::running || !moves) return false;
                          at(job.pid);
                          return looked = true;
                        });
  EXPECT_TRUE(looked || !result.failures.empty());
  return result;
}

TEST(RunPlace, AJobMayRunInRealTime) {
  const RunResult result = look("rtprio=3\n", [](std::int64_t pid) {
    EXPECT_EQ(stat_of(pid, 40), 3);
    EXPECT_EQ(stat_of(pid, 41), SCHED_FIFO);
  });
  if (failed(result, "needs CAP_SYS_NICE")) GTEST_SKIP() << "needs root: SCHED_FIFO";
  EXPECT_TRUE(passed(result));
}

TEST(RunPlace, OfWhoSendsAndReceivesBothAreLocked) {
  const auto locked_kib = [](const std::string& role) {
    long locked = 0;
    EXPECT_TRUE(passed(look("lockmem\nrw=" + role + '\n', [&](std::int64_t pid) {
      locked = std::stol(status_of(pid, "VmLck"));
    })));
    return locked;
  };
  EXPECT_GE(locked_kib("txrx"), locked_kib("tx") + 256);
}

TEST(RunPlace, WhatThereIsNotIsAnErrorOfTheStart) {
  EXPECT_TRUE(failed(run_text("[j]\ncpus_allowed=1023\nnumber_ios=1\n"),
                     "cannot run on CPU 1023 (cpus_allowed)"));
  EXPECT_TRUE(failed(run_text("[j]\nnuma_node=63\nnumber_ios=1\n"), "NUMA node 63"));
  EXPECT_TRUE(failed(run_text("[j]\ncgroup=/no/such/group\nnumber_ios=1\n"), "/no/such/group"));
  const test::TempDir no_group;
  const std::string below = "cgroup=../../.." + no_group.path() + '\n';
  EXPECT_TRUE(failed(run_text("[j]\nnumber_ios=1\n" + below), "cannot enter cgroup"));
  EXPECT_TRUE(std::filesystem::is_empty(no_group.path()));
  EXPECT_TRUE(
      failed(run_text("[j]\nuid=no-such-user\nnumber_ios=1\n"), "there is no user no-such-user"));
  EXPECT_TRUE(failed(run_text("[j]\nthread\nuid=65534\nnumber_ios=1\n"),
                     "a thread cannot change its user"));
  // It would take the whole program along.
  EXPECT_TRUE(failed(run_text("[j]\nthread\ncgroup=/sys/fs/cgroup\nnumber_ios=1\n"),
                     "a thread cannot change its control group"));
}

TEST(RunPlace, MemoryComesByThePolicy) {
  if (text_of("/proc/self/numa_maps").empty()) GTEST_SKIP() << "a kernel without NUMA";
  // What numa_maps calls each of them.
  for (const auto& [policy, shown] : std::initializer_list<std::pair<std::string, std::string>>{
           {"bind:0", " bind:0 "},
           {"bind:all", " bind:"},
           {"interleave:0", " interleave:0 "},
           {"prefer:0", " prefer:0 "},
           {"local", " local "},
           {"default", " default "}}) {
    EXPECT_TRUE(passed(look("numa_mem_policy=" + policy + '\n', [&](std::int64_t pid) {
      const std::string maps = text_of("/proc/" + std::to_string(pid) + "/numa_maps");
      EXPECT_NE(maps.find(shown), std::string::npos) << policy << '\n' << maps;
    })));
  }
  EXPECT_TRUE(passed(look("numa_cpu_nodes=all\n", [](std::int64_t pid) {
    const std::string maps = text_of("/proc/" + std::to_string(pid) + "/numa_maps");
    EXPECT_EQ(maps.find(" bind:"), std::string::npos) << "the CPUs say nothing about memory";
  })));
  for (const char* wrong :
       {"numa_mem_policy=bind:63\n", "numa_mem_policy=interleave:0,63\n", "numa_cpu_nodes=63\n"}) {
    EXPECT_TRUE(
        failed(run_text(std::string("[j]\nnumber_ios=1\n") + wrong), "there is no NUMA node 63"));
  }
}

TEST(RunPlace, MemoryIsThatOfOneOfTwoNodesOrOfBoth) {
  const std::string second = text_of("/sys/devices/system/node/node1/cpulist");
  if (second.empty()) GTEST_SKIP() << "one NUMA node";
  /// The pages of all mappings with this policy that are on a node.
  const auto pages_of = [](std::int64_t pid, const std::string& policy, const std::string& node) {
    std::istringstream maps(text_of("/proc/" + std::to_string(pid) + "/numa_maps"));
    long pages = 0;
    for (std::string line; std::getline(maps, line);) {
      if (line.find(' ' + policy + ' ') == std::string::npos) continue;
      const std::size_t at = line.find(' ' + node + '=');
      if (at != std::string::npos && line.find(" anon=") != std::string::npos) {
        pages += std::stol(line.substr(at + node.size() + 2));
      }
    }
    return pages;
  };
  EXPECT_TRUE(passed(look("numa_mem_policy=interleave:0-1\n", [&](std::int64_t pid) {
    EXPECT_GT(pages_of(pid, "interleave:0-1", "N0"), 0);
    EXPECT_GT(pages_of(pid, "interleave:0-1", "N1"), 0);
  })));
  EXPECT_TRUE(passed(look("numa_node=1\n", [&](std::int64_t pid) {
    EXPECT_EQ(status_of(pid, "Cpus_allowed_list") + '\n', second);
    EXPECT_GT(pages_of(pid, "bind:1", "N1"), 0);
  })));
  EXPECT_TRUE(passed(look("numa_cpu_nodes=1\nnuma_mem_policy=bind:0\n", [&](std::int64_t pid) {
    EXPECT_EQ(status_of(pid, "Cpus_allowed_list") + '\n', second);
    EXPECT_GT(pages_of(pid, "bind:0", "N0"), 0);
  })));
}

/// A control group of version 2 of this test's own; empty: none can be made.
std::string own_cgroup() {
  std::ifstream mounts("/proc/self/mounts");
  std::string device, path, type, rest;
  while (mounts >> device >> path >> type && std::getline(mounts, rest)) {
    if (type != "cgroup2") continue;
    path += "/shmif-run-place-" + std::to_string(::getpid());
    if (::mkdir(path.c_str(), 0755) == 0) return path;
  }
  return {};
}

/// A control group for the groups that runs make; at the end it is removed, which works only if no
/// run left anything in it.
class RunGroups : public testing::Test {
 protected:
  void SetUp() override {
    if (parent_.empty()) {
      GTEST_SKIP() << "no control group of version 2 that can be written to";
    }
  }
  void TearDown() override {
    if (parent_.empty()) return;
    EXPECT_TRUE(test::eventually([&] { return ::rmdir(parent_.c_str()) == 0; })) << parent_;
  }
  /// Why a run cannot be started; empty: it can.
  static std::string why_not(const std::string& text) {
    const JobSet set = test::set_of(text);
    const auto runner = Runner::create(set.run, expand(set).value());
    return runner ? "" : runner.error().message;
  }
  bool exists(const std::string& group) const { return std::filesystem::exists(parent_ + group); }

  const std::string parent_ = own_cgroup();
  const std::string made_ = parent_ + "/made";
};

TEST_F(RunGroups, OneThatTheRunMakesHasItsJobsAndIsRemovedAtTheEnd) {
  EXPECT_TRUE(passed(look("cgroup=" + made_ + '\n', [&](std::int64_t pid) {
    const std::string of_job = text_of("/proc/" + std::to_string(pid) + "/cgroup");
    EXPECT_NE(of_job.find(made_.substr(parent_.rfind('/')) + '\n'), std::string::npos) << of_job;
  })));
  EXPECT_FALSE(exists("/made"));
  EXPECT_TRUE(exists("")) << "which the run did not make";
}

TEST_F(RunGroups, OneMayStayAndThenALaterRunDoesNotRemoveIt) {
  EXPECT_TRUE(passed(
      run_text("[global]\nnumber_ios=1\ncgroup=" + made_ + "\n[a]\ncgroup_nodelete\n[b]\n")));
  EXPECT_TRUE(exists("/made"));
  EXPECT_TRUE(passed(run_text("[a]\nnumber_ios=1\ncgroup=" + made_ + '\n')));
  EXPECT_TRUE(exists("/made"));
  EXPECT_EQ(why_not("[a]\nnumber_ios=1\ncgroup_weight=50\ncgroup=" + made_ + '\n'),
            "job \"a\": cgroup_weight: cgroup " + made_ +
                " exists already, and is somebody else's (write its cpu.weight yourself, name "
                "another one, or remove it with rmdir if a run that was killed left it)");
  EXPECT_TRUE(exists("/made"));
  EXPECT_TRUE(test::eventually([&] { return ::rmdir(made_.c_str()) == 0; }));
}

TEST_F(RunGroups, NoneIsLeftByAJobThatFailsOrIsKilled) {
  const std::string options = "cgroup=" + made_ + '\n';
  EXPECT_TRUE(failed(run_text("[a]\nnumber_ios=1\nexec_prerun=false\n" + options), "exec_prerun"));
  EXPECT_FALSE(exists("/made"));
  EXPECT_TRUE(failed(run_text("[a]\nrate_iops=1k\nruntime=60\n" + options,
                              test::signal_in(JobState::running, 0, SIGKILL)),
                     "signal 9"));
  EXPECT_FALSE(exists("/made"));
}

TEST_F(RunGroups, OneThatStillHasAProcessIsNamedAndStays) {
  Child stays([] { return ::pause(); });
  const RunResult result = look("cgroup=" + made_ + '\n', [&](std::int64_t) {
    std::ofstream(made_ + "/cgroup.procs") << stays.pid() << std::flush;
  });
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(std::ranges::count(
                result.warnings,
                "cannot remove cgroup " + made_ +
                    ", which the run made: Device or resource busy (end its processes, and remove "
                    "it with rmdir)"),
            1);
  EXPECT_TRUE(exists("/made"));
  stays.kill_and_wait();
  EXPECT_TRUE(test::eventually([&] { return ::rmdir(made_.c_str()) == 0; }));
}

TEST_F(RunGroups, ItsWeightIsThatOfTheOptionOrTheRunSaysWhatItNeeds) {
  // Works where the parent has the controller; a mount beside those of version 1 lacks it.
  const bool has_cpu =
      bool(std::ofstream(parent_ + "/cgroup.subtree_control") << "+cpu" << std::flush);
  const std::string options = "cgroup_weight=50\ncgroup=" + made_ + '\n';
  if (has_cpu) {
    EXPECT_TRUE(passed(
        look(options, [&](std::int64_t) { EXPECT_EQ(text_of(made_ + "/cpu.weight"), "50\n"); })));
  } else {
    EXPECT_EQ(why_not("[a]\nnumber_ios=1\n" + options),
              "job \"a\": cannot give cgroup " + made_ +
                  " the weight 50 (cgroup_weight): No such file or directory (its parent must pass "
                  "on the controller cpu: echo +cpu >" +
                  parent_ + "/cgroup.subtree_control)");
  }
  EXPECT_FALSE(exists("/made"));
}

TEST(RunPlace, RightsAreGivenUpOnceTheDevicesAreOpen) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives up rights";
  // The bus is root's alone, and the group of whoever starts the run has other groups, too.
  const test::TempBus bus(test::roomy(1));
  ASSERT_EQ(::chmod(bus.path().c_str(), 0600), 0);
  const test::TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0777), 0);
  Child with_groups([&] {
    const gid_t groups[] = {4, 24};
    if (::setgroups(2, groups) != 0) return 1;
    bool same = false;
    const RunResult result = run_text(
        "[global]\naux-path=" + dir.path() + "\n[j]\nbus=" + bus.path() +
            "\nuid=65533\ngid=65532\nrate_iops=1000\nruntime=300ms\nexec_postrun=id\ncpus_allowed="
            "0\n"
            "exec_prerun=sh -c 'id; grep Cpus_allowed_list /proc/self/status'\n",
        [&](const RunProgress& progress) {
          const JobProgress& job = progress.jobs[0];
          if (job.state != JobState::running) return;
          same = status_of(job.pid, "Uid") == "65533\t65533\t65533\t65533" &&
                 status_of(job.pid, "Gid") == "65532\t65532\t65532\t65532" &&
                 status_of(job.pid, "Groups").find_first_not_of(" ") == std::string::npos &&
                 status_of(job.pid, "CapEff") == "0000000000000000";
        });
    if (!passed(result)) {
      std::fprintf(stderr, "%s\n", result.failures[0].c_str());
      return 2;
    }
    return same ? 0 : 3;
  });
  EXPECT_EQ(with_groups.wait(), 0);
  // Its commands have its user, groups and CPUs, also before its devices are open.
  EXPECT_EQ(text_of(dir.file("j.prerun.txt")),
            text_of(dir.file("j.postrun.txt")) + "Cpus_allowed_list:\t0\n");
  EXPECT_EQ(text_of(dir.file("j.postrun.txt")).rfind("uid=65533 gid=65532", 0), 0U)
      << text_of(dir.file("j.postrun.txt"));
}

// A job's user may put anything into the way of its outputs. No file of root may be made or changed
// through that.
TEST(RunPlace, OutputsAreMadeWithTheRightsOfTheJobsUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives up rights";
  const test::TempDir roots;
  const test::TempDir users;
  ASSERT_EQ(::chown(users.path().c_str(), 65533, 65533), 0);
  const std::string job = "[j]\nengine=null\nrw=tx\nnumber_ios=5\nuid=65533\n";
  const std::string to = users.file("out");
  // Logs are made before the run, and captures in it.
  const auto refusal = [](const std::string& text) -> std::string {
    try {
      const RunResult result = run_text(text);
      return result.failures.empty() ? "" : result.failures[0];
    } catch (const Exception& refused) {
      return refused.what();
    }
  };
  for (const std::string& output :
       {"write_pcap=" + to, "engine=pcap\nfilename=" + to, "write_bw_log=" + to}) {
    const std::string name = output == "write_bw_log=" + to ? to + "_bw.j.log" : to;
    const std::string secret = roots.file(output.substr(0, output.find('=')));
    ASSERT_EQ(::symlink(secret.c_str(), name.c_str()), 0);
    EXPECT_NE(refusal(job + output + '\n').find("Permission denied"), std::string::npos) << output;
    EXPECT_NE(::access(secret.c_str(), F_OK), 0) << output;
    ASSERT_EQ(::unlink(name.c_str()), 0);
    EXPECT_TRUE(passed(run_text(job + output + '\n'))) << output;
    struct stat made{};
    ASSERT_EQ(::stat(name.c_str(), &made), 0) << output;
    EXPECT_EQ(made.st_uid, 65533U) << output;
    ASSERT_EQ(::unlink(name.c_str()), 0);
  }
}

TEST(RunCommands, HaveTheirOutputInFilesAndTheirStatusInTheResult) {
  const test::TempDir dir;
  const std::string job = "[global]\naux-path=" + dir.path() + "\n[j]\nengine=unix\nnumber_ios=5\n";
  EXPECT_TRUE(passed(run_text(job + "exec_prerun=echo $HOME \"a  b\"\n"
                                    "exec_postrun=sh -c \"echo out; echo err >&2\"\n")));
  EXPECT_EQ(text_of(dir.file("j.prerun.txt")), "$HOME a  b\n") << "no shell has read it";
  EXPECT_EQ(text_of(dir.file("j.postrun.txt")), "out\nerr\n");
  const struct {
    const char* command;
    const char* message;
  } kCases[] = {
      {"exec_prerun=sh -c \"exit 7\"\n", "did not start: exec_prerun: sh ended with status 7"},
      {"exec_prerun=/no/such/program\n", "exec_prerun: cannot run /no/such/program"},
      {"exec_postrun=sh -c \"kill -9 $$\"\n", "exec_postrun: sh ended with signal 9"}};
  for (const auto& [command, message] : kCases) {
    const RunResult result = run_text(job + command);
    EXPECT_TRUE(failed(result, message));
    const bool ran = std::string(command).find("postrun") != std::string::npos;
    EXPECT_EQ(job_of(result, "j").tx.frames, ran ? 5U : 0U) << command;
  }
}

}  // namespace
}  // namespace shmif::perf
