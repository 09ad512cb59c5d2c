#include "perf/worker/job_counting.hpp"

#include <algorithm>

#include "perf/counters/event_names.hpp"
#include "perf/counters/event_text.hpp"

namespace shmif::perf {
namespace {

std::string why_refused(int number, const CounterEvent& event) {
  const Refusal refusal = explain_refusal(number, event);
  std::string why = refusal.state == Refusal::State::not_supported   ? "not supported: "
                    : refusal.state == Refusal::State::not_permitted ? "not permitted: "
                                                                     : "failed: ";
  why += refusal.reason;
  if (!refusal.enable_with.empty()) why += " (" + refusal.enable_with + ')';
  return why;
}

}  // namespace

Result<std::vector<JobEvent>> job_events(const std::string& list) {
  if (list.empty()) return std::vector<JobEvent>();
  const auto names = split_events(list);
  if (!names) return names.error();
  if (names->size() > kMostCounters) {
    return Error(Errc::bad_argument, "a job counts at most " + std::to_string(kMostCounters) +
                                         " events, and these are " + std::to_string(names->size()));
  }
  const EventNames known;
  std::vector<JobEvent> events;
  for (const std::string& name : *names) {
    auto event = known.find(name);
    if (!event && event.error().code == Errc::bad_argument) return std::move(event).error();
    if (!event) {
      events.push_back({{}, "not supported: " + event.error().message});
      events.back().event.name = name;
      continue;
    }
    events.push_back({*std::move(event), {}});
    if (!events.back().event.cpus.empty()) {
      events.back().reason =
          "not supported: it counts for all programs on its CPUs, not for one job";
    }
  }
  return events;
}

JobCounting::JobCounting(std::span<const JobEvent> events, std::span<CounterBlock> block,
                         bool thread, KernelCounters& kernel)
    : block_(block) {
  for (std::size_t at = 0; at < events.size(); ++at) {
    if (events[at].reason.empty()) {
      loaded_.push_back(at);
    } else {
      block_[at].reason.set(events[at].reason);
    }
  }
  load(events, thread, kernel);
}

/// Without the events that the kernel refuses. Each event is a group of its own: a group that has
/// more events than the PMU has counters would never count.
void JobCounting::load(std::span<const JobEvent> events, bool thread, KernelCounters& kernel) {
  const CounterTarget target = thread ? CounterTarget::thread({}) : CounterTarget::process({});
  while (!loaded_.empty()) {  // each round has one event less
    session_ = std::make_unique<CounterSession>(
        SessionOptions{.group = false, .switch_by_itself = false}, kernel);
    std::vector<EventSetup> setups;
    setups.reserve(loaded_.size());
    for (const std::size_t at : loaded_) setups.push_back({.event = events[at].event});
    std::optional<VectorFault> fault;
    const auto programmed = session_->program(setups);
    if (!programmed) return refuse_all(programmed.error().message);
    const auto loaded = session_->load(target, &fault);
    if (loaded) break;
    if (!fault) return refuse_all(loaded.error().code, events);
    const std::size_t refused = loaded_[fault->element];
    block_[refused].reason.set(why_refused(fault->number, events[refused].event));
    loaded_.erase(loaded_.begin() + static_cast<std::ptrdiff_t>(fault->element));
  }
  if (loaded_.empty()) return session_.reset();
  if (const auto started = session_->start(); !started) refuse_all(started.error().message);
}

/// The kernel refuses what every session needs.
void JobCounting::refuse_all(std::error_code code, std::span<const JobEvent> events) {
  for (const std::size_t at : loaded_) {
    block_[at].reason.set(why_refused(code.value(), events[at].event));
  }
  loaded_.clear();
  session_.reset();
}

void JobCounting::refuse_all(const std::string& reason) {
  for (const std::size_t at : loaded_) block_[at].reason.set("failed: " + reason);
  loaded_.clear();
  session_.reset();
}

bool JobCounting::read(std::span<Reading> readings) {
  for (std::size_t at = 0; at < readings.size(); ++at) readings[at] = Reading{at};
  if (const auto done = session_->read(readings); !done) {
    refuse_all(done.error().message);
    return false;
  }
  return true;
}

void JobCounting::begin_window() {
  if (!any() || in_window_) return;
  in_window_ = read(std::span(begin_).first(loaded_.size()));
}

void JobCounting::keep() {
  if (!any() || !in_window_) return;
  std::array<Reading, kMostCounters> now{};
  if (!read(std::span(now).first(loaded_.size()))) return;
  for (std::size_t at = 0; at < loaded_.size(); ++at) {
    CounterBlock& into = block_[loaded_[at]];
    into.value.set(now[at].value - begin_[at].value);
    into.enabled_ns.set(now[at].enabled_ns - begin_[at].enabled_ns);
    into.running_ns.set(now[at].running_ns - begin_[at].running_ns);
    into.measured.store(true, std::memory_order_release);
  }
}

}  // namespace shmif::perf
