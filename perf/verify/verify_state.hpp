#pragma once
// VerifyState: what a job has sent and received, saved so that a later run goes on from there.
//
// A file, all numbers little endian, that is there whole or not at all: it is written under another
// name, flushed to the disk and then renamed.
//
//    0  8  magic "shmifvst"
//    8  4  version, 2
//   12  4  CRC-32C of all that follows
//   16  8  hash of the options that decide what frames look like
//   24     name of the job: 8 bytes of length, and the text
//       8  number of flows; for each:
//            the name of its sender, as that of the job, 8 seed, 8 next sequence number, 8 random
//            numbers drawn, and the ledger (perf/verify/sequence_ledger_file.cpp)

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/verify/sequence_ledger.hpp"

namespace shmif::perf {

struct FlowState {
  std::string from;  ///< its sender: numbers change with the order of the jobs, names do not
  std::uint64_t seed = 0;
  std::uint64_t next_sequence = 0;    ///< of its sender
  std::uint64_t random_position = 0;  ///< SizeChooser::position()
  SequenceLedger received{};
};

struct VerifyState {
  std::string job;
  std::uint64_t options_hash = 0;
  std::vector<FlowState> flows{};
};

/// The flow of `state` that job `sender` sends; null: there is none.
template <class State>
auto* flow_from(State& state, const std::string& sender) noexcept {
  const auto at = std::ranges::find(state.flows, sender, &FlowState::from);
  return at == state.flows.end() ? nullptr : &*at;
}

/// Of the options that decide what the frames of a job look like: only with the same can a later
/// run know what an earlier one sent.
std::uint64_t options_hash(const JobOptions& job) noexcept;

/// Where the state of `job` is kept: "DIRECTORY/JOB-verify.state".
std::string verify_state_path(const std::string& directory, const std::string& job);

/// Threads: any. Blocks: for the disk. Errors: the system's, and then what was there before stays.
Result<void> save_verify_state(const std::string& path, const VerifyState& state);

/// The state in the file at `path`, of `job` with options of that hash. Errors: the system's;
/// wrong_layout when it is of another version; bad_argument when it is no such file, a damaged one,
/// or of another job or other options.
Result<VerifyState> load_verify_state(const std::string& path, const std::string& job,
                                      std::uint64_t options_hash);

/// The content of such a file, and back from `in`; `name` is what messages call it.
std::vector<std::byte> encode_verify_state(const VerifyState& state);
Result<VerifyState> decode_verify_state(std::span<const std::byte> in, const std::string& name);

}  // namespace shmif::perf
