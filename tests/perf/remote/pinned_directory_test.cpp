// A pinned directory: nothing outside can be written, and no link leads out of it.

#include "perf/remote/pinned_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::pinned_directory {
namespace {

using test::Child;
using test::TempDir;

/// Why no directory can be pinned here; empty: it can.
std::string missing() {
  const TempDir directory;
  const auto can = can_pin_directory(directory.path());
  return can ? std::string() : "no namespaces here: " + can.error().message;
}

/// Result: 0 or errno.
int opened(const std::string& path, int flags) {
  const UniqueFd file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  return file ? 0 : errno;
}

TEST(PinnedDirectory, NothingElseCanBeWrittenWhereverItIs) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  for (const char* const place : {"/tmp", "/dev/shm", "/run", "/var/tmp"}) {
    if (::access(place, W_OK) != 0) continue;
    const TempDir parent(place);
    const TempDir other("/dev/shm");
    const std::string dir = parent.file("dir");
    std::filesystem::create_directory(dir);
    std::ofstream(parent.file("file")) << "precious";
    Child child([&] {
      if (!pin_directory(dir)) return 98;
      if (opened(dir + "/new", O_WRONLY | O_CREAT) != 0) return 1;
      if (opened(dir + ".log", O_WRONLY | O_CREAT) == 0 && !parent.path().starts_with("/dev/shm"))
        return 2;
      if (opened(parent.file("file"), O_WRONLY | O_TRUNC) == 0) return 3;
      if (opened(other.file("new"), O_WRONLY | O_CREAT) == 0) return 4;
      // What a run does for itself.
      if (!Bus::create("/dev/shm/of-the-run", {.ring_bytes = 1U << 16U})) return 5;
      if (opened("/proc/self/oom_score_adj", O_WRONLY) != 0) return 6;
      return opened("/dev/null", O_WRONLY) == 0 ? 0 : 7;
    });
    EXPECT_EQ(child.wait(), 0) << place;
    EXPECT_TRUE(std::filesystem::exists(dir + "/new")) << place;
    EXPECT_FALSE(std::filesystem::exists(dir + ".log")) << place;
    EXPECT_FALSE(std::filesystem::exists("/dev/shm/of-the-run"));
    EXPECT_EQ(std::filesystem::file_size(parent.file("file")), 8U) << place;
  }
}

TEST(PinnedDirectory, AnOrdinaryUserCannotTakeThePinAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const TempDir directory("/tmp");
  Child child([&] {
    constexpr unsigned kNobodyElse = 64113;
    if (::setgid(kNobodyElse) != 0 || ::setuid(kNobodyElse) != 0) return 97;
    ::prctl(PR_SET_DUMPABLE, 1);  // as the processes are that such a user starts
    if (!pin_directory(directory.path())) return 98;
    return ::umount2(directory.path().c_str(), MNT_DETACH) == 0 ? 0 : errno;
  });
  const int result = child.wait();
  if (result == 98) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(result, EPERM);
}

TEST(PinnedDirectory, AllOfSharedMemoryCanBeTheDirectory) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const test::TempDir own("/dev/shm");
  Child child([&] {
    if (!pin_directory("/dev/shm")) return 98;
    return opened(own.file("bus"), O_WRONLY | O_CREAT);
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(std::filesystem::exists(own.file("bus"))) << "others see its buses";
}

TEST(PinnedDirectory, ALinkToAFileIsNotFollowedAndLinksElsewhereAre) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const TempDir parent("/tmp");
  std::filesystem::create_directory(parent.file("dir"));
  std::ofstream(parent.file("file")) << "secret";
  std::filesystem::create_symlink(parent.file("file"), parent.file("dir/link"));
  std::filesystem::create_symlink(parent.file("file"), parent.file("link"));
  std::ofstream(parent.file("dir/own")) << "mine";
  std::filesystem::create_symlink("own", parent.file("dir/inside"));
  const auto opened_after = [&](const std::string& path) {
    Child child([&] {
      if (!pin_directory(parent.file("dir"))) return 98;
      return opened(path, O_RDONLY);
    });
    return child.wait();
  };
  EXPECT_EQ(opened_after(parent.file("dir/link")), ELOOP);
  EXPECT_EQ(opened_after(parent.file("dir/inside")), ELOOP);
  EXPECT_EQ(opened_after(parent.file("dir/own")), 0);
  EXPECT_EQ(opened_after(parent.file("link")), 0);
  const UniqueFd held(::open(parent.file("dir/own").c_str(), O_RDONLY));
  EXPECT_EQ(opened_after("/proc/self/fd/" + std::to_string(held.get())), 0)
      << "a link of the kernel";
}

TEST(PinnedDirectory, WhatIsMountedBelowFollowsNoLinksEither) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts";
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const TempDir parent;
  std::filesystem::create_directories(parent.file("dir/sub"));
  std::ofstream(parent.file("file")) << "secret";
  Child child([&] {
    const std::string sub = parent.file("dir/sub");
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", sub.c_str(), "tmpfs", 0, "size=1m") != 0)
      return 97;
    std::filesystem::create_symlink(parent.file("file"), sub + "/link");
    std::ofstream(sub + "/own") << "mine";
    if (!pin_directory(parent.file("dir"))) return 98;
    if (opened(sub + "/own", O_RDONLY) != 0) return 96;
    return opened(sub + "/link", O_RDONLY);
  });
  EXPECT_EQ(child.wait(), ELOOP);
}

TEST(PinnedDirectory, ALinkAboveItThatWasNotThereIsRefused) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const TempDir parent;
  std::filesystem::create_directories(parent.file("a/dir"));
  std::filesystem::create_directory_symlink(parent.file("a"), parent.file("b"));
  EXPECT_TRUE(can_pin_directory(parent.file("a/dir")));
  EXPECT_FALSE(can_pin_directory(parent.file("b/dir")));
}

TEST(PinnedDirectory, WhoMayReplaceItIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives files to others";
  const TempDir parent;  // in a sticky directory, and ours
  const std::string middle = parent.file("middle");
  const std::string directory = middle + "/dir";
  std::filesystem::create_directories(directory);
  const auto set = [](const std::string& path, mode_t mode, uid_t user) {
    EXPECT_EQ(::chown(path.c_str(), user, 0), 0);
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
  };
  struct Row {
    mode_t mode;
    uid_t user;
    uid_t user_of_directory;
    std::string said;
  };
  const std::string replace = " may replace " + directory;
  for (const Row& row :
       {Row{0755, 0, 0, ""}, Row{0755, 0, 1000, ""}, Row{0775, 0, 0, "other users"},
        Row{0757, 0, 0, "other users"}, Row{01777, 0, 0, ""}, Row{01777, 0, 1000, "user 1000"},
        Row{0700, 1001, 0, "user 1001"}}) {
    set(directory, 0755, row.user_of_directory);
    set(middle, row.mode, row.user);
    EXPECT_EQ(who_may_replace(directory), row.said.empty() ? "" : row.said + replace)
        << std::oct << row.mode << ' ' << std::dec << row.user;
  }
  set(middle, 0755, 0);
  set(parent.path(), 0777, 0);
  EXPECT_EQ(who_may_replace(directory), "other users may replace " + middle);
}

}  // namespace
}  // namespace shmif::perf::pinned_directory
