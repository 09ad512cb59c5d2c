#pragma once
// Results for pages, in which each figure has a value of its own, so that a test notices a figure
// in the place of another.

#include <nlohmann/json.hpp>

namespace shmif::test {

/// Four jobs in two groups. "web" sends requests, and its peer replies. "load" uses TCP, has a peer
/// and a ramp, and begins 30 s after the others. Some intervals have losses, some overruns, some
/// both. Latencies have buckets, or percentiles only.
const nlohmann::json& few_jobs_json();
const nlohmann::json& few_jobs_json_without_bins();
/// Twelve groups of two jobs each and their peers.
const nlohmann::json& many_jobs_json();
/// A search of each kind, figures of repetitions, and links with faults.
const nlohmann::json& searches_json();
/// Three runs; the first is the best and the second the worst. No single run has all the medians:
/// 200 k/s sent, 199 k/s received, p50 2,000 ns, p99 2,500 ns.
const nlohmann::json& repeated_json();

}  // namespace shmif::test
