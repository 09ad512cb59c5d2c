// Calls that are borrowed of a process that gets signals meanwhile.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "tests/perf/inject/borrow_rig.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::Child;
using shmif::test::eventually;
using shmif::test::Shared;

/// The whole mapping of its vDSO, with the room for stubs.
Bytes vdso_of(pid_t process) {
  const auto maps = KernelFiles().read("/proc/" + std::to_string(process) + "/maps");
  const auto vdso = vdso_in(maps.value());
  return memory_of(process, vdso->begin, vdso->end - vdso->begin);
}

std::string told_of_signals(pid_t process) {
  return "process " + std::to_string(process) + " gets signals all the time (try again)";
}

/// A process that sends a signal to a thread each time that it is asked to.
class Sender {
 public:
  Sender(pid_t thread, int signal)
      : child_([this, thread, signal]() -> int {
          const timespec rest{0, 20'000};
          for (;;) {  // until killed
            if (letters_->sent == letters_->asked) {
              ::nanosleep(&rest, nullptr);
              continue;
            }
            if (::syscall(SYS_tgkill, letters_->process.load(), thread, signal) != 0) return 1;
            ++letters_->sent;
          }
        }) {
    letters_->process = thread;
  }
  void send() {
    const std::uint64_t wanted = ++letters_->asked;
    const timespec rest{0, 20'000};
    while (letters_->sent < wanted) ::nanosleep(&rest, nullptr);
  }
  std::uint64_t sent() const { return letters_->sent; }

 private:
  struct Letters {
    std::atomic<std::uint64_t> asked, sent;
    std::atomic<pid_t> process;
  };
  Shared<Letters> letters_;
  Child child_;
};

void compute_and_ignore(TargetState& state) {
  static const bool is_set = ::signal(SIGUSR1, SIG_IGN) != SIG_ERR;
  state.wrong += is_set ? 0 : 1;
  compute(state);
}

/// Of a thread that gets a signal each time that it is about to begin the stub.
Result<UniqueFd> borrow_under_fire(const TaskId& id, Sender& sender) {
  const auto places = places_of(id.number);
  const BeforeEachStep hook([&] {
    if (std::ranges::find(places, instruction_at(id.number)) != places.end()) sender.send();
  });
  return borrow_userfaultfd(id);
}

TEST(BorrowedCalls, AreGivenUpWithoutATraceIfSignalsComeAllTheTime) {
  NEEDS_BORROWING();
  LiveTarget target(compute_and_ignore);
  const Bytes before = vdso_of(target.pid());
  Sender sender(target.pid(), SIGUSR1);
  for (int i = 0; i < 3; ++i) {
    const auto file = borrow_under_fire(target.id(), sender);
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().message, told_of_signals(target.pid()));
    EXPECT_EQ(file.error().code, Errc::busy);
    EXPECT_TRUE(vdso_of(target.pid()) == before) << "a stub was left there";
  }
  EXPECT_GE(sender.sent(), 60U) << "twenty tries each";
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(refusal_of(target.id()), "") << "it gets none now";
  EXPECT_TRUE(vdso_of(target.pid()) == before);
  EXPECT_EQ(target.wrong(), 0U);
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreMadeByAThreadThatGetsNoSignals) {
  NEEDS_BORROWING();
  LiveTarget target(compute_and_ignore, 2);
  const Bytes before = vdso_of(target.pid());
  Sender sender(target.pid(), SIGUSR1);
  const auto file = borrow_under_fire(target.id(), sender);
  EXPECT_TRUE(file) << file.error().message;
  EXPECT_GE(sender.sent(), 20U) << "the first thread was tried";
  EXPECT_TRUE(vdso_of(target.pid()) == before);
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.end(), 0);
}

TargetState* counts = nullptr;  ///< in the target
void compute_and_count(TargetState& state) {
  static const bool is_set = [&] {
    counts = &state;
    struct sigaction action{};
    action.sa_handler = [](int) { ++counts->handlers; };
    return ::sigaction(SIGUSR1, &action, nullptr) == 0;
  }();
  state.wrong += is_set ? 0 : 1;
  compute(state);
}

/// The second thread would be ended by userfaultfd(2).
void compute_beside_a_filter(TargetState& state) {
  thread_local const bool is_set = [] {
    if (::gettid() == ::getpid()) return ::signal(SIGUSR1, SIG_IGN) != SIG_ERR;
    return kill_for_userfaultfd();
  }();
  state.wrong += is_set ? 0 : 1;
  compute(state);
}

TEST(BorrowedCalls, AreNotMadeByAThreadThatAloneHasASeccompFilter) {
  NEEDS_BORROWING();
  LiveTarget target(compute_beside_a_filter, 2);
  ASSERT_TRUE(target.lives_on());
  Sender sender(target.pid(), SIGUSR1);
  const auto file = borrow_under_fire(target.id(), sender);
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().message.find("has a seccomp filter"), std::string::npos)
      << file.error().message;
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, HandOnASignalThatComesWhileTheyStopTheThread) {
  NEEDS_BORROWING();
  LiveTarget target(compute_and_count);
  const TaskId id = target.id();
  int step = 0;
  const BeforeEachStep hook([&] {
    if (++step != 2) return;  // it is traced, and not yet stopped
    ::syscall(SYS_tgkill, id.number, id.number, SIGUSR1);
    EXPECT_TRUE(
        eventually([&] { return target.status().find("\nState:\tt ") != std::string::npos; }));
  });
  EXPECT_TRUE(borrow_userfaultfd(id));
  EXPECT_TRUE(eventually([&] { return target.state()->handlers == 1; }));
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreNotMadeByAProcessThatIsStoppedAtTheLastMoment) {
  NEEDS_BORROWING();
  LiveTarget target(compute);
  const TaskId id = target.id();
  int step = 0;
  const BeforeEachStep hook([&] {
    if (++step != 1) return;
    ::kill(id.number, SIGSTOP);
    EXPECT_TRUE(
        eventually([&] { return target.status().find("\nState:\tT ") != std::string::npos; }));
  });
  const auto file = borrow_userfaultfd(id);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Errc::busy);
  EXPECT_EQ(file.error().message, "process " + std::to_string(id.number) +
                                      " is stopped by a signal (kill -CONT " +
                                      std::to_string(id.number) + ')');
  EXPECT_TRUE(eventually([&] {
    return target.status().find("\nState:\tT (stopped)") != std::string::npos;
  })) << "it stays so";
  ::kill(id.number, SIGCONT);
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.end(), 0);
}

/// Waits for nothing but a signal, whose handler ends the wait.
void wait_for_a_signal(TargetState& state) {
  static const int epoll = ::epoll_create1(0);
  static const bool is_set = [&] {
    counts = &state;
    struct sigaction action{};
    action.sa_handler = [](int) { ++counts->handlers; };
    return ::sigaction(SIGUSR1, &action, nullptr) == 0;
  }();
  if (state.rounds[0] == 0) return;  // the first times only make what it needs
  epoll_event event{};
  const int got = ::epoll_wait(epoll, &event, 1, -1);
  state.wrong += is_set && got < 0 && errno == EINTR ? 0 : 1;
}

TEST(BorrowedCalls, OfAWaitThatASignalEndsLetItEnd) {
  NEEDS_BORROWING();
  LiveTarget target(wait_for_a_signal);
  const TaskId id = target.id();
  const auto places = places_of(target.pid());
  const std::string call = "/proc/" + std::to_string(id.number) + "/syscall";
  // Before the stub begins, and while it blocks all signals; for the thread, and for the process.
  for (const int at : {1, 4}) {
    for (const bool to_thread : {true, false}) {
      SCOPED_TRACE(std::to_string(at) + (to_thread ? " thread" : " process"));
      ASSERT_TRUE(eventually([&] {
        const auto now = KernelFiles().read(call);
        return now && (now->starts_with(std::to_string(SYS_epoll_wait) + ' ') ||
                       now->starts_with(std::to_string(SYS_epoll_pwait) + ' '));
      }));
      const std::uint64_t rounds = target.state()->rounds[0];
      const std::uint64_t handlers = target.state()->handlers;
      int step = 0;
      const BeforeEachStep hook([&] {
        if (std::ranges::find_if(places, [&](std::uint64_t place) {
              return instruction_at(id.number) - place < kStubBytes;
            }) == places.end()) {
          return;
        }
        if (++step != at) return;
        if (to_thread) ::syscall(SYS_tgkill, id.number, id.number, SIGUSR1);
        if (!to_thread) ::kill(id.number, SIGUSR1);
      });
      const auto file = borrow_userfaultfd(id);
      EXPECT_TRUE(file) << file.error().message;
      EXPECT_TRUE(eventually([&] { return target.state()->rounds[0] == rounds + 1; }));
      EXPECT_EQ(target.state()->handlers, handlers + 1);
    }
  }
  target.state()->ends = true;
  ::kill(id.number, SIGUSR1);
  EXPECT_EQ(target.end(), 0);
}

/// One thread waits. The other one has a table of descriptors of its own, with a gap in it.
void wait_beside_one_with_own_descriptors(TargetState& state) {
  static const int shared = ::open("/dev/null", O_RDONLY);
  if (::syscall(SYS_gettid) == ::getpid()) return wait_for_a_signal(state);
  thread_local const bool has_gap = ::unshare(CLONE_FILES) == 0 && ::close(shared) == 0;
  state.wrong += has_gap ? 0 : 1;
  compute(state);
}

TEST(BorrowedCalls, StopNoThreadThatWaitsAndTakeNoOtherThreadsDescriptor) {
  NEEDS_BORROWING();
  LiveTarget target(wait_beside_one_with_own_descriptors, 2);
  const TaskId id = target.id();
  const std::string folder = "/proc/" + std::to_string(id.number);
  ASSERT_TRUE(eventually([&] {
    const auto now = KernelFiles().read(folder + "/syscall");
    return target.state()->rounds[1] > 0 && now &&
           (now->starts_with(std::to_string(SYS_epoll_wait) + ' ') ||
            now->starts_with(std::to_string(SYS_epoll_pwait) + ' '));
  }));
  int steps = 0;
  bool was_held = false;
  const BeforeEachStep hook([&] {
    ++steps;
    was_held = was_held || target.status().find("TracerPid:\t0\n") == std::string::npos;
  });
  const auto file = borrow_userfaultfd(id);
  EXPECT_GT(steps, 0);
  EXPECT_FALSE(was_held) << "the other thread could make the call";
  EXPECT_EQ(file ? "it has another file at that number" : file.error().message,
            "process " + std::to_string(id.number) +
                " cannot make a userfaultfd(2): Bad file descriptor");
  target.state()->ends = true;
  ::kill(id.number, SIGUSR1);
  EXPECT_EQ(target.end(), 0);
}

/// A signal that waits all the time, because it is blocked.
void wait_with_a_blocked_signal(TargetState& state) {
  static const int epoll = ::epoll_create1(0);
  static const bool is_set = [] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    return ::sigaction(SIGUSR1, &action, nullptr) == 0 &&
           sigprocmask(SIG_BLOCK, &block, nullptr) == 0 && ::raise(SIGUSR1) == 0;
  }();
  epoll_event event{};
  state.wrong += is_set && ::epoll_wait(epoll, &event, 1, 20) == 0 ? 0 : 1;
}

TEST(BorrowedCalls, OfAWaitAreNotSeenThoughASignalWaitsThatIsBlocked) {
  NEEDS_BORROWING();
  LiveTarget target(wait_with_a_blocked_signal);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(refusal_of(target.id()), "");
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.wrong(), 0U);
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, LeaveNothingInAProcessThatIsSentSignalsInALoop) {
  NEEDS_BORROWING();
  for (const TargetBody body : {compute_and_ignore, compute_and_count}) {
    LiveTarget target(body);
    const TaskId id = target.id();
    const Bytes before = vdso_of(target.pid());
    {
      const Child sender([&]() -> int {
        const timespec rest{0, 300'000};  // else it would do nothing but handle them
        for (;;) {                        // until killed
          for (int i = 0; i < 300; ++i) ::kill(id.number, SIGUSR1);
          ::nanosleep(&rest, nullptr);
        }
      });
      for (int i = 0; i < 20; ++i) {
        const std::string refusal = refusal_of(id);
        EXPECT_TRUE(refusal.empty() || refusal == told_of_signals(id.number)) << refusal;
        EXPECT_TRUE(vdso_of(target.pid()) == before) << "a stub was left there";
      }
    }
    EXPECT_TRUE(target.lives_on());
    EXPECT_EQ(refusal_of(id), "");
    EXPECT_EQ(target.end(), 0);
  }
}

}  // namespace
}  // namespace shmif::perf::test
