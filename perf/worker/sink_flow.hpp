#pragma once
// The inside of Sink, in two files: sink.cpp receives frames; sink_accounts.cpp judges those that
// are not as they should be, keeps the counts of their flows and publishes them. Internal to
// perf/worker.

#include <algorithm>
#include <cstdint>
#include <optional>

#include "perf/worker/sink.hpp"

namespace shmif::perf {

struct Sink::Flow {
  ExpectedFlow expected;
  FlowReceiver receiver;
  std::optional<FrameMaker> maker{};  // makes the expected frame, to compare every byte
  std::uint64_t first_arrival_ns = 0, last_arrival_ns = 0;
  std::uint64_t first_transit_ns = 0, last_transit_ns = 0;  // of frames of the window

  /// Notes that a frame of the window arrived at `now_ns` and was sent at `sent_ns`.
  void arrived(std::uint64_t now_ns, std::uint64_t sent_ns) noexcept {
    last_transit_ns = now_ns - std::min(now_ns, sent_ns);
    if (last_arrival_ns == 0) {
      first_transit_ns = last_transit_ns;
      first_arrival_ns = now_ns;
    }
    last_arrival_ns = now_ns;
  }
  bool measured_from = false;  // its sender has said when its window begins
  bool killed = false;         // its sender ended without saying so
  std::uint64_t sent_end = 0;  // its sender may have sent every smaller number, for all we know
  bool drained = false;
  bool touched = false;        // in this batch
  std::uint64_t replayed = 0;  // frames of a replayed flow
  std::uint64_t lost = 0;      // the losses that the recorder knows
  SequenceLedger answered{};   // requests whose replies were sent
};

/// Counts of one batch.
struct Sink::Totals {
  struct Of {
    std::uint64_t frames = 0, bytes = 0, foreign = 0, stale = 0;
  };
  ByPeriod<Of> of;
  std::uint64_t all_frames = 0, all_bytes = 0;
};

}  // namespace shmif::perf
