#include "tools/capture/dump_counts.hpp"

namespace shmif::tools {

std::string to_text(const DumpCounts& counts, bool lost_is_lower_bound) {
  const auto number = [](std::uint64_t frames, std::uint64_t segments, const char* what) {
    std::string text = std::to_string(frames) + what;
    if (segments != frames) text += " (" + std::to_string(segments) + " after segmentation)";
    return text;
  };
  return number(counts.captured, counts.captured_segments, " frames captured") + ", " +
         number(counts.filtered, counts.filtered_segments, " filtered out") + ", " +
         (lost_is_lower_bound ? "at least " : "") + std::to_string(counts.lost) + " lost";
}

}  // namespace shmif::tools
