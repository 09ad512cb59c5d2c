#include "perf/frame/frame_sizes.hpp"

#include <algorithm>

namespace shmif::perf {

FrameSizes imix_sizes() {
  return {{{.min = 60, .max = 60, .weight = 7},
           {.min = 590, .max = 590, .weight = 4},
           {.min = 1514, .max = 1514, .weight = 1}}};
}

SizeChooser::SizeChooser(const FrameSizes& sizes, std::uint64_t seed, std::uint64_t position)
    : random_(seed, position) {
  std::uint64_t weights = 0;
  double sum = 0;
  for (const FrameSizes::Part& part : sizes.parts) {
    if (part.weight == 0) continue;
    const std::uint32_t max = std::max(part.min, part.max);
    weights += part.weight;
    sum += part.weight * (static_cast<double>(part.min) + max) / 2;
    min_ = parts_.empty() ? part.min : std::min(min_, part.min);
    max_ = std::max(max_, max);
    parts_.push_back({.end = weights, .min = part.min, .sizes = std::uint64_t{max} - part.min + 1});
  }
  if (parts_.empty()) {
    const FrameSizes::Part usual;
    min_ = max_ = usual.min;
    sum = usual.min;
    weights = 1;
  }
  mean_ = sum / static_cast<double>(weights);
  if (min_ == max_) fixed_ = min_;
}

std::uint32_t SizeChooser::draw() noexcept {
  const Part* part = parts_.data();
  if (parts_.size() > 1) {
    const std::uint64_t drawn = random_.below(parts_.back().end);
    while (part->end <= drawn) ++part;
  }
  if (part->sizes == 1) return part->min;
  return part->min + static_cast<std::uint32_t>(random_.below(part->sizes));
}

}  // namespace shmif::perf
