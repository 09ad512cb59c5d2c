#pragma once
// Job files, in fio's syntax:
//
//   ; or # begin a comment, at the beginning of a line or after a space
//   include hosts.job      the lines of that file are read here; relative to this file
//   [global]               for all later sections in this file; may be repeated
//   rate=10Mbit            a later assignment wins; in the same section, with a warning
//   size=${SIZE}           from the environment
//   numjobs=$ncpus         of this machine; also $mb_memory, $pagesize, and calculations with them
//   [web]                  a job of that name
//   stonewall              a flag needs no value
//
// Option names are those of option_table.hpp. Options of the run as a whole are written in
// [global].

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Where a job file comes from.
struct JobFileSources {
  /// Reads the text of the file at a path; "-" is standard input. By default it reads from the file
  /// system, up to 1 MiB.
  std::function<Result<std::string>(const std::string& path)> read;
  /// Reads the value of a variable, by default from the environment.
  std::function<std::optional<std::string>(const std::string& name)> variable;
};

/// Adds the jobs of the file at `path` to `into`, and what the file says about the run; "-" is
/// standard input. Result: at most 20 problems, each with file, line and advice; empty if there are
/// none. Threads: one at a time in the whole process (libinih keeps its settings in global
/// variables). Blocks: as reading files does.
std::vector<std::string> read_job_file(const std::string& path, JobSet& into,
                                       const JobFileSources& sources = {});

/// The same for a text. Messages call it `name`; includes are relative to the directory of that
/// name.
std::vector<std::string> read_job_text(const std::string& name, const std::string& text,
                                       JobSet& into, const JobFileSources& sources = {});

// Profiles: job files built into the program, for the most common measurements.

struct Profile {
  const char* name;
  const char* summary;  ///< one line, no full stop
  const char* text;     ///< a job file
};

/// All profiles, in the order in which they are shown. Threads: any.
const std::vector<Profile>& profiles();
/// The profile of that name. Result: null if there is none.
const Profile* find_profile(std::string_view name);
/// "unknown profile "voice", did you mean "voip"?"
std::string unknown_profile(std::string_view name);

}  // namespace shmif::perf
