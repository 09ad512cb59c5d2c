#include "perf/remote/pinned_directory.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/unique_fd.hpp"

namespace shmif::perf {
namespace {

/// A flag of statvfs() since Linux 5.10, which the C library's headers lack.
constexpr unsigned long kNoSymFollow = 0x2000;

Error cannot_pin(const std::string& directory, const std::string& doing, int number) {
  return {
      Errc::not_supported,
      Error::from_errno(
          number, "cannot keep the files of clients below " + directory + ": cannot " + doing,
          "this needs Linux 5.14, and mount namespaces: CAP_SYS_ADMIN, or for an ordinary user "
          "without capabilities user namespaces, which AppArmor may restrict by "
          "kernel.apparmor_restrict_unprivileged_userns; without them, leave --directory out, or "
          "trust the clients with all files by --allow-exec")
          .message};
}

bool write_file(const char* path, const std::string& text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string only(unsigned id) {
  return std::to_string(id) + ' ' + std::to_string(id) + " 1\n";
}

bool has_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> has{};
  return ::syscall(SYS_capget, &header, has.data()) != 0 ||
         std::ranges::any_of(has, [](const auto& each) { return each.permitted != 0; });
}

/// Moves the process into its own mount namespace; for an ordinary user, into its own user
/// namespace as well. Result: 0 or errno.
int leave_mounts(bool& new_user_space) {
  if (::unshare(CLONE_NEWNS) == 0) return 0;
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  // root without CAP_SYS_ADMIN is in a container, and would lose its other capabilities in a new
  // user namespace. So would a service that has some capabilities.
  if (errno != EPERM || user == 0 || has_capabilities()) return errno;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return errno;
  new_user_space = true;
  (void)write_file("/proc/self/setgroups", "deny");  // required before a group may be mapped
  if (!write_file("/proc/self/uid_map", only(user))) return errno;
  return write_file("/proc/self/gid_map", only(group)) ? 0 : errno;
}

/// Drops the capabilities in the new user namespace, which the ordinary user did not have before.
int drop_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> none{};
  return ::syscall(SYS_capset, &header, none.data()) == 0 ? 0 : errno;
}

/// Opens a directory. Its path had no symbolic link when it was made absolute, so a link in it now
/// is new, and opening fails.
UniqueFd open_directory(const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
}

/// Whether `path` leads to the directory that `held` is open on, on a mount with nosymfollow.
bool is_pinned(const std::string& path, int held) {
  struct statvfs mounted{};
  struct stat there{};
  struct stat wanted{};
  return ::statvfs(path.c_str(), &mounted) == 0 && (mounted.f_flag & kNoSymFollow) != 0 &&
         ::stat(path.c_str(), &there) == 0 && ::fstat(held, &wanted) == 0 &&
         there.st_dev == wanted.st_dev && there.st_ino == wanted.st_ino;
}

}  // namespace

Result<void> pin_directory(const std::string& directory) {
  const auto failed = [&](const char* doing) { return cannot_pin(directory, doing, errno); };
  bool new_user_space = false;
  if (const int number = leave_mounts(new_user_space); number != 0)
    return cannot_pin(directory, "make a mount namespace", number);
  // Later mounts of other processes still appear here; ours do not appear there.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return failed("set up the mount namespace");
  const UniqueFd held = open_directory(directory);
  if (!held) return failed("open it");
  const UniqueFd tree(::open_tree(held.get(), "",
                                  static_cast<unsigned>(AT_EMPTY_PATH) |
                                      static_cast<unsigned>(AT_RECURSIVE) | OPEN_TREE_CLONE |
                                      static_cast<unsigned>(OPEN_TREE_CLOEXEC)));
  if (!tree) return failed("copy its mount");
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSYMFOLLOW;
  attributes.propagation = MS_PRIVATE;  // a file system mounted below later would follow links
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                      sizeof attributes) != 0)
    return failed("forbid symbolic links there");
  if (::move_mount(tree.get(), "", held.get(), "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return failed("mount it over itself");
  if (!is_pinned(directory, held.get())) {
    return Error(Errc::not_supported, "cannot keep the files of clients below " + directory +
                                          ": links are followed there all the same (name a "
                                          "directory on another file system)");
  }
  if (const int number = new_user_space ? drop_capabilities() : 0; number != 0)
    return cannot_pin(directory, "give up capabilities", number);
  return {};
}

Result<void> can_pin_directory(const std::string& directory) {
  constexpr std::size_t kMaxText = 2048;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Error::from_errno(errno, "cannot make a pipe");
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return Error::from_errno(errno, "cannot start a process");
  if (child == 0) {
    const auto done = pin_directory(directory);
    if (!done)
      (void)!::write(theirs.get(), done.error().message.data(), done.error().message.size());
    ::_exit(done ? 0 : 1);
  }
  theirs.reset();
  std::string said(kMaxText, '\0');
  const ssize_t n = ::read(ours.get(), said.data(), said.size());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status == 0) return {};
  said.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return Error(Errc::not_supported,
               said.empty() ? "cannot keep the files of clients below " + directory : said);
}

std::string who_may_replace(const std::string& directory) {
  std::filesystem::path path = directory;
  const uid_t self = ::geteuid();
  const auto is_foreign = [self](uid_t user) { return user != 0 && user != self; };
  for (; path.has_relative_path(); path = path.parent_path()) {
    struct stat here{};
    struct stat above{};
    if (::lstat(path.c_str(), &here) != 0 || ::lstat(path.parent_path().c_str(), &above) != 0)
      continue;
    const std::string what = " may replace " + path.string();
    if (is_foreign(above.st_uid)) return "user " + std::to_string(above.st_uid) + what;
    if ((above.st_mode & (S_IWGRP | S_IWOTH)) == 0) continue;
    if ((above.st_mode & S_ISVTX) == 0) return "other users" + what;
    if (is_foreign(here.st_uid)) return "user " + std::to_string(here.st_uid) + what;
  }
  return {};
}

}  // namespace shmif::perf
