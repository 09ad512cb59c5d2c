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
  /// The current values, with the counts since the last call; empty if the kernel does not tell.
  std::optional<TcpSample> close() noexcept;

 private:
  /// Reads the current values, and counts them if the window is open.
  std::optional<TcpState> look() noexcept;

  End& end_;
  JobBlock& job_;
  bool in_window_ = false;
  TcpSample before_window_, before_interval_;
  TcpResult window_;
  std::uint64_t rtt_ns_sum_ = 0;  // of the samples in the window
};

}  // namespace shmif::perf
