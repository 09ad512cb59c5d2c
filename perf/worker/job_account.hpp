#pragma once
// Keeps what is needed of a job after its end: the counters of its medium, and the state from which
// a later run may continue. Internal to perf/worker.

#include <string>

#include "base/result.hpp"
#include "perf/worker/equipment.hpp"

namespace shmif::perf {

/// Writes the counters of the job's end, and those of its faults, into the block.
void keep_counters(const JobOptions& job, const Equipment& equipment, JobBlock& block);

/// Saves the state of the job's flows in `folder` (empty: the current directory). Errors: those of
/// the file.
Result<void> save_flows(const JobOptions& job, const Equipment& equipment,
                        const std::string& folder);

}  // namespace shmif::perf
