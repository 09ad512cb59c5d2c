#include "instruments/why/group_watch.hpp"

#include <algorithm>
#include <sstream>
#include <utility>

#include "base/text.hpp"
#include "instruments/why/difference.hpp"
#include "instruments/why/kernel_text.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

bool has(const auto& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

}  // namespace

GroupWatch::GroupWatch(const KernelFiles& files) : files_(files) {
  read_mounts();
}

/// Reads lines such as "30 25 0:26 /root /where rw shared:4 - cgroup cgroup rw,cpu".
void GroupWatch::read_mounts() {
  const auto text = files_.read("/proc/self/mountinfo");
  if (!text) return;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t dash = line.find(" - cgroup");
    if (dash == std::string::npos) continue;
    std::istringstream words(line);
    std::istringstream kind(line.substr(dash + 3));
    std::string skipped, type, options;
    Mount mount;
    words >> skipped >> skipped >> skipped >> mount.root >> mount.where;
    kind >> type >> skipped >> options;
    mount.second = type == "cgroup2";
    if (!mount.second) {
      const auto names = base::split(options, ',');
      mount.controllers.assign(names.begin(), names.end());
    }
    mounts_.push_back(std::move(mount));
  }
}

const GroupWatch::Mount* GroupWatch::mount_of(std::string_view controller) const {
  for (const Mount& mount : mounts_) {
    if (controller.empty() ? mount.second : has(mount.controllers, controller)) return &mount;
  }
  return nullptr;
}

/// Adds the file of the group at `path` and of each group above it, except the root, which has no
/// limits.
void GroupWatch::add_sources(Group& group, const Mount& mount, std::string path, Source::Of of,
                             const char* file) const {
  // "/rig2" is not below "/rig".
  if (mount.root != "/" && (path + '/').starts_with(mount.root + '/')) {
    path.erase(0, mount.root.size());
  }
  while (path.size() > 1) {
    const std::string name = mount.where + path + '/' + file;
    if (files_.has(name)) group.sources.push_back({RepeatedFile(files_.path(name)), of});
    path.resize(std::min(path.rfind('/'), path.size()));
  }
}

/// Reads a line such as "4:cpu,cpuacct:/rig", or "0::/rig" of version 2.
void GroupWatch::add_line(Group& group, GroupSeries& series, std::string_view line) {
  const std::size_t first = line.find(':');
  const std::size_t second = line.find(':', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return;
  const std::string_view names = line.substr(first + 1, second - first - 1);
  const auto controllers = base::split(names, ',');
  const std::string path(line.substr(second + 1));
  const std::size_t before = group.sources.size();
  if (names.empty()) {
    if (const Mount* mount = mount_of("")) {
      add_sources(group, *mount, path, Source::Of::cpu, "cpu.stat");
      add_sources(group, *mount, path, Source::Of::memory_events, "memory.events.local");
      add_sources(group, *mount, path, Source::Of::memory_pressure, "memory.pressure");
    }
  }
  const auto mount_for = [&](const char* controller) {
    return has(controllers, controller) ? mount_of(controller) : nullptr;
  };
  if (const Mount* const mount = mount_for("cpu")) {
    add_sources(group, *mount, path, Source::Of::cpu, "cpu.stat");
  }
  if (const Mount* const mount = mount_for("memory")) {
    add_sources(group, *mount, path, Source::Of::memory_failures, "memory.failcnt");
  }
  if (group.sources.size() == before) return;
  if (has(controllers, "memory")) {
    series.memory_name = path;
  } else {
    series.name = path;
    if (series.memory_name.empty()) series.memory_name = path;
  }
}

std::uint16_t GroupWatch::find(std::string_view text, WhySeries& series) {
  if (const auto at = known_.find(text); at != known_.end()) return at->second;
  Group group{.number = series.groups.size()};
  GroupSeries found;
  found.first = series.ends_s.size();
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) add_line(group, found, line);
  std::uint16_t number = kNowhere;
  if (!group.sources.empty() && series.groups.size() < kNowhere) {
    number = static_cast<std::uint16_t>(series.groups.size());
    GroupStep unused;
    for (Source& source : group.sources) read(source, unused, series);
    debug(Debug::why, [&] {
      return "looks at the cgroup " + (found.name.empty() ? found.memory_name : found.name);
    });
    groups_.push_back(std::move(group));
    series.groups.push_back(std::move(found));
  }
  known_.emplace(text, number);
  return number;
}

/// Adds how much the counts grew since the last look. Result: false if this is not known, because
/// the file could not be read at both looks.
bool GroupWatch::read(Source& source, GroupStep& step, WhySeries& series) {
  const auto text = source.file.read(buffer_);
  const bool here = text && !text->empty();
  const bool known = std::exchange(source.known, here) && here;
  if (!here && *descriptor_remedy(source.file.error()) != 0) {
    series.miss("control groups", source.file.why());
  }
  if (!here) return false;
  GroupStep grown;
  std::uint64_t now = 0;
  switch (source.of) {
    case Source::Of::cpu: {
      constexpr std::uint64_t kNsPerUs = 1000;
      const auto us = read_keyed(*text, "throttled_usec");
      const auto total = us ? *us : read_keyed(*text, "throttled_time").value_or(0) / kNsPerUs;
      grown.throttled_us = difference(total, source.throttled_us);
      grown.throttled_periods =
          difference(read_keyed(*text, "nr_throttled").value_or(0), source.periods);
      break;
    }
    case Source::Of::memory_events:
      for (const char* key : {"high", "max", "oom"}) now += read_keyed(*text, key).value_or(0);
      grown.at_limit = difference(now, source.count);
      break;
    case Source::Of::memory_failures:
      for (const int value : read_numbers(*text)) now = static_cast<std::uint64_t>(value);
      grown.at_limit = difference(now, source.count);
      break;
    case Source::Of::memory_pressure:
      if (const auto total = read_pressure(*text)) {
        grown.memory_us = difference(*total, source.count);
      }
      break;
  }
  if (!known) return false;
  step.throttled_us += grown.throttled_us;
  step.throttled_periods += grown.throttled_periods;
  step.at_limit += grown.at_limit;
  if (grown.memory_us) step.memory_us = step.memory_us.value_or(0) + *grown.memory_us;
  return true;
}

void GroupWatch::sample(WhySeries& series) {
  for (Group& group : groups_) {
    GroupStep step;
    for (Source& source : group.sources) read(source, step, series);
    series.groups[group.number].steps.push_back(step);
  }
}

}  // namespace shmif::perf
