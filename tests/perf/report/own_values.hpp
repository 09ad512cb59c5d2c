#pragma once
// Values that are all different, for tests that must notice a figure in the place of another.

#include <cmath>
#include <cstdint>

namespace shmif::test {

/// Each value is new. Steps of the golden ratio spread the values, so that values drawn one after
/// the other differ in their first three digits.
class OwnValues {
 public:
  /// 100,000 to 999,999.
  std::uint64_t count() { return static_cast<std::uint64_t>(100'000 + 899'999 * next()); }
  /// 10 to 99.
  double seconds() { return 10 + 89 * next(); }
  /// 0.1 to 0.9.
  double share() { return 0.1 + 0.8 * next(); }
  /// A number with a fraction, 1,000 to 9,999.
  double number() { return 1000 + 8999 * next(); }

 private:
  double next() {
    constexpr double kGolden = 0.6180339887498949;
    place_ = std::fmod(place_ + kGolden, 1);
    return place_;
  }
  double place_ = 0;
};

}  // namespace shmif::test
