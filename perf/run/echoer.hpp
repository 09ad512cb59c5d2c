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

  /// Makes the reply to a request whose probe is at `at`; it goes at the next flush().
  void add(const FrameView& request, std::size_t at, Probe probe);
  /// Sends what was added. What cannot be sent within a second is given up: whoever asked counts it
  /// as lost. Blocks: while the engine is full.
  void flush(IntervalRecorder& recorder);

 private:
  std::size_t send(std::uint64_t& bytes);

  End& end_;
  JobBlock& job_;
  std::vector<std::vector<std::byte>> bytes_;  // kept from batch to batch
  std::vector<FrameView> replies_;
};

}  // namespace shmif::perf
