#pragma once
// A resctrl file system that lives while a program uses it: two domains of the last-level caches,
// groups that can be made and removed, and counters that grow as the allocation of their group
// permits.

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "instruments/membw/schemata.hpp"
#include "tests/support/fuse_files.hpp"

namespace shmif::test {

/// The tree of a whole machine: /proc has the processes of this one.
class LiveResctrl final : public LiveTree {
 public:
  /// What a read of a counter adds to it, for each percent that its control group may use.
  static constexpr std::uint64_t kBytesOfPercent = 1'000'000;

  LiveResctrl() {
    const std::string cpu = "/sys/devices/system/cpu/cpu0/";
    files_[cpu + "topology/physical_package_id"] = "0\n";
    files_[cpu + "cache/index3/level"] = "3\n";
    files_[cpu + "cache/index3/id"] = "1\n";
    files_["/proc/mounts"] = "resctrl /sys/fs/resctrl resctrl rw 0 0\n";
    files_["/proc/filesystems"] = "nodev\tresctrl\n";
    files_[kRoot + "/info/L3_MON/mon_features"] = "mbm_total_bytes\nmbm_local_bytes\n";
    files_[kRoot + "/info/MB/min_bandwidth"] = "10\n";
    files_[kRoot + "/info/MB/bandwidth_gran"] = "10\n";
    files_[kRoot + "/info/MB/delay_linear"] = "1\n";
    files_[kRoot + "/info/L3/cbm_mask"] = "7ff\n";
    files_[kRoot + "/info/L3/min_cbm_bits"] = "1\n";
    files_[kRoot + "/info/last_cmd_status"] = "ok\n";
    add_group(kRoot);
  }

  Kind kind(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (is_process(path)) return Kind::link;
    if (files_.contains(path)) return Kind::file;
    const bool folder = path == "/" || std::ranges::any_of(files_, [&](const auto& each) {
                          return each.first.starts_with(path + '/');
                        });
    return folder ? Kind::folder : Kind::none;
  }
  std::vector<std::string> names(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    const std::string stem = folder == "/" ? folder : folder + '/';
    std::set<std::string> found;
    for (const auto& [path, text] : files_) {
      if (!path.starts_with(stem)) continue;
      const std::string name = path.substr(stem.size(), path.find('/', stem.size()) - stem.size());
      if (name != ".") found.insert(name);
    }
    return {found.begin(), found.end()};
  }
  std::string text(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (is_process(path)) return path;
    const auto found = files_.find(path);
    if (found == files_.end()) return {};
    if (path.ends_with("_bytes")) {
      const std::string group = path.substr(0, path.find("/mon_data/"));
      const unsigned domain = path.find("mon_L3_01") == std::string::npos ? 0 : 1;
      found->second = std::to_string(std::stoull(found->second) +
                                     kBytesOfPercent * percent_of(control_of(group), domain)) +
                      '\n';
    }
    return found->second;
  }
  int write(const std::string& path, const std::string& text) override {
    const std::lock_guard lock(mutex_);
    const std::string group = path.substr(0, path.rfind('/'));
    if (path.ends_with("/tasks")) {
      for (auto& [name, its] : files_) {
        if (name.ends_with("/tasks")) remove_line(its, text);
      }
      files_[path] += text;
      if (control_of(group) != group) files_[control_of(group) + "/tasks"] += text;
      return 0;
    }
    if (!path.ends_with("/schemata")) return EACCES;
    files_[kRoot + "/info/last_cmd_status"] = refuse_.empty() ? "ok\n" : refuse_ + '\n';
    if (!refuse_.empty()) return EINVAL;
    allot(group, text);
    log_.push_back(name_of(group) + ' ' + perf::schemata_text(perf::read_schemata(text).value()));
    return 0;
  }
  int make(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    add_group(folder);
    log_.push_back("make " + name_of(folder));
    return 0;
  }
  int remove(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    std::erase_if(files_, [&](const auto& each) { return each.first.starts_with(folder + '/'); });
    log_.push_back("remove " + name_of(folder));
    return 0;
  }

  /// A control group that was there before.
  void stand(const std::string& name, const std::string& schemata) {
    const std::lock_guard lock(mutex_);
    add_group(kRoot + '/' + name);
    allot(kRoot + '/' + name, schemata);
  }
  /// Refuses each further allocation, and says so.
  void refuse(const std::string& why) {
    const std::lock_guard lock(mutex_);
    refuse_ = why;
  }
  std::string schemata_of(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return perf::schemata_text(
        perf::read_schemata(files_[kRoot + '/' + name + "/schemata"]).value());
  }
  /// What was made, set and removed, in order. Of "shmifperf-1234", the number is left out.
  std::vector<std::string> log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  inline static const std::string kRoot = "/sys/fs/resctrl";

  static bool is_process(const std::string& path) {
    return path.starts_with("/proc/") && path.size() > 6 &&
           path.find_first_not_of("0123456789", 6) == std::string::npos;
  }
  static std::string control_of(const std::string& group) {
    return group.substr(0, group.find("/mon_groups/"));
  }
  static std::string name_of(std::string path) {
    path.erase(0, std::min(path.size(), kRoot.size() + 1));
    for (std::size_t at = 0; (at = path.find("shmifperf-", at)) != std::string::npos; at += 9) {
      const std::size_t digits = at + 9;
      path.erase(digits, path.find_first_not_of("0123456789", digits + 1) - digits);
    }
    return path;
  }
  static void remove_line(std::string& text, const std::string& line) {
    const std::size_t at = ('\n' + text).find('\n' + line);
    if (at != std::string::npos) text.erase(at, line.size());
  }
  void add_group(const std::string& group) {
    for (const char* domain : {"mon_L3_00", "mon_L3_01"}) {
      const std::string data = group + "/mon_data/" + domain;
      files_[data + "/mbm_total_bytes"] = "0\n";
      files_[data + "/mbm_local_bytes"] = "0\n";
    }
    files_[group + "/tasks"] = "";
    if (control_of(group) != group) return;
    files_[group + "/mon_groups/."] = "";  // it has the folder
    files_[group + "/schemata"] = "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n";
  }
  void allot(const std::string& group, const std::string& text) {
    std::string& file = files_[group + "/schemata"];
    perf::Schemata now = perf::read_schemata(file).value();
    const perf::Schemata all = perf::read_schemata(text).value();
    for (const perf::Allotment& wanted : all) {
      for (perf::Allotment& each : now) {
        if (each.resource == wanted.resource && each.domain == wanted.domain) each = wanted;
      }
    }
    file = perf::schemata_lines(now);
  }
  std::uint64_t percent_of(const std::string& control, unsigned domain) const {
    const auto file = files_.find(control + "/schemata");
    if (file == files_.end()) return 0;
    const perf::Schemata all = perf::read_schemata(file->second).value();
    for (const perf::Allotment& each : all) {
      if (each.resource == "MB" && each.domain == domain) return std::stoull(each.value);
    }
    return 0;
  }

  std::mutex mutex_;
  std::map<std::string, std::string> files_;
  std::string refuse_;
  std::vector<std::string> log_;
};

}  // namespace shmif::test
