#include "instruments/watch/exec_stop.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#if defined(__x86_64__)
#include <linux/capability.h>
#include <sys/user.h>

#include "instruments/watch/kernel_files.hpp"
#endif

namespace shmif::perf {

#if defined(__x86_64__)

namespace {

constexpr std::uint64_t kCode64 = 0x33;  ///< the segment of 64-bit code; 32-bit code has 0x23
constexpr std::string_view kSyscall("\x0f\x05", 2);
constexpr int kCallStop = SIGTRAP | 0x80;                         // PTRACE_O_TRACESYSGOOD
constexpr int kExecStop = SIGTRAP | (PTRACE_EVENT_EXEC << 8);     // NOLINT(hicpp-signed-bitwise)
constexpr auto kGetMask = static_cast<__ptrace_request>(0x420a);  // PTRACE_GETSIGMASK
constexpr auto kSetMask = static_cast<__ptrace_request>(0x420b);  // PTRACE_SETSIGMASK

Error cannot(int number, const char* remedy = "") {
  return Error::from_errno(number, "cannot stop the program at its beginning", remedy);
}

/// Where the vDSO has a `syscall` instruction. All 64-bit programs have the same vDSO as we.
std::optional<std::uint64_t> offset_of_syscall() noexcept {
  const auto image = ::getauxval(AT_SYSINFO_EHDR);
  if (image == 0) return std::nullopt;
  // NOLINTBEGIN(performance-no-int-to-ptr): the kernel gives the address as a number
  const auto& head = *reinterpret_cast<const Elf64_Ehdr*>(image);
  const auto* const parts = reinterpret_cast<const Elf64_Phdr*>(image + head.e_phoff);
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    if (parts[i].p_type != PT_LOAD || parts[i].p_offset != 0) continue;
    const std::string_view code(reinterpret_cast<const char*>(image), parts[i].p_memsz);
    const std::size_t found = code.find(kSyscall);
    return found == std::string_view::npos ? std::nullopt : std::optional<std::uint64_t>(found);
  }
  // NOLINTEND(performance-no-int-to-ptr)
  return std::nullopt;
}

/// Where the kernel has put the vDSO of another process.
std::optional<std::uint64_t> vdso_of(pid_t pid) {
  const auto text = KernelFiles().read("/proc/" + std::to_string(pid) + "/auxv");
  Elf64_auxv_t entry{};
  for (std::size_t at = 0; text && at + sizeof entry <= text->size(); at += sizeof entry) {
    std::memcpy(&entry, text->data() + at, sizeof entry);
    if (entry.a_type == AT_SYSINFO_EHDR) return entry.a_un.a_val;
  }
  return std::nullopt;
}

/// Traces a child from before execve(2) until the object is destroyed.
class TracedBeginning {
 public:
  explicit TracedBeginning(pid_t pid) : pid_(pid) {
    constexpr std::uintptr_t kOptions =
        PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD;
    is_traced_ = ::ptrace(PTRACE_SEIZE, pid_, nullptr, kOptions) == 0;
    error_ = is_traced_ ? 0 : errno;
  }
  TracedBeginning(const TracedBeginning&) = delete;
  TracedBeginning& operator=(const TracedBeginning&) = delete;
  ~TracedBeginning() {
    if (is_traced_) ::ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
  }
  /// 0, or why it is not traced.
  int error() const noexcept { return error_; }

  /// Waits until the program is loaded, and makes its process call userfaultfd(2) and close(2).
  Result<UniqueFd> take_userfaultfd() {
    // The first call stop is the end of execve(2).
    if (!next_stop(kExecStop, PTRACE_CONT) || !go_on(PTRACE_SYSCALL) ||
        !next_stop(kCallStop, PTRACE_SYSCALL)) {
      return cannot(ESRCH);
    }
    std::uint64_t blocked = 0;
    if (::ptrace(PTRACE_GETREGS, pid_, nullptr, &before_) != 0 ||
        ::ptrace(kGetMask, pid_, sizeof blocked, &blocked) != 0) {
      return cannot(errno);
    }
    if (before_.cs != kCode64) {
      return Error(Errc::not_supported, "the program executes 32-bit code");
    }
    const auto offset = offset_of_syscall();
    const auto vdso = vdso_of(pid_);
    if (!offset || !vdso || !is_syscall(*vdso + *offset)) {
      return Error(Errc::not_supported, "the program has no vDSO (boot with vdso=1)");
    }
    instruction_ = *vdso + *offset;
    const std::uint64_t all = ~std::uint64_t{0};
    ::ptrace(kSetMask, pid_, sizeof all, &all);
    auto file = borrow();
    ::ptrace(PTRACE_SETREGS, pid_, nullptr, &before_);
    ::ptrace(kSetMask, pid_, sizeof blocked, &blocked);
    return file;
  }

 private:
  Result<UniqueFd> borrow() {
    constexpr int kUserModeOnly = 1;
    const auto number = call(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly);
    if (!number) return cannot(ESRCH);
    if (*number < 0) return Error::from_errno(static_cast<int>(-*number), "userfaultfd(2)");
    const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    UniqueFd file(static_cast<int>(::syscall(SYS_pidfd_getfd, handle.get(), *number, 0)));
    const int error = errno;
    if (!call(SYS_close, static_cast<std::uint64_t>(*number))) return cannot(ESRCH);
    if (!file) return Error::from_errno(error, "cannot get a descriptor of the program");
    return file;
  }

  /// Makes the process call the kernel. Result: what the call returned; empty if the process ended.
  std::optional<long> call(long number, std::uint64_t argument) {
    user_regs_struct registers = before_;
    registers.rip = instruction_;
    registers.rax = static_cast<std::uint64_t>(number);
    registers.orig_rax = ~std::uint64_t{0};  // no call to restart
    registers.rdi = argument;
    if (::ptrace(PTRACE_SETREGS, pid_, nullptr, &registers) != 0) return std::nullopt;
    for (int stops = 0; stops < 2; ++stops) {  // the begin and the end of the call
      if (!go_on(PTRACE_SYSCALL) || !next_stop(kCallStop, PTRACE_SYSCALL)) return std::nullopt;
    }
    if (::ptrace(PTRACE_GETREGS, pid_, nullptr, &registers) != 0) return std::nullopt;
    return static_cast<long>(registers.rax);
  }

  bool is_syscall(std::uint64_t address) const noexcept {
    errno = 0;
    const long word = ::ptrace(PTRACE_PEEKTEXT, pid_, address, nullptr);
    return errno == 0 && std::memcmp(&word, kSyscall.data(), kSyscall.size()) == 0;
  }

  bool go_on(__ptrace_request how, int signal = 0) const noexcept {
    return ::ptrace(how, pid_, nullptr, static_cast<std::uintptr_t>(signal)) == 0;
  }

  /// Waits for this stop, and passes on signals on the way. Result: false if the process ended.
  bool next_stop(int wanted, __ptrace_request how) const noexcept {
    for (;;) {  // until the stop, or the end
      siginfo_t seen{};
      // WNOWAIT: if the process has ended, HeldChild still has to learn how.
      const int got =
          ::waitid(P_PID, static_cast<id_t>(pid_), &seen, WSTOPPED | WEXITED | WNOWAIT | __WALL);
      if (got != 0 && errno == EINTR) continue;
      int status = 0;
      if (got != 0 || (seen.si_code != CLD_TRAPPED && seen.si_code != CLD_STOPPED) ||
          ::waitpid(pid_, &status, __WALL) != pid_ || !WIFSTOPPED(status)) {
        return false;
      }
      constexpr unsigned kStopShift = 8, kEventShift = 16;
      const unsigned stop = static_cast<unsigned>(status) >> kStopShift;
      if (stop == static_cast<unsigned>(wanted)) return true;
      // A process that was stopped by a signal runs on, and is stopped again when it is let go.
      const bool is_event = static_cast<unsigned>(status) >> kEventShift != 0;
      const int signal = is_event || WSTOPSIG(status) == kCallStop ? 0 : WSTOPSIG(status);
      if (!go_on(how, signal)) return false;
    }
  }

  pid_t pid_;
  bool is_traced_ = false;
  int error_ = 0;
  user_regs_struct before_{};
  std::uint64_t instruction_ = 0;
};

/// Whether a program that we trace keeps the rights that its file gives it.
bool keeps_rights() noexcept {
  return ::geteuid() == 0 && ::prctl(PR_CAPBSET_READ, CAP_SYS_PTRACE) == 1;
}

}  // namespace

bool can_call_at_exec() noexcept {
  return true;
}

BegunProgram begin_with_userfaultfd(HeldChild& child) {
  if (child.gains_rights() && !keeps_rights()) {
    Error why(Errc::not_supported,
              "the file of the program gives it rights (set-user-ID or capabilities), which the "
              "kernel would not give to a program that is stopped at its beginning (run heat as "
              "root)");
    return {child.release(), std::move(why)};
  }
  TracedBeginning traced(child.pid());
  if (traced.error() != 0) {
    Error why = cannot(traced.error(),
                       "does another program trace it, as strace -f does? Is "
                       "kernel.yama.ptrace_scope above 1?");
    return {child.release(), std::move(why)};
  }
  Result<UniqueFd> file = cannot(ESRCH);
  auto begun = child.release([&] { file = traced.take_userfaultfd(); });
  return {std::move(begun), std::move(file)};
}

#else

bool can_call_at_exec() noexcept {
  return false;
}

BegunProgram begin_with_userfaultfd(HeldChild& child) {
  return {child.release(),
          Error(Errc::not_supported, "heat sees the pages that a program writes on x86-64 only")};
}

#endif

}  // namespace shmif::perf
