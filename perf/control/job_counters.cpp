#include "perf/control/job_counters.hpp"

namespace shmif::perf {
namespace {

CounterResult counter_result(const JobEvent& event, const CounterBlock& block) {
  CounterResult result;
  result.name = event.event.name;
  result.unit = event.event.unit;
  result.source = event.event.source;
  // First: once it is there, no more values come.
  result.reason = block.reason.get();
  if (result.reason.empty()) result.reason = event.reason;
  if (!block.measured.load(std::memory_order_acquire)) {
    if (result.reason.empty()) {
      result.reason = "not counted: the job did not get to its measured window";
    }
    return result;
  }
  result.enabled_ns = block.enabled_ns.get();
  result.running_ns = block.running_ns.get();
  if (!result.reason.empty()) return result;  // counting failed meanwhile
  const auto count = static_cast<double>(block.value.get()) * event.event.scale;
  if (result.running_ns >= result.enabled_ns) {
    result.value = count;
  } else if (result.running_ns > 0) {
    result.scaled = true;
    result.value =
        count * static_cast<double>(result.enabled_ns) / static_cast<double>(result.running_ns);
  } else {
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
    results.push_back(counter_result(events[at], block[at]));
  }
  return results;
}

}  // namespace shmif::perf
