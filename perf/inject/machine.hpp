#pragma once
// What a system call in another process needs to know of the processor: registers, and a piece of
// code. All that depends on it is in machine.cpp; for another processor, write that file again.

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

/// Whether there is such a piece of code for this processor.
bool can_borrow_calls() noexcept;
/// Registers of a thread that is stopped by ptrace. Result: an errno; 0: done.
int read_registers(pid_t thread, ThreadRegisters& registers) noexcept;
int write_registers(pid_t thread, const ThreadRegisters& registers) noexcept;

/// It executes 64-bit code, and the call that it may be about to return from is a 64-bit one, too.
bool is_64_bit(pid_t thread, const ThreadRegisters& registers) noexcept;
std::uint64_t instruction_of(const ThreadRegisters& registers) noexcept;
std::uint64_t stack_of(const ThreadRegisters& registers) noexcept;
/// The system call from which the thread is about to return, and what that returns (-errno). A call
/// of -1: none.
struct CallResult {
  long call = -1;
  long value = 0;
};
CallResult call_of(const ThreadRegisters& registers) noexcept;
/// The thread makes its call once more. The caller knows that it is about to return from one.
ThreadRegisters again(ThreadRegisters registers) noexcept;
/// The thread continues at `address`; the kernel restarts no call for it.
ThreadRegisters at_address(ThreadRegisters registers, std::uint64_t address) noexcept;

/// The code that borrow_userfaultfd() puts into a process (perf/inject/borrow.hpp says why it has
/// this form): blocks all signals, makes a userfaultfd, closes it, takes back the blocked signals
/// and the registers of `state`, and continues there. A call that was interrupted is restarted, as
/// the kernel would have done it. At most kStubBytes.
inline constexpr std::size_t kStubBytes = 192;
std::vector<std::uint8_t> stub_for(const ThreadState& state);
/// Each begins with the same bytes, so that one that was left behind is known.
inline constexpr std::size_t kStubHeadBytes = 8;

}  // namespace shmif::perf
