#pragma once
// A run as JSON. Every other output is made from it, so a run prints the same as `shmifperf report`
// later makes from the file.
//
// docs/shmifperf.schema.json describes every key, with unit and meaning. Keys are stable; a change
// that breaks readers raises kReportFormat. A figure that was not measured is null, and another key
// gives the reason (`latency_ns`, `latency_ns_reason`).

#include <cstdint>
#include <string>

#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// `format_version` of the files.
inline constexpr int kReportFormat = 1;

/// Whether histograms include their buckets (json+) or only percentiles.
enum class Bins : std::uint8_t { without, with };

/// The whole result, indented, with a final newline. Always valid JSON: bytes that are not UTF-8
/// become U+FFFD. It adds warnings that follow from the figures (perf/report/warnings.hpp).
std::string to_json(const RunResult& result, Bins bins);

}  // namespace shmif::perf
