#pragma once
// What wakes a port's descriptor, and processes in which only one of these is to be had.

#include <gtest/gtest.h>
#include <sched.h>
#include <seccomp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "bus/port/futex_poll.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::test {

enum class WakeMeans { io_uring, inotify, helper_thread };
inline void PrintTo(WakeMeans means, std::ostream* out) {
  constexpr std::array kNames{"IoUring", "Inotify", "HelperThread"};
  *out << kNames.at(static_cast<std::size_t>(means));
}

/// For ever, in this thread and in what it starts: the system call `number` fails as in a container
/// that forbids it, or with ENOSYS as on a kernel that does not have it.
inline bool forbid(int number, int error = EPERM) {
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  const auto refusal = SCMP_ACT_ERRNO(static_cast<std::uint16_t>(error));
  const bool done = filter != nullptr && seccomp_rule_add(filter, refusal, number, 0) == 0 &&
                    seccomp_load(filter) == 0;
  seccomp_release(filter);
  return done;
}

/// Enters a user namespace in which no inotify instance is to be had.
inline bool exhaust_inotify() {
  const std::string uid_map = "0 " + std::to_string(geteuid()) + " 1";
  if (unshare(CLONE_NEWUSER) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << uid_map;
  std::ofstream limit("/proc/sys/user/max_inotify_instances");
  limit << "0" << std::flush;
  return limit.good();
}

/// To be called in a child: leaves only these means to ports made from here on.
inline bool leave_only(WakeMeans means) {
  switch (means) {
    case WakeMeans::io_uring: return bus::FutexPoll().open();
    case WakeMeans::inotify: return forbid(SCMP_SYS(io_uring_setup));
    case WakeMeans::helper_thread: return exhaust_inotify() && forbid(SCMP_SYS(io_uring_setup));
  }
  return false;
}

/// Whether the descriptor of `port` is of this kind.
inline bool is_woken_by(Port& port, WakeMeans means) {
  const std::string link = "/proc/self/fd/" + std::to_string(port.descriptor());
  const bool inotify = std::filesystem::read_symlink(link).string().ends_with("inotify");
  return inotify == (means == WakeMeans::inotify) &&
         static_cast<bool>(port.descriptor_error()) == (means == WakeMeans::helper_thread);
}

/// Why these means cannot be had here, or nothing.
inline std::string lacking(WakeMeans means) {
  if (Child([means] { return leave_only(means) ? 0 : 1; }).wait() == 0) return "";
  if (means == WakeMeans::io_uring) return "io_uring cannot wait for futexes here";
  return kNoUserNamespaces;
}

}  // namespace shmif::test
