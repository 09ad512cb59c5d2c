#include "tools/lab/groups.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tools {

namespace {

/// A hierarchy of control groups, and where this process is in it.
struct GroupTree {
  bool is_v2 = false;
  std::string own;  ///< the directory of our group
};

/// The hierarchy for `controller`; of version 2 if there is no other for it.
std::optional<GroupTree> tree_for(std::string_view controller) {
  std::ifstream mounts("/proc/self/mounts");
  std::string v1;
  std::string v2;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device;
    std::string place;
    std::string type;
    std::string options;
    words >> device >> place >> type >> options;
    if (type == "cgroup2" && v2.empty()) v2 = place;
    if (type != "cgroup") continue;
    for (const std::string_view option : base::split(options, ',')) {
      if (option == controller) v1 = place;
    }
  }
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto parts = base::split(line, ':');
    if (parts.size() < 3) continue;
    const std::string path(parts[2]);
    if (!v1.empty()) {
      for (const std::string_view each : base::split(parts[1], ',')) {
        if (each == controller) return GroupTree{false, v1 + (path == "/" ? "" : path)};
      }
    } else if (parts[1].empty() && !v2.empty()) {
      return GroupTree{true, v2 + (path == "/" ? "" : path)};
    }
  }
  return std::nullopt;
}

bool write_group_file(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// Makes a group with one limit. Result: its directory.
Result<std::string> limited_group(const std::string& name, const std::string& controller,
                                  const std::vector<std::pair<std::string, std::string>>& v1,
                                  const std::vector<std::pair<std::string, std::string>>& v2) {
  const std::string what = "cannot limit the " + controller + " of a host";
  const auto tree = tree_for(controller);
  if (!tree) return Error::from_errno(ENOENT, what, "there is no control group for it here");
  const std::string group = tree->own + '/' + name;
  if (tree->is_v2) write_group_file(tree->own + "/cgroup.subtree_control", '+' + controller);
  if (::mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, what + ": " + group);
  }
  for (const auto& [file, text] : tree->is_v2 ? v2 : v1) {
    const std::string path = std::string(group).append(1, '/').append(file);
    if (write_group_file(path, text)) continue;
    const int error = errno;
    ::rmdir(group.c_str());
    return Error::from_errno(error, std::string(what).append(": ").append(path),
                             "run the lab in a control group of its own, for instance with "
                             "systemd-run --user --scope -p Delegate=yes");
  }
  return group;
}

}  // namespace

Result<std::vector<std::string>> make_lab_groups(const std::string& lab, const LabHost& host) {
  const std::string name = "shmif-" + lab + '-' + host.name;
  std::vector<std::string> groups;
  if (host.memory_bytes) {
    const std::string bytes = std::to_string(*host.memory_bytes);
    Result<std::string> group =
        limited_group(name, "memory", {{"memory.limit_in_bytes", bytes}}, {{"memory.max", bytes}});
    if (!group) return std::move(group).error();
    groups.push_back(*std::move(group));
  }
  if (host.cpus) {
    const auto quota = static_cast<std::uint64_t>(*host.cpus * 100'000);
    Result<std::string> group = limited_group(
        name, "cpu", {{"cpu.cfs_period_us", "100000"}, {"cpu.cfs_quota_us", std::to_string(quota)}},
        {{"cpu.max", std::to_string(quota) + " 100000"}});
    if (!group) {
      for (const std::string& each : groups) ::rmdir(each.c_str());
      return std::move(group).error();
    }
    if (groups.empty() || groups.front() != *group) groups.push_back(*std::move(group));
  }
  return groups;
}

}  // namespace shmif::tools
