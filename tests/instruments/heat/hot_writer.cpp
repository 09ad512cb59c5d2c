// hot_writer MEBIBYTES [SECONDS]: a program that does not use the library. It prints the address of
// so much private memory, and the numbers of the first and of the last page of a tenth of it; then
// it writes these pages, and reads all others, again and again. It ends by itself after a minute,
// or so many seconds.

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

int main(int count, char** words) {
  const std::size_t page = 4096;
  const std::size_t bytes = (count > 1 ? std::strtoul(words[1], nullptr, 10) : 64) << 20U;
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return 1;
  auto* const memory = static_cast<volatile unsigned char*>(at);
  const std::size_t pages = bytes / page;
  for (std::size_t i = 0; i < pages; ++i) memory[i * page] = 1;
  const std::size_t first = pages / 3;
  const std::size_t end = first + pages / 10;
  std::printf("%p %zu %zu\n", at, first, end);
  std::fflush(stdout);
  const std::chrono::seconds lives(count > 2 ? std::strtol(words[2], nullptr, 10) : 60);
  const auto stop = std::chrono::steady_clock::now() + lives;
  unsigned sum = 0;
  while (std::chrono::steady_clock::now() < stop) {
    for (std::size_t i = first; i < end; ++i) memory[i * page] = static_cast<unsigned char>(sum);
    for (std::size_t i = 0; i < pages; ++i) sum += memory[i * page];
    ::usleep(500);
  }
  return 0;
}
