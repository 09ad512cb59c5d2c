#pragma once
// Verification states on their way from a server, where jobs saved them, to its client.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "perf/plan/plan.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

/// The states that the jobs of a run save, on the server. Threads: one at a time. Blocks: for the
/// disk.
class SavedStates {
 public:
  /// Call it before the run.
  SavedStates(const std::vector<PlannedJob>& plan, const RunOptions& options);
  /// A message for each state that the run has saved.
  std::vector<StateMessage> saved() const;

 private:
  struct File {
    std::string job, path;
    std::optional<std::string> before;  // tells this file from a later one; empty: there was none
  };
  std::vector<File> files_;
};

/// Writes a state that `server` sent to DIRECTORY/SERVER-JOB-verify.state; an empty directory is
/// the current one. Result: the path. Errors: bad_argument if it is no state, or that of another
/// job, or was too long to be sent; the system's. Blocks: for the disk.
Result<std::string> keep_state(const std::string& directory, const std::string& server,
                               const StateMessage& state);

}  // namespace shmif::perf
