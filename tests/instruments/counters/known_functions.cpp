// known_functions TURNS: spends its time in two functions, three quarters of it in the first.

#include <cstdint>
#include <cstdlib>

namespace {

/// Each round waits for the result of the one before, so where the code lies does not matter.
__attribute__((always_inline)) inline std::uint64_t run_loop(std::uint64_t value,
                                                             std::uint64_t rounds) {
  constexpr std::uint64_t kFactor = 6364136223846793005U;
  for (std::uint64_t i = 0; i < rounds; ++i) value = value * kFactor + 1;
  return value;
}

__attribute__((noinline)) std::uint64_t three_quarters(std::uint64_t value, std::uint64_t rounds) {
  return run_loop(value, 3 * rounds);
}

__attribute__((noinline)) std::uint64_t one_quarter(std::uint64_t value, std::uint64_t rounds) {
  return run_loop(value, rounds);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::uint64_t kRounds = 5'000;
  const long turns = argc > 1 ? std::atol(argv[1]) : 1;
  std::uint64_t value = 1;
  for (long turn = 0; turn < turns; ++turn) {
    value = three_quarters(value, kRounds);
    value = one_quarter(value, kRounds);
  }
  // The compiler has to keep the rounds.
  return value == 0 ? 1 : 0;
}
