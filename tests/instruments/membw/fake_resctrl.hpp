#pragma once
// A resctrl file system in a tree: what the kernel does when a group is made or deleted and when a
// task is written to a file, is done here.

#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "instruments/membw/resctrl.hpp"
#include "instruments/membw/schemata.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {

inline const std::string kRoot = "/sys/fs/resctrl";

class FakeResctrl final : public GroupCalls {
 public:
  /// With two L3 domains. `events`: what mon_features names.
  explicit FakeResctrl(const Tree& tree,
                       std::vector<std::string> events = {"mbm_total_bytes", "mbm_local_bytes"})
      : tree_(tree), events_(std::move(events)) {
    tree_.put("/proc/filesystems", "nodev\tsysfs\nnodev\tresctrl\n\text4\n");
    mount_now();
  }
  /// Of two domains: bandwidth in steps of ten percent, and caches of eleven ways.
  void put_allocation() {
    allocates_ = true;
    tree_.put(kRoot + "/info/last_cmd_status", "ok\n");
    tree_.put(kRoot + "/info/MB/min_bandwidth", "10\n");
    tree_.put(kRoot + "/info/MB/bandwidth_gran", "10\n");
    tree_.put(kRoot + "/info/MB/delay_linear", "1\n");
    tree_.put(kRoot + "/info/L3/cbm_mask", "7ff\n");
    tree_.put(kRoot + "/info/L3/min_cbm_bits", "2\n");
    tree_.put(kRoot + "/info/L3/sparse_masks", "0\n");
    put_schemata(kRoot);
  }
  std::string schemata_of(const std::string& group) const {
    return schemata_text(read_schemata(tree_.text(group + "/schemata")).value());
  }
  /// Somebody changed it.
  void allot(const std::string& group, const std::string& text) const {
    Schemata now = read_schemata(tree_.text(group + "/schemata")).value();
    const Schemata all = read_schemata(text).value();
    for (const Allotment& wanted : all) {
      for (Allotment& each : now) {
        if (each.resource == wanted.resource && each.domain == wanted.domain) each = wanted;
      }
    }
    tree_.put(group + "/schemata", schemata_lines(now));
  }
  /// As before mount(2).
  void leave_unmounted() {
    tree_.put("/proc/mounts", "proc /proc proc rw 0 0\n");
    tree_.remove(kRoot);
    std::filesystem::create_directories(tree_.at(kRoot));
  }
  /// A process with these threads, of the root group unless told otherwise.
  void put_process(int pid, const std::set<int>& threads, const std::string& group = kRoot) {
    for (const int thread : threads) {
      put_thread(pid, thread);
      where_[thread] = group;
    }
    write_tasks();
  }
  void put_thread(int pid, int thread) const {
    const std::string task = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(thread);
    tree_.put(task + "/stat", "");
    tree_.put("/proc/" + std::to_string(thread) + "/stat", "");
  }
  void end_thread(int pid, int thread) {
    tree_.remove("/proc/" + std::to_string(pid) + "/task/" + std::to_string(thread));
    tree_.remove("/proc/" + std::to_string(thread));
    where_.erase(thread);
    write_tasks();
  }
  /// The text of an event of a group in a domain.
  void count(const std::string& group, unsigned domain, const std::string& event,
             const std::string& text) const {
    tree_.put(group + "/mon_data/mon_L3_0" + std::to_string(domain) + '/' + event, text);
  }
  const std::string& group_of(int task) const { return where_.at(task); }
  bool has(const std::string& group) const { return tree_.files().has(group); }
  /// Somebody else made or deleted it.
  void add_group(const std::string& group) {
    groups_.insert(group);
    for (const std::string& event : events_) {
      count(group, 0, event, "0\n");
      count(group, 1, event, "0\n");
    }
    if (assign_mode) tree_.put(group + "/mbm_L3_assignments", assignments);
    if (group.find("/mon_groups/") == std::string::npos) {
      std::filesystem::create_directories(tree_.at(group) + "/mon_groups");
      if (allocates_) put_schemata(group);
    }
    write_tasks();
  }
  void delete_group(const std::string& group) {
    for (auto& [task, place] : where_) {
      if (place != group) continue;
      place = control_of(group);
      if (place == group) place = kRoot;
    }
    groups_.erase(group);
    tree_.remove(group);
    write_tasks();
  }

  Result<void> mount(const std::string& path) override {
    calls.push_back("mount " + name_of(path));
    if (fail_mount != 0) return Error::from_errno(fail_mount, "cannot mount");
    mount_now();
    return {};
  }
  Result<void> unmount(const std::string& path) override {
    calls.push_back("unmount " + name_of(path));
    if (fail_unmount != 0) return Error::from_errno(fail_unmount, "cannot unmount " + path);
    leave_unmounted();
    return {};
  }
  Result<void> make(const std::string& path) override {
    calls.push_back("make " + name_of(path));
    if (fail_make != 0 && (no_room.empty() || no_room == name_of(path)))
      return Error::from_errno(fail_make, "cannot make the group " + path);
    add_group(name_of(path));
    return {};
  }
  Result<void> remove(const std::string& path) override {
    calls.push_back("remove " + name_of(path));
    if (fail_remove != 0 && (keep.empty() || keep == name_of(path)))
      return Error::from_errno(fail_remove, "cannot delete the group " + path);
    if (!has(name_of(path))) return Error::from_errno(ENOENT, "cannot delete the group " + path);
    delete_group(name_of(path));
    return {};
  }
  Result<void> write(const KernelFiles& files, const std::string& name,
                     const std::string& text) override {
    if (name.ends_with("/mbm_L3_assignments")) {
      calls.push_back("assign " + text);
      return {};
    }
    if (name.ends_with("/schemata")) {
      calls.push_back("allot " + text);
      const bool refuses = !refuse_with.empty() && text.find(refuse_what) != std::string::npos;
      tree_.put(kRoot + "/info/last_cmd_status", refuses ? refuse_with : "ok\n");
      if (refuses) return Error::from_errno(EINVAL, "cannot write " + name);
      allot(name.substr(0, name.rfind('/')), text);
      if (on_allot) on_allot();
      return {};
    }
    const std::string group = name.substr(0, name.size() - std::string("/tasks").size());
    const int task = std::stoi(text);
    if (fail_tasks.contains(task)) {
      return Error::from_errno(fail_tasks.at(task), "cannot write " + name);
    }
    if (task == fail_task) return Error::from_errno(EPERM, "cannot write " + name);
    if (!has(group)) return Error::from_errno(ENOENT, "cannot open " + name);
    if (!files.has("/proc/" + std::to_string(task))) {
      return Error::from_errno(ESRCH, "cannot write " + name);
    }
    const bool monitoring = control_of(group) != group;
    if (monitoring && control_of(where_[task]) != control_of(group)) {
      return Error::from_errno(EINVAL, "cannot write " + name);
    }
    where_[task] = group;
    write_tasks();
    if (on_move) on_move(task);
    return {};
  }

  Result<std::string> read(const KernelFiles& files, const std::string& name) override {
    const auto first = first_reads.find(name);
    if (first == first_reads.end()) return files.read(name);
    std::string text = first->second;
    first_reads.erase(first);
    return text;
  }

  std::vector<std::string> calls;
  std::map<std::string, std::string> first_reads;  ///< what the next read of these files gives
  int fail_mount = 0, fail_unmount = 0, fail_make = 0, fail_remove = 0, fail_task = 0;
  std::string keep;               ///< the only group of which the removal fails; empty: all
  std::string no_room;            ///< the only group that cannot be made; empty: all
  std::map<int, int> fail_tasks;  ///< with which errno each of these cannot be moved
  bool assign_mode = false;
  std::string assignments;
  std::function<void(int)> on_move;
  std::string refuse_with;  ///< what the kernel says about each allocation
  std::string refuse_what;  ///< a part of those that it refuses
  std::function<void()> on_allot;

 private:
  std::string name_of(const std::string& path) const { return path.substr(tree_.path().size()); }
  static std::string control_of(const std::string& group) {
    return group.substr(0, group.find("/mon_groups/"));
  }
  /// With the spaces of older kernels.
  void put_schemata(const std::string& group) const {
    tree_.put(group + "/schemata", "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n");
  }
  void mount_now() {
    tree_.put("/proc/mounts",
              "proc /proc proc rw 0 0\nresctrl " + kRoot + " resctrl rw,relatime 0 0\n");
    std::string features = "llc_occupancy\n";
    for (const std::string& event : events_) features += event + '\n';
    tree_.put(kRoot + "/info/L3_MON/mon_features", features);
    add_group(kRoot);
  }
  /// The list of a control group has the tasks of its monitoring groups, too.
  void write_tasks() const {
    for (const std::string& group : groups_) {
      std::string tasks;
      for (const auto& [task, place] : where_) {
        const bool inside =
            place == group || (control_of(group) == group && control_of(place) == group);
        if (inside) tasks += std::to_string(task) + '\n';
      }
      tree_.put(group + "/tasks", tasks);
    }
  }

  const Tree& tree_;
  std::vector<std::string> events_;
  bool allocates_ = false;
  std::set<std::string> groups_;
  std::map<int, std::string> where_;
};

}  // namespace shmif::perf::test
