// A system call that another process makes for us, and what is left of it if we are killed then.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>

#include "perf/inject/held_threads.hpp"
#include "perf/inject/machine.hpp"
#include "tests/perf/inject/borrow_rig.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::eventually;

struct Kind {
  const char* name;
  TargetBody body;
  int threads = 1;
};
void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}
const Kind kKinds[] = {{"computes", compute},
                       {"sleeps", sleep_shortly},
                       {"waits for events", wait_for_event},
                       {"reads and writes", talk_to_itself},
                       {"gets signals", get_alarms},
                       {"has threads", compute, 3},
                       {"has threads that sleep", sleep_shortly, 3}};

/// The descriptor is a userfaultfd of the target's memory: the kernel takes its addresses.
void expect_to_work(const UniqueFd& file) {
  uffdio_api arguments{};
  arguments.api = UFFD_API;
  EXPECT_EQ(::ioctl(file.get(), UFFDIO_API, &arguments), 0) << errno;
}

/// Each way in which the memory of a target can be asked for leaves it as it was.
class BorrowedCall : public testing::TestWithParam<Kind> {};

TEST_P(BorrowedCall, LeavesItsProcessAsItWas) {
  NEEDS_BORROWING();
  LiveTarget target(GetParam().body, GetParam().threads);
  for (int i = 0; i < 20; ++i) {
    const auto file = borrow_userfaultfd(target.id());
    ASSERT_TRUE(file) << file.error().message;
    expect_to_work(*file);
  }
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.end(), 0);
}

TEST_P(BorrowedCall, LeavesItsProcessAsItWasWhereverItsMonitorIsKilled) {
  NEEDS_BORROWING();
  LiveTarget target(GetParam().body, GetParam().threads);
  const TaskId id = target.id();
  int step = 1;
  while (borrow_until_killed(id, step)) {  // until it comes to its end
    ASSERT_TRUE(target.lives_on()) << "killed before step " << step << '\n' << target.status();
    ASSERT_EQ(target.wrong(), 0U) << "killed before step " << step;
    ++step;
  }
  constexpr int kLeast = 60;  // two dozen words of code, written and removed, and what is between
  EXPECT_GT(step, kLeast);
  const auto file = borrow_userfaultfd(id);
  EXPECT_TRUE(file) << file.error().message;
  EXPECT_EQ(target.end(), 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, BorrowedCall, testing::ValuesIn(kKinds),
                         [](const auto& kind) { return "Of" + std::to_string(kind.index); });

/// Killed after a random time. SHMIF_BORROW_ROUNDS: how often (10000 by hand).
TEST(BorrowedCalls, SurviveMonitorsThatAreKilledAtAnyTime) {
  NEEDS_BORROWING();
  const char* const wanted = std::getenv("SHMIF_BORROW_ROUNDS");
  const int rounds = wanted != nullptr ? std::atoi(wanted) : 60;
  std::mt19937 random(1);
  std::vector<std::unique_ptr<LiveTarget>> targets;
  for (const Kind& kind : kKinds) {
    targets.push_back(std::make_unique<LiveTarget>(kind.body, kind.threads));
  }
  int killed = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto which = static_cast<std::size_t>(i) % targets.size();
    const TaskId id = targets[which]->id();
    shmif::test::Child monitor([&] {
      for (int k = 0; k < 50; ++k) static_cast<void>(borrow_userfaultfd(id));
      return 0;
    });
    ::usleep(std::uniform_int_distribution<useconds_t>(200, 4000)(random));
    killed += monitor.kill_and_wait() == 128 + SIGKILL ? 1 : 0;
    ASSERT_TRUE(targets[which]->goes_on()) << kKinds[which].name << targets[which]->status();
    ASSERT_EQ(targets[which]->wrong(), 0U) << kKinds[which].name << ", round " << i;
  }
  EXPECT_GT(killed, rounds / 2);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    EXPECT_TRUE(targets[i]->lives_on()) << kKinds[i].name;
    EXPECT_EQ(targets[i]->end(), 0) << kKinds[i].name;
  }
}

TEST(BorrowedCalls, AreNotMadeByAProcessWithASeccompFilter) {
  NEEDS_BORROWING();
  // The filter ends a process that calls userfaultfd.
  LiveTarget target([](TargetState& state) {
    static const bool is_filtered = [] { return kill_for_userfaultfd(); }();
    state.wrong += is_filtered ? 0 : 1;
    compute(state);
  });
  EXPECT_NE(refusal_of(target.id()).find("has a seccomp filter"), std::string::npos)
      << refusal_of(target.id());
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreNotMadeByAStoppedProcess) {
  NEEDS_BORROWING();
  LiveTarget target(compute);
  const TaskId id = target.id();
  ::kill(target.pid(), SIGSTOP);
  ASSERT_TRUE(eventually(
      [&] { return target.status().find("\nState:\tT (stopped)") != std::string::npos; }));
  EXPECT_EQ(refusal_of(id), "process " + std::to_string(id.number) +
                                " is stopped by a signal (kill -CONT " + std::to_string(id.number) +
                                ')');
  ::kill(target.pid(), SIGCONT);
  EXPECT_EQ(refusal_of(id), "");
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreNotMadeByAProcessThatIsTraced) {
  NEEDS_BORROWING();
  LiveTarget target(compute);
  const TaskId id = target.id();
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, target.pid(), nullptr, nullptr), 0);
  EXPECT_EQ(refusal_of(id), "cannot stop process " + std::to_string(id.number) + ": process " +
                                std::to_string(::getpid()) + " traces it (end that one first)");
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreNotMadeForAProcessThatHasEnded) {
  NEEDS_BORROWING();
  LiveTarget target(compute);
  const TaskId id = target.id();
  EXPECT_EQ(target.end(), 0);
  EXPECT_EQ(borrow_userfaultfd(id).error().code, std::errc::no_such_process);
}

/// What a tree of another machine says decides about the advice.
TEST(BorrowedCalls, NameTheSettingThatForbidsThem) {
  const shmif::test::TempDir tree;
  const std::filesystem::path yama = tree.path() + "/proc/sys/kernel/yama";
  std::filesystem::create_directories(yama);
  const auto advice = [&](int scope) {
    std::ofstream(yama / "ptrace_scope") << scope << '\n';
    return refusal_to_trace({::getpid(), 0}, EPERM, KernelFiles(tree.path())).message;
  };
  EXPECT_NE(advice(0).find("PR_SET_DUMPABLE"), std::string::npos) << advice(0);
  EXPECT_NE(advice(1).find("kernel.yama.ptrace_scope is 1: start the program by `shmifperf heat "
                           "-- PROGRAM`, run as root, or sysctl kernel.yama.ptrace_scope=0"),
            std::string::npos)
      << advice(1);
  EXPECT_NE(advice(2).find("kernel.yama.ptrace_scope is 2: run as root"), std::string::npos);
  EXPECT_NE(advice(3).find("nobody may, until the machine boots again"), std::string::npos);
}

}  // namespace
}  // namespace shmif::perf::test
