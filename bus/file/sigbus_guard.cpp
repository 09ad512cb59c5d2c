#include "bus/file/sigbus_guard.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <mutex>
#include <new>

#include "base/fork_guard.hpp"

namespace shmif::bus {

// Read by the signal handler, so nothing here locks or allocates.
struct GuardedRange::Entry {
  std::atomic<std::byte*> base{nullptr};
  std::atomic<std::size_t> bytes{0};
  std::atomic<bool> used{false};
  std::atomic<bool> lost{false};
  /// Token of the process that has the mapping. In its children, another mapping may be at that
  /// address.
  std::atomic<std::uint64_t> token{0};
};

namespace {

using Entry = GuardedRange::Entry;

/// Entries in blocks; the list of blocks only grows.
struct Block {
  std::array<Entry, 256> entries;
  std::atomic<Block*> next{nullptr};
};
Block first_block;
struct sigaction older_action{};
std::atomic<bool> installed{false};

/// Result: nullptr if all entries are in use and there is no memory for more.
Entry* take_entry() noexcept {
  for (Block* block = &first_block;;) {
    for (Entry& e : block->entries) {
      if (!e.used.exchange(true)) return &e;
    }
    Block* next = block->next.load(std::memory_order_acquire);
    if (next == nullptr) {
      auto more = std::unique_ptr<Block>(new (std::nothrow) Block);
      if (!more) return nullptr;
      if (block->next.compare_exchange_strong(next, more.get())) next = more.release();
    }
    block = next;
  }
}

/// Result: whether it succeeded. Uses the bare system call: a sanitizer's own mmap() may take the
/// very lock that the faulting access holds.
bool map_zeros(std::byte* base, std::size_t bytes) noexcept {
  return syscall(SYS_mmap, base, bytes, long{PROT_READ | PROT_WRITE},
                 long{MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED}, -1L, 0L) != -1;
}

/// Replaces this mapping by zeros if `fault` lies in it. Result: whether it did.
bool replace_by_zeros(Entry& e, const std::byte* fault) noexcept {
  std::byte* base = e.base.load(std::memory_order_acquire);
  const std::size_t bytes = e.bytes.load(std::memory_order_acquire);
  // If another thread gave the entry to another mapping meanwhile, `bytes` may be of that one.
  if (e.base.load(std::memory_order_relaxed) != base) return false;
  if (base == nullptr || fault < base || fault >= base + bytes) return false;
  if (!base::is_this_process(e.token.load(std::memory_order_relaxed)) || !map_zeros(base, bytes))
    return false;
  e.lost.store(true, std::memory_order_release);
  return true;
}

bool replace_by_zeros(const std::byte* fault) noexcept {
  for (Block* block = &first_block; block != nullptr;
       block = block->next.load(std::memory_order_acquire)) {
    for (Entry& e : block->entries) {
      if (replace_by_zeros(e, fault)) return true;
    }
  }
  return false;
}

void on_sigbus(int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  const bool sent = info->si_code <= 0;  // by kill(2): info has no address
  if (!sent && replace_by_zeros(static_cast<const std::byte*>(info->si_addr))) {
    errno = saved;
    return;
  }
  if (older_action.sa_handler == SIG_IGN && sent) return;
  if (older_action.sa_handler == SIG_DFL || older_action.sa_handler == SIG_IGN) {
    // Not a fault in a bus: on return, the access faults again, and ends the process as usual. A
    // signal that was sent is sent again.
    struct sigaction standard{};
    standard.sa_handler = SIG_DFL;
    sigaction(SIGBUS, &standard, nullptr);
    if (sent) raise(number);
  } else if ((older_action.sa_flags & SA_SIGINFO) != 0) {
    older_action.sa_sigaction(number, info, context);
  } else {
    older_action.sa_handler(number);
  }
}

}  // namespace

bool install_sigbus_guard() noexcept {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  if (installed.load()) return true;
  struct sigaction action{};
  action.sa_sigaction = on_sigbus;
  // Uses the alternate stack of a thread that has one: the thread's own stack may be too small for
  // a handler (Go's are), and the Go runtime ends a program whose handlers lack the flag.
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  // Read the older action before a fault can need it; and again, because another thread may have
  // changed it.
  struct sigaction before{};
  if (sigaction(SIGBUS, nullptr, &older_action) != 0 || sigaction(SIGBUS, &action, &before) != 0)
    return false;
  older_action = before;
  installed.store(true);
  return true;
}

bool renew_sigbus_guard() noexcept {
  installed.store(false);
  return install_sigbus_guard();
}

bool sigbus_guard_is_installed() noexcept {
  return installed.load();
}

GuardedRange::GuardedRange(std::byte* base, std::size_t bytes) noexcept : entry_(take_entry()) {
  if (entry_ == nullptr) return;
  entry_->lost.store(false);
  entry_->bytes.store(bytes);
  entry_->token.store(base::process_token());
  entry_->base.store(base, std::memory_order_release);
}

GuardedRange::~GuardedRange() {
  if (entry_ == nullptr) return;
  entry_->base.store(nullptr);
  entry_->used.store(false);
}

bool GuardedRange::lost() const noexcept {
  return entry_ != nullptr && entry_->lost.load(std::memory_order_acquire);
}

}  // namespace shmif::bus
