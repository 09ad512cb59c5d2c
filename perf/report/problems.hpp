#pragma once
// The problems of a job in words, the same for all outputs. Internal to perf/report.

#include <string>

#include "perf/report/json_values.hpp"

namespace shmif::perf {

/// `problems` of a job: [{kind, text}], where kind is the subject of the text. `error`: the error
/// of the job, in one line; left out if a failure of the run contains it.
OrderedJson problems_json(const RunResult& run, const JobResult& job, const std::string& error);

}  // namespace shmif::perf
