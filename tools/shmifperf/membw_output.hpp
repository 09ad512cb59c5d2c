#pragma once
// A measurement of memory bandwidth as text and as CSV.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/membw/measure.hpp"

namespace shmif::tools {

/// Tables of the sources and of their comparisons, and the reasons for what is missing. `width`: of
/// the terminal; 0: any.
std::string membw_text(const perf::MembwResult& result, perf::MemoryReport report,
                       const std::vector<perf::MemoryComparison>& comparisons, std::size_t width);

/// Appends a line for each source and sample to the file; a new file gets a head first. Blocks: for
/// the disk. Errors: the system's, with the path.
Result<void> append_csv(const std::string& path, const perf::MembwResult& result);

}  // namespace shmif::tools
