#pragma once
// Results for pages, in which each figure has a value of its own, so that one in the place of
// another is noticed.

#include <nlohmann/json.hpp>

namespace shmif::test {

/// Four jobs, two of which have peers, one with requests and replies, one with TCP, with losses
/// alone, overruns alone and both, after a ramp; two groups. One job begins 30 s after the others.
/// With buckets, or with percentiles only.
const nlohmann::json& few_jobs_json();
const nlohmann::json& few_jobs_json_without_bins();
/// Twelve groups of two jobs each and their peers.
const nlohmann::json& many_jobs_json();
/// A search for each kind, figures of repetitions, links with faults.
const nlohmann::json& searches_json();
/// Three runs, of which the first is the best and the second the worst. Their medians are those of
/// none of them: 200 k/s sent, 199 k/s received, p50 2,000 ns, p99 2,500 ns.
const nlohmann::json& repeated_json();

}  // namespace shmif::test
