#include "tools/capture/dump_counts.hpp"

#include "base/text.hpp"

namespace shmif::tools {

std::string to_text(const DumpCounts& counts, bool lost_is_lower_bound) {
  const auto with_segments = [](const std::string& text, std::uint64_t frames,
                                std::uint64_t segments) {
    return segments == frames ? text
                              : text + " (" + std::to_string(segments) + " after segmentation)";
  };
  return with_segments(base::counted(counts.captured, "frame") + " captured", counts.captured,
                       counts.captured_segments) +
         ", " +
         with_segments(std::to_string(counts.filtered) + " filtered out", counts.filtered,
                       counts.filtered_segments) +
         ", " + (lost_is_lower_bound ? "at least " : "") + std::to_string(counts.lost) + " lost";
}

}  // namespace shmif::tools
