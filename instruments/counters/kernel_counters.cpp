#include "instruments/counters/kernel_counters.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/quantity.hpp"
#include "instruments/counters/errors.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "instruments/watch/process.hpp"

namespace shmif::perf {
namespace {

/// PIDFD_THREAD of Linux 6.9.
constexpr unsigned kPidfdThread = O_EXCL;

int result_of(long result) noexcept {
  return result < 0 ? -errno : static_cast<int>(result);
}

class RealCounters final : public KernelCounters {
 public:
  int open(const EventAttr& attr, pid_t task, int cpu, int group) noexcept override {
    AttrBytes bytes = kernel_bytes_of(attr);
    return result_of(
        ::syscall(SYS_perf_event_open, bytes.data(), task, cpu, group, PERF_FLAG_FD_CLOEXEC));
  }
  int control(int file, unsigned long request, std::uintptr_t argument) noexcept override {
    return result_of(::ioctl(file, request, argument));
  }
  ssize_t read(int file, void* to, std::size_t bytes) noexcept override {
    const ssize_t got = ::read(file, to, bytes);
    return got < 0 ? -errno : got;
  }
  int map(int file, std::size_t bytes, void** at) noexcept override {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) return -errno;
    *at = memory;
    return 0;
  }
  void unmap(void* at, std::size_t bytes) noexcept override { ::munmap(at, bytes); }
  void close(int file) noexcept override { ::close(file); }

  int open_task(pid_t task, bool thread) noexcept override {
    const int file = result_of(::syscall(SYS_pidfd_open, task, thread ? kPidfdThread : 0U));
    // Before Linux 6.9, only processes have such descriptors.
    return file == -EINVAL && thread ? result_of(::syscall(SYS_pidfd_open, task, 0U)) : file;
  }
  bool has_ended(int file, pid_t task) noexcept override {
    if (file < 0) return ::kill(task, 0) != 0 && errno == ESRCH;
    pollfd end{file, POLLIN, 0};
    return ::poll(&end, 1, 0) > 0;
  }
  std::uint64_t start_ticks(pid_t task) override {
    const auto text = KernelFiles().read("/proc/" + std::to_string(task) + "/stat");
    if (!text) {
      errno = text.error().code.value();
      return 0;
    }
    const auto stat = read_task_stat(*text);
    return stat ? stat->start_ticks : 0;
  }
  std::vector<pid_t> threads(pid_t process) override {
    std::vector<pid_t> threads;
    const auto names = KernelFiles().list("/proc/" + std::to_string(process) + "/task");
    if (!names) {
      errno = names.error().code.value();
      return threads;
    }
    for (const std::string& name : *names) {
      if (const auto number = base::read_digits(name)) {
        threads.push_back(static_cast<pid_t>(*number));
      }
    }
    return threads;
  }
  std::optional<uid_t> other_owner(pid_t task) override {
    struct stat of{};
    const std::string folder = "/proc/" + std::to_string(task);
    if (::geteuid() == 0 || ::stat(folder.c_str(), &of) != 0) return std::nullopt;
    // For a process that is not dumpable, the folder belongs to root.
    return of.st_uid == ::geteuid() ? std::nullopt : std::optional(of.st_uid);
  }
  std::vector<int> online_cpus() override {
    const auto text = KernelFiles().read("/sys/devices/system/cpu/online");
    const auto cpus = text ? base::read_number_list(*text) : std::nullopt;
    return cpus.value_or(std::vector<int>{});
  }

  bool has_cpu(int cpu) override {
    return KernelFiles().has("/sys/devices/system/cpu/cpu" + std::to_string(cpu));
  }

  int hold(pid_t thread) noexcept override {
    if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) return -errno;
    ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    siginfo_t seen{};
    int got = 0;
    do {
      // WNOWAIT: its parent, which may be this process, must still be able to wait for it.
      got =
          ::waitid(P_PID, static_cast<id_t>(thread), &seen, WSTOPPED | WEXITED | WNOWAIT | __WALL);
    } while (got != 0 && errno == EINTR);
    if (got != 0) return -errno;
    if (seen.si_code != CLD_TRAPPED && seen.si_code != CLD_STOPPED) return -ESRCH;
    int status = 0;
    if (::waitpid(thread, &status, __WALL) != thread) return -ESRCH;
    constexpr unsigned kEventShift = 16;
    const bool event = static_cast<unsigned>(status) >> kEventShift == PTRACE_EVENT_STOP;
    return event ? 0 : WSTOPSIG(status);
  }
  void release(pid_t thread, int signal) noexcept override {
    ::ptrace(PTRACE_DETACH, thread, nullptr, static_cast<std::uintptr_t>(signal));
  }
};

}  // namespace

AttrBytes kernel_bytes_of(const EventAttr& attr) noexcept {
  // The member that older headers lack comes after the others in memory.
  AttrBytes bytes{};
  perf_event_attr head = attr.base;
  head.size = attr.config3 != 0 ? kAttrWithConfig3 : PERF_ATTR_SIZE_VER7;
  std::memcpy(bytes.data(), &head, sizeof head);
  if (attr.config3 != 0) {
    std::memcpy(&bytes[kAttrWithConfig3 - sizeof attr.config3], &attr.config3, sizeof attr.config3);
  }
  return bytes;
}

KernelCounters& kernel_counters() {
  static RealCounters kernel;
  return kernel;
}

Error cannot_load(int number, const std::string& what, const std::string& advice) {
  return Error::from_errno(number, "cannot load the session on " + what, advice);
}

Result<void> check_target(const CounterTarget& target, bool mask) {
  const bool cpus = target.kind == CounterTarget::Kind::cpu;
  if (cpus && target.cpus.empty()) {
    return Error(CounterErrc::invalid, "cannot load the session on CPUs: none is named");
  }
  if (cpus && target.on_exec) {
    return Error(CounterErrc::invalid, "CPUs execute no program that could be waited for");
  }
  const bool single =
      target.kind == CounterTarget::Kind::thread || (cpus && target.cpus.size() == 1);
  if (!mask || (single && !target.on_exec)) return {};
  return Error(CounterErrc::invalid,
               "an event that masks the session at an overflow needs one thread or one CPU as its "
               "target, without on_exec");
}

Result<void> TargetBinding::bind(const CounterTarget& target) {
  target_ = target;
  threads_.clear();
  task_file_ = -1;
  own_ = false;
  if (!is_task()) return {};
  const bool thread = target.kind == CounterTarget::Kind::thread;
  if (target_.task.number == 0) {
    target_.task.number = thread ? static_cast<pid_t>(::syscall(SYS_gettid)) : ::getpid();
  }
  const pid_t number = target_.task.number;
  own_ = thread ? number == ::syscall(SYS_gettid) : number == ::getpid();
  const std::string name = (thread ? "thread " : "process ") + std::to_string(number);
  const int file = kernel_.open_task(number, thread);
  if (file < 0 && file != -EINVAL && file != -ENOSYS) {
    return cannot_load(-file, name, descriptor_remedy(-file));
  }
  task_file_ = file < 0 ? -1 : file;
  errno = 0;
  if (target.task.start_ticks != 0 && kernel_.start_ticks(number) != target.task.start_ticks) {
    if (const char* const remedy = descriptor_remedy(errno); *remedy != 0) {
      return cannot_load(errno, name, remedy);
    }
    return cannot_load(ESRCH, name, "its number is another one's now");
  }
  errno = 0;
  threads_ = thread ? std::vector<pid_t>{number} : kernel_.threads(number);
  if (threads_.empty()) {
    const char* const remedy = descriptor_remedy(errno);
    return cannot_load(*remedy != 0 ? errno : ESRCH, name, remedy);
  }
  return {};
}

bool TargetBinding::list_again() {
  if (!is_process()) return false;
  const auto now = kernel_.threads(target_.task.number);
  if (now.empty()) return false;  // it has ended, or can no longer be read
  const bool more = std::ranges::any_of(
      now, [&](pid_t thread) { return std::ranges::find(threads_, thread) == threads_.end(); });
  threads_ = now;
  return more;
}

void TargetBinding::release() noexcept {
  if (task_file_ >= 0) kernel_.close(task_file_);
  task_file_ = -1;
  threads_.clear();
  target_ = {};
  own_ = false;
}

bool TargetBinding::has_ended() const noexcept {
  return !own_ && is_task() && kernel_.has_ended(task_file_, target_.task.number);
}

Result<void> TargetBinding::hold(Held& held) {
  const auto is_held = [&](pid_t thread) {
    return std::ranges::find(held, thread, &Held::value_type::first) != held.end();
  };
  const pid_t number = target_.task.number;
  for (bool more = true; more;) {  // until all threads are stopped
    more = false;
    const auto threads = is_process() ? kernel_.threads(number) : std::vector<pid_t>{number};
    for (const pid_t thread : threads) {
      if (is_held(thread)) continue;
      const int signal = kernel_.hold(thread);
      if (signal == -ESRCH) continue;
      if (signal < 0) {
        return Error::from_errno(-signal, "cannot stop thread " + std::to_string(thread),
                                 "stopping needs the rights of a debugger: see "
                                 "kernel.yama.ptrace_scope, and whether one is attached");
      }
      held.emplace_back(thread, signal);
      more = true;
    }
  }
  return {};
}

void TargetBinding::let_go(const Held& held) noexcept {
  for (const auto& [thread, signal] : held) kernel_.release(thread, signal);
}

// What an errno of perf_event_open(2) means for the user.

namespace {

constexpr const char* kPermitKernel =
    "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON";
constexpr const char* kPermitTracepoints =
    "sysctl kernel.perf_event_paranoid=-1, or the capability CAP_PERFMON";
constexpr const char* kPermitCpus =
    "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON";

Refusal not_permitted(const CounterEvent& event, const RefusalHints& hints) {
  using State = Refusal::State;
  if (event.type == PERF_TYPE_TRACEPOINT) {
    return {State::not_permitted,
            "kernel.perf_event_paranoid does not allow tracepoints to this user",
            kPermitTracepoints};
  }
  // The kernel requires this even for events in user space only (find_get_context in
  // kernel/events/core.c).
  if (hints.whole_cpu) {
    return {State::not_permitted,
            "kernel.perf_event_paranoid does not allow this user to count everything on a CPU",
            kPermitCpus};
  }
  const std::string what =
      is_software_clock(event) ? "count it as " : "count it in user space only, as ";
  const std::string instead = hints.in_user_space ? what + user_space_name(event) + "; or " : "";
  return {State::not_permitted, "kernel.perf_event_paranoid does not allow it to this user",
          instead + kPermitKernel};
}

}  // namespace

bool happens_in_user_space(const CounterEvent& event) noexcept {
  if (event.type == PERF_TYPE_TRACEPOINT) return false;
  return event.type != PERF_TYPE_SOFTWARE || (event.config != PERF_COUNT_SW_CONTEXT_SWITCHES &&
                                              event.config != PERF_COUNT_SW_CPU_MIGRATIONS &&
                                              event.config != PERF_COUNT_SW_CGROUP_SWITCHES);
}

bool is_software_clock(const CounterEvent& event) noexcept {
  return event.type == PERF_TYPE_SOFTWARE &&
         (event.config == PERF_COUNT_SW_CPU_CLOCK || event.config == PERF_COUNT_SW_TASK_CLOCK);
}

std::string user_space_name(const CounterEvent& event) {
  const std::string& name = event.name;
  if (name.find('/') != std::string::npos) return name + 'u';
  const std::size_t colon = name.rfind(':');
  const bool modified = colon != std::string::npos && colon + 1 < name.size() &&
                        name.find_first_not_of("ukhGHp", colon + 1) == std::string::npos;
  return name + (modified ? "u" : ":u");
}

std::string user_space_note(const CounterEvent& event) {
  return "in user space only, as " + user_space_name(event) +
         ": kernel.perf_event_paranoid does not allow more to this user (to change that: " +
         kPermitKernel + ')';
}

std::string user_space_source(const CounterEvent& event) {
  return ", in user space only, as " + user_space_name(event) + " (kernel.perf_event_paranoid)";
}

Refusal foreign_refusal(uid_t owner) {
  const std::string user = owner == 0 ? "root" : "another user (uid " + std::to_string(owner) + ')';
  return {Refusal::State::not_permitted, "the process belongs to " + user,
          owner == 0 ? "run it as root" : "run it as that user, or as root"};
}

Refusal explain_refusal(int number, const CounterEvent& event, const RefusalHints& hints) {
  using State = Refusal::State;
  switch (number) {
    case EACCES:
    case EPERM: return not_permitted(event, hints);
    case ENOENT: return {State::not_supported, "this machine has no such event (ENOENT)", ""};
    case ENODEV:
      return {State::not_supported, "no such device, or this machine's PMU is off (ENODEV)", ""};
    case EOPNOTSUPP:
      return {State::not_supported, "the PMU cannot do this for the event (EOPNOTSUPP)", ""};
    case ENOSYS: return {State::not_supported, "this kernel has no perf_event_open", ""};
    case EINVAL:
      return {State::not_supported,
              "the PMU does not take it: it may not know the event, count it only for whole CPUs, "
              "or have too few counters for the group (EINVAL)",
              ""};
    case EBUSY:
      return {State::failed, "another program uses the counter alone (EBUSY)", "end that program"};
    case EMFILE:
      return {State::failed, "this process has too many open files (EMFILE)", "ulimit -n"};
    case ENOSPC: return {State::failed, "all counters of this kind are taken (ENOSPC)", ""};
    case ESRCH: return {State::failed, "the target has ended (ESRCH)", ""};
    default: return {State::failed, "errno " + std::to_string(number), ""};
  }
}

namespace {

class CounterCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "shmif counters"; }
  std::string message(int value) const override {
    switch (static_cast<CounterErrc>(value)) {
      case CounterErrc::busy: return "the session is busy";
      case CounterErrc::invalid: return "not possible in this state";
      case CounterErrc::bad_session: return "no such session";
    }
    return "unknown error";
  }
};

}  // namespace

const std::error_category& counter_error_category() noexcept {
  static const CounterCategory category;
  return category;
}

}  // namespace shmif::perf
