#include "perf/inject/machine.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <utility>

namespace shmif::perf {

#if defined(__x86_64__)

namespace {

constexpr std::uint64_t kCode64 = 0x33;  ///< the segment of 64-bit code; 32-bit code has 0x23
constexpr std::uint64_t kCallBytes = 2;  ///< of the instruction `syscall`
constexpr std::uint64_t kX32 = 1U << 30U;
// The values by which the kernel marks a call that it will restart (include/linux/errno.h).
constexpr long kRestart = -512, kRestartAlways = -513, kRestartUnlessHandled = -514;
constexpr long kRestartBlock = -516;
constexpr int kUserModeOnly = 1;

/// Machine code, byte by byte. It never uses the stack and never changes a flag.
class Code {
 public:
  void bytes(std::initializer_list<std::uint8_t> these) { code_.insert(code_.end(), these); }
  void number(std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      code_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    }
  }
  void mov_eax(std::uint32_t value) { bytes({0xb8}), number(value, 4); }
  void mov_edi(std::uint32_t value) { bytes({0xbf}), number(value, 4); }
  void call() { bytes({0x0f, 0x05}); }
  /// rt_sigprocmask(SIG_SETMASK, rip + (to come), nullptr, 8). Result: the offset of that distance
  /// in the code.
  std::size_t set_mask() {
    mov_eax(SYS_rt_sigprocmask);
    mov_edi(SIG_SETMASK);
    bytes({0x48, 0x8d, 0x35});  // lea rsi, [rip + distance]
    const std::size_t distance = code_.size();
    number(0, 4);
    bytes({0xba}), number(0, 4);        // mov edx, 0
    bytes({0x41, 0xba}), number(8, 4);  // mov r10d, 8
    call();
    return distance;
  }
  void point(std::size_t distance_at) {
    const auto distance = static_cast<std::uint32_t>(code_.size() - distance_at - 4);
    std::memcpy(&code_[distance_at], &distance, sizeof distance);
  }
  std::vector<std::uint8_t> take() { return std::move(code_); }

 private:
  std::vector<std::uint8_t> code_;
};

/// The registers that the kernel would set for an interrupted call if no handler runs.
ThreadRegisters restarted(const ThreadRegisters& registers) noexcept {
  const CallResult result = call_of(registers);
  if (result.call < 0) return registers;
  ThreadRegisters next = registers;
  switch (result.value) {
    case kRestart:
    case kRestartAlways:
    case kRestartUnlessHandled: return again(registers);
    case kRestartBlock:
      next = again(registers);
      next.rax = SYS_restart_syscall | (registers.orig_rax & kX32);
      return next;
    default: return registers;
  }
}

}  // namespace

bool can_borrow_calls() noexcept {
  return true;
}

int read_registers(pid_t thread, ThreadRegisters& registers) noexcept {
  return ::ptrace(PTRACE_GETREGS, thread, nullptr, &registers) == 0 ? 0 : errno;
}

int write_registers(pid_t thread, const ThreadRegisters& registers) noexcept {
  return ::ptrace(PTRACE_SETREGS, thread, nullptr, &registers) == 0 ? 0 : errno;
}

bool is_64_bit(pid_t thread, const ThreadRegisters& registers) noexcept {
  // `int 0x80` makes 32-bit calls, which have other numbers, even from 64-bit code.
  __ptrace_syscall_info call{};
  const auto kind = static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO);
  const bool is_known = ::ptrace(kind, thread, sizeof call, &call) > 0;
  return registers.cs == kCode64 && (!is_known || call.arch == AUDIT_ARCH_X86_64);
}

std::uint64_t instruction_of(const ThreadRegisters& registers) noexcept {
  return registers.rip;
}

std::uint64_t stack_of(const ThreadRegisters& registers) noexcept {
  return registers.rsp;
}

CallResult call_of(const ThreadRegisters& registers) noexcept {
  const auto call = static_cast<long>(registers.orig_rax);
  return call < 0 ? CallResult{} : CallResult{call, static_cast<long>(registers.rax)};
}

ThreadRegisters again(ThreadRegisters registers) noexcept {
  registers.rax = registers.orig_rax;
  registers.rip -= kCallBytes;
  registers.orig_rax = static_cast<unsigned long long>(-1);
  return registers;
}

ThreadRegisters at_address(ThreadRegisters registers, std::uint64_t address) noexcept {
  registers.rip = address;
  registers.orig_rax = static_cast<unsigned long long>(-1);
  return registers;
}

std::vector<std::uint8_t> stub_for(const ThreadState& state) {
  const ThreadRegisters back = restarted(state.registers);
  Code code;
  const std::size_t all = code.set_mask();
  code.mov_eax(SYS_userfaultfd);
  code.mov_edi(O_CLOEXEC | O_NONBLOCK | kUserModeOnly);
  code.call();
  code.bytes({0x89, 0xc7});  // mov edi, eax: a descriptor, or an error that close() refuses
  code.mov_eax(SYS_close);
  code.call();
  const std::size_t old = code.set_mask();
  // Each call changes rax, rcx and r11. The other registers held its arguments.
  code.bytes({0x48, 0xb8}), code.number(back.rax, 8);
  code.bytes({0x48, 0xb9}), code.number(back.rcx, 8);
  code.bytes({0x48, 0xba}), code.number(back.rdx, 8);
  code.bytes({0x48, 0xbe}), code.number(back.rsi, 8);
  code.bytes({0x48, 0xbf}), code.number(back.rdi, 8);
  code.bytes({0x49, 0xba}), code.number(back.r10, 8);
  code.bytes({0x49, 0xbb}), code.number(back.r11, 8);
  code.bytes({0xff, 0x25}), code.number(0, 4);  // jmp [rip]: to the address behind it
  code.number(back.rip, 8);
  code.point(all);
  code.number(~std::uint64_t{0}, 8);
  code.point(old);
  code.number(state.blocked, 8);
  return code.take();
}

#else

bool can_borrow_calls() noexcept {
  return false;
}
int read_registers(pid_t /*thread*/, ThreadRegisters& /*registers*/) noexcept {
  return ENOSYS;
}
int write_registers(pid_t /*thread*/, const ThreadRegisters& /*registers*/) noexcept {
  return ENOSYS;
}
bool is_64_bit(pid_t /*thread*/, const ThreadRegisters& /*registers*/) noexcept {
  return false;
}
std::uint64_t instruction_of(const ThreadRegisters& /*registers*/) noexcept {
  return 0;
}
std::uint64_t stack_of(const ThreadRegisters& /*registers*/) noexcept {
  return 0;
}
CallResult call_of(const ThreadRegisters& /*registers*/) noexcept {
  return {};
}
ThreadRegisters again(ThreadRegisters registers) noexcept {
  return registers;
}
ThreadRegisters at_address(ThreadRegisters registers, std::uint64_t /*address*/) noexcept {
  return registers;
}
std::vector<std::uint8_t> stub_for(const ThreadState& /*state*/) {
  return {};
}

#endif

}  // namespace shmif::perf
