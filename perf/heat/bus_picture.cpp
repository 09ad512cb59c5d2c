#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "base/printable.hpp"
#include "bus/layout.hpp"
#include "perf/heat/bus_heat.hpp"
#include "perf/heat/heat_map.hpp"
#include "perf/heat/page_scan.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kHeaderCells = 1;
constexpr std::size_t kTableCells = 8;
constexpr std::size_t kLabelColumns = 10;
constexpr std::size_t kBars = 4;
constexpr std::uint64_t kTableBegin = 4096;
static_assert(bus::kHeaderBytes <= kTableBegin);

/// The parts of the picture: where they are in the file, and how many characters they have.
struct Part {
  std::uint64_t begin = 0, end = 0;
  std::size_t cells = 0;
};
std::array<Part, 3> parts_of(const BusInfo& bus, std::size_t columns) {
  const std::size_t ring = columns - kLabelColumns - kHeaderCells - kTableCells - kBars;
  return {{{0, kTableBegin, kHeaderCells},
           {kTableBegin, kTableBegin + bus::kTableBytes, kTableCells},
           {bus::kRingOffset, bus::kRingOffset + bus.ring_bytes, ring}}};
}

/// The share of the looks in which each page of the file was used.
std::vector<double> pages_of(const HeatWindow& window, const NamedRange& mapped, const BusInfo& bus,
                             HeatOf of) {
  const std::uint64_t page = page_bytes();
  auto pages = heat_of(window, mapped.range, mapped.range.bytes() / page, of);
  const std::size_t ring = bus.ring_bytes / page;
  const std::size_t first = bus::kRingOffset / page;
  for (std::size_t i = first; i < first + ring; ++i) pages[i] = std::max(pages[i], pages[i + ring]);
  pages.resize(first + ring);
  return pages;
}

/// The mean of the pages of which a character stands; a page that it has a part of counts.
double cell_of(const std::vector<double>& pages, const Part& part, std::size_t cell) {
  const std::uint64_t bytes = part.end - part.begin;
  const std::uint64_t begin = part.begin + bytes * cell / part.cells;
  const std::uint64_t end = part.begin + bytes * (cell + 1) / part.cells;
  const std::size_t first = begin / page_bytes();
  const std::size_t last = std::max(first, (end - 1) / page_bytes());
  double sum = 0;
  for (std::size_t i = first; i <= last && i < pages.size(); ++i) sum += pages[i];
  return sum / static_cast<double>(last - first + 1);
}

/// A colour for what is used in more than a third, or two thirds, of the looks.
const char* colour_of(double share) {
  constexpr double kThird = 1.0 / 3;
  if (!(share > 0)) return "";
  if (share <= kThird) return "\x1b[32m";
  return share <= 2 * kThird ? "\x1b[33m" : "\x1b[31m";
}

std::string labelled(const char* label) {
  std::string text = label;
  text.resize(kLabelColumns, ' ');
  return text;
}

struct Picture {
  const BusInfo& bus;
  std::array<Part, 3> parts;
  std::size_t columns;
  bool in_colour;

  std::string row(const char* label, const std::vector<double>& pages) const {
    std::string text = labelled(label) + '|';
    for (const Part& part : parts) {
      const char* colour = "";
      for (std::size_t cell = 0; cell < part.cells; ++cell) {
        const double share = cell_of(pages, part, cell);
        const char* const wanted = in_colour ? colour_of(share) : "";
        if (std::string_view(wanted) != colour) text += *wanted == 0 ? "\x1b[0m" : wanted;
        colour = wanted;
        text += heat_character(share);
      }
      if (*colour != 0) text += "\x1b[0m";
      text += '|';
    }
    return text + '\n';
  }

  std::string head() const {
    const Part& ring = parts[2];
    std::string name = "ring: " + heat_bytes(bus.ring_bytes) + ", a character is " +
                       heat_bytes(bus.ring_bytes / ring.cells);
    name.resize(ring.cells, ' ');
    return labelled("") + "|h|ports   |" + name + "|\n";
  }

  /// Where the next frame goes.
  std::string next_frame() const {
    const Part& ring = parts[2];
    const std::uint64_t offset = bus.last % bus.ring_bytes;
    const std::size_t before = kLabelColumns + kHeaderCells + kTableCells + kBars - 1 +
                               offset * ring.cells / bus.ring_bytes;
    return std::string(before, ' ') + "^\n";
  }
};

bool tells_writes(const HeatWindow& window) {
  return std::ranges::any_of(window.regions,
                             [](const Region& region) { return region.writes.has_value(); });
}

/// In lines of at most `columns`, broken between words. All lines are indented by two.
std::string folded(const std::string& text, std::size_t columns) {
  constexpr const char* kIndent = "  ";
  std::string lines;
  std::string line = kIndent;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const bool begins = line == kIndent;
    if (!begins && line.size() + 1 + (end - at) > columns) {
      lines += std::exchange(line, kIndent) + '\n';
    } else if (!begins) {
      line += ' ';
    }
    line += text.substr(at, end - at);
    at = end + 1;
  }
  return lines + line + '\n';
}

std::string party_text(const HeatResult& result, const Picture& picture) {
  const std::string who =
      base::printable(result.name) + (result.process.number == 0
                                          ? std::string()
                                          : ", process " + std::to_string(result.process.number));
  const std::string reason = base::printable(result.reason);
  if (result.windows.empty()) {
    return who + '\n' +
           folded("not measured: " + (reason.empty() ? "no look was finished" : reason),
                  picture.columns);
  }
  const HeatWindow& window = result.windows.back();
  const bool writes = tells_writes(window);
  std::string text;
  for (const NamedRange& range : result.ranges) {
    if (!is_of_bus(range, picture.bus)) continue;
    const std::string port = range.name.substr(0, range.name.find('@'));
    text += base::printable(port) + ": " + who;
    if (result.provenance.precision != "page") text += ", by " + result.provenance.precision;
    if (!reason.empty()) text += " (" + reason + ')';
    text += '\n' + picture.row("  touched", pages_of(window, range, picture.bus, HeatOf::accesses));
    text += writes ? picture.row("  written", pages_of(window, range, picture.bus, HeatOf::writes))
                   : "  written   not measured: " + result.provenance.writes_reason + '\n';
  }
  return text.empty() ? who + ": it has left the bus\n" : text;
}

}  // namespace

std::string bus_heat_text(const std::vector<HeatResult>& results, const BusInfo& bus,
                          std::size_t columns, bool in_colour) {
  constexpr std::size_t kNarrowest = 60;
  columns = std::max(columns, kNarrowest);
  const Picture picture{bus, parts_of(bus, columns), columns, in_colour};
  double seconds = 0;
  std::uint32_t looks = 0;
  for (const HeatResult& each : results) {
    if (each.windows.empty()) continue;
    seconds = std::max(seconds, each.windows.back().end_s - each.windows.back().begin_s);
    looks = std::max(looks, each.windows.back().samples);
  }
  std::string text = "bus " + base::printable(bus.path) + '\n';
  if (looks > 0) {
    std::array<char, 160> line{};
    std::snprintf(line.data(), line.size(), "the last %.1f s, %u looks; h: the bus's header\n",
                  seconds, looks);
    text += line.data();
    text += "share of looks in which pages of a part were used, none to all: \"" +
            std::string(kHeatScale) + "\"\n" + picture.head() + picture.next_frame();
  }
  for (const HeatResult& each : results) text += party_text(each, picture);
  if (results.empty()) text += "no process is attached\n";
  return text;
}

}  // namespace shmif::perf
