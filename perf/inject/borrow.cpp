#include "perf/inject/borrow.hpp"

#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/proc.hpp"
#include "perf/inject/held_threads.hpp"
#include "perf/inject/machine.hpp"
#include "perf/inject/stub_room.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint64_t kWordBytes = 8;
constexpr std::size_t kMaxLink = 64;

// From linux/ptrace.h of Linux 5.13 and 6.4.
struct RseqSetting {
  std::uint64_t address;
  std::uint32_t size, signature, flags, padding;
};
struct DispatchSetting {
  std::uint64_t mode, selector, offset, length;
};
constexpr auto kGetRseq = static_cast<__ptrace_request>(0x420f);
constexpr auto kGetDispatch = static_cast<__ptrace_request>(0x4211);

template <class T>
std::optional<T> read_object(int memory, std::uint64_t address) {
  const auto bytes = read_memory(memory, address, sizeof(T));
  T object{};
  if (bytes.size() != sizeof object) return std::nullopt;
  std::memcpy(&object, bytes.data(), sizeof object);
  return object;
}

/// Holds the threads of one process, and makes one of them call userfaultfd(2).
class Borrowing {
 public:
  explicit Borrowing(const TaskId& process)
      : process_(process), name_("process " + std::to_string(process.number)), held_(process) {}

  Result<UniqueFd> run() {
    if (auto may = expect_permission(); !may) return std::move(may).error();
    handle_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, process_.number, 0)));
    if (!handle_) return refusal_to_trace(process_, errno);
    if (auto held = held_.hold(); !held) return std::move(held).error();
    if (!is_same()) return refusal_to_trace(process_, ESRCH);
    if (has_no_first_thread()) {
      return Error(Errc::not_supported, "the first thread of " + name_ +
                                            " has ended (pthread_exit(3)), so that /proc shows "
                                            "its memory no longer");
    }
    const std::string path = "/proc/" + std::to_string(process_.number) + "/mem";
    memory_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!memory_) return refusal_to_trace(process_, errno);
    // Check this before the vDSO: a 32-bit program has one for 32 bits.
    if (std::ranges::none_of(held_.threads(), is_64_bit_thread)) return executes_32_bit();
    const auto place = find_room();
    if (!place) return place.error();
    Error why(Errc::not_supported, "");
    comes_soon_ = false;
    for (HeldThread& each : held_.threads()) {
      if (std::string text; !can_enter(each, text)) {
        why = Error(Errc::not_supported, text);
        continue;
      }
      auto file = borrow_by(each, *place);
      if (file || !goes_on_) return file;
      why = file.error();
    }
    return why;
  }

  /// Whether another attempt in a moment would probably work.
  bool comes_soon() const noexcept { return comes_soon_; }

 private:
  std::string status_of(pid_t thread) const {
    const auto text = KernelFiles().read("/proc/" + std::to_string(process_.number) + "/task/" +
                                         std::to_string(thread) + "/status");
    return text ? *text : std::string();
  }

  bool is_same() const {
    const auto text = KernelFiles().read("/proc/" + std::to_string(process_.number) + "/stat");
    const auto stat = text ? read_task_stat(*text) : Result<TaskStat>(text.error());
    return stat && stat->start_ticks == process_.start_ticks;
  }

  /// Whether the first thread has ended. Call it while other threads are held.
  bool has_no_first_thread() const {
    return status_of(process_.number).find("\nState:\tZ") != std::string::npos;
  }

  /// Checks what can be known before any thread is stopped.
  Result<void> expect_permission() const {
    if (!can_borrow_calls()) {
      return Error(Errc::not_supported, "borrowing a call of another process works on x86-64 only");
    }
    if (process_.number == ::getpid()) {
      return Error(Errc::not_supported, "a process cannot stop itself");
    }
    const std::string status = status_of(process_.number);
    if (status.empty()) return refusal_to_trace(process_, ESRCH);
    const auto tracer = base::status_numbers(status, "TracerPid");
    if (!tracer.empty() && tracer[0] != 0) return refusal_to_trace(process_, EPERM);
    if (status.find("\nState:\tT") != std::string::npos) {
      return Error(Errc::busy, name_ + " is stopped by a signal (kill -CONT " +
                                   std::to_string(process_.number) + ')');
    }
    return filter_of(status);
  }

  Result<void> filter_of(const std::string& status) const {
    const auto filter = base::status_numbers(status, "Seccomp");
    if (filter.empty() || filter[0] == 0) return {};
    return Error(Errc::not_supported,
                 name_ +
                     " has a seccomp filter, which could end it at userfaultfd(2) (start it "
                     "without a filter: with Docker's --security-opt seccomp=unconfined, or "
                     "without systemd's SystemCallFilter=)");
  }

  static bool is_64_bit_thread(const HeldThread& thread) {
    return is_64_bit(thread.number, thread.state.registers);
  }
  Error executes_32_bit() const { return {Errc::not_supported, name_ + " executes 32-bit code"}; }

  bool can_enter(const HeldThread& thread, std::string& why) {
    if (const auto filter = filter_of(status_of(thread.number)); !filter) {
      why = filter.error().message;
      return false;
    }
    if (!is_64_bit_thread(thread)) {
      why = executes_32_bit().message;
      return false;
    }
    DispatchSetting dispatch{};
    if (::ptrace(kGetDispatch, thread.number, sizeof dispatch, &dispatch) == 0 &&
        dispatch.mode != 0) {
      why = name_ + " handles its own system calls (PR_SET_SYSCALL_USER_DISPATCH)";
      return false;
    }
    // The thread is in an old stub, which must stay until it has left. So do not lead the thread
    // into another stub (S2).
    if (room_.contains(instruction_of(thread.state.registers))) {
      why = name_ + " is still in the code of a monitor that was killed (try again)";
      comes_soon_ = true;
      return false;
    }
    if (is_in_sequence(thread)) {
      comes_soon_ = true;
      why = name_ + " is in a restartable sequence (try again)";
      return false;
    }
    return true;
  }

  /// Whether the thread is inside a restartable sequence, which the kernel would make it start
  /// again (rseq(2)).
  bool is_in_sequence(const HeldThread& thread) const {
    RseqSetting setting{};
    if (::ptrace(kGetRseq, thread.number, sizeof setting, &setting) <= 0) return false;
    if (setting.address == 0) return false;
    constexpr std::uint64_t kOffsetOfSequence = 8;
    const auto sequence =
        read_object<std::uint64_t>(memory_.get(), setting.address + kOffsetOfSequence);
    if (!sequence || *sequence == 0) return false;
    struct Sequence {
      std::uint32_t version, flags;
      std::uint64_t begin, bytes, abort;
    };
    const auto code = read_object<Sequence>(memory_.get(), *sequence);
    return code && instruction_of(thread.state.registers) - code->begin < code->bytes;
  }

  /// S2: finds a place for the stub.
  Result<std::uint64_t> find_room() {
    const auto maps = KernelFiles().read("/proc/" + std::to_string(process_.number) + "/maps");
    if (!maps) return refusal_to_trace(process_, ESRCH);
    const auto vdso = vdso_in(*maps);
    const Error none(Errc::not_supported,
                     vdso ? "the vDSO of " + name_ + " has no room for the code that makes the call"
                          : name_ +
                                " has no vDSO, where the code that makes the call could lie "
                                "(boot with vdso=1)");
    if (!vdso) return none;
    const auto room =
        StubRoom::behind(*vdso, read_memory(memory_.get(), vdso->begin, vdso->end - vdso->begin));
    if (!room) return none;
    room_ = *room;
    if (const auto empty = room_.empty_place()) return *empty;
    const auto left = room_.left_behind();
    if (left.empty()) return none;
    // Only if we hold a thread do we know where it is, and that it stays there.
    if (auto all = held_.hold_rest(); !all) return all.error();
    const auto unused = std::ranges::find_if(left, [&](std::uint64_t at) { return !is_used(at); });
    return unused != left.end() ? Result<std::uint64_t>(*unused) : Result<std::uint64_t>(none);
  }

  /// Whether a thread is in this stub, or may return to it from a signal handler.
  bool is_used(std::uint64_t stub) const {
    constexpr std::size_t kStackBytes = std::size_t{256} << 10U;
    const auto is_in = [&](std::uint64_t address) { return address - stub < kStubBytes; };
    return std::ranges::any_of(held_.threads(), [&](const HeldThread& each) {
      if (is_in(instruction_of(each.state.registers))) return true;
      const std::uint64_t top = stack_of(each.state.registers) / kWordBytes * kWordBytes;
      const auto stack = read_memory(memory_.get(), top, kStackBytes);
      for (std::size_t at = 0; at + kWordBytes <= stack.size(); at += kWordBytes) {
        std::uint64_t word = 0;
        std::memcpy(&word, &stack[at], sizeof word);
        if (is_in(word)) return true;
      }
      return false;
    });
  }

  /// A stub is recognised by its first word. So that word is the first to be written and the last
  /// to be removed.
  bool write_stub(const HeldThread& thread, std::uint64_t at,
                  const std::vector<std::uint8_t>& code) {
    for (std::size_t i = 0; i < kStubBytes; i += kWordBytes) {
      if (!held_.poke(thread, at + i, word_of(code, i))) return false;
    }
    return true;
  }
  void remove_stub(const HeldThread& thread, std::uint64_t at) {
    for (std::size_t i = kStubBytes; i > 0; i -= kWordBytes) {
      held_.poke(thread, at + i - kWordBytes, 0);
    }
  }
  /// Call it only while no thread is led there. Only a stopped thread can remove the stub, so this
  /// tries all held threads.
  void remove_by_any(std::uint64_t at) {
    for (const HeldThread& each : held_.threads()) remove_stub(each, at);
  }
  static std::uint64_t word_of(const std::vector<std::uint8_t>& code, std::size_t at) {
    std::uint64_t word = 0;
    if (at < code.size()) std::memcpy(&word, &code[at], std::min(kWordBytes, code.size() - at));
    return word;
  }

  Result<UniqueFd> borrow_by(HeldThread& thread, std::uint64_t place) {
    constexpr int kTries = 20;
    goes_on_ = true;
    for (int i = 0; i < kTries; ++i) {
      if (!write_stub(thread, place, stub_for(thread.state)) ||
          !held_.set(thread, at_address(thread.state.registers, place))) {
        break;
      }
      debug(Debug::heat, [&] {
        return name_ + ": its thread " + std::to_string(thread.number) + " makes the call for us";
      });
      thread.is_lost = true;
      const int signal = follow_stub(thread);
      if (signal < 0) break;
      // A signal ends the call that it interrupts, so the call is not made again.
      if (signal > 0) thread.asks_again = false;
      // Restore the mask first. If we were killed after restoring only the registers, all signals
      // would stay blocked (S1).
      const bool is_back =
          (signal > 0 || held_.set_blocked(thread, thread.state.blocked)) && held_.set_back(thread);
      if (!is_back) break;
      thread.is_lost = false;
      thread.asks_again = false;
      if (signal == 0) {
        remove_stub(thread, place);
        goes_on_ = false;
        if (file_) return std::move(file_);
        return Error::from_errno(error_, name_ + " cannot make a userfaultfd(2)");
      }
      // Let the handler run where the thread was.
      ThreadStop stop = held_.to_next_stop(thread, signal);
      while (stop.kind == ThreadStop::Kind::signal) stop = held_.to_next_stop(thread, stop.signal);
      if (stop.kind != ThreadStop::Kind::trap || !held_.look_at(thread)) break;
      std::string why;
      const bool enters = can_enter(thread, why);
      if (enters && i + 1 < kTries) continue;
      remove_stub(thread, place);
      if (!enters) return Error(Errc::not_supported, why);
      return Error(Errc::busy, name_ + " gets signals all the time (try again)");
    }
    goes_on_ = false;
    // The process has ended, or this thread does not stop. In the second case another thread
    // removes the stub.
    if (!thread.is_lost) remove_by_any(place);
    return refusal_to_trace(process_, ESRCH);
  }

  /// Lets the thread run through the stub, and stops it behind the last call but one. Result: 0; or
  /// the number of a signal that came before the first call of the stub; below 0 if the thread has
  /// ended or does not stop.
  int follow_stub(const HeldThread& thread) {
    constexpr int kStops = 6;  // the beginnings and ends of three calls
    constexpr int kEndOfCall = 4;
    for (int stops = 0; stops < kStops;) {
      const ThreadStop stop = held_.to_next_call(thread);
      if (stop.kind == ThreadStop::Kind::trap) continue;
      if (stop.kind == ThreadStop::Kind::signal) {
        if (stops == 0) return stop.signal;
        return -1;  // all are blocked: only a signal that kills can come
      }
      if (stop.kind != ThreadStop::Kind::call) return -1;
      if (++stops == kEndOfCall) fetch(thread);
    }
    // From a stop of this kind, the kernel restarts calls and delivers signals.
    const ThreadStop stop = held_.to_next_stop(thread, 0);
    return stop.kind == ThreadStop::Kind::trap ? 0 : -1;
  }

  /// Fetches the descriptor, when the thread is at the end of its call of userfaultfd(2).
  void fetch(const HeldThread& thread) {
    HeldThread now = thread;
    error_ = ESRCH;
    if (!held_.look_at(now)) return;
    const long result = call_of(now.state.registers).value;
    if (result < 0) {
      error_ = static_cast<int>(-result);
      return;
    }
    file_ = UniqueFd(
        static_cast<int>(::syscall(SYS_pidfd_getfd, handle_.get(), static_cast<int>(result), 0)));
    error_ = errno;
    if (!file_) return;
    // A thread can have its own table of descriptors. Then this number may name another file.
    std::array<char, kMaxLink> link{};
    const std::string path = "/proc/self/fd/" + std::to_string(file_.get());
    const ssize_t length = ::readlink(path.c_str(), link.data(), link.size());
    if (std::string_view(link.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))) !=
        "anon_inode:[userfaultfd]") {
      file_.reset();
      error_ = EBADF;
    }
  }

  TaskId process_;
  std::string name_;
  UniqueFd handle_;
  UniqueFd memory_;
  HeldThreads held_;
  UniqueFd file_;
  int error_ = 0;
  StubRoom room_;
  bool comes_soon_ = false;
  bool goes_on_ = true;  ///< try the next thread if this one fails
};

}  // namespace

Result<UniqueFd> borrow_userfaultfd(const TaskId& process) {
  Result<UniqueFd> file = Error(Errc::not_supported, "");
  // Each attempt runs in a thread of its own. When that ends, the kernel lets go all threads that
  // it traces, also those that never stopped.
  constexpr std::chrono::milliseconds kPause(2);
  constexpr std::chrono::seconds kPatience(2);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  bool again = true;
  while (again) {
    std::thread([&] {
      Borrowing borrowing(process);
      file = borrowing.run();
      again = !file && borrowing.comes_soon() && std::chrono::steady_clock::now() < until;
    }).join();
    if (again) std::this_thread::sleep_for(kPause);
  }
  return file;
}

}  // namespace shmif::perf
