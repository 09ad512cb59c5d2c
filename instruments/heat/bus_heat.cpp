#include "instruments/heat/bus_heat.hpp"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/nearest_rank.hpp"
#include "base/text.hpp"
#include "bus/file/parts.hpp"
#include "bus/repair/port_owners.hpp"
#include "instruments/heat/heat_map.hpp"
#include "instruments/heat/page_scan.hpp"

namespace shmif::perf {
namespace {

std::string reason_of_absence(pid_t pid, const std::string& folder,
                              const Result<std::string>& own) {
  constexpr const char* kRemedy = " (start it with SHMIF_HEAT=DIR)";
  if (!folder.empty()) return "it shares no access heat in " + folder + kRemedy;
  if (!own) {
    return "whether it shares its access heat is not known: " + own.error().message +
           " (run this as its user, or give the directory)";
  }
  if (own->empty()) return std::string("it was started without SHMIF_HEAT") + kRemedy;
  return "process " + std::to_string(pid) + " does not answer in " + *own +
         ", which its SHMIF_HEAT names";
}

/// Clients by the names of their ports on this bus.
using Clients = std::map<std::string, HeatClient>;

std::vector<std::string> ports_in(const std::vector<NamedRange>& ranges, const BusInfo& bus) {
  std::vector<std::string> ports;
  for (const NamedRange& range : ranges) {
    if (is_of_bus(range, bus)) ports.push_back(port_of(range, bus));
  }
  return ports;
}

/// The processes that take part and are attached to the bus. Disconnects from others at once.
std::vector<BusParty> parties_in(const std::string& folder, const BusInfo& bus,
                                 const std::function<bool()>& stops, const KernelFiles& files) {
  std::vector<BusParty> found;
  auto clients = heat_clients(folder, stops, files);
  if (!clients) return found;
  for (HeatClient& client : *clients) {
    BusParty party{client.pid, {}, std::move(client.source), client.reason};
    if (party.source) {
      if (stops()) break;
      const auto ranges = party.source->ranges();
      if (!ranges) continue;
      party.ports = ports_in(*ranges, bus);
      if (party.ports.empty()) continue;
    }
    found.push_back(std::move(party));
  }
  return found;
}

BusParty* party_with(std::vector<BusParty>& parties, const PortInfo& port) {
  for (BusParty& each : parties) {
    if (std::ranges::find(each.ports, port.name) != each.ports.end()) return &each;
    if (!each.source && each.pid == port.pid) return &each;
  }
  return nullptr;
}

}  // namespace

bool is_of_bus(const NamedRange& range, const BusInfo& bus) {
  if (range.range.bytes() != bus::mapped_bytes(bus.ring_bytes)) return false;
  if (range.device == 0 || bus.mapped_as.empty()) return range.inode == bus.inode;
  // Files of two file systems can have the same inode.
  std::array<char, 64> file{};
  std::snprintf(file.data(), file.size(), "%02" PRIx64 ":%02" PRIx64 " %" PRIu64,
                range.device >> 32U, range.device & 0xffffffffU, range.inode);
  return bus.mapped_as == file.data();
}

std::string port_of(const NamedRange& range, const BusInfo& bus) {
  std::string found;
  for (const PortInfo& port : bus.ports) {
    const bool begins = range.name.starts_with(port.name + '@');
    if (begins && port.name.size() > found.size()) found = port.name;
  }
  return found.empty() ? range.name.substr(0, range.name.find('@')) : found;
}

std::vector<BusParty> heat_parties(const BusInfo& bus, const std::string& folder,
                                   const KernelFiles& files, const std::function<bool()>& stops) {
  const KernelFiles patient = files.by_helper(stops);
  // If the user does not name the directory of the clients, a process does.
  const KernelFiles folders = folder.empty() ? KernelFiles().by_helper(stops) : KernelFiles();
  std::map<std::string, std::vector<BusParty>> known;  // by folder
  std::vector<BusParty> parties;
  bus::PortOwners owners(bus, files.path("/proc"));
  // A process that does not really have the port could name any directory in its environment.
  const auto folder_of = [&](const PortInfo& port) -> Result<std::string> {
    if (!folder.empty()) return folder;
    if (const auto proven = owners.prove(port); !proven) return proven.error();
    return heat_folder_of(port.pid, patient);
  };
  for (const PortInfo& port : bus.ports) {
    if (!port.live) continue;
    if (stops()) break;
    if (party_with(parties, port) != nullptr) {
      BusParty& party = *party_with(parties, port);
      if (!party.source) party.ports.push_back(port.name);
      continue;
    }
    const auto own = folder_of(port);
    BusParty* taking_part = nullptr;
    if (own && !own->empty()) {
      if (!known.contains(*own)) known[*own] = parties_in(*own, bus, stops, folders);
      taking_part = party_with(known[*own], port);
    }
    if (taking_part != nullptr) {
      parties.push_back(std::move(*taking_part));
      taking_part->ports.clear();
      taking_part->pid = 0;
      if (!parties.back().source) parties.back().ports = {port.name};
    } else {
      parties.push_back({port.pid, {port.name}, nullptr, reason_of_absence(port.pid, folder, own)});
    }
  }
  return parties;
}

std::vector<Process> add_parties(HeatSession& session, std::vector<BusParty> parties) {
  std::vector<Process> watched;
  for (BusParty& party : parties) {
    std::string names;
    for (const std::string& port : party.ports) names += (names.empty() ? "" : ", ") + port;
    if (party.source) {
      auto process = Process::open(party.pid);
      if (process) {
        session.add(*process, std::move(party.source));
        watched.push_back(*std::move(process));
        continue;
      }
      party.reason = process.error().message;
    }
    session.add_unwatched({party.pid, 0}, names, party.reason);
  }
  return watched;
}

namespace {

constexpr std::size_t kHeaderCells = 1;
constexpr std::size_t kTableCells = 8;
constexpr std::size_t kLabelColumns = 10;
constexpr std::size_t kBars = 4;

/// A part of the picture: where it is in the file, and how many characters it has.
struct Part {
  bus::FileRange range;
  std::size_t cells = 0;
};
std::array<Part, 3> parts_of(const BusInfo& bus, std::size_t columns) {
  const std::size_t ring = columns - kLabelColumns - kHeaderCells - kTableCells - kBars;
  const bus::FileParts file = bus::parts_of_file(bus.ring_bytes);
  return {{{file.header, kHeaderCells}, {file.ports, kTableCells}, {file.ring, ring}}};
}

/// The share of the looks in which each page of the file was used.
std::vector<double> pages_of(const HeatWindow& window, const NamedRange& mapped, const BusInfo& bus,
                             HeatOf of) {
  const std::uint64_t page = page_bytes();
  auto pages = heat_of(window, mapped.range, mapped.range.bytes() / page, of);
  const std::size_t ring = bus.ring_bytes / page;
  const std::size_t first = bus::parts_of_file(bus.ring_bytes).ring.begin / page;
  for (std::size_t i = first; i < first + ring; ++i) pages[i] = std::max(pages[i], pages[i + ring]);
  pages.resize(first + ring);
  return pages;
}

/// The mean of the pages that a character covers, also in part.
double cell_of(const std::vector<double>& pages, const Part& part, std::size_t cell) {
  const std::uint64_t bytes = part.range.bytes();
  const std::uint64_t begin = part.range.begin + bytes * cell / part.cells;
  const std::uint64_t end = part.range.begin + bytes * (cell + 1) / part.cells;
  const std::size_t first = begin / page_bytes();
  const std::size_t last = std::max(first, (end - 1) / page_bytes());
  double sum = 0;
  for (std::size_t i = first; i <= last && i < pages.size(); ++i) sum += pages[i];
  return sum / static_cast<double>(last - first + 1);
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
      std::vector<double> cells;
      cells.reserve(part.cells);
      for (std::size_t cell = 0; cell < part.cells; ++cell) {
        cells.push_back(cell_of(pages, part, cell));
      }
      text += heat_strip(cells, in_colour) + '|';
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

  /// Shows where the next frame goes.
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

std::string party_text(const HeatResult& result, const Picture& picture) {
  const std::string who =
      base::printable(result.name) + (result.process.number == 0
                                          ? std::string()
                                          : ", process " + std::to_string(result.process.number));
  const std::string reason = base::printable(result.reason);
  if (result.windows.empty()) {
    return who + '\n' +
           heat_folded("not measured: " + (reason.empty() ? "no look was finished" : reason),
                       picture.columns, "  ");
  }
  const HeatWindow& window = result.windows.back();
  const bool writes = tells_writes(window);
  std::string text;
  for (const NamedRange& range : result.ranges) {
    if (!is_of_bus(range, picture.bus)) continue;
    const std::string port = port_of(range, picture.bus);
    text += base::printable(port) + ": " + who;
    if (result.provenance.precision != "page") text += ", by " + result.provenance.precision;
    if (!reason.empty()) text += " (" + reason + ')';
    text += '\n' + picture.row("  touched", pages_of(window, range, picture.bus, HeatOf::accesses));
    text += writes ? picture.row("  written", pages_of(window, range, picture.bus, HeatOf::writes))
                   : "  written   not measured: " + result.provenance.writes_reason + '\n';
  }
  return text.empty() ? who + ": it has left the bus\n" : text;
}

/// Where these pages are in the bus: "of the ports", "from the ports on", "of the ring at 1.5 MiB".
std::string place_in_bus(AddressRange pages, const bus::FileParts& file) {
  if (pages.begin >= file.ring.begin) {
    return "of the ring at " + heat_bytes(pages.begin - file.ring.begin);
  }
  if (pages.begin >= file.ports.end) return "from behind the ports on";
  if (pages.begin >= file.ports.begin) {
    // The bytes behind the table are unused, but the last page of the table may include them.
    return pages.end < file.ports.end + page_bytes() ? "of the ports" : "from the ports on";
  }
  return pages.end > file.ports.begin ? "from the header on" : "of the header";
}

/// "rx used 1.3 MiB of 4.2 MiB; most: 72.0 KiB of the ring at 1.5 MiB, in 100 % of the looks".
std::string party_conclusion(const HeatResult& result, const BusInfo& bus, std::size_t columns) {
  if (result.windows.empty()) return "";
  const std::uint64_t page = page_bytes();
  std::string lines;
  for (const NamedRange& range : result.ranges) {
    if (!is_of_bus(range, bus)) continue;
    const auto pages = pages_of(result.windows.back(), range, bus, HeatOf::accesses);
    std::vector<HeatStretch> used;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (pages[i] > 0) used.push_back({{i * page, (i + 1) * page}, 1, pages[i]});
    }
    std::string text = base::printable(port_of(range, bus)) + " used " +
                       bytes_with_care(result, used.size() * page) + " of " +
                       heat_bytes(pages.size() * page);
    if (const auto hottest = hottest_of(used)) {
      if (result.provenance.precision != "mapping") {
        text += "; most: " + bytes_with_care(result, hottest->range.bytes()) + ' ' +
                place_in_bus(hottest->range, bus::parts_of_file(bus.ring_bytes));
      }
      text += ", in " + heat_share(hottest->share) + " of the looks";
    }
    lines += heat_folded(text, columns);
  }
  return lines;
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
  for (const HeatResult& each : results) text += party_conclusion(each, bus, columns);
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

namespace {

constexpr std::size_t kHeaderRowCells = 1;
constexpr std::size_t kPortsRowCells = 7;

/// Joins a row with the row after it.
void extend_row(BusHeatRow& row, const BusHeatRow& next) {
  const auto before = static_cast<double>(row.looks);
  const auto more = static_cast<double>(next.looks);
  const auto mix = [&](std::vector<double>& into, const std::vector<double>& with) {
    for (std::size_t i = 0; i < into.size(); ++i) {
      into[i] = (into[i] * before + with[i] * more) / (before + more);
    }
  };
  mix(row.accessed, next.accessed);
  if (next.written.empty()) row.written.clear();
  mix(row.written, next.written);
  row.end_s = next.end_s;
  row.looks += next.looks;
}

std::uint32_t apart(std::uint32_t a, std::uint32_t b) noexcept {
  return a > b ? a - b : b - a;
}

/// Sums of bytes times counts for regions that become one. Keeping only the mean so far would not
/// do: it is rounded, so many small regions would not change the mean of a large one.
struct JoinedCounts {
  double bytes = 0, accesses = 0, writes = 0;

  void add(const Region& region) {
    const auto weight = static_cast<double>(region.bytes());
    bytes += weight;
    accesses += weight * region.accesses;
    writes += weight * region.writes.value_or(0);
  }
  std::uint32_t mean(double sum) const {
    return static_cast<std::uint32_t>(std::lround(sum / bytes));
  }
};

/// Joins neighbours whose counts differ by no more than `difference`, whatever their ages.
std::vector<Region> joined(const std::vector<Region>& regions, std::uint32_t difference) {
  std::vector<Region> found;
  JoinedCounts last;
  for (const Region& next : regions) {
    if (found.empty() || apart(found.back().accesses, next.accesses) > difference ||
        apart(found.back().writes.value_or(0), next.writes.value_or(0)) > difference) {
      found.push_back(next);
      last = {};
      last.add(next);
      continue;
    }
    Region& into = found.back();
    last.add(next);
    into.accesses = last.mean(last.accesses);
    if (into.writes && next.writes) into.writes = last.mean(last.writes);
    into.age = std::min(into.age, next.age);
    into.end = next.end;
  }
  return found;
}

}  // namespace

BusHistory::BusHistory(std::uint64_t ring_bytes, std::uint64_t page_bytes, double window_s)
    : ring_(ring_bytes),
      page_(page_bytes),
      window_s_(window_s),
      pages_(bus::parts_of_file(ring_bytes).ring.end / page_bytes) {}

std::array<BusPart, 3> BusHistory::parts() const noexcept {
  const bus::FileParts file = bus::parts_of_file(ring_);
  return {{{"header", {file.header.begin, file.header.end}, kHeaderRowCells},
           {"ports", {file.ports.begin, file.ports.end}, kPortsRowCells},
           {"ring", {file.ring.begin, file.ring.end}, kCells - kHeaderRowCells - kPortsRowCells}}};
}

/// Adds the counts to each page of the file. Result: whether the window knows any page.
bool BusHistory::fold(const HeatWindow& window, AddressRange mapped) {
  bool known = false;
  tells_writes_ = false;
  const std::size_t ring_pages = ring_ / page_;
  for (const Region& region : window.regions) {
    const std::uint64_t begin = std::max(region.begin, mapped.begin);
    const std::uint64_t end = std::min(region.end, mapped.end);
    if (begin >= end) continue;
    known = true;
    tells_writes_ |= region.writes.has_value();
    for (std::uint64_t at = begin; at < end; at += page_) {
      std::size_t page = (at - mapped.begin) / page_;
      if (page >= pages_.size()) page -= ring_pages;
      if (page >= pages_.size()) break;
      pages_[page].accesses = std::max(pages_[page].accesses, region.accesses);
      pages_[page].writes = std::max(pages_[page].writes, region.writes.value_or(0));
    }
  }
  return known;
}

/// The mean of the pages that the cell covers, also in part.
double BusHistory::cell_of(const BusPart& part, std::size_t cell,
                           std::uint32_t Page::* count) const {
  const std::uint64_t begin = part.range.begin + part.range.bytes() * cell / part.cells;
  const std::uint64_t end = part.range.begin + part.range.bytes() * (cell + 1) / part.cells;
  const std::size_t first = begin / page_;
  const std::size_t last = std::min(std::max(first, (end - 1) / page_), pages_.size() - 1);
  double sum = 0;
  for (std::size_t i = first; i <= last; ++i) sum += pages_[i].*count;
  return sum / static_cast<double>(last - first + 1);
}

void BusHistory::add_row(const HeatWindow& window) {
  BusHeatRow row{window.begin_s, window.end_s, window.samples, {}, {}};
  for (const BusPart& part : parts()) {
    for (std::size_t cell = 0; cell < part.cells; ++cell) {
      row.accessed.push_back(cell_of(part, cell, &Page::accesses) / window.samples);
      if (!tells_writes_) continue;
      row.written.push_back(cell_of(part, cell, &Page::writes) / window.samples);
    }
  }
  if (!rows_.empty() && windows_in_last_row_ < windows_of_row_) {
    extend_row(rows_.back(), row);
    ++windows_in_last_row_;
    return;
  }
  if (rows_.size() == kMaxRows) halve_rows();
  rows_.push_back(std::move(row));
  windows_in_last_row_ = 1;
}

void BusHistory::halve_rows() {
  for (std::size_t i = 0; i < kMaxRows / 2; ++i) {
    BusHeatRow joined = std::move(rows_[2 * i]);
    extend_row(joined, rows_[2 * i + 1]);
    rows_[i] = std::move(joined);
  }
  rows_.resize(kMaxRows / 2);
  windows_of_row_ *= 2;
}

/// Updates ages and working set, and keeps the counts of this window as those of the last one.
void BusHistory::keep_pages(std::uint32_t looks) {
  constexpr double kAboutTheSame = 0.1;
  std::uint64_t used = 0;
  for (Page& page : pages_) {
    const double share = static_cast<double>(page.accesses) / looks;
    page.age = std::abs(share - page.share) <= kAboutTheSame ? page.age + 1 : 0;
    page.share = share;
    page.last_accesses = page.accesses;
    page.last_writes = page.writes;
    used += page.accesses > 0 ? page_ : 0;
  }
  ++working_sets_[used];
  last_looks_ = looks;
  last_tells_writes_ = tells_writes_;
}

void BusHistory::add(const HeatWindow& window, AddressRange mapped, Counts counts) {
  if (window.samples == 0) return;
  for (Page& page : pages_) page.accesses = page.writes = 0;
  if (!fold(window, mapped)) return;
  add_row(window);
  if (counts == Counts::row) return;
  ++windows_;
  told_writes_ |= tells_writes_;
  for (Page& page : pages_) {
    page.touched |= page.accesses > 0;
    page.written |= page.writes > 0;
  }
  if (2 * (window.end_s - window.begin_s) >= window_s_) keep_pages(window.samples);
}

std::optional<std::uint64_t> BusHistory::working_set_bytes(double per_cent) const {
  std::size_t count = 0;
  for (const auto& [bytes, times] : working_sets_) count += times;
  if (count == 0) return std::nullopt;
  const std::uint64_t rank = base::nearest_rank(count, per_cent);
  std::uint64_t seen = 0;
  for (const auto& [bytes, times] : working_sets_) {
    seen += times;
    if (seen >= rank) return bytes;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> BusHistory::touched_bytes() const noexcept {
  if (windows_ == 0) return std::nullopt;
  const auto pages = std::ranges::count_if(pages_, [](const Page& page) { return page.touched; });
  return static_cast<std::uint64_t>(pages) * page_;
}

std::optional<std::uint64_t> BusHistory::written_bytes() const noexcept {
  if (!told_writes_) return std::nullopt;
  const auto pages = std::ranges::count_if(pages_, [](const Page& page) { return page.written; });
  return static_cast<std::uint64_t>(pages) * page_;
}

std::vector<Region> BusHistory::regions() const {
  std::vector<Region> found;
  if (last_looks_ == 0) return found;
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    const Page& page = pages_[i];
    const auto writes = last_tells_writes_ ? std::optional(page.last_writes) : std::nullopt;
    const bool same = !found.empty() && found.back().accesses == page.last_accesses &&
                      found.back().writes == writes && found.back().age == page.age;
    if (same) {
      found.back().end += page_;
    } else {
      found.push_back({i * page_, (i + 1) * page_, page.last_accesses, writes, page.age});
    }
  }
  for (std::uint32_t by = 0; found.size() > kMaxRegions && by <= 2 * last_looks_;) {
    found = joined(found, by);
    by = std::max(1U, 2 * by);
  }
  return found;
}

}  // namespace shmif::perf
