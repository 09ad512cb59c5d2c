#include "tap/guest/enter.hpp"

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

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "base/files.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tap {
namespace {

constexpr const char* kCannotEnter = "cannot enter the host's namespaces";

/// Whether a user namespace has only one id. Empty if that cannot be read.
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

/// The owner of the user namespace. Empty if that cannot be read.
std::optional<uid_t> owner_of(pid_t init) {
  const UniqueFd space(
      ::open(("/proc/" + std::to_string(init) + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  uid_t owner = 0;
  if (!space || ::ioctl(space.get(), NS_GET_OWNER_UID, &owner) != 0) return std::nullopt;
  return owner;
}

/// The user that `init` runs as. Empty if its ids cannot be read, or if not all four ids are those
/// of one user.
std::optional<uid_t> user_of(pid_t init) {
  std::ifstream file("/proc/" + std::to_string(init) + "/status");
  std::string status;
  std::getline(file, status, '\0');  // an iterator would throw if the process ends meanwhile
  const auto ids = base::status_numbers(status, "Uid");
  if (ids.empty() || std::ranges::count(ids, ids.front()) != std::ssize(ids)) return std::nullopt;
  return static_cast<uid_t>(ids.front());
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
  const auto user = user_of(init);
  // The facts above were read by process number. They are right if the process of the descriptor
  // still lives.
  if (has_ended(init_file)) return Error::from_errno(ESRCH, what, "the host has just ended");
  if (!single || !owner || !user) {
    return Error::from_errno(EACCES, what,
                             "another user started the host; become that user, or root");
  }
  // In a container, the user namespace may be ours while its processes belong to another user.
  return GuestTarget{*single, *user, *owner != ::geteuid() || *user != ::geteuid()};
}

Result<void> join_guest(const GuestTarget& target, int init_file) {
  const unsigned long joined = target.is_foreign ? CLONE_NEWPID : kGuestNamespaces;
  if (::setns(init_file, static_cast<int>(joined)) == 0) return {};
  return Error::from_errno(errno, kCannotEnter,
                           target.is_foreign
                               ? "another user started the host; become that user, or root"
                               : "only root or the user who started the host can do this");
}

Result<void> become_foreign_guest(int init_file) {
  const std::string what = kCannotEnter;
  ::prctl(PR_SET_DUMPABLE, 0);
  // The caller's session keyring holds the caller's keys, so leave it. Some kernels have no
  // keyrings.
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS) {
    return Error::from_errno(errno, what + ": cannot leave the caller's session keyring",
                             "a container's seccomp profile may forbid keyctl");
  }
  if (::setgroups(0, nullptr) != 0) {
    return Error::from_errno(errno, what,
                             "another user started the host; become that user, or root");
  }
  if (::setns(init_file, static_cast<int>(kGuestNamespaces & ~CLONE_NEWPID)) != 0) {
    return Error::from_errno(errno, what, "only root or the user who started the host can do this");
  }
  if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0) {
    return Error::from_errno(errno, what + ": cannot become its root");
  }
  ::prctl(PR_SET_DUMPABLE, 0);  // a change of credentials sets it to fs.suid_dumpable
  return {};
}

}  // namespace shmif::tap
