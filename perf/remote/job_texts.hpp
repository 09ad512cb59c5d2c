#pragma once
// Sets of jobs as texts for another machine: files, variables and profiles are resolved.

#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/remote/limits.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

/// The options that were given, without those that concern only the client.
JobTexts texts_of(const JobSet& set);

/// Makes the set again, unless it has more jobs than the limits allow. Captures in `headers` are
/// read here, so only those that the limits allow are accepted, and their paths become absolute.
/// Adds its problems to `problems`, at most kMaxProblems (limits.hpp). Threads: any. Blocks: for
/// such a capture.
JobSet job_set_of(const JobTexts& texts, const ServerLimits& limits,
                  std::vector<std::string>& problems);

}  // namespace shmif::perf
