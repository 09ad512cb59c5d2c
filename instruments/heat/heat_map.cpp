#include "instruments/heat/heat_map.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "base/nearest_rank.hpp"
#include "base/text.hpp"

namespace shmif::perf {
namespace {

/// Memory counts as equally hot if it was accessed at least nine tenths as often as the hottest.
constexpr double kNearly = 0.9;

/// An address at which the number of accesses changes, and by how much.
struct HeatStep {
  std::uint64_t at = 0;
  std::ptrdiff_t windows = 0;
  double share = 0;
};

/// Stretches of bytes that were accessed in the same windows, sorted and disjoint. Bytes without an
/// access are left out.
std::vector<HeatStretch> stretches_of(const HeatResult& result) {
  std::vector<HeatStep> steps;
  for (const HeatWindow& window : result.windows) {
    for (const Region& region : window.regions) {
      if (region.accesses == 0 || window.samples == 0) continue;
      const double share = static_cast<double>(region.accesses) / window.samples /
                           static_cast<double>(result.windows.size());
      steps.push_back({region.begin, 1, share});
      steps.push_back({region.end, -1, -share});
    }
  }
  std::ranges::sort(steps, {}, &HeatStep::at);
  std::vector<HeatStretch> stretches;
  HeatStep now;
  for (const HeatStep& step : steps) {
    if (now.windows > 0 && step.at > now.at) {
      stretches.push_back(
          {{now.at, step.at}, static_cast<std::size_t>(now.windows), std::min(now.share, 1.0)});
    }
    now = {step.at, now.windows + step.windows, now.share + step.share};
    if (now.windows == 0) now.share = 0;  // without the rounding errors of the sums
  }
  return stretches;
}

/// The parts of `stretches` that lie in `range`.
std::vector<HeatStretch> within(const std::vector<HeatStretch>& stretches, AddressRange range) {
  std::vector<HeatStretch> parts;
  auto each = std::ranges::upper_bound(stretches, range.begin, {},
                                       [](const HeatStretch& one) { return one.range.end; });
  for (; each != stretches.end() && each->range.begin < range.end; ++each) {
    parts.push_back(*each);
    parts.back().range = {std::max(each->range.begin, range.begin),
                          std::min(each->range.end, range.end)};
  }
  return parts;
}

/// Memory that was accessed in this many windows counts as accessed all the time.
std::size_t nine_of_ten(std::size_t windows) {
  return windows - windows / 10;
}

std::string in_windows(std::size_t windows) {
  if (windows == 1) return "in the one window";
  if (nine_of_ten(windows) < windows) return "in nine of ten windows";
  return "in each of " + std::to_string(windows) + " windows";
}

/// "64.0 KiB of pattern at 128.0 KiB".
std::string place_of(AddressRange hot, const NamedRange& memory) {
  const std::string name =
      memory.name.empty() ? base::hex(memory.range.begin) : base::printable(memory.name);
  if (hot == memory.range) return name + " (" + heat_bytes(hot.bytes()) + ')';
  return heat_bytes(hot.bytes()) + " of " + name + " at " +
         heat_bytes(hot.begin - memory.range.begin);
}

/// " in any of 4 windows", for what never happened.
std::string heat_in_any(std::size_t windows) {
  return windows == 1 ? " in the one window" : " in any of " + std::to_string(windows) + " windows";
}

}  // namespace

std::string bytes_with_care(const HeatResult& result, std::uint64_t bytes) {
  const std::string& precision = result.provenance.precision;
  if (precision == "mapping") return "mappings with " + heat_bytes(bytes);
  return (precision == "page" ? "" : "about ") + heat_bytes(bytes);
}

std::string heat_share(double share) {
  if (!(share > 0)) return "0 %";
  if (share < 0.01) return "below 1 %";
  if (share < 1 && share > 0.99) return "over 99 %";
  return std::to_string(std::lround(share * 100)) + " %";
}

std::optional<HeatStretch> hottest_of(const std::vector<HeatStretch>& stretches) {
  double most = 0;
  for (const HeatStretch& each : stretches) most = std::max(most, each.share);
  std::optional<HeatStretch> best;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    HeatStretch one = stretches[i];
    if (one.share < kNearly * most) continue;
    double sum = one.share * static_cast<double>(one.range.bytes());
    for (; i + 1 < stretches.size(); ++i) {
      const HeatStretch& next = stretches[i + 1];
      if (next.range.begin != one.range.end || next.share < kNearly * most) break;
      sum += next.share * static_cast<double>(next.range.bytes());
      one.range.end = next.range.end;
      one.windows = std::min(one.windows, next.windows);
    }
    one.share = sum / static_cast<double>(one.range.bytes());
    if (!best || one.range.bytes() > best->range.bytes()) best = one;
  }
  return best;
}

std::string heat_target(const HeatResult& result) {
  std::string name = base::printable(result.name);
  if (result.process.number == 0) return name;
  return "process " + std::to_string(result.process.number) +
         (name.empty() ? "" : " (" + name + ')');
}

std::string heat_conclusion(const HeatResult& result) {
  const std::string who = heat_target(result) + ": ";
  const std::size_t windows = result.windows.size();
  if (windows == 0) return who + "not measured";
  const bool is_of_writes = !result.provenance.reads_precision.empty();
  const char* const accessed = is_of_writes ? "written " : "accessed ";
  const auto all = stretches_of(result);
  std::uint64_t whole = 0, steady = 0, any = 0;
  std::vector<std::pair<HeatStretch, const NamedRange*>> hot;  // the hottest of each range
  for (const NamedRange& each : result.ranges) {
    whole += each.range.bytes();
    const auto parts = within(all, each.range);
    for (const HeatStretch& part : parts) {
      any += part.range.bytes();
      if (part.windows >= nine_of_ten(windows)) steady += part.range.bytes();
    }
    if (const auto one = hottest_of(parts)) hot.emplace_back(*one, &each);
  }
  if (hot.empty())
    return who + (is_of_writes ? "no write to " : "no access to ") + heat_bytes(whole) +
           heat_in_any(windows);
  const double share = static_cast<double>(steady) / static_cast<double>(whole);
  std::string text = who;
  text += steady == 0 ? "none of " + heat_bytes(whole) + " was " + accessed
                      : bytes_with_care(result, steady) + " of " + heat_bytes(whole) + " (" +
                            heat_share(share) + ") were " + accessed;
  text += in_windows(windows);
  if (any != steady) text += ", " + heat_bytes(any) + " in any";
  const auto share_of = [](const auto& one) { return one.first.share; };
  const double most = share_of(*std::ranges::max_element(hot, {}, share_of));
  std::erase_if(hot, [&](const auto& one) { return share_of(one) < kNearly * most; });
  const auto& [stretch, memory] =
      *std::ranges::max_element(hot, {}, [](const auto& one) { return one.first.range.bytes(); });
  return text + "; hottest: " + place_of(stretch.range, *memory) + ", in " +
         heat_share(stretch.share) + " of the samples";
}

std::string heat_folded(const std::string& text, std::size_t columns, const std::string& first) {
  constexpr const char* kIndent = "  ";
  std::string lines;
  std::string line = first;
  bool begins = true;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (!begins && line.size() + 1 + (end - at) > columns) {
      lines += line + '\n';
      line = kIndent;
    } else if (!begins) {
      line += ' ';
    }
    line += text.substr(at, end - at);
    begins = false;
    at = end + 1;
  }
  return lines + line + '\n';
}

namespace {

constexpr std::size_t kMaxRows = 20;
constexpr std::size_t kNameColumns = 24;
constexpr std::size_t kNarrowest = 60;
constexpr std::string_view kPlain = "\x1b[0m";
constexpr std::string_view kBold = "\x1b[1m";

/// The colour for a share of the samples: it changes above a third and above two thirds.
std::string_view colour_of(double share) {
  constexpr double kThird = 1.0 / 3;
  if (!(share > 0)) return "";
  if (share <= kThird) return "\x1b[32m";
  return share <= 2 * kThird ? "\x1b[33m" : "\x1b[31m";
}

template <class... Value>
std::string formatted(const char* format, Value... values) {
  std::array<char, 200> text{};
  const int length = std::snprintf(text.data(), text.size(), format, values...);
  return {text.data(), std::min(static_cast<std::size_t>(std::max(length, 0)), text.size() - 1)};
}

std::string fitted(std::string text, std::size_t columns) {
  text = base::printable(text);
  if (text.size() > columns) text = ".." + text.substr(text.size() - columns + 2);
  text.resize(columns, ' ');
  return text;
}

std::string head_of_row(const NamedRange& memory) {
  const std::string name = memory.name.empty() ? base::hex(memory.range.begin) : memory.name;
  return fitted(name, kNameColumns) + formatted("%10s ", heat_bytes(memory.range.bytes()).c_str());
}

double total(const std::vector<double>& shares) {
  return std::accumulate(shares.begin(), shares.end(), 0.0);
}

using Windows = std::span<const HeatWindow>;

bool knows_writes(Windows windows) {
  return std::ranges::any_of(windows, [](const HeatWindow& window) {
    return std::ranges::any_of(window.regions,
                               [](const Region& region) { return region.writes.has_value(); });
  });
}

/// The ranges with at least one access in the windows, the hottest per byte first.
std::vector<const NamedRange*> accessed(const HeatResult& result, Windows windows) {
  std::vector<std::pair<double, const NamedRange*>> rows;
  for (const NamedRange& each : result.ranges) {
    const double heat = total(heat_of(windows, each.range, 1));
    if (heat > 0) rows.emplace_back(heat, &each);
  }
  std::ranges::sort(rows, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second->range.begin < b.second->range.begin;
  });
  std::vector<const NamedRange*> ranges;
  ranges.reserve(rows.size());
  for (const auto& row : rows) ranges.push_back(row.second);
  return ranges;
}

std::string range_rows(const HeatResult& result, Windows windows,
                       const std::vector<const NamedRange*>& rows, std::size_t columns,
                       bool in_colour) {
  const std::size_t strip = columns - kNameColumns - 14;
  const bool writes = knows_writes(windows) && result.provenance.reads_precision.empty();
  const auto row_of = [&](const NamedRange& each, HeatOf of) {
    const auto shares = heat_of(windows, each.range, strip, of);
    const auto all = heat_of_all(shares);
    if (!all) return '|' + heat_strip(shares, in_colour) + "|\n";
    return *all > 0 ? "all alike, in " + heat_share(*all) + " of the samples\n" : "nowhere\n";
  };
  std::string text;
  for (const NamedRange* const each : rows) {
    text += head_of_row(*each) + row_of(*each, HeatOf::accesses);
    if (!writes) continue;
    text +=
        fitted("", kNameColumns) + formatted("%10s ", "written") + row_of(*each, HeatOf::writes);
  }
  return text;
}

/// A map: time goes down, and addresses go across. It shows the accessed ranges, one after another.
std::string map_over_time(Windows windows, std::vector<const NamedRange*> ranges,
                          std::size_t columns, bool in_colour, std::size_t max_rows = kMaxRows) {
  std::ranges::sort(ranges, {}, [](const NamedRange* each) { return each->range.begin; });
  double bytes = 0;
  for (const NamedRange* const each : ranges) bytes += static_cast<double>(each->range.bytes());
  const std::size_t strip = columns - 12;
  const std::size_t rows = std::min(max_rows, windows.size());
  std::vector<double> all;
  std::string text = "over time, addresses of these one after another:\n";
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t first = row * windows.size() / rows;
    const std::size_t last = (row + 1) * windows.size() / rows;
    const Windows part = windows.subspan(first, last - first);
    std::vector<double> line;
    for (const NamedRange* const each : ranges) {
      const double share = static_cast<double>(each->range.bytes()) / bytes;
      const auto cells = static_cast<std::size_t>(share * static_cast<double>(strip));
      const auto shares = heat_of(part, each->range, std::max<std::size_t>(cells, 1));
      line.insert(line.end(), shares.begin(), shares.end());
    }
    line.resize(std::min(line.size(), strip));
    text += formatted("%8.2f s |", part.front().begin_s) + heat_strip(line, in_colour) + '\n';
    all.insert(all.end(), line.begin(), line.end());
  }
  const auto one = heat_of_all(all);
  if (!one) return text;
  return "over time: all alike, in " + heat_share(*one) + " of the samples of each window\n";
}

std::string working_set_line(const HeatResult& result) {
  const auto bytes = working_set_percentiles(result.windows);
  std::string text = "working set, percentiles of the windows:";
  constexpr std::array kNames = {"least", "25 %", "50 %", "75 %", "most"};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text += std::string(i == 0 ? " " : ", ") + kNames[i] + ' ' + heat_bytes(bytes[i]);
  }
  return text + '\n';
}

/// Rows for the mappings: in how many looks each mapping was read or written, as a whole.
std::string mapping_rows(const HeatResult& result) {
  const MappingLooks& known = result.mappings;
  auto all = known.mappings;
  std::erase_if(all, [](const MappingLooks::Mapping& each) { return each.accesses == 0; });
  if (known.looks == 0) return "";
  std::ranges::sort(all, [](const auto& a, const auto& b) {
    return a.accesses != b.accesses ? a.accesses > b.accesses
                                    : a.memory.range.begin < b.memory.range.begin;
  });
  std::string text = "whole mappings, read or written: share of " + std::to_string(known.looks) +
                     (known.looks == 1 ? " look\n" : " looks\n");
  for (std::size_t i = 0; i < std::min(all.size(), kMaxRows); ++i) {
    text += head_of_row(all[i].memory) +
            heat_share(static_cast<double>(all[i].accesses) / known.looks) + '\n';
  }
  if (all.size() > kMaxRows) {
    text += "  and " + std::to_string(all.size() - kMaxRows) + " more mappings\n";
  }
  return text;
}

/// If costly samples are taken less often than the user asked for: how often they are taken, and
/// how long the windows became.
std::string seldom_line(const HeatResult& result, const HeatAttributes& attributes) {
  const std::chrono::duration<double> asked = attributes.sampling;
  if (result.rest_s <= asked.count()) return "";
  double seconds = 0, samples = 0;
  for (const HeatWindow& window : result.windows) {
    seconds += window.end_s - window.begin_s;
    samples += window.samples;
  }
  if (samples == 0) return "";
  constexpr double kMilliseconds = 1000;
  return formatted(
      "  a sample each %.0f ms, windows of %.0f ms, to take little of the time (--budget)\n",
      kMilliseconds * seconds / samples,
      kMilliseconds * seconds / static_cast<double>(result.windows.size()));
}

std::string target_text(const HeatResult& result, const HeatAttributes& attributes,
                        std::size_t columns, bool in_colour) {
  std::string text = heat_target(result);
  if (!result.provenance.source.empty()) {
    text += ": by " + result.provenance.source + ", precision: " + result.provenance.precision;
    if (!result.provenance.reads_precision.empty()) {
      text += " for writes, " + result.provenance.reads_precision + " for reads";
    }
    if (result.kernel_thread != 0) {
      text += ", kdamond: process " + std::to_string(result.kernel_thread);
    }
  }
  text += '\n';
  if (!result.reason.empty()) text += "  " + base::printable(result.reason) + '\n';
  if (result.windows.empty()) return text + "  not measured\n";
  text += seldom_line(result, attributes);
  if (!result.fallback_reason.empty()) {
    text += "  pages are not known: " + base::printable(result.fallback_reason) + '\n';
  }
  if (!result.provenance.writes_reason.empty()) {
    text += "  writes are not measured: " + result.provenance.writes_reason + '\n';
  }
  for (const std::string* const each : {&result.provenance.reads_reason, &result.provenance.note}) {
    if (each->empty()) continue;
    text += each == &result.provenance.note ? "  " : "  reads are not measured: ";
    text += base::printable(*each) + '\n';
  }
  auto ranges = accessed(result, result.windows);
  const std::size_t all = ranges.size();
  if (all == 0)
    return text + (result.provenance.reads_precision.empty() ? "  no access" : "  no write") +
           heat_in_any(result.windows.size()) + '\n' + mapping_rows(result);
  ranges.resize(std::min(all, kMaxRows));
  text += range_rows(result, result.windows, ranges, columns, in_colour);
  if (all > kMaxRows) text += "  and " + std::to_string(all - kMaxRows) + " more mappings\n";
  text += map_over_time(result.windows, ranges, columns, in_colour);
  return text + working_set_line(result) + mapping_rows(result);
}

/// The first `rows` lines of a text.
std::string first_lines(const std::string& text, std::size_t rows) {
  std::size_t end = 0;
  for (; rows > 0 && end < text.size(); --rows) end = text.find('\n', end) + 1;
  return text.substr(0, end);
}

/// All windows, if there are fewer.
Windows newest(const HeatResult& result, std::size_t windows) {
  return Windows(result.windows).last(std::min(windows, result.windows.size()));
}

/// A target in at most `rows` lines of a picture.
std::string target_picture(const HeatResult& result, std::size_t columns, std::size_t rows,
                           bool in_colour) {
  std::string head = heat_target(result);
  if (!result.windows.empty()) {
    std::uint64_t most = 0;
    for (const HeatWindow& each : result.windows) most = std::max(most, each.working_set_bytes);
    const HeatWindow& last = result.windows.back();
    head += formatted(", %.1f s: ", last.end_s) + bytes_with_care(result, last.working_set_bytes) +
            " in the newest window, at most " + bytes_with_care(result, most);
  }
  if (!result.reason.empty()) head += "; " + base::printable(result.reason);
  if (in_colour) head = std::string(kBold) + head + std::string(kPlain);
  head += '\n';
  if (const std::string why = heat_slowness(result); !why.empty()) head += "  " + why + '\n';
  if (result.windows.empty()) {
    return first_lines(head + (result.reason.empty() ? "  no window yet\n" : "  not measured\n"),
                       rows);
  }
  const Windows shown = newest(result, rows);
  auto ranges = accessed(result, shown);
  if (ranges.empty()) {
    const bool knows_reads = result.provenance.reads_precision.empty();
    return first_lines(head + (knows_reads ? "  no access" : "  no write") +
                           heat_in_any(shown.size()) + '\n' + mapping_rows(result),
                       rows);
  }
  // Half of the lines below the head are for the ranges, and the others for the map and its title.
  const bool writes = knows_writes(shown) && result.provenance.reads_precision.empty();
  const std::size_t lines_of_range = writes ? 2 : 1;
  const std::size_t room = rows - std::min<std::size_t>(rows, 2);
  ranges.resize(std::min(ranges.size(), std::max<std::size_t>(room / 2 / lines_of_range, 1)));
  const std::size_t map = room - std::min(room, ranges.size() * lines_of_range);
  std::string text = head + range_rows(result, newest(result, 1), ranges, columns, in_colour);
  if (map > 0) text += map_over_time(newest(result, map), ranges, columns, in_colour, map);
  return first_lines(text + mapping_rows(result), rows);
}

/// The character for a share of the samples (0 to 1).
char heat_character(double share) noexcept {
  if (!(share > 0)) return kHeatScale.front();
  const auto steps = static_cast<double>(kHeatScale.size() - 1);
  const auto step = static_cast<std::size_t>(std::ceil(std::min(share, 1.0) * steps - 1e-9));
  return kHeatScale[std::clamp<std::size_t>(step, 1, kHeatScale.size() - 1)];
}

}  // namespace

std::vector<double> heat_of(const HeatWindow& window, AddressRange range, std::size_t cells,
                            HeatOf of) {
  std::vector<double> shares(cells);
  if (window.samples == 0 || cells == 0 || range.bytes() == 0) return shares;
  const double cell = static_cast<double>(range.bytes()) / static_cast<double>(cells);
  for (const Region& region : window.regions) {
    const std::uint64_t begin = std::max(region.begin, range.begin);
    const std::uint64_t end = std::min(region.end, range.end);
    const std::uint32_t count =
        of == HeatOf::accesses ? region.accesses : region.writes.value_or(0);
    if (begin >= end || count == 0) continue;
    const double share = static_cast<double>(count) / window.samples;
    const double from = static_cast<double>(begin - range.begin) / cell;
    const double to = static_cast<double>(end - range.begin) / cell;
    for (auto i = static_cast<std::size_t>(from); i < cells && static_cast<double>(i) < to; ++i) {
      const auto left = static_cast<double>(i);
      shares[i] += share * (std::min(to, left + 1) - std::max(from, left));
    }
  }
  return shares;
}

std::vector<double> heat_of(std::span<const HeatWindow> windows, AddressRange range,
                            std::size_t cells, HeatOf of) {
  std::vector<double> mean(cells);
  for (const HeatWindow& window : windows) {
    const auto shares = heat_of(window, range, cells, of);
    for (std::size_t i = 0; i < cells; ++i) {
      mean[i] += shares[i] / static_cast<double>(windows.size());
    }
  }
  return mean;
}

std::string heat_strip(const std::vector<double>& shares, bool in_colour) {
  std::string strip;
  std::string_view colour;
  for (const double share : shares) {
    const std::string_view wanted = in_colour ? colour_of(share) : "";
    if (wanted != colour) strip += wanted.empty() ? kPlain : wanted;
    colour = wanted;
    strip += heat_character(share);
  }
  if (!colour.empty()) strip += kPlain;
  return strip;
}

std::optional<double> heat_of_all(const std::vector<double>& shares) {
  if (shares.empty()) return std::nullopt;
  const char first = heat_character(shares.front());
  for (const double share : shares) {
    if (heat_character(share) != first) return std::nullopt;
  }
  return total(shares) / static_cast<double>(shares.size());
}

std::string heat_bytes(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  constexpr double kRoundsUp = 1023.95;  // would be shown as 1024.0
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= (unit == 0 ? 1024 : kRoundsUp) && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return formatted(unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string heat_text(const std::vector<HeatResult>& results, const HeatAttributes& attributes,
                      std::size_t columns, bool in_colour) {
  columns = std::max(columns, kNarrowest);
  std::string text;
  for (const HeatResult& each : results) text += heat_folded(heat_conclusion(each), columns);
  if (in_colour) text = std::string(kBold) + text + std::string(kPlain);
  text += "sampling " + std::to_string(attributes.sampling.count()) + " us, windows of " +
          std::to_string(attributes.aggregation.count()) +
          " us; share of the samples with an access, from none to all: \"" +
          std::string(kHeatScale) + "\"\n";
  for (const HeatResult& each : results)
    text += '\n' + target_text(each, attributes, columns, in_colour);
  return text;
}

std::string heat_picture(const std::vector<const HeatResult*>& results,
                         const HeatAttributes& attributes, std::size_t columns, std::size_t rows,
                         bool in_colour) {
  constexpr std::size_t kFewest = 4;  // lines of a target: its head, a range, a map of one window
  columns = std::max(columns, kNarrowest);
  std::string text = formatted("windows of %.6g ms; share of the samples: \"",
                               static_cast<double>(attributes.aggregation.count()) / 1000) +
                     std::string(kHeatScale) + "\"\n";
  const std::size_t room = rows - std::min<std::size_t>(rows, 2);
  const std::size_t shown = std::min(results.size(), std::max<std::size_t>(room / kFewest, 1));
  const bool all = shown == results.size();
  if (shown == 0) return text + "nothing to watch\n";
  const std::size_t each = (room - std::min<std::size_t>(room, all ? 0 : 1)) / shown;
  for (std::size_t i = 0; i < shown; ++i)
    text += target_picture(*results[i], columns, each, in_colour);
  if (!all) text += "and " + std::to_string(results.size() - shown) + " more\n";
  return first_lines(text, rows - std::min<std::size_t>(rows, 1));
}

std::vector<std::uint64_t> working_set_percentiles(const std::vector<HeatWindow>& windows) {
  std::vector<std::uint64_t> bytes;
  bytes.reserve(windows.size());
  for (const HeatWindow& window : windows) bytes.push_back(window.working_set_bytes);
  std::ranges::sort(bytes);
  std::vector<std::uint64_t> found;
  if (bytes.empty()) return found;
  for (const double per_cent : {0.0, 25.0, 50.0, 75.0, 100.0}) {
    found.push_back(bytes[base::nearest_rank(bytes.size(), per_cent) - 1]);
  }
  return found;
}

std::string heat_slowness(const HeatResult& result) {
  if (result.rest_s < 1 || !result.reason.empty()) return "";
  return "a sample of process " + std::to_string(result.process.number) +
         " is costly: the next one begins " + std::to_string(std::lround(result.rest_s)) +
         " s later, to take little of the time (--budget allows more; Ctrl-C ends it and shows "
         "what is known)";
}

namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json target_json(const HeatResult& result) {
  auto ranges = Json::array();
  for (const NamedRange& each : result.ranges) {
    ranges.push_back(
        {{"begin", each.range.begin}, {"end", each.range.end}, {"name", text_or_null(each.name)}});
  }
  auto mappings = Json::array();
  for (const MappingLooks::Mapping& each : result.mappings.mappings) {
    mappings.push_back({{"begin", each.memory.range.begin},
                        {"end", each.memory.range.end},
                        {"name", text_or_null(each.memory.name)},
                        {"accesses", each.accesses}});
  }
  const bool is_process = result.process.number != 0;
  return {{"pid", is_process ? Json(result.process.number) : Json(nullptr)},
          {"name", text_or_null(result.name)},
          {"source", text_or_null(result.provenance.source)},
          {"precision", text_or_null(result.provenance.precision)},
          {"means", text_or_null(result.provenance.means)},
          {"writes_reason", text_or_null(result.provenance.writes_reason)},
          {"reads_precision", text_or_null(result.provenance.reads_precision)},
          {"reads_reason", text_or_null(result.provenance.reads_reason)},
          {"note", text_or_null(result.provenance.note)},
          {"kdamond_pid", result.kernel_thread != 0 ? Json(result.kernel_thread) : Json(nullptr)},
          {"fallback_reason", text_or_null(result.fallback_reason)},
          {"has_ended", result.has_ended},
          {"reason", text_or_null(result.reason)},
          {"ranges", std::move(ranges)},
          {"mapping_looks", result.mappings.looks},
          {"mappings", std::move(mappings)}};
}

Json window_json(const HeatWindow& window) {
  auto regions = Json::array();
  for (const Region& region : window.regions) {
    regions.push_back({{"begin", region.begin},
                       {"end", region.end},
                       {"accesses", region.accesses},
                       {"writes", or_null(region.writes)},
                       {"age", region.age}});
  }
  return {{"begin_s", window.begin_s},
          {"end_s", window.end_s},
          {"samples", window.samples},
          {"working_set_bytes", window.working_set_bytes},
          {"regions", std::move(regions)}};
}

Json percentiles_json(const HeatResult& result) {
  const auto bytes = working_set_percentiles(result.windows);
  if (bytes.empty()) return nullptr;
  return {{"0", bytes[0]}, {"25", bytes[1]}, {"50", bytes[2]}, {"75", bytes[3]}, {"100", bytes[4]}};
}

Json result_json(const HeatResult& result) {
  auto windows = Json::array();
  for (const HeatWindow& window : result.windows) windows.push_back(window_json(window));
  return {{"target", target_json(result)},
          {"working_set_bytes_percentiles", percentiles_json(result)},
          {"windows", std::move(windows)}};
}

}  // namespace

std::string heat_json(const std::vector<HeatResult>& results, const HeatAttributes& attributes,
                      bool partial) {
  Json whole{{"attrs", attributes_text(attributes)}, {"partial", partial}};
  if (results.size() == 1) {
    whole.update(result_json(results.front()));
  } else {
    auto targets = Json::array();
    for (const HeatResult& each : results) targets.push_back(result_json(each));
    whole["targets"] = std::move(targets);
  }
  constexpr int kIndent = 1;
  return whole.dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
