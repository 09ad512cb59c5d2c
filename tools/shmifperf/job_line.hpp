#pragma once
// The command line of `shmifperf run`: job files, profiles, and every option of a job or the run.
//
//   shmifperf run a.job --rate=1Mbit            the option overrides that of every job in a.job
//   shmifperf run --rw=tx --runtime=5           one job, named "job"
//   shmifperf run --runtime=5 --name=a --name=b --rw=pingpong
//                                               two jobs; options before --name are for both

#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/plan/plan.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

struct RunLine {
  perf::JobSet set;
  std::vector<perf::PlannedJob> plan;  ///< made from `set`
  std::vector<std::string> servers;    ///< from --client or the jobs; empty: here
  bool show_command = false;
  bool parse_only = false;
};

/// Reads the line and the files that it names. Throws UsageError, or Exit after --help. If there
/// are several errors, complain() has printed the others.
RunLine read_run_line(const CommandLine& line);

/// A command line for a shell that means the same as `set`, one job per line.
std::string command_line_of(const perf::JobSet& set);

}  // namespace shmif::tools
