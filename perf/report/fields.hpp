#pragma once
// Short access to the figures of a Report, and the columns that the rows of figures ask for
// (perf/stats/figure.hpp), in tables of text and on the page. A Report has been checked, so the
// keys that the schema requires exist. Internal to perf/report and perf/compare.

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "perf/report/table.hpp"
#include "perf/stats/figure.hpp"

namespace shmif::perf {

using ReportJson = nlohmann::json;

/// Empty for null. `count` is for integers.
std::optional<double> figure(const ReportJson& of, const char* key);
std::optional<std::uint64_t> count(const ReportJson& of, const char* key);
/// Text to print: without control characters; null is empty.
std::string words(const ReportJson& of, const char* key);
/// Whether the frames that a job lost by overruns are more than were counted.
bool is_lower_bound(const ReportJson& job);
/// The unchanged text, for comparisons.
std::string name_in(const ReportJson& of, const char* key);

/// A figure for people; "-" if `of` is null, or does not have the key.
std::string cell(const ReportJson& of, const char* key, Format format);

/// The head of a table with the figures of T. The first column has the title `name`.
template <class T>
Table::Row head_of(const std::string& name) {
  Table::Row row = {name};
  for (const Figure<T>& figure : kRowsOf<T>) {
    if (figure.column.title != nullptr) row.emplace_back(figure.column.title);
  }
  return row;
}

/// A row of that table: the figures of `of`, the JSON of a T.
template <class T>
Table::Row cells_of(const std::string& name, const ReportJson& of) {
  Table::Row row = {name};
  for (const Figure<T>& figure : kRowsOf<T>) {
    if (figure.column.title != nullptr) row.push_back(cell(of, figure.key, figure.column.format));
  }
  return row;
}

/// The columns of the page, by the name of their table: a list of [key, title, format, whether a
/// value above 0 is bad] for each. "errors" has the classes of errors, in their order.
ReportJson page_columns();

// The parts of to_text() and to_summary(), in files of their own. Internal to perf/report.

/// A job with the peers that were made for it. Users see them as one.
struct Unit {
  const ReportJson* job;
  std::vector<const ReportJson*> peers;
};
std::vector<Unit> units_of(const ReportJson& report);
/// Whether the job asked for only the sums of its group.
bool is_left_to_its_group(const Unit& unit);

/// How many frames were sent to a unit, and how many of them were lost; empty if no job counted
/// them.
struct Lost {
  std::optional<std::uint64_t> sent{}, frames{};
  std::optional<double> share{};
};
/// For each job that sent requests, by its name: its requests, summed over all receivers.
using Requests = std::map<std::string, Lost>;
Requests requests_of(const ReportJson& report);
/// The frames of a unit that its `receivers` lost. For a job that sent requests, `sent` counts the
/// requests, and `frames` the lost requests and replies: each of them is one missing answer.
Lost lost_of(const Unit& unit, const std::vector<const ReportJson*>& receivers,
             const Requests& requests);

/// "stopped by SIGINT"; empty if no signal came.
std::string stopped_text(const ReportJson& report);
/// "passed", "FAILED", or stopped_text() of a run that was stopped and did not fail.
std::string verdict_of(const ReportJson& report);
/// The frames that the jobs lost.
std::uint64_t lost_frames(const ReportJson& report);
/// Which of `lost` frames were lost by requested faults, or by the full queue of such a fault:
/// " by the requested faults"; empty if faults did not lose any.
std::string blame_for(const ReportJson& report, std::uint64_t lost);

/// `width` in all functions: the number of columns for a table; 0: as many as needed.
std::string unit_text(const Unit& unit, std::size_t width);
/// The events that were counted for the jobs of a unit; empty if no event was.
std::string counters_text(const Unit& unit, std::size_t width);
std::string group_text(const ReportJson& group, std::size_t width);
/// A line for each unit, for runs with so many jobs that blocks would hide the important figures.
std::string jobs_text(const std::vector<Unit>& units, const Requests& requests, std::size_t width);

/// A table of jobs that differ only in their engine; empty if there are no such jobs. `all` is set
/// to whether the table has all jobs.
std::string engines_text(const ReportJson& report, bool& all, std::size_t width);
/// A table per kind of search, with a line for each frame size (RFC 2544, section 26.1), for at
/// most `max` searches.
std::string searches_text(const ReportJson& report, std::size_t width, std::size_t max = SIZE_MAX);
/// For each search, which trial the figures of its job come from.
std::string shown_trials_text(const ReportJson& report, std::size_t width);
/// Which parts of their bus the jobs used; empty if it was not asked for.
std::string heat_text(const ReportJson& report, std::size_t width);
/// The memory bandwidth of the run; empty if it was not measured.
std::string memory_text(const ReportJson& report, std::size_t width);
/// If there were several runs, tells which run the figures belong to.
std::string repetitions_text(const ReportJson& report, std::size_t width);
std::string repeats_text(const ReportJson& report, std::size_t width);
std::string links_text(const ReportJson& report, std::size_t width);
/// What held the jobs back; empty if the file is of a version that did not tell.
std::string causes_text(const ReportJson& report, std::size_t width);
/// The same with at most `max` causes, and without the line about how they were found.
std::string main_causes_text(const ReportJson& report, std::size_t width, std::size_t max);
/// How many rows the tables of the summary have.
inline constexpr std::size_t kMaxSummaryRows = 8;
/// "  ... and 3 more jobs", if there are more than `max`.
std::string rest_of(std::size_t all, std::size_t max, const std::string& thing);
/// For a run on servers, the servers and their machines.
std::string machine_text(const ReportJson& report, std::size_t width);

}  // namespace shmif::perf
