#include "tap/netns_watch.hpp"

#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>

namespace shmif::tap {
namespace {

/// How often a path is checked. attach() waits two seconds for a name that is taken, so this finds
/// out in time for a restarted container that its port's name is free.
constexpr long kLookNs = 500'000'000;

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_readable(int descriptor) {
  pollfd entry{descriptor, POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

bool leads_to(const std::string& path, const struct stat& wanted) {
  struct stat there{};
  return ::stat(path.c_str(), &there) == 0 && there.st_dev == wanted.st_dev &&
         there.st_ino == wanted.st_ino;
}

/// Whether a process other than the caller is in the namespace. A process that the caller may not
/// look at counts as outside. That is right: if the caller may enter a namespace, it may look at
/// all processes in it.
bool is_inhabited(const struct stat& space) {
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  if (!processes) return true;
  const std::string self = std::to_string(::getpid());
  while (const dirent* const entry = ::readdir(processes.get())) {
    const std::string name = entry->d_name;
    if (!is_number(name) || name == self) continue;
    if (leads_to("/proc/" + name + "/ns/net", space)) return true;
  }
  return false;
}

Result<UniqueFd> open_timer() {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const itimerspec every{.it_interval = {.tv_sec = 0, .tv_nsec = kLookNs},
                         .it_value = {.tv_sec = 0, .tv_nsec = kLookNs}};
  if (!timer || ::timerfd_settime(timer.get(), 0, &every, nullptr) != 0) {
    return Error::from_errno(errno, "cannot make a timer");
  }
  return timer;
}

}  // namespace

Result<NetNamespaceWatch> NetNamespaceWatch::open(std::string_view text) {
  const std::string given(text);
  const bool process = NetNamespace::is_pid(text);
  UniqueFd ended;
  // Open the process first. If its number then leads to a namespace and the process still runs, the
  // namespace is that of this process, not of a later one with the same number. For the number of a
  // thread, and on a kernel without pidfd_open, only the path can be checked.
  if (process) {
    ended.reset(static_cast<int>(
        ::syscall(SYS_pidfd_open, static_cast<pid_t>(std::strtol(given.c_str(), nullptr, 10)), 0)));
  }
  Result<NetNamespace> space = NetNamespace::parse(text);
  if (!space) return std::move(space).error();
  if (ended && is_readable(ended.get())) {
    return Error::from_errno(ESRCH, "cannot use the network namespace of process " + given);
  }
  std::string path = given;
  if (process) {
    path = "/proc/" + given + "/ns/net";
  } else if (given.find('/') == std::string::npos) {
    path = NetNamespace::kNamed + given;
  }
  const bool has_process = static_cast<bool>(ended);
  UniqueFd descriptor = std::move(ended);
  if (!has_process) {
    Result<UniqueFd> timer = open_timer();
    if (!timer) return std::move(timer).error();
    descriptor = *std::move(timer);
  }
  return NetNamespaceWatch(*std::move(space), std::move(path), std::move(descriptor), has_process);
}

std::optional<std::string> NetNamespaceWatch::look() const {
  if (is_process_) {
    if (!is_readable(descriptor_.get())) return std::nullopt;
    return space_.name() + " has ended";
  }
  std::uint64_t expirations = 0;
  (void)!::read(descriptor_.get(), &expirations, sizeof expirations);
  struct stat space{};
  if (::fstat(space_.descriptor(), &space) != 0 || leads_to(path_, space) || is_inhabited(space)) {
    return std::nullopt;
  }
  return "network namespace " + space_.name() + " is gone";
}

}  // namespace shmif::tap
