#include "tools/relay/bridge_summary.hpp"

#include <algorithm>
#include <utility>

#include "base/printable.hpp"
#include "base/text.hpp"

namespace shmif::tools {

namespace {

/// Appends `count` and what it counts, after a comma if `text` is not empty. For 0, it appends no
/// text.
void add_part(std::string& text, std::uint64_t count, const char* what) {
  if (count == 0) return;
  text += (text.empty() ? "" : ", ") + std::to_string(count) + ' ' + what;
}

std::string total(std::uint64_t count, const char* what, const std::string& parts) {
  return ", " + std::to_string(count) + ' ' + what + (parts.empty() ? "" : " (" + parts + ')');
}

std::string name_of(const BridgeWay& way) {
  return base::printable(way.from) + " -> " + base::printable(way.to);
}

}  // namespace

std::string to_text(const BridgeWay& way) {
  const tap::DirectionCounters& c = way.counters;
  const tap::DeviceCounters& device = way.sink_device;
  const std::uint64_t by_device = device.dropped_down + device.dropped_full;
  const std::uint64_t behind_sink = way.sink_refused + way.sink_waiting;
  const std::uint64_t lost = way.faults.lost + way.faults.queue_full + c.lost;
  const std::uint64_t filtered = std::min(way.filtered, c.consumed);  // the filter goes on counting
  const std::uint64_t by_bridge = c.dropped_full + c.dropped_too_long + c.dropped_error + filtered;
  const std::uint64_t answered = c.consumed - filtered;
  const std::uint64_t waiting = c.received - c.frames - answered - by_bridge;
  const std::uint64_t came = (way.has_faults ? way.faults.frames : c.received) + c.lost;
  std::string how_lost;
  add_part(how_lost, way.faults.lost, "by faults");
  add_part(how_lost, way.faults.queue_full, "by the full queue of the faults");
  add_part(how_lost, c.lost, "by overrun");
  std::string how_dropped;
  add_part(how_dropped, c.dropped_too_long, "too long");
  add_part(how_dropped, c.dropped_full, "not taken in time");
  add_part(how_dropped, c.dropped_error + way.sink_refused, "refused");
  add_part(how_dropped, filtered, "by the rules of the gateway");
  add_part(how_dropped, device.dropped_down, "while the interface was down");
  add_part(how_dropped, device.dropped_full, "with its queue full");
  // If some frames did not arrive in the end, their bytes and segments are not known.
  const bool all_arrived = by_device + behind_sink == 0;
  // A sink may also have dropped a loop probe, which did not come from the source.
  std::string text = base::counted(c.frames - std::min(c.frames, by_device + behind_sink), "frame");
  if (c.segments != c.frames && all_arrived)
    text += " (" + base::counted(c.segments, "segment") + ")";
  if (all_arrived) {
    text += ", " + std::to_string(c.bytes) + " bytes";
  } else if (by_device != 0) {
    text += ", " + std::to_string(device.sent_bytes) + " bytes";
  }
  text += total(lost, "lost", how_lost) +
          total(by_bridge + by_device + way.sink_refused, "dropped", how_dropped);
  std::string rest;
  add_part(rest, answered, "answered or found here");
  add_part(rest, way.faults.under_way + way.sink_waiting + waiting, "still under way");
  if (!rest.empty()) text += ", " + rest;
  text += " = " + std::to_string(came) + " came";
  if (way.faults.duplicated != 0)
    text += " + " + std::to_string(way.faults.duplicated) + " duplicated by faults";
  return name_of(way) + ": " + text + '\n';
}

std::string faults_text(const BridgeWay& way, const FaultOptions& options) {
  const BridgeWay::Faults& met = way.faults;
  std::string text = name_of(way) + ": faults " + to_string(options) +
                     ",seed=" + std::to_string(options.seed) + ": " +
                     base::counted(met.frames, "frame") + " came";
  for (const auto& [count, what] : {std::pair{met.lost, "lost"},
                                    {met.duplicated, "duplicated"},
                                    {met.reordered, "reordered"},
                                    {met.corrupted, "corrupted"},
                                    {met.truncated, "truncated"},
                                    {met.queue_full, "found the queue full"},
                                    {met.under_way, "still under way"}}) {
    text += ", " + std::to_string(count) + ' ' + what;
  }
  return text + '\n';
}

}  // namespace shmif::tools
