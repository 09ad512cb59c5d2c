#include "perf/inject/held_threads.hpp"

#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <thread>

#include "base/proc.hpp"
#include "base/quantity.hpp"
#include "perf/watch/capability.hpp"

namespace shmif::perf {
namespace {

constexpr int kCallStop = SIGTRAP | 0x80;  // PTRACE_O_TRACESYSGOOD
constexpr unsigned kEventShift = 16;

/// Calls that end with EINTR when their thread is stopped, although no signal comes (signal(7)).
/// Such a call has not done anything yet, so it can be made once more.
constexpr std::array kFragileCalls = {
    SYS_epoll_pwait,  SYS_epoll_pwait2, SYS_semop,    SYS_semtimedop,     SYS_rt_sigtimedwait,
    SYS_io_getevents, SYS_read,         SYS_readv,    SYS_pread64,        SYS_preadv,
    SYS_recvfrom,     SYS_recvmsg,      SYS_recvmmsg, SYS_accept,         SYS_accept4,
    SYS_write,        SYS_writev,       SYS_pwrite64, SYS_pwritev,        SYS_sendto,
    SYS_sendmsg,      SYS_sendmmsg,     SYS_connect,  SYS_io_uring_enter, SYS_preadv2,
    SYS_pwritev2,     SYS_splice,       SYS_sendfile,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
};
bool is_fragile(long call) noexcept {
  return std::ranges::find(kFragileCalls, call) != kFragileCalls.end();
}

std::string task_folder(const TaskId& process, pid_t thread) {
  return "/proc/" + std::to_string(process.number) + "/task/" + std::to_string(thread);
}

/// Reads the signals in a line such as "SigPnd:\t0000000000000200".
std::uint64_t signals_in(const std::string& status, const std::string& name) {
  constexpr std::size_t kDigits = 16;
  const std::size_t at = status.find('\n' + name + ":\t");
  if (at == std::string::npos) return 0;
  const std::string_view text(status);
  constexpr int kHexadecimal = 16;
  return base::read_digits(text.substr(at + name.size() + 3, kDigits), kHexadecimal).value_or(0);
}

/// Whether a signal is pending for which the thread has a handler.
bool has_signal_to_handle(const TaskId& process, pid_t thread) {
  const auto status = KernelFiles().read(task_folder(process, thread) + "/status");
  if (!status) return true;
  const std::uint64_t pending = signals_in(*status, "SigPnd") | signals_in(*status, "ShdPnd");
  return (pending & ~signals_in(*status, "SigBlk") & signals_in(*status, "SigCgt")) != 0;
}

/// Whether the thread has ended, although it may still be listed. For such a thread, ptrace(2)
/// fails with EPERM.
bool has_ended(const TaskId& process, pid_t thread) {
  const auto text = KernelFiles().read(task_folder(process, thread) + "/stat");
  const auto stat = text ? read_task_stat(*text) : Result<TaskStat>(text.error());
  return !stat || stat->state == 'Z' || stat->state == 'X';
}

Error is_traced_by(const TaskId& process, std::uint64_t tracer) {
  return {Errc::busy, "cannot stop process " + std::to_string(process.number) + ": process " +
                          std::to_string(tracer) + " traces it (end that one first)"};
}

std::optional<uid_t> owner_of(const TaskId& process) {
  struct stat of{};
  const std::string folder = "/proc/" + std::to_string(process.number);
  if (::stat(folder.c_str(), &of) != 0) return std::nullopt;
  return of.st_uid;
}

}  // namespace

Error refusal_to_trace(const TaskId& process, int number, const KernelFiles& files) {
  const std::string what = "cannot stop process " + std::to_string(process.number);
  if (!is_refusal(number)) return Error::from_errno(number, what);
  const auto status = files.read("/proc/" + std::to_string(process.number) + "/status");
  const auto tracer =
      status ? base::status_numbers(*status, "TracerPid") : std::vector<std::uint64_t>();
  if (!tracer.empty() && tracer[0] != 0) return is_traced_by(process, tracer[0]);
  const auto owner = owner_of(process);
  if (owner && *owner != ::geteuid() && ::geteuid() != 0 && *owner != 0) {
    return Error::from_errno(
        EPERM, what, "it is of user " + std::to_string(*owner) + ": run as that user, or as root");
  }
  const auto scope = files.read_number("/proc/sys/kernel/yama/ptrace_scope");
  const std::string is =
      "kernel.yama.ptrace_scope is " + std::to_string(scope.has_value() ? *scope : 0);
  if (scope && *scope == 3) {
    return Error::from_errno(EPERM, what, is + ": nobody may, until the machine boots again");
  }
  if (scope && *scope == 2) return Error::from_errno(EPERM, what, is + ": run as root");
  if (scope && *scope == 1) {
    return Error::from_errno(EPERM, what,
                             is + ": start the program by `shmifperf heat -- PROGRAM`, run as "
                                  "root, or sysctl kernel.yama.ptrace_scope=0");
  }
  return Error::from_errno(number, what,
                           "it is another user's, or hides its memory (PR_SET_DUMPABLE): run as "
                           "root");
}

HeldThreads::~HeldThreads() {
  for (const HeldThread& each : threads_) {
    if (each.is_lost) continue;
    if (each.asks_again) set_back(each);
    ::ptrace(PTRACE_DETACH, each.number, nullptr, nullptr);
  }
}

/// Living threads that are not held yet. `sturdy`: without those that wait in a fragile call.
std::vector<pid_t> HeldThreads::not_held(Threads which) const {
  std::vector<pid_t> found;
  const KernelFiles files;
  const auto names = files.list("/proc/" + std::to_string(process_.number) + "/task");
  if (!names) return found;
  for (const std::string& name : *names) {
    const auto number = base::read_digits(name);
    if (!number) continue;
    const auto thread = static_cast<pid_t>(*number);
    if (std::ranges::find(threads_, thread, &HeldThread::number) != threads_.end()) continue;
    if (has_ended(process_, thread)) continue;
    const auto call = files.read(task_folder(process_, thread) + "/syscall");
    const auto waits_in = call ? base::read_digits(call->substr(0, call->find(' '))) : std::nullopt;
    const bool waits = waits_in && is_fragile(static_cast<long>(*waits_in));
    if (which == Threads::all || !waits) found.push_back(thread);
  }
  std::ranges::sort(found);
  return found;
}

Result<void> HeldThreads::hold() {
  for (bool again = true; again;) {  // until no thread is new; each is held once, in limited time
    again = false;
    for (const pid_t number : not_held(Threads::sturdy)) {
      const auto held = hold_one(number);
      if (!held) return held.error();
      again = again || *held;
    }
  }
  for (const pid_t number : not_held(Threads::all)) {
    if (!threads_.empty()) break;
    if (const auto held = hold_one(number); !held) return held.error();
  }
  if (threads_.empty()) return refusal_to_trace(process_, ESRCH);
  return expect_no_other();
}

Result<void> HeldThreads::hold_rest() {
  for (bool again = true; again;) {  // as in hold()
    again = false;
    for (const pid_t number : not_held(Threads::all)) {
      const auto held = hold_one(number);
      if (!held) return held.error();
      again = again || *held;
    }
  }
  return {};
}

/// If two monitors hold different threads, at least one sees the other, because each holds its
/// threads before it looks.
Result<void> HeldThreads::expect_no_other() const {
  for (const pid_t number : not_held(Threads::all)) {
    const auto status = KernelFiles().read(task_folder(process_, number) + "/status");
    const auto tracer =
        status ? base::status_numbers(*status, "TracerPid") : std::vector<std::uint64_t>();
    if (!tracer.empty() && tracer[0] != 0) return is_traced_by(process_, tracer[0]);
  }
  return {};
}

/// Stops one thread. Result: false if it has ended.
Result<bool> HeldThreads::hold_one(pid_t number) {
  if (::ptrace(PTRACE_SEIZE, number, nullptr, PTRACE_O_TRACESYSGOOD) != 0) {
    const int error = errno;
    if (error == ESRCH || has_ended(process_, number)) return false;
    if (auto none = expect_no_other(); !none) return std::move(none).error();
    return refusal_to_trace(process_, error);
  }
  ::ptrace(PTRACE_INTERRUPT, number, nullptr, nullptr);
  ThreadStop stop = wait_for(number, until_);
  while (stop.kind == ThreadStop::Kind::signal || stop.kind == ThreadStop::Kind::call) {
    ::ptrace(PTRACE_CONT, number, nullptr, static_cast<std::uintptr_t>(stop.signal));
    stop = wait_for(number, until_);
  }
  if (stop.kind == ThreadStop::Kind::ended) return false;
  if (stop.kind == ThreadStop::Kind::late) {
    return Error(Errc::timed_out, "cannot stop process " + std::to_string(process_.number) +
                                      ": its thread " + std::to_string(number) +
                                      " waits in the kernel, as for a disk or for the child of "
                                      "vfork(2) (try again)");
  }
  HeldThread thread;
  thread.number = number;
  if (!look_at(thread)) return false;
  threads_.push_back(thread);
  if (!stop.is_group_stop) return true;
  return Error(Errc::busy, "process " + std::to_string(process_.number) +
                               " is stopped by a signal (kill -CONT " +
                               std::to_string(process_.number) + ')');
}

bool HeldThreads::look_at(HeldThread& thread) const {
  constexpr auto kGetMask = static_cast<__ptrace_request>(0x420a);  // PTRACE_GETSIGMASK
  ThreadState& state = thread.state;
  if (read_registers(thread.number, state.registers) != 0 ||
      ::ptrace(kGetMask, thread.number, sizeof state.blocked, &state.blocked) != 0) {
    return false;
  }
  const CallResult result = call_of(state.registers);
  thread.asks_again = result.value == -EINTR && is_fragile(result.call) &&
                      !has_signal_to_handle(process_, thread.number);
  return true;
}

bool HeldThreads::set(const HeldThread& thread, const ThreadRegisters& registers) {
  return write_registers(thread.number, registers) == 0;
}

bool HeldThreads::set_back(const HeldThread& thread) {
  const ThreadRegisters& registers = thread.state.registers;
  // If a signal came meanwhile and a handler runs, the signal ends the call.
  const bool asks_again = thread.asks_again && !has_signal_to_handle(process_, thread.number);
  return set(thread, asks_again ? again(registers) : registers);
}

bool HeldThreads::set_blocked(const HeldThread& thread, std::uint64_t blocked) {
  constexpr auto kSetMask = static_cast<__ptrace_request>(0x420b);  // PTRACE_SETSIGMASK
  return ::ptrace(kSetMask, thread.number, sizeof blocked, &blocked) == 0;
}

bool HeldThreads::poke(const HeldThread& thread, std::uint64_t address, std::uint64_t word) {
  return ::ptrace(PTRACE_POKEDATA, thread.number, address, word) == 0;
}

ThreadStop HeldThreads::run(const HeldThread& thread, long how, int signal) {
  if (::ptrace(static_cast<__ptrace_request>(how), thread.number, nullptr,
               static_cast<std::uintptr_t>(signal)) != 0) {
    return {};
  }
  return wait_for(thread.number, Clock::now() + kPatience);
}

ThreadStop HeldThreads::to_next_call(const HeldThread& thread) {
  return run(thread, PTRACE_SYSCALL, 0);
}

ThreadStop HeldThreads::to_next_stop(const HeldThread& thread, int signal) {
  ::ptrace(PTRACE_INTERRUPT, thread.number, nullptr, nullptr);
  return run(thread, PTRACE_CONT, signal);
}

ThreadStop HeldThreads::wait_for(pid_t number, Clock::time_point until) const {
  constexpr std::chrono::microseconds kFirst(10);
  constexpr std::chrono::microseconds kLongest(1000);
  constexpr int kWho = __WALL | __WNOTHREAD;
  for (auto pause = kFirst;; pause = std::min(2 * pause, kLongest)) {
    siginfo_t seen{};
    // WNOWAIT: if the thread has ended, its parent, which may be us, still has to learn how it
    // ended.
    const int got = ::waitid(P_PID, static_cast<id_t>(number), &seen,
                             WSTOPPED | WEXITED | WNOHANG | WNOWAIT | kWho);
    if (got != 0 && errno != EINTR) return {};
    if (got == 0 && seen.si_pid != 0) {
      if (seen.si_code != CLD_TRAPPED && seen.si_code != CLD_STOPPED) return {};
      int status = 0;
      if (::waitpid(number, &status, WNOHANG | kWho) != number || !WIFSTOPPED(status)) return {};
      const int signal = WSTOPSIG(status);
      if (static_cast<unsigned>(status) >> kEventShift == PTRACE_EVENT_STOP) {
        return {ThreadStop::Kind::trap, 0, signal != SIGTRAP};
      }
      if (signal == kCallStop) return {ThreadStop::Kind::call, 0, false};
      return {ThreadStop::Kind::signal, signal, false};
    }
    if (Clock::now() > until) return {ThreadStop::Kind::late, 0, false};
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace shmif::perf
