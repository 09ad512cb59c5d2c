#pragma once
// How much the built-in load has copied so far. The load shares this memory with its observer.

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

/// The progress of one thread of the load at the end of its last phase. In a phase the thread fills
/// one half of its buffer, or copies that half to the other.
struct FillProgress {
  std::uint64_t time_ns = 0;  ///< of CLOCK_MONOTONIC; 0 before it begins
  std::uint64_t read = 0;     ///< bytes, since it began
  std::uint64_t written = 0;
};

/// The state of a load that has a single round. Its observer opens a window around that round only.
enum class FillTurn : std::uint32_t {
  preparing,  ///< the load fills its buffers for the first time
  ready,      ///< the load waits for its observer
  running,    ///< the round runs; the observer sets this
  done,       ///< the round has ended; the process waits, so that its observer can still look at it
};

/// Threads: each thread number has one writer; any thread may read.
class FillCounts {
 public:
  static constexpr unsigned kMaxThreads = 512;

  /// Makes a file in memory, which has a path as long as this object lives. Errors: an errno.
  static Result<FillCounts> create();
  /// Maps the memory of another process.
  static Result<FillCounts> open(const std::string& path);

  /// The path of the file, for processes of the same user; empty if open() made this object.
  std::string path() const;
  /// Ignores threads from number kMaxThreads on.
  void set(unsigned thread, const FillProgress& progress) noexcept;
  /// The progress of each thread; empty if the thread was writing at each look.
  std::vector<std::optional<FillProgress>> look() const;

  FillTurn turn() const noexcept { return FillTurn{shared().turn.load()}; }
  /// Sets the turn, and wakes all that wait in wait_while().
  void set_turn(FillTurn turn) noexcept;
  /// Starts the round. `now_ns`: the time of CLOCK_MONOTONIC at which it begins.
  void begin_round(std::uint64_t now_ns) noexcept;
  /// When begin_round() started the round; 0 if it was not called.
  std::uint64_t round_began_ns() const noexcept { return shared().began_ns.load(); }
  /// Waits for another turn. Blocks: while it is `turn`, at most for `time`; it may return earlier.
  void wait_while(FillTurn turn, std::chrono::nanoseconds time) const noexcept;

 private:
  /// While `changes` is odd, the other words are being written.
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
