#pragma once
// Regions of addresses that are accessed about equally often, after DAMON (D. Park and others,
// "Data Access MONitor", Linux). Their number stays between two bounds, so that the cost of
// watching does not grow with the target.
//
// Every region lies in one range of the target. Regions are sorted and disjoint, and cover the
// target (R1). There are at most max_regions, or as many as the target has ranges if these are more
// (R2), and at least min_regions, or as many as the target has pages if these are fewer (R3).
// Merging and splitting keep the bytes of the target (R4).
//
// In a window, for each sample, either choose() names one page of each region and record() tells
// which were accessed, or record_pages() tells all pages that were accessed. Then aggregate()
// merges neighbours that were accessed about equally often, and returns the result. For chosen
// pages it also splits regions at random places. If a split separates hot from cold addresses, the
// parts stay separate.
//
// Threads: one at a time. Blocks: never.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

// The five numbers that set how closely accesses are watched, in the order in which DAMON's users
// write them.

struct HeatAttributes {
  std::chrono::microseconds sampling{5'000};       ///< how often accesses are checked
  std::chrono::microseconds aggregation{100'000};  ///< how long one window of the result is
  std::chrono::microseconds update{1'000'000};     ///< how often the target's mappings are read
  std::uint64_t min_regions = 10, max_regions = 1000;
  bool operator==(const HeatAttributes&) const = default;

  /// How often accesses are checked in a window. A region cannot have more accesses.
  std::uint32_t samples_per_window() const noexcept {
    return static_cast<std::uint32_t>(aggregation / sampling);
  }
};

/// Reads the five numbers as "5000,100000,1000000,10,1000", or as DAMON's file shows them: "5000
/// 100000 1000000 10 1000". A time without a unit is in microseconds; "5ms" is possible, too.
/// Errors: Errc::bad_argument unless there are exactly five and check_attributes() accepts them.
Result<HeatAttributes> read_attributes(std::string_view text);

/// Checks these limits: all numbers are above zero; aggregation is at least as long as sampling,
/// and at most a million times as long; every interval is at most a day; 3 <= min_regions <=
/// max_regions <= 1000000. Errors: Errc::bad_argument.
Result<void> check_attributes(const HeatAttributes& attributes);

/// The text that read_attributes() reads back: five numbers, times in microseconds.
std::string attributes_text(const HeatAttributes& attributes);

struct AddressRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  ///< the first address after it
  std::uint64_t bytes() const noexcept { return end - begin; }
  bool operator==(const AddressRange&) const = default;
};

struct Region {
  std::uint64_t begin = 0, end = 0;
  std::uint32_t accesses = 0;           ///< samples in which it was accessed, in this window
  std::optional<std::uint32_t> writes;  ///< samples in which it was written; empty if not measured
  std::uint32_t age = 0;                ///< windows in which the accesses were about the same
  std::uint64_t bytes() const noexcept { return end - begin; }
  bool operator==(const Region&) const = default;
};

/// What was seen at a chosen page, or at each page in a range.
struct Sighting {
  bool accessed = false;
  std::optional<bool> written = {};  ///< empty if not measured
};
struct SeenPages {
  AddressRange range;
  Sighting seen;
};

/// How accesses are found.
enum class Looking : std::uint8_t {
  chosen_pages,  ///< a page stands for its region; regions are split and merged
  all_pages,     ///< each page counts; a region has pages that were accessed equally often
  whole_ranges,  ///< each range counts as a whole; regions are ranges, and the bounds do not matter
};

class Regions {
 public:
  Regions(const HeatAttributes& attributes, Looking looking, std::uint64_t page_bytes,
          std::uint64_t seed);

  /// Sets what to watch from now on. Widens ranges to whole pages. If two ranges overlap, the later
  /// one loses the overlap. Regions keep what they know of addresses that stay.
  void set_target(std::vector<AddressRange> ranges);
  const std::vector<AddressRange>& target() const noexcept { return target_; }
  std::uint64_t target_bytes() const noexcept;

  Looking looking() const noexcept { return looking_; }

  /// Chooses the page of each region that stands for it in the next sample. Result: the pages,
  /// sorted.
  const std::vector<std::uint64_t>& choose();
  /// Records a sample: one element for each page that choose() returned, or for each range of the
  /// target.
  void record(std::span<const Sighting> seen);
  /// For Looking::all_pages. Parts outside of the target are ignored.
  void record_pages(std::span<const SeenPages> seen);

  /// Ends a window: merges regions, and begins the next window. Result: the regions of the ended
  /// window, sorted.
  std::vector<Region> aggregate();
  /// Bytes that were accessed in the window that aggregate() ended last. For chosen pages, the
  /// bytes of all accessed regions.
  std::uint64_t working_set_bytes() const noexcept { return working_set_; }

 private:
  struct Piece {
    Region region;
    std::uint32_t before = 0;  ///< accesses in the previous window
    std::size_t range = 0;     ///< index in target_
  };
  struct PageCount {
    std::uint32_t accesses = 0, writes = 0;
  };
  void cover(const std::vector<Piece>& known);
  void begin_window();
  void cut_by_pages();
  void merge_all();
  void merge_to_bound();
  void merge_within(std::uint32_t difference, std::uint64_t max_bytes);
  void split_all();
  void split_to_bound();
  void split(std::size_t parts);
  std::size_t most() const noexcept;
  std::size_t least() const noexcept;

  HeatAttributes attributes_;
  Looking looking_;
  std::uint64_t page_;
  std::mt19937_64 random_;
  std::vector<AddressRange> target_;
  std::vector<Piece> regions_;
  std::vector<std::uint64_t> chosen_;
  std::vector<std::size_t> first_page_;  ///< of each range, in counts_
  std::vector<PageCount> counts_;        ///< of each page, for Looking::all_pages
  bool writes_known_ = false;            ///< a sample of this window tells writes
  std::size_t merged_before_ = 0;        ///< regions after the last merge
  std::uint64_t working_set_ = 0;
};

}  // namespace shmif::perf
