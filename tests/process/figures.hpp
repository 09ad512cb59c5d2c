#pragma once
// What the tests that kill and stop take from the environment, and the figures they print.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

namespace shmif::test {

/// A number from the environment, for runs that are longer than those of every day.
inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// The seed of this run: SHMIF_SEED, else a fresh one. Printed, so that a run can be repeated.
inline std::uint64_t announced_seed() {
  static const std::uint64_t seed = from_environment("SHMIF_SEED", std::random_device()());
  std::printf("SHMIF_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

inline double milliseconds(std::chrono::nanoseconds t) {
  return static_cast<double>(t.count()) / 1e6;
}

/// Figures that a test prints and does not judge.
class Figures {
 public:
  void add(double value) { values_.push_back(value); }
  std::size_t count() const { return values_.size(); }
  double max() const { return values_.empty() ? 0 : *std::ranges::max_element(values_); }
  void print(const char* what, const char* unit) {
    std::ranges::sort(values_);
    const auto at = [&](double share) {
      return values_.empty() ? 0.0
                             : values_[static_cast<std::size_t>(
                                   share * static_cast<double>(values_.size() - 1))];
    };
    std::printf("%s: %zu, min %.3f p50 %.3f p99 %.3f max %.3f %s\n", what, values_.size(), at(0),
                at(0.5), at(0.99), at(1), unit);
  }

 private:
  std::vector<double> values_;
};

}  // namespace shmif::test
