// Compares the CRC-32C by the instruction of ARMv8 with that by tables and with RFC 3720, appendix
// B.4. Built for another machine than the tests, so without GoogleTest.

#include <cstdio>
#include <cstring>
#include <vector>

#include "perf/frame/crc32c.hpp"
#include "perf/frame/random.hpp"

int main() {
  using namespace shmif::perf;
  if (std::strcmp(crc32c_means(), "ARMv8 CRC") != 0) {
    std::printf("crc32c() uses %s, not the instruction\n", crc32c_means());
    return 1;
  }
  const std::vector<std::byte> zeros(32);
  if (crc32c(zeros) != 0x8a9136aaU || crc32c_portable(zeros) != 0x8a9136aaU) {
    std::printf("the CRC of 32 zeros is %08x and %08x, not 8a9136aa\n", crc32c(zeros),
                crc32c_portable(zeros));
    return 1;
  }
  Random random(1);
  std::vector<std::byte> bytes(9100);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  unsigned compared = 0;
  for (std::size_t size = 0; size <= 9018; size += size < 1600 ? 1 : 101) {
    const auto part = std::span(bytes).subspan(size % 9, size);
    const auto before = static_cast<std::uint32_t>(random());
    ++compared;
    if (crc32c(part, before) == crc32c_portable(part, before)) continue;
    std::printf("of %zu bytes: %08x by the instruction, %08x by tables\n", size,
                crc32c(part, before), crc32c_portable(part, before));
    return 1;
  }
  std::printf("%u lengths agree\n", compared);
  return 0;
}
