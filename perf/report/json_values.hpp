#pragma once
// Parts that to_json() uses for runs and jobs. Internal to perf/report.

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "perf/report/json.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

using OrderedJson = nlohmann::ordered_json;

// Null if the value is missing, not finite, or empty.
OrderedJson json_number(std::optional<double> value);
OrderedJson json_integer(std::optional<std::uint64_t> value);
OrderedJson json_integer(std::optional<int> value);
OrderedJson json_text(const std::string& value);

/// Writes `key` with `value`, and another key with the reason why it is null; that key is null if
/// the value is not.
void put_or_reason(OrderedJson& into, const std::string& key, OrderedJson value,
                   const char* reason);
void put_directions(OrderedJson& into, const TrafficResult& tx, const TrafficResult& rx,
                    const char* why_no_tx, const char* why_no_rx);
void put_histogram(OrderedJson& into, const std::string& key,
                   const std::shared_ptr<LatencyHistogram>& of, Bins bins, const char* reason);

OrderedJson tcp_sample_json(const TcpSample& tcp);
OrderedJson fates_json(const FlowResult& flow);
OrderedJson cpu_json(const CpuResult& cpu, double frames);
/// Sets the figures in each element of `into`, a list of jobs, groups or searches, to their medians
/// over `all`, the same lists of the repetitions. `name` is the key that identifies an element.
void put_medians(OrderedJson& into, const std::vector<OrderedJson>& all, const char* name);
/// The events that were counted for a job, if it was asked for any, and what follows from them.
void put_counters(OrderedJson& into, const JobResult& job);
/// The memory bandwidth of a run; null if it was not asked for.
OrderedJson memory_json(const RunResult& result);
OrderedJson job_json(const RunResult& run, const JobResult& job, Bins bins);

}  // namespace shmif::perf
