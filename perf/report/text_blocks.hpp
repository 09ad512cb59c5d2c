#pragma once
// The parts of to_text(), each in its own file. Internal to perf/report.

#include <string>
#include <vector>

#include "perf/report/fields.hpp"

namespace shmif::perf {

/// A job with the peers that were made for it. Users see them as one.
struct Unit {
  const ReportJson* job;
  std::vector<const ReportJson*> peers;
};
std::vector<Unit> units_of(const ReportJson& report);

/// `width` in all functions: the number of columns for a table; 0: as many as needed.
std::string unit_text(const Unit& unit, std::size_t width);
/// The events that were counted for the jobs of a unit; empty if there are none.
std::string counters_text(const Unit& unit, std::size_t width);
std::string group_text(const ReportJson& group, std::size_t width);
/// A line for each unit, for runs with so many jobs that blocks would hide the important figures.
std::string jobs_text(const std::vector<Unit>& units, std::size_t width);

/// Jobs that differ only in their engine, one below the other; empty if there are none. `all` is
/// set to whether there are no other jobs.
std::string engines_text(const ReportJson& report, bool& all, std::size_t width);
/// A table per search, with a line for each frame size (RFC 2544, section 26.1).
std::string searches_text(const ReportJson& report, std::size_t width);
/// Which parts of their bus the jobs used; empty if it was not asked for.
std::string heat_text(const ReportJson& report, std::size_t width);
/// The memory bandwidth of the run; empty if it was not measured.
std::string memory_text(const ReportJson& report, std::size_t width);
std::string repeats_text(const ReportJson& report, std::size_t width);
std::string links_text(const ReportJson& report, std::size_t width);
/// What held the jobs back; empty if the file is of a version that did not tell.
std::string causes_text(const ReportJson& report, std::size_t width);
/// For a run on servers, the servers and their machines.
std::string machine_text(const ReportJson& report, std::size_t width);

}  // namespace shmif::perf
