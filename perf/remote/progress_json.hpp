#pragma once
// RunProgress as JSON and back. Internal to perf/remote.

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"
#include "perf/result/progress.hpp"

namespace shmif::perf {

nlohmann::json progress_to_json(const RunProgress& progress);
/// Errors: bad_argument if a key is missing or has another type. Blocks: never.
Result<RunProgress> progress_from_json(const nlohmann::json& json);

}  // namespace shmif::perf
