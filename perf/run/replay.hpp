#pragma once
// Replay: a capture file as the source of a stream's frames.
//
// The whole file is read before the run begins, so that no disk sets the pace. Each frame is
// intended for its time in the recording, from the first one on, times a factor.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

struct ReplayOptions {
  double time_scale = 1;                           ///< 2: half as fast; 0: flat out
  std::uint64_t loops = 1;                         ///< 0: without end
  std::size_t most_bytes = std::size_t{2} << 30U;  ///< of frames that are kept in memory
};

/// Threads: one at a time. Blocks: open() alone, for the disk.
class Replay {
 public:
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  /// Reads the capture at `path`. Errors: the system's; bad_argument when it is no capture,
  /// damaged, without frames, or larger than `most_bytes`; not_supported when its frames are not
  /// Ethernet.
  static Result<Replay> open(const std::string& path, const ReplayOptions& options = {});

  std::size_t frames() const noexcept { return records_.size(); }  ///< of one loop
  std::uint64_t bytes() const noexcept { return bytes_.size(); }
  std::size_t longest() const noexcept { return longest_; }  ///< frame, to ask an engine about
  std::uint64_t cut_short() const noexcept { return cut_short_; }  ///< by whoever recorded them
  std::uint64_t skipped() const noexcept { return skipped_; }  ///< records of less than 14 bytes
  std::uint64_t loop_ns() const noexcept { return loop_ns_; }  ///< how long a loop takes

  /// The first frame is due at `start_ns` of CLOCK_MONOTONIC, and none at `end_ns` or later.
  void start(std::uint64_t start_ns, std::uint64_t end_ns = kNever) noexcept;

  struct Slot {
    std::uint64_t intended_ns = 0;
    FrameView frame;  ///< good for as long as the replay is
  };
  /// Fills `into` with the frames that are to go now, from the front. They are dealt with: the
  /// caller sends them, in this order, before it takes more. Flat out each frame is intended for
  /// now. Result: how many.
  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) noexcept;
  /// The next frame, whenever it was due; there is one unless ended().
  FrameView next() noexcept;
  /// How many are left, of all loops.
  std::uint64_t left() const noexcept;
  /// When the next frame is due; kNever after the last one, or where that is not before the end.
  std::uint64_t next_ns() const noexcept;
  /// The same, whether it will go or not.
  std::uint64_t due_ns() const noexcept;
  /// Whether no frame is left, however late the end may be.
  bool ended() const noexcept { return !endless_ && loops_left_ == 0; }
  std::span<std::byte> memory() noexcept { return bytes_; }  ///< of all frames

 private:
  struct Record {
    std::uint64_t after_ns = 0;  // of the first one, scaled
    std::size_t at = 0;
    std::uint32_t size = 0;
  };
  void scale(double factor);
  void advance() noexcept;

  std::vector<std::byte> bytes_;
  std::vector<Record> records_;
  std::size_t longest_ = 0;
  std::uint64_t cut_short_ = 0;
  std::uint64_t skipped_ = 0;
  std::uint64_t loop_ns_ = 0;
  std::uint64_t loops_left_ = 1;  // this one included
  bool endless_ = false;
  bool flat_out_ = false;
  std::size_t next_ = 0;
  std::uint64_t loop_start_ns_ = 0;
  std::uint64_t end_ns_ = kNever;
};

}  // namespace shmif::perf
