#pragma once
// The output of a memory bandwidth measurement: text, CSV, and the exit code.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "instruments/membw/measure.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

/// The limits that --tolerance and --floor give. Throws UsageError.
perf::CompareLimits membw_limits(const Arguments& args);

/// The exit code of a complete measurement: kFailed if sources differ at a step, otherwise kDone.
int membw_exit_code(const perf::MembwResult& result, perf::MemoryReport report,
                    const perf::CompareLimits& limits);

/// Tables of the sources, of the compared samples, and of the steps of a sweep; the comparisons;
/// and the reasons why figures are missing. `width`: that of the terminal; 0 means any.
std::string membw_text(const perf::MembwResult& result, perf::MemoryReport report,
                       const std::vector<perf::MemoryComparison>& comparisons,
                       const perf::MembwExtras& extras, std::size_t width);

/// Appends a line for each source and sample to the file. A new file gets a heading first. Blocks:
/// for the disk. Errors: an errno, with the path; Errc::bad_argument if the file has another
/// heading.
Result<void> append_csv(const std::string& path, const perf::MembwResult& result);
/// The same, with a line for each sample and each pair of sources that can be compared.
Result<void> append_pairs_csv(const std::string& path, const perf::MembwResult& result,
                              perf::MemoryReport report, const perf::MembwExtras& extras);
/// Call it before the measurement. If the file exists, checks whether append_csv() or
/// append_pairs_csv() can append to it. An empty path is allowed. Errors: Errc::bad_argument.
Result<void> check_csv(const std::string& path);
Result<void> check_pairs_csv(const std::string& path);

}  // namespace shmif::tools
