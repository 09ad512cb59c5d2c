#pragma once
// Echoer: sends the requests of a batch back to their senders.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/frame/probe.hpp"
#include "perf/stats/period.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "perf/worker/record_writer.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class Echoer {
 public:
  /// `record`: of the replies; may be null.
  Echoer(End& end, JobBlock& job, RecordWriter* record = nullptr)
      : end_(end), job_(job), record_(record) {}

  /// The request that a sent reply answers.
  struct Sent {
    std::uint32_t flow = 0;
    std::uint64_t number = 0;
    Period period = Period::window;  ///< of the request
  };
  /// Makes the reply to a request. The request is of period `period`, and its probe is at offset
  /// `at`. The next flush() sends the reply.
  void add(const FrameView& request, std::size_t at, Probe probe, Period period);
  /// Sends the added replies. If a reply cannot be sent within a second, it is dropped. When the
  /// job is ordered to stop, such a reply is dropped at once, because its requester has given it
  /// up, too. Result: the replies that were sent, valid until the next add(). Blocks: while the
  /// engine is full.
  std::span<const Sent> flush(IntervalRecorder& recorder);

 private:
  std::size_t send();
  void account(std::size_t sent, IntervalRecorder& recorder);
  void refused(std::size_t sent);

  End& end_;
  JobBlock& job_;
  RecordWriter* record_;
  std::vector<std::vector<std::byte>> bytes_;  // kept from batch to batch
  std::vector<FrameView> replies_;
  std::vector<Sent> about_;  // the request of each of these replies
};

}  // namespace shmif::perf
