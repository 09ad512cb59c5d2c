#pragma once
// A run as JSON, which every other output is made from: what a run prints and what
// `shmifperf report` makes of its file later are the same.
//
// docs/shmifperf.schema.json names every key, with its unit and meaning. Keys stay; a change that
// breaks a reader raises kReportFormat. What was not measured is null, with the reason in a key
// beside it (`latency_ns`, `latency_ns_reason`).

#include <cstdint>
#include <string>

#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// `format_version` of the files.
inline constexpr int kReportFormat = 1;

/// Whether histograms have their buckets (json+) or percentiles alone.
enum class Bins : std::uint8_t { without, with };

/// The whole result, indented, with a newline at its end. Always valid JSON: bytes that are not
/// UTF-8 become U+FFFD. To the warnings of the result it adds those that follow from its figures
/// (perf/report/warnings.hpp).
std::string to_json(const RunResult& result, Bins bins);

}  // namespace shmif::perf
