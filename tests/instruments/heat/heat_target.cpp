// heat_target PAGES BEGIN END read|write: takes part in the measurement of access heat with so many
// shared pages, prints their address, and accesses the pages from BEGIN to END again and again. It
// ends by itself after a minute.

#include <chrono>
#include <cstdio>
#include <cstring>

#include "shmif/heat_share.hpp"
#include "tests/instruments/heat/shared_pages.hpp"

namespace {

int run(std::size_t pages, std::size_t begin, std::size_t end, bool is_write) {
  using namespace shmif;
  const perf::test::SharedPages memory(pages);
  auto share = HeatShare::of(memory.begin(), memory.bytes(), "pattern");
  if (!share) {
    std::fprintf(stderr, "%s\n", share.error().message.c_str());
    return 1;
  }
  std::printf("%llu\n", static_cast<unsigned long long>(memory.address(0)));
  std::fflush(stdout);
  const auto stop = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < stop) {
    for (std::size_t page = begin; page < end; ++page) {
      if (is_write) {
        memory.write(page, 1);
      } else {
        static_cast<void>(memory.read(page));
      }
    }
    ::usleep(500);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const auto number = [&](int i) { return std::strtoul(argv[i], nullptr, 10); };
  return run(number(1), number(2), number(3), std::strcmp(argv[4], "write") == 0);
}
