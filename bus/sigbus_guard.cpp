#include "bus/sigbus_guard.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "bus/fork_guard.hpp"

namespace shmif::bus {
namespace {

// Read by the signal handler, so nothing here locks or allocates.
struct Entry {
  std::atomic<std::byte*> base{nullptr};
  std::atomic<std::size_t> bytes{0};
  std::atomic<bool> used{false};
  std::atomic<bool> lost{false};
  /// Of the process that has the mapping; in its children, something else may be at that place.
  std::atomic<std::uint64_t> token{0};
};
std::array<Entry, 1024> entries;
struct sigaction older{};
std::atomic<bool> installed{false};

/// Result: whether it did. By the bare system call: a sanitizer's own mmap() may take the very lock
/// that the faulting access holds.
bool map_zeros(std::byte* base, std::size_t bytes) noexcept {
  return syscall(SYS_mmap, base, bytes, long{PROT_READ | PROT_WRITE},
                 long{MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED}, -1L, 0L) != -1;
}

bool replace_by_zeros(const std::byte* fault) noexcept {
  for (Entry& e : entries) {
    std::byte* base = e.base.load(std::memory_order_acquire);
    const std::size_t bytes = e.bytes.load(std::memory_order_relaxed);
    if (base == nullptr || fault < base || fault >= base + bytes) continue;
    if (!is_this_process(e.token.load(std::memory_order_relaxed))) continue;
    if (map_zeros(base, bytes)) {
      e.lost.store(true, std::memory_order_release);
      return true;
    }
    return false;
  }
  return false;
}

void on_sigbus(int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  if (replace_by_zeros(static_cast<const std::byte*>(info->si_addr))) {
    errno = saved;
    return;
  }
  if ((older.sa_flags & SA_SIGINFO) != 0) {
    older.sa_sigaction(number, info, context);
  } else if (older.sa_handler != SIG_DFL && older.sa_handler != SIG_IGN) {
    older.sa_handler(number);
  } else {
    // Not ours: the access faults again on return, and ends the process as it would have without
    // us.
    struct sigaction standard{};
    standard.sa_handler = SIG_DFL;
    sigaction(SIGBUS, &standard, nullptr);
  }
}

}  // namespace

bool install_sigbus_guard() noexcept {
  if (installed.exchange(true)) return true;
  struct sigaction action{};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &older) == 0) return true;
  installed.store(false);
  return false;
}

bool sigbus_guard_is_installed() noexcept {
  return installed.load();
}

GuardedRange::GuardedRange(std::byte* base, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& e = entries[i];
    if (e.used.exchange(true)) continue;
    e.lost.store(false);
    e.bytes.store(bytes);
    e.token.store(process_token());
    e.base.store(base, std::memory_order_release);
    entry_ = static_cast<int>(i);
    return;
  }
}

GuardedRange::~GuardedRange() {
  if (entry_ < 0) return;
  Entry& e = entries[static_cast<std::size_t>(entry_)];
  e.base.store(nullptr);
  e.used.store(false);
}

bool GuardedRange::lost() const noexcept {
  return entry_ >= 0 &&
         entries[static_cast<std::size_t>(entry_)].lost.load(std::memory_order_acquire);
}

}  // namespace shmif::bus
