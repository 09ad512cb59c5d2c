#pragma once
// TcpWatch: what the kernel says about a job's TCP connection, over the measured window and at the
// end of each interval.

#include <cstdint>
#include <optional>

#include "perf/engine/engine.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// It does nothing for an end without TCP. Threads: the job's thread. Blocks: never.
class TcpWatch {
 public:
  TcpWatch(End& end, JobBlock& job) noexcept : end_(end), job_(job) {}

  /// Call them when the measured window begins and ends.
  void begin_window() noexcept;
  void end_window() noexcept;
  /// Writes the current values, and the retransmits since the last call, into an interval.
  void close(IntervalBlock& into) noexcept;

 private:
  /// Reads the current values, and counts them if the window is open.
  std::optional<TcpState> look() noexcept;

  End& end_;
  JobBlock& job_;
  bool in_window_ = false;
  std::uint64_t before_window_ = 0;  // retransmits before the window
  std::uint64_t before_interval_ = 0;
};

}  // namespace shmif::perf
