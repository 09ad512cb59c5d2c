#include "perf/plan/planner.hpp"

#include <algorithm>
#include <set>
#include <span>

#include "perf/engine/engine.hpp"
#include "perf/frame/header_template.hpp"
#include "perf/frame/probe.hpp"
#include "perf/job/values.hpp"
#include "perf/option/option_table.hpp"
#include "tap/cidr.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kMaxOnAWire = 65535;

/// Collects the problems of one job.
class Checker {
 public:
  Checker(const JobOptions& job, std::vector<std::string>& problems)
      : job_(job), problems_(problems) {}

  void all() {
    role();
    length();
    traffic();
    frames();
    engine();
    searches();
    records();
    place();
  }

 private:
  void require(bool fine, const std::string& what) {
    if (!fine) problems_.push_back(what);
  }
  bool sends_traffic() const { return sends(job_.rw) && job_.exec.empty(); }
  bool has_rate() const { return job_.rate_bps.tx != 0 || job_.rate_fps.tx != 0; }

  void role();
  void length();
  void traffic();
  void mix();
  void frames();
  void contents();
  void engine();
  void searches();
  void records();
  void place();

  const JobOptions& job_;
  std::vector<std::string>& problems_;
};

void Checker::role() {
  if (!sends(job_.rw)) {
    const std::string role = job_.rw == Role::rx ? "rw=rx" : "rw=echo";
    require(job_.to.empty(), "to: a job with " + role + " sends nothing by itself (leave it out)");
  }
  const bool on_bus = job_.engine == EngineKind::bus;
  require(!job_.no_peer || job_.rw == Role::tx || (on_bus && job_.rw == Role::pingpong),
          on_bus ? "no_peer: such a job sends, or asks and waits for replies (use rw=tx or "
                   "rw=pingpong)"
                 : "no_peer: without a peer, no frames come back (use rw=tx)");
  require(!job_.no_peer || job_.to.empty(), "no_peer: \"to\" names a receiver (leave one out)");
  require(!job_.no_peer || on_bus || job_.port != 0,
          "no_peer: the receiver's port must be known (give port)");
  const auto mac = on_bus ? MacAddress::parse(job_.hostname) : std::nullopt;
  const bool names_port = mac && mac->is_unicast();
  require(!on_bus || names_port || job_.hostname == JobOptions().hostname,
          "hostname: on engine=bus, it is the MAC address of one port (give one such as "
          "02:00:00:00:00:01)");
  const bool receives = job_.rw == Role::rx || job_.rw == Role::echo;
  const bool has_own_receiver = job_.to.empty() && job_.rw != Role::txrx;
  require(!names_port || receives || job_.no_peer || has_own_receiver,
          "hostname: on engine=bus, it is the address of a job with rw=rx or rw=echo (give it to "
          "that job)");
  require(!job_.no_peer || !on_bus || names_port,
          "no_peer: the receiver's MAC address must be known (give hostname)");
  require(!job_.no_peer || !on_bus || !job_.bus.empty(),
          "no_peer: nobody else is on a bus that is made for the run (give bus)");
  require(!job_.verify_only || job_.rw == Role::rx || (on_bus && job_.rw == Role::echo),
          on_bus ? "verify_only: such a job sends nothing, or only replies (use rw=rx or rw=echo)"
                 : "verify_only: such a job sends nothing (use rw=rx)");
  require(!job_.verify_only || (job_.verify && job_.do_verify),
          "verify_only: with verify=0 or do_verify=0, the job has nothing to check (leave these "
          "two out)");
}

void Checker::length() {
  if (!sends_traffic()) return;
  require(!job_.time_based || job_.runtime.count() > 0,
          "time_based: needs runtime, which says for how long (give runtime)");
  const bool limited = job_.runtime.count() > 0 || job_.number_ios != 0 || job_.size_bytes != 0 ||
                       job_.io_limit_bytes != 0 || !job_.replay.empty();
  require(limited || job_.search != Search::none || job_.background,
          "runtime: the job has no limit and would never end (give runtime, number_ios, size or "
          "io_limit)");
  require(job_.loops == 1 || job_.size_bytes != 0 || !job_.replay.empty(),
          "loops: needs size or replay, which define a loop (give one of them)");
}

void Checker::traffic() {
  if (!sends_traffic()) return;
  require(job_.thinktime.count() == 0 || job_.thinktime_spin <= job_.thinktime,
          "thinktime_spin: is longer than thinktime, but must be a part of it (give no more than "
          "thinktime)");
  require(job_.rate_process == RateProcess::linear || has_rate() || job_.search != Search::none,
          "rate_process: poisson needs rate or rate_iops, which gives the average (give one of "
          "them)");
  const auto reachable = [&](const char* name, std::uint64_t min, std::uint64_t rate) {
    require(rate == 0 || min <= rate,
            std::string(name) +
                ": is more than the rate, so it can never be reached (give no more than the rate)");
  };
  reachable("rate_min", job_.rate_min_bps.tx, job_.rate_bps.tx);
  reachable("rate_min", job_.rate_min_bps.rx, job_.rate_bps.rx);
  reachable("rate_iops_min", job_.rate_min_fps.tx, job_.rate_fps.tx);
  reachable("rate_iops_min", job_.rate_min_fps.rx, job_.rate_fps.rx);
  if (job_.rw == Role::pingpong) {
    require(job_.iodepth_low < job_.iodepth,
            "iodepth_low: is not below iodepth, so it can never be reached again (give less than "
            "iodepth)");
    require(job_.iodepth_batch_complete_min <= job_.iodepth,
            "iodepth_batch_complete_min: is more than iodepth, so it can never be reached (give no "
            "more than iodepth)");
    require(job_.iodepth_batch_complete_max == 0 ||
                job_.iodepth_batch_complete_max >= job_.iodepth_batch_complete_min,
            "iodepth_batch_complete_max: is less than iodepth_batch_complete_min (leave it out, or "
            "make it at least as large)");
  }
  if (job_.rw == Role::txrx && job_.rwmixtx) mix();
}

void Checker::mix() {
  require(has_rate() || job_.flow == 0,
          "rwmixtx: without a rate, it keeps the ratio to the job's peer, and flow would keep "
          "another to other jobs (give a rate, or leave out rwmixtx or flow)");
  require(has_rate() || job_.search == Search::none,
          "rwmixtx: a search sets the rate of one direction only (leave out rwmixtx or search)");
  require(job_.rate_bps.tx == job_.rate_bps.rx && job_.rate_fps.tx == job_.rate_fps.rx,
          "rwmixtx: each direction already has its own rate (give one rate for both)");
  // A rate of 0 would mean no limit.
  require(job_.rwmixtx != 0, "rwmixtx: with 0, the job sends nothing (use rw=rx)");
  require(job_.rwmixtx != 100, "rwmixtx: with 100, the job receives nothing (use rw=tx)");
  if (job_.rwmixtx == 0 || job_.rwmixtx == 100) return;
  for (const std::uint64_t rate : {job_.rate_bps.tx, job_.rate_fps.tx}) {
    // The other share is what this one, rounded down, leaves.
    require(rate == 0 || mixed(rate, *job_.rwmixtx).tx != 0,
            "rwmixtx: leaves one direction less than 1 of " + std::to_string(2 * rate) +
                " per second (give a higher rate)");
  }
}

void Checker::frames() {
  require(job_.headers.empty() || !job_.verify_only,
          "headers: frames with headers cannot be made again to compare them with a file (use "
          "verify=1)");
  const bool sends_made = sends_traffic() && job_.replay.empty();
  if (sends_made || job_.verify_only) contents();
  if (!sends_made) return;
  // Bytes before the probe, and the part of them that a wire's MTU does not count.
  std::size_t before = kEthernetHeaderBytes + (job_.vlan ? kVlanTagBytes : 0);
  std::size_t link = before;
  if (!job_.headers.empty()) {
    const auto read = HeaderTemplate::parse(job_.headers);
    if (!read) return require(false, read.error().message);
    before = read->bytes();
    link = read->places().ip == 0 ? before : read->places().ip;
  }
  const std::size_t min = before + kProbeBytes;
  std::vector<FrameSizes::Part> parts = job_.bs.tx.parts;
  if (job_.rw == Role::txrx && job_.to.empty()) {
    parts.insert(parts.end(), job_.bs.rx.parts.begin(), job_.bs.rx.parts.end());
  }
  for (const FrameSizes::Part& part : parts) {
    require(part.min >= min,
            std::string("bs: with ") + (job_.headers.empty() ? "a vlan tag" : "these headers") +
                " a frame has " + std::to_string(min) + " bytes or more, not " +
                std::to_string(part.min) + " (give " + std::to_string(min) + " or more)");
    // With TCP, a frame is what one write sends. The sizes that an existing bus accepts are checked
    // when it is opened.
    const bool tcp = job_.engine == EngineKind::host && job_.proto == HostProtocol::tcp;
    if (!tcp && part.max > kMaxOnAWire) {
      require(false, "bs: a frame has at most " + std::to_string(kMaxOnAWire) +
                         " bytes (1m only with engine=host and proto=tcp)");
      break;
    }
    const bool fits = tcp || !job_.bus.empty() || part.max <= job_.mtu + link;
    require(fits, "bs: frames of " + std::to_string(part.max) +
                      " bytes do not fit a wire with mtu=" + std::to_string(job_.mtu) +
                      " (give it mtu=" + std::to_string(part.max - link) + ')');
    if (part.min < min || !fits) break;
  }
}

void Checker::contents() {
  require(job_.payload != Payload::pattern || !job_.buffer_pattern.empty(),
          "payload: pattern needs buffer_pattern (give it, or use random or zero)");
  require(job_.buffer_compress_percentage == 0 || job_.payload == Payload::random,
          "buffer_compress_percentage: is only for payload=random (leave it out)");
  require(job_.headers.empty() || !job_.vlan,
          "vlan: the option headers already says which tags a frame has (leave vlan out)");
}

void Checker::engine() {
  if (job_.io_submit_mode == IoSubmit::offload) {
    const bool faults_here = job_.engine != EngineKind::host;  // those of a host are on the wire
    require(!faults_here || (!job_.fault.any() && !job_.fault_rx.any()),
            "io_submit_mode: a link with faults cannot be used by two threads (use inline)");
    require(job_.engine != EngineKind::null,
            "io_submit_mode: engine=null cannot be used by two threads (use inline)");
    require(job_.engine != EngineKind::host || job_.proto != HostProtocol::tcp,
            "io_submit_mode: a TCP connection cannot be used by two threads (use inline)");
  }
  if (job_.engine == EngineKind::pcap) {
    require(job_.rw == Role::tx || job_.rw == Role::rx,
            "rw: a job either writes a capture file (rw=tx) or reads it (rw=rx)");
    require(!job_.filename.empty(), "filename: engine=pcap needs the file's path (give filename)");
  }
  if (job_.engine == EngineKind::null) {
    require(job_.rw == Role::tx || job_.rw == Role::txrx,
            "rw: no other job can be on engine=null (use rw=tx, or rw=txrx to receive what the job "
            "sends)");
    require(job_.to.empty(), "to: no other job can be on engine=null (leave it out)");
  }
  require(job_.engine == EngineKind::host || job_.exec.empty(),
          "exec: only engine=host has a host to run it on (use engine=host)");
  if (!job_.exec.empty()) {
    const std::string remedy =
        ": the program of exec runs as root of its host (leave it out; the program can "
        "become another user by itself, see setpriv(1))";
    require(job_.uid.empty(), "uid" + remedy);
    require(job_.gid.empty(), "gid" + remedy);
  }
  if (job_.engine == EngineKind::host && !job_.ip.empty()) {
    const Result<tap::Cidr> address = tap::Cidr::parse(job_.ip);
    require(bool(address), "ip: " + (address ? "" : address.error().message));
  }
  require(job_.engine != EngineKind::host || job_.ip.empty() || job_.numjobs == 1,
          "ip: " + std::to_string(job_.numjobs) + " jobs cannot share one address (leave it out)");
}

void Checker::searches() {
  const bool bound = job_.latency_target.count() > 0;
  require(job_.search == Search::latency_target || !bound,
          "latency_target: needs search=latency_target (give latency_target=0, or that search)");
  if (job_.search == Search::none) return;
  require(!has_rate(),
          "search: it searches for the rate, so no rate can be given (search_max_iops limits the "
          "search)");
  require(job_.number_ios == 0 && job_.size_bytes == 0 && job_.io_limit_bytes == 0 &&
              !job_.time_based && job_.loops == 1,
          "search: each trial takes search_trial, so size, loops, number_ios, io_limit and "
          "time_based cannot be given (runtime limits all trials together)");
  require(job_.replay.empty(), "search: the rate of replay is that of its capture (leave one out)");
  require(job_.numjobs == 1, "search: clones would disturb each other (use numjobs=1)");
  require(job_.thinktime.count() == 0,
          "search: the pauses of thinktime would be part of the rate (leave one out)");
  require(job_.steadystate.empty(), "search: steadystate would end its trials (leave one out)");
  require(!job_.no_peer, "search: with no_peer, nobody counts the lost frames (leave one out)");
  require(job_.engine != EngineKind::null && job_.engine != EngineKind::pcap,
          std::string("search: nothing receives or loses frames on engine=") +
              name_of(job_.engine) + ", so all rates would do (use another engine)");
  require(
      job_.search != Search::latency_target || bound,
      "search: search=latency_target needs the option latency_target, the highest latency allowed "
      "(give it)");
  require(job_.search != Search::latency_target || !job_.disable_lat,
          "disable_lat: without latencies, latency_target cannot work (leave one out)");
  require(job_.search != Search::pdr || job_.search_loss > 0,
          "search: search=pdr needs search_loss, the share that may be lost (give more than 0%)");
}

void Checker::records() {
  require(job_.replay.empty() || job_.rate_catchup != CatchUp::skip,
          "rate_catchup: skip would leave frames of the capture out (use burst or limited)");
  require(job_.replay.empty() || job_.ramp_time.count() == 0,
          "ramp_time: the frames of a capture do not show whether they belong to the ramp (leave "
          "it out)");
  require(job_.steadystate.empty() || job_.ss_dur.count() == 0 ||
              job_.ss_dur >= std::chrono::seconds(2),
          "ss_dur: is too short, because there is one rate per second, and a single rate shows no "
          "change (give 2 s or more)");
  const auto needs_latency = [&](const char* name, bool given) {
    require(!job_.disable_lat || !given, std::string("disable_lat: without latencies, ") + name +
                                             " cannot work (leave one out)");
  };
  needs_latency("write_lat_log", !job_.write_lat_log.empty());
  needs_latency("write_hist_log", !job_.write_hist_log.empty());
  needs_latency("percentile_list", !job_.percentile_list.empty());
  needs_latency("max_latency", job_.max_latency.count() > 0);
  const bool averages =
      !job_.write_bw_log.empty() || !job_.write_iops_log.empty() || !job_.write_lat_log.empty();
  require(
      job_.write_hist_log.empty() || !averages || job_.log_hist % job_.log_avg == 0ns ||
          job_.log_avg % job_.log_hist == 0ns,
      "log_hist_msec: log_hist_msec or log_avg_msec must be a multiple of the other (such as 500 "
      "and 1000)");
  require((job_.verify_state_load.empty() && job_.verify_state.empty()) || job_.numjobs == 1,
          "verify_state_load: a state belongs to one job (use numjobs=1)");
}

void Checker::place() {
  const bool about_group = job_.cgroup_weight != 0 || job_.cgroup_nodelete;
  require(!about_group || !job_.cgroup.empty(),
          std::string(job_.cgroup_weight != 0 ? "cgroup_weight" : "cgroup_nodelete") +
              ": needs cgroup, which names the group (give cgroup)");
  const bool lists =
      !job_.numa_cpu_nodes.empty() || job_.numa_mem_policy.mode != NumaPolicy::Mode::unset;
  require(!job_.numa_node || !lists,
          "numa_node: is short for numa_cpu_nodes and numa_mem_policy, and cannot be given with "
          "either of them (leave numa_node out)");
  if (job_.cpus_allowed_policy != CpuPolicy::split) return;
  const auto cannot_split = [](const char* option, std::size_t cpus) {
    return option + (": " + std::to_string(cpus)) + (cpus == 1 ? " CPU" : " CPUs") +
           " cannot be split between ";
  };
  const std::string jobs = std::to_string(job_.numjobs) + (job_.numjobs == 1 ? " job" : " jobs");
  const std::string remedy = " (give more CPUs, or use cpus_allowed_policy=shared)";
  require(
      job_.cpus_allowed.size() >= job_.numjobs,
      cannot_split("cpus_allowed", job_.cpus_allowed.size()) + jobs + ", one for each" + remedy);
  require(job_.peer_cpus_allowed.empty() || job_.peer_cpus_allowed.size() >= job_.numjobs,
          cannot_split("peer_cpus_allowed", job_.peer_cpus_allowed.size()) + "the peers of " +
              jobs + remedy);
}

}  // namespace

void check_alone(const JobOptions& job, std::vector<std::string>& problems) {
  Checker(job, problems).all();
}

namespace {

/// Options that other code reads without asking whether they have an effect on the job. The planner
/// resets them on jobs that they do not affect.
struct Dropped {
  const char* option;
  void (*drop)(JobOptions& job);
};
constexpr Dropped kDropped[] = {
    {"replay", [](JobOptions& job) { job.replay.clear(); }},
    {"headers",
     [](JobOptions& job) {
       // Checker::frames() refuses them there.
       if (!job.verify_only || !job.verify_regenerate) job.headers.clear();
     }},
    {"search", [](JobOptions& job) { job.search = Search::none; }},
    {"latency_target", [](JobOptions& job) { job.latency_target = {}; }},
    {"flow", [](JobOptions& job) { job.flow = 0; }},
    {"thread", [](JobOptions& job) { job.thread = false; }},
    {"verify_async", [](JobOptions& job) { job.verify_async = 0; }},
    {"verify_backlog", [](JobOptions& job) { job.verify_backlog = 0; }},
};

/// The values that the job was given for the option.
std::set<std::string> values_of(const JobOptions& job, const std::string& option) {
  std::set<std::string> values;
  for (const auto& [name, value] : job.given) {
    if (name == option) values.insert(value);
  }
  return values;
}

/// Whether the option had an effect until a later one took that away. A command line may give
/// another bus or engine than the job file, without repeating the file's other options.
bool was_overridden(const JobOptions& job, const OptionRow& row) {
  const auto first = std::span(job.given).first(std::min(job.given_before, job.given.size()));
  const auto later = std::span(job.given).subspan(first.size());
  const auto is_it = [&](const auto& each) { return each.first == row.name; };
  if (std::ranges::none_of(first, is_it) || std::ranges::any_of(later, is_it)) return false;
  JobOptions before;
  for (const auto& [name, value] : first) {
    const OptionRow* const each = find_option(name);
    if (each != nullptr && !each->of_run() && !set_option(*each, value, before)) return false;
  }
  return row.is_used(before);
}

}  // namespace

void drop_unused(JobOptions& job) {
  const JobOptions written = job;
  for (const auto& [option, drop] : kDropped) {
    const OptionRow* const row = find_option(option);
    if (!row->is_used(written)) drop(job);
  }
}

std::vector<std::pair<std::size_t, std::string>> unused_options(
    std::span<const JobOptions* const> jobs) {
  std::vector<std::pair<std::size_t, std::string>> unused;
  for (const OptionRow& row : option_table()) {
    if (row.is_used == nullptr) continue;
    std::set<std::string> used;
    for (const JobOptions* const job : jobs) {
      if (row.is_used(*job)) used.merge(values_of(*job, row.name));
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (row.is_used(*jobs[i]) || std::ranges::includes(used, values_of(*jobs[i], row.name)) ||
          was_overridden(*jobs[i], row)) {
        continue;
      }
      unused.emplace_back(i, row.name + ": " + row.only + " (leave it out)");
    }
  }
  return unused;
}

}  // namespace shmif::perf
