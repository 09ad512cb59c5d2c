#pragma once
// VerifyState: what a job has sent and received, saved so that a later run can continue.
//
// The file is written under another name, flushed to disk and then renamed, so it is complete or
// absent. All numbers are little endian:
//
//    0  8  magic "shmifvst"
//    8  4  version, 3
//   12  4  CRC-32C of all following bytes
//   16  8  hash of the options that determine the contents of frames
//   24     name of the job: 8 bytes of length, and the text
//       8  number of flows; for each:
//            the name of its sender, like that of the job, 8 seed, 8 next sequence number, 8 random
//            numbers drawn, and the ledger (perf/verify/sequence_ledger.cpp)

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/verify/sequence_ledger.hpp"

namespace shmif::perf {

struct FlowState {
  std::string from;  ///< its sender by name, because job numbers can change
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

/// The flow of `state` that job `sender` sends; null if there is none.
template <class State>
auto* flow_from(State& state, const std::string& sender) noexcept {
  const auto at = std::ranges::find(state.flows, sender, &FlowState::from);
  return at == state.flows.end() ? nullptr : &*at;
}

/// Hash of the options that determine the contents of a job's frames. A later run can continue an
/// earlier one only if the hash is the same.
std::uint64_t options_hash(const JobOptions& job) noexcept;

/// The file for the state of `job`: "DIRECTORY/JOB-verify.state".
std::string verify_state_path(const std::string& directory, const std::string& job);

/// Threads: any. Blocks: for the disk. Errors: an errno; the previous file is then unchanged.
Result<void> save_verify_state(const std::string& path, const VerifyState& state);

/// The same for the content of such a file. Its new name is on disk after sync_directory_of().
Result<void> write_verify_state(const std::string& path, std::span<const std::byte> content);
void sync_directory_of(const std::string& path);

/// The content of the file, whatever it is. Threads: any. Blocks: for the disk. Errors: the
/// system's; bad_argument if it is not a regular file, or is longer than `max_bytes`.
Result<std::vector<std::byte>> read_verify_state(const std::string& path, std::uint64_t max_bytes);

/// Loads the state of `job` with options of that hash. Errors: an errno; wrong_layout for
/// another version; bad_argument if the file is not a state, is damaged, or belongs to another job
/// or other options.
Result<VerifyState> load_verify_state(const std::string& path, const std::string& job,
                                      std::uint64_t options_hash);

/// The content of such a file, and the state from it. `name` is used in messages.
std::vector<std::byte> encode_verify_state(const VerifyState& state);
Result<VerifyState> decode_verify_state(std::span<const std::byte> in, const std::string& name);
/// load_verify_state() of the content of a file.
Result<VerifyState> state_of_job(std::span<const std::byte> in, const std::string& name,
                                 const std::string& job, std::uint64_t options_hash);

}  // namespace shmif::perf
