#pragma once
// Watches the threads of processes, of their children, and of all further descendants.
//
// Files of a thread stay open, and an open file never becomes the file of a later thread with the
// same number. So the next look notices that a thread has ended, and never confuses it with
// another.

#include <dirent.h>
#include <sched.h>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bus/repair/port_owners.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "instruments/why/kernel_text.hpp"
#include "instruments/why/net_watch.hpp"
#include "instruments/why/series.hpp"

namespace shmif::perf {

/// Watches the control groups of watched processes: how long a quota throttled them, and how often
/// they reached a memory limit. The limits of groups above them count, too. Threads: one at a time.
/// Blocks: only for short reads.
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

/// Threads: one at a time. Blocks: only for short reads.
class TaskWatch {
 public:
  /// Notes in `series` what this kernel cannot tell. `origin_s`: the begin of the series on
  /// CLOCK_MONOTONIC.
  TaskWatch(const KernelFiles& files, WhySeries& series, double origin_s);

  /// Watches a process as part of a job. Result: false if there is no such process, or it is
  /// watched already.
  bool add(pid_t pid, std::size_t job);
  /// Watches one thread of a process, and the processes that the thread starts.
  bool add_thread(pid_t thread, std::size_t job);
  /// Takes a look at all threads. Each thread that was known before gets a step for the newest
  /// interval.
  void sample(WhySeries& series, GroupWatch& groups, NetWatch& nets);
  /// The job of the watched process that has the port; empty if no watched process has it. The
  /// number in the port table may be the process's number here, or in its own PID namespace. If we
  /// may not look into a process with that number, we assume that it has the port. `others`:
  /// processes known not to have the port; this function adds to them.
  std::optional<std::size_t> job_of(const PortInfo& port, bus::PortOwners& owners,
                                    std::set<pid_t>& others) const;

 private:
  /// For a thread that is older than the watch, a difference needs an earlier look at which its
  /// file was read. The counters of a younger thread began at 0.
  struct Counters {
    std::uint64_t run_us = 0, wait_us = 0, turns = 0;
    std::uint64_t migrations = 0, voluntary = 0, involuntary = 0;
    std::uint64_t minor_faults = 0, major_faults = 0;
  };
  struct Thread {
    pid_t number = 0;
    std::size_t series = 0;  ///< its number in `series.tasks`
    RepeatedFile stat, schedstat, sched, status, children;
    Counters before;
    cpu_set_t mask{};
    std::string allowed;
    int cpu = -1;
    bool seen = false, begun = false;
    bool missed = false;  ///< the last look failed, although it had not ended
    bool times_known = false, switches_known = false;  ///< `before` has these counters
    bool has_switches = false;                         ///< read at least once

    /// Forgets the counters, so the next look does not compute a difference.
    void forget() noexcept { missed = true, times_known = false, switches_known = false; }
    void close() noexcept {
      for (RepeatedFile* file : {&stat, &schedstat, &sched, &status, &children}) file->close();
    }
  };
  struct Process {
    pid_t pid = 0, inner_pid = 0;
    pid_t only = 0;  ///< the only thread to watch; 0: watch all
    std::size_t job = 0;
    std::unique_ptr<DIR, int (*)(DIR*)> folder{nullptr, nullptr};
    RepeatedFile cgroup;
    std::uint16_t group = kNowhere;
    std::uint64_t looks = 0;
    std::uint64_t told = 0;  ///< its number of threads, by the last thread that was read
    bool unlisted = false;   ///< its threads could not be listed, although it had not ended
    std::list<Thread> threads;
  };

  bool add_process(pid_t pid, pid_t only, std::size_t job);
  void look_at_threads(Process& process, WhySeries& series);
  void find_threads(Process& process, WhySeries& series);
  void begin(Process& process, Thread& thread, const TaskStat& stat, WhySeries& series);
  bool look(Process& process, Thread& thread, WhySeries& series);
  void count(Thread& thread, const TaskStat& stat, TaskStep& step, WhySeries& series);
  void count_switches(Thread& thread, const TaskStat& stat, TaskStep& step, WhySeries& series);
  void miss(const std::string& reason);
  void look_at_affinity(Thread& thread, TaskStep& step, TaskSeries& task, std::size_t interval);
  std::optional<std::string> allowed_now(Thread& thread);
  void find_children();
  void search_children();
  void place(Process& process, WhySeries& series, GroupWatch& groups, NetWatch& nets);

  const KernelFiles files_;
  const bool live_;  ///< the files are of this machine, so system calls agree with them
  bool has_sched_ = false, has_children_ = false;
  std::uint64_t tick_ns_;
  double boot_s_;  ///< when the machine was booted, counted from the begin of the series
  std::list<Process> processes_;
  std::string foreign_;  ///< why /proc numbers processes differently; empty if it does not
  std::string missed_;   ///< why a look at a living process failed; empty if all worked
  std::map<pid_t, std::size_t> jobs_;  ///< of all processes that were ever watched
  std::uint64_t looks_ = 0;
  bool too_many_ = false;  ///< too many processes or threads to keep their files open
  std::vector<char> buffer_;
};

}  // namespace shmif::perf
