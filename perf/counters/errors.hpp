#pragma once
// How a call of a counter session fails when the session, and not the kernel, refuses it.

#include <system_error>

namespace shmif::perf {

enum class CounterErrc {
  busy = 1,     ///< legal at another time: the session is loaded, counts, or is masked
  invalid,      ///< not legal in this state, or an argument that is wrong
  bad_session,  ///< there is no session: it was moved away
};

/// The category of CounterErrc, named "shmif counters". Thread-safe.
const std::error_category& counter_error_category() noexcept;

inline std::error_code make_error_code(CounterErrc e) noexcept {
  return {static_cast<int>(e), counter_error_category()};
}

}  // namespace shmif::perf

template <>
struct std::is_error_code_enum<shmif::perf::CounterErrc> : std::true_type {};
