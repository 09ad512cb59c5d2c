#include "perf/worker/placement.hpp"

#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <pwd.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <set>

#include "base/unique_fd.hpp"
#include "instruments/watch/process.hpp"
#include "perf/job/values.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

std::vector<int> NumaNodes::list_in(const std::string& file) const {
  std::ifstream stream(folder_ + '/' + file);
  std::string text;
  if (!std::getline(stream, text) || text.empty()) return {};
  auto list = parse_cpus(text);
  return list ? *std::move(list) : std::vector<int>{};
}

Result<std::vector<int>> NumaNodes::named(const std::vector<int>& nodes,
                                          const std::string& option) const {
  std::vector<int> online = list_in("online");
  if (online.empty()) online.push_back(0);
  if (nodes == std::vector<int>{kAllNodes}) return online;
  for (const int node : nodes) {
    if (std::ranges::find(online, node) != online.end()) continue;
    return Error(Errc::bad_argument, "there is no NUMA node " + std::to_string(node) + " (" +
                                         option + "; this machine has " +
                                         to_string_of_cpus(online) + ')');
  }
  return nodes;
}

Result<std::vector<int>> NumaNodes::cpus_of(const std::vector<int>& nodes,
                                            const std::string& option) const {
  if (nodes.empty()) return std::vector<int>{};
  auto known = named(nodes, option);
  if (!known) return known;
  std::set<int> cpus;
  for (const int node : *known) {
    const std::vector<int> its = list_in("node" + std::to_string(node) + "/cpulist");
    cpus.insert(its.begin(), its.end());
  }
  return std::vector<int>(cpus.begin(), cpus.end());
}

bool NumaNodes::lists_cpus_of(const std::vector<int>& nodes) const {
  const auto known = named(nodes, "");
  return known && std::ranges::any_of(*known, [&](int node) {
           return std::ifstream(folder_ + "/node" + std::to_string(node) + "/cpulist").is_open();
         });
}

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

/// What `job` changes to; nothing for what stays.
struct Ids {
  std::optional<uid_t> user;
  std::optional<gid_t> group;
};
Result<Ids> ids_of(const JobOptions& job) {
  Ids ids;
  if (!job.uid.empty()) {
    ids.user = id_of(job.uid, [](const std::string& name) -> std::optional<unsigned> {
      const auto* const entry = ::getpwnam(name.c_str());
      return entry == nullptr ? std::nullopt : std::optional<unsigned>(entry->pw_uid);
    });
    if (!ids.user) return Error(Errc::bad_argument, "there is no user " + job.uid);
    const auto* const entry = ::getpwuid(*ids.user);
    if (entry != nullptr) ids.group = entry->pw_gid;
  }
  if (!job.gid.empty()) {
    ids.group = id_of(job.gid, [](const std::string& name) -> std::optional<unsigned> {
      const auto* const entry = ::getgrnam(name.c_str());
      return entry == nullptr ? std::nullopt : std::optional<unsigned>(entry->gr_gid);
    });
    if (!ids.group) return Error(Errc::bad_argument, "there is no group " + job.gid);
  }
  return ids;
}

constexpr const char* kSetGid = "needs CAP_SETGID";
constexpr const char* kSetUid = "needs CAP_SETUID";
Error no_right(const std::string& what, const char* needs) {
  return Error::from_errno(errno, "cannot " + what, needs);
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
  const auto ids = ids_of(job);
  if (!ids) return ids.error();
  if (!ids->user && !ids->group) return {};
  if (job.thread) {
    return Error(Errc::bad_argument,
                 "a thread cannot change its user (use thread=0 with uid and gid)");
  }
  const pid_t parent = ::getppid();
  // In this order, because a process that has given up its user may not change groups.
  if (::setgroups(0, nullptr) != 0) return no_right("give up supplementary groups", kSetGid);
  if (ids->group && ::setresgid(*ids->group, *ids->group, *ids->group) != 0) {
    return no_right("become group " + std::to_string(*ids->group), kSetGid);
  }
  if (ids->user && ::setresuid(*ids->user, *ids->user, *ids->user) != 0) {
    return no_right("become user " + job.uid, kSetUid);
  }
  // The change of user cleared this setting. A killed controller must leave no job behind.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // the controller died before prctl took effect
  debug(Debug::place, [&] { return "dropped privileges: user " + job.uid + ", group " + job.gid; });
  return {};
}

/// The kernel keeps these rights for each thread. The C library's setgroups() would change them in
/// all threads.
Result<void> AsJobUser::take(const Rights& rights) {
  if (::syscall(SYS_setgroups, rights.groups.size(), rights.groups.data()) != 0) {
    return no_right("give up supplementary groups", kSetGid);
  }
  // They return the id before, also where they fail.
  constexpr auto kAsk = static_cast<unsigned>(-1);
  ::setfsgid(rights.group);
  if (static_cast<gid_t>(::setfsgid(kAsk)) != rights.group) {
    errno = EPERM;
    return no_right("become group " + std::to_string(rights.group), kSetGid);
  }
  ::setfsuid(rights.user);
  if (static_cast<uid_t>(::setfsuid(kAsk)) == rights.user) return {};
  errno = EPERM;
  return no_right("become user " + std::to_string(rights.user), kSetUid);
}

Result<AsJobUser> AsJobUser::begin(const JobOptions& job) {
  const auto ids = ids_of(job);
  if (!ids) return ids.error();
  AsJobUser user;
  if (!ids->user && !ids->group) return user;
  Rights before{.user = ::geteuid(), .group = ::getegid()};
  before.dumpable = ::prctl(PR_GET_DUMPABLE);
  before.parent = ::getppid();
  ::prctl(PR_GET_PDEATHSIG, &before.on_parent_death);
  const int count = ::getgroups(0, nullptr);
  before.groups.resize(static_cast<std::size_t>(std::max(count, 0)));
  if (::getgroups(count, before.groups.data()) != count) {
    return Error::from_errno(errno, "cannot read the groups of this process");
  }
  const Rights rights{.user = ids->user.value_or(before.user),
                      .group = ids->group.value_or(before.group)};
  user.before_ = std::move(before);  // from here on, what take() did is undone
  if (auto taken = take(rights); !taken) return std::move(taken).error();
  return user;
}

AsJobUser::~AsJobUser() {
  if (!before_) return;
  static_cast<void>(take(*before_));
  // The change of user cleared these settings.
  ::prctl(PR_SET_DUMPABLE, static_cast<unsigned long>(before_->dumpable));
  if (before_->on_parent_death == 0) return;
  ::prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(before_->on_parent_death));
  if (::getppid() != before_->parent) ::raise(before_->on_parent_death);
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
