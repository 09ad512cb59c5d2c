#pragma once
// A child that is moved along by ptrace. So it can be killed or stopped before any instruction of
// the code under test, which is the code that ships: nothing is compiled in for the test.
//
// The child says where the interesting part begins and ends with Tracee::begin() and
// Tracee::end(), which are signals that only the tracer sees. A step takes tens of microseconds on
// a virtual machine, so a run is recorded once, step by step; later children then go to a place of
// it in one leap, by a breakpoint. Children of one parent have their code at the same addresses.
// A call of the vDSO is one step: it reads a clock anew if the kernel ticks meanwhile, and by
// single steps on a busy machine no reading is ever done before the next tick.
// x86-64 only.

#include <elf.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/support/child_process.hpp"

namespace shmif::test {

/// A moment of a run: before the `occurrence`th time that the instruction at `address` is executed.
/// A repeated string instruction is one, however many steps it takes.
struct Moment {
  std::uint64_t address = 0;
  std::uint32_t occurrence = 0;  ///< from 1 on
};

class Tracee {
 public:
  /// Forks; the child runs `body` and exits with what it returns. It dies with the tracer.
  explicit Tracee(const std::function<int()>& body) {
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) run_child(body);
    if (wait_for_stop() != SIGSTOP) throw std::runtime_error("the child cannot be traced");
    ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
  }
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;
  ~Tracee() { kill(); }

  // For the child.
  static void begin() { raise(SIGUSR1); }
  static void end() { raise(SIGUSR2); }

  pid_t pid() const { return pid_; }
  /// Lets it run to its begin(). Result: false when it ended before.
  bool run_to_begin() { return run_to_mark(SIGUSR1); }
  bool run_to_end() { return run_to_mark(SIGUSR2); }
  /// Lets it execute one instruction, or what it has called of the vDSO. Result: false when it met
  /// end(), or is gone.
  bool step() {
    if (!go(PTRACE_SINGLESTEP)) return false;
    const int stop = wait_for_stop();
    if (stop <= 0 || stop == SIGUSR2) return false;
    return !vdso().has(registers().rip) || leave_function();
  }
  /// Result: false when it met end() before it had made `count` steps.
  bool step(std::uint64_t count) {
    for (; count > 0; --count) {
      if (!step()) return false;
    }
    return true;
  }
  /// Steps to end(), and notes every moment from here on at which `suits()`.
  std::vector<Moment> record(const std::function<bool()>& suits = [] { return true; }) {
    std::vector<Moment> moments;
    std::unordered_map<std::uint64_t, std::uint32_t> times;
    std::uint64_t before = 0;
    do {
      const std::uint64_t address = registers().rip;
      if (address != before) {
        const Moment moment{address, ++times[address]};
        if (suits()) moments.push_back(moment);
      }
      before = address;
    } while (step());
    return moments;
  }
  /// Lets it run to a moment. Result: false when it met end() before, or is gone.
  bool run_to(const Moment& moment) {
    for (std::uint32_t times = 1;; ++times) {
      if (!run_to_breakpoint(moment.address)) return false;
      if (times == moment.occurrence) return true;
      do {
        if (!step()) return false;
      } while (registers().rip == moment.address);
    }
  }
  /// Lets it run until it enters (first call) or leaves (second) a system call. Result: the number
  /// of the system call on entry, -1 on exit, nothing of the two when it met end().
  struct SystemCall {
    bool met = false;
    bool entered = false;
    std::uint64_t number = 0;
  };
  SystemCall run_to_system_call() {
    SystemCall call;
    if (!go(PTRACE_SYSCALL)) return call;
    if (wait_for_stop() != (SIGTRAP | 0x80)) return call;
    __ptrace_syscall_info info{};
    ptrace(PTRACE_GET_SYSCALL_INFO, pid_, sizeof info, &info);
    call.met = true;
    call.entered = info.op == PTRACE_SYSCALL_INFO_ENTRY;
    if (call.entered) call.number = info.entry.nr;
    return call;
  }
  /// Lets it run to the end by itself. Result: its exit code, or 128 plus the signal that ended it.
  int finish() {
    while (pid_ > 0 && go(PTRACE_CONT)) {
      if (wait_for_stop() < 0) break;
    }
    return exit_;
  }
  /// As the kernel does it: its memory, descriptors and locks are gone when this returns.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (pid_ > 0) wait_for_stop();
  }

 private:
  [[noreturn]] static void run_child(const std::function<int()>& body) {
    int code = 99;
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0) {
      raise(SIGSTOP);
      try {
        code = body();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "child: %s\n", e.what());
      }
    }
    std::fflush(nullptr);
    _exit(code);
  }
  bool go(__ptrace_request how) {
    const int signal = std::exchange(deliver_, 0);
    return pid_ > 0 && ptrace(how, pid_, nullptr, signal) == 0;
  }
  /// Result: the signal that it stopped for, -1 when it is gone.
  int wait_for_stop() {
    int status = 0;
    while (waitpid(pid_, &status, __WALL) < 0) {
      if (errno != EINTR) return -1;
    }
    if (WIFSTOPPED(status)) {
      const int signal = WSTOPSIG(status);
      // Ours are swallowed; what else comes, the child gets.
      const bool ours =
          signal == SIGUSR1 || signal == SIGUSR2 || (signal & 0x7f) == SIGTRAP || signal == SIGSTOP;
      deliver_ = ours ? 0 : signal;
      return signal;
    }
    pid_ = -1;
    exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return -1;
  }
  user_regs_struct registers() const {
    user_regs_struct r{};
    ptrace(PTRACE_GETREGS, pid_, nullptr, &r);
    return r;
  }
  /// Where the kernel has put its own code, in this process and so in each child.
  struct Code {
    std::uint64_t begin = 0, end = 0;
    bool has(std::uint64_t address) const { return address >= begin && address < end; }
  };
  static Code vdso() {
    static const Code code = [] {
      const std::uint64_t begin = getauxval(AT_SYSINFO_EHDR);
      if (begin == 0) return Code{};
      const auto* elf = reinterpret_cast<const Elf64_Ehdr*>(begin);
      // Its sections come last in the file, and what follows their headers is not mapped.
      return Code{begin, begin + elf->e_shoff + std::uint64_t{elf->e_shnum} * elf->e_shentsize};
    }();
    return code;
  }
  /// From the first instruction of a function to after its return.
  bool leave_function() {
    errno = 0;
    const long caller = ptrace(PTRACE_PEEKDATA, pid_, registers().rsp, nullptr);
    if (errno != 0) throw std::runtime_error("cannot read the stack");
    return run_to_breakpoint(static_cast<std::uint64_t>(caller));
  }
  /// Result: false when it met end() before. The breakpoint is gone then.
  bool run_to_breakpoint(std::uint64_t address) {
    constexpr long kInt3 = 0xcc;
    user_regs_struct r = registers();
    if (r.rip == address) return true;
    errno = 0;
    const long code = ptrace(PTRACE_PEEKTEXT, pid_, address, nullptr);
    if (errno != 0 || ptrace(PTRACE_POKETEXT, pid_, address, (code & ~0xffL) | kInt3) != 0) {
      throw std::runtime_error("cannot set a breakpoint");
    }
    int stop = 0;
    do {
      if (!go(PTRACE_CONT)) return false;
      stop = wait_for_stop();
    } while (stop > 0 && stop != SIGTRAP && stop != SIGUSR2);
    if (stop < 0) return false;
    ptrace(PTRACE_POKETEXT, pid_, address, code);
    if (stop != SIGTRAP) return false;
    r = registers();
    r.rip = address;
    ptrace(PTRACE_SETREGS, pid_, nullptr, &r);
    return true;
  }
  bool run_to_mark(int signal) {
    while (go(PTRACE_CONT)) {
      const int stop = wait_for_stop();
      if (stop == signal) return true;
      if (stop < 0) return false;
    }
    return false;
  }

  pid_t pid_ = -1;
  int exit_ = -1;
  int deliver_ = 0;
};

/// Whether children can be traced at all.
inline bool can_trace() {
  try {
    return Tracee([] { return 7; }).finish() == 7;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace shmif::test
