// What tells a process from the child it forked must not fall away silently: where it cannot be
// had, nothing is attached, and a port that is attached notices every kind of fork.
//
// This program is linked with `--wrap` for the two calls that make it (CMakeLists.txt). It is made
// once in a process, so each test uses the library in children of its own only.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

namespace {

/// What the kernel has no memory for just now.
enum class Missing { nothing, page, advice };
Missing missing = Missing::nothing;
int advice_missing = 0;

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
  if (missing != Missing::advice || advice != advice_missing) {
    return __real_madvise(at, size, advice);
  }
  errno = ENOMEM;
  return -1;
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

/// Forks in the way of `fork_by`. Result: whether the child was told so by a port of its parent's.
bool child_is_told(Port& port, const std::function<pid_t()>& fork_by) {
  const pid_t pid = fork_by();
  if (pid < 0) return false;
  if (pid == 0) {
    NumberedBatch frames(60);
    FrameBatch batch;
    const bool told = port.send(frames.make(1, 0, 1)).error == Errc::forked &&
                      port.receive(batch).error == Errc::forked && !port.is_up() &&
                      port.detach() == Errc::forked;
    _exit(told ? 0 : 1);
  }
  int status = 0;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Result: what went wrong, 0: a port attaches, and notices forks however they are made.
int forks_are_noticed(const std::string& path) {
  Port port = port_on(path);
  if (!child_is_told(port, [] { return fork(); })) return 20;
  if (!child_is_told(port, [] {
        return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
      })) {
    return 21;
  }
  NumberedBatch frames(60);
  return port.send(frames.make(1, 0, 1)).error ? 22 : 0;  // the parent is who it was
}

/// Uses the library while something is missing, and then when it is there. Result: what went wrong.
int use_with_little(const std::string& path, Missing what, int advice, const std::string& why) {
  missing = what;
  advice_missing = advice;
  const int refused = attach_is_refused(path, why);
  missing = Missing::nothing;
  if (refused != 0) return refused;
  if (!Bus::open(path).value().info().ports.empty()) return 13;
  return forks_are_noticed(path);
}

constexpr const char* kCodes =
    "10 attached all the same, 11 another error, 12 it says something else, 13 a slot is left, 20 "
    "a fork was not "
    "noticed, 21 nor a raw clone, 22 the parent cannot send, 99 an exception";

TEST(ForkGuard, WithoutAPageForItNothingIsAttached) {
  const TempBus bus(small_ring());
  EXPECT_EQ(Child([&] {
              return use_with_little(bus.path(), Missing::page, 0, "cannot tell forked children");
            }).wait(),
            0)
      << kCodes;
}

TEST(ForkGuard, WithAPageThatChildrenWouldInheritNothingIsAttached) {
  const TempBus bus(small_ring());
  EXPECT_EQ(Child([&] {
              return use_with_little(bus.path(), Missing::advice, MADV_WIPEONFORK,
                                     "cannot tell forked children");
            }).wait(),
            0)
      << kCodes;
}

TEST(ForkGuard, WithAMappingThatChildrenWouldInheritNothingIsAttached) {
  const TempBus bus(small_ring());
  EXPECT_EQ(Child([&] {
              return use_with_little(bus.path(), Missing::advice, MADV_DONTFORK,
                                     "cannot keep the bus from forked children");
            }).wait(),
            0)
      << kCodes;
}

}  // namespace
}  // namespace shmif::test
