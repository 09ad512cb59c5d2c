#include "perf/control/run_state.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <system_error>

#include "perf/frame/schedule.hpp"
#include "perf/worker/equipment.hpp"
#include "shmif/debug/debug.hpp"
#include "tap/netns.hpp"

namespace shmif::perf {

struct JobRunner::ThreadState {
  std::atomic<bool> ended{false};
  std::atomic<pid_t> number{0};
};

namespace {

/// Sets up a forked job: it dies with the controller and ignores the terminal's signals.
void become_job(pid_t controller) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != controller) ::_exit(1);  // the controller died before prctl took effect
  // The controller handles these signals, and orders its jobs to stop.
  for (const int number : {SIGINT, SIGQUIT, SIGHUP, SIGUSR1}) ::signal(number, SIG_IGN);
  ::signal(SIGTERM, SIG_DFL);
}

}  // namespace

Result<std::unique_ptr<JobRunner>> JobRunner::start(bool thread, std::function<int()> body) {
  std::unique_ptr<JobRunner> job(new JobRunner());
  if (thread) {
    job->state_ = std::make_shared<ThreadState>();
    try {
      job->thread_ = std::thread([state = job->state_, body = std::move(body)] {
        state->number.store(::gettid(), std::memory_order_release);
        body();
        state->ended.store(true, std::memory_order_release);
      });
    } catch (const std::system_error& error) {
      return Error(error.code(), std::string("cannot start a thread: ") + error.what());
    }
    return job;
  }
  std::fflush(nullptr);
  const pid_t controller = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    return Error::from_errno(errno, "cannot start a process", "ulimit -u shows the limit");
  }
  if (pid == 0) {
    become_job(controller);
    ::_exit(body());
  }
  job->pid_ = pid;
  return job;
}

JobRunner::~JobRunner() {
  if (is_thread()) {
    if (!thread_.joinable()) return;
    if (state_->ended.load(std::memory_order_acquire)) {
      thread_.join();
    } else {
      thread_.detach();
    }
    return;
  }
  if (ended_) return;
  signal(SIGKILL);
  wait();
}

void JobRunner::take(int status) noexcept {
  ended_ = true;
  if (WIFEXITED(status)) exit_.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) exit_.signal = WTERMSIG(status);
}

pid_t JobRunner::task() const noexcept {
  return is_thread() ? state_->number.load(std::memory_order_acquire) : pid_;
}

bool JobRunner::ended() {
  if (ended_) return true;
  if (is_thread()) {
    if (!state_->ended.load(std::memory_order_acquire)) return false;
    thread_.join();
    ended_ = true;
    return true;
  }
  int status = 0;
  const pid_t pid = ::waitpid(pid_, &status, WNOHANG);
  if (pid == pid_) take(status);
  // ECHILD: it has vanished, and its status or signal is unknown.
  if (pid < 0 && errno == ECHILD) ended_ = true;
  return ended_;
}

void JobRunner::signal(int number) noexcept {
  if (!is_thread() && !ended_) ::kill(pid_, number);
}

void JobRunner::wait() {
  if (ended_ || is_thread()) return;
  int status = 0;
  pid_t pid = 0;
  do {
    pid = ::waitpid(pid_, &status, 0);
  } while (pid < 0 && errno == EINTR);
  if (pid == pid_) take(status);
  ended_ = true;
}

namespace {

/// Gives the hosts on a bus their addresses, and tells each host the address of its peer.
Result<void> place_hosts(RunState& run, const std::vector<std::size_t>& hosts, const Wire& bus) {
  constexpr std::size_t kFirstPort = 40000;
  for (const std::size_t i : hosts) {
    auto address = host_address(run.plan[i].options, i);
    if (!address) {
      return Error(address.error().code,
                   "job \"" + run.plan[i].options.name + "\": " + address.error().message);
    }
    HostSetup& host = run.setups[i].host;
    host.bus = bus.address().substr(bus.address().find(':') + 1);
    host.address = *std::move(address);
    host.local = socket_address(host.address, static_cast<std::uint16_t>(kFirstPort + i % 20000));
  }
  for (const std::size_t i : hosts) {
    const std::size_t to = run.plan[i].to;
    if (to == kNoJob || std::ranges::find(hosts, to) == hosts.end()) continue;
    run.setups[i].host.remote = run.setups[to].host.local;
    run.setups[i].host.remote_mac = run.setups[to].end.mac;
    const std::size_t max = SizeChooser(run.plan[i].options.bs.tx, 0).max();
    for (const std::size_t end : {i, to}) {
      run.setups[end].host.max_bytes = std::max(run.setups[end].host.max_bytes, max);
    }
    const bool answers = run.plan[to].options.rw != Role::rx;
    if (answers) {
      run.setups[to].host.remote = run.setups[i].host.local;
      run.setups[to].host.remote_mac = run.setups[i].end.mac;
    }
    // If two jobs send to each other, the first one listens.
    const bool mutual = run.plan[to].to == i;
    run.setups[to].host.listens = !mutual || to < i;
  }
  return {};
}

/// The address of a job's port.
MacAddress address_of_port(const JobOptions& job) {
  const bool asked = job.engine == EngineKind::bus && (job.rw == Role::rx || job.rw == Role::echo);
  const auto mac = asked ? MacAddress::parse(job.hostname) : std::nullopt;
  return mac.value_or(MacAddress::random());
}

Result<void> make_wires(RunState& run) {
  std::map<std::string, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < run.jobs.size(); ++i)
    members[wire_key(run.jobs[i].plan)].push_back(i);
  const std::uint32_t nonce = make_nonce();
  run.setups.resize(run.jobs.size());
  for (std::size_t i = 0; i < run.jobs.size(); ++i) {
    WorkerSetup& setup = run.setups[i];
    setup.index = i;
    setup.nonce = nonce;
    setup.interval_ns = ns(
        interval_of(log_options(run.plan, run.plan[i]), std::chrono::nanoseconds(run.interval_ns)));
    setup.end.name = run.jobs[i].plan.options.name;
    setup.end.mac = address_of_port(run.jobs[i].plan.options);
    setup.end.sent = run.jobs[i].plan.options.fault;
    setup.end.received = run.jobs[i].plan.options.fault_rx;
    setup.end.promiscuous = hears_everything(run.plan, i);
    const JobOptions& job = run.jobs[i].plan.options;
    auto events = job_events(job.counters);
    if (!events) {
      return Error(events.error().code,
                   "job \"" + job.name + "\": counters: " + events.error().message);
    }
    setup.counters = *std::move(events);
    setup.counter_interval_ns = run.interval_ns;
  }
  for (const auto& [key, group] : members) {
    JobOptions medium = run.plan[group.front()].options;
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
    debug(Debug::wire, [&] {
      std::string text = "made " + (*wire)->address() + " for";
      for (const std::size_t i : group) text += ' ' + run.plan[i].options.name;
      return text;
    });
    for (std::size_t n = 0; n < group.size(); ++n) {
      run.setups[group[n]].wire = wire->get();
      run.setups[group[n]].end.index = n;
    }
    if (hosts) {
      if (auto done = place_hosts(run, group, **wire); !done) return done;
    }
    run.wires.push_back(*std::move(wire));
  }
  return {};
}

}  // namespace

Result<void> set_up(RunState& run) {
  auto opened = IntervalLogs::open(run.plan, run.options);
  if (!opened) return std::move(opened).error();
  run.logs = *std::move(opened);
  std::vector<std::size_t> with_counters, with_sent_logs;
  for (std::size_t i = 0; i < run.plan.size(); ++i) {
    if (!run.plan[i].options.counters.empty()) with_counters.push_back(i);
    const JobOptions& o = run.plan[i].options;
    if (o.other_end_elsewhere && sends(o.rw)) with_sent_logs.push_back(i);
  }
  auto made = RunMemory::create(run.plan.size(), run.logs->with_histograms(), with_counters,
                                with_sent_logs);
  if (!made) return std::move(made).error();
  run.memory = *std::move(made);
  for (std::size_t i = 0; i < run.plan.size(); ++i) {
    run.jobs.push_back({.plan = run.plan[i],
                        .block = &run.memory->job(i),
                        .flow = &run.memory->flow(i),
                        .echo = &run.memory->echo(i)});
  }
  for (std::size_t i = 0; i < run.plan.size(); ++i) {
    if (run.plan[i].to != kNoJob) run.jobs[run.plan[i].to].senders.push_back(i);
  }
  run.interval_ns = ns(curve_interval(run.plan));
  for (const PlannedJob& job : run.plan) {
    const JobOptions& o = job.options;
    if (o.cgroup.empty() || o.thread) continue;  // a thread is refused when it starts
    auto done = run.cgroups->make({o.cgroup, o.cgroup_weight, o.cgroup_nodelete});
    if (!done) return Error(done.error().code, "job \"" + o.name + "\": " + done.error().message);
  }
  return make_wires(run);
}

}  // namespace shmif::perf
