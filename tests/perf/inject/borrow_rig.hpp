#pragma once
// Programs that notice if anything about them is changed, and monitors that are killed.

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "perf/inject/borrow.hpp"
#include "perf/inject/machine.hpp"
#include "perf/inject/stub_room.hpp"
#include "tests/perf/inject/ptrace_steps.hpp"
#include "tests/perf/inject/stub_places.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"

#define NEEDS_BORROWING() \
  if (!can_borrow_calls()) GTEST_SKIP() << "calls are borrowed on x86-64 only"

namespace shmif::perf::test {

/// What a target tells of itself, in memory that it shares with the test.
struct TargetState {
  static constexpr int kMaxThreads = 4;
  std::atomic<std::uint64_t> rounds[kMaxThreads];  ///< of each thread
  std::atomic<std::uint64_t> wrong;  ///< calls that failed, or values that were not as expected
  std::atomic<bool> ends;
  // For bodies that wait for the test.
  std::atomic<std::uint64_t> place;  ///< code to call; 0: none
  std::atomic<std::uint64_t> visits, handlers;
  std::atomic<bool> may_leave_place, may_leave_handler;
};

inline int open_descriptors() {
  int count = 0;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

/// Numbers and floating point, which any register that is not put back makes wrong.
inline std::uint64_t computed(std::uint64_t seed) {
  std::uint64_t a = seed, b = seed ^ 0x9e3779b97f4a7c15U, c = ~seed, d = seed << 7U;
  double x = 1 + static_cast<double>(seed % 1000), y = 0.5;
  for (int i = 0; i < 400; ++i) {
    a += (b << 13U) ^ (c >> 7U);
    b ^= (d << 9U) + (a >> 11U);
    c += a < b ? d : ~d;
    d ^= (c << 5U) | (a >> 59U);
    x = x * 1.0000001 + y;
    y = y * 0.9999 + static_cast<double>(a % 3);
  }
  return a ^ b ^ c ^ d ^ static_cast<std::uint64_t>(x * 1e6) ^ static_cast<std::uint64_t>(y * 1e6);
}

using TargetBody = void (*)(TargetState&);

inline void compute(TargetState& state) {
  static const std::uint64_t expected = computed(7);
  state.wrong += computed(7) == expected ? 0 : 1;
}
inline void sleep_shortly(TargetState& state) {
  timespec rest{0, 3'000'000};
  state.wrong += ::nanosleep(&rest, nullptr) == 0 ? 0 : 1;
}
inline void wait_for_event(TargetState& state) {
  static const int epoll = ::epoll_create1(0);
  epoll_event event{};
  // Its EINTR is the one thing that a killed monitor leaves: the kernel ends it for any stop.
  const int got = ::epoll_wait(epoll, &event, 1, 2);
  state.wrong += got == 0 || (got < 0 && errno == EINTR) ? 0 : 1;
}
inline void talk_to_itself(TargetState& state) {
  static int ends[2] = {-1, -1};
  if (ends[0] < 0 && ::pipe(ends) != 0) ++state.wrong;
  const std::uint64_t sent = state.rounds[0];
  std::uint64_t got = 0;
  state.wrong += ::write(ends[1], &sent, sizeof sent) == sizeof sent ? 0 : 1;
  state.wrong += ::read(ends[0], &got, sizeof got) == sizeof got && got == sent ? 0 : 1;
}
inline std::atomic<std::uint64_t> alarms;
/// A timer's signals arrive at each place; sigsuspend() ends at each of them.
inline void get_alarms(TargetState& state) {
  static const bool is_set = [] {
    struct sigaction action{};
    action.sa_handler = [](int) { ++alarms; };
    ::sigaction(SIGALRM, &action, nullptr);
    const itimerval each{{0, 300}, {0, 300}};
    return ::setitimer(ITIMER_REAL, &each, nullptr) == 0;
  }();
  sigset_t block, old;
  sigemptyset(&block);
  sigaddset(&block, SIGALRM);
  sigprocmask(SIG_BLOCK, &block, &old);
  const std::uint64_t before = alarms;
  while (alarms == before) {
    state.wrong += ::sigsuspend(&old) == -1 && errno == EINTR ? 0 : 1;
  }
  sigprocmask(SIG_SETMASK, &old, nullptr);
  sigset_t now;
  sigprocmask(SIG_SETMASK, nullptr, &now);
  state.wrong += is_set && sigismember(&now, SIGALRM) == 0 ? 0 : 1;
  compute(state);
}

/// Lives until it is told to end. Its exit code is 0 if all was right to the end, and its blocked
/// signals and descriptors are those of its beginning.
class LiveTarget {
 public:
  explicit LiveTarget(TargetBody body, int threads = 1)
      : child_([this, body, threads] {
          body(*state_);  // makes what it needs
          const int descriptors = open_descriptors();
          sigset_t mask, now;
          sigprocmask(SIG_SETMASK, nullptr, &mask);
          const auto live = [&](int thread) {
            while (!state_->ends) {
              body(*state_);
              ++state_->rounds[thread];
            }
          };
          std::vector<std::thread> others;
          for (int i = 1; i < threads; ++i) others.emplace_back(live, i);
          live(0);
          for (std::thread& each : others) each.join();
          sigprocmask(SIG_SETMASK, nullptr, &now);
          bool same = descriptors == open_descriptors();
          for (int i = 1; i < 65; ++i) same = same && sigismember(&mask, i) == sigismember(&now, i);
          return state_->wrong == 0 && same ? 0 : 1;
        }),
        threads_(threads) {
    EXPECT_TRUE(shmif::test::eventually([&] { return state_->rounds[0] > 0; }));
  }
  TargetState* state() const { return &*state_; }
  pid_t pid() const { return child_.pid(); }
  TaskId id() const { return Process::open(pid()).value().id(); }
  std::string status() const {
    std::ifstream file("/proc/" + std::to_string(pid()) + "/status");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// It goes on, and nobody holds it. Threads may still be on their way.
  bool goes_on() const {
    const std::uint64_t before = rounds();
    return shmif::test::eventually([&] { return rounds() > before + 1; }) &&
           status().find("TracerPid:\t0\n") != std::string::npos;
  }
  /// Each of its threads does, and none is on its way.
  bool lives_on() const {
    bool all = goes_on();
    for (int i = 0; i < threads_; ++i) {
      const std::atomic<std::uint64_t>& of_thread = state_->rounds[i];
      const std::uint64_t before = of_thread;
      all = all && shmif::test::eventually([&] { return of_thread > before + 1; });
    }
    return all;
  }
  std::uint64_t wrong() const { return state_->wrong; }
  /// Result: its exit code.
  int end() {
    state_->ends = true;
    return child_.wait();
  }

 private:
  std::uint64_t rounds() const {
    std::uint64_t sum = 0;
    for (int i = 0; i < threads_; ++i) sum += state_->rounds[i];
    return sum;
  }

  shmif::test::Shared<TargetState> state_;
  shmif::test::Child child_;
  int threads_;
};

using Bytes = std::vector<std::uint8_t>;
inline Bytes memory_of(pid_t process, std::uint64_t address, std::size_t bytes) {
  const std::string path = "/proc/" + std::to_string(process) + "/mem";
  const UniqueFd memory(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return read_memory(memory.get(), address, bytes);
}

inline base::MappedRange vdso_range_of(pid_t process) {
  return *vdso_in(KernelFiles().read("/proc/" + std::to_string(process) + "/maps").value());
}
/// The room for stubs, as it is now.
inline StubRoom room_of(pid_t process) {
  const auto vdso = vdso_range_of(process);
  return *StubRoom::behind(vdso, memory_of(process, vdso.begin, vdso.end - vdso.begin));
}
inline std::vector<std::uint64_t> places_of(pid_t process) {
  const auto vdso = vdso_range_of(process);
  return stub_places(vdso, memory_of(process, vdso.begin, vdso.end - vdso.begin));
}

/// Where a thread is that this thread has stopped; 0: it has not.
inline std::uint64_t instruction_at(pid_t thread) {
  ThreadRegisters registers{};
  return read_registers(thread, registers) == 0 ? instruction_of(registers) : 0;
}

/// Borrows in a process of its own, which is killed before its `last` change. Result: whether it
/// was; false: it came to its end before.
inline bool borrow_until_killed(const TaskId& target, int last) {
  shmif::test::Child monitor([&] {
    int step = 0;
    const BeforeEachStep kill([&] {
      if (++step == last) ::raise(SIGKILL);
    });
    return borrow_userfaultfd(target) ? 0 : 1;
  });
  int status = 0;
  status = monitor.wait();
  return status == 128 + SIGKILL || status == -SIGKILL;
}

/// Why it cannot be done; empty: it can.
inline std::string refusal_of(const TaskId& id) {
  const auto file = borrow_userfaultfd(id);
  return file ? "" : file.error().message;
}

/// The calling thread's process ends if it calls userfaultfd(2). Result: whether that is so now.
inline bool kill_for_userfaultfd() {
  sock_filter rules[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                         BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
                         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program{4, rules};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace shmif::perf::test
