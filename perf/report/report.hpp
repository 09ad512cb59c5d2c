#pragma once
// The result of a run as JSON: to_json() writes it, and Report reads and checks it. Every other
// output is made from a Report, so a run prints the same as `shmifperf report` later makes from the
// file.
//
// docs/shmifperf.schema.json describes every key, with unit and meaning. Keys are stable; a change
// that breaks readers raises kReportFormat. A figure that was not measured is null, and another key
// gives the reason (`latency_ns`, `latency_ns_reason`).

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// `format_version` of the files.
inline constexpr int kReportFormat = 1;

/// Whether histograms include their buckets (json+) or only percentiles.
enum class Bins : std::uint8_t { without, with };

/// The whole result, indented, with a final newline. Always valid JSON: bytes that are not UTF-8
/// become U+FFFD. It adds warnings that follow from the figures (perf/report/problems.hpp).
std::string to_json(const RunResult& result, Bins bins);

/// A result file, checked against its schema.
///
/// Threads: const members are safe; copies share the data. Blocks: only load(), for the disk.
class Report {
 public:
  /// Reads what to_json() wrote. `name`: the file's name, for messages. `stop` may end it early
  /// (see JsonLimits). Time and memory are at most proportional to the text
  /// (perf/report/json_reader.hpp). Errors: bad_argument if the text is not JSON, is nested deeper
  /// or larger than any result, has another format_version (the message names both), or does not
  /// match docs/shmifperf.schema.json (the message names the first such place), or if `stop` ended
  /// it.
  static Result<Report> parse(std::string_view text, const std::string& name,
                              const std::function<bool()>& stop = {});
  /// The same for a file; "-" is standard input. Errors: also those of reading.
  static Result<Report> load(const std::string& path);

  const nlohmann::json& json() const noexcept { return *json_; }
  const std::string& name() const noexcept { return name_; }

 private:
  Report(std::shared_ptr<const nlohmann::json> json, std::string name);

  std::shared_ptr<const nlohmann::json> json_;
  std::string name_;
};

/// docs/shmifperf.schema.json, as it was at build time.
std::string_view schema_text() noexcept;

}  // namespace shmif::perf
