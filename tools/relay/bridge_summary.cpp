#include "tools/relay/bridge_summary.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

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

/// All faults of a way: those at its source, and those at its sink.
BridgeWay::Faults all_faults(const BridgeWay& way) {
  BridgeWay::Faults all = way.faults;
  static_cast<FaultCounters&>(all) += way.sink_faults;
  if (way.has_sink_faults) all.under_way += way.sink_waiting;
  // A frame that came meets both, and is one.
  if (way.has_faults && way.has_sink_faults) all.frames = way.faults.frames;
  return all;
}

}  // namespace

void BridgeWay::add_source(const tap::LineCounters& line, const LineFaults& set) {
  has_faults = met_faults(set.received, line.received);
  faults = {line.received, line.to_receive};
  cut_at_source = line.cut_received;
  unheard = line.deaf;
}

void BridgeWay::add_sink(const tap::LineCounters& line, const LineFaults& set) {
  has_sink_faults = met_faults(set.sent, line.sent);
  sink_faults = line.sent;
  sink_options = set.sent;
  sink_segments = line.segments_made;
  cut_at_sink = line.cut_sent;
  sink_refused = line.refused;
  sink_waiting = line.to_send;
}

std::pair<BridgeWay, BridgeWay> ways_over(const tap::LineCounters& line, const LineFaults& faults,
                                          const tap::PairCounters& frames, const std::string& bus,
                                          const std::string& far) {
  BridgeWay there{.from = bus, .to = far, .counters = frames.to_right};
  there.add_source(line, faults);
  BridgeWay back{.from = far, .to = bus, .counters = frames.to_left};
  back.add_sink(line, faults);
  return {there, back};
}

void add_counts(tap::PairCounters& to, const tap::PairCounters& more) {
  using D = tap::DirectionCounters;
  for (const auto count :
       {&D::received, &D::frames, &D::bytes, &D::segments, &D::batches, &D::consumed, &D::lost,
        &D::dropped_full, &D::dropped_too_long, &D::dropped_error}) {
    to.to_right.*count += more.to_right.*count;
    to.to_left.*count += more.to_left.*count;
  }
}

WayFates fates_of(const BridgeWay& way) {
  const tap::DirectionCounters& c = way.counters;
  const std::uint64_t by_device = way.sink_device.dropped_down + way.sink_device.dropped_full;
  const std::uint64_t gone = by_device + way.sink_refused + way.sink_waiting + way.cut_at_sink +
                             way.sink_faults.lost + way.sink_faults.queue_full;
  const std::uint64_t taken = c.frames + way.sink_segments + way.sink_faults.duplicated;
  WayFates fates;
  // Faults may have been set later than the first frame came, so the frames that met them are not
  // all.
  const std::uint64_t made_to_come = c.received + c.lost + way.faults.lost + way.faults.queue_full +
                                     way.faults.under_way + way.cut_at_source + way.unheard +
                                     way.sink_segments;
  fates.came = made_to_come - std::min(made_to_come, way.faults.duplicated);
  // A sink may also have dropped a loop probe, which did not come from the source.
  fates.arrived = taken - std::min(taken, gone);
  const BridgeWay::Faults met = all_faults(way);
  fates.lost = met.lost + met.queue_full + c.lost;
  fates.refused = c.dropped_error + way.sink_refused;
  fates.filtered = std::min(way.filtered.value_or(0), c.consumed);  // the filter goes on counting
  fates.answered = c.consumed - fates.filtered;
  const std::uint64_t in_bridge =
      c.received - c.frames - c.consumed - c.dropped_full - c.dropped_too_long - c.dropped_error;
  fates.under_way = way.faults.under_way + way.sink_waiting + in_bridge;
  if (gone == 0 && taken == c.frames) {
    fates.segments = c.segments;
    fates.bytes = c.bytes;
  } else if (by_device != 0) {
    fates.bytes = way.sink_device.sent_bytes;
  }
  return fates;
}

namespace {

/// Adds what faults did.
void add_fault_counts(Json& json, const BridgeWay::Faults& met) {
  json.update({{"frames", met.frames},
               {"lost_frames", met.lost},
               {"duplicated_frames", met.duplicated},
               {"reordered_frames", met.reordered},
               {"corrupted_frames", met.corrupted},
               {"truncated_frames", met.truncated},
               {"queue_full_frames", met.queue_full},
               {"under_way_frames", met.under_way}});
}

/// The faults at one end of a way.
Json end_json(const std::string& at, const FaultOptions& options, const BridgeWay::Faults& met) {
  Json json{{"at", at}, {"options", to_string(options)}, {"seed", options.seed}};
  add_fault_counts(json, met);
  return json;
}

/// The sum of all faults of a way, and those of each end that has some. `options`: those at the
/// source.
Json faults_json(const BridgeWay& way, const FaultOptions& options) {
  Json json = Json::object();
  if (way.has_faults && way.has_sink_faults) {
    const char* const kTwo = "each end has its own: see ends";
    set_null(json, "options", kTwo);
    set_null(json, "seed", kTwo);
  } else {
    const FaultOptions& only = way.has_faults ? options : way.sink_options;
    json.update({{"options", to_string(only)}, {"seed", only.seed}});
  }
  add_fault_counts(json, all_faults(way));
  Json ends = Json::array();
  if (way.has_faults) ends.push_back(end_json(way.from, options, way.faults));
  if (way.has_sink_faults)
    ends.push_back(end_json(way.to, way.sink_options, {way.sink_faults, way.sink_waiting}));
  json["ends"] = std::move(ends);
  return json;
}

}  // namespace

bool met_faults(const FaultOptions& options, const FaultCounters& met) noexcept {
  return options.any() || met.lost > 0 || met.duplicated > 0 || met.reordered > 0 ||
         met.corrupted > 0 || met.truncated > 0 || met.queue_full > 0;
}

std::string to_text(const BridgeWay& way) {
  const tap::DirectionCounters& c = way.counters;
  const tap::DeviceCounters& device = way.sink_device;
  const WayFates fates = fates_of(way);
  const BridgeWay::Faults faults = all_faults(way);
  const std::uint64_t cut = way.cut_at_source + way.cut_at_sink;
  std::string how_lost;
  add_part(how_lost, faults.lost, "by faults");
  add_part(how_lost, faults.queue_full, "by the full queue of the faults");
  add_part(how_lost, c.lost, "by overrun");
  std::string how_dropped;
  add_part(how_dropped, c.dropped_too_long, "too long");
  add_part(how_dropped, c.dropped_full, "not taken in time");
  add_part(how_dropped, fates.refused, "refused");
  add_part(how_dropped, fates.filtered, "by the rules of the gateway");
  add_part(how_dropped, cut, "while the link was down");
  add_part(how_dropped, way.unheard, "from ports of another part");
  add_part(how_dropped, device.dropped_down, "while the interface was down");
  add_part(how_dropped, device.dropped_full, "with its queue full");
  std::string text = base::counted(fates.arrived, "frame");
  if (fates.segments && *fates.segments != c.frames)
    text += " (" + base::counted(*fates.segments, "segment") + ")";
  if (fates.bytes) text += ", " + std::to_string(*fates.bytes) + " bytes";
  const std::uint64_t dropped = c.dropped_too_long + c.dropped_full + fates.refused +
                                fates.filtered + cut + way.unheard + device.dropped_down +
                                device.dropped_full;
  text += total(fates.lost, "lost", how_lost) + total(dropped, "dropped", how_dropped);
  std::string rest;
  add_part(rest, fates.answered, "answered or found here");
  add_part(rest, fates.under_way, "still under way");
  if (!rest.empty()) text += ", " + rest;
  text += " = " + std::to_string(fates.came) + " came";
  if (faults.duplicated != 0)
    text += " + " + std::to_string(faults.duplicated) + " duplicated by faults";
  return name_of(way) + ": " + text + '\n';
}

namespace {

/// `at`: the end that has them; empty if only one does.
std::string faults_line(const BridgeWay& way, const std::string& at, const BridgeWay::Faults& met,
                        const FaultOptions& options) {
  std::string text = name_of(way) + ": faults " + (at.empty() ? "" : "at " + at + ' ') +
                     to_string(options) + ",seed=" + std::to_string(options.seed) + ": " +
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

}  // namespace

std::string faults_text(const BridgeWay& way, const FaultOptions& options) {
  const bool both = way.has_faults && way.has_sink_faults;
  const auto end = [both](const std::string& at) { return both ? base::printable(at) : ""; };
  std::string text;
  if (way.has_faults) text += faults_line(way, end(way.from), way.faults, options);
  if (way.has_sink_faults)
    text += faults_line(way, end(way.to), {way.sink_faults, way.sink_waiting}, way.sink_options);
  return text;
}

Json to_json(const BridgeWay& way, const FaultOptions& options) {
  const tap::DirectionCounters& c = way.counters;
  const WayFates fates = fates_of(way);
  Json json{{"from", way.from},
            {"to", way.to},
            {"offered_frames", fates.came},
            {"tx_frames", fates.arrived}};
  const char* const kPart = "not all of the frames that the other link took were passed on";
  set_figure(json, "tx_segments", fates.segments, kPart);
  set_figure(json, "tx_bytes", fates.bytes, kPart);
  json["lost_frames"] = fates.lost;
  json["overrun_frames"] = c.lost;
  json["too_long_frames"] = c.dropped_too_long;
  json["timed_out_frames"] = c.dropped_full;
  json["refused_frames"] = fates.refused;
  set_figure(json, "rule_refused_frames",
             way.filtered ? std::optional(fates.filtered) : std::nullopt,
             "only a gateway has rules");
  json["link_down_frames"] = way.cut_at_source + way.cut_at_sink;
  json["unheard_frames"] = way.unheard;
  const auto of_device = [&way](std::uint64_t figure) {
    return way.has_device ? std::optional(figure) : std::nullopt;
  };
  const char* const kNoDevice = "the link is not a network interface";
  set_figure(json, "interface_down_frames", of_device(way.sink_device.dropped_down), kNoDevice);
  set_figure(json, "interface_queue_full_frames", of_device(way.sink_device.dropped_full),
             kNoDevice);
  json["consumed_frames"] = fates.answered;
  json["under_way_frames"] = fates.under_way;
  if (way.has_faults || way.has_sink_faults) {
    json["faults"] = faults_json(way, options);
  } else {
    set_null(json, "faults", "no faults were asked for");
  }
  return json;
}

}  // namespace shmif::tools
