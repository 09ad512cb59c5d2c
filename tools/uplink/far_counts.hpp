#pragma once
// What the far end of an uplink over ssh has counted. It tells that in one line on its standard
// error when the line ends, and ssh brings it.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "shmif/stream_link.hpp"
#include "tools/common/json.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/uplink/uplink_line.hpp"

namespace shmif::tools {

struct FarCounts {
  std::uint64_t sent_frames = 0;       ///< from its bus to the line
  std::uint64_t delivered_frames = 0;  ///< from the line to its bus
  std::uint64_t lost_frames = 0;       ///< either way, in overruns and by faults there
  std::uint64_t line_full_frames = 0;  ///< dropped because the line took none for too long
  std::uint64_t too_long_frames = 0;   ///< either way
  std::uint64_t refused_frames = 0;    ///< either way, for another reason
  std::uint64_t loops = 0;             ///< times it ended because frames went round

  void add(const FarCounts& more);
  /// "shmif-uplink-counts {...}", without a line end.
  std::string to_line() const;
  /// Empty if the line is something else, or does not have every number. It comes from another
  /// machine, and may say anything.
  static std::optional<FarCounts> parse(const std::string& line);
  Json to_json() const;
};

/// `ways`: from its bus, and to it. `end`: why the line ended.
FarCounts far_counts_of(const std::pair<BridgeWay, BridgeWay>& ways, const StreamDrops& drops,
                        const UplinkEnd& end);

}  // namespace shmif::tools
