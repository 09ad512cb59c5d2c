#include "tests/fuzz/virtual_time.hpp"

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

// The functions below take the place of the C library's for the whole program. What they need of
// the kernel they ask by themselves, because syscall() is one of them.

namespace {

std::atomic<std::uint64_t> slept{0};

long ask_kernel(long number, long a, long b, long c, long d = 0, long e = 0, long f = 0) noexcept {
  long result = 0;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  if (result >= 0 || result < -4095) return result;
  errno = static_cast<int>(-result);
  return -1;
}

long as_long(const void* p) noexcept {
  return reinterpret_cast<long>(p);
}

void pass(const timespec& time) noexcept {
  slept += static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(time.tv_nsec);
}

/// A child that looks at descriptors (base/foreign_socket.hpp) is a process of its own, for which
/// time is real.
bool has_child() noexcept {
  siginfo_t none{};
  constexpr int kJustAsk = WEXITED | WNOHANG | WNOWAIT | __WALL;
  const int before = errno;
  const bool has = ask_kernel(SYS_waitid, P_ALL, 0, as_long(&none), kJustAsk) == 0;
  errno = before;
  return has;
}

/// Whoever reads our standard output is a process of its own, too. Our own descriptor for it may
/// have another number.
bool waits_for_a_reader(pollfd* entries, nfds_t count) noexcept {
  struct stat output{};
  if (::fstat(STDOUT_FILENO, &output) != 0) return false;
  for (nfds_t i = 0; i < count; ++i) {
    struct stat each{};
    if ((entries[i].events & POLLOUT) == 0 || ::fstat(entries[i].fd, &each) != 0) continue;
    if (each.st_dev == output.st_dev && each.st_ino == output.st_ino) return true;
  }
  return false;
}

constexpr timespec kLong{1'000'000, 0};

timespec at_most(const timespec& time, time_t seconds) noexcept {
  return time.tv_sec < seconds ? time : timespec{seconds, 0};
}

[[noreturn]] void asleep_for_ever(const char* where) noexcept {
  std::fprintf(stderr, "a %s without end\n", where);
  std::abort();
}

}  // namespace

std::uint64_t shmif::fuzz::time_slept() noexcept {
  return slept;
}

extern "C" {

int clock_gettime(clockid_t clock, timespec* into) noexcept {
  const long result = ask_kernel(SYS_clock_gettime, clock, as_long(into), 0);
  if (result == 0 && clock == CLOCK_MONOTONIC) {
    const std::uint64_t ns = slept + static_cast<std::uint64_t>(into->tv_nsec);
    into->tv_sec += static_cast<time_t>(ns / 1'000'000'000);
    into->tv_nsec = static_cast<long>(ns % 1'000'000'000);
  }
  return static_cast<int>(result);
}

int nanosleep(const timespec* time, timespec*) {
  if (time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= 1'000'000'000) std::abort();
  pass(*time);
  return 0;
}

int ppoll(pollfd* entries, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  timespec now{0, 0};
  if (timeout != nullptr && has_child()) now = at_most(*timeout, 1);
  if (waits_for_a_reader(entries, count)) now = at_most(timeout != nullptr ? *timeout : kLong, 10);
  const long result = ask_kernel(SYS_ppoll, as_long(entries), static_cast<long>(count),
                                 as_long(&now), as_long(mask), sizeof(std::uint64_t));
  if (result == 0) {
    if (timeout == nullptr) asleep_for_ever("poll");
    pass(*timeout);
  }
  return static_cast<int>(result);
}

int poll(pollfd* entries, nfds_t count, int timeout) {
  const timespec time{timeout / 1000, timeout % 1000 * 1'000'000L};
  return ppoll(entries, count, timeout < 0 ? nullptr : &time, nullptr);
}

// Takes six arguments, however many were given, as the C library's does.
[[gnu::no_sanitize_address]] long syscall(long number, ...) noexcept {
  va_list more;
  va_start(more, number);
  long a[6];
  for (long& argument : a) argument = va_arg(more, long);
  va_end(more);
  // Only the bus has shared futexes; a private one is for another thread, and waits in earnest.
  // The operation is an int: its upper half may be anything.
  if (number != SYS_futex || static_cast<int>(a[1]) != FUTEX_WAIT) {
    return ask_kernel(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  const auto* time = reinterpret_cast<const timespec*>(a[3]);
  if (time == nullptr) asleep_for_ever("wait for a futex");
  if (time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= 1'000'000'000) std::abort();
  pass(*time);
  errno = ETIMEDOUT;
  return -1;
}

}  // extern "C"
