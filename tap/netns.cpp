#include "tap/netns.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "tap/namespaces.hpp"

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)  // Linux 5.2
#endif

namespace shmif::tap {
namespace {

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Enters the namespace, after the user namespace that owns it. Only for a single-threaded process.
Result<void> enter(const NetNamespace& where) {
  const std::string what = "cannot enter the network namespace of " + where.name();
  const UniqueFd owner(::ioctl(where.descriptor(), NS_GET_USERNS));
  struct stat theirs{};
  struct stat ours{};
  // EPERM: the owner is a user namespace outside ours. Then setns below reports that.
  if (owner && ::fstat(owner.get(), &theirs) == 0 && ::stat("/proc/self/ns/user", &ours) == 0 &&
      !same_file(theirs, ours) && ::setns(owner.get(), CLONE_NEWUSER) != 0) {
    return Error::from_errno(errno, what, "its user namespace must be one that you created");
  }
  if (::setns(where.descriptor(), CLONE_NEWNET) != 0) {
    return Error::from_errno(errno, what,
                             "needs CAP_SYS_ADMIN, or a user namespace that you created");
  }
  return {};
}

bool write_file(const char* path, const std::string& text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// Moves the calling process, which has one thread, into a new network namespace. If it is not
/// allowed to make one, it first moves into a new user namespace, where it is allowed.
Result<void> leave_for_a_new_one() {
  if (::unshare(CLONE_NEWNET) == 0) return {};
  const std::string uid_map = "0 " + std::to_string(::geteuid()) + " 1\n";
  const std::string gid_map = "0 " + std::to_string(::getegid()) + " 1\n";
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    const int number = errno;
    return Error(Errc::not_supported,
                 Error::from_errno(number, "no namespaces here: cannot make a network namespace",
                                   why_no_namespaces(number))
                     .message);
  }
  (void)write_file("/proc/self/setgroups", "deny");  // otherwise no group may be mapped
  if (!write_file("/proc/self/uid_map", uid_map) || !write_file("/proc/self/gid_map", gid_map)) {
    return Error(
        Errc::not_supported,
        Error::from_errno(errno, "no namespaces here: cannot map the ids of a user namespace",
                          why_no_namespaces())
            .message);
  }
  return {};
}

}  // namespace

Result<NetNamespace> NetNamespace::open(const std::string& path, std::string name) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const int number = errno;
    const char* hint = number == ENOENT   ? "there is no such namespace or process"
                       : number == EACCES ? "it belongs to another user; become root"
                                          : "";
    return Error::from_errno(number, "cannot open the network namespace of " + name + " at " + path,
                             hint);
  }
  struct statfs fs{};
  if (::fstatfs(fd.get(), &fs) != 0 || fs.f_type != NSFS_MAGIC ||
      ::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return Error(Errc::bad_argument,
                 path + " is not a network namespace; 'ip netns' lists those with a name");
  }
  return NetNamespace(std::move(fd), std::move(name));
}

Result<NetNamespace> NetNamespace::create() {
  auto made = run_forked([]() -> Result<std::vector<UniqueFd>> {
    if (auto left = leave_for_a_new_one(); !left) return std::move(left).error();
    std::vector<UniqueFd> fds;
    fds.emplace_back(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!fds.front()) return Error::from_errno(errno, "cannot open a new network namespace");
    return fds;
  });
  if (!made) return std::move(made).error();
  return NetNamespace(std::move(made->at(0)), "a new one");
}

Result<NetNamespace> NetNamespace::current() {
  return open("/proc/thread-self/ns/net", "this process");
}

Result<NetNamespace> NetNamespace::by_name(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    return Error(Errc::bad_argument, "\"" + name + "\" is not the name of a network namespace");
  }
  return open(kNamed + name, "\"" + name + "\"");
}

Result<NetNamespace> NetNamespace::by_path(const std::string& path) {
  return open(path, path);
}

Result<NetNamespace> NetNamespace::by_pid(pid_t pid) {
  const std::string number = std::to_string(pid);
  return open("/proc/" + number + "/ns/net", "process " + number);
}

bool NetNamespace::is_pid(std::string_view text) {
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(),
                                                   [](char c) { return c >= '0' && c <= '9'; });
  return digits && ::access((kNamed + std::string(text)).c_str(), F_OK) != 0;
}

Result<NetNamespace> NetNamespace::parse(std::string_view text) {
  if (is_pid(text)) {
    pid_t pid = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), pid);
    if (problem != std::errc{} || pid == 0) {
      return Error(Errc::bad_argument,
                   "\"" + std::string(text) + "\" is not a process id" +
                       (pid == 0 && problem == std::errc{}
                            ? " (podman prints 0 for a container that is not running)"
                            : ""));
    }
    return by_pid(pid);
  }
  if (text.find('/') != std::string_view::npos) return by_path(std::string(text));
  return by_name(std::string(text));
}

Result<NetNamespace> NetNamespace::of_device(int tun) {
  UniqueFd fd(::ioctl(tun, TUNGETDEVNETNS));
  if (!fd) return Error::from_errno(errno, "cannot find the network namespace of the TAP device");
  return NetNamespace(std::move(fd), "the TAP device");
}

Result<NetNamespace> NetNamespace::of_socket(int socket) {
  UniqueFd fd(::ioctl(socket, SIOCGSKNS));
  if (!fd) return Error::from_errno(errno, "cannot find the network namespace of a socket");
  return NetNamespace(std::move(fd), "a socket");
}

bool NetNamespace::is_current() const noexcept {
  struct stat theirs{};
  struct stat ours{};
  return ::fstat(fd_.get(), &theirs) == 0 && ::stat("/proc/thread-self/ns/net", &ours) == 0 &&
         same_file(theirs, ours);
}

bool NetNamespace::is_same(const NetNamespace& other) const noexcept {
  struct stat one{};
  struct stat two{};
  return ::fstat(descriptor(), &one) == 0 && ::fstat(other.descriptor(), &two) == 0 &&
         same_file(one, two);
}

Result<std::vector<UniqueFd>> run_in(const NetNamespace& where, const NamespaceTask& task) {
  return run_forked([&]() -> Result<std::vector<UniqueFd>> {
    if (auto entered = enter(where); !entered) return std::move(entered).error();
    return task();
  });
}

}  // namespace shmif::tap
