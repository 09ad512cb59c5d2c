#include "perf/frame/frame_sizes.hpp"

#include <algorithm>

namespace shmif::perf {

FrameSizes imix_sizes() {
  return {{{.least = 60, .most = 60, .weight = 7},
           {.least = 590, .most = 590, .weight = 4},
           {.least = 1514, .most = 1514, .weight = 1}}};
}

SizeChooser::SizeChooser(const FrameSizes& sizes, std::uint64_t seed, std::uint64_t position)
    : random_(seed, position) {
  std::uint64_t weights = 0;
  double sum = 0;
  for (const FrameSizes::Part& part : sizes.parts) {
    if (part.weight == 0) continue;
    const std::uint32_t most = std::max(part.least, part.most);
    weights += part.weight;
    sum += part.weight * (static_cast<double>(part.least) + most) / 2;
    least_ = parts_.empty() ? part.least : std::min(least_, part.least);
    most_ = std::max(most_, most);
    parts_.push_back(
        {.end = weights, .least = part.least, .sizes = std::uint64_t{most} - part.least + 1});
  }
  if (parts_.empty()) {
    const FrameSizes::Part usual;
    least_ = most_ = usual.least;
    sum = usual.least;
    weights = 1;
  }
  mean_ = sum / static_cast<double>(weights);
  if (least_ == most_) fixed_ = least_;
}

std::uint32_t SizeChooser::draw() noexcept {
  const Part* part = parts_.data();
  if (parts_.size() > 1) {
    const std::uint64_t drawn = random_.below(parts_.back().end);
    while (part->end <= drawn) ++part;
  }
  if (part->sizes == 1) return part->least;
  return part->least + static_cast<std::uint32_t>(random_.below(part->sizes));
}

}  // namespace shmif::perf
