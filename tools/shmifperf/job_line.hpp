#pragma once
// The command line of `shmifperf run`: job files, profiles, and every option of a job or the run.
//
//   shmifperf run a.job --rate=1Mbit            the option holds for every job of a.job, whatever
//                                               that says
//   shmifperf run --rw=tx --runtime=5           one job, named "job"
//   shmifperf run --runtime=5 --name=a --name=b --rw=pingpong
//                                               two; what stands before the first --name is for
//                                               both

#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/job/plan.hpp"
#include "tools/command.hpp"

namespace shmif::tools {

struct RunLine {
  perf::JobSet set;
  std::vector<perf::PlannedJob> plan;  ///< of `set`
  std::vector<std::string> servers;    ///< of --client; empty: it is run here
  bool show_command = false;
  bool parse_only = false;
};

/// Reads the line, and the files that it names. Throws UsageError, or Exit after --help; where more
/// than one thing is wrong, complain() has said the others.
RunLine read_run_line(const CommandLine& line);

/// The command line that means the same as `set`, for a shell, a job a line.
std::string command_line_of(const perf::JobSet& set);

}  // namespace shmif::tools
