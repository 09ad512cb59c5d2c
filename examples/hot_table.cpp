// A program that lets `shmifperf heat` see which pages of its table it uses, without privileges:
//
//   shmifperf heat -- ./hot_table 10000
//
// It writes to eight pages of its table again and again, and does not touch the others. Its
// argument is the number of rounds. Exit status 0: it has done so, and has taken part if SHMIF_HEAT
// asked for it.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>

#include <shmif/heat_share.hpp>

constexpr std::size_t kPages = 64;
constexpr std::size_t kFirstHot = 24, kHot = 8;

int main(int argc, char** argv) {
  const unsigned long rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 100;
  const auto page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t bytes = kPages * page_bytes;
  // Only a shared mapping can be watched: its pages stay in the file when this process drops them.
  void* const table =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (table == MAP_FAILED) return std::perror("hot_table: mmap"), 1;

  std::optional<shmif::HeatShare> share;  // destroyed before the memory
  if (shmif::HeatShare::is_wanted()) {
    auto shared = shmif::HeatShare::of(table, bytes, "table");
    if (!shared) return std::fprintf(stderr, "hot_table: %s\n", shared.error().message.c_str()), 1;
    share.emplace(*std::move(shared));
  }
  for (unsigned long round = 0; round < rounds; ++round) {
    for (std::size_t page = kFirstHot; page < kFirstHot + kHot; ++page) {
      static_cast<volatile unsigned char*>(table)[page * page_bytes] =
          static_cast<unsigned char>(round);
    }
    usleep(500);
  }
  std::printf("%lu rounds on pages %zu to %zu of %zu\n", rounds, kFirstHot, kFirstHot + kHot - 1,
              kPages);
  share.reset();
  return munmap(table, bytes) == 0 ? 0 : 1;
}
