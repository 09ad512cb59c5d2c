#pragma once
// What a job is put together from, by the plan of the run: where its frames come from, and which
// flows it receives. Internal to perf/run.

#include <memory>
#include <optional>
#include <vector>

#include "bus/result.hpp"
#include "perf/run/flow_share.hpp"
#include "perf/run/frame_source.hpp"
#include "perf/run/record_writer.hpp"
#include "perf/run/sink.hpp"
#include "perf/run/worker.hpp"
#include "perf/verify/verify_state.hpp"

namespace shmif::perf {

/// Whether a port of this job hears what is for others: a capture's frames have their own
/// addresses, and so have those of an earlier run.
bool hears_everything(std::span<const PlannedJob> plan, std::size_t index);

/// The state of an earlier run that job number `index` goes on from, if it is to; an empty one if
/// not. Errors: those of load_verify_state(); bad_argument for one with flows that it has not now.
Result<VerifyState> state_before(const WorkerContext& context, std::size_t index);

/// Of job number `index`, which sends. Errors: those of Replay::open().
Result<std::unique_ptr<FrameSource>> make_source(const WorkerContext& context, std::size_t index,
                                                 const VerifyState& before);

/// The record of what it sends; nothing where it is to keep none. Errors: the file's.
Result<std::unique_ptr<RecordWriter>> make_record(const JobOptions& job);

/// Its part of what jobs with weights send; nothing where it has none.
std::optional<FlowShare> make_share(const WorkerContext& context, std::size_t index);

/// The flows that job number `index` receives. Takes from `before` what it had received.
std::vector<ExpectedFlow> expected_flows(const WorkerContext& context, std::size_t index,
                                         VerifyState& before);

/// How a job with verify_only makes again what it receives, but for flow and addresses.
FrameMakerOptions recorded_frames(const JobOptions& job);

}  // namespace shmif::perf
