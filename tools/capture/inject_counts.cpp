#include "tools/capture/inject_counts.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.hpp"
#include "tools/common/json.hpp"
#include "tools/common/values.hpp"

namespace shmif::tools {

std::string to_text(const InjectCounts& counts) {
  std::string text = base::counted(counts.sent, "frame") + " sent, " + format_bytes(counts.bytes);
  if (counts.cut_short > 0) {
    text += ", " + base::counted(counts.cut_short, "frame") + " cut short in the capture";
  }
  if (counts.skipped > 0) {
    text += ", " + base::counted(counts.skipped, "record") + " without an Ethernet header skipped";
  }
  return text + '\n';
}

std::string to_json(const std::string& path, const std::string& file, const InjectCounts& counts) {
  Json json{{"path", path},
            {"file", file},
            {"rounds", counts.rounds},
            {"tx_frames", counts.sent},
            {"tx_bytes", counts.bytes},
            {"too_long_frames", counts.too_long},
            {"unsent_frames", counts.unsent},
            {"skipped_records", counts.skipped},
            {"cut_short_frames", counts.cut_short},
            {"unsegmented_frames", counts.unsegmented},
            {"max_frame_bytes", counts.max_frame_bytes}};
  set_figure(json, "longest_too_long_bytes",
             counts.too_long > 0 ? std::optional(counts.longest) : std::nullopt,
             "no frame was too long");
  return json_text(std::move(json));
}

}  // namespace shmif::tools
