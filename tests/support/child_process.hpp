#pragma once
// Children made by fork that run a piece of the test, and memory that parent and children share.

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <new>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>

#include "tests/support/eventually.hpp"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SHMIF_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SHMIF_TEST_SANITIZED 1
#endif
#endif

namespace shmif::test {

/// Sanitizers cost a factor of 10 to 50, so tests of volume do less there.
#ifdef SHMIF_TEST_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
/// Why a test cannot have a user namespace, where it could not make one.
inline constexpr const char* kNoUserNamespaces =
    kSanitized ? "no user namespaces under sanitizers that keep a thread"
               : "this machine forbids user namespaces";

/// For a process that a signal is to end: leaves no file of its memory.
inline void no_core() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

/// An object in memory that forked children share. T must work between processes: atomics do.
template <class T>
class Shared {
 public:
  static_assert(std::is_trivially_destructible_v<T>);
  Shared() {
    void* p = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    value_ = new (p) T{};
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(value_, sizeof(T)); }
  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  T* value_ = nullptr;
};

/// A forked process that runs `body` and exits with what it returns (99 after an exception). It is
/// killed with its parent, and by the destructor.
class Child {
 public:
  explicit Child(const std::function<int()>& body) {
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = 99;
    try {
      code = body();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "child: %s\n", e.what());
    }
    std::fflush(nullptr);
    _exit(code);
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (pid_ > 0) kill_and_wait();
  }

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  /// Result: the exit code, or 128 plus the signal that ended it.
  int wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int kill_and_wait() {
    signal(SIGKILL);
    return wait();
  }
  /// Stops it with SIGSTOP, and returns when it stands.
  void stop() const {
    signal(SIGSTOP);
    wait_until_stopped();
  }
  /// Result: false when it ended before it was stopped.
  bool wait_until_stopped() const {
    int status = 0;
    return waitpid(pid_, &status, WUNTRACED) == pid_ && WIFSTOPPED(status);
  }
  void resume() const { signal(SIGCONT); }

 private:
  pid_t pid_ = -1;
};

/// A forked process that runs `begin` and then stays until the destructor kills it.
class StayingChild {
 public:
  /// Returns when `begin` has.
  explicit StayingChild(const std::function<bool()>& begin)
      : child_([&]() -> int {
          const bool well = begin();
          prctl(PR_SET_PDEATHSIG, SIGKILL);  // a process that becomes another user forgets it
          *begun_ = well ? Begun::well : Begun::in_vain;
          for (;;) pause();
        }) {
    static_cast<void>(eventually([&] { return *begun_ != Begun::not_yet; }));
  }
  pid_t pid() const { return child_.pid(); }
  /// What `begin` answered.
  bool works() const { return *begun_ == Begun::well; }

 private:
  enum class Begun { not_yet, well, in_vain };
  Shared<std::atomic<Begun>> begun_;
  Child child_;
};

}  // namespace shmif::test
