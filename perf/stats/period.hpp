#pragma once
// Period: whether an event that a job counts belongs to its measured window, or to the ramp before
// it. Only this file decides that. Every count is kept once for each period (ByPeriod), so counting
// requires a call of period_of().
//
//   A frame belongs to the period of its intended time. It carries that time, so sender and
//   receiver agree on each frame, and a frame of the window that arrives during the drain belongs
//   to the window.
//   An event without such a time (an error, a frame of others, a batch without frames of the flow)
//   belongs to the period in which it happens.

#include <array>
#include <cstddef>
#include <cstdint>

namespace shmif::perf {

enum class Period : std::uint8_t { ramp, window };

/// Times are CLOCK_MONOTONIC, ns. Threads: any. Blocks: never.
constexpr Period period_of(std::uint64_t time_ns, std::uint64_t window_begin_ns) noexcept {
  return time_ns < window_begin_ns ? Period::ramp : Period::window;
}

/// The same counts for each period.
template <class Counts>
class ByPeriod {
 public:
  constexpr Counts& operator[](Period period) noexcept {
    return of_[static_cast<std::size_t>(period)];
  }
  constexpr const Counts& operator[](Period period) const noexcept {
    return of_[static_cast<std::size_t>(period)];
  }

 private:
  std::array<Counts, 2> of_{};
};

}  // namespace shmif::perf
