#include "perf/control/job_instruments.hpp"

#include <unistd.h>
#include <algorithm>
#include <utility>

#include "base/signals.hpp"
#include "bus/file/parts.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/watch/clock.hpp"
#include "perf/engine/engine.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

using Clock = HeatSession::Clock;
using std::chrono_literals::operator""ns;

/// The watch looks at a job's memory this often. After each look, the job has a page fault for each
/// page that it uses.
constexpr std::chrono::milliseconds kHeatLookEvery(100);
/// If a job has at most this many pages, each look covers all of them: 64 MiB take about half a
/// millisecond.
constexpr std::uint64_t kPagesOfAll = 16384;
/// If a job has more pages, a look covers one page of each region. The used pages move through the
/// ring, so there are many regions from the beginning, and looks are more frequent.
constexpr std::chrono::milliseconds kSampleEvery(50);
constexpr std::uint64_t kLeastRegions = 500;
/// The watch searches for new jobs this often.
constexpr std::chrono::milliseconds kSearchEvery(20);
constexpr double kNsOfHeatSecond = 1e9;

HeatAttributes attributes_with(std::chrono::microseconds sampling, const RunState& run) {
  HeatAttributes attributes;
  attributes.sampling = sampling;
  attributes.aggregation = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::nanoseconds(run.interval_ns));
  if (sampling == kSampleEvery) attributes.min_regions = kLeastRegions;
  // A job that is a thread may end in the middle of a run, and then its port is gone, too.
  attributes.update = attributes.aggregation;
  return attributes;
}

bool is_on_bus(const WorkerSetup& setup) {
  return setup.wire != nullptr && setup.wire->address().starts_with("bus:");
}

/// The mapping of a bus that belongs to the job.
const NamedRange* mapping_of(const HeatResult& result, const std::string& port) {
  for (const NamedRange& each : result.ranges) {
    const bool is_its = port.empty() || each.name.starts_with(port + '@');
    if (is_its && bus::ring_bytes_of_mapping(each.range.bytes())) return &each;
  }
  return nullptr;
}

}  // namespace

HeatWatch::HeatWatch(const RunState& run, const HeatFolder& folder)
    : run_(run), folder_(folder.path()), jobs_(run.jobs.size()) {
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) {
    const ControlledJob& job = run_.jobs[i];
    jobs_[i].heat.attributes = attributes_with(kHeatLookEvery, run_);
    jobs_[i].heat.reason = folder.reason();
    if (!is_on_bus(run_.setups[i])) continue;
    if (job.plan.options.thread) {
      jobs_[i].port = bus_port_name(run_.setups[i].end);
      jobs_of_.emplace(::getpid(), i);
    } else if (job.runner) {
      jobs_of_.emplace(job.runner->pid(), i);
    }
  }
  debug(Debug::heat, [&] {
    return folder_.empty() ? "watches nothing: " + folder.reason()
                           : "waits in " + folder_ + " for " + std::to_string(jobs_of_.size()) +
                                 " processes to share which pages of their bus they use";
  });
  if (folder_.empty()) return;  // the reason is known
  for (const auto& [pid, job] : jobs_of_) missing_.insert(pid);
  // The thread that controls the run handles the signals.
  thread_ = base::quiet_thread<std::thread>([this] { measure(); });
}

HeatWatch::Session HeatWatch::session_with(std::chrono::microseconds sampling) const {
  HeatOptions options;
  options.attributes = attributes_with(sampling, run_);
  options.backend = HeatBackend::client;
  options.clients = folder_;
  constexpr std::size_t kUntilTaken = 4;
  options.keep_windows = kUntilTaken;
  return {options.attributes, HeatSession(options)};
}

void HeatWatch::measure() {
  session_ns_ = now_ns();
  Session exact = session_with(kHeatLookEvery);
  Session sampled = session_with(kSampleEvery);
  auto next_search = Clock::now();
  auto next = next_search;
  do {
    if (Clock::now() >= next_search) {
      search(exact, sampled);
      next_search = missing_.empty() ? Clock::time_point::max() : Clock::now() + kSearchEvery;
    }
    next = std::min(exact.session.step(), sampled.session.step());
    take(exact);
    take(sampled);
  } while (wait_until(std::min(next, next_search)));
  for (Session* const each : {&exact, &sampled}) {
    each->session.finish();
    take(*each);
  }
}

bool HeatWatch::wait_until(Clock::time_point then) {
  // Some implementations of the wait overflow if the time is far away.
  constexpr std::chrono::seconds kLongest(10);
  std::unique_lock lock(mutex_);
  return !changed_.wait_until(lock, std::min(then, Clock::now() + kLongest),
                              [this] { return over_; });
}

/// Connects to jobs that have attached to their bus.
void HeatWatch::search(Session& exact, Session& sampled) {
  const auto names = KernelFiles().list(folder_);
  if (!names) return;
  for (const std::string& name : *names) {
    if (known_.contains(name)) continue;
    auto client = heat_client_at(folder_, name, kPagesOfAll);
    if (!client) continue;  // it is not listening yet
    // It begins to listen a moment before it shares its first memory, and the amount of memory
    // decides how it is watched.
    if (client->source) {
      const auto ranges = client->source->ranges();
      if (ranges && ranges->empty()) continue;
    }
    debug(Debug::heat, [&] { return "watches " + name; });
    known_.insert(name);
    // Jobs that are threads of this process may come one after another, each with a new socket.
    if (client->pid != ::getpid()) missing_.erase(client->pid);
    const auto [first, last] = jobs_of_.equal_range(client->pid);
    if (first == last) continue;  // it belongs to the program of a host
    auto process = Process::open(client->pid);
    if (client->source && process) {
      const bool all = client->source->looking() == Looking::all_pages;
      (all ? exact : sampled).session.add(*process, std::move(client->source));
      continue;
    }
    if (client->has_left) continue;  // a job may end: that is no failure
    for (auto it = first; it != last; ++it) jobs_[it->second].heat.reason = client->reason;
  }
}

/// Takes the new windows, so that the session may forget them.
void HeatWatch::take(Session& from) {
  if (from.session.changes() == from.changes) return;
  from.changes = from.session.changes();
  for (const HeatResult& result : from.session.results()) {
    const pid_t pid = result.process.number;
    const auto [first, last] = jobs_of_.equal_range(pid);
    for (auto it = first; it != last; ++it) {
      Watched& job = jobs_[it->second];
      job.heat.attributes = from.attributes;
      job.heat.provenance = result.provenance;
      // A job may end: that is no failure. It leaves its bus before its process ends.
      if (!result.has_ended && !result.has_left) job.heat.reason = result.reason;
      take_windows(result, job, taken_[pid]);
    }
    if (!result.windows.empty()) taken_[pid] = result.windows.back().end_s;
  }
}

void HeatWatch::take_windows(const HeatResult& result, Watched& job, double taken) const {
  const NamedRange* const mapped = mapping_of(result, job.port);
  if (mapped == nullptr) return;
  std::uint64_t start_ns = 0;
  std::uint64_t measured_ns = 0;
  {
    const std::lock_guard lock(mutex_);
    start_ns = start_ns_;
    measured_ns = measured_ns_;
  }
  if (start_ns == 0) return;
  const double start = session_seconds(start_ns);
  // Without a ramp, no window before the measured one could be counted by mistake.
  const bool has_ramp = measured_ns > start_ns + static_cast<std::uint64_t>(kHeatLookEvery / 1ns);
  const double measured = has_ramp ? session_seconds(measured_ns) : start;
  for (HeatWindow window : result.windows) {
    if (window.end_s <= taken || window.end_s <= start) continue;
    const bool counts = measured_ns != 0 && (!has_ramp || window.begin_s >= measured);
    window.begin_s = std::max(window.begin_s - start, 0.0);
    window.end_s -= start;
    if (!job.heat.history) {
      job.heat.mapping = mapped->name;
      job.heat.history.emplace(
          *bus::ring_bytes_of_mapping(mapped->range.bytes()), page_bytes(),
          std::chrono::duration<double>(job.heat.attributes.aggregation).count());
    }
    job.heat.history->add(window, mapped->range,
                          counts ? BusHistory::Counts::all : BusHistory::Counts::row);
  }
}

double HeatWatch::session_seconds(std::uint64_t then_ns) const noexcept {
  return (static_cast<double>(then_ns) - static_cast<double>(session_ns_)) / kNsOfHeatSecond;
}

void HeatWatch::look(std::uint64_t start_ns, bool sending, bool measuring) {
  const bool more = run_.has_jobs_to_start();
  const std::lock_guard lock(mutex_);
  start_ns_ = start_ns;
  if (measuring && measured_ns_ == 0) measured_ns_ = now_ns();
  has_sent_ |= sending;
  // The watch ends before the drain.
  if (over_ || !has_sent_ || sending || more) return;
  over_ = true;
  changed_.notify_all();
}

void HeatWatch::end() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

/// Says why there is no history.
void HeatWatch::explain(std::size_t at) {
  HeatOfJob& heat = jobs_[at].heat;
  if (heat.history || !heat.reason.empty()) return;
  const ControlledJob& job = run_.jobs[at];
  if (!is_on_bus(run_.setups[at])) {
    heat.reason = "it is on no bus, and only the memory of a bus is watched";
  } else if (job.never_started) {
    heat.reason = "the job did not start";
  } else if (!job.plan.options.uid.empty() || !job.plan.options.gid.empty()) {
    heat.reason = "the job runs as another user (uid, gid), who takes no part";
  } else {
    heat.reason = "the job ended before it was looked at twice (every 100 ms)";
  }
}

std::vector<std::shared_ptr<const HeatOfJob>> HeatWatch::finish() {
  end();
  std::vector<std::shared_ptr<const HeatOfJob>> all;
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    explain(i);
    all.push_back(std::make_shared<const HeatOfJob>(std::move(jobs_[i].heat)));
  }
  return all;
}

namespace {

struct Scaled {
  std::optional<double> value;  ///< empty if it had no counter
  bool scaled = false;
};

/// What an event would have counted if it had had a counter all the time.
Scaled scaled_count(const CounterEvent& event, std::uint64_t value, std::uint64_t enabled_ns,
                    std::uint64_t running_ns) {
  const auto count = static_cast<double>(value) * event.scale;
  if (running_ns >= enabled_ns) return {count, false};
  if (running_ns == 0) return {};
  return {count * static_cast<double>(enabled_ns) / static_cast<double>(running_ns), true};
}

CounterResult counter_result(const JobEvent& event, const CounterBlock& block) {
  CounterResult result;
  result.name = event.event.name;
  result.unit = event.event.unit;
  result.source = event.event.source;
  // Read this first: once there is a reason, no more values come.
  result.reason = block.reason.get();
  if (result.reason.empty()) result.reason = event.reason;
  if (!block.measured.load(std::memory_order_acquire)) {
    if (result.reason.empty()) {
      result.reason = "not counted: the job did not get to its measured window";
    }
    return result;
  }
  if (block.user_space && !is_software_clock(event.event)) {
    result.source += user_space_source(event.event);
  }
  result.enabled_ns = block.enabled_ns.get();
  result.running_ns = block.running_ns.get();
  if (!result.reason.empty()) return result;  // counting failed meanwhile
  const Scaled found =
      scaled_count(event.event, block.value.get(), result.enabled_ns, result.running_ns);
  result.value = found.value;
  result.scaled = found.scaled;
  if (!result.value) {
    result.reason = "not counted: the PMU had no free counter in the measured window";
  }
  return result;
}

}  // namespace

std::vector<CounterResult> counter_results(std::span<const JobEvent> events,
                                           std::span<const CounterBlock> block) {
  std::vector<CounterResult> results;
  results.reserve(events.size());
  for (std::size_t at = 0; at < events.size(); ++at) {
    const CounterResult& one = results.emplace_back(counter_result(events[at], block[at]));
    debug(Debug::counters, [&] {
      return one.name + ": " + (one.value ? std::to_string(*one.value) : one.reason) +
             ", enabled for " + std::to_string(one.enabled_ns) + " ns, counted for " +
             std::to_string(one.running_ns) + " ns";
    });
  }
  return results;
}

void CounterCurve::collect(const CounterLog& log, std::size_t events, double start_seconds) {
  const std::uint64_t written = log.written.load(std::memory_order_acquire);
  // Overwritten intervals are missing from the curve.
  const std::uint64_t oldest =
      written > kCounterIntervals / 2 ? written - kCounterIntervals / 2 : 0;
  for (std::uint64_t n = std::max(read_, oldest); n < written; ++n) {
    const CounterIntervalBlock& from = log.intervals[n % kCounterIntervals];
    constexpr double kSeconds = 1e-9;
    Interval& next = intervals_.emplace_back();
    next.at_seconds = start_seconds + static_cast<double>(from.end_ns.get()) * kSeconds;
    next.seconds = static_cast<double>(from.end_ns.get() - from.begin_ns.get()) * kSeconds;
    next.counts.resize(events);
    for (std::size_t at = 0; at < events; ++at) {
      if ((from.counted.get() >> at & 1U) == 0) continue;
      const CounterIntervalBlock::Event& event = from.events[at];
      next.counts[at] = Counted{event.value.get(), event.enabled_ns.get(), event.running_ns.get()};
    }
  }
  read_ = written;
}

CounterInterval::Count CounterCurve::count_of(const JobEvent& event, const std::string& refused,
                                              const std::optional<Counted>& counted) {
  if (!counted) return {{}, false, refused.empty() ? event.reason : refused};
  const Scaled found =
      scaled_count(event.event, counted->value, counted->enabled_ns, counted->running_ns);
  return {found.value, found.scaled,
          found.value ? "" : "not counted: the PMU had no free counter in this interval"};
}

std::vector<CounterInterval> CounterCurve::result(std::span<const JobEvent> events,
                                                  std::span<const CounterBlock> block) const {
  std::vector<std::string> refused;
  refused.reserve(events.size());
  for (std::size_t at = 0; at < events.size(); ++at) refused.push_back(block[at].reason.get());
  std::vector<CounterInterval> intervals;
  intervals.reserve(intervals_.size());
  for (const Interval& each : intervals_) {
    CounterInterval& next = intervals.emplace_back();
    next.at_seconds = each.at_seconds;
    next.seconds = each.seconds;
    next.counts.reserve(events.size());
    for (std::size_t at = 0; at < events.size(); ++at) {
      next.counts.push_back(count_of(events[at], refused[at], each.counts[at]));
    }
  }
  return intervals;
}

}  // namespace shmif::perf
