#include "perf/plan/planner.hpp"

#include "perf/option/option_table.hpp"

namespace shmif::perf {
namespace {

std::uint64_t seed_of(std::uint64_t seed, std::uint64_t which) noexcept {
  return seed + which * 0x9e3779b97f4a7c15U;  // 2^64 / golden ratio: seeds are far apart
}

/// Copies what the rows of the options say that a peer has.
void share_options(const JobOptions& job, JobOptions& peer) {
  for (const OptionRow& row : option_table()) {
    if (!row.copy_to_peer || (row.for_sending_peer && !sends(peer.rw))) continue;
    row.copy_to_peer(job, peer);
  }
  peer.cpus_allowed = job.peer_cpus_allowed;
}

/// Copies the minimum of each direction that the peer has.
void share_minimum(const JobOptions& job, JobOptions& peer) {
  if (peer.rw == Role::txrx) {
    peer.rate_min_bps = {job.rate_min_bps.rx, job.rate_min_bps.tx};
    peer.rate_min_fps = {job.rate_min_fps.rx, job.rate_min_fps.tx};
  } else if (peer.rw == Role::rx) {
    // The only direction is the second value: what the peer receives.
    peer.rate_min_bps.rx = job.rate_min_bps.rx;
    peer.rate_min_fps.rx = job.rate_min_fps.rx;
  }
}

}  // namespace

PerDirection<std::uint64_t> mixed(std::uint64_t rate, std::uint32_t percent) noexcept {
  const std::uint64_t sum = 2 * rate;
  const std::uint64_t tx = sum / 100 * percent + sum % 100 * percent / 100;
  return {tx, sum - tx};
}

namespace {

bool has_rate(const JobOptions& job) noexcept {
  return job.rate_bps.tx != 0 || job.rate_fps.tx != 0;
}
bool divides_rates(const JobOptions& job) noexcept {
  return job.rw == Role::txrx && job.rwmixtx && has_rate(job);
}

}  // namespace

void mix_rates(JobOptions& job) {
  if (!divides_rates(job)) return;
  job.rate_bps = mixed(job.rate_bps.tx, *job.rwmixtx);
  job.rate_fps = mixed(job.rate_fps.tx, *job.rwmixtx);
}

void give_seeds(JobOptions& job, std::uint64_t which) {
  job.randseed = seed_of(job.randseed, which);
  job.fault.seed = seed_of(job.fault.seed, which);
  job.fault_rx.seed = seed_of(job.fault_rx.seed, which);
}

JobOptions made_peer(const JobOptions& job) {
  const bool both = job.rw == Role::txrx;
  const bool one_way = job.rw == Role::tx;
  JobOptions peer;
  peer.name = job.name + (one_way ? ".sink" : both ? ".peer" : ".echo");
  peer.rw = one_way ? Role::rx : both ? Role::txrx : Role::echo;
  peer.where = job.where;
  share_options(job, peer);
  share_minimum(job, peer);
  if (both && job.rwmixtx && !has_rate(job)) peer.rwmixtx = 100 - *job.rwmixtx;
  if (both) give_seeds(peer, 0x8000'0000);  // beyond every clone
  return peer;
}

}  // namespace shmif::perf
