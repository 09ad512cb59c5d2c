#pragma once
// The parts of a job, as the plan of the run asks for them: its frame source, and the flows that it
// receives. Internal to perf/worker.

#include <memory>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "perf/verify/verify_state.hpp"
#include "perf/worker/flow_share.hpp"
#include "perf/worker/frame_source.hpp"
#include "perf/worker/record_writer.hpp"
#include "perf/worker/sink.hpp"
#include "perf/worker/worker.hpp"

namespace shmif::perf {

/// Whether the job's port must also hear frames for others. The frames of a capture and those of an
/// earlier run have addresses of their own.
bool hears_everything(std::span<const PlannedJob> plan, std::size_t index);

/// The state of the earlier run that job number `index` continues; empty if it continues no run.
/// Errors: those of load_verify_state(); bad_argument if the state has flows that the job does not
/// have now.
Result<VerifyState> state_before(const WorkerContext& context, std::size_t index);

/// Makes the frame source of job number `index`, which sends frames of `max_frame` bytes or less. A
/// replay leaves out longer ones. Errors: those of Replay::open().
Result<std::unique_ptr<FrameSource>> make_source(const WorkerContext& context, std::size_t index,
                                                 const VerifyState& before, std::size_t max_frame);

/// Makes the record of the frames that the job sends; null if the job keeps no record. Errors:
/// those of the file.
Result<std::unique_ptr<RecordWriter>> make_record(const JobOptions& job);

/// The job's share among the jobs with weights; empty if it has no weight.
std::optional<FlowShare> make_share(const WorkerContext& context, std::size_t index);

/// The flows that job number `index` receives. Moves out of `before` what the earlier run had
/// received of them.
std::vector<ExpectedFlow> expected_flows(const WorkerContext& context, std::size_t index,
                                         VerifyState& before);

/// How a job with verify_only makes frames to compare with the received ones. Flow and addresses
/// are not set.
FrameMakerOptions recorded_frames(const JobOptions& job);

}  // namespace shmif::perf
