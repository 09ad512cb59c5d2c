#pragma once
// SizeChooser: the length of each next frame of a stream.

#include <cstdint>
#include <vector>

#include "perf/frame/random.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// The sizes of a stream's frames, in order. If all are the same, no random number is drawn.
/// Otherwise the parts occur according to their weights, and the sizes within a part are equally
/// likely, without the small bias of a modulo. Threads: one at a time. Blocks: never.
class SizeChooser {
 public:
  /// `position`: how many numbers an earlier run, which this one continues, has drawn. Parts of
  /// weight 0 are ignored. A part whose `max` is less than its `min` has the size `min`.
  SizeChooser(const FrameSizes& sizes, std::uint64_t seed, std::uint64_t position = 0);

  /// Bytes without FCS.
  std::uint32_t next() noexcept { return fixed_ != 0 ? fixed_ : draw(); }

  /// Whether all sizes are the same.
  bool is_fixed() const noexcept { return fixed_ != 0; }
  /// The expected size, in bytes.
  double mean() const noexcept { return mean_; }
  std::uint32_t min() const noexcept { return min_; }
  std::uint32_t max() const noexcept { return max_; }
  /// How many random numbers have been drawn.
  std::uint64_t position() const noexcept { return random_.position(); }

 private:
  struct Part {
    std::uint64_t end = 0;  // sum of the weights up to this part
    std::uint32_t min = 0;
    std::uint64_t sizes = 1;
  };
  std::uint32_t draw() noexcept;

  std::vector<Part> parts_;
  Random random_;
  std::uint32_t fixed_ = 0;  // 0: not fixed
  std::uint32_t min_ = 0;
  std::uint32_t max_ = 0;
  double mean_ = 0;
};

}  // namespace shmif::perf
