#pragma once
// Period: whether something that a job counts belongs to its measured window, or to the ramp before
// it. This is the one place that decides: every count is kept once for each period (ByPeriod), so
// that whoever counts has to ask period_of() first.
//
//   A frame belongs to the period in which it was to be sent. It carries that time, so its sender
//   and its receiver agree on each frame, and a frame of the window that arrives during the drain
//   is one of the window.
//   An event that has no such time (an error, a frame of others, a batch that moved nothing of the
//   flow) belongs to the period in which it happens.

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
