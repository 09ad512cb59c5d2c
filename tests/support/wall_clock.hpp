#pragma once
// A wall clock that tests step, for the program that defines SHMIF_TEST_WALL_CLOCK in one of its
// files: clock_gettime() is then ours, for the library and the standard library too. The machine's
// clock stays as it is.

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "tests/support/child_process.hpp"

namespace shmif::test {

/// What CLOCK_REALTIME is ahead of the machine's, in all processes forked from here.
inline std::atomic<std::int64_t>& wall_clock_step_s() {
  static const Shared<std::atomic<std::int64_t>> step;
  return *step;
}

}  // namespace shmif::test

#ifdef SHMIF_TEST_WALL_CLOCK
extern "C" int clock_gettime(clockid_t id, timespec* t) noexcept {
  const long result = syscall(SYS_clock_gettime, id, t);
  if (result == 0 && id == CLOCK_REALTIME) t->tv_sec += shmif::test::wall_clock_step_s().load();
  return static_cast<int>(result);
}
#endif
