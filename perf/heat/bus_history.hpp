#pragma once
// The heat of one process's mapping of a bus over a long time, in bounded memory: windows of a
// session are folded into rows of a map, and forgotten.
//
// A process maps the ring twice, one mapping behind the other. Here both are one: addresses are
// those of the bus file, and a page counts as often as at the place where it was used oftener.
//
// Threads: one at a time. Blocks: never.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "perf/heat/session.hpp"

namespace shmif::perf {

/// A part of the bus file, and how many cells of each row show it.
struct BusPart {
  std::string_view name;
  AddressRange range;
  std::size_t cells = 0;
};

/// Some windows, one after another. For each cell: the share of the looks in which its pages were
/// used, the mean of the pages.
struct BusHeatRow {
  double begin_s = 0, end_s = 0;
  std::uint64_t looks = 0;
  std::vector<double> accessed;
  std::vector<double> written;  ///< empty: not measured
};

class BusHistory {
 public:
  static constexpr std::size_t kMaxRows = 100;
  static constexpr std::size_t kCells = 64;
  static constexpr std::size_t kMaxRegions = 500;

  enum class Counts : std::uint8_t {
    all,  ///< the window is in all figures
    row,  ///< it is only a row of the map, for example because it is of a ramp
  };

  /// `window_s`: how long a whole window is. The working set and the regions are those of windows
  /// that are at least half as long, with however few looks: there are rests after costly ones.
  BusHistory(std::uint64_t ring_bytes, std::uint64_t page_bytes, double window_s);
  /// The ring of a mapping that is so large; none: it is not a mapping of a bus.
  static std::optional<std::uint64_t> ring_of(std::uint64_t mapped_bytes) noexcept;

  /// Adds a window that is later than all before. `mapped`: where the process has the bus. A window
  /// that knows nothing of these addresses, or has no looks, is left out.
  void add(const HeatWindow& window, AddressRange mapped, Counts counts = Counts::all);

  std::uint64_t bytes() const noexcept { return pages_.size() * page_; }  ///< of the bus file
  std::array<BusPart, 3> parts() const noexcept;
  std::size_t windows() const noexcept { return windows_; }  ///< that are in all figures
  /// In the order of time. If there are too many, two neighbours become one.
  const std::vector<BusHeatRow>& rows() const noexcept { return rows_; }
  /// Bytes that were used in a window, which so many per cent of the windows do not exceed; none
  /// without windows.
  std::optional<std::uint64_t> working_set_bytes(double per_cent) const;
  /// Used at any time. None: not measured; so for all written bytes.
  std::optional<std::uint64_t> touched_bytes() const noexcept;
  std::optional<std::uint64_t> written_bytes() const noexcept;
  /// Those of the last window, and its number of looks. If there are too many, neighbours that
  /// were used about equally often become one.
  std::vector<Region> regions() const;
  std::uint32_t looks_of_regions() const noexcept { return last_looks_; }

 private:
  struct Page {
    std::uint32_t accesses = 0, writes = 0;  // in this window
    std::uint32_t age = 0;
    double share = 0;  // of the looks of the window before
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
  std::size_t windows_of_row_ = 1;  // of all but the last one
  std::size_t windows_in_last_row_ = 0;
  std::size_t windows_ = 0;
  bool tells_writes_ = false;       // this window does
  bool told_writes_ = false;        // any window did
  bool last_tells_writes_ = false;  // the last whole one did
  std::uint32_t last_looks_ = 0;
  std::map<std::uint64_t, std::size_t> working_sets_;  // how many windows used so many bytes
};

}  // namespace shmif::perf
