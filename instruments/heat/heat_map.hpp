#pragma once
// Shows heat as characters: a strip of addresses, from cold to hot.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instruments/heat/regions.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf {

/// From never accessed to accessed in each sample. The first character means no access at all.
inline constexpr std::string_view kHeatScale = " .:-=+*#%@";

enum class HeatOf : std::uint8_t { accesses, writes };

/// Divides `range` into `cells` equal parts. Result: for each part, the share of the samples in
/// which it was accessed, or written: the mean over its bytes.
std::vector<double> heat_of(const HeatWindow& window, AddressRange range, std::size_t cells,
                            HeatOf of = HeatOf::accesses);
/// The same as a mean of all windows.
std::vector<double> heat_of(std::span<const HeatWindow> windows, AddressRange range,
                            std::size_t cells, HeatOf of = HeatOf::accesses);
/// The strip of characters. `in_colour`: green, above a third of the samples yellow, above two
/// thirds red.
std::string heat_strip(const std::vector<double>& shares, bool in_colour = false);

/// The mean of the shares if their strip would repeat one character; otherwise empty.
std::optional<double> heat_of_all(const std::vector<double>& shares);

/// "4.0 MiB".
std::string heat_bytes(std::uint64_t bytes);
/// The bytes that were used, as exactly as the result knows them: "4.0 MiB", "about 4.0 MiB", or
/// "mappings with 4.0 MiB" if it does not know which pages of the mappings.
std::string bytes_with_care(const HeatResult& result, std::uint64_t bytes);
/// "83 %", "below 1 %", "over 99 %".
std::string heat_share(double share);
/// "process 41 (rig)", or "physical memory".
std::string heat_target(const HeatResult& result);

/// A stretch of addresses, in how many windows it was accessed, and in which share of all samples.
struct HeatStretch {
  AddressRange range;
  std::size_t windows = 0;
  double share = 0;
};
/// The longest stretch that was accessed nearly as often (nine tenths) as the hottest. Neighbours
/// count as one. `stretches` must be sorted and disjoint. Empty if there are no stretches.
std::optional<HeatStretch> hottest_of(const std::vector<HeatStretch>& stretches);

/// One sentence: how much of its memory a target accessed all the time, and what is hottest.
std::string heat_conclusion(const HeatResult& result);

/// A picture of what targets access now, to be drawn again and again: fewer than `rows` lines, each
/// with a newline. Maps are at most `columns` wide, if that is 60 or more; sentences can be wider.
/// For each target, how hot its ranges were in the newest window, and below them its newest
/// windows, the newest last. `in_colour`: for a terminal.
std::string heat_picture(const std::vector<const HeatResult*>& results,
                         const HeatAttributes& attributes, std::size_t columns, std::size_t rows,
                         bool in_colour);

/// Breaks text between words into lines of at most `columns`. The first line begins with `first`,
/// and the others are indented by two.
std::string heat_folded(const std::string& text, std::size_t columns,
                        const std::string& first = "");

/// The smallest numbers of bytes that 0, 25, 50, 75 and 100 per cent of the windows do not exceed.
/// Empty if there are no windows.
std::vector<std::uint64_t> working_set_percentiles(const std::vector<HeatWindow>& windows);

/// JSON: for one result, `target` and `windows`; for several, `targets`, a list of these. Addresses
/// are numbers. `partial`: a signal ended the watch early.
std::string heat_json(const std::vector<HeatResult>& results, const HeatAttributes& attributes,
                      bool partial);
/// For each target, a sentence (heat_conclusion()), a heat map at most `columns` wide, and the
/// working set. If samples were taken less often than the user asked for, the text says how often.
/// `in_colour`: for a terminal.
std::string heat_text(const std::vector<HeatResult>& results, const HeatAttributes& attributes,
                      std::size_t columns, bool in_colour = false);

/// Why the next sample of a target comes a second or more after the last one; empty if it comes
/// sooner.
std::string heat_slowness(const HeatResult& result);

}  // namespace shmif::perf
