#pragma once
// The peer that is made for a job, and what each of the two sends.

#include <cstdint>

#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Divides the sum of both directions, each `rate`: `percent` per cent are tx, the rest is rx.
PerDirection<std::uint64_t> mixed(std::uint64_t rate, std::uint32_t percent) noexcept;
/// With rw=txrx and one rate for both directions: divides their sum by rwmixtx.
void mix_rates(JobOptions& job);

/// Gives the job its own random numbers. Those of number 0 are as they were given.
void give_seeds(JobOptions& job, std::uint64_t which);

/// The peer that receives what `job` sends, and with rw=txrx also sends to it: on the same wire, on
/// peer_cpus_allowed. It gets the options that this function copies, and defaults otherwise.
JobOptions made_peer(const JobOptions& job);

}  // namespace shmif::perf
