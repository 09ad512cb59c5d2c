#include <algorithm>
#include <csignal>
#include <map>
#include <utility>

#include "perf/control/job_progress.hpp"
#include "perf/control/runner_impl.hpp"
#include "perf/frame/frame_sizes.hpp"
#include "perf/worker/job_parts.hpp"
#include "tap/netns.hpp"

namespace shmif::perf {
namespace {

/// Time between the order to go and the start, so that every job sees the order and is awake at the
/// start.
constexpr std::uint64_t kStartAhead = 5'000'000;

}  // namespace

// ---- Before the start ----

Result<void> Runner::Impl::prepare() {
  auto opened = IntervalLogs::open(plan, options);
  if (!opened) return std::move(opened).error();
  logs = *std::move(opened);
  auto made = RunMemory::create(plan.size(), logs->with_histograms());
  if (!made) return std::move(made).error();
  memory = *std::move(made);
  std::chrono::nanoseconds longest{0};
  for (std::size_t i = 0; i < plan.size(); ++i) {
    jobs.push_back({.plan = plan[i],
                    .block = &memory->job(i),
                    .flow = &memory->flow(i),
                    .echo = &memory->echo(i)});
    longest = std::max(longest, plan[i].options.runtime);
  }
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (plan[i].to != kNoJob) jobs[plan[i].to].senders.push_back(i);
  }
  // Curves of a few hundred points, at most ten per second.
  interval_ns =
      longest > std::chrono::seconds(60) || longest.count() == 0 ? 1'000'000'000 : 100'000'000;
  if (auto done = make_wires(); !done) return done;
  rates = std::make_unique<RateWatch>(jobs);
  steady = std::make_unique<SteadyWatch>(jobs);
  trigger = std::make_unique<Trigger>(options);
  // Makes all processes first, because a fork copies no threads.
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].plan.options.thread || jobs[i].over()) continue;
    if (auto done = create_job(i); !done) fail_start(i, done.error().message);
  }
  return {};
}

Result<void> Runner::Impl::make_wires() {
  std::map<std::string, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < jobs.size(); ++i) members[wire_key(jobs[i].plan)].push_back(i);
  const std::uint32_t nonce = make_nonce();
  setups.resize(jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    WorkerSetup& setup = setups[i];
    setup.index = i;
    setup.nonce = nonce;
    setup.interval_ns = logs->interval_ns(i, interval_ns);
    setup.end.name = jobs[i].plan.options.name;
    setup.end.mac = MacAddress::random();
    setup.end.sent = jobs[i].plan.options.fault;
    setup.end.received = jobs[i].plan.options.fault_rx;
    setup.end.promiscuous = hears_everything(plan, i);
  }
  for (const auto& [key, group] : members) {
    JobOptions medium = plan[group.front()].options;
    const bool hosts = medium.engine == EngineKind::host;
    if (hosts) {
      // If namespaces are not available, this fails before any job exists.
      if (auto space = tap::NetNamespace::create(); !space) {
        return Error(space.error().code, "cannot make a host for job \"" + medium.name +
                                             "\": " + space.error().message +
                                             "; engine=bus, unix and udp need no namespace");
      }
      medium.engine = EngineKind::bus;
    }
    auto wire = make_wire(medium, group.size());
    if (!wire) return std::move(wire).error();
    for (std::size_t n = 0; n < group.size(); ++n) {
      setups[group[n]].wire = wire->get();
      setups[group[n]].end.index = n;
    }
    if (hosts) {
      if (auto done = place_hosts(group, **wire); !done) return done;
    }
    wires.push_back(*std::move(wire));
  }
  return {};
}

/// Gives the hosts on a bus their addresses, and tells each host that of its peer.
Result<void> Runner::Impl::place_hosts(const std::vector<std::size_t>& hosts, const Wire& bus) {
  constexpr std::size_t kFirstPort = 40000;
  for (const std::size_t i : hosts) {
    auto address = host_address(plan[i].options, i);
    if (!address) {
      return Error(address.error().code,
                   "job \"" + plan[i].options.name + "\": " + address.error().message);
    }
    HostSetup& host = setups[i].host;
    host.bus = bus.address().substr(bus.address().find(':') + 1);
    host.address = *std::move(address);
    host.local = socket_address(host.address, static_cast<std::uint16_t>(kFirstPort + i % 20000));
  }
  for (const std::size_t i : hosts) {
    const std::size_t to = plan[i].to;
    if (to == kNoJob || std::ranges::find(hosts, to) == hosts.end()) continue;
    setups[i].host.remote = setups[to].host.local;
    const std::size_t most = SizeChooser(plan[i].options.bs.tx, 0).most();
    for (const std::size_t end : {i, to}) {
      setups[end].host.most_bytes = std::max(setups[end].host.most_bytes, most);
    }
    const bool answers = plan[to].options.rw != Role::rx;
    if (answers) setups[to].host.remote = setups[i].host.local;
    // If two jobs send to each other, the first one listens.
    const bool mutual = plan[to].to == i;
    setups[to].host.listens = !mutual || to < i;
  }
  return {};
}

Result<void> Runner::Impl::create_job(std::size_t i) {
  auto runner = JobRunner::start(plan[i].options.thread, [this, i] {
    return run_worker({.plan = plan, .setups = setups, .run = options, .memory = *memory}, i);
  });
  if (!runner) return std::move(runner).error();
  jobs[i].runner = *std::move(runner);
  return {};
}

// ---- The start ----

void Runner::Impl::start_batches() {
  if (!stopping) {
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const bool free = std::ranges::all_of(jobs[i].plan.waits_for,
                                            [&](std::size_t w) { return jobs[w].over(); });
      const bool waits = jobs[i].phase == ControlledJob::Phase::waiting && jobs[i].stop_ns == 0;
      if (waits && free) ready.push_back(i);
    }
    if (!ready.empty()) order_batch(ready);
  }
  for (Batch& batch : starting) advance(batch);
  std::erase_if(starting, [](const Batch& batch) { return batch.jobs.empty(); });
}

void Runner::Impl::order_batch(const std::vector<std::size_t>& ready) {
  Batch batch{{}, now_ns(), now_ns()};
  for (const std::size_t i : ready) {
    if (jobs[i].over() || jobs[i].stop_ns != 0) continue;  // an earlier one failed
    if (!jobs[i].runner) {
      if (auto done = create_job(i); !done) {
        fail_start(i, done.error().message);
        continue;
      }
    }
    jobs[i].phase = ControlledJob::Phase::starting;
    jobs[i].block->order.store(Order::initialise, std::memory_order_release);
    batch.jobs.push_back(i);
  }
  starting.push_back(std::move(batch));
}

/// Checks whether all jobs are ready, and which never will be.
void Runner::Impl::advance(Batch& batch) {
  std::erase_if(batch.jobs, [&](std::size_t i) { return jobs[i].over(); });
  const std::uint64_t now = now_ns();
  std::size_t ready = 0;
  // A job that has exited has failed, and must be reaped.
  const auto is_ready = [&](std::size_t i) { return jobs[i].state() == JobState::initialised; };
  for (const std::size_t i : batch.jobs) {
    const JobState state = jobs[i].state();
    if (is_ready(i)) ++ready;
    if (state == JobState::not_created &&
        now - batch.ordered_ns > ns(jobs[i].plan.options.startup_timeout)) {
      fail_start(i, "was not there after " + seconds_text(jobs[i].plan.options.startup_timeout) +
                        " (startup_timeout)");
    }
  }
  if (ready != batch.ready) batch.progress_ns = now;
  batch.ready = ready;
  if (ready < batch.jobs.size() && now - batch.progress_ns > ns(options.startup_batch_timeout)) {
    for (const std::size_t i : batch.jobs) {
      if (jobs[i].over() || is_ready(i)) continue;
      fail_start(i, "was not initialised after " + seconds_text(options.startup_batch_timeout) +
                        " (startup_batch_timeout)");
    }
  }
  std::erase_if(batch.jobs, [&](std::size_t i) { return jobs[i].over(); });
  if (batch.jobs.empty() || ready < batch.jobs.size() || stopping) return;
  control->ready.store(true);
  if (control->start_at_ns.load() != RunControl::kHeld) begin(batch);
}

/// Sets one start time for all jobs of the batch.
void Runner::Impl::begin(Batch& batch) {
  const std::uint64_t soon = now_ns() + kStartAhead + batch.jobs.size() * 100'000;
  const std::uint64_t start = std::max(soon, control->start_at_ns.load());
  if (first_start_ns == 0) {
    first_start_ns = start;
    std::uint64_t none = 0;
    control->started_ns.compare_exchange_strong(none, start);
    next_status_ns = start + status_interval_ns(options);
  }
  for (const std::size_t i : batch.jobs) {
    jobs[i].block->start_ns.store(start, std::memory_order_release);
    jobs[i].phase = ControlledJob::Phase::going;
  }
  for (const std::size_t i : batch.jobs) {
    jobs[i].block->order.store(Order::go, std::memory_order_release);
  }
  batch.jobs.clear();
}

void Runner::Impl::fail_start(std::size_t i, const std::string& why) {
  ControlledJob& job = jobs[i];
  job.fail("did not start: " + why);
  job.never_started = true;
  job.block->order.store(Order::abandon, std::memory_order_release);
  if (job.runner) job.runner->signal(SIGKILL);
  job.ended_by_us = true;
  job.phase = ControlledJob::Phase::over;
  job.flow->tx_done.store(true, std::memory_order_release);
  gone(i);
  if (!options.continue_on_start_error) stop_all();
}

}  // namespace shmif::perf
