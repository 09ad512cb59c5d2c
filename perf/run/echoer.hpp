#pragma once
// Echoer: the requests of a batch, sent back to whoever asked.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/frame/probe.hpp"
#include "perf/run/interval_recorder.hpp"
#include "perf/run/run_memory.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class Echoer {
 public:
  Echoer(End& end, JobBlock& job) : end_(end), job_(job) {}

  /// Makes the reply to a request whose probe is at `at`; it goes at the next flush(). `measured`:
  /// the request is not of the ramp.
  void add(const FrameView& request, std::size_t at, Probe probe, bool measured);
  /// Sends what was added. What cannot be sent within a second is given up, or at once when the job
  /// is told to stop: whoever asked gives it up, too. Blocks: while the engine is full.
  void flush(IntervalRecorder& recorder);

 private:
  std::size_t send();
  void account(std::size_t sent, IntervalRecorder& recorder);

  End& end_;
  JobBlock& job_;
  std::vector<std::vector<std::byte>> bytes_;  // kept from batch to batch
  std::vector<FrameView> replies_;
  std::vector<bool> measured_;  // of each
};

}  // namespace shmif::perf
