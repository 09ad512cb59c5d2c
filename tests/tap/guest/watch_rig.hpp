#pragma once
// How watches of interfaces ask in tests.

#include <chrono>

#include "shmif/mac.hpp"
#include "tap/guest/watch.hpp"

namespace shmif::tap::test {

inline const MacAddress kFirst = *MacAddress::parse("02:00:00:00:00:01");
inline const MacAddress kSecond = *MacAddress::parse("02:00:00:00:00:02");

/// Asks so rarely that only news can be why it asks.
inline constexpr WatchPace kAtNews{.quiet = std::chrono::hours(1),
                                   .busy = std::chrono::hours(1),
                                   .busy_for = std::chrono::milliseconds(1),
                                   .least = std::chrono::milliseconds(1)};
/// Asks without news.
inline constexpr WatchPace kOften{.quiet = std::chrono::milliseconds(20),
                                  .busy = std::chrono::milliseconds(20),
                                  .least = std::chrono::milliseconds(1)};

}  // namespace shmif::tap::test
