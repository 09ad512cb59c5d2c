#pragma once
// A tmpfs, a /dev/net and a time of a test's own, in namespaces of its own.
//
// What the test does to its tmpfs nobody else sees, and a full one is nobody else's full disk.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace shmif::test {

/// The calling process, and the children that it starts from now on, see this mount.
class OwnTmpfs {
 public:
  explicit OwnTmpfs(const std::string& options = "size=16m,mode=0777") {
    static const std::string why_not = enter_namespace();
    missing_ = why_not;
    if (!missing_.empty()) return;
    path_ = "/tmp/shmif-own-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
    if (mount("tmpfs", path_.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      missing_ = std::string("no namespaces here that mount a tmpfs: ") + std::strerror(errno);
    }
  }
  OwnTmpfs(const OwnTmpfs&) = delete;
  OwnTmpfs& operator=(const OwnTmpfs&) = delete;
  ~OwnTmpfs() {
    if (path_.empty()) return;
    umount2(path_.c_str(), MNT_DETACH);
    rmdir(path_.c_str());
  }

  /// Why there is none here; empty: there is.
  const std::string& missing() const { return missing_; }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + '/' + name; }

  /// Result: errno, 0 when done.
  int remount(unsigned long flags) const {
    return mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | flags, nullptr) == 0 ? 0 : errno;
  }
  /// Takes the mount out of sight, while files in it are still open.
  int unmount_lazily() const { return umount2(path_.c_str(), MNT_DETACH) == 0 ? 0 : errno; }

  /// Writes a file of its own until there is no room for a further byte.
  void fill() const {
    const int fd = open(file("fill").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    const std::vector<char> block(4096, 'x');
    while (write(fd, block.data(), block.size()) > 0) {
    }
    EXPECT_EQ(errno, ENOSPC);
    close(fd);
  }

 private:
  /// Once for a process: namespaces of users are nested at most 32 deep. Result: why it did not
  /// work.
  static std::string enter_namespace() {
    const uid_t uid = geteuid();
    const gid_t gid = getegid();
    if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) {
      return std::string("no namespaces here: ") + std::strerror(errno);
    }
    if (uid != 0) {
      std::ofstream("/proc/self/setgroups") << "deny";
      std::ofstream("/proc/self/uid_map") << uid << ' ' << uid << " 1";
      std::ofstream("/proc/self/gid_map") << gid << ' ' << gid << " 1";
    }
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return std::string("no namespaces here that keep mounts to themselves: ") +
             std::strerror(errno);
    }
    return {};
  }

  std::string path_;
  std::string missing_;
};

// A /dev/net of a test's own: who may open the TUN device there is the test's to say.

/// Gives the calling process, which is root's, a /dev/net of its own: with a tun node of that mode,
/// or without one. Result: false where that is forbidden.
inline bool own_dev_net(std::optional<mode_t> tun_mode) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=0755") != 0) {
    return false;
  }
  if (!tun_mode) return true;
  return ::mknod("/dev/net/tun", S_IFCHR, ::makedev(10, 200)) == 0 &&
         ::chmod("/dev/net/tun", *tun_mode) == 0;
}

/// Makes the calling process, which is root's, one that an ordinary user has started.
inline bool become_ordinary() {
  constexpr unsigned kNobody = 65534;
  return ::setresgid(kNobody, kNobody, kNobody) == 0 &&
         ::setresuid(kNobody, kNobody, kNobody) == 0 && ::prctl(PR_SET_DUMPABLE, 1) == 0;
}

// Processes whose CLOCK_MONOTONIC and CLOCK_BOOTTIME are days ahead of, or hours behind, ours.

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
