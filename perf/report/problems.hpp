#pragma once
// What went wrong in a run, in words that are the same for all outputs: the problems of a job, and
// warnings about figures, found in the figures themselves.

#include <string>
#include <vector>

#include "perf/report/json_figures.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// What became of frames besides that they were received or lost: "3 duplicate, 1 corrupt copy";
/// empty if nothing did. The words follow from the rows of FlowResult.
std::string other_fates(const FlowResult& flow);

/// What became of a job whose last state has that name.
std::string end_in(const std::string& state);

/// The text of a problem of kind "loss"; empty if all frames of the flow arrived as they should.
std::string loss_problem(const FlowResult& flow);

/// `problems` of a job: [{kind, text}], where kind is the subject of the text. `error`: the error
/// of the job, in one line; left out if a failure of the run contains it.
OrderedJson problems_json(const RunResult& run, const JobResult& job, const std::string& error);

/// Above this share of the harness's own limit, a result says more about the harness than about the
/// medium.
inline constexpr double kNearLimit = 0.8;

/// A rate as a share of the harness's own limit; empty if either is not known.
std::optional<double> share_of_limit(std::optional<double> rate,
                                     std::optional<double> limit) noexcept;
std::optional<double> limit_share_of(const JobResult& job) noexcept;

/// A sentence for each job and each search near the harness's own limit, for each search that its
/// own sender misled, for each CPU from which the hypervisor took time (steal), and one for all
/// jobs that were often taken off their CPUs. If the jobs were watched, the causes decide whether
/// steal or other programs held them back; so warnings and causes agree.
std::vector<std::string> warnings_from(const RunResult& result);

}  // namespace shmif::perf
