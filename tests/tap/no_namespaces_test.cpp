#include "tap/namespaces.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::tap::test {
namespace {

constexpr int kNoMounts = 77;

/// In a process of its own, with mounts of its own: whether a chroot into a directory, or into a
/// mount, is found. Result: 0 no, 1 yes.
int found_in(const std::string& directory, bool is_mount) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return kNoMounts;
  }
  const std::string proc = directory + "/proc";
  if (is_mount && ::mount("none", directory.c_str(), "tmpfs", 0, nullptr) != 0) return kNoMounts;
  ::mkdir(proc.c_str(), 0755);
  if (::mount("/proc", proc.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) return kNoMounts;
  // This process stays outside, and sees the mount of the other at another place.
  return shmif::test::Child([&] {
           if (::chroot(directory.c_str()) != 0 || ::chdir("/") != 0) return kNoMounts;
           return is_chrooted() ? 1 : 0;
         })
      .wait();
}

TEST(IsChrooted, InADirectoryAndInAMount) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: changes its root directory";
  for (const bool is_mount : {false, true}) {
    const shmif::test::TempDir directory;
    const int found =
        shmif::test::Child([&] { return found_in(directory.path(), is_mount); }).wait();
    if (found == kNoMounts) GTEST_SKIP() << "no namespaces here with mounts of their own";
    EXPECT_EQ(found, 1) << (is_mount ? "a mount" : "a directory");
  }
}

}  // namespace
}  // namespace shmif::tap::test
