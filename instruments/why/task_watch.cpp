#include "instruments/why/task_watch.hpp"

#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "base/files.hpp"
#include "base/quantity.hpp"
#include "base/text.hpp"
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

namespace {

constexpr std::uint64_t kNsPerUs = 1000;
/// Control groups and namespaces of a process change rarely, and most often when it begins. Reading
/// each takes up to ten microseconds. So both are read at the first looks at a process. Later,
/// groups are read every half second, and namespaces every second.
constexpr std::uint64_t kFirstLooks = 3;
constexpr std::uint64_t kGroupLooks = 5;
constexpr std::uint64_t kNetLooks = 10;
/// If there are more threads than this, each look opens the files anew. A thread has up to five
/// files, its process has two more, and most processes may have only 1024 files open.
constexpr std::size_t kMaxOpen = 100;

double seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string folder_of(pid_t pid) {
  return "/proc/" + std::to_string(pid);
}

/// "0-3,8".
std::string list_of(const cpu_set_t& mask) {
  std::string list;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(static_cast<std::size_t>(cpu), &mask)) continue;
    int last = cpu;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(static_cast<std::size_t>(last + 1), &mask)) ++last;
    if (!list.empty()) list += ',';
    list += std::to_string(cpu);
    if (last > cpu) list += '-' + std::to_string(last);
    cpu = last;
  }
  return list;
}

bool has_descriptors_no_more(int number) noexcept {
  return *descriptor_remedy(number) != 0;
}

std::string reason_of(int number, const std::string& what) {
  return Error::from_errno(number, what, descriptor_remedy(number)).message;
}

/// Field 4 of /proc/PID/stat.
pid_t parent_in(const std::string& text) {
  const std::size_t close = text.rfind(')');
  if (close == std::string::npos) return 0;
  constexpr std::size_t kStateAndBlanks = 4;  // ") S "
  const std::size_t begin = close + kStateAndBlanks;
  if (begin >= text.size()) return 0;
  const std::string_view rest = std::string_view(text).substr(begin);
  return static_cast<pid_t>(base::read_digits(rest.substr(0, rest.find(' '))).value_or(0));
}

}  // namespace

TaskWatch::TaskWatch(const KernelFiles& files, WhySeries& series, double origin_s)
    : files_(files),
      live_(files.path("/proc") == "/proc"),
      tick_ns_(1'000'000'000 / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK))),
      boot_s_(seconds_of(CLOCK_MONOTONIC) - seconds_of(CLOCK_BOOTTIME) - origin_s) {
  const auto schedstat = files.read("/proc/self/schedstat");
  series.waits_known = schedstat && !schedstat->starts_with("0 0 0");
  if (!series.waits_known) {
    series.missing.push_back(
        {"/proc/PID/schedstat", schedstat ? "it has only zeros" : schedstat.error().message});
  }
  const auto sched = files.read("/proc/self/sched");
  has_sched_ = sched && read_sched(*sched).migrations && read_sched(*sched).voluntary;
  const auto checked = check_numbers(files);
  if (!checked) foreign_ = checked.error().message;
  has_children_ = files.has("/proc/self/task/" + std::to_string(::getpid()) + "/children");
}

bool TaskWatch::add(pid_t pid, std::size_t job) {
  return add_process(pid, 0, job);
}

bool TaskWatch::add_thread(pid_t thread, std::size_t job) {
  return add_process(thread, thread, job);
}

/// Keeps the first reason. sample() notes it in the series.
void TaskWatch::miss(const std::string& reason) {
  if (missed_.empty()) missed_ = reason;
}

bool TaskWatch::add_process(pid_t pid, pid_t only, std::size_t job) {
  if (!foreign_.empty()) {
    miss(foreign_);
    errno = ESRCH;
    return false;
  }
  if (jobs_.contains(pid) &&
      std::ranges::any_of(processes_, [pid](const Process& p) { return p.pid == pid; })) {
    return false;
  }
  const std::string folder = folder_of(pid);
  Process process;
  process.pid = pid;
  process.only = only;
  process.job = job;
  process.folder = {::opendir(files_.path(folder + "/task").c_str()), &::closedir};
  if (!process.folder) {
    const int number = errno;
    const std::string what = "cannot list " + files_.path(folder + "/task");
    if (has_descriptors_no_more(number)) miss(reason_of(number, what));
    errno = number;
    return false;
  }
  process.cgroup = RepeatedFile(files_.path(folder + "/cgroup"));
  const auto status = files_.read(folder + "/status");
  const auto numbers = base::status_numbers(status ? *status : std::string(), "NSpid");
  process.inner_pid = numbers.empty() ? pid : static_cast<pid_t>(numbers.back());
  jobs_[pid] = job;
  processes_.push_back(std::move(process));
  return true;
}

std::optional<std::size_t> TaskWatch::job_of(const PortInfo& port, bus::PortOwners& owners,
                                             std::set<pid_t>& others) const {
  std::optional<std::size_t> believed;
  for (const Process& process : processes_) {
    if (process.pid != port.pid && process.inner_pid != port.pid) continue;
    if (others.contains(process.pid)) continue;
    PortInfo its = port;
    its.pid = process.pid;
    const auto proven = live_ ? owners.prove(its) : Result<void>();
    if (proven) return process.job;
    if (proven.error().code == std::errc::operation_not_permitted) {
      if (!believed) believed = process.job;
    } else {
      others.insert(process.pid);
    }
  }
  return believed;
}

/// Lists the threads of a process. This costs as much as reading a file of each thread, so
/// look_at_threads() does it only if there may be unknown threads.
void TaskWatch::find_threads(Process& process, WhySeries& series) {
  for (Thread& thread : process.threads) thread.seen = false;
  const std::string tasks = files_.path(folder_of(process.pid) + "/task");
  if (process.folder) {
    ::rewinddir(process.folder.get());
  } else {
    process.folder.reset(::opendir(tasks.c_str()));
  }
  process.unlisted = !process.folder && has_descriptors_no_more(errno);
  if (process.unlisted) {
    miss(reason_of(errno, "cannot list " + tasks));
    return;
  }
  while (const dirent* const entry = process.folder ? ::readdir(process.folder.get()) : nullptr) {
    const auto number = base::read_digits(&entry->d_name[0]);
    if (!number) continue;
    const auto tid = static_cast<pid_t>(*number);
    if (process.only != 0 && tid != process.only) continue;
    const auto at = std::ranges::find(process.threads, tid, &Thread::number);
    if (at != process.threads.end()) {
      at->seen = true;
      continue;
    }
    const std::string folder = tasks + '/' + std::to_string(tid);
    Thread& thread = process.threads.emplace_back();
    thread.number = tid;
    thread.seen = true;
    thread.stat = RepeatedFile(folder + "/stat");
    thread.schedstat = RepeatedFile(folder + "/schedstat");
    thread.sched = RepeatedFile(folder + "/sched");
    thread.status = RepeatedFile(folder + "/status");
    thread.children = RepeatedFile(folder + "/children");
  }
  std::erase_if(process.threads, [&series](const Thread& thread) {
    if (!thread.seen && thread.begun) series.tasks[thread.series].ended = true;
    return !thread.seen;
  });
}

/// Looks at the known threads. The file of each thread tells how many threads its process has, so
/// an unknown thread is noticed in the same look. If one thread ended while another began, the file
/// of the ended thread shows it.
void TaskWatch::look_at_threads(Process& process, WhySeries& series) {
  const auto ended = [&](Thread& thread) {
    const bool lives = look(process, thread, series);
    if (too_many_) thread.close();
    if (lives) return false;
    if (thread.begun) series.tasks[thread.series].ended = true;
    return true;
  };
  process.told = process.threads.size();
  const bool some_ended = std::erase_if(process.threads, ended) > 0;
  const bool all_known = process.only != 0 || process.told == process.threads.size();
  if (some_ended || process.threads.empty() || process.unlisted || !all_known) {
    find_threads(process, series);
    std::erase_if(process.threads, [&](Thread& thread) { return !thread.begun && ended(thread); });
  }
  if (too_many_) process.folder.reset();
}

/// Takes the first look at a thread. If the thread began after the watch, all of its counts belong
/// to the newest interval.
void TaskWatch::begin(Process& process, Thread& thread, const TaskStat& stat, WhySeries& series) {
  TaskSeries task;
  task.id = {thread.number, stat.start_ticks};
  task.process = process.pid;
  task.name = stat.name;
  task.job = process.job;
  task.born_s = static_cast<double>(stat.start_ticks * tick_ns_) * 1e-9 + boot_s_;
  task.state_before = stat.state;
  const bool young = !series.ends_s.empty() && task.born_s > 0 && !thread.missed;
  task.first = series.ends_s.size() - (young ? 1 : 0);
  thread.series = series.tasks.size();
  thread.cpu = stat.cpu;
  debug(Debug::why, [&] {
    return "looks at thread " + std::to_string(thread.number) + ", " + task.name + ", of process " +
           std::to_string(process.pid) + ", of job " + series.jobs[process.job].name;
  });
  series.tasks.push_back(std::move(task));
  thread.begun = true;
  thread.missed = false;
  thread.times_known = thread.switches_known = young;
  TaskStep step;
  step.state = stat.state;
  step.cpu = static_cast<std::int16_t>(stat.cpu);
  step.group = process.group;
  count(thread, stat, step, series);
  // A thread that never had a CPU has never switched.
  if (thread.times_known && thread.before.turns == 0) thread.switches_known = true;
  thread.allowed = allowed_now(thread).value_or("");
  if (young) series.tasks[thread.series].steps.push_back(step);
}

/// Looks at one thread. Result: false if it has ended.
bool TaskWatch::look(Process& process, Thread& thread, WhySeries& series) {
  const auto text = thread.stat.read(buffer_);
  const int error = thread.stat.error();
  if (!text && (error == ESRCH || error == ENOENT)) return false;
  const auto stat = text ? read_task_stat(*text) : TaskStat{};
  if (!text || !stat) {
    miss(thread.stat.why());
    thread.forget();
    return true;
  }
  process.told = stat->threads;
  if (!thread.begun) {
    begin(process, thread, *stat, series);
    return true;
  }
  TaskSeries& task = series.tasks[thread.series];
  if (task.id.start_ticks != stat->start_ticks) return false;  // another thread has this number now
  task.name = stat->name;
  const std::size_t interval = series.ends_s.size() - 1;
  // If a look at the thread failed, add an interval that is not known.
  while (task.first + task.steps.size() < interval) task.steps.push_back({.known = false});
  TaskStep step;
  step.state = stat->state;
  step.cpu = static_cast<std::int16_t>(stat->cpu);
  step.group = process.group;
  step.known = !std::exchange(thread.missed, false);
  count(thread, *stat, step, series);
  look_at_affinity(thread, step, series.tasks[thread.series], interval);
  thread.cpu = stat->cpu;
  series.tasks[thread.series].steps.push_back(step);
  return true;
}

void TaskWatch::count(Thread& thread, const TaskStat& stat, TaskStep& step, WhySeries& series) {
  Counters& before = thread.before;
  step.minor_faults = difference(stat.minor_faults, before.minor_faults);
  step.major_faults = difference(stat.major_faults, before.major_faults);
  std::uint32_t turns = 1;
  const auto text = series.waits_known ? thread.schedstat.read(buffer_) : std::nullopt;
  if (const auto times = text ? read_schedstat(*text) : std::nullopt) {
    // Subtract whole microseconds, so that rounding errors do not add up.
    step.run_us = difference(times->run_ns / kNsPerUs, before.run_us);
    step.wait_us = difference(times->wait_ns / kNsPerUs, before.wait_us);
    turns = difference(times->turns, before.turns);
    step.known = std::exchange(thread.times_known, true) && step.known;
  } else if (series.waits_known) {
    series.miss("/proc/PID/schedstat", thread.schedstat.why());
    step.known = thread.times_known = false;
  } else {
    const std::uint64_t ticks = stat.user_ticks + stat.system_ticks;
    step.run_us = difference(ticks * (tick_ns_ / kNsPerUs), before.run_us);
  }
  // A thread that had no CPU did not switch or move.
  if (turns > 0 || step.run_us > 0 || step.cpu != thread.cpu) {
    count_switches(thread, stat, step, series);
  }
  if (!step.known) {
    step = {.cpu = step.cpu, .group = step.group, .state = step.state, .known = false};
  }
}

void TaskWatch::count_switches(Thread& thread, const TaskStat& stat, TaskStep& step,
                               WhySeries& series) {
  Counters& before = thread.before;
  SwitchCounts counts;
  if (has_sched_) {
    if (const auto text = thread.sched.read(buffer_)) counts = read_sched(*text);
  }
  if (!counts.voluntary) {
    if (const auto text = thread.status.read(buffer_)) {
      const auto migrations = counts.migrations;
      counts = read_status_switches(*text);
      counts.migrations = migrations;
    }
  }
  const bool here = counts.voluntary && (!has_sched_ || counts.migrations);
  const bool known = std::exchange(thread.switches_known, here);
  for (const RepeatedFile* file : {&thread.sched, &thread.status}) {
    if (here || !has_descriptors_no_more(file->error())) continue;
    series.miss("/proc/PID/sched", file->why());
    step.known = false;
  }
  thread.has_switches = thread.has_switches || here;
  if (thread.has_switches && !(here && known)) step.known = false;
  if (counts.voluntary) step.voluntary = difference(*counts.voluntary, before.voluntary);
  if (counts.involuntary) step.involuntary = difference(*counts.involuntary, before.involuntary);
  if (counts.migrations) {
    step.migrations = difference(*counts.migrations, before.migrations);
  } else {
    step.migrations = thread.cpu >= 0 && stat.cpu != thread.cpu ? 1 : 0;
  }
}

/// The CPUs that a thread may use; empty if they are the same as at the last look, or not known.
std::optional<std::string> TaskWatch::allowed_now(Thread& thread) {
  if (live_) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (::sched_getaffinity(thread.number, sizeof mask, &mask) != 0) return std::nullopt;
    if (std::memcmp(&mask, &thread.mask, sizeof mask) == 0) return std::nullopt;
    thread.mask = mask;
    return list_of(mask);
  }
  const auto text = thread.status.read(buffer_);
  std::string allowed = text ? read_allowed(*text) : std::string();
  if (allowed.empty() || allowed == thread.allowed) return std::nullopt;
  return allowed;
}

void TaskWatch::look_at_affinity(Thread& thread, TaskStep& step, TaskSeries& task,
                                 std::size_t interval) {
  auto allowed = allowed_now(thread);
  if (!allowed) return;
  std::string before = std::exchange(thread.allowed, *std::move(allowed));
  if (before.empty()) return;
  step.moved = !list_has(thread.allowed, thread.cpu);
  task.changes.push_back({interval, std::move(before), thread.allowed});
}

/// Adds the children that the kernel lists for each thread.
void TaskWatch::find_children() {
  std::vector<std::pair<pid_t, std::size_t>> found;
  for (Process& process : processes_) {
    for (Thread& thread : process.threads) {
      const auto text = thread.children.read(buffer_);
      if (has_descriptors_no_more(thread.children.error())) miss(thread.children.why());
      if (too_many_) thread.children.close();
      if (!text || text->empty()) continue;
      for (const int child : read_numbers(*text)) found.emplace_back(child, process.job);
    }
  }
  for (const auto& [pid, job] : found) {
    add(pid, job);
  }
}

/// Searches all processes for children. For kernels without CONFIG_PROC_CHILDREN.
void TaskWatch::search_children() {
  const auto names = files_.list("/proc");
  if (!names) return;
  for (const std::string& name : *names) {
    const auto pid = base::read_digits(name);
    if (!pid) continue;
    const auto text = files_.read("/proc/" + name + "/stat");
    const pid_t parent = text ? parent_in(*text) : 0;
    const auto at = std::ranges::find(processes_, parent, &Process::pid);
    if (parent != 0 && at != processes_.end()) add(static_cast<pid_t>(*pid), at->job);
  }
}

void TaskWatch::place(Process& process, WhySeries& series, GroupWatch& groups, NetWatch& nets) {
  const std::uint64_t look = process.looks++;
  if (look < kFirstLooks || look % kGroupLooks == 0) {
    if (const auto text = process.cgroup.read(buffer_)) process.group = groups.find(*text, series);
    if (too_many_) process.cgroup.close();
  }
  WatchedJob& job = series.jobs[process.job];
  if (!job.uses_network || (look >= kFirstLooks && look % kNetLooks != 0)) return;
  const std::uint64_t net = nets.find(process.pid, series);
  if (net != 0 && std::ranges::find(job.nets, net) == job.nets.end()) job.nets.push_back(net);
}

void TaskWatch::sample(WhySeries& series, GroupWatch& groups, NetWatch& nets) {
  if (has_children_) {
    find_children();
  } else if (looks_ % kNetLooks == 0) {
    search_children();
  }
  too_many_ = too_many_ || processes_.size() > kMaxOpen;
  std::size_t threads = 0;
  bool some_new = false;
  const auto visit = [&](Process& process) {
    some_new = some_new || process.looks == 0;
    place(process, series, groups, nets);
    look_at_threads(process, series);
    threads += process.threads.size();
  };
  for (Process& process : processes_) visit(process);
  // Find the children of a new process in its first look. So what they lose in their namespaces
  // before the second look counts, too.
  constexpr int kGenerations = 4;
  for (int i = 0; has_children_ && i < kGenerations && std::exchange(some_new, false); ++i) {
    const std::size_t known = processes_.size();
    find_children();
    for (auto at = std::next(processes_.begin(), static_cast<std::ptrdiff_t>(known));
         at != processes_.end(); ++at) {
      visit(*at);
    }
  }
  too_many_ = threads > kMaxOpen;
  processes_.remove_if(
      [](const Process& process) { return process.threads.empty() && !process.unlisted; });
  if (!missed_.empty()) {
    series.tasks_missed = true;
    series.miss("/proc/PID/task", missed_);
  }
  ++looks_;
}

}  // namespace shmif::perf
