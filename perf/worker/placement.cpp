#include "perf/worker/placement.hpp"

#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/job/values.hpp"
#include "perf/plan/numa_nodes.hpp"
#include "perf/watch/cgroup.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// `option`: the option that names the CPUs.
Result<void> set_cpus(const std::vector<int>& cpus, const std::string& option) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) return Error(Errc::bad_argument, "there is no such CPU");
    CPU_SET(static_cast<std::size_t>(cpu), &set);
  }
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    return Error::from_errno(errno,
                             "cannot run on CPU " + to_string_of_cpus(cpus) + " (" + option + ')',
                             "nproc --all shows how many CPUs there are");
  }
  debug(Debug::place,
        [&] { return "runs on CPU " + to_string_of_cpus(cpus) + " (" + option + ')'; });
  return {};
}

/// The kernel's modes of memory policies (set_mempolicy(2)).
int kernel_mode(NumaPolicy::Mode mode) noexcept {
  switch (mode) {
    case NumaPolicy::Mode::prefer: return 1;
    case NumaPolicy::Mode::bind: return 2;
    case NumaPolicy::Mode::interleave: return 3;
    case NumaPolicy::Mode::local: return 4;
    case NumaPolicy::Mode::unset:
    case NumaPolicy::Mode::standard: break;
  }
  return 0;
}

/// It makes the system call itself, because libnuma would be a library for one call.
Result<void> set_memory_policy(const NumaPolicy& policy, const NumaNodes& machine,
                               const std::string& option) {
  constexpr std::size_t kBits = 8 * sizeof(unsigned long);
  std::array<unsigned long, 1024 / kBits> mask{};  // a bit for each node that the option allows
  auto nodes = machine.named(policy.nodes, option);
  if (!nodes) return std::move(nodes).error();
  for (const int node : *nodes) {
    const auto bit = static_cast<std::size_t>(node);
    mask.at(bit / kBits) |= 1UL << bit % kBits;
  }
  const bool empty = nodes->empty();
  if (::syscall(SYS_set_mempolicy, kernel_mode(policy.mode), empty ? nullptr : mask.data(),
                empty ? 0 : 8 * sizeof mask) == 0) {
    debug(Debug::place, [&] { return "takes its memory by the policy " + to_string(policy); });
    return {};
  }
  const int why = errno;
  if (why == ENOSYS) {
    return Error(Errc::not_supported,
                 Error::from_errno(why, "cannot set a memory policy (" + option + ')',
                                   "this kernel has no NUMA")
                     .message);
  }
  return Error::from_errno(
      why, "cannot take memory by the policy " + to_string(policy) + " (" + option + ')',
      "/sys/devices/system/node/has_memory lists the nodes with memory, and "
      "Mems_allowed_list in /proc/self/status those that may be used");
}

struct WantedNuma {
  std::vector<int> cpu_nodes;
  NumaPolicy policy;
  std::string cpus_option = "numa_cpu_nodes", policy_option = "numa_mem_policy";
};
WantedNuma numa_of(const JobOptions& job) {
  if (!job.numa_node) return {job.numa_cpu_nodes, job.numa_mem_policy};
  return {{*job.numa_node}, {NumaPolicy::Mode::bind, {*job.numa_node}}, "numa_node", "numa_node"};
}

Result<void> enter_cgroup(const std::string& name) {
  const std::string path = cgroup_path(name);
  // Never creates the file: in a directory that is not a cgroup it would be an ordinary file.
  const UniqueFd procs(::open((path + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  const std::string self = std::to_string(::getpid());
  if (procs && ::write(procs.get(), self.data(), self.size()) > 0) {
    debug(Debug::place, [&] { return "is in cgroup " + path; });
    return {};
  }
  return Error::from_errno(
      errno, "cannot enter cgroup " + path,
      "its cgroup.procs must exist, and you must be allowed to write it; a missing group is made "
      "only directly below a group of version 2");
}

/// A number, or the id that `lookup` finds for the name.
template <class Lookup>
std::optional<unsigned> id_of(const std::string& text, Lookup lookup) {
  unsigned id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc() && end == text.data() + text.size()) return id;
  return lookup(text);
}

}  // namespace

Result<void> take_place(const JobOptions& job) {
  // Without this, a sender's sleep could end up to 50 us late.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  const NumaNodes machine;
  const WantedNuma numa = numa_of(job);
  const bool named = !job.cpus_allowed.empty();
  std::vector<int> cpus = job.cpus_allowed;
  if (!named) {
    auto of_nodes = machine.cpus_of(numa.cpu_nodes, numa.cpus_option);
    if (!of_nodes) return std::move(of_nodes).error();
    cpus = *std::move(of_nodes);
    // If there is no list, the machine has one node, which has all CPUs.
    if (cpus.empty() && machine.lists_cpus_of(job.numa_cpu_nodes)) {
      return Error(Errc::bad_argument,
                   "NUMA node " + to_string_of_nodes(job.numa_cpu_nodes) +
                       " has no CPU to run on (numa_cpu_nodes; name the CPUs with cpus_allowed)");
    }
  }
  if (!cpus.empty()) {
    if (auto done = set_cpus(cpus, named ? "cpus_allowed" : numa.cpus_option); !done) return done;
  }
  if (numa.policy.mode != NumaPolicy::Mode::unset) {
    if (auto done = set_memory_policy(numa.policy, machine, numa.policy_option); !done) return done;
  }
  if (!job.cgroup.empty()) {
    if (job.thread) {
      return Error(Errc::bad_argument,
                   "a thread cannot change its control group alone (use thread=0 with cgroup)");
    }
    if (auto done = enter_cgroup(job.cgroup); !done) return done;
  }
  if (job.nice && ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), *job.nice) != 0) {
    return Error::from_errno(errno, "cannot set nice value " + std::to_string(*job.nice),
                             "negative values need CAP_SYS_NICE");
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
    return Error(Errc::bad_argument,
                 "a thread cannot change its user (use thread=0 with uid and gid)");
  }
  const auto group = id_of(job.gid, [](const std::string& name) -> std::optional<unsigned> {
    const auto* const entry = ::getgrnam(name.c_str());
    return entry == nullptr ? std::nullopt : std::optional<unsigned>(entry->gr_gid);
  });
  const auto user = id_of(job.uid, [](const std::string& name) -> std::optional<unsigned> {
    const auto* const entry = ::getpwnam(name.c_str());
    return entry == nullptr ? std::nullopt : std::optional<unsigned>(entry->pw_uid);
  });
  if (!job.gid.empty() && !group) return Error(Errc::bad_argument, "there is no group " + job.gid);
  if (!job.uid.empty() && !user) return Error(Errc::bad_argument, "there is no user " + job.uid);
  const pid_t parent = ::getppid();
  // In this order, because a process that has given up its user may not change groups.
  if (::setgroups(0, nullptr) != 0) {
    return Error::from_errno(errno, "cannot give up supplementary groups", "needs CAP_SETGID");
  }
  if (group && ::setresgid(*group, *group, *group) != 0) {
    return Error::from_errno(errno, "cannot become group " + job.gid, "needs CAP_SETGID");
  }
  if (user && ::setresuid(*user, *user, *user) != 0) {
    return Error::from_errno(errno, "cannot become user " + job.uid, "needs CAP_SETUID");
  }
  // The change of user cleared this setting. A killed controller must leave no job behind.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // the controller died before prctl took effect
  debug(Debug::place, [&] { return "dropped privileges: user " + job.uid + ", group " + job.gid; });
  return {};
}

Result<void> pin(std::span<std::byte> memory) {
  if (memory.empty() || ::mlock(memory.data(), memory.size()) == 0) return {};
  return Error::from_errno(
      errno,
      "cannot lock " + std::to_string(memory.size()) + " bytes of buffers into memory (lockmem)",
      "ulimit -l shows the limit");
}

namespace {

void populate(std::uintptr_t begin, std::size_t bytes, int how) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t from = begin & ~(page - 1);
  // An older kernel maps the pages when they are first used, as usual.
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a page's address, which nothing is read through
  (void)::madvise(reinterpret_cast<void*>(from), begin + bytes - from, how);
}

int map_code(dl_phdr_info* object, std::size_t /*size*/, void* /*unused*/) noexcept {
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    populate(object->dlpi_addr + segment.p_vaddr, segment.p_memsz, MADV_POPULATE_READ);
  }
  return 0;
}

}  // namespace

void map_code_ahead() noexcept {
  ::dl_iterate_phdr(map_code, nullptr);
}

void map_ahead(std::span<std::byte> memory) noexcept {
  populate(reinterpret_cast<std::uintptr_t>(memory.data()), memory.size(), MADV_POPULATE_WRITE);
}

}  // namespace shmif::perf
