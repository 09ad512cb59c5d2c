#include "perf/remote/pinned_directory.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/heat_wire.hpp"
#include "tap/namespaces.hpp"

namespace shmif::perf {
namespace {

/// A flag of statvfs() since Linux 5.10, which the C library's headers lack.
constexpr unsigned long kNoSymFollow = 0x2000;

Error cannot_pin(const std::string& directory, const std::string& doing, int number) {
  return {
      Errc::not_supported,
      Error::from_errno(
          number, "cannot keep the files of clients below " + directory + ": cannot " + doing,
          number == ENOSYS
              ? "this needs Linux 5.14"
              : "this needs CAP_SYS_ADMIN, or for an ordinary user without capabilities user "
                "namespaces: " +
                    tap::why_no_namespaces(number) +
                    "; without them, leave --directory out, or trust the clients with all files by "
                    "--allow-exec")
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

/// Where the run keeps its own files: the buses that are made for it. It is private memory, so
/// nobody else can exchange files there, and it ends with the run.
constexpr const char* kScratch = "/dev/shm";

/// What else stays writable, none of it by a name that a client chose: settings of the kernel,
/// through which jobs make namespaces, devices and measurements; /run, where the settings of TAP
/// devices are kept (tap/tap_keeper.hpp); and where the server's user wants access heat shared.
std::vector<std::string> writable_places() {
  std::vector<std::string> places{"/proc", "/sys", "/run"};
  if (const char* const heat = std::getenv(heat::kVariable)) places.emplace_back(heat);
  return places;
}

/// A copy of the mount of a directory, with all mounts below it.
UniqueFd copy_of_mount(int directory, const char* path) {
  return UniqueFd(::open_tree(directory, path,
                              static_cast<unsigned>(AT_EMPTY_PATH) |
                                  static_cast<unsigned>(AT_RECURSIVE) | OPEN_TREE_CLONE |
                                  static_cast<unsigned>(OPEN_TREE_CLOEXEC)));
}

bool put(const UniqueFd& mount, int directory, const char* path) {
  return ::move_mount(mount.get(), "", directory, path,
                      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
}

bool is_below(const std::string& path, const std::string& directory) {
  return (path + '/').starts_with(directory + '/');
}

/// Makes all files read-only, except writable_places() and, in private memory, kScratch. If
/// `directory` is in one of these, or contains it, that one gets no exception. Result: what failed,
/// with errno; null: nothing.
const char* make_read_only(const std::string& directory) {
  std::error_code failed;
  std::vector<std::pair<std::string, UniqueFd>> kept;
  for (const std::string& each : writable_places()) {
    const std::string path = std::filesystem::canonical(each, failed);
    if (failed || is_below(directory, path)) continue;
    if (UniqueFd mount = copy_of_mount(AT_FDCWD, path.c_str()))
      kept.emplace_back(path, std::move(mount));
  }
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  if (::mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes) != 0)
    return "make the other directories read-only";
  for (const auto& [path, mount] : kept) {
    if (!put(mount, AT_FDCWD, path.c_str())) return "keep the kernel's files writable";
  }
  const std::string scratch = std::filesystem::canonical(kScratch, failed);
  ::setenv("TMPDIR", kScratch, 1);
  if (is_below(scratch, directory)) return nullptr;
  if (::mount("tmpfs", kScratch, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0)
    return "mount private memory on /dev/shm";
  if (is_below(directory, scratch)) std::filesystem::create_directories(directory, failed);
  return nullptr;
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
  // Private: a later mount of others would be writable here, and would follow links.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failed("set up the mount namespace");
  const UniqueFd held = open_directory(directory);
  if (!held && (errno == ENOENT || errno == ELOOP)) {
    return Error::from_errno(errno, "cannot open the server's --directory " + directory,
                             "it was a directory when the server started: make it again");
  }
  if (!held) return failed("open it");
  const UniqueFd tree = copy_of_mount(held.get(), "");
  if (!tree) return failed("copy its mount");
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSYMFOLLOW;
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                      sizeof attributes) != 0)
    return failed("forbid symbolic links there");
  if (const char* const what = make_read_only(directory); what != nullptr) return failed(what);
  const UniqueFd place = open_directory(directory);
  if (!place || !put(tree, place.get(), "")) return failed("mount it over itself");
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
  std::fflush(nullptr);
  auto done = tap::run_forked([&]() -> Result<std::vector<UniqueFd>> {
    if (auto pinned = pin_directory(directory); !pinned) return std::move(pinned).error();
    return std::vector<UniqueFd>{};
  });
  return done ? Result<void>() : std::move(done).error();
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
