#include "perf/run/placement.hpp"

#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

namespace shmif::perf {
namespace {

Result<void> set_cpus(const JobOptions& job) {
  if (job.cpus_allowed.empty()) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  std::string text;
  for (const int cpu : job.cpus_allowed) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) return Error(Errc::bad_argument, "there is no such CPU");
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    text += (text.empty() ? "" : ",") + std::to_string(cpu);
  }
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    return Error::from_errno(errno, "cannot run on CPU " + text + " (cpus_allowed)",
                             "nproc --all says how many there are");
  }
  return {};
}

/// Memory from one node, by the system call itself: libnuma would be a library for one call.
Result<void> set_numa_node(int node) {
  constexpr int kBind = 2;  // MPOL_BIND
  if (node < 0 || node >= 64) return Error(Errc::bad_argument, "numa_mem_policy: no such node");
  const unsigned long mask = 1UL << static_cast<unsigned>(node);
  if (::syscall(SYS_set_mempolicy, kBind, &mask, 8 * sizeof mask) != 0) {
    return Error::from_errno(errno, "cannot take memory from NUMA node " + std::to_string(node));
  }
  return {};
}

Result<void> set_io_priority(const JobOptions& job) {
  constexpr int kProcess = 1;      // IOPRIO_WHO_PROCESS
  constexpr int kClassShift = 13;  // IOPRIO_CLASS_SHIFT
  const int priority = job.ioprio_class.value_or(2) << kClassShift | job.ioprio.value_or(0);
  if (::syscall(SYS_ioprio_set, kProcess, 0, priority) != 0) {
    return Error::from_errno(errno, "cannot set the I/O priority (prio, prioclass)");
  }
  return {};
}

Result<void> enter_cgroup(const std::string& path) {
  std::ofstream procs(path + "/cgroup.procs");
  procs << ::getpid() << std::flush;
  if (procs) return {};
  return Error::from_errno(errno != 0 ? errno : EACCES, "cannot enter cgroup " + path,
                           "it is the path of a directory with a cgroup.procs to write to");
}

/// A number, or what `lookup` knows by that name.
template <class Lookup>
std::optional<unsigned> id_of(const std::string& text, Lookup lookup) {
  unsigned id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc() && end == text.data() + text.size()) return id;
  return lookup(text);
}

}  // namespace

Result<void> take_place(const JobOptions& job) {
  // Sleeps of a sender end when they should, not up to 50 us later.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  if (auto done = set_cpus(job); !done) return done;
  if (job.numa_node) {
    if (auto done = set_numa_node(*job.numa_node); !done) return done;
  }
  if (!job.cgroup.empty()) {
    if (auto done = enter_cgroup(job.cgroup); !done) return done;
  }
  if (job.nice && ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), *job.nice) != 0) {
    return Error::from_errno(errno, "cannot set nice value " + std::to_string(*job.nice),
                             "negative ones need CAP_SYS_NICE");
  }
  if (job.ioprio || job.ioprio_class) {
    if (auto done = set_io_priority(job); !done) return done;
  }
  if (job.rtprio) {
    sched_param parameter{};
    parameter.sched_priority = *job.rtprio;
    if (::sched_setscheduler(0, SCHED_FIFO, &parameter) != 0) {
      return Error::from_errno(errno, "cannot run as SCHED_FIFO " + std::to_string(*job.rtprio),
                               "needs CAP_SYS_NICE, or RLIMIT_RTPRIO (ulimit -r)");
    }
  }
  return {};
}

Result<void> drop_privileges(const JobOptions& job) {
  if (job.uid.empty() && job.gid.empty()) return {};
  if (job.thread) {
    return Error(Errc::bad_argument, "a thread cannot change its user (thread=0 with uid and gid)");
  }
  const auto group = id_of(job.gid, [](const std::string& name) -> std::optional<unsigned> {
    const auto* const entry = ::getgrnam(name.c_str());
    return entry == nullptr ? std::nullopt : std::optional<unsigned>(entry->gr_gid);
  });
  const auto user = id_of(job.uid, [](const std::string& name) -> std::optional<unsigned> {
    const auto* const entry = ::getpwnam(name.c_str());
    return entry == nullptr ? std::nullopt : std::optional<unsigned>(entry->pw_uid);
  });
  if (!job.gid.empty() && !group) return Error(Errc::bad_argument, "no group is called " + job.gid);
  if (!job.uid.empty() && !user) return Error(Errc::bad_argument, "no user is called " + job.uid);
  // In this order: who has given up the user may not change groups any more.
  if (::setgroups(0, nullptr) != 0) {
    return Error::from_errno(errno, "cannot give up supplementary groups", "needs CAP_SETGID");
  }
  if (group && ::setresgid(*group, *group, *group) != 0) {
    return Error::from_errno(errno, "cannot become group " + job.gid, "needs CAP_SETGID");
  }
  if (user && ::setresuid(*user, *user, *user) != 0) {
    return Error::from_errno(errno, "cannot become user " + job.uid, "needs CAP_SETUID");
  }
  // The change of user has cleared that: a killed controller must leave no job behind.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return {};
}

Result<void> pin(std::span<std::byte> memory) {
  if (memory.empty() || ::mlock(memory.data(), memory.size()) == 0) return {};
  return Error::from_errno(
      errno,
      "cannot lock " + std::to_string(memory.size()) + " bytes of buffers into memory (lockmem)",
      "ulimit -l says how much may be");
}

}  // namespace shmif::perf
