#pragma once
// The result of a run as JSON: to_json() writes it, and Report reads and checks it. Every other
// output is made from a Report, so a run prints the same as `shmifperf report` later makes from the
// file.
//
// docs/shmifperf.schema.json describes every key, with unit and meaning. Keys are stable; a change
// that breaks readers raises kReportFormat. A figure that was not measured is null, and another key
// gives the reason (`latency_ns`, `latency_ns_reason`).

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// A report as text for people, whole (in fio's style) or in a few lines, and one line per job for
// scripts.

/// `normal`: first what went wrong, then tables that compare (engines, searches, repetitions), then
/// each job and group, the links with faults, and the machine. "-" stands for figures that were not
/// measured. `width`: wider tables are folded and messages broken; 0: every row is one line.
std::string to_text(const Report& report, std::size_t width = 0);

/// What a user wants to know first, in about eight lines: whether the run passed and how much was
/// lost, what went wrong, the rates that searches found, a line for each job, what held the jobs
/// back, and `files`, which the run wrote. A list that is too long ends with the number of the
/// rest. The last line names --details if to_text() has more.
std::string to_summary(const Report& report, std::size_t width = 0,
                       const std::vector<std::string>& files = {});

/// The beginning of to_summary(): whether the run passed, and if it failed, the first reasons and
/// the number of the rest.
std::string to_verdict(const Report& report, std::size_t width = 0);

/// ", 57 frames lost by the requested faults"; empty if none were lost. Without it, "passed" would
/// suggest that all frames arrived. `report` needs only `jobs` and `links`.
std::string losses_text(const nlohmann::json& report);

/// How many servers of a combined result failed by themselves. A server that was only stopped, or
/// that ran nothing because another one failed, does not count. `result` needs only `hosts`,
/// `failures` and `stopped_by_signal`.
std::size_t failed_servers(const nlohmann::json& result);

/// The version of the lines of to_terse(), which is their first field. Fields are only added, at
/// the end; any other change raises the version.
inline constexpr int kTerseVersion = 1;

/// `terse`: a line per job, with fields separated by semicolons; a field is empty if it was not
/// measured. In texts, a semicolon becomes "_" and a control character "?". docs/shmifperf-terse.md
/// describes the fields.
std::string to_terse(const Report& report);

// A report as one HTML page that needs only a browser.

/// The complete page, with styles, scripts and the result. Its policy forbids loading or sending
/// anything, and names in the result always appear as text. Errors: not_supported if shmifperf was
/// built without the page.
Result<std::string> to_html(const Report& report);

/// The most results on a page: it has so many colours.
inline constexpr std::size_t kMaxOverlaid = 8;
/// One page of several results: their figures side by side, and their curves over each other. It
/// names each by its file, or by its path if files of several folders have the same name. Errors:
/// as above, and bad_argument for more than kMaxOverlaid.
Result<std::string> to_html(const std::vector<Report>& reports);

/// The names of the results on that page, in their order.
std::vector<std::string> names_on_page(const std::vector<Report>& reports);

/// The page in pieces, made at build time (perf/report/web). @RESULT@ marks the place for the JSON,
/// and @TEXT@ that for the text. Empty if this was built without the page. Internal to perf/report.
std::span<const std::string_view> page_pieces() noexcept;

}  // namespace shmif::perf
