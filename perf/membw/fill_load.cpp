#include "perf/membw/fill_load.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "perf/stats/clock.hpp"

namespace shmif::perf {
namespace {

using Clock = std::chrono::steady_clock;

/// Fresh pages: each thread touches its own first, so they are on its node.
class Pages {
 public:
  explicit Pages(std::size_t bytes) : bytes_(bytes) {
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return;
    at_ = static_cast<std::byte*>(at);
    ::madvise(at, bytes, MADV_HUGEPAGE);
  }
  Pages(Pages&& other) noexcept : at_(std::exchange(other.at_, nullptr)), bytes_(other.bytes_) {}
  Pages& operator=(Pages&&) = delete;
  ~Pages() {
    if (at_ != nullptr) ::munmap(at_, bytes_);
  }
  std::byte* data() const noexcept { return at_; }

 private:
  std::byte* at_ = nullptr;
  std::size_t bytes_;
};

unsigned own_cpus() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return std::max(1U, static_cast<unsigned>(CPU_COUNT(&allowed)));
}

std::uint64_t usual_buffer(unsigned threads) {
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 20U;
  constexpr std::uint64_t kMax = std::uint64_t{512} << 20U;
  constexpr std::uint64_t kTimesCache = 8;
  const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  const std::uint64_t share = cache > 0 ? kTimesCache * static_cast<std::uint64_t>(cache) : 0;
  // All buffers together take at most a quarter of the memory.
  const auto pages = static_cast<std::uint64_t>(std::max(::sysconf(_SC_PHYS_PAGES), 0L));
  const auto page = static_cast<std::uint64_t>(std::max(::sysconf(_SC_PAGESIZE), 1L));
  const std::uint64_t most = std::max(pages * page / 4 / threads, std::uint64_t{1} << 20U);
  return std::min(std::clamp(share / threads, kLeast, kMax), most);
}

}  // namespace

Result<FillResult> fill_memory(std::chrono::nanoseconds time, const FillOptions& options) {
  FillResult result;
  result.threads = options.threads != 0 ? options.threads : own_cpus();
  result.buffer_bytes =
      options.buffer_bytes != 0 ? options.buffer_bytes : usual_buffer(result.threads);
  const std::size_t half = std::max<std::size_t>(result.buffer_bytes / 2, 1);
  std::vector<Pages> buffers;
  for (unsigned each = 0; each < result.threads; ++each) {
    buffers.emplace_back(2 * half);
    if (buffers.back().data() == nullptr) return Error::from_errno(errno, "cannot fill memory");
  }
  constexpr std::uint64_t kBytesOfRound = 3;
  std::atomic<std::uint64_t> bytes = 0;
  Clock::time_point begin;
  std::barrier ready(static_cast<std::ptrdiff_t>(result.threads),
                     [&begin]() noexcept { begin = Clock::now(); });
  const auto work = [&](unsigned thread, std::byte* buffer) {
    FillProgress progress;
    const auto tell = [&](std::uint64_t read, std::uint64_t written) {
      progress.read += read;
      progress.written += written;
      progress.time_ns = now_ns();
      if (options.counts != nullptr) options.counts->set(thread, progress);
    };
    std::memset(buffer, 1, 2 * half);
    ready.arrive_and_wait();
    tell(0, 0);
    for (int pattern = 2; Clock::now() - begin < time; pattern = (pattern + 1) % 256) {
      std::memset(buffer, pattern, half);
      tell(0, half);
      std::memcpy(buffer + half, buffer, half);
      asm volatile(""
                   :
                   : "r"(buffer)
                   : "memory");  // nobody reads it, and it is written all the same
      tell(half, half);
      bytes.fetch_add(kBytesOfRound * half, std::memory_order_relaxed);
    }
  };
  std::vector<std::jthread> threads;
  threads.reserve(buffers.size());
  for (unsigned each = 0; each < result.threads; ++each) {
    threads.emplace_back(work, each, buffers[each].data());
  }
  threads.clear();  // waits for all of them
  result.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  result.bytes = bytes;
  return result;
}

}  // namespace shmif::perf
