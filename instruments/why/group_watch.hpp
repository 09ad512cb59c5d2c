#pragma once
// Watches the control groups of watched processes: how long a quota throttled them, and how often
// they reached a memory limit. The limits of groups above them count, too.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "instruments/watch/kernel_files.hpp"
#include "instruments/why/repeated_file.hpp"
#include "instruments/why/series.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: only for short reads.
class GroupWatch {
 public:
  explicit GroupWatch(const KernelFiles& files);

  /// Begins to watch the groups that a text of /proc/PID/cgroup names. Result: their number in
  /// `series.groups`; kNowhere if they have no limits.
  std::uint16_t find(std::string_view text, WhySeries& series);
  /// Adds a step to each watched group.
  void sample(WhySeries& series);

 private:
  /// A file with counts that only grow.
  struct Source {
    RepeatedFile file;
    enum class Of : std::uint8_t { cpu, memory_events, memory_failures, memory_pressure } of;
    std::uint64_t throttled_us = 0, periods = 0, count = 0;
    bool known = false;  ///< the counts were read at the last look
  };
  struct Group {
    std::size_t number = 0;
    std::vector<Source> sources{};
  };
  struct Mount {
    std::string where, root;
    bool second = false;                   ///< of version 2
    std::vector<std::string> controllers;  ///< of version 1
  };

  void read_mounts();
  const Mount* mount_of(std::string_view controller) const;
  void add_sources(Group& group, const Mount& mount, std::string path, Source::Of of,
                   const char* file) const;
  void add_line(Group& group, GroupSeries& series, std::string_view line);
  bool read(Source& source, GroupStep& step, WhySeries& series);

  const KernelFiles files_;
  std::vector<Mount> mounts_;
  std::map<std::string, std::uint16_t, std::less<>> known_;
  std::vector<Group> groups_;
  std::vector<char> buffer_;
};

}  // namespace shmif::perf
