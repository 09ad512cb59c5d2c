#pragma once
// Job files, in fio's syntax:
//
//   ; or # begin a comment, at the beginning of a line or behind a space
//   include hosts.job      as if the lines of that file stood here; relative to this file
//   [global]               for all sections behind it in this file; may occur again
//   rate=10Mbit            what is assigned later wins
//   size=${SIZE}           from the environment
//   numjobs=$ncpus         of this machine; also $mb_memory, $pagesize, and sums with them
//   [web]                  a job of that name
//   stonewall              a flag needs no value
//
// Option names are those of option_table.hpp. Options of the run as a whole stand in [global].

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Where a job file comes from.
struct JobFileSources {
  /// The text of the file at a path, "-" being standard input; by default that of the file system,
  /// up to 1 MiB.
  std::function<Result<std::string>(const std::string& path)> read;
  /// The value of a variable; by default that of the environment.
  std::function<std::optional<std::string>(const std::string& name)> variable;
};

/// Adds the jobs of the file at `path`, "-" being standard input, to `into`, and what it says about
/// the run. Result: what is wrong with it, each with file and line and what to do, at most 20;
/// empty: nothing is. Threads: one at a time in the whole process (libinih has its settings in
/// global variables). Blocks: as reading files does.
std::vector<std::string> read_job_file(const std::string& path, JobSet& into,
                                       const JobFileSources& sources = {});

/// The same of a text, which messages call `name`; includes are relative to the directory in it.
std::vector<std::string> read_job_text(const std::string& name, const std::string& text,
                                       JobSet& into, const JobFileSources& sources = {});

}  // namespace shmif::perf
