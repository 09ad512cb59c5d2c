#pragma once
// The access heat of a bus: which processes are attached, and which parts of the bus file each
// touches.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/info.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf {

/// A process with ports on a bus.
struct BusParty {
  pid_t pid = 0;  ///< as seen from here; if it does not take part, as the bus has it
  std::vector<std::string> ports;      ///< their names
  std::unique_ptr<HeatSource> source;  ///< connected; null if it cannot be watched
  std::string reason;                  ///< why `source` is null
};

/// The processes that have live ports on the bus, in the order of their first ports. `folder`: the
/// directory that SHMIF_HEAT names for them; empty: read it from their environments. `stops`:
/// called between two processes; if it returns true, the result is incomplete. Blocks: as
/// heat_clients(), for each directory.
std::vector<BusParty> heat_parties(
    const BusInfo& bus, const std::string& folder, const KernelFiles& files = KernelFiles(),
    const std::function<bool()>& stops = [] { return false; });

/// Whether a range that a process shares is a mapping of this bus.
bool is_of_bus(const NamedRange& range, const BusInfo& bus);
/// The name of the port that shares `range`. In the range's name, it comes before an '@' and the
/// path of the bus. Both may contain an '@' themselves, so this compares the name with the ports of
/// the bus.
std::string port_of(const NamedRange& range, const BusInfo& bus);

/// Adds the parties to a session. A party that cannot be watched gets a result with the reason.
/// Result: the processes that are watched.
std::vector<Process> add_parties(HeatSession& session, std::vector<BusParty> parties);

/// A sentence about what each port used, and the last window of each result as a picture of the bus
/// file, `columns` wide (at least 60). The picture shows which parts were touched, and which were
/// written. A process maps the ring at two places, and the picture shows them as one. For each
/// page, the picture takes the place where the page was used more often.
std::string bus_heat_text(const std::vector<HeatResult>& results, const BusInfo& bus,
                          std::size_t columns, bool in_colour);

// The heat of one process's mapping of a bus over a long time, in bounded memory. The windows of a
// session are folded into rows of a map, and then forgotten.
//
// A process maps the ring twice, one mapping behind the other. Here both are one: addresses are
// those of the bus file, and a page has the count of the place where it was used more often.
//
// Threads: one at a time. Blocks: never.

/// A part of the bus file, and how many cells of each row show it.
struct BusPart {
  std::string_view name;
  AddressRange range;
  std::size_t cells = 0;
};

/// Several consecutive windows. Each cell has the share of the looks in which its pages were used:
/// the mean of its pages.
struct BusHeatRow {
  double begin_s = 0, end_s = 0;
  std::uint64_t looks = 0;
  std::vector<double> accessed;
  std::vector<double> written;  ///< empty if not measured
};

class BusHistory {
 public:
  static constexpr std::size_t kMaxRows = 100;
  static constexpr std::size_t kCells = 64;
  static constexpr std::size_t kMaxRegions = 500;

  enum class Counts : std::uint8_t {
    all,  ///< count the window in all figures
    row,  ///< only in the rows of the map, for example during a ramp
  };

  /// `window_s`: the length of a whole window. Working set and regions come only from windows of at
  /// least half that length. These may have few looks, because a costly look is followed by a rest.
  BusHistory(std::uint64_t ring_bytes, std::uint64_t page_bytes, double window_s);

  /// Adds a window that is later than all before. `mapped`: where the process maps the bus. Ignores
  /// a window that has no looks, or does not know these addresses.
  void add(const HeatWindow& window, AddressRange mapped, Counts counts = Counts::all);

  std::uint64_t bytes() const noexcept { return pages_.size() * page_; }  ///< size of the bus file
  std::array<BusPart, 3> parts() const noexcept;
  std::size_t windows() const noexcept { return windows_; }  ///< those in all figures
  /// In the order of time. If there are too many, every two neighbours become one.
  const std::vector<BusHeatRow>& rows() const noexcept { return rows_; }
  /// The bytes used in a window that `per_cent` of the windows do not exceed; empty if there are no
  /// windows.
  std::optional<std::uint64_t> working_set_bytes(double per_cent) const;
  /// Bytes that were touched, or written, at any time. Empty if not measured.
  std::optional<std::uint64_t> touched_bytes() const noexcept;
  std::optional<std::uint64_t> written_bytes() const noexcept;
  /// The regions of the last window, and its number of looks. If there are too many regions,
  /// neighbours that were used about equally often become one.
  std::vector<Region> regions() const;
  std::uint32_t looks_of_regions() const noexcept { return last_looks_; }

 private:
  struct Page {
    std::uint32_t accesses = 0, writes = 0;  // in this window
    std::uint32_t age = 0;
    double share = 0;  // of the looks in the previous window
    bool touched = false, written = false;
    std::uint32_t last_accesses = 0, last_writes = 0;  // in the last whole window
  };
  bool fold(const HeatWindow& window, AddressRange mapped);
  void add_row(const HeatWindow& window);
  void keep_pages(std::uint32_t looks);
  double cell_of(const BusPart& part, std::size_t cell, std::uint32_t Page::* count) const;
  void halve_rows();

  std::uint64_t ring_;
  std::uint64_t page_;
  double window_s_;
  std::vector<Page> pages_;
  std::vector<BusHeatRow> rows_;
  std::size_t windows_of_row_ = 1;  // of each row except the last
  std::size_t windows_in_last_row_ = 0;
  std::size_t windows_ = 0;
  bool tells_writes_ = false;       // this window has them
  bool told_writes_ = false;        // any window had them
  bool last_tells_writes_ = false;  // the last whole window had them
  std::uint32_t last_looks_ = 0;
  std::map<std::uint64_t, std::size_t> working_sets_;  // bytes, and how many windows used them
};

}  // namespace shmif::perf
