// What tells a process from the child it forked must not fall away silently: where it cannot be
// had, nothing is attached, and a port that is attached notices every kind of fork.
//
// This program is linked with `--wrap` for the two calls that make it (CMakeLists.txt). It is made
// once in a process, so each test uses the library in children of its own only.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "base/fork_guard.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace {

/// What the kernel has no memory for just now.
enum class Missing { nothing, page, advice };
Missing missing = Missing::nothing;
int advice_missing = 0;
/// Runs when the pages of a bus are touched, which is in the middle of an attach.
void (*when_prefaulting)() = nullptr;
/// Runs while the library opens what keeps a port alive, which no child may inherit.
void (*when_holding)() = nullptr;
/// Runs before what is to be called at a fork is registered.
void (*when_registering)() = nullptr;
/// Runs in a fork after all that the library does first, and before the child is made.
void (*when_forking)() = nullptr;

// Before the library does so: who registers first is called last.
__attribute__((constructor(101))) void watch_forks() {
  pthread_atfork(
      [] {
        if (when_forking != nullptr) when_forking();
      },
      nullptr, nullptr);
}

}  // namespace

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names for --wrap
void* __real_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_madvise(void* at, size_t size, int advice);

void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  const bool one_page = (flags & MAP_ANONYMOUS) != 0 && (protection & PROT_WRITE) != 0 &&
                        size == static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (missing != Missing::page || !one_page) {
    return __real_mmap(at, size, protection, flags, fd, offset);
  }
  errno = ENOMEM;
  return MAP_FAILED;
}
int __wrap_madvise(void* at, size_t size, int advice) {
  if (when_prefaulting != nullptr && advice == MADV_POPULATE_WRITE) when_prefaulting();
  const bool one_page = size == static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (when_holding != nullptr && advice == MADV_DONTFORK && one_page) when_holding();
  if (missing != Missing::advice || advice != advice_missing) {
    return __real_madvise(at, size, advice);
  }
  errno = ENOMEM;
  return -1;
}
int __real_pthread_atfork(void (*prepare)(), void (*parent)(), void (*child)());
// ThreadSanitizer calls it before it is ready itself.
#ifdef __clang__
__attribute__((disable_sanitizer_instrumentation))
#endif
int __wrap_pthread_atfork(void (*prepare)(), void (*parent)(), void (*child)()) {
  if (when_registering != nullptr) when_registering();
  return __real_pthread_atfork(prepare, parent, child);
}
// NOLINTEND(bugprone-reserved-identifier)
}

namespace shmif::test {
namespace {

/// Result: what went wrong, 0: an attach is refused, saying why, as long as something is missing.
int attach_is_refused(const std::string& path, const std::string& why) {
  for (int again = 0; again < 3; ++again) {
    Port port;
    const auto attached = port.attach(path);
    if (attached) return 10;
    if (attached.error().code.value() != ENOMEM) return 11;
    if (attached.error().message.find(why) == std::string::npos) {
      std::fprintf(stderr, "%s\n", attached.error().message.c_str());
      return 12;
    }
  }
  return 0;
}

/// Forks in the way of `fork_by`. Result: whether the child is told so by a port of its parent's,
/// also when it has a port of its own.
bool child_is_told(Port& port, const std::string& path, const std::function<pid_t()>& fork_by) {
  const pid_t pid = fork_by();
  if (pid < 0) return false;
  if (pid == 0) {
    NumberedBatch frames(60);
    FrameBatch batch;
    const auto is_told = [&] {
      return port.send(frames.make(1, 0, 1)).error == Errc::forked &&
             port.receive(batch).error == Errc::forked && !port.is_up();
    };
    bool told = is_told();
    Port own;
    told = told && own.attach(path) && is_told() && port.detach() == Errc::forked;
    _exit(told ? 0 : 1);
  }
  int status = 0;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Result: what went wrong, 0: a port attaches, and notices forks however they are made.
int forks_are_noticed(const std::string& path) {
  Port port = port_on(path);
  if (!child_is_told(port, path, [] { return fork(); })) return 20;
  if (!child_is_told(port, path, [] {
        return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
      })) {
    return 21;
  }
  NumberedBatch frames(60);
  return port.send(frames.make(1, 0, 1)).error ? 22 : 0;  // the parent is who it was
}

/// Uses the library in a child while something is missing, and then when it is there. It is missing
/// before the child is made, for a fork asks for the page. Result: what went wrong.
int use_with_little(const std::string& path, Missing what, int advice, const std::string& why) {
  missing = what;
  advice_missing = advice;
  Child child([&] {
    const int refused = attach_is_refused(path, why);
    missing = Missing::nothing;
    if (refused != 0) return refused;
    if (!Bus::open(path).value().info().ports.empty()) return 13;
    return forks_are_noticed(path);
  });
  missing = Missing::nothing;
  return child.wait();
}

constexpr const char* kCodes =
    "10 attached all the same, 11 another error, 12 it says something else, 13 a slot is left, 20 "
    "a fork was not "
    "noticed, 21 nor a raw clone, 22 the parent cannot send, 99 an exception";

TEST(ForkGuard, WithoutAPageForItNothingIsAttached) {
  const TempBus bus(small_ring());
  EXPECT_EQ(use_with_little(bus.path(), Missing::page, 0, "cannot tell forked children"), 0)
      << kCodes;
}

TEST(ForkGuard, WithAPageThatChildrenWouldInheritNothingIsAttached) {
  const TempBus bus(small_ring());
  EXPECT_EQ(
      use_with_little(bus.path(), Missing::advice, MADV_WIPEONFORK, "cannot tell forked children"),
      0)
      << kCodes;
}

TEST(ForkGuard, WithAMappingThatChildrenWouldInheritNothingIsAttached) {
  const TempBus bus(small_ring());
  EXPECT_EQ(use_with_little(bus.path(), Missing::advice, MADV_DONTFORK,
                            "cannot hide the bus from forked children"),
            0)
      << kCodes;
}

volatile sig_atomic_t signals_seen = 0;

TEST(ForkHold, KeepsSignalsWaitingBecauseAHandlerMayFork) {
  Child child([] {
    struct sigaction action{};
    action.sa_handler = [](int) { signals_seen = signals_seen + 1; };
    for (const int number : {SIGUSR1, SIGUSR2}) sigaction(number, &action, nullptr);
    sigset_t blocked;  // by the program itself
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, nullptr);
    {
      const base::ForkHold held;
      raise(SIGUSR1);
      raise(SIGUSR2);
      if (signals_seen != 0) return 1;
    }
    if (signals_seen != 1) return signals_seen == 0 ? 2 : 3;
    sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
    return signals_seen == 2 ? 0 : 4;
  });
  EXPECT_EQ(child.wait(), 0)
      << "1 a handler ran under the hold, 2 it never ran, 3 what the program "
         "blocks came, 4 it was lost";
}

/// Children of a process that attaches to a bus, which outlive it: what they have inherited must
/// not keep its port alive.
class Heirs : public ::testing::Test {
 public:
  static constexpr const char* kName = "heir";

  void SetUp() override { ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); }
  void TearDown() override {
    *over = true;
    while (waitpid(-1, nullptr, 0) > 0) {
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
  }
  /// Forks a child that lives until the test is over.
  void fork_an_heir() const {
    if (fork() != 0) {
      ++*heirs;
      return;
    }
    alarm(60);
    while (!*over) usleep(500);
    _exit(0);
  }
  /// Runs `attach` in a process of its own and kills it then. Result: whether its port's name is
  /// free soon, though its children live.
  testing::AssertionResult name_is_free_after(const std::function<Port()>& attach) const {
    const unsigned before = *heirs;
    Child child([&] {
      const Port port = attach();
      return raise(SIGKILL);
    });
    missing = Missing::nothing;
    if (child.wait() != 128 + SIGKILL) return testing::AssertionFailure() << "it did not attach";
    if (*heirs == before) return testing::AssertionFailure() << "it has no children";
    Port next({.name = kName, .name_patience = std::chrono::seconds(5)});
    const Result<void> attached = next.attach(bus.path());
    if (attached) return testing::AssertionSuccess();
    return testing::AssertionFailure() << attached.error().message;
  }

  const TempBus bus;
  const Shared<std::atomic<bool>> over;
  const Shared<std::atomic<unsigned>> heirs;
};

/// Whether the thread `thread` of this process sleeps on a futex.
bool waits_for_another(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/syscall");
  long number = -1;
  return file >> number && number == SYS_futex;
}

/// The fork has begun before the process has attached to anything.
TEST_F(Heirs, ThatAreForkedWhileTheFirstPortAttachesDoNotKeepTheDeadPortAlive) {
  static const Heirs* self = nullptr;
  static std::atomic<bool> forking = false;
  static std::atomic<bool> holding = false;
  static std::atomic<pid_t> attaches = 0;
  self = this;
  missing = Missing::page;  // or the fork of the child below is the first
  EXPECT_TRUE(name_is_free_after([&] {
    missing = Missing::nothing;
    when_forking = [] {
      forking = true;
      // The attaching thread must wait for the end of this fork. It sets `holding` meanwhile only
      // if it does not.
      for (unsigned i = 0; i < 1000 && !holding && !waits_for_another(attaches); ++i) usleep(1000);
    };
    when_holding = [] {
      holding = true;
      eventually([] { return *self->heirs > 0; });
    };
    attaches = static_cast<pid_t>(syscall(SYS_gettid));
    std::thread forks([&] { fork_an_heir(); });
    eventually([] { return forking.load(); });
    Port port = port_on(bus.path(), {.name = kName});
    forks.join();
    return port;
  }));
}

TEST_F(Heirs, ThatAreForkedWhileThePagesAreTouchedDoNotKeepTheDeadPortAlive) {
  static const Heirs* self = nullptr;
  self = this;
  EXPECT_TRUE(name_is_free_after([&] {
    when_prefaulting = [] { self->fork_an_heir(); };
    return port_on(bus.path(), {.name = kName});
  }));
}

TEST_F(Heirs, ThatAreForkedWhileAttachWaitsForItsNameDoNotKeepTheDeadPortAlive) {
  Child holder([&] {
    const Port port = port_on(bus.path(), {.name = kName});
    eventually([&] { return *heirs > 0; });
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return !bus.info().ports.empty(); }));
  EXPECT_TRUE(name_is_free_after([&] {
    std::thread forks([&] {
      usleep(20'000);
      fork_an_heir();
    });
    Port port = port_on(bus.path(), {.name = kName, .name_patience = std::chrono::minutes(1)});
    forks.join();
    return port;
  }));
  EXPECT_EQ(holder.wait(), 0);
}

TEST_F(Heirs, ThatAreForkedAtAnyMomentDoNotKeepTheDeadPortAlive) {
  for (unsigned round = 0; round < 5; ++round) {
    ASSERT_TRUE(name_is_free_after([&] {
      std::atomic<bool> attached = false;
      const unsigned before = *heirs;
      std::thread forks([&] {
        for (unsigned i = 0; i < 20 && !attached; ++i) fork_an_heir();
      });
      eventually([&] { return *heirs > before; });
      Port port = port_on(bus.path(), {.name = kName});
      attached = true;
      forks.join();
      return port;
    })) << "round "
        << round;
  }
}

TEST_F(Heirs, ThatAreForkedWhileTheLibraryIsFirstUsedFindItNotHalfReady) {
  static std::atomic<bool> half_ready = false;
  static std::atomic<bool> cloned = false;
  Child child([&] {
    // Not called if the code is right, because the library registers before main().
    when_registering = [] {
      half_ready = true;
      eventually([] { return cloned.load(); });
    };
    std::atomic<bool> used = false;
    std::thread first([&] {
      {
        const base::ForkHold held;
      }
      used = true;
    });
    eventually([&] { return half_ready || used; });
    const pid_t pid =
        static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (pid == 0) {
      alarm(5);
      const base::ForkHold free_here;
      syscall(SYS_exit_group, 0);
    }
    cloned = true;
    int status = 0;
    const bool well = waitpid(pid, &status, 0) == pid && status == 0;
    first.join();
    return well ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
}

/// A child that the library could not hold up finds nothing locked that its parent was holding.
TEST_F(Heirs, ThatAreForkedAtAnyMomentMayAttachThemselves) {
  Child child([&] {
    std::atomic<bool> over_here = false;
    std::thread attaches([&] {
      while (!over_here) Port().attach(bus.path()).value();
    });
    unsigned failed = 0;
    for (unsigned i = 0; i < 50; ++i) {
      const pid_t pid =
          static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
      if (pid == 0) {
        alarm(20);
        const base::ForkHold free_here;
        syscall(SYS_exit_group, 0);  // ThreadSanitizer's _exit() would sleep for a second
      }
      int status = 0;
      if (waitpid(pid, &status, 0) != pid || status != 0) ++failed;
    }
    over_here = true;
    attaches.join();
    return static_cast<int>(failed);
  });
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace shmif::test
