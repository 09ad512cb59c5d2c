// One fuzz target as libFuzzer wants it; SHMIF_FUZZ_TARGET names it.

#include "tests/fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  shmif::fuzz::SHMIF_FUZZ_TARGET({data, size});
  return 0;
}
