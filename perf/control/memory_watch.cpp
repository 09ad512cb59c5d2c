#include "perf/control/memory_watch.hpp"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/quiet_thread.hpp"
#include "perf/membw/pmu_source.hpp"
#include "perf/membw/resctrl_source.hpp"
#include "perf/membw/software_source.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

using std::chrono::nanoseconds;

/// The buses of the run. Jobs of engine=host are on a bus, too.
std::set<std::string> buses_of(const RunState& run) {
  constexpr std::string_view kBus = "bus:";
  std::set<std::string> buses;
  for (const auto& wire : run.wires) {
    const std::string address = wire->address();
    if (address.starts_with(kBus)) buses.insert(address.substr(kBus.size()));
  }
  return buses;
}

std::vector<std::unique_ptr<MemorySource>> sources_of(const RunState& run) {
  const KernelFiles files;
  std::vector<std::unique_ptr<MemorySource>> sources;
  sources.push_back(std::make_unique<PmuSource>(files));
  sources.push_back(std::make_unique<ResctrlSource>(files));
  for (const std::string& bus : buses_of(run)) sources.push_back(std::make_unique<BusSource>(bus));
  sources.push_back(std::make_unique<ProcessIoSource>(files));
  sources.push_back(std::make_unique<DeviceSource>(files, now_ns, true));
  return sources;
}

/// Jobs that are threads are measured together with this process.
std::vector<pid_t> processes_of(const RunState& run) {
  std::set<pid_t> processes;
  for (const ControlledJob& job : run.jobs) {
    if (job.plan.options.thread) processes.insert(::getpid());
    if (job.runner && !job.runner->is_thread()) processes.insert(job.runner->pid());
  }
  return {processes.begin(), processes.end()};
}

/// A look costs about as much as a few hundred frames. So looks can be rarer than intervals.
nanoseconds window_of(const RunState& run) {
  constexpr nanoseconds kLeast = std::chrono::milliseconds(250);
  return std::max<nanoseconds>(nanoseconds(run.interval_ns), kLeast);
}

}  // namespace

MemoryWatch::MemoryWatch(const RunState& run)
    : run_(run), window_(window_of(run)), sources_(sources_of(run)), processes_(processes_of(run)) {
  // The thread that controls the run handles the signals.
  thread_ = base::quiet_thread<std::thread>([this] { measure(); });
}

void MemoryWatch::measure() {
  MembwOptions options;
  options.settle = nanoseconds(0);
  options.window = window_;
  options.background = false;  // it cannot pause the jobs
  MembwHooks hooks;
  hooks.sleep = [this](nanoseconds time) { return sleep(time); };
  hooks.set_up = [this](std::size_t) { return Result<bool>(await_window()); };
  debug(Debug::membw, [this] {
    return "measures " + std::to_string(sources_.size()) + " sources, of " +
           std::to_string(processes_.size()) + " processes";
  });
  result_ = measure_memory(sources_, processes_, options, hooks);
}

MembwHooks::Woken MemoryWatch::sleep(nanoseconds time) {
  std::unique_lock lock(mutex_);
  if (time.count() == 0) return MembwHooks::Woken::time_is_up;
  const bool over = changed_.wait_for(lock, time, [this] { return over_; });
  return over ? MembwHooks::Woken::nothing_left : MembwHooks::Woken::time_is_up;
}

bool MemoryWatch::await_window() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return sending_ || over_; });
  return !over_;
}

void MemoryWatch::look(bool sending) {
  // The last window ends early when the last jobs end, because fewer bytes move in the drain.
  const bool more = run_.has_jobs_to_start();
  const std::lock_guard lock(mutex_);
  if (sending == sending_) return;
  if (!sending && !more) over_ = true;
  sending_ = sending;
  changed_.notify_all();
}

void MemoryWatch::end() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

std::shared_ptr<const MemoryOfRun> MemoryWatch::finish(std::uint64_t start_ns, bool stopped) {
  end();
  result_.partial = result_.partial || stopped;
  return std::make_shared<const MemoryOfRun>(MemoryOfRun{std::move(result_), start_ns});
}

}  // namespace shmif::perf
