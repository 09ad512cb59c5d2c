#pragma once
// Heat as characters: a strip of addresses, from cold to hot.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "perf/heat/regions.hpp"
#include "perf/heat/session.hpp"

namespace shmif::perf {

/// From never accessed to accessed in each sample. Any access at all is not the first.
inline constexpr std::string_view kHeatScale = " .:-=+*#%@";

/// The character for a share of the samples, 0 to 1.
char heat_character(double share) noexcept;

enum class HeatOf : std::uint8_t { accesses, writes };

/// The shares of samples in which each of `cells` equal parts of `range` was accessed, or written:
/// the means of the bytes in it.
std::vector<double> heat_of(const HeatWindow& window, AddressRange range, std::size_t cells,
                            HeatOf of = HeatOf::accesses);
/// The mean of all windows.
std::vector<double> heat_of(std::span<const HeatWindow> windows, AddressRange range,
                            std::size_t cells, HeatOf of = HeatOf::accesses);
/// `in_colour`: green, from a third of the samples on yellow, from two thirds on red.
std::string heat_strip(const std::vector<double>& shares, bool in_colour = false);

/// The mean of the shares if a strip of them would be one character, repeated; else none.
std::optional<double> heat_of_all(const std::vector<double>& shares);

/// "4.0 MiB".
std::string heat_bytes(std::uint64_t bytes);
/// The bytes that were used, as exactly as the result knows them: "4.0 MiB", "about 4.0 MiB", or
/// "mappings with 4.0 MiB" if it does not know which of their pages.
std::string bytes_with_care(const HeatResult& result, std::uint64_t bytes);
/// "83 %", "below 1 %", "over 99 %".
std::string heat_share(double share);
/// "process 41 (rig)", or "physical memory".
std::string heat_target(const HeatResult& result);

/// Addresses, in how many windows they were accessed, and in which share of all samples.
struct HeatStretch {
  AddressRange range;
  std::size_t windows = 0;
  double share = 0;
};
/// Of stretches that are sorted and disjoint, the longest that was accessed nearly as often (nine
/// tenths) as any: neighbours count as one. None if there are none.
std::optional<HeatStretch> hottest_of(const std::vector<HeatStretch>& stretches);

/// One sentence: how much of its memory a target accessed all the time, and what is hottest.
std::string heat_conclusion(const HeatResult& result);

/// In lines of at most `columns`, broken between words. The first begins with `first`, the others
/// are indented by two.
std::string heat_folded(const std::string& text, std::size_t columns,
                        const std::string& first = "");

}  // namespace shmif::perf
