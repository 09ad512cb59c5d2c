#pragma once
// The errors of calls that the counter session itself refuses, not the kernel.

#include <system_error>

namespace shmif::perf {

/// The errors of a CounterSession itself. They convert to std::error_code, and compare equal to it.
enum class CounterErrc {
  busy = 1,     ///< legal at another time: the session is now loaded, counting, or masked
  invalid,      ///< not legal in this state, or a wrong argument
  bad_session,  ///< the session was moved to another object
};

/// The category of CounterErrc, named "shmif counters". Thread-safe.
const std::error_category& counter_error_category() noexcept;

/// The error code of `e`, in counter_error_category(). The conversion from CounterErrc uses it.
/// Threads: safe.
inline std::error_code make_error_code(CounterErrc e) noexcept {
  return {static_cast<int>(e), counter_error_category()};
}

}  // namespace shmif::perf

// Doxygen cannot place a specialization of a class in std.
/// @cond
template <>
struct std::is_error_code_enum<shmif::perf::CounterErrc> : std::true_type {};
/// @endcond
