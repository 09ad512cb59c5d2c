#pragma once
// The five numbers that set how closely accesses are watched, in the order in which DAMON's users
// write them.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace shmif::perf {

struct HeatAttributes {
  std::chrono::microseconds sampling{5'000};       ///< how often accesses are checked
  std::chrono::microseconds aggregation{100'000};  ///< how long one window of the result is
  std::chrono::microseconds update{1'000'000};     ///< how often the target's mappings are read
  std::uint64_t min_regions = 10, max_regions = 1000;
  bool operator==(const HeatAttributes&) const = default;

  /// How often accesses are checked in a window. A region cannot have more accesses.
  std::uint32_t samples_per_window() const noexcept {
    return static_cast<std::uint32_t>(aggregation / sampling);
  }
};

/// Reads the five numbers as "5000,100000,1000000,10,1000", or as DAMON's file shows them: "5000
/// 100000 1000000 10 1000". A time without a unit is in microseconds; "5ms" is possible, too.
/// Errors: Errc::bad_argument unless there are exactly five and check_attributes() accepts them.
Result<HeatAttributes> read_attributes(std::string_view text);

/// Checks these limits: all numbers are above zero; aggregation is at least as long as sampling,
/// and at most a million times as long; every interval is at most a day; 3 <= min_regions <=
/// max_regions <= 1000000. Errors: Errc::bad_argument.
Result<void> check_attributes(const HeatAttributes& attributes);

/// The text that read_attributes() reads back: five numbers, times in microseconds.
std::string attributes_text(const HeatAttributes& attributes);

}  // namespace shmif::perf
