#pragma once
// What a system call in another process needs to know about the processor: registers, and a piece
// of code. All that depends on the processor is in machine.cpp. To support another processor, write
// that file for it.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#if defined(__x86_64__)
#include <sys/user.h>
#endif

namespace shmif::perf {

#if defined(__x86_64__)
using ThreadRegisters = user_regs_struct;
#else
struct ThreadRegisters {};
#endif

/// Where a thread is, and which signals it has blocked.
struct ThreadState {
  ThreadRegisters registers{};
  std::uint64_t blocked = 0;
};

/// Whether machine.cpp has such a piece of code for this processor.
bool can_borrow_calls() noexcept;
/// Reads or writes the registers of a thread that is stopped by ptrace. Result: 0, or an errno.
int read_registers(pid_t thread, ThreadRegisters& registers) noexcept;
int write_registers(pid_t thread, const ThreadRegisters& registers) noexcept;

/// Whether the thread executes 64-bit code, and any call that it is about to return from is a
/// 64-bit call.
bool is_64_bit(pid_t thread, const ThreadRegisters& registers) noexcept;
std::uint64_t instruction_of(const ThreadRegisters& registers) noexcept;
std::uint64_t stack_of(const ThreadRegisters& registers) noexcept;
/// The system call from which the thread is about to return, and what that returns (-errno). `call`
/// is -1 if there is no such call.
struct CallResult {
  long call = -1;
  long value = 0;
};
CallResult call_of(const ThreadRegisters& registers) noexcept;
/// Registers with which the thread makes its call once more. Use it only if the thread is about to
/// return from a call.
ThreadRegisters again(ThreadRegisters registers) noexcept;
/// Registers with which the thread continues at `address`. The kernel then does not restart a call.
ThreadRegisters at_address(ThreadRegisters registers, std::uint64_t address) noexcept;

/// The code that borrow_userfaultfd() puts into a process (perf/inject/borrow.hpp says why it has
/// this form): it blocks all signals, makes a userfaultfd, closes it, restores the blocked signals
/// and the registers of `state`, and continues there. It restarts an interrupted call as the kernel
/// would have done. Result: at most kStubBytes.
inline constexpr std::size_t kStubBytes = 192;
std::vector<std::uint8_t> stub_for(const ThreadState& state);
/// All stubs begin with the same bytes, so that a stub that was left behind can be recognised.
inline constexpr std::size_t kStubHeadBytes = 8;

}  // namespace shmif::perf
