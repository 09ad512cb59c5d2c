#pragma once
// What the built-in load has copied so far, in memory that it shares with its observer.

#include <array>
#include <atomic>
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

 private:
  /// Odd numbers of `changes`: the other words are being written.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> changes{0}, time_ns{0}, read{0}, written{0};
  };
  static constexpr std::size_t kBytes = kMaxThreads * sizeof(Slot);
  FillCounts(base::SharedMemory memory, UniqueFd file) noexcept;
  Slot* slots() const noexcept { return static_cast<Slot*>(memory_.data()); }

  base::SharedMemory memory_;
  UniqueFd file_;
};

}  // namespace shmif::perf
