#include "tap/no_namespaces.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

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

}  // namespace shmif::tap
