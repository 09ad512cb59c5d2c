#include "tap/namespaces.hpp"

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "base/descriptors.hpp"

namespace shmif::tap {
namespace {

/// A line of mountinfo (proc_pid_mountinfo(5)).
struct MountSeen {
  long id = 0;
  std::string place;  ///< relative to the root directory of the process
};

/// The mounts that a process sees; empty if they cannot be read. `process`: its directory in /proc.
std::vector<MountSeen> mounts_seen(const std::filesystem::path& process) {
  std::ifstream file(process / "mountinfo");
  std::vector<MountSeen> seen;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    MountSeen mount;
    std::string parent;
    std::string device;
    std::string root;
    if (words >> mount.id >> parent >> device >> root >> mount.place) seen.push_back(mount);
  }
  return seen;
}

/// A setting of the kernel; empty if it cannot be read.
std::string setting(const std::string& name) {
  std::ifstream file("/proc/sys/" + name);
  std::string value;
  file >> value;
  return value;
}

constexpr std::size_t kMaxDescriptors = 16;

/// The child's answer, as it reaches the parent. The error's message follows it.
struct Answer {
  bool failed;
  bool ours;  ///< the code's category is that of shmif, not generic
  int code;
};

void send_answer(int socket, const Result<std::vector<UniqueFd>>& result) {
  Answer answer{!result.has_value(), false, 0};
  std::string message;
  std::array<int, kMaxDescriptors> fds{};
  std::size_t count = 0;
  if (result) {
    for (const UniqueFd& d : *result) {
      if (count < fds.size()) fds[count++] = d.get();
    }
  } else {
    answer.ours = result.error().code.category() == error_category();
    answer.code = result.error().code.value();
    message = result.error().message.substr(0, 4000);
  }
  std::array<iovec, 2> parts{{{&answer, sizeof answer}, {message.data(), message.size()}}};
  base::RightsRoom<kMaxDescriptors> room;
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  base::put_rights(header, room, std::span(fds).first(count));
  (void)!::sendmsg(socket, &header, MSG_NOSIGNAL);
}

Result<std::vector<UniqueFd>> receive_answer(int socket) {
  Answer answer{};
  std::array<char, 4096> message{};
  std::array<iovec, 2> parts{{{&answer, sizeof answer}, {message.data(), message.size()}}};
  base::RightsRoom<kMaxDescriptors> room;
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  base::allow_rights(header, room);
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < static_cast<ssize_t>(sizeof answer)) {
    return Error(std::error_code(ECHILD, std::generic_category()),
                 "the helper process died without an answer");
  }
  std::vector<UniqueFd> fds;
  base::for_each_right(header, [&](int fd) { fds.emplace_back(fd); });
  if (!answer.failed) return fds;
  const std::size_t length = static_cast<std::size_t>(got) - sizeof answer;
  return Error(
      std::error_code(answer.code, answer.ours ? error_category() : std::generic_category()),
      std::string(message.data(), length));
}

/// All that the child does.
[[noreturn]] void run_child(int socket, const ForkedTask& task) {
  try {
    send_answer(socket, task());
  } catch (const std::exception& e) {
    send_answer(socket, Error(Errc::not_supported, e.what()));
  }
  ::_exit(0);  // do not run the parent's destructors or flush its streams
}

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

bool is_chrooted() {
  namespace fs = std::filesystem;
  const std::vector<MountSeen> ours = mounts_seen("/proc/self");
  if (ours.empty()) return false;
  const auto top = std::find_if(ours.rbegin(), ours.rend(),
                                [](const MountSeen& mount) { return mount.place == "/"; });
  if (top == ours.rend()) return true;  // our root is a directory inside a mount
  // Our root is a mount. In a chroot, processes outside see this mount at another place. The number
  // of a mount is unique, also across namespaces.
  std::error_code failed;
  for (fs::directory_iterator process("/proc", failed), end; !failed && process != end;
       process.increment(failed)) {
    const std::string name = process->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::vector<MountSeen> theirs = mounts_seen(process->path());
    if (std::any_of(theirs.begin(), theirs.end(), [&](const MountSeen& mount) {
          return mount.id == top->id && mount.place != "/";
        })) {
      return true;
    }
  }
  return false;
}

std::string why_no_namespaces(int number) {
  constexpr std::array kLimits{"max_user_namespaces", "max_net_namespaces", "max_mnt_namespaces",
                               "max_pid_namespaces",  "max_ipc_namespaces", "max_uts_namespaces"};
  const auto limit = std::ranges::find_if(
      kLimits, [](const char* each) { return setting(std::string("user/") + each) == "0"; });
  if (limit != kLimits.end()) {
    return std::string("/proc/sys/user/") + *limit + " is 0; as root: sysctl user." + *limit +
           "=10000";
  }
  if (number == ENOSPC) return "the limits of /proc/sys/user/max_*_namespaces are reached";
  if (number == EUSERS) return "user namespaces are nested too deeply";
  if (number == EINVAL || number == ENOSYS) return "the kernel was built without namespaces";
  if (setting("kernel/unprivileged_userns_clone") == "0")
    return "as root: sysctl kernel.unprivileged_userns_clone=1";
  if (setting("kernel/apparmor_restrict_unprivileged_userns") == "1") {
    return "AppArmor forbids them (Ubuntu from 23.10 on): load the profile "
           "share/shmif/apparmor/shmif (docs/packages.md), or, as root: sysctl "
           "kernel.apparmor_restrict_unprivileged_userns=0";
  }
  if (is_chrooted()) {
    return "this is a chroot, where the kernel refuses user namespaces: run it outside, or enter "
           "the directory with a program that moves the root, such as bwrap or systemd-nspawn";
  }
  return "in a container: --security-opt seccomp=unconfined (Docker), or run this as root of a "
         "container with --cap-add SYS_ADMIN --cap-add NET_ADMIN";
}

Result<std::vector<UniqueFd>> run_forked(const ForkedTask& task) {
  std::array<int, 2> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return Error::from_errno(errno, "cannot make a socket pair");
  }
  const UniqueFd mine(pair[0]);
  UniqueFd theirs(pair[1]);
  const pid_t child = ::fork();
  if (child < 0) return Error::from_errno(errno, "cannot fork a helper process");
  if (child == 0) run_child(theirs.get(), task);
  theirs.reset();
  auto result = receive_answer(mine.get());
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return result;
}

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
