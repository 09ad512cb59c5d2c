#include "perf/worker/job_counting.hpp"

#include <algorithm>
#include <cerrno>

#include "instruments/counters/event_names.hpp"
#include "instruments/counters/event_text.hpp"

namespace shmif::perf {
namespace {

std::string why_refused(const Refusal& refusal) {
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
  if (names->size() > kMaxCounters) {
    return Error(Errc::bad_argument, "a job counts at most " + std::to_string(kMaxCounters) +
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

/// Leaves out events that the kernel refuses. If the kernel permits an event only in user space, it
/// counts that part. Each event is a separate group, because a group with more events than the PMU
/// has counters would never count.
void JobCounting::load(std::span<const JobEvent> events, bool thread, KernelCounters& kernel) {
  const CounterTarget target = thread ? CounterTarget::thread({}) : CounterTarget::process({});
  std::vector<CounterEvent> asked;
  for (const JobEvent& each : events) asked.push_back(each.event);
  while (!loaded_.empty()) {  // each round drops an event, or the kernel part of one
    session_ = std::make_unique<CounterSession>(
        session_over({.group = false, .switch_by_itself = false}, kernel));
    std::vector<EventSetup> setups;
    setups.reserve(loaded_.size());
    for (const std::size_t at : loaded_) setups.push_back({.event = asked[at]});
    std::optional<VectorFault> fault;
    const auto programmed = session_->program(setups);
    if (!programmed) return refuse_all(programmed.error().message);
    const auto loaded = session_->load(target, &fault);
    if (loaded) break;
    if (!fault) return refuse_all(loaded.error().code, events);
    const std::size_t refused = loaded_[fault->element];
    const bool denied = fault->number == EACCES || fault->number == EPERM;
    if (denied && !asked[refused].exclude_kernel && happens_in_user_space(asked[refused])) {
      asked[refused].exclude_kernel = true;
      asked[refused].exclude_hypervisor = true;
      block_[refused].user_space = true;
      continue;
    }
    block_[refused].reason.set(why_refused(fault->refusal));
    loaded_.erase(loaded_.begin() + static_cast<std::ptrdiff_t>(fault->element));
  }
  if (loaded_.empty()) return session_.reset();
  if (const auto started = session_->start(); !started) refuse_all(started.error().message);
}

/// The kernel refused something that every session needs, so it refused all events.
void JobCounting::refuse_all(std::error_code code, std::span<const JobEvent> events) {
  for (const std::size_t at : loaded_) {
    block_[at].reason.set(why_refused(explain_refusal(code.value(), events[at].event)));
  }
  loaded_.clear();
  session_.reset();
}

void JobCounting::refuse_all(const std::string& reason) {
  for (const std::size_t at : loaded_) block_[at].reason.set("failed: " + reason);
  loaded_.clear();
  session_.reset();
}

void JobCounting::read() {
  if (!any()) return;
  const auto readings = std::span(now_).first(loaded_.size());
  for (std::size_t at = 0; at < readings.size(); ++at) readings[at] = Reading{at};
  if (const auto done = session_->read(readings); !done) refuse_all(done.error().message);
}

void JobCounting::begin_window(std::uint64_t at_ns) {
  if (window_ != Window::ahead) return;
  read();
  write_interval(at_ns);
  begin_ = now_;
  window_ = Window::open;
}

void JobCounting::end_window(std::uint64_t at_ns) {
  if (window_ != Window::open) return;
  read();
  write_interval(at_ns);
  write_block();
  window_ = Window::over;
}

void JobCounting::keep() {
  if (window_ == Window::ahead) return;
  read();
  write_block();
}

void JobCounting::write_block() {
  for (std::size_t at = 0; at < loaded_.size(); ++at) {
    CounterBlock& into = block_[loaded_[at]];
    into.value.set(now_[at].value - begin_[at].value);
    into.enabled_ns.set(now_[at].enabled_ns - begin_[at].enabled_ns);
    into.running_ns.set(now_[at].running_ns - begin_[at].running_ns);
    into.measured.store(true, std::memory_order_release);
  }
}

void JobCounting::log_to(CounterLog& log, std::uint64_t length_ns) noexcept {
  log_ = &log;
  length_ns_ = length_ns;
}

void JobCounting::begin_log(std::uint64_t start_ns, std::uint64_t now) {
  if (log_ == nullptr) return;
  start_ns_ = start_ns;
  interval_begin_ns_ = now - std::min(now, start_ns);
  next_ns_ = start_ns + (interval_begin_ns_ / length_ns_ + 1) * length_ns_;
  read();
  interval_begin_ = now_;
}

void JobCounting::close_interval(std::uint64_t now) {
  read();
  write_interval(now);
  if (window_ == Window::open) write_block();
}

void JobCounting::write_interval(std::uint64_t at_ns) {
  if (next_ns() == UINT64_MAX) return;  // there is no log, or it has not begun
  const std::uint64_t end = at_ns - std::min(at_ns, start_ns_);
  if (end <= interval_begin_ns_) return;
  const std::uint64_t number = log_->written.load(std::memory_order_relaxed);
  CounterIntervalBlock& into = log_->intervals[number % kCounterIntervals];
  into.begin_ns.set(interval_begin_ns_);
  into.end_ns.set(end);
  std::uint64_t counted = 0;
  for (std::size_t at = 0; at < loaded_.size(); ++at) {
    counted |= std::uint64_t{1} << loaded_[at];
    CounterIntervalBlock::Event& event = into.events[loaded_[at]];
    event.value.set(now_[at].value - interval_begin_[at].value);
    event.enabled_ns.set(now_[at].enabled_ns - interval_begin_[at].enabled_ns);
    event.running_ns.set(now_[at].running_ns - interval_begin_[at].running_ns);
  }
  into.counted.set(counted);
  log_->written.store(number + 1, std::memory_order_release);
  interval_begin_ns_ = end;
  interval_begin_ = now_;
  // A stall makes one long interval, not many empty ones.
  next_ns_ = start_ns_ + (end / length_ns_ + 1) * length_ns_;
}

}  // namespace shmif::perf
