#include "perf/counters/sample_run.hpp"

#include <array>
#include <cerrno>

#include "perf/counters/target_list.hpp"

namespace shmif::perf {

Result<void> SampleRun::load(const CounterEvent& event, std::span<const CounterTarget> targets,
                             const SampleOptions& options, std::optional<VectorFault>& fault,
                             KernelCounters& kernel) {
  const std::array setup{EventSetup{event, 0, options.sampling}};
  for (const CounterTarget& target : targets) {
    CounterSession session = session_over({.ring_pages = options.ring_pages}, kernel);
    if (auto programmed = session.program(setup); !programmed) return programmed.error();
    if (auto loaded = session.load(target, &fault); !loaded) return loaded;
    sessions_.push_back(std::move(session));
  }
  return {};
}

Result<SampleRun> SampleRun::start(const CounterEvent& event, std::span<const TaskId> processes,
                                   const SampleOptions& options, std::optional<Refusal>* refused,
                                   KernelCounters& kernel) {
  SampleRun run;
  const auto targets = target_list(processes, options.cpus, options.on_exec);
  CounterEvent sampled = event;
  std::optional<VectorFault> fault;
  auto loaded = run.load(sampled, targets, options, fault, kernel);
  const bool denied = fault && (fault->number == EACCES || fault->number == EPERM);
  // Try again in user space only. That does not help for a tracepoint, which lies in the kernel, or
  // for whole CPUs, where the kernel asks for the same right.
  if (!loaded && denied && options.cpus.empty() && !sampled.exclude_kernel &&
      sampled.type != PERF_TYPE_TRACEPOINT) {
    sampled.exclude_kernel = true;
    sampled.exclude_hypervisor = true;
    run.user_space_only_ = true;
    run.sessions_.clear();
    fault.reset();
    loaded = run.load(sampled, targets, options, fault, kernel);
  }
  if (!loaded) {
    const int number = loaded.error().code.value();
    if (fault && refused != nullptr) *refused = fault->refusal;
    // The kernel does not even permit the session's own clock.
    if (!fault && refused != nullptr && !options.cpus.empty() &&
        (number == EACCES || number == EPERM)) {
      *refused = explain_refusal(number, sampled, {.whole_cpu = true});
    }
    return std::move(loaded).error();
  }
  for (CounterSession& session : run.sessions_) {
    auto started = session.start();
    // If a target has already ended, that is noticed at the end of the run.
    if (!started && session.state() != SessionState::ended) return std::move(started).error();
  }
  return run;
}

Result<void> SampleRun::read(SampleSink& sink) {
  for (CounterSession& session : sessions_) {
    const auto got = session.read_samples(sink);
    if (!got) return got.error();
    counts_.samples += got->samples;
    counts_.lost += got->lost;
    counts_.lost_is_least = counts_.lost_is_least || got->lost_is_least;
  }
  return {};
}

void SampleRun::stop() {
  for (CounterSession& session : sessions_) {
    if (session.state() == SessionState::started) (void)session.stop();
  }
}

}  // namespace shmif::perf
