#pragma once
// Echoer: the requests of a batch, sent back to whoever asked.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/frame/probe.hpp"
#include "perf/run/interval_recorder.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/stats/period.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class Echoer {
 public:
  Echoer(End& end, JobBlock& job) : end_(end), job_(job) {}

  /// A reply that has gone: to which request of which flow.
  struct Sent {
    std::uint32_t flow = 0;
    std::uint64_t number = 0;
    Period period = Period::window;  ///< of the request
  };
  /// Makes the reply to a request of that period whose probe is at `at`; it goes at the next
  /// flush().
  void add(const FrameView& request, std::size_t at, Probe probe, Period period);
  /// Sends what was added. What cannot be sent within a second is given up, or at once when the job
  /// is told to stop: whoever asked gives it up, too. Result: what has gone, good until the next
  /// add(). Blocks: while the engine is full.
  std::span<const Sent> flush(IntervalRecorder& recorder);

 private:
  std::size_t send();
  void account(std::size_t sent, IntervalRecorder& recorder);
  void refused(std::size_t sent);

  End& end_;
  JobBlock& job_;
  std::vector<std::vector<std::byte>> bytes_;  // kept from batch to batch
  std::vector<FrameView> replies_;
  std::vector<Sent> about_;  // each of these
};

}  // namespace shmif::perf
