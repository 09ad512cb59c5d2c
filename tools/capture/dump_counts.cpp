#include "tools/capture/dump_counts.hpp"

#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

std::string to_text(const DumpCounts& counts) {
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
         ", " + (counts.lost_is_lower_bound ? "at least " : "") + std::to_string(counts.lost) +
         " lost";
}

std::string to_json(const std::string& path, const std::optional<std::string>& file,
                    const DumpCounts& counts) {
  const auto if_known = [](bool known, std::uint64_t figure) {
    return known ? std::optional(figure) : std::nullopt;
  };
  const char* const kPart = "the output took only a part of the frames";
  Json json{{"path", path}, {"file", file ? Json(*file) : Json(nullptr)}};
  set_figure(json, "captured_frames", if_known(counts.captured_known, counts.captured), kPart);
  json["captured_segments"] = counts.captured_segments;
  set_figure(json, "captured_bytes", if_known(counts.bytes_known, counts.bytes), kPart);
  json["filtered_out_frames"] = counts.filtered;
  json["filtered_out_segments"] = counts.filtered_segments;
  json["lost_frames"] = counts.lost;
  json["lost_is_lower_bound"] = counts.lost_is_lower_bound;
  return json_text(std::move(json));
}

}  // namespace shmif::tools
