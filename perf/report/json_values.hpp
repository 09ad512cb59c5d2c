#pragma once
// Parts that to_json() uses for runs and jobs. Internal to perf/report.

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "perf/report/json_figures.hpp"
#include "perf/report/report.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

void put_directions(OrderedJson& into, const TrafficResult& tx, const TrafficResult& rx,
                    const char* why_no_tx, const char* why_no_rx);
void put_histogram(OrderedJson& into, const std::string& key,
                   const std::shared_ptr<LatencyHistogram>& of, Bins bins, const char* reason);

/// `frames`: sent and received in the time of `cpu`.
OrderedJson cpu_json(CpuResult cpu, std::uint64_t frames);
/// The events that were counted for a job, if it was asked for any, and what follows from them.
void put_counters(OrderedJson& into, const JobResult& job);
/// The access heat of a job, if it was asked for.
void put_heat(OrderedJson& into, const JobResult& job);
/// The memory bandwidth of a run; null if it was not asked for.
OrderedJson memory_json(const RunResult& result);
OrderedJson job_json(const RunResult& run, const JobResult& job, Bins bins);

}  // namespace shmif::perf
