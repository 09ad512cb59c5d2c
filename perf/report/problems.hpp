#pragma once
// What went wrong with a job, in words: once, for all that is printed of it. Internal to
// perf/report.

#include <string>

#include "perf/report/json_parts.hpp"

namespace shmif::perf {

/// `problems` of a job: [{kind, text}], the kind being what the text is of. `error` is the error
/// of the job, in one line; it is left out where a failure of the run has it.
OrderedJson problems_json(const RunResult& run, const JobResult& job, const std::string& error);

}  // namespace shmif::perf
