#pragma once
// Equipment: the things that a job works with: its end of the wire, and the generator and the sink
// that its role needs; and what is kept of it after the job's end. Internal to perf/worker.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/verify/verify_state.hpp"
#include "perf/worker/frame_source.hpp"
#include "perf/worker/generator.hpp"
#include "perf/worker/record_writer.hpp"
#include "perf/worker/sink.hpp"
#include "perf/worker/worker.hpp"
#include "shmif/filter.hpp"

namespace shmif::perf {

// OffloadEnd: passes frames to the engine in a separate thread (io_submit_mode=offload), so a slow
// send does not delay the next frames.

/// Wraps an end that allows one thread to send while another receives. All ends except a fault link
/// allow it. send() copies frames into a bounded queue. If the engine has an error, a later send()
/// or finish_sending() reports it. Threads: one at a time. Blocks: as the end does, except send().
std::unique_ptr<End> make_offload_end(std::unique_ptr<End> end, std::size_t batch);

// The parts of a job, as the plan of the run asks for them: its frame source, and the flows that it
// receives. Internal to perf/worker.

/// Whether the job's port must also hear frames for others. The frames of a capture and those of an
/// earlier run have addresses of their own.
bool hears_everything(std::span<const PlannedJob> plan, std::size_t index);

/// The state of the earlier run that job number `index` continues; empty if it continues no run.
/// Errors: those of load_verify_state(); bad_argument if the state has flows that the job does not
/// have now.
Result<VerifyState> state_before(const WorkerContext& context, std::size_t index);

/// Makes the record of the frames that the job sends; null if the job keeps no record. Errors:
/// those of the file.
Result<std::unique_ptr<RecordWriter>> make_record(const JobOptions& job);

/// How a job with verify_only makes frames to compare with the received ones. Flow and addresses
/// are not set.
FrameMakerOptions recorded_frames(const JobOptions& job);

/// Threads: one at a time. Cannot be moved once made, because the parts refer to each other.
class Equipment {
 public:
  Equipment(const WorkerContext& context, std::size_t index)
      : context_(context), index_(index), options_(context.plan[index].options) {}
  Equipment(const Equipment&) = delete;
  Equipment& operator=(const Equipment&) = delete;

  /// Opens the end, makes the generator and the sink, and locks their memory if the job asks for
  /// it. Errors: those of the engine and of files; frame_too_long. Blocks: while the end is opened.
  Result<void> make();

  std::unique_ptr<End> end;
  bool has_faults = false;               ///< faults are injected between the job and the wire
  std::unique_ptr<RecordWriter> record;  ///< of the frames that the job sends; may be null
  std::optional<Generator> generator;
  std::optional<Sink> sink;

 private:
  Result<void> open_end();
  Result<void> open_record();
  Result<void> make_generator(const VerifyState& before);
  Result<void> make_sink(VerifyState& before);
  Result<void> lock_memory();

  const WorkerContext& context_;
  std::size_t index_;
  const JobOptions& options_;
  std::optional<FrameFilter> trigger_;
};

// What is kept after the end: the counters of the medium, and the state from which a later run may
// continue.

/// Writes the counters of the job's end, and those of its faults, into the block.
void keep_counters(const JobOptions& job, const Equipment& equipment, JobBlock& block);

/// Saves the state of the job's flows in `folder` (empty: the current directory). Errors: those of
/// the file.
Result<void> save_flows(const JobOptions& job, const Equipment& equipment,
                        const std::string& folder);

}  // namespace shmif::perf
