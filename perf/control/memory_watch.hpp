#pragma once
// Measures the memory bandwidth of a run (option `membw`), in a separate thread. Internal to
// perf/control.

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "perf/control/run_state.hpp"
#include "perf/membw/source.hpp"
#include "perf/result/memory_of_run.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class MemoryWatch {
 public:
  /// Opens the sources in its thread, and waits for the window. Create it after all processes of
  /// the run, because a fork copies no threads.
  explicit MemoryWatch(const RunState& run);
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;
  ~MemoryWatch() { end(); }

  /// Call it every tick. `sending`: frames of a measured window are being sent.
  void look(bool sending);
  /// Ends the measurement. `start_ns`: start of the run's first jobs. Blocks: until the sources are
  /// closed.
  std::shared_ptr<const MemoryOfRun> finish(std::uint64_t start_ns, bool stopped);

 private:
  void measure();
  MembwHooks::Woken sleep(std::chrono::nanoseconds time);
  /// Result: false if there will be no window any more.
  bool await_window();
  void end();

  const RunState& run_;
  const std::chrono::nanoseconds window_;
  const std::vector<std::unique_ptr<MemorySource>> sources_;
  const std::vector<pid_t> processes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool sending_ = false;
  bool over_ = false;
  MembwResult result_;
  std::thread thread_;
};

}  // namespace shmif::perf
