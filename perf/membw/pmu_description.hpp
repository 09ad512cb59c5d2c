#pragma once
// The part of the descriptions of PMUs in sysfs that memory bandwidth needs: which bits of an event
// a word sets, what an event is, and how many bytes it counts.
//
// Threads: any. Blocks: never.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

/// The words `config`, `config1` and `config2` of an event.
using EventWords = std::array<std::uint64_t, 3>;

/// Where the bits of a value go, lowest first.
struct PmuField {
  std::size_t word = 0;                             ///< in EventWords
  std::vector<std::pair<unsigned, unsigned>> bits;  ///< first and last of each range
};
using PmuFields = std::map<std::string, PmuField, std::less<>>;

/// A file of a PMU's directory `format`: "config:0-7,32-35", "config1:5". Errors: Errc::
/// bad_argument for other text, for bits above 63 and for bits that are named twice.
Result<PmuField> read_pmu_field(std::string_view text);

/// A file of a PMU's directory `events`: "event=0x04,umask=0x03". A field without a value is 1.
/// Errors: Errc::bad_argument for other text, for a field that `fields` does not have, and for a
/// value that does not fit into its bits.
Result<EventWords> read_pmu_event(std::string_view text, const PmuFields& fields);

/// The bytes that stand for one count: the files `.scale` and `.unit` of an event. Errors: Errc::
/// bad_argument for a scale that is no number above 0, and for a unit other than bytes, KiB to GiB
/// and KB to GB.
Result<double> read_bytes_per_count(std::string_view scale, std::string_view unit);

}  // namespace shmif::perf
