#pragma once
// What the built-in load has copied so far, in memory that it shares with its observer.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/shared_memory.hpp"
#include "base/unique_fd.hpp"

namespace shmif::perf {

/// A thread of the load, after its last phase: either it filled one half of its buffer, or it
/// copied that to the other half.
struct FillProgress {
  std::uint64_t time_ns = 0;  ///< of CLOCK_MONOTONIC; 0: it has not begun
  std::uint64_t read = 0;     ///< bytes, since it began
  std::uint64_t written = 0;
};

/// Where a load of a single round is. Its observer opens a window around that round only.
enum class FillTurn : std::uint32_t {
  preparing,  ///< it fills its buffers for the first time
  ready,      ///< it waits for its observer
  running,    ///< set by the observer: the round
  done,       ///< the round has ended; the process waits, so that its observer can still look at it
};

/// Threads: each number has one writer; anybody reads.
class FillCounts {
 public:
  static constexpr unsigned kMaxThreads = 512;

  /// Memory of a file that has a path as long as this lives. Errors: the system's.
  static Result<FillCounts> create();
  /// Maps the memory of another process.
  static Result<FillCounts> open(const std::string& path);

  /// Of its file, for processes of the same user; empty for one that was opened.
  std::string path() const;
  /// Threads from kMaxThreads on are not counted.
  void set(unsigned thread, const FillProgress& progress) noexcept;
  /// By thread. None: the thread was writing for all of several looks.
  std::vector<std::optional<FillProgress>> look() const;

  FillTurn turn() const noexcept { return FillTurn{shared().turn.load()}; }
  /// Wakes all that wait for a turn.
  void set_turn(FillTurn turn) noexcept;
  /// Lets the round begin, at this time of CLOCK_MONOTONIC.
  void begin_round(std::uint64_t now_ns) noexcept;
  /// 0: no round was begun by begin_round().
  std::uint64_t round_began_ns() const noexcept { return shared().began_ns.load(); }
  /// Blocks: while it is this turn, at most for `time`; it may return earlier.
  void wait_while(FillTurn turn, std::chrono::nanoseconds time) const noexcept;

 private:
  /// Odd numbers of `changes`: the other words are being written.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> changes{0}, time_ns{0}, read{0}, written{0};
  };
  struct Shared {
    std::array<Slot, kMaxThreads> slots;
    std::atomic<std::uint32_t> turn{0};  ///< a FillTurn, and a futex
    std::atomic<std::uint64_t> began_ns{0};
  };
  static constexpr std::size_t kBytes = sizeof(Shared);
  FillCounts(base::SharedMemory memory, UniqueFd file) noexcept;
  Shared& shared() const noexcept { return *static_cast<Shared*>(memory_.data()); }

  base::SharedMemory memory_;
  UniqueFd file_;
};

}  // namespace shmif::perf
