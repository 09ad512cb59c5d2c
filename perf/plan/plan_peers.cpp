#include "perf/plan/plan_peers.hpp"

namespace shmif::perf {
namespace {

std::uint64_t seed_of(std::uint64_t seed, std::uint64_t which) noexcept {
  return seed + which * 0x9e3779b97f4a7c15U;  // 2^64 / golden ratio: seeds are far apart
}

template <class T>
PerDirection<T> turned(const PerDirection<T>& values) {
  return {values.rx, values.tx};
}

/// Copies when the job runs, and what an error does.
void share_life(const JobOptions& job, JobOptions& peer) {
  peer.where = job.where;
  peer.thread = job.thread;
  peer.start_delay = job.start_delay;
  peer.startup_timeout = job.startup_timeout;
  peer.group_reporting = job.group_reporting;
  peer.background = job.background;
  // A problem that the peer finds is one of the job's traffic.
  peer.exitall_on_error = job.exitall_on_error;
  peer.continue_on_error = job.continue_on_error;
  peer.end_on_overrun = job.end_on_overrun;
  peer.runtime = job.runtime;
  peer.ramp_time = job.ramp_time;
  peer.drain_time = job.drain_time;
}

void share_traffic(const JobOptions& job, JobOptions& peer) {
  peer.bs = turned(job.bs);
  peer.rate_bps = turned(job.rate_bps);
  peer.rate_fps = turned(job.rate_fps);
  peer.rate_overhead_bytes = job.rate_overhead_bytes;
  peer.rate_process = job.rate_process;
  peer.rate_catchup = job.rate_catchup;
  peer.rate_cycle = job.rate_cycle;
  peer.rate_settle = job.rate_settle;
  if (peer.rw == Role::txrx) {
    peer.rate_min_bps = turned(job.rate_min_bps);
    peer.rate_min_fps = turned(job.rate_min_fps);
  } else if (peer.rw == Role::rx) {
    // The only direction is the second value: what the peer receives.
    peer.rate_min_bps.rx = job.rate_min_bps.rx;
    peer.rate_min_fps.rx = job.rate_min_fps.rx;
  }
  peer.iodepth = job.iodepth;
  peer.iodepth_batch = job.iodepth_batch;
  peer.iodepth_batch_complete_min = job.iodepth_batch_complete_min;
  peer.iodepth_low = job.iodepth_low;
  peer.io_submit_mode = job.io_submit_mode;
}

/// Copies limits and pauses, for a peer that sends by itself.
void share_limits(const JobOptions& job, JobOptions& peer) {
  peer.thinktime = job.thinktime;
  peer.thinktime_spin = job.thinktime_spin;
  peer.thinktime_blocks = job.thinktime_blocks;
  peer.number_ios = job.number_ios;
  peer.size_bytes = job.size_bytes;
  peer.io_limit_bytes = job.io_limit_bytes;
  peer.loops = job.loops;
  peer.time_based = job.time_based;
}

/// Copies what frames contain and how they are checked.
void share_frames(const JobOptions& job, JobOptions& peer) {
  peer.payload = job.payload;
  peer.buffer_pattern = job.buffer_pattern;
  peer.buffer_compress_percentage = job.buffer_compress_percentage;
  peer.randseed = job.randseed;
  peer.vlan = job.vlan;
  peer.verify = job.verify;
  peer.verify_regenerate = job.verify_regenerate;
  peer.do_verify = job.do_verify;
  peer.verify_backlog = job.verify_backlog;
  peer.verify_async = job.verify_async;
  peer.verify_state_save = job.verify_state_save;
  peer.disable_lat = job.disable_lat;
  peer.percentile_list = job.percentile_list;
  peer.max_latency = job.max_latency;
  if (sends(peer.rw)) peer.headers = job.headers;
}

void share_wire(const JobOptions& job, JobOptions& peer) {
  peer.engine = job.engine;
  peer.bus = job.bus;
  peer.wire = job.wire;
  peer.bus_size_bytes = job.bus_size_bytes;
  peer.mtu = job.mtu;
  peer.bus_pause = job.bus_pause;
  peer.netdev = job.netdev;
  peer.netns = job.netns;
  peer.filename = job.filename;
  peer.hostname = job.hostname;
  peer.port = job.port;
  peer.allow_live = job.allow_live;
  peer.proto = job.proto;
  peer.mss_bytes = job.mss_bytes;
  peer.window_bytes = job.window_bytes;
  peer.congestion = job.congestion;
  peer.dscp = job.dscp;
}

void share_place(const JobOptions& job, JobOptions& peer) {
  peer.cpus_allowed = job.peer_cpus_allowed;
  peer.cpus_allowed_policy = job.cpus_allowed_policy;
  peer.numa_node = job.numa_node;
  peer.nice = job.nice;
  peer.ioprio_class = job.ioprio_class;
  peer.ioprio = job.ioprio;
  peer.rtprio = job.rtprio;
  peer.lockmem = job.lockmem;
  peer.hugepages = job.hugepages;
  peer.uid = job.uid;
  peer.gid = job.gid;
  peer.cgroup = job.cgroup;
}

}  // namespace

PerDirection<std::uint64_t> mixed(std::uint64_t rate, std::uint32_t percent) noexcept {
  const std::uint64_t sum = 2 * rate;
  const std::uint64_t tx = sum / 100 * percent + sum % 100 * percent / 100;
  return {tx, sum - tx};
}

void mix_rates(JobOptions& job) {
  if (job.rw != Role::txrx || job.rwmixtx == 50) return;
  job.rate_bps = mixed(job.rate_bps.tx, job.rwmixtx);
  job.rate_fps = mixed(job.rate_fps.tx, job.rwmixtx);
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
  share_life(job, peer);
  share_traffic(job, peer);
  share_frames(job, peer);
  share_wire(job, peer);
  share_place(job, peer);
  if (both) {
    share_limits(job, peer);
    give_seeds(peer, 0x8000'0000);  // beyond every clone
  }
  return peer;
}

}  // namespace shmif::perf
