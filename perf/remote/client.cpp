#include "perf/remote/client.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "perf/remote/job_texts.hpp"
#include "perf/remote/remote_host.hpp"
#include "perf/remote/saved_states.hpp"
#include "perf/remote/stop_patience.hpp"
#include "perf/stats/clock.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using Clock = RemoteHost::Clock;
using Duration = std::chrono::nanoseconds;

constexpr auto kDisplayEvery = 100ms;
/// The start is this long after `go`, plus twice the slowest way, so that `go` arrives in time.
constexpr std::uint64_t kStartAhead = 20'000'000;

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  return name.data();
}

/// The longest drain of a job.
Duration longest_drain(const JobSet& set) {
  Duration longest{};
  for (const JobOptions& job : set.jobs) longest = std::max<Duration>(longest, job.drain_time);
  return longest;
}

class Client {
 public:
  Client(const RemoteOptions& options, const JobSet& set, RunObserver* observer,
         RunControl& control)
      : observer_(observer),
        control_(control),
        jobs_{texts_of(set), options.command},
        states_(set),
        patience_(longest_drain(set)) {
    HelloMessage hello;
    hello.version = options.version;
    hello.host = host_name();
    for (const std::string& server : options.servers) {
      hosts_.push_back(std::make_unique<RemoteHost>(server, hello, jobs_));
    }
  }

  std::vector<HostResult> run() {
    for (const auto& host : hosts_) host->connect();
    while (!all_over()) {  // runs until every server has sent its result or was given up
      wait();
      const auto now = Clock::now();
      for (const auto& host : hosts_) host->look(now);
      look_for_failures(now);
      look_for_stops(now);
      pass_on_trigger();
      go_when_all_can();
      show(now);
    }
    return results();
  }

 private:
  bool all_over() const {
    return std::ranges::all_of(hosts_, [](const auto& host) { return host->over(); });
  }
  void wait() const;
  void look_for_failures(Clock::time_point now);
  void look_for_stops(Clock::time_point now);
  void pass_on_trigger();
  void go_when_all_can();
  void show(Clock::time_point now);
  void show_interval();
  enum class Servers : std::uint8_t { all, with_interval };
  RunProgress progress(Servers of) const;
  std::vector<HostResult> results();
  void keep_states(const RemoteHost& host, HostResult& result, int stops);
  void stop_all(RemoteHost::Stop how);

  RunObserver* observer_;
  RunControl& control_;
  const JobsMessage jobs_;
  std::vector<std::unique_ptr<RemoteHost>> hosts_;
  bool gone_ = false;     // all servers were ordered to start
  bool failing_ = false;  // a server failed, and the others were told
  KeptStates states_;
  bool triggered_ = false;  // a server's trigger fired, and the others were told
  StopPatience patience_;
  Clock::time_point next_show_{};
};

void Client::wait() const {
  std::vector<pollfd> entries;
  for (const auto& host : hosts_) {
    if (host->descriptor() >= 0) entries.push_back({host->descriptor(), host->events(), 0});
  }
  ::poll(entries.data(), entries.size(), 50);  // returns early on a signal
}

/// Stops the whole run if one server has failed: the rest is not the run that was asked for.
void Client::look_for_failures(Clock::time_point now) {
  if (failing_) return;
  const bool failed = std::ranges::any_of(hosts_, [&](const auto& host) {
    // A server that ended before the start has not started its jobs.
    return !host->failures().empty() || (!gone_ && patience_.signals() == 0 && host->over());
  });
  if (!failed) return;
  failing_ = true;
  if (gone_) patience_.note_failure(now);
  for (const auto& host : hosts_) {
    if (host->over()) continue;
    if (gone_) {
      host->stop(RemoteHost::Stop::orderly, 0);
    } else {
      host->give_up("");
    }
  }
}

void Client::look_for_stops(Clock::time_point now) {
  const bool first = patience_.signals() == 0;
  patience_.note_signals(control_.stops.load(), now);
  if (patience_.take_hard(now)) {
    stop_all(RemoteHost::Stop::at_once);
  } else if (first && patience_.signals() != 0) {
    stop_all(RemoteHost::Stop::orderly);
  }
  for (const auto& host : hosts_) {
    const std::string why = patience_.why_given_up(host->may_have_started(), now);
    if (!why.empty()) host->give_up(why);
  }
}

/// Passes a trigger to all other servers, because it ends the whole run.
void Client::pass_on_trigger() {
  const auto fired = [](const auto& host) { return !host->triggered().empty(); };
  if (triggered_ || std::ranges::none_of(hosts_, fired)) return;
  triggered_ = true;
  for (const auto& host : hosts_) {
    if (!fired(host)) host->trigger();
  }
}

void Client::stop_all(RemoteHost::Stop how) {
  for (const auto& host : hosts_) host->stop(how, control_.signal.load());
}

void Client::go_when_all_can() {
  if (gone_ || failing_ || patience_.signals() != 0) return;
  if (!std::ranges::all_of(hosts_, [](const auto& host) { return host->can_go(); })) return;
  gone_ = true;
  std::uint64_t slowest = 0;
  for (const auto& host : hosts_) slowest = std::max(slowest, host->clock().error_ns());
  const std::uint64_t start = now_ns() + kStartAhead + 4 * slowest;
  for (const auto& host : hosts_) host->go(start);
}

/// All jobs of all servers as one run, or of those servers that have sent an interval.
RunProgress Client::progress(Servers of) const {
  RunProgress all;
  for (const auto& host : hosts_) {
    if (of == Servers::with_interval && !host->has_interval()) continue;
    const RunProgress& one = host->progress();
    all.at_seconds = std::max(all.at_seconds, one.at_seconds);
    if (one.share && !host->over()) all.share = std::min(all.share.value_or(1), *one.share);
    if (one.left_seconds && !host->over()) {
      all.left_seconds = std::max(all.left_seconds.value_or(0), *one.left_seconds);
    }
    for (JobProgress job : one.jobs) {
      job.name = host->name() + '/' + job.name;
      job.group = host->name() + '/' + job.group;
      if (!job.peer_of.empty()) job.peer_of = host->name() + '/' + job.peer_of;
      job.pid = 0;  // pids of other machines
      all.jobs.push_back(std::move(job));
    }
  }
  return all;
}

void Client::show(Clock::time_point now) {
  if (observer_ == nullptr || !gone_) return;
  for (const auto& host : hosts_) {
    if (const std::string run = host->take_run(); !run.empty()) {
      observer_->on_run(host->name() + ": " + run);
    }
  }
  if (control_.status.exchange(false)) observer_->on_status(progress(Servers::all));
  show_interval();
  if (now < next_show_) return;
  next_show_ = now + kDisplayEvery;
  observer_->on_progress(progress(Servers::all));
}

/// Shows one interval for all servers when each has sent one, and the rest at the end.
void Client::show_interval() {
  const auto has_interval = [](const auto& host) { return host->has_interval(); };
  const auto has_or_is_over = [](const auto& host) { return host->over() || host->has_interval(); };
  if (std::ranges::none_of(hosts_, has_interval)) return;
  if (!std::ranges::all_of(hosts_, has_or_is_over)) return;
  observer_->on_interval(progress(Servers::with_interval));
  for (const auto& host : hosts_) host->take_interval();
}

/// Writes the states of a server. Stops early after too many invalid states, or if a signal came
/// after `stops`.
void Client::keep_states(const RemoteHost& host, HostResult& result, int stops) {
  constexpr std::size_t kMaxWrongStates = 20;
  std::size_t wrong = 0;
  for (const StateMessage& state : host.states()) {
    if (wrong == kMaxWrongStates || control_.stops.load() > stops) return;
    auto kept = states_.keep(host.name(), state);
    if (kept) {
      result.states.push_back(*std::move(kept));
    } else {
      result.failures.push_back(kept.error().message);
      ++wrong;
    }
  }
}

std::vector<HostResult> Client::results() {
  std::optional<std::uint64_t> first;
  for (const auto& host : hosts_) {
    if (const auto at = host->started_ns()) first = std::min(first.value_or(*at), *at);
  }
  // A signal from now on ends the reading of long results.
  const int stops = control_.stops.load();
  std::vector<HostResult> all;
  for (const auto& host : hosts_) {
    auto report = host->read_report([&] { return control_.stops.load() > stops; });
    HostResult result{.name = host->name(),
                      .report = std::move(report),
                      .failures = host->failures_at_end(),
                      .refused_with = host->refused_with()};
    if (const auto at = host->started_ns()) {
      result.start_offset_ns = *at - *first;
      result.clock_error_ns = host->clock().error_ns();
    }
    keep_states(*host, result, stops);
    all.push_back(std::move(result));
  }
  states_.sync();
  return all;
}

}  // namespace

bool HostResult::passed() const {
  return failures.empty() && report && report->json().at("passed").get<bool>();
}

int HostResult::exit_code() const {
  if (refused_with) return *refused_with;
  if (!failures.empty()) return 1;
  return report ? report->json().at("exit_code").get<int>() : 0;
}

std::vector<HostResult> run_on_servers(const RemoteOptions& options, const JobSet& set,
                                       RunObserver* observer, RunControl& control) {
  return Client(options, set, observer, control).run();
}

}  // namespace shmif::perf
