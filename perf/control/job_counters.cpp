#include "perf/control/job_counters.hpp"

#include <algorithm>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {
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
