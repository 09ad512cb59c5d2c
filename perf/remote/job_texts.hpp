#pragma once
// Sets of jobs as texts that another machine reads: files, variables and profiles are resolved.

#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

/// Whether an option of the run concerns the client alone: where and how results are shown.
bool is_of_client(const std::string& option) noexcept;

/// What was given, but for what concerns the client alone.
JobTexts texts_of(const JobSet& set);

/// The set again; to `problems` goes what is wrong with it, at most kMostProblems (limits.hpp).
/// Threads: any.
JobSet job_set_of(const JobTexts& texts, std::vector<std::string>& problems);

}  // namespace shmif::perf
