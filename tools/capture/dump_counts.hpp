#pragma once
// The summary that `shmifctl dump` prints at its end.

#include <cstdint>
#include <optional>
#include <string>

namespace shmif::tools {

/// There are two units: frames of the bus, and frames as shown. A super-frame is one frame of the
/// bus, and if it is lost, one frame is lost. But it is shown as the frames that it stands for.
struct DumpCounts {
  std::uint64_t captured = 0;           // frames of the bus that were shown at least in part
  std::uint64_t filtered = 0;           // frames of the bus that were not shown at all
  std::uint64_t lost = 0;               // lost frames of the bus
  bool lost_is_lower_bound = false;     // corruption was seen, so more may be lost
  std::uint64_t captured_segments = 0;  // frames shown
  std::uint64_t filtered_segments = 0;  // frames not shown
  std::uint64_t bytes = 0;              // bytes shown
  /// False if the output did not take all frames, so that `captured` or `bytes` is unknown.
  bool captured_known = true, bytes_known = true;
};

/// "1395 frames captured (44987 after segmentation), 0 filtered out, 60378 lost"
std::string to_text(const DumpCounts& counts);

/// The same as JSON. `path`: of the bus. `file`: the capture; empty if lines were printed.
std::string to_json(const std::string& path, const std::optional<std::string>& file,
                    const DumpCounts& counts);

}  // namespace shmif::tools
