#include "tools/show/describe.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/text.hpp"
#include "bus/file/parts.hpp"
#include "shmif/log.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/lab/state.hpp"

namespace shmif::tools {

namespace {

std::string signature_text(std::uint32_t signature) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", static_cast<unsigned>(signature));
  return text;
}

const char* state_name(const PortInfo& port) noexcept {
  return port.live ? "live" : "dead";
}

const char* mode_name(const PortInfo& port) noexcept {
  return port.pause ? "pause" : "ethernet";
}

Json port_json(const PortInfo& port) {
  Json other_macs = Json::array();
  for (const MacAddress& mac : port.other_macs) other_macs.push_back(mac.to_string());
  return {{"slot", port.slot},
          {"incarnation", port.incarnation != 0 ? Json(port.incarnation) : Json(nullptr)},
          {"name", port.name},
          {"state", state_name(port)},
          {"pid", port.pid > 0 ? Json(port.pid) : Json(nullptr)},
          {"mac", port.mac.is_unicast() ? Json(port.mac.to_string()) : Json(nullptr)},
          {"other_macs", other_macs},
          {"link", to_string(port.link)},
          {"up", port.up},
          {"carrier", port.live && port.carrier_known ? Json(port.carrier) : Json(nullptr)},
          {"mode", mode_name(port)},
          {"promiscuous", port.promiscuous},
          {"tx_frames", port.tx_frames},
          {"tx_bytes", port.tx_bytes},
          {"refused_frames", port.refused_frames},
          {"rx_frames", port.rx_frames},
          {"rx_bytes", port.rx_bytes},
          {"tx_segments", port.tx_segments},
          {"rx_segments", port.rx_segments},
          {"too_long_frames", port.too_long_frames},
          {"own_frames", port.own_frames},
          {"filtered_frames", port.filtered_frames},
          {"skipped_frames", port.skipped_frames},
          {"overruns", port.overruns},
          {"lost_frames", port.lost_frames},
          {"lost_bytes", port.lost_bytes},
          {"lost_is_lower_bound", port.lost_is_lower_bound()},
          {"corrupt", port.corrupt},
          {"wakeups", port.wakeups},
          {"doorbells", port.doorbells},
          {"lock_sleeps", port.lock_sleeps},
          {"pauses", port.pauses},
          {"paused_ns", port.paused_ns},
          {"position", port.position},
          {"unread_bytes", port.unread_bytes},
          {"stalls", port.stalls},
          {"waits_for", port.waits_for ? Json(*port.waits_for) : Json(nullptr)},
          {"claim_bytes", port.claim_bytes ? Json(*port.claim_bytes) : Json(nullptr)}};
}

std::string local_time(std::uint64_t ns) {
  const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string format_milliseconds(std::uint64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f ms", static_cast<double>(ns) * 1e-6);
  return text;
}

std::string name_of_slot(const BusInfo& info, unsigned slot) {
  const auto it = std::ranges::find(info.ports, slot, &PortInfo::slot);
  return it == info.ports.end() ? "" : " \"" + it->name + '"';
}

bool looks_like_a_number(const std::string& cell) {
  return !cell.empty() && cell.find_first_not_of("0123456789.-") == std::string::npos;
}

/// What holds on the line of a port; null if that is not known.
const LineState* line_of(const std::vector<LineState>* lines, const PortInfo& port) {
  if (lines == nullptr) return nullptr;
  const auto found = std::ranges::find_if(*lines, [&](const LineState& line) {
    return line.slot == port.slot && line.incarnation == port.incarnation;
  });
  return found == lines->end() ? nullptr : &*found;
}

/// The fields of a port that tell of its line.
void add_line(Json& row, const std::vector<LineState>* lines, const PortInfo& port) {
  if (lines == nullptr) return;
  const LineState* const line = line_of(lines, port);
  const bool takes_changes = line != nullptr && line->takes_changes;
  row["takes_changes"] = takes_changes;
  if (takes_changes) {
    row["line"] = line->text;
  } else {
    set_null(row, "line", "its program takes no changes, and does not tell");
  }
  static constexpr std::pair<const char*, std::uint64_t LineCounts::*> kCounts[] = {
      {"line_rx_dropped_frames", &LineCounts::dropped_in},
      {"line_tx_dropped_frames", &LineCounts::dropped_out},
      {"line_waiting_frames", &LineCounts::waiting}};
  for (const auto& [key, count] : kCounts) {
    const bool counts = takes_changes && line->counts.has_value();
    set_figure(row, key, counts ? std::optional((*line->counts).*count) : std::nullopt,
               "its program does not count them");
  }
}

/// What holds on the line of a port, and what it has dropped; empty if nothing is unusual.
std::string line_text(const LineState& line, LinkKind kind) {
  std::string text = base::printable(line.text);
  const LineCounts counts = line.counts.value_or(LineCounts());
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  if (counts.dropped_in > 0 || counts.dropped_out > 0) {
    const char* const far = kind == LinkKind::bridge ? "line" : "host";
    add("dropped " + std::to_string(counts.dropped_in) + " to the " + far + ", " +
        std::to_string(counts.dropped_out) + " from it");
  }
  if (counts.waiting > 0) add(std::to_string(counts.waiting) + " waiting");
  return text;
}

std::string slot_and_name(const PortInfo& port) {
  return "slot " + std::to_string(port.slot) + " \"" + port.name + '"';
}

/// What is special about a port: `row` adds a line for each.
template <class Row>
void add_port_rows(const BusInfo& info, const std::vector<LineState>* lines, const Row& row) {
  for (const PortInfo& port : info.ports) {
    const LineState* const line = line_of(lines, port);
    const std::string text = line == nullptr ? std::string() : line_text(*line, port.link);
    if (!text.empty()) row("line", slot_and_name(port) + ": " + text);
  }
  for (const PortInfo& port : info.ports) {
    if (port.waits_for) {
      // A port that only sends does not make room in the ring, either.
      const std::string whom = *port.waits_for == port.slot
                                   ? "itself: it sends, but does not receive"
                                   : "slot " + std::to_string(*port.waits_for) +
                                         name_of_slot(info, *port.waits_for) + " to read";
      row("waiting", slot_and_name(port) + " for " + whom);
    }
    if (port.stalls != 0) {
      row("stalled", slot_and_name(port) + ' ' + base::counted(port.stalls, "time") +
                         ": senders stopped waiting for it and overran it");
    }
  }
  for (const PortInfo& port : info.ports) {
    if (port.refused_frames == 0) continue;
    row("refused", slot_and_name(port) + " tried to send " +
                       base::counted(port.refused_frames, "frame that is", "frames that are") +
                       " too short or cannot be segmented as asked");
  }
  for (const PortInfo& port : info.ports) {
    if (!port.claim_bytes) continue;
    row("claim",
        format_bytes(*port.claim_bytes) + " of " + slot_and_name(port) + ", skipped by the others");
  }
}

/// Why no record can begin at `first`; null if one can.
const char* why_no_first(const BusInfo& info) noexcept {
  return bus::can_be_position(info.first) ? nullptr : "no record can begin there";
}

/// The same of the lock word, if it names no port.
const char* why_no_holder(const BusInfo& info) noexcept {
  if (!info.lock_holder) return nullptr;
  switch (bus::kind_of_holder(*info.lock_holder)) {
    case bus::LockHolder::port: break;
    case bus::LockHolder::repair: return "a repair holds it";
    case bus::LockHolder::nobody: return "the lock word names no slot";
  }
  return nullptr;
}

/// A position, and what is wrong with it.
std::string position_text(std::uint64_t position, const char* wrong) {
  return std::to_string(position) +
         (wrong == nullptr ? "" : " (" + std::string(wrong) + ": see 'shmifctl audit')");
}

/// A line of the heading.
std::string heading(std::string_view name, const std::string& value) {
  return std::string(name) + std::string(12 - name.size(), ' ') + value + '\n';
}

std::string head_text(const BusInfo& info, const std::vector<LineState>* lines) {
  const auto live =
      std::count_if(info.ports.begin(), info.ports.end(), [](const PortInfo& p) { return p.live; });
  const auto dead = static_cast<std::ptrdiff_t>(info.ports.size()) - live;
  std::string ports = std::to_string(live) + " live";
  if (dead != 0) ports += ", " + std::to_string(dead) + " dead";
  ports += ", " + std::to_string(info.slots) + " slots";
  std::string lock = lock_text(info);
  if (info.lock_holder && why_no_holder(info) == nullptr) {
    lock = "held by " + lock + name_of_slot(info, *info.lock_holder);
  }
  const char* const no_end = why_no_end(info);
  std::string out;
  const auto row = [&out](const char* name, const std::string& value) {
    out += heading(name, value);
  };
  row("bus", base::printable(info.path));
  row("file", info.file_system + ", inode " + std::to_string(info.inode) + ", created " +
                  local_time(info.created_ns) + ", layout " +
                  signature_text(info.layout_signature));
  row("geometry", "ring " + format_bytes(info.ring_bytes) + ", mtu " + std::to_string(info.mtu) +
                      ", largest record " + std::to_string(info.max_record_bytes) + " B");
  if (info.flow == Flow::pause) {
    row("flow", "pause: senders wait for slow ports, " + format_milliseconds(info.patience_ns) +
                    " at most for a port that reads nothing");
  }
  row("generation", no_end == nullptr ? std::to_string(info.generation) : "-");
  row("first", position_text(info.first, why_no_first(info)));
  row("last", position_text(info.last, no_end) +
                  (no_end == nullptr && why_no_first(info) == nullptr
                       ? " (" + format_bytes(info.last - info.first) + " of history)"
                       : ""));
  row("frames", no_end == nullptr ? std::to_string(info.frames) : "-");
  row("epoch", std::to_string(info.epoch));
  if (why_no_acquisitions(info) == nullptr)
    lock += ", " + std::to_string(info.lock_acquisitions) + " acquisitions";
  row("lock", lock);
  if (info.longest_hold_ns) {
    row("longest", format_milliseconds(*info.longest_hold_ns) + " that one holder kept the lock");
  }
  row("takeovers", std::to_string(info.takeovers_dead) + " from dead holders, " +
                       std::to_string(info.takeovers_living) + " from living ones");
  row("recovered", std::to_string(info.claims_freed) + " claims of dead writers freed, " +
                       std::to_string(info.repairs) + " repairs");
  add_port_rows(info, lines, row);
  row("ports", ports);
  if (std::ranges::any_of(info.ports, &PortInfo::lost_is_lower_bound)) {
    row("note", "corruption was seen; lost_frames may be too low");
  }
  return out;
}

// ---- A bus of NetBSD's format ----

constexpr const char* kNoTable = "the format has no table of ports";
constexpr const char* kNoNumbers = "the format does not number frames";
constexpr const char* kNoOwner = "the format does not tell who holds the lock";
constexpr const char* kNoClaims = "there are no claims in this format";

/// The fields that the format does not have, and why. Each is null.
constexpr std::array<std::pair<const char*, const char*>, 10> kNullInNetbsd{
    {{"created_ns", "the format does not tell when the bus was made"},
     {"frames", kNoNumbers},
     {"lock_holder", kNoOwner},
     {"lock_acquisitions", kNoOwner},
     {"takeovers", "nobody takes a lock over in this format"},
     {"longest_hold_ns", kNoOwner},
     {"claims", kNoClaims},
     {"claims_freed", kNoClaims},
     {"repairs", "the format does not count repairs"},
     {"ports", kNoTable}}};

std::string netbsd_json(const BusInfo& info) {
  const BusInfo::Netbsd& own = *info.netbsd;
  Json json{{"path", info.path},
            {"format", to_string(info.format)},
            {"file_system", info.file_system},
            {"inode", info.inode},
            {"version", own.version},
            {"geometry",
             {{"ring_bytes", info.ring_bytes},
              {"mtu", info.mtu},
              {"flow", to_string(info.flow)},
              {"max_frame_bytes", info.max_record_bytes}}},
            {"generation", info.generation},
            {"first_offset", own.first_offset},
            {"last_offset", own.last_offset},
            {"lock_is_held", own.lock_is_held}};
  const char* const unknown = why_no_end(info);
  const auto if_known = [&](std::uint64_t figure) {
    return unknown == nullptr ? std::optional(figure) : std::nullopt;
  };
  set_figure(json, "first", if_known(info.first), unknown);
  set_figure(json, "last", if_known(info.last), unknown);
  set_figure(json, "frames_in_ring", own.frames_in_ring, unknown);
  set_figure(json, "bytes_in_ring", own.bytes_in_ring, unknown);
  for (const auto& [name, why] : kNullInNetbsd) set_null(json, name, why);
  return json_text(json);
}

std::string netbsd_text(const BusInfo& info) {
  const BusInfo::Netbsd& own = *info.netbsd;
  std::string out;
  const auto row = [&out](const char* name, const std::string& value) {
    out += heading(name, value);
  };
  row("bus", base::printable(info.path));
  row("format", "NetBSD's, version " + std::to_string(own.version) +
                    (own.version == 0 ? " (nobody has rung yet)" : ""));
  row("file", info.file_system + ", inode " + std::to_string(info.inode));
  row("geometry", "ring " + std::to_string(info.ring_bytes) + " B, mtu " +
                      std::to_string(info.mtu) + ", largest frame " +
                      std::to_string(info.max_record_bytes) + " B");
  row("generation", std::to_string(info.generation));
  const char* const why = why_no_end(info);
  const bool is_known = why == nullptr;
  row("first", (is_known ? std::to_string(info.first) : "not known") + ", offset " +
                   std::to_string(own.first_offset));
  row("last", (is_known ? std::to_string(info.last) : "not known") + ", newest header at offset " +
                  std::to_string(own.last_offset) +
                  (is_known ? " (" + format_bytes(info.last - info.first) + " of history)" : ""));
  row("in ring", is_known ? base::counted(*own.frames_in_ring, "frame") + ", " +
                                std::to_string(*own.bytes_in_ring) + " B"
                          : std::string("not known: ") + why);
  row("lock", own.lock_is_held ? "held, nobody knows by whom" : "free");
  row("ports", "NetBSD's format does not list them");
  row("counts", "NetBSD's format has none of sent and lost frames");
  return out;
}

}  // namespace

Error with_buses_of_lab(Error error, const std::string& path) {
  constexpr std::size_t kMaxNamed = 4;
  if (error.code != std::errc::no_such_file_or_directory || path.find('/') != std::string::npos)
    return error;
  const std::optional<FoundLab> lab = find_lab(path);
  if (!lab || !lab->alive || lab->state.buses.empty()) return error;
  const auto& buses = lab->state.buses;
  std::string names;
  for (std::size_t i = 0; i < std::min(buses.size(), kMaxNamed); ++i) {
    names += (i == 0 ? "" : ", ") + buses[i].path;
  }
  if (buses.size() > kMaxNamed) names += ", ... ('shmifctl ls' lists all)";
  return Error(error.code, "cannot open the bus " + path + ": there is no such file, but " + path +
                               " is a lab: name a bus of it, as " + names);
}

Bus look_at(const std::string& path) {
  Result<Bus> opened = Bus::open(path);
  if (!opened) throw Exception(with_buses_of_lab(std::move(opened).error(), path));
  Bus bus = *std::move(opened);
  if (!bus.warning().empty()) log_warning(bus.warning());
  return bus;
}

const char* up_name(const PortInfo& port) noexcept {
  if (!port.up) return "down";
  if (!port.carrier_known) return "carrier?";
  return port.carrier ? "up" : "no-carrier";
}

const char* why_no_end(const BusInfo& info) noexcept {
  if (info.netbsd) {
    return info.netbsd->frames_in_ring
               ? nullptr
               : "the lock was held, or senders changed the bus, at each look";
  }
  if (!bus::can_be_position(info.last)) return "no record can end there";
  if (info.last < info.first) return "before first";
  // If `first` itself is wrong, nobody knows how far it is.
  const bool is_far = info.last - info.first > info.ring_bytes && why_no_first(info) == nullptr;
  return is_far ? "further past first than the ring is long" : nullptr;
}

const char* why_no_acquisitions(const BusInfo& info) noexcept {
  const bool is_known =
      !info.lock_holder || bus::kind_of_holder(*info.lock_holder) != bus::LockHolder::nobody;
  return is_known ? nullptr : why_no_holder(info);
}

std::string lock_text(const BusInfo& info) {
  if (const char* const why = why_no_holder(info)) {
    const bool is_repair = bus::kind_of_holder(*info.lock_holder) == bus::LockHolder::repair;
    return is_repair ? "held by a repair" : "- (" + std::string(why) + ')';
  }
  return info.lock_holder ? "slot " + std::to_string(*info.lock_holder) : "free";
}

std::string pid_text(const PortInfo& port) {
  return port.pid > 0 ? std::to_string(port.pid) : "-";
}

std::string mac_text(const PortInfo& port) {
  return port.mac.is_unicast() ? port.mac.to_string() : "-";
}

std::string to_json(const BusInfo& info, const std::vector<LineState>* lines) {
  if (info.netbsd) return netbsd_json(info);
  Json claims = Json::array();
  Json ports = Json::array();
  for (const PortInfo& port : info.ports) {
    Json& row = ports.emplace_back(port_json(port));
    if (port.up && why_no_end(info) != nullptr)
      set_null(row, "unread_bytes", "the last of the bus is not known");
    add_line(row, lines, port);
    if (port.claim_bytes) {
      claims.push_back({{"slot", port.slot}, {"name", port.name}, {"bytes", *port.claim_bytes}});
    }
  }
  Json json(
      {{"path", info.path},
       {"format", to_string(info.format)},
       {"file_system", info.file_system},
       {"inode", info.inode},
       {"created_ns", info.created_ns},
       {"layout_signature", signature_text(info.layout_signature)},
       {"geometry",
        {{"ring_bytes", info.ring_bytes},
         {"mtu", info.mtu},
         {"flow", to_string(info.flow)},
         {"patience_ns", info.patience_ns},
         {"max_record_bytes", info.max_record_bytes},
         {"slots", info.slots}}},
       {"generation", info.generation},
       {"first", info.first},
       {"last", info.last},
       {"frames", info.frames},
       {"epoch", info.epoch},
       {"lock_holder", info.lock_holder ? Json(*info.lock_holder) : Json(nullptr)},
       {"lock_acquisitions", info.lock_acquisitions},
       {"takeovers", {{"dead", info.takeovers_dead}, {"living", info.takeovers_living}}},
       {"longest_hold_ns", info.longest_hold_ns ? Json(*info.longest_hold_ns) : Json(nullptr)},
       {"claims", claims},
       {"claims_freed", info.claims_freed},
       {"repairs", info.repairs},
       {"ports", ports}});
  if (const char* const why = why_no_first(info)) set_null(json, "first", why);
  if (const char* const why = why_no_end(info)) {
    set_null(json, "last", why);
    set_null(json, "generation", "last is not known");
    set_null(json, "frames", "last is not known");
  }
  if (const char* const why = why_no_holder(info)) set_null(json, "lock_holder", why);
  if (const char* const why = why_no_acquisitions(info)) set_null(json, "lock_acquisitions", why);
  return json_text(std::move(json));
}

std::string to_json(const std::string& path, const AuditReport& report) {
  Json findings = Json::array();
  for (const AuditFinding& finding : report.findings) {
    findings.push_back({{"invariant", finding.invariant}, {"what", finding.what}});
  }
  Json json{{"path", path},
            {"clean", report.clean()},
            {"records", report.records},
            {"frames", report.frames},
            {"pads", report.pads},
            {"findings", findings},
            {"notes", report.notes}};
  if (!report.is_known) {
    for (const char* const name : {"clean", "records", "frames", "pads"})
      set_null(json, name, "senders changed the bus at each look");
  }
  return json_text(json);
}

std::string to_json(const std::string& path, const RepairReport& report, BusFormat format) {
  // NetBSD's format knows neither ports nor claims nor epochs.
  const bool has_ports = format == BusFormat::shmif;
  const auto if_ports = [has_ports](std::uint64_t figure) {
    return has_ports ? std::optional(figure) : std::nullopt;
  };
  Json json{{"path", path},
            {"format", to_string(format)},
            {"header_restored", report.header_restored},
            {"lock_released", report.lock_released},
            {"ring_rebuilt", report.ring_rebuilt}};
  set_figure(json, "ports_freed", if_ports(report.ports_freed), kNoTable);
  set_figure(json, "claims_cleared", if_ports(report.claims_cleared), kNoClaims);
  set_figure(json, "epoch", if_ports(report.epoch), "the format has no epoch");
  set_figure(json, "frames_kept",
             report.ring_rebuilt ? std::optional(report.frames_kept) : std::nullopt,
             "the ring was not rebuilt");
  return json_text(json);
}

std::string to_text(const std::string& path, const AuditReport& report) {
  std::string out;
  for (const AuditFinding& finding : report.findings) {
    out += finding.invariant + ": " + finding.what + '\n';
  }
  for (const std::string& note : report.notes) out += "note: " + note + '\n';
  if (report.clean()) {
    out += base::printable(path) + ": every invariant holds (" +
           base::counted(report.records, "record") + ", " + base::counted(report.frames, "frame") +
           ", " + base::counted(report.pads, "pad") + ")\n";
  }
  return out;
}

std::string to_text(const RepairReport& report) {
  std::string out;
  const auto add = [&out](const std::string& what) { out += (out.empty() ? "" : ", ") + what; };
  if (!report.header_restored.empty()) {
    std::string fields;
    for (const std::string& field : report.header_restored) {
      fields += (fields.empty() ? "" : ", ") + field;
    }
    add("restored the header (" + fields + ')');
  }
  if (report.ports_freed != 0) add("freed " + base::counted(report.ports_freed, "dead port"));
  if (report.claims_cleared != 0) add("cleared " + base::counted(report.claims_cleared, "claim"));
  if (report.lock_released) add("released the lock");
  if (report.ring_rebuilt) {
    add("rebuilt the ring keeping " + base::counted(report.frames_kept, "frame") + " (epoch " +
        std::to_string(report.epoch) + ')');
  }
  return out.empty() ? "nothing to repair" : out;
}

std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  std::vector<bool> numeric;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    widths.resize(std::max(widths.size(), rows[r].size()), 0);
    numeric.resize(widths.size(), rows.size() > 1);
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      widths[c] = std::max(widths[c], base::columns_of(rows[r][c]));
      if (r > 0 && !looks_like_a_number(rows[r][c])) numeric[c] = false;
    }
  }
  std::string out;
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string gap(widths[c] - base::columns_of(row[c]), ' ');
      line += (c == 0 ? "" : "  ") + (numeric[c] ? gap + row[c] : row[c] + gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

std::string folded(const std::vector<std::vector<std::string>>& rows, std::size_t keys,
                   std::size_t width) {
  std::string out;
  const std::size_t columns = rows.front().size();
  for (std::size_t from = keys; from < columns;) {
    std::string block;
    std::size_t end = from;
    for (; end < columns; ++end) {  // the widest block that fits, but with at least one column
      std::vector<std::vector<std::string>> part;
      for (const std::vector<std::string>& row : rows) {
        std::vector<std::string> cells(row.begin(), row.begin() + static_cast<long>(keys));
        cells.insert(cells.end(), row.begin() + static_cast<long>(from),
                     row.begin() + static_cast<long>(end) + 1);
        part.push_back(std::move(cells));
      }
      std::string wider = aligned(part);
      std::size_t widest = 0;
      for (std::size_t at = 0; at < wider.size();) {
        const std::size_t line_end = wider.find('\n', at);
        widest =
            std::max(widest, base::columns_of(std::string_view(wider).substr(at, line_end - at)));
        at = line_end + 1;
      }
      if (width != 0 && widest > width && end > from) break;
      block = std::move(wider);
    }
    out += (out.empty() ? "" : "\n") + block;
    from = end;
  }
  return out;
}

std::string to_text(const BusInfo& info, std::size_t width, const std::vector<LineState>* lines) {
  if (info.netbsd) return netbsd_text(info);
  std::string out = head_text(info, lines);
  if (info.ports.empty()) return out;
  std::vector<std::vector<std::string>> ports = {
      {"slot", "name", "state", "up", "link", "pid", "mac", "mode"}};
  // The most important columns come first: on a narrow terminal they are in the first block.
  std::vector<std::vector<std::string>> counters = {
      {"slot", "name", "tx_frames", "rx_frames", "lost_frames", "too_long", "tx_bytes", "rx_bytes",
       "overruns", "lost_bytes", "corrupt", "wakeups", "doorbells", "lock_sleeps"}};
  for (const PortInfo& port : info.ports) {
    ports.push_back({std::to_string(port.slot), port.name, state_name(port), up_name(port),
                     to_string(port.link), pid_text(port), mac_text(port), mode_name(port)});
    std::vector<std::string> row = {std::to_string(port.slot), port.name};
    for (const std::uint64_t number :
         {port.tx_frames, port.rx_frames, port.lost_frames, port.too_long_frames, port.tx_bytes,
          port.rx_bytes, port.overruns, port.lost_bytes, port.corrupt, port.wakeups, port.doorbells,
          port.lock_sleeps}) {
      row.push_back(std::to_string(number));
    }
    counters.push_back(std::move(row));
  }
  return out + '\n' + folded(ports, 2, width) + '\n' + folded(counters, 2, width);
}

}  // namespace shmif::tools
