#pragma once
// The parts of to_text(), each its own page of code. Internal to perf/report.

#include <string>
#include <vector>

#include "perf/report/fields.hpp"

namespace shmif::perf {

/// A job with the peers that were made for it, which people think of as one.
struct Unit {
  const ReportJson* job;
  std::vector<const ReportJson*> peers;
};
std::vector<Unit> units_of(const ReportJson& report);

/// `width` everywhere: how many columns there are for a table; 0: as many as it takes.
std::string unit_text(const Unit& unit, std::size_t width);
std::string group_text(const ReportJson& group, std::size_t width);
/// A line for each, for runs of so many that a block for each would bury what matters.
std::string jobs_text(const std::vector<Unit>& units, std::size_t width);

/// Jobs that differ by their engine alone, one under the other; empty when there are none. `all`
/// becomes whether there are no other jobs.
std::string engines_text(const ReportJson& report, bool& all, std::size_t width);
/// A table per search, a line for each frame size (RFC 2544, section 26.1).
std::string searches_text(const ReportJson& report, std::size_t width);
std::string repeats_text(const ReportJson& report, std::size_t width);
std::string links_text(const ReportJson& report, std::size_t width);
/// Of a run on servers: those, and their machines.
std::string machine_text(const ReportJson& report, std::size_t width);

}  // namespace shmif::perf
