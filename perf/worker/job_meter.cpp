#include "perf/worker/job_meter.hpp"

#include <vector>

#include "instruments/watch/clock.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

void JobMeter::open_counters() {
  if (setup_.counters.empty()) return;
  std::vector<JobEvent> events = setup_.counters;
  if (options_.thread && has_helpers()) {
    for (JobEvent& each : events) {
      each.reason =
          "not supported: the job is a thread with helper threads "
          "(without thread, they are counted)";
    }
  }
  counting_ = std::make_unique<JobCounting>(events, job_.counters, options_.thread);
  if (job_.counter_log != nullptr) {
    counting_->log_to(*job_.counter_log, setup_.counter_interval_ns);
  }
}

void JobMeter::start(End& end, std::uint64_t start_ns) {
  tcp_.emplace(end, job_);
  recorder_.emplace(job_, start_ns, setup_.interval_ns, &*tcp_, usage_of());
  if (counting_) counting_->begin_log(start_ns, now_ns());
}

void JobMeter::close_interval(std::uint64_t now, std::optional<std::uint64_t> ended_ns) {
  if (ended_ns && (!window_is_over_ || !recorder_->is_moment(*ended_ns, now))) {
    recorder_->border(*ended_ns);
  }
  recorder_->close(now);
}

void JobMeter::close_counted_interval(std::uint64_t now, std::optional<std::uint64_t> ended_ns) {
  if (!counting_) return;
  if (ended_ns) counting_->end_window(*ended_ns);
  counting_->close_interval(now);
}

void JobMeter::begin_window(std::uint64_t at_ns) {
  tcp_->begin_window();
  if (counting_) counting_->begin_window(at_ns);
  debug(Debug::rate, [] { return "its measured window begins"; });
  usage_.emplace(options_.thread ? Usage::Of::thread : Usage::Of::process);
  recorder_->border(at_ns);
}

void JobMeter::end_window(std::uint64_t at_ns) {
  window_is_over_ = true;
  tcp_->end_window();
  if (counting_) counting_->end_window(at_ns);
  keep_usage();
}

void JobMeter::finish() {
  if (!window_is_over_) tcp_->end_window();
  if (!window_is_over_ || used_since_) keep_usage();
}

void JobMeter::keep_usage() {
  if (!usage_) return;  // the window has not begun
  if (counting_) counting_->keep();
  if (!usage_of()) return;
  job_.cpu = usage_->so_far();
  job_.cpu_known.store(true, std::memory_order_release);
}

}  // namespace shmif::perf
