#include "instruments/counters/target_binding.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

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

}  // namespace shmif::perf
