#include "base/fork_guard.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace shmif::base {
namespace {

using Token = std::atomic<std::uint64_t>;
std::atomic<Token*> known_page{nullptr};

// A page that the kernel wipes in every child, however the child is made; pthread_atfork would miss
// raw clones. Result: nullptr if there is no memory; the next call tries again.
Token* wiped_page() noexcept {
  Token* page = known_page.load(std::memory_order_acquire);
  if (page != nullptr) return page;
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  if (madvise(p, size, MADV_WIPEONFORK) == 0 &&
      known_page.compare_exchange_strong(page, static_cast<Token*>(p))) {
    return static_cast<Token*>(p);
  }
  const int error = errno;
  munmap(p, size);
  errno = error;
  return page;  // the page of another thread, or nullptr
}

std::atomic<std::uint64_t> tokens_drawn{0};  // children inherit the count, so their tokens differ

// A ForkHold or a thread inside fork() holds this lock. The lock is in the wiped page, too, so the
// kernel frees it in a child whose fork it could not delay.
std::atomic<std::uint32_t>* fork_lock() noexcept {
  Token* page = wiped_page();
  return page == nullptr ? nullptr : reinterpret_cast<std::atomic<std::uint32_t>*>(page + 1);
}

/// Result: whether forks are locked now; false if there is no memory for the lock.
bool lock_forks() noexcept {
  std::atomic<std::uint32_t>* lock = fork_lock();
  if (lock == nullptr) return false;
  while (lock->exchange(1, std::memory_order_acquire) != 0) lock->wait(1);
  return true;
}

void unlock_forks() noexcept {
  std::atomic<std::uint32_t>* lock = fork_lock();
  lock->store(0, std::memory_order_release);
  lock->notify_all();
}

// Called before and after a fork. A process that has not attached yet locks, too: another thread
// may attach before the child is made.
thread_local bool fork_holds = false;
void before_fork() noexcept {
  fork_holds = lock_forks();
}
void after_fork() noexcept {
  if (fork_holds) unlock_forks();
}
// The kernel has wiped the page, but qemu-user has not: it accepts MADV_WIPEONFORK and ignores it.
// Without this handler, a child that forks or attaches would wait for its parent's lock for ever.
void after_fork_in_child() noexcept {
  Token* page = known_page.load();
  if (page == nullptr) return;
  page->store(0);
  fork_lock()->store(0);
}

// This runs before main(): if another thread forked during the registration, its child would keep
// it half done. If there is no memory for the registration, forks are not delayed.
[[maybe_unused]] const bool forks_are_watched =
    pthread_atfork(before_fork, after_fork, after_fork_in_child) == 0;

}  // namespace

ForkHold::ForkHold() noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before_);
  locked_ = lock_forks();
}

ForkHold::~ForkHold() {
  if (locked_) unlock_forks();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::uint64_t process_token() noexcept {
  Token* page = wiped_page();
  if (page == nullptr) return 0;
  std::uint64_t token = page->load();
  if (token != 0) return token;
  const std::uint64_t fresh = tokens_drawn.fetch_add(1) + 1;
  return page->compare_exchange_strong(token, fresh) ? fresh : token;
}

bool is_this_process(std::uint64_t token) noexcept {
  const Token* page = wiped_page();
  return page == nullptr || page->load(std::memory_order_relaxed) == token;
}

}  // namespace shmif::base
