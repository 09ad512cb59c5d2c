// Processes and threads that are left alone, each with the reason, and what they notice of it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include "tests/perf/inject/borrow_rig.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::Child;
using shmif::test::eventually;
using shmif::test::Shared;

/// What an ordinary user is told.
std::string refusal_for(uid_t user, const TaskId& id) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return "no pipe";
  const UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  Child monitor([&] {
    if (::setresuid(user, user, user) != 0) return 2;
    const std::string text = refusal_of(id);
    return ::write(in.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 3;
  });
  EXPECT_EQ(monitor.wait(), 0);
  in.reset();
  std::array<char, 1000> text{};
  const ssize_t got = ::read(out.get(), text.data(), text.size());
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

constexpr uid_t kUser = 65532, kOther = 65533;
/// Belongs to another user; with or without the permission to look at it.
template <bool kIsOpen>
void compute_as_other(TargetState& state) {
  static const bool is_set = [] {
    return ::setresuid(kOther, kOther, kOther) == 0 &&
           ::prctl(PR_SET_DUMPABLE, kIsOpen ? 1 : 0) == 0;
  }();
  state.wrong += is_set ? 0 : 1;
  compute(state);
}

TEST(BorrowedCalls, AreNotMadeForAnotherUser) {
  NEEDS_BORROWING();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setresuid";
  LiveTarget target(compute_as_other<true>);
  EXPECT_EQ(refusal_for(kUser, target.id()),
            "cannot stop process " + std::to_string(target.pid()) +
                ": Operation not permitted (it is of user 65533: run as that user, or as root)");
  EXPECT_EQ(refusal_of(target.id()), "") << "root may";
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreNotMadeForAUserByAProcessThatHidesItsMemory) {
  NEEDS_BORROWING();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setresuid";
  LiveTarget target(compute_as_other<false>);
  const auto scope = KernelFiles().read_number("/proc/sys/kernel/yama/ptrace_scope");
  const std::string reason =
      scope && *scope > 0
          ? "kernel.yama.ptrace_scope is "
          : "it is another user's, or hides its memory (PR_SET_DUMPABLE): run as root)";
  const std::string told = refusal_for(kOther, target.id());
  EXPECT_TRUE(told.starts_with("cannot stop process " + std::to_string(target.pid()) +
                               ": Operation not permitted (" + reason))
      << told;
  EXPECT_EQ(refusal_of(target.id()), "") << "root may";
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreNotMadeByAProcessThatHandlesItsOwnCalls) {
  NEEDS_BORROWING();
  LiveTarget target([](TargetState& state) {
    static char selector = 0;  // the kernel handles them, for now
    static const bool is_set = [] {
      constexpr int kSetDispatch = 59, kOn = 1;
      return ::prctl(kSetDispatch, kOn, 0, 0, &selector) == 0;
    }();
    state.wrong += is_set ? 0 : 1;
    compute(state);
  });
  EXPECT_EQ(refusal_of(target.id()),
            "process " + std::to_string(target.pid()) +
                " handles its own system calls (PR_SET_SYSCALL_USER_DISPATCH)");
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.end(), 0);
}

int wait_as_child(void* argument) {
  const auto* const state = static_cast<TargetState*>(argument);
  const timespec rest{0, 1'000'000};
  while (!state->may_leave_place) ::nanosleep(&rest, nullptr);
  ::_exit(7);
}
/// Waits for a child that uses its memory, as vfork(2) does.
void wait_for_vfork(TargetState& state) {
  compute(state);
  if (state.place == 0) return;
  alignas(64) static char stack[65536];
  const int child = ::clone(wait_as_child, &stack[sizeof stack], CLONE_VM | CLONE_VFORK | SIGCHLD,
                            static_cast<void*>(&state));
  int status = 0;
  state.wrong += ::waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7 ? 0 : 1;
  state.place = 0;
  ++state.visits;
}

TEST(BorrowedCalls, AreMadeWhenTheChildOfVforkHasLeftTheMemory) {
  NEEDS_BORROWING();
  LiveTarget target(wait_for_vfork);
  target.state()->place = 1;
  ASSERT_TRUE(eventually([&] { return target.status().find("\nState:\tD") != std::string::npos; }));
  const std::string pid = std::to_string(target.pid());
  EXPECT_EQ(refusal_of(target.id()),
            "cannot stop process " + pid + ": its thread " + pid +
                " waits in the kernel, as for a disk or for the child of vfork(2) (try again)");
  target.state()->may_leave_place = true;
  ASSERT_TRUE(eventually([&] { return target.state()->visits == 1; }));
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(refusal_of(target.id()), "");
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreNotMadeByAProcessWhoseFirstThreadHasEnded) {
  NEEDS_BORROWING();
  const Shared<TargetState> state;
  const auto live = [](void* argument) -> void* {
    auto& of_target = *static_cast<TargetState*>(argument);
    while (!of_target.ends) {
      compute(of_target);
      ++of_target.rounds[1];
    }
    ::_exit(of_target.wrong == 0 ? 0 : 1);
  };
  Child target([&]() -> int {
    pthread_t other{};
    if (::pthread_create(&other, nullptr, live, &*state) != 0) return 2;
    // As pthread_exit(3) ends it, which would unwind through Child, too.
    ::syscall(SYS_exit, 0);
    return 3;
  });
  const TaskId id = Process::open(target.pid()).value().id();
  const std::string path = "/proc/" + std::to_string(target.pid());
  ASSERT_TRUE(eventually([&] {
    const auto stat = KernelFiles().read(path + "/stat");
    return stat && read_task_stat(*stat)->state == 'Z' && state->rounds[1] > 0;
  }));
  EXPECT_EQ(refusal_of(id), "the first thread of process " + std::to_string(target.pid()) +
                                " has ended (pthread_exit(3)), so that /proc shows its memory no "
                                "longer");
  const std::uint64_t before = state->rounds[1];
  EXPECT_TRUE(eventually([&] { return state->rounds[1] > before + 1; })) << "it goes on";
  state->ends = true;
  EXPECT_EQ(target.wait(), 0);
}

#if defined(__x86_64__)

/// A program for 32 bits, of one page, that waits for signals.
std::string program_of_32_bits() {
  constexpr char kBase = '\x08';
  const auto number = [](std::uint32_t value, std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  constexpr std::uint32_t kAddress = std::uint32_t{kBase} << 24U;
  constexpr std::uint32_t kHead = 52, kPart = 32;
  const std::string code("\xb8\x1d\0\0\0\xcd\x80\xeb\xf7", 9);  // eax = pause; int 0x80; again
  const auto all = static_cast<std::uint32_t>(kHead + kPart + code.size());
  std::string file(
      "\x7f"
      "ELF\1\1\1",
      7);
  file.resize(16);
  file += number(2, 2) + number(3, 2) + number(1, 4) + number(kAddress + kHead + kPart, 4) +
          number(kHead, 4) + number(0, 4) + number(0, 4) + number(kHead, 2) + number(kPart, 2) +
          number(1, 2) + number(0, 2) + number(0, 2) + number(0, 2);
  file += number(1, 4) + number(0, 4) + number(kAddress, 4) + number(kAddress, 4) + number(all, 4) +
          number(all, 4) + number(5, 4) + number(4096, 4);
  return file + code;
}

TEST(BorrowedCalls, AreNotMadeByAProgramOf32Bits) {
  const shmif::test::TempDir folder;
  const std::string path = folder.path() + "/program";
  std::ofstream(path) << program_of_32_bits();
  ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
  const Child program([&] {
    ::execl(path.c_str(), path.c_str(), nullptr);
    return 77;
  });
  const auto maps = [&] {
    return KernelFiles().read("/proc/" + std::to_string(program.pid()) + "/maps");
  };
  siginfo_t ended{};
  ASSERT_TRUE(eventually([&] {
    ::waitid(P_PID, static_cast<id_t>(program.pid()), &ended, WEXITED | WNOHANG | WNOWAIT);
    const auto text = maps();
    return ended.si_pid != 0 || (text && text->starts_with("08000000-"));
  }));
  if (ended.si_pid != 0 && ended.si_code == CLD_EXITED) {
    GTEST_SKIP() << "no programs of 32 bits here";
  }
  if (ended.si_pid != 0) GTEST_SKIP() << "no system calls by interrupt here";  // it makes one
  EXPECT_EQ(refusal_of(Process::open(program.pid()).value().id()),
            "process " + std::to_string(program.pid()) + " executes 32-bit code");
  EXPECT_TRUE(maps()) << "it lives";
}

/// Nearly always in a call of 32-bit code: poll() of nothing for 30 ms. Were it restarted as a call
/// of 64-bit code is, it would be madvise(2) with a wrong argument.
void poll_by_interrupt(TargetState& state) {
  int result = 168;
  asm volatile("int $0x80"
               : "+a"(result)
               : "b"(0), "c"(0), "d"(30)
               : "memory", "cc", "r8", "r9", "r10", "r11");
  state.wrong += result == 0 || result == -ENOSYS ? 0 : 1;
}

/// Whether a program of 64 bits may call the kernel so. Some kernels end it by a signal.
bool has_calls_by_interrupt() {
  const Child child([] {
    TargetState state{};
    poll_by_interrupt(state);
    return 0;
  });
  siginfo_t ended{};
  EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(child.pid()), &ended, WEXITED | WNOWAIT), 0);
  return ended.si_code == CLD_EXITED;
}

TEST(BorrowedCalls, LeaveACallOf32BitCodeAloneWhereverTheirMonitorIsKilled) {
  if (!has_calls_by_interrupt()) GTEST_SKIP() << "no system calls by interrupt here";
  LiveTarget target(poll_by_interrupt);
  const TaskId id = target.id();
  constexpr int kSteps = 60;
  for (int step = 1; step < kSteps; ++step) borrow_until_killed(id, step);
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.wrong(), 0U);
  EXPECT_EQ(target.end(), 0);
}

#endif

}  // namespace
}  // namespace shmif::perf::test
