#include "tap/guest_enter.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "bus/unique_fd.hpp"

namespace shmif::tap {
namespace {

constexpr const char* kCannotEnter = "cannot enter the host's namespaces";

/// Whether a user namespace has one id. Nothing: it cannot be read.
std::optional<bool> has_single_id(pid_t init) {
  std::ifstream map("/proc/" + std::to_string(init) + "/uid_map");
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  std::uint64_t all = 0;
  while (map >> inside >> outside >> count) all += count;
  if (all == 0) return std::nullopt;
  return all == 1;
}

/// Whose user namespace it is.
std::optional<uid_t> owner_of(pid_t init) {
  const UniqueFd space(
      ::open(("/proc/" + std::to_string(init) + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  uid_t owner = 0;
  if (!space || ::ioctl(space.get(), NS_GET_OWNER_UID, &owner) != 0) return std::nullopt;
  return owner;
}

bool has_ended(int file) {
  pollfd entry{file, POLLIN, 0};
  return ::poll(&entry, 1, 0) != 0;
}

}  // namespace

Result<GuestTarget> look_at_guest(pid_t init, int init_file) {
  const std::string what = kCannotEnter;
  const auto single = has_single_id(init);
  const auto owner = owner_of(init);
  // What was read by number is of the process that the descriptor holds, if that one lives still.
  if (has_ended(init_file)) return Error::from_errno(ESRCH, what, "the host has just ended");
  if (!single || !owner) {
    return Error::from_errno(EACCES, what, "it was started by another user; be that user, or root");
  }
  return GuestTarget{*single, *owner, *owner != ::geteuid()};
}

Result<void> join_guest(const GuestTarget& target, int init_file) {
  const std::string what = kCannotEnter;
  // Root that joins another user's guest must have nothing of root left in there.
  const bool drops = target.is_foreign;
  if (drops) {
    ::prctl(PR_SET_DUMPABLE, 0);
    // A session keyring of our own would hold root's keys.
    (void)::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  }
  if (drops && ::setgroups(0, nullptr) != 0) {
    return Error::from_errno(errno, what, "it was started by another user; be that user, or root");
  }
  std::error_code ignored;
  const std::filesystem::path directory = std::filesystem::current_path(ignored);
  if (::setns(init_file, static_cast<int>(kGuestNamespaces)) != 0) {
    return Error::from_errno(errno, what, "only the user who started it, or root, may");
  }
  if (drops && (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)) {
    return Error::from_errno(errno, what + ": cannot become its root");
  }
  if (drops) ::prctl(PR_SET_DUMPABLE, 0);  // a change of credentials sets it to fs.suid_dumpable
  if (directory.empty() || ::chdir(directory.c_str()) != 0) (void)!::chdir("/");
  return {};
}

}  // namespace shmif::tap
