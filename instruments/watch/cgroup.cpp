#include "instruments/watch/cgroup.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "base/unique_fd.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

bool has_file(const std::string& directory, const char* file) {
  return ::access((directory + '/' + file).c_str(), F_OK) == 0;
}

std::string parent_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

Result<void> set_weight(const std::string& path, std::uint32_t weight) {
  const std::string text = std::to_string(weight);
  const UniqueFd file(::open((path + "/cpu.weight").c_str(), O_WRONLY | O_CLOEXEC));
  if (file && ::write(file.get(), text.data(), text.size()) > 0) return {};
  return Error::from_errno(
      errno, "cannot give cgroup " + path + " the weight " + text + " (cgroup_weight)",
      "its parent must pass on the controller cpu: echo +cpu >" + parent_of(path) +
          "/cgroup.subtree_control");
}

/// Tries for a moment, because the kernel may still count a process that has ended in its group.
bool removed(const std::string& path) {
  constexpr int kTries = 200;
  constexpr timespec kPause{0, 5'000'000};
  for (int i = 0; i < kTries; ++i) {
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return true;
    if (errno != EBUSY) return false;
    (void)::nanosleep(&kPause, nullptr);
  }
  errno = EBUSY;
  return false;
}

}  // namespace

std::string cgroup_path(const std::string& name) {
  std::string path;  // without double slashes, or one at its end
  for (const char each : name) {
    if (each != '/' || !path.ends_with('/')) path += each;
  }
  if (path.ends_with('/')) path.pop_back();
  static constexpr std::string_view kMount = "/sys/fs/cgroup";
  if (path.empty()) return std::string(kMount);
  if (!path.starts_with('/')) return std::string(kMount) + '/' + path;
  const auto is_group = [&] {
    return has_file(path, "cgroup.procs") || has_file(parent_of(path), "cgroup.procs");
  };
  const bool whole = (path + '/').starts_with(std::string(kMount) + '/') || is_group();
  return whole ? path : std::string(kMount) + path;
}

MadeCgroups::~MadeCgroups() {
  (void)remove();
}

Result<void> MadeCgroups::make(const Wish& wish) {
  const std::string path = cgroup_path(wish.name);
  const bool there = ::access(path.c_str(), F_OK) == 0;
  if (const auto known = made_.find(path); there && known != made_.end()) {
    known->second |= wish.stays;
    return wish.weight == 0 ? Result<void>() : set_weight(path, wish.weight);
  }
  if (there) {
    if (wish.weight == 0) return {};
    return Error(Errc::exists, "cgroup_weight: cgroup " + path +
                                   " exists already, and is somebody else's (write its cpu.weight "
                                   "yourself, name another one, or remove it with rmdir if a run "
                                   "that was killed left it)");
  }
  if (!has_file(parent_of(path), "cgroup.controllers")) return {};  // not of version 2
  if (::mkdir(path.c_str(), 0755) != 0) {
    return Error::from_errno(errno, "cannot make cgroup " + path,
                             "its parent must be yours: run as root, or under systemd-run --user "
                             "--scope -p Delegate=yes");
  }
  made_[path] = wish.stays;
  debug(Debug::place, [&] { return "made cgroup " + path; });
  return wish.weight == 0 ? Result<void>() : set_weight(path, wish.weight);
}

std::vector<std::string> MadeCgroups::remove() {
  std::vector<std::string> left;
  const auto made = std::exchange(made_, {});
  // A group must be removed before its parent. Its path sorts behind the parent's, so go backwards.
  for (auto group = made.rbegin(); group != made.rend(); ++group) {
    const std::string& path = group->first;
    if (group->second) {
      made_.emplace(path, true);  // a later run of the campaign may use it
      continue;
    }
    if (removed(path)) {
      debug(Debug::place, [&] { return "removed cgroup " + path; });
      continue;
    }
    left.push_back("cannot remove cgroup " + path + ", which the run made: " +
                   std::strerror(errno) + " (end its processes, and remove it with rmdir)");
  }
  return left;
}

}  // namespace shmif::perf
