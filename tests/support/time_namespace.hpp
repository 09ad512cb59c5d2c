#pragma once
// Processes whose CLOCK_MONOTONIC and CLOCK_BOOTTIME are days ahead of, or hours behind, ours.

#include <fcntl.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>

#include "tests/support/child_process.hpp"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace shmif::test {

inline constexpr std::int64_t kDay = 86400;

/// As far back as a clock can be set: neither may become negative.
inline std::int64_t furthest_back() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return -std::min<std::int64_t>(now.tv_sec - 60, 20 * kDay);
}

/// Enters a time namespace whose clocks are `shift_s` ahead; for the children forked from here on.
/// Result: false where that cannot be had.
inline bool shift_time_of_children(std::int64_t shift_s) {
  if (unshare(geteuid() == 0 ? CLONE_NEWTIME : CLONE_NEWTIME | CLONE_NEWUSER) != 0) return false;
  std::ofstream offsets("/proc/self/timens_offsets");
  offsets << "monotonic " << shift_s << " 0\nboottime " << shift_s << " 0\n" << std::flush;
  return offsets.good();
}

inline constexpr int kNoTimeNamespace = 77;

/// A process in a time namespace of its own.
inline Child child_in_time(std::int64_t shift_s, const std::function<int()>& body) {
  return Child([=] {
    if (!shift_time_of_children(shift_s)) return kNoTimeNamespace;
    Child inner(body);
    return inner.wait();
  });
}

inline bool has_time_namespaces() {
  return child_in_time(kDay, [] { return 0; }).wait() == 0;
}

}  // namespace shmif::test
