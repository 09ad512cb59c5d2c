#include "bus/fork_guard.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

namespace shmif::bus {
namespace {

// A page that the kernel wipes in every child, however it was cloned; pthread_atfork would miss raw
// clones.
std::atomic<std::uint64_t>* wiped_page() noexcept {
  static std::atomic<std::uint64_t>* const page = [] {
    const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return static_cast<std::atomic<std::uint64_t>*>(nullptr);
    static_cast<void>(madvise(p, size, MADV_WIPEONFORK));
    return static_cast<std::atomic<std::uint64_t>*>(p);
  }();
  return page;
}

std::atomic<std::uint64_t> tokens_drawn{0};  // inherited by children, so their tokens differ

}  // namespace

std::uint64_t process_token() noexcept {
  std::atomic<std::uint64_t>* page = wiped_page();
  if (page == nullptr) return 0;
  std::uint64_t token = page->load();
  if (token != 0) return token;
  const std::uint64_t fresh = tokens_drawn.fetch_add(1) + 1;
  return page->compare_exchange_strong(token, fresh) ? fresh : token;
}

bool is_this_process(std::uint64_t token) noexcept {
  const std::atomic<std::uint64_t>* page = wiped_page();
  return page == nullptr || page->load(std::memory_order_relaxed) == token;
}

}  // namespace shmif::bus
