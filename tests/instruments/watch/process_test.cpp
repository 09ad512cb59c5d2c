// Processes that are watched: their numbers are given to others again, their names are any text.

#include <gtest/gtest.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <thread>

#include "instruments/watch/process.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

/// A line of /proc/PID/stat with a different number in each field.
std::string stat_line(const std::string& name) {
  std::string line = "77 (" + name + ") R";
  for (int field = 4; field <= 52; ++field) line += ' ' + std::to_string(field * 10);
  return line + '\n';
}

TEST(TaskStatText, GivesEachFieldFromItsPlace) {
  const auto stat = read_task_stat(stat_line("rig"));
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->name, "rig");
  EXPECT_EQ(stat->state, 'R');
  EXPECT_EQ(stat->flags, 90U);
  EXPECT_EQ(stat->minor_faults, 100U);
  EXPECT_EQ(stat->major_faults, 120U);
  EXPECT_EQ(stat->user_ticks, 140U);
  EXPECT_EQ(stat->system_ticks, 150U);
  EXPECT_EQ(stat->threads, 200U);
  EXPECT_EQ(stat->start_ticks, 220U);
  EXPECT_EQ(stat->cpu, 390);
}

TEST(TaskStatText, TakesAnyNameAndNoOtherForm) {
  for (const char* name : {"", "a b", ") R 1 2", "((", "new\nline"}) {
    const auto stat = read_task_stat(stat_line(name));
    ASSERT_TRUE(stat) << name;
    EXPECT_EQ(stat->name, name);
    EXPECT_EQ(stat->start_ticks, 220U);
  }
  const std::string whole = stat_line("rig");
  const std::size_t cpu = whole.find(" 390") + 4;
  EXPECT_TRUE(read_task_stat(whole.substr(0, cpu)));
  for (std::size_t length = 0; length < cpu - 4; ++length) {
    EXPECT_FALSE(read_task_stat(whole.substr(0, length))) << length;
  }
  for (const char* text : {"77 rig) R", "77 )rig( R 1", "77 (rig) RR 4 5"}) {
    EXPECT_FALSE(read_task_stat(text)) << text;
  }
  std::string broken = whole;
  broken.replace(broken.find("220"), 3, "2-0");
  EXPECT_FALSE(read_task_stat(broken));
}

TEST(PidList, IsNumbersAndNothingElse) {
  EXPECT_EQ(read_pids("12").value(), (std::vector<pid_t>{12}));
  EXPECT_EQ(read_pids(" 12,4194304  1\n").value(), (std::vector<pid_t>{12, 4194304, 1}));
  for (const char* text : {"", "12,", "12,,13", "0", "-1", "1x", "4194305", "12;13"}) {
    EXPECT_FALSE(read_pids(text)) << text;
  }
  EXPECT_EQ(read_pids("12,x3").error().message, "\"x3\" is not the number of a process");
  EXPECT_EQ(read_pids("12,13,12").error().message, "process 12 is given twice");
  std::string many = "1";
  for (int pid = 2; pid <= 1024; ++pid) many += ',' + std::to_string(pid);
  EXPECT_EQ(read_pids(many).value().size(), 1024U);
  EXPECT_FALSE(read_pids(many + ",1025"));
}

/// /proc of a process whose first thread has ended while another one went on.
TEST(WatchedProcess, OutlivesItsFirstThreadOnlyWhileAnotherOneOfItGoesOn) {
  struct Case {
    std::string what;
    char first = 'Z', other = 'S';
    std::uint64_t start = 7, flags = 0;
    std::string pending = "0000000000000000";
    bool expected = false;
  };
  for (const Case& each : std::initializer_list<Case>{
           {.what = "one goes on", .expected = true},
           {.what = "it runs", .other = 'R', .flags = 0x400000, .expected = true},
           {.what = "another signal waits", .pending = "0000000000004200", .expected = true},
           {.what = "the first one has not ended", .first = 'S'},
           {.what = "the number is another process's", .start = 8},
           {.what = "it ended, too", .other = 'Z'},
           {.what = "it is gone", .other = 'X'},
           {.what = "it is exiting", .flags = 0x400004},
           {.what = "it is to be killed", .pending = "0000000000000100"}}) {
    const shmif::test::TempDir dir;
    const auto put = [&](const std::string& name, const std::string& text) {
      std::filesystem::create_directories(std::filesystem::path(dir.file(name)).parent_path());
      std::ofstream(dir.file(name)) << text;
    };
    const auto line = [&](char state, std::uint64_t flags) {
      std::string text = std::string("41 (rig) ") + state;
      for (int field = 4; field <= 52; ++field) {
        text += ' ' + std::to_string(field == 9 ? flags : field == 22 ? each.start : 1U);
      }
      return text + '\n';
    };
    const auto status = [](const std::string& pending) {
      return "Name:\trig\nThreads:\t2\nSigPnd:\t" + pending + "\nShdPnd:\t0000000000000100\n";
    };
    for (const std::string folder : {"proc/41/", "proc/41/task/41/"}) {
      put(folder + "stat", line(each.first, 4));
      put(folder + "status", status("0000000000000000"));
    }
    const KernelFiles files(dir.path());
    EXPECT_FALSE(outlives_first_thread({41, 7}, files)) << "it has no other thread";
    put("proc/41/task/42/stat", line(each.other, each.flags));
    put("proc/41/task/42/status", status(each.pending));
    EXPECT_EQ(outlives_first_thread({41, 7}, files), each.expected) << each.what;
  }
  EXPECT_FALSE(outlives_first_thread({41, 7}, KernelFiles("/no/such/folder")));
}

TEST(WatchedProcess, IsKnownByItsStartToo) {
  shmif::test::Child child([]() -> int {
    for (;;) ::pause();
  });
  const auto process = Process::open(child.pid());
  ASSERT_TRUE(process) << process.error().message;
  EXPECT_EQ(process->pid(), child.pid());
  const auto text = KernelFiles().read("/proc/" + std::to_string(child.pid()) + "/stat");
  EXPECT_EQ(process->id().start_ticks, read_task_stat(*text)->start_ticks);
  EXPECT_NE(process->id().start_ticks, 0U);
  EXPECT_FALSE(process->has_ended());
  const pid_t pid = child.pid();
  child.kill_and_wait();
  EXPECT_TRUE(process->has_ended());
  EXPECT_EQ(Process::open(pid).error().code, std::errc::no_such_process);
}

TEST(WatchedProcess, IsRefusedWhereProcNumbersProcessesAsAnotherNamespaceDoes) {
  const shmif::test::Child child([]() -> int {
    for (;;) ::pause();
  });
  const shmif::test::TempDir dir;
  const std::string proc = dir.path() + "/proc/";
  std::filesystem::create_directories(proc + std::to_string(child.pid()));
  std::ofstream(proc + std::to_string(child.pid()) + "/stat") << stat_line("other");
  const KernelFiles files(dir.path());
  EXPECT_TRUE(Process::open(child.pid(), files)) << "a tree without a link tells nothing";
  const auto self_is = [&](const std::string& name) {
    std::filesystem::remove(proc + "self");
    std::filesystem::create_symlink(name, proc + "self");
  };
  self_is(std::to_string(::getpid()));
  EXPECT_TRUE(Process::open(child.pid(), files));
  EXPECT_TRUE(check_numbers(files));
  const std::string other = std::to_string(::getpid() + 1);
  self_is(other);
  const auto refused = Process::open(child.pid(), files);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::not_supported);
  const std::string& message = refused.error().message;
  EXPECT_EQ(message.rfind("cannot watch process " + std::to_string(child.pid()) + ": ", 0), 0U);
  EXPECT_NE(message.find(proc + "self names process " + other), std::string::npos) << message;
  EXPECT_NE(message.find("--mount-proc"), std::string::npos) << message;
  EXPECT_EQ(check_numbers(files).error().code, Errc::not_supported);
}

TEST(WatchedProcess, IsNoThreadAndNoNumberWithoutAProcess) {
  std::atomic<pid_t> number = 0;
  std::atomic<bool> stop = false;
  std::thread thread([&] {
    number = ::gettid();
    number.notify_all();
    stop.wait(false);
  });
  number.wait(0);
  const auto opened = Process::open(number);
  stop = true;
  stop.notify_all();
  thread.join();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("it is a thread"), std::string::npos)
      << opened.error().message;
  EXPECT_FALSE(Process::open(4194304));
}

}  // namespace

// Which group a name means.

namespace {

TEST(CgroupPath, IsBelowTheMountUnlessItIsThatOfAGroup) {
  for (const auto& [name, path] : std::vector<std::pair<std::string, std::string>>{
           {"a//b///", "/sys/fs/cgroup/a/b"},
           {"/sys/fs/cgroup/a/", "/sys/fs/cgroup/a"},
           {"//no-such-folder/a", "/sys/fs/cgroup/no-such-folder/a"},
           {"/sys/fs//cgroup", "/sys/fs/cgroup"},
           {"//", "/sys/fs/cgroup"}}) {
    EXPECT_EQ(cgroup_path(name), path);
  }
  const shmif::test::TempDir dir;
  const std::string group = dir.file("group");
  std::filesystem::create_directory(group);
  EXPECT_EQ(cgroup_path(group), "/sys/fs/cgroup" + group);
  std::ofstream(group + "/cgroup.procs") << "";
  EXPECT_EQ(cgroup_path(group), group);
  EXPECT_EQ(cgroup_path(group + "/new"), group + "/new") << "it can be made there";
  EXPECT_EQ(cgroup_path(group + "/new/er"), "/sys/fs/cgroup" + group + "/new/er");
}

/// Groups are directories, which a test can have anywhere.
class MadeGroups : public ::testing::Test {
 protected:
  MadeGroups() {
    for (const char* const file : {"cgroup.procs", "cgroup.controllers"}) {
      std::ofstream(parent.file(file)) << "";
    }
  }
  std::string group(const char* name) const { return parent.file(name); }
  static bool is_there(const std::string& path) { return std::filesystem::exists(path); }

  const shmif::test::TempDir parent;
  MadeCgroups groups;
};

TEST_F(MadeGroups, AreRemovedUnlessAnyWishLetsThemStay) {
  for (const char* const name : {"a", "b", "c"}) ASSERT_TRUE(groups.make({.name = group(name)}));
  ASSERT_TRUE(groups.make({.name = group("b"), .stays = true}));
  ASSERT_TRUE(groups.make({.name = group("b")})) << "a later wish says nothing of that";
  EXPECT_EQ(groups.remove(), std::vector<std::string>{});
  EXPECT_FALSE(is_there(group("a")));
  EXPECT_TRUE(is_there(group("b")));
  EXPECT_FALSE(is_there(group("c")));
  // The next run uses it, and may give it a weight, as only those may who made a group.
  const auto weighed = groups.make({.name = group("b"), .weight = 7});
  ASSERT_FALSE(weighed) << "the directory has no such file";
  EXPECT_EQ(groups.remove(), std::vector<std::string>{});
  EXPECT_TRUE(is_there(group("b"))) << "it still stays";
  ASSERT_TRUE(groups.make({.name = group("a")}));
  EXPECT_TRUE(is_there(group("a"))) << "made again";
}

TEST_F(MadeGroups, AreThoseThatWereNotThere) {
  std::filesystem::create_directory(group("other"));
  ASSERT_TRUE(groups.make({.name = group("other")}));
  const auto weighed = groups.make({.name = group("other"), .weight = 7});
  ASSERT_FALSE(weighed);
  EXPECT_EQ(weighed.error().code, Errc::exists);
  ASSERT_TRUE(groups.make({.name = group("none/a")}));
  EXPECT_FALSE(is_there(group("none"))) << "a parent is never made";
  ASSERT_TRUE(groups.make({.name = group("full")}));
  std::ofstream(group("full/left")) << "";
  const auto left = groups.remove();
  ASSERT_EQ(left.size(), 1U);
  EXPECT_NE(left[0].find(group("full")), std::string::npos) << left[0];
  EXPECT_NE(left[0].find("rmdir"), std::string::npos) << left[0];
  EXPECT_TRUE(is_there(group("other")));
  EXPECT_EQ(groups.remove(), std::vector<std::string>{}) << "it was told once";
}

TEST_F(MadeGroups, EndWithTheirOwner) {
  {
    MadeCgroups owner;
    ASSERT_TRUE(owner.make({.name = group("a")}));
    EXPECT_TRUE(is_there(group("a")));
  }
  EXPECT_FALSE(is_there(group("a")));
}

}  // namespace

}  // namespace shmif::perf::test
