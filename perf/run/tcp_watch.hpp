#pragma once
// TcpWatch: what the kernel says of a job's TCP connection, over the measured window and at the end
// of each interval.

#include <cstdint>
#include <optional>

#include "perf/engine/engine.hpp"
#include "perf/run/run_memory.hpp"

namespace shmif::perf {

/// Of an end without TCP it does nothing. Threads: the job's. Blocks: never.
class TcpWatch {
 public:
  TcpWatch(End& end, JobBlock& job) noexcept : end_(end), job_(job) {}

  /// The measured window begins and ends.
  void begin_window() noexcept;
  void end_window() noexcept;
  /// Puts what holds now, and the retransmits since the last call, into an interval.
  void close(IntervalBlock& into) noexcept;

 private:
  /// Looks, and counts what it sees in the window.
  std::optional<TcpState> look() noexcept;

  End& end_;
  JobBlock& job_;
  bool in_window_ = false;
  std::uint64_t before_window_ = 0;  // retransmits
  std::uint64_t before_interval_ = 0;
};

}  // namespace shmif::perf
