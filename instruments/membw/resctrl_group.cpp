#include "instruments/membw/resctrl_group.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/quantity.hpp"
#include "instruments/membw/resctrl_files.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

Result<void> done_or(int result, const std::string& what) {
  if (result == 0) return {};
  const char* const advice = errno == EACCES || errno == EPERM ? "only root may change resctrl"
                             : errno == ENOSPC || errno == EBUSY
                                 ? "all monitoring identifiers are in use; delete groups"
                                 : "";
  return Error::from_errno(errno, what, advice);
}

class KernelGroups final : public GroupCalls {
 public:
  Result<void> mount(const std::string& path) override {
    return done_or(::mount("resctrl", path.c_str(), "resctrl", 0, nullptr),
                   "cannot mount resctrl on " + path);
  }
  Result<void> unmount(const std::string& path) override {
    return done_or(::umount(path.c_str()), "cannot unmount " + path);
  }
  Result<void> make(const std::string& path) override {
    return done_or(::mkdir(path.c_str(), 0755), "cannot make the group " + path);
  }
  Result<void> remove(const std::string& path) override {
    return done_or(::rmdir(path.c_str()), "cannot delete the group " + path);
  }
  Result<void> write(const KernelFiles& files, const std::string& name,
                     const std::string& text) override {
    return files.write(name, text);
  }
};

bool is_gone(const Error& error) {
  return error.code == std::errc::no_such_file_or_directory ||
         error.code == std::errc::no_such_device;
}
bool has_ended(const Error& error) {
  return error.code == std::errc::no_such_process;
}

void keep_first(Result<void>& first, const Result<void>& next) {
  if (first && !next) first = next;
}

}  // namespace

GroupCalls& kernel_groups() {
  static KernelGroups calls;
  return calls;
}

Result<std::vector<std::string>> control_groups(const KernelFiles& files,
                                                const std::string& mount_point) {
  auto names = files.list(mount_point);
  if (!names) return std::move(names).error();
  std::vector<std::string> groups{mount_point};
  for (const std::string& name : *names) {
    std::string path = mount_point;
    path.append("/").append(name);
    if (name != "info" && name != "mon_groups" && name != "mon_data" &&
        files.has(path + "/tasks")) {
      groups.push_back(path);
    }
  }
  return groups;
}

Result<void> ResctrlGroup::find_homes(const std::string& mount_point) {
  homes_.clear();
  const auto controls = control_groups(files_, mount_point);
  if (!controls) return controls.error();
  const auto add = [&](const std::string& path, const Home& home) -> Result<void> {
    const auto text = files_.read(path + "/tasks");
    if (!text) return is_gone(text.error()) ? Result<void>() : text.error();
    const auto tasks = read_tasks(*text);
    if (!tasks) return Error(tasks.error().code, path + "/tasks: " + tasks.error().message);
    for (const int task : *tasks) homes_[task] = home;
    return {};
  };
  // A control group also lists the tasks of its monitoring groups.
  for (const std::string& control : *controls) {
    auto added = add(control, {control, {}});
    const auto monitoring = files_.list(control + "/mon_groups");
    for (const std::string& name : monitoring ? *monitoring : std::vector<std::string>()) {
      std::string path = control;
      path.append("/mon_groups/").append(name);
      if (added) added = add(path, {control, path});
    }
    if (!added) return added;
  }
  return {};
}

Result<std::set<int>> ResctrlGroup::threads_of(const std::vector<pid_t>& processes) const {
  std::set<int> threads;
  for (const pid_t process : processes) {
    const auto names = files_.list("/proc/" + std::to_string(process) + "/task");
    if (!names && !is_gone(names.error())) return names.error();
    for (const std::string& name : names ? *names : std::vector<std::string>()) {
      if (const auto number = base::read_digits(name)) threads.insert(static_cast<int>(*number));
    }
  }
  if (!threads.empty()) return threads;
  return Error::from_errno(ESRCH, "cannot move the watched processes into a group of resctrl");
}

Result<void> ResctrlGroup::choose_control(const std::string& mount_point,
                                          const std::string& control,
                                          const std::set<int>& threads) {
  if (!control.empty()) {
    control_ = mount_point + '/' + control;
    if (files_.has(control_)) return {};
    const auto made = calls_.make(files_.path(control_));
    if (made) made_control_ = control_;
    return made;
  }
  for (const int thread : threads) {
    const auto home = homes_.find(thread);
    const std::string& found = home == homes_.end() ? mount_point : home->second.control;
    if (!control_.empty() && control_ != found) {
      return Error(Errc::busy,
                   "the watched threads are in the control groups " + control_ + " and " + found +
                       " of resctrl (give one group for all, or watch them one by one)");
    }
    control_ = found;
  }
  return {};
}

Result<void> ResctrlGroup::make(const std::string& mount_point, const std::string& name,
                                const std::vector<pid_t>& processes, const std::string& control) {
  auto done = undo();
  if (done) done = find_homes(mount_point);
  const auto threads = done ? threads_of(processes) : Result<std::set<int>>(done.error());
  if (!threads) return threads.error();
  done = choose_control(mount_point, control, *threads);
  if (done) {
    const std::string path = control_ + "/mon_groups/" + name;
    made_group_ = !files_.has(path);
    if (made_group_) done = calls_.make(files_.path(path));
    if (done) group_ = path;
  }
  if (done) {
    debug(Debug::membw, [&] {
      return (made_group_ ? "made " : "uses ") + group_ + " for " +
             std::to_string(threads->size()) + " threads";
    });
  }
  if (done) done = move_in(processes);
  homes_.clear();
  if (!done) static_cast<void>(undo());  // report only the first error
  return done;
}

Result<void> ResctrlGroup::move_in(const std::vector<pid_t>& processes) {
  constexpr int kMaxPasses = 32;
  // A thread that begins while others are moved may begin outside the group. So look again until
  // there is no new thread.
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const auto threads = threads_of(processes);
    if (!threads) return pass == 0 ? Result<void>(threads.error()) : Result<void>();
    bool all_known = true;
    for (const int thread : *threads) {
      if (moved_.contains(thread)) continue;
      all_known = false;
      const auto home = homes_.find(thread);
      const Home usual = moved_.empty() ? Home{control_, {}} : default_home_;
      Home from = home == homes_.end() ? usual : home->second;
      const auto done = move(thread, {control_, group_});
      if (!done && !has_ended(done.error())) return done;
      if (moved_.empty()) default_home_ = from;
      moved_.emplace(thread, std::move(from));
    }
    if (all_known) return {};
  }
  return Error(Errc::busy, "the watched processes start threads faster than they can be moved");
}

Result<void> ResctrlGroup::move(int task, const Home& to) const {
  // The kernel takes a task into a monitoring group only from the control group above it.
  const std::string number = std::to_string(task) + '\n';
  auto done = calls_.write(files_, to.control + "/tasks", number);
  if (done && !to.monitoring.empty()) done = calls_.write(files_, to.monitoring + "/tasks", number);
  return done;
}

Result<void> ResctrlGroup::put_back() {
  // If somebody deleted the group, its tasks are in the control group above.
  std::map<int, Home> tasks = moved_;
  if (const auto text = files_.read(group_ + "/tasks"); text && made_group_) {
    const auto inside = read_tasks(*text);
    if (!inside) return inside.error();
    for (const int task : *inside) tasks.emplace(task, default_home_);
  }
  Result<void> first;
  for (const auto& [task, home] : tasks) {
    if (!files_.has("/proc/" + std::to_string(task))) continue;
    auto done = move(task, home);
    // The task's former group may be gone by now.
    if (!done && is_gone(done.error())) done = move(task, {home.control, {}});
    if (!done && !has_ended(done.error())) keep_first(first, done);
  }
  return first;
}

Result<void> ResctrlGroup::undo() {
  Result<void> first;
  if (!group_.empty()) {
    first = put_back();
    debug(Debug::membw, [&] {
      return (made_group_ ? "removes " : "leaves ") + group_ + "; " +
             std::to_string(moved_.size()) + " threads are where they were";
    });
    const auto removed = made_group_ ? calls_.remove(files_.path(group_)) : Result<void>();
    if (!removed && !is_gone(removed.error())) keep_first(first, removed);
  }
  if (!made_control_.empty()) {
    const auto removed = calls_.remove(files_.path(made_control_));
    if (!removed && !is_gone(removed.error())) keep_first(first, removed);
  }
  group_.clear();
  control_.clear();
  made_control_.clear();
  moved_.clear();
  default_home_ = {};
  return first;
}

}  // namespace shmif::perf
