#include "perf/remote/client.hpp"

#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "instruments/watch/clock.hpp"
#include "perf/remote/limits.hpp"
#include "perf/remote/remote_host.hpp"
#include "perf/remote/saved_states.hpp"
#include "perf/remote/shares.hpp"

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

/// Modulo 2^64: servers may tell any time.
std::int64_t difference(std::int64_t left, std::int64_t right) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(left) -
                                   static_cast<std::uint64_t>(right));
}

std::uint64_t magnitude(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  return value < 0 ? 0 - bits : bits;
}

class Client {
 public:
  Client(const RemoteOptions& options, const JobSet& set, RunObserver* observer,
         RunControl& control)
      : observer_(observer),
        control_(control),
        shares_(shares_of(set)),
        states_(set),
        trigger_file_(set.run.trigger_file),
        patience_(2 * longest_drain(set)) {  // a job drains twice if frames are missing
    // One message for all servers, unless each has states of its own.
    const std::size_t servers = has_states_to_send(set) ? options.servers.size() : 1;
    const JobsMessage all{texts_of(set), options.command};
    if (shares_.servers.empty()) jobs_.resize(servers, all);
    for (const ServerShare& share : shares_.servers) {
      jobs_.push_back({share.texts, options.command});
    }
    HelloMessage hello;
    hello.version = options.version;
    hello.host = host_name();
    const auto jobs_go =
        shares_.flows.empty() ? RemoteHost::JobsGo::at_once : RemoteHost::JobsGo::when_told;
    for (std::size_t i = 0; i < options.servers.size(); ++i) {
      JobsMessage& jobs = jobs_[i % jobs_.size()];
      hosts_.push_back(std::make_unique<RemoteHost>(options.servers[i], hello, jobs, jobs_go));
      const auto added = add_states(options.servers[i], jobs.set);
      if (!added) hosts_.back()->give_up(added.error().message);
    }
  }

  std::vector<HostResult> run() {
    for (const auto& host : hosts_) {
      if (!host->over()) host->connect();
    }
    while (!all_over()) {  // runs until every server has sent its result or was given up
      wait();
      const auto now = Clock::now();
      for (const auto& host : hosts_) host->look(now);
      look_for_failures(now);
      look_for_stops(now);
      pass_on_trigger();
      pass_on_ends();
      send_jobs_when_all_can(now);
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
  void pass_on_ends();
  void send_jobs_when_all_can(Clock::time_point now);
  std::size_t number_of(const std::string& server) const;
  ClockPair compare(const CrossFlow& flow) const;
  ClockPair compare_again(const CrossFlow& flow, const ClockPair& before) const;
  void go_when_all_can();
  void show(Clock::time_point now);
  void show_interval();
  enum class Servers : std::uint8_t { all, with_interval };
  RunProgress progress(Servers of) const;
  bool has_to_show(const RemoteHost& host) const;
  void forget_unasked(RunProgress& all) const;
  void settle_losses(RunProgress& interval);
  void show_last_interval(const std::vector<HostResult>& results);
  std::vector<HostResult> results();
  void keep_states(const RemoteHost& host, HostResult& result, int stops);
  void stop_all(RemoteHost::Stop how);

  RunObserver* observer_;
  RunControl& control_;
  const Shares shares_;
  std::deque<JobsMessage> jobs_;   // of each server; one for all if the jobs name none
  std::vector<ClockPair> clocks_;  // of each flow between servers, once they were compared
  std::vector<bool> ends_told_ = std::vector<bool>(shares_.flows.size());  // of each such flow
  bool jobs_sent_ = false;
  std::uint64_t compared_ns_ = 0;
  std::vector<std::unique_ptr<RemoteHost>> hosts_;
  bool gone_ = false;     // all servers were ordered to start
  bool failing_ = false;  // a server failed, and the others were told
  KeptStates states_;
  const std::string trigger_file_;
  bool triggered_ = false;  // the trigger fired somewhere, and all servers were told
  StopPatience patience_;
  Clock::time_point next_show_{};
  std::map<std::string, std::uint64_t> shown_lost_;  // in all intervals, of the ends of flows
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

/// Passes a trigger to all other servers, because it ends the whole run. Its file can also appear
/// on this machine.
void Client::pass_on_trigger() {
  const auto fired = [](const auto& host) { return !host->triggered().empty(); };
  if (triggered_ || !gone_) return;
  const bool here = !trigger_file_.empty() && ::access(trigger_file_.c_str(), F_OK) == 0;
  if (!here && std::ranges::none_of(hosts_, fired)) return;
  triggered_ = true;
  if (here) ::unlink(trigger_file_.c_str());  // as on a server
  for (const auto& host : hosts_) {
    if (!fired(host)) host->trigger();
  }
}

/// Tells receivers whose senders have ended how many frames there were. Then they need not wait for
/// more. If a sender was killed, it tells nothing: the sender may have sent more than it says.
void Client::pass_on_ends() {
  for (std::size_t i = 0; i < shares_.flows.size(); ++i) {
    const CrossFlow& flow = shares_.flows[i];
    const RemoteHost& from = *hosts_[number_of(flow.from_server)];
    if (ends_told_[i] || !from.over()) continue;
    ends_told_[i] = true;
    const auto& halves = from.halves();
    const auto half =
        std::ranges::find(halves, flow.from, &std::pair<std::string, HalfFlow>::first);
    if (half == halves.end() || half->second.window_end_ns == 0) continue;
    const HalfFlow& sent = half->second;
    hosts_[number_of(flow.to_server)]->sender_ended(
        flow.to, sent.end_number - std::min(sent.first_number, sent.end_number));
  }
}

void Client::stop_all(RemoteHost::Stop how) {
  for (const auto& host : hosts_) host->stop(how, control_.signal.load());
}

std::size_t Client::number_of(const std::string& server) const {
  const auto it =
      std::ranges::find_if(hosts_, [&server](const auto& host) { return host->name() == server; });
  return static_cast<std::size_t>(it - hosts_.begin());
}

/// How the clocks of the two servers of a flow compare now.
ClockPair Client::compare(const CrossFlow& flow) const {
  const RemoteHost& from = *hosts_[number_of(flow.from_server)];
  const RemoteHost& to = *hosts_[number_of(flow.to_server)];
  const auto shift = static_cast<std::int64_t>(to.clock().to_theirs(from.clock().to_ours(0)));
  const std::uint64_t error = from.clock().error_ns() + to.clock().error_ns();
  const bool same = !to.clock_identity().empty() && from.clock_identity() == to.clock_identity();
  // Copies of one virtual machine say that they read one clock, and do not.
  if (same && magnitude(shift) <= error + 2) return {.shift_ns = 0};
  ClockPair pair{.error_ns = std::max<std::uint64_t>(error, 1), .apart_ns = shift};
  if (error <= kMaxClockErrorNs) pair.shift_ns = shift;
  return pair;
}

/// The clocks may have drifted apart while the jobs ran. Result: `before`, with an error that holds
/// for the whole run.
ClockPair Client::compare_again(const CrossFlow& flow, const ClockPair& before) const {
  constexpr std::uint64_t kDriftPerMillion = 500;  // no clock is corrected by more (adjtimex(2))
  if (before.error_ns == 0) return before;
  const ClockOffset& from = hosts_[number_of(flow.from_server)]->clock_since_start();
  const ClockOffset& to = hosts_[number_of(flow.to_server)]->clock_since_start();
  ClockPair now = before;
  if (from.answers() == 0 || to.answers() == 0) {
    now.error_ns += (now_ns() - compared_ns_) / 1'000'000 * 2 * kDriftPerMillion;
    return now;
  }
  const auto shift = static_cast<std::int64_t>(to.to_theirs(from.to_ours(0)));
  const std::uint64_t apart = magnitude(difference(shift, before.apart_ns));
  now.error_ns = std::max(now.error_ns, apart + from.error_ns() + to.error_ns());
  return now;
}

/// The jobs that receive from another server are told how its clock compares with theirs.
void Client::send_jobs_when_all_can(Clock::time_point now) {
  if (jobs_sent_ || shares_.flows.empty() || failing_ || patience_.signals() != 0) return;
  if (!std::ranges::all_of(hosts_, [](const auto& host) { return host->can_take_jobs(); })) return;
  jobs_sent_ = true;
  compared_ns_ = now_ns();
  for (const CrossFlow& flow : shares_.flows) {
    clocks_.push_back(compare(flow));
    for (JobTexts::Job& job : jobs_[number_of(flow.to_server)].set.jobs) {
      if (job.name == flow.to) job.clock_shift_ns = clocks_.back().shift_ns;
    }
  }
  for (const auto& host : hosts_) host->send_jobs(now);
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
    if (of == Servers::with_interval && !has_to_show(*host)) continue;
    const RunProgress& one = of == Servers::all ? host->progress() : host->interval();
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
  for (std::size_t i = 0; i < clocks_.size(); ++i) {
    const CrossFlow& flow = shares_.flows[i];
    const std::string name = flow.to_server + '/' + flow.to;
    const auto receiver = std::ranges::find(all.jobs, name, &JobProgress::name);
    if (flow.asks || receiver == all.jobs.end()) continue;
    const std::uint64_t error_ns = compare_again(flow, clocks_[i]).error_ns;
    const bool known = clocks_[i].shift_ns && error_ns <= kMaxClockErrorNs;
    receiver->latency_clock_error_ns = known ? std::optional(error_ns) : std::nullopt;
  }
  forget_unasked(all);
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

/// A job that asks counts each missing reply as lost. Takes out replies whose requests were lost.
void Client::forget_unasked(RunProgress& all) const {
  for (const CrossFlow& flow : shares_.flows) {
    if (!flow.asks) continue;
    const auto& echoes = hosts_[number_of(flow.to_server)]->progress().jobs;
    const auto echo = std::ranges::find(echoes, flow.to, &JobProgress::name);
    const std::string name = flow.from_server + '/' + flow.from;
    const auto asking = std::ranges::find(all.jobs, name, &JobProgress::name);
    if (echo == echoes.end() || asking == all.jobs.end()) continue;
    asking->lost_frames -= std::min(asking->lost_frames, echo->lost_frames);
  }
}

/// Makes the losses in the intervals of the ends of flows add up to the losses since the start.
/// Frames that turned out not to be lost are taken from the next intervals.
void Client::settle_losses(RunProgress& interval) {
  for (const CrossFlow& flow : shares_.flows) {
    for (const std::string& name :
         {flow.from_server + '/' + flow.from, flow.to_server + '/' + flow.to}) {
      const auto job = std::ranges::find(interval.jobs, name, &JobProgress::name);
      if (job == interval.jobs.end()) continue;
      std::uint64_t& shown = shown_lost_[name];
      job->last.lost_frames = job->lost_frames - std::min(job->lost_frames, shown);
      shown += job->last.lost_frames;
    }
  }
}

/// Shows the last interval of each server, when its losses are known.
void Client::show_last_interval(const std::vector<HostResult>& results) {
  if (observer_ == nullptr || !gone_ || shares_.flows.empty()) return;
  for (const auto& host : hosts_) host->add_newest_interval();
  RunProgress last = progress(Servers::with_interval);
  if (last.jobs.empty()) return;
  const auto take_total = [&](const std::string& server, const std::string& name) {
    const HostResult& of = results[number_of(server)];
    const auto job = std::ranges::find(last.jobs, server + '/' + name, &JobProgress::name);
    if (!of.report || job == last.jobs.end()) return;
    for (const auto& told : of.report->json().at("jobs")) {
      if (told.at("jobname") != name || !told.at("loss").is_object()) continue;
      job->lost_frames = told.at("loss").at("lost_frames").get<std::uint64_t>();
    }
  };
  for (const CrossFlow& flow : shares_.flows) {
    take_total(flow.from_server, flow.from);
    take_total(flow.to_server, flow.to);
  }
  settle_losses(last);
  observer_->on_interval(last);
}

/// Whether the server has an interval that can be shown now. If jobs send to other servers, each
/// server's last interval waits for the results of all: only these tell what was lost at the end.
bool Client::has_to_show(const RemoteHost& host) const {
  return host.has_interval() && (shares_.flows.empty() || !host.over() || all_over());
}

/// Shows one interval for all servers when each has sent one, and the rest at the end.
void Client::show_interval() {
  if (!shares_.flows.empty() && all_over()) return;  // see show_last_interval()
  if (shares_.flows.empty()) {
    for (const auto& host : hosts_) host->add_newest_interval();
  }
  const auto has_interval = [&](const auto& host) { return has_to_show(*host); };
  const auto has_or_is_over = [&](const auto& host) { return host->over() || has_to_show(*host); };
  if (std::ranges::none_of(hosts_, has_interval)) return;
  if (!std::ranges::all_of(hosts_, has_or_is_over)) return;
  RunProgress interval = progress(Servers::with_interval);
  settle_losses(interval);
  observer_->on_interval(interval);
  for (const auto& host : hosts_) {
    if (has_to_show(*host)) host->take_interval();
  }
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
                      .refused_with = host->refused_with(),
                      .halves = host->halves()};
    if (const auto at = host->started_ns()) {
      result.start_offset_ns = *at - *first;
      result.clock_error_ns = host->clock().error_ns();
    }
    keep_states(*host, result, stops);
    all.push_back(std::move(result));
  }
  for (std::size_t i = 0; i < clocks_.size(); ++i) {
    const CrossFlow& flow = shares_.flows[i];
    account_for(flow, compare_again(flow, clocks_[i]), all[number_of(flow.from_server)],
                all[number_of(flow.to_server)]);
  }
  show_last_interval(all);
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

void StopPatience::note_signals(int signals, Clock::time_point now) noexcept {
  signals_ = signals;
  if (signals != 0 && !stopped_) stopped_ = now;
}

void StopPatience::note_failure(Clock::time_point now) noexcept {
  if (!stopped_) stopped_ = now;
}

bool StopPatience::take_hard(Clock::time_point now) noexcept {
  if (hard_ || !stopped_) return false;
  if (signals_ < 2 && now <= *stopped_ + drain_ + kSoftTime) return false;
  hard_ = now;
  return true;
}

std::string StopPatience::why_given_up(bool has_started, Clock::time_point now) const {
  if (!stopped_) return {};
  if (!has_started) {
    if (signals_ >= 2) return "a second signal ended the wait for it: its jobs had not started";
    if (now < *stopped_ + kUnstartedTime) return {};
    return "it neither started its jobs nor ended within 8 s of a stop";
  }
  if (signals_ >= 3) return "a third signal ended the wait for its result";
  if (hard_ && now >= *hard_ + kHardTime) return "it did not end within 10 s of a hard stop";
  return {};
}

}  // namespace shmif::perf
