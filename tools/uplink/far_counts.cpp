#include "tools/uplink/far_counts.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace shmif::tools {
namespace {

constexpr std::string_view kCountsSign = "shmif-uplink-counts ";
constexpr std::size_t kMaxCountsLine = 1024;

struct CountRow {
  const char* name;
  std::uint64_t FarCounts::* member;
};
constexpr std::array kCountRows = {
    CountRow{"sent_frames", &FarCounts::sent_frames},
    CountRow{"delivered_frames", &FarCounts::delivered_frames},
    CountRow{"lost_frames", &FarCounts::lost_frames},
    CountRow{"line_full_frames", &FarCounts::line_full_frames},
    CountRow{"too_long_frames", &FarCounts::too_long_frames},
    CountRow{"refused_frames", &FarCounts::refused_frames},
    CountRow{"loops", &FarCounts::loops},
};

}  // namespace

void FarCounts::add(const FarCounts& more) {
  for (const CountRow& row : kCountRows) this->*row.member += more.*row.member;
}

Json FarCounts::to_json() const {
  Json json = Json::object();
  for (const CountRow& row : kCountRows) json[row.name] = this->*row.member;
  return json;
}

std::string FarCounts::to_line() const {
  return std::string(kCountsSign) + to_json().dump();
}

std::optional<FarCounts> FarCounts::parse(const std::string& line) {
  if (!line.starts_with(kCountsSign) || line.size() > kMaxCountsLine) return std::nullopt;
  // Deep nesting is no danger in so short a text.
  const Json json = Json::parse(line.substr(kCountsSign.size()), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  FarCounts counts;
  for (const CountRow& row : kCountRows) {
    const auto found = json.find(row.name);
    if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
    counts.*row.member = found->get<std::uint64_t>();
  }
  return counts;
}

FarCounts far_counts_of(const std::pair<BridgeWay, BridgeWay>& ways, const StreamDrops& drops,
                        const UplinkEnd& end) {
  const auto& [there, back] = ways;
  const tap::DirectionCounters& out = there.counters;
  const tap::DirectionCounters& in = back.counters;
  const WayFates fate_there = fates_of(there);
  const WayFates fate_back = fates_of(back);
  return {
      .sent_frames = fate_there.arrived,
      .delivered_frames = fate_back.arrived,
      .lost_frames = fate_there.lost + fate_back.lost,
      .line_full_frames = out.dropped_full,
      .too_long_frames = out.dropped_too_long + in.dropped_too_long + drops.too_long,
      .refused_frames = fate_there.refused + fate_back.refused + in.dropped_full + drops.too_short,
      .loops = end.why == UplinkEnd::Why::loop ? 1U : 0U};
}

}  // namespace shmif::tools
