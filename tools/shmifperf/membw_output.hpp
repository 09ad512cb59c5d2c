#pragma once
// A measurement of memory bandwidth as text, as CSV, and as exit code.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/membw/measure.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

/// What --tolerance and --floor say. Throws UsageError.
perf::CompareLimits membw_limits(const Arguments& args);

/// Of a measurement that is complete: kFailed if sources differ at a step, or else kDone.
int membw_exit_code(const perf::MembwResult& result, perf::MemoryReport report,
                    const perf::CompareLimits& limits);

/// Tables of the sources, of the compared samples, and of the steps of a sweep; the comparisons;
/// and the reasons for what is missing. `width`: of the terminal; 0: any.
std::string membw_text(const perf::MembwResult& result, perf::MemoryReport report,
                       const std::vector<perf::MemoryComparison>& comparisons,
                       const perf::MembwExtras& extras, std::size_t width);

/// Appends a line for each source and sample to the file; a new file gets a head first. Blocks: for
/// the disk. Errors: the system's, with the path; Errc::bad_argument if the file has another head.
Result<void> append_csv(const std::string& path, const perf::MembwResult& result);
/// The same with a line for each sample and pair of sources that can be compared.
Result<void> append_pairs_csv(const std::string& path, const perf::MembwResult& result,
                              perf::MemoryReport report, const perf::MembwExtras& extras);
/// Before the measurement: whether the file, if there is one, can take lines of append_csv() or
/// append_pairs_csv(). An empty path is fine. Errors: Errc::bad_argument.
Result<void> check_csv(const std::string& path);
Result<void> check_pairs_csv(const std::string& path);

}  // namespace shmif::tools
