#pragma once
// Verification states on their way from a server, where jobs saved them, to its client.

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "perf/plan/plan.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

/// All states of one run that a server sends, before they become hex. Its process keeps them until
/// the client has read them.
inline constexpr std::size_t kMaxRunStatesBytes = 16U << 20U;

/// All states that a client sends to a server, so that they fit into kMaxJobsBytes as hex.
inline constexpr std::size_t kMaxSentStatesBytes = 1U << 20U;

/// The states that the jobs of a run save, on the server. Threads: one at a time. Blocks: for the
/// disk.
class SavedStates {
 public:
  /// Call it before the run.
  SavedStates(const std::vector<PlannedJob>& plan, const RunOptions& options);
  /// Reads the states that the run has saved, one after the other, and calls `teller` for each. A
  /// state is empty if it cannot be read, is longer than kMaxStateBytes, or does not fit into
  /// kMaxRunStatesBytes with those before it.
  void tell(const std::function<void(const StateMessage&)>& teller) const;

 private:
  struct File {
    std::string job, path;
    std::optional<std::string> before;  // marks of the file before the run; empty: no file
  };
  std::vector<File> files_;
};

/// Whether the client sends states (verify_state_load=client).
bool has_states_to_send(const JobSet& set);
/// Adds to `texts` the states that jobs on `server` load from the client: what KeptStates has
/// written in an earlier run. Blocks: for the disk. Errors: those of read_verify_state(), also if
/// the states together are longer than kMaxSentStatesBytes.
Result<void> add_states(const std::string& server, JobTexts& texts);

/// The states that a client keeps, in the current directory. Threads: one at a time. Blocks: for
/// the disk.
class KeptStates {
 public:
  explicit KeptStates(const JobSet& set);

  /// Writes a state that `server` sent to SERVER-JOB-verify.state. Result: the path.
  /// Errors: bad_argument if it is not a state, or is the state of another job, if no such job was
  /// sent, if this run has already written the file, or if the state was too long to be sent; the
  /// system's.
  Result<std::string> keep(const std::string& server, const StateMessage& state);
  /// Flushes the names of all files to disk.
  void sync() const;

 private:
  std::set<std::string> jobs_;
  std::set<std::string> written_;
};

}  // namespace shmif::perf
