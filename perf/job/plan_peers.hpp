#pragma once
// The peer that is made for a job, and what each of the two sends.

#include <cstdint>

#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// `rate` of each direction, divided: of the sum of both `percent` per cent for tx, the rest for
/// rx.
PerDirection<std::uint64_t> mixed(std::uint64_t rate, std::uint32_t percent) noexcept;
/// Of rw=txrx with one rate for both: divides them by rwmixtx.
void mix_rates(JobOptions& job);

/// Random numbers of its own for each; those of number 0 are as they were given.
void give_seeds(JobOptions& job, std::uint64_t which);

/// Who receives what `job` sends, and for rw=txrx sends to it: on the same wire, on
/// peer_cpus_allowed. It has what is named in there, and else the defaults.
JobOptions made_peer(const JobOptions& job);

}  // namespace shmif::perf
