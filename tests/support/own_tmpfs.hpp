#pragma once
// A tmpfs of a test's own, in a mount namespace of its own: what the test does to it nobody else
// sees, and a full one is nobody else's full disk.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

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

}  // namespace shmif::test
