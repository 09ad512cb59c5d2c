// known_load faults N switches N syscalls N threads N children N burn MS: a program whose events
// are known. Each thread of each child does all of it. rising N: N threads start one after the
// other, and stay for 20 s. churning MS: for so long, each thread that ends is followed by one.

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

std::map<std::string, long> numbers;

__attribute__((noinline)) void touch_pages(long pages) {
  if (pages == 0) return;
  constexpr std::size_t kPage = 4096;
  const std::size_t bytes = kPage * static_cast<std::size_t>(pages);
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) ::_exit(1);
  ::madvise(memory, bytes, MADV_NOHUGEPAGE);
  for (std::size_t at = 0; at < bytes; at += kPage) static_cast<volatile char*>(memory)[at] = 1;
  ::munmap(memory, bytes);
}

void work() {
  touch_pages(numbers["faults"]);
  for (long i = 0; i < numbers["switches"]; ++i) ::usleep(100);
  for (long i = 0; i < numbers["syscalls"]; ++i) ::syscall(SYS_getppid);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(numbers["burn"]);
  while (numbers["burn"] > 0 && std::chrono::steady_clock::now() < end) {
  }
}

void rise() {
  std::vector<std::jthread> threads;
  for (long i = 0; i < numbers["rising"]; ++i) threads.emplace_back([] { ::sleep(20); });
}

void churn() {
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(numbers["churning"]);
  while (numbers["churning"] > 0 && std::chrono::steady_clock::now() < end) {
    const std::jthread thread([] {});
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (const char* name : {"faults", "switches", "syscalls", "burn"}) numbers[name] = 0;
  for (int i = 1; i + 1 < argc; i += 2) numbers[argv[i]] = std::atol(argv[i + 1]);
  for (long i = 0; i < numbers["children"]; ++i) {
    if (::fork() == 0) {
      work();
      ::_exit(0);
    }
  }
  std::vector<std::jthread> threads;
  rise();
  churn();
  for (long i = 0; i < numbers["threads"]; ++i) threads.emplace_back(work);
  work();
  threads.clear();
  while (::wait(nullptr) > 0) {
  }
  return numbers.contains("status") ? static_cast<int>(numbers["status"]) : 0;
}
