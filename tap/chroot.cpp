#include "tap/chroot.hpp"

#include <algorithm>
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

}  // namespace shmif::tap
