#pragma once
// FlowReceiver: what a receiver knows of one flow.
//
// Frames are of the ramp or of the measured window, as period_of() says by the time that each was
// to be sent at. Each frame is noted in the ledger, but those of the ramp enter no figure.
//
// A frame that was sent has one fate (FlowResult). A damaged arrival is one only where no whole one
// with its number came, and of several damaged ones the first; the others are copies.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "perf/frame/probe.hpp"
#include "perf/run/run_result.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/stats/period.hpp"
#include "perf/verify/sequence_ledger.hpp"

namespace shmif::perf {

/// What a frame is to a receiver of the run with `nonce`.
enum class Arrival : std::uint8_t {
  ours,
  stale,  ///< a probe of another run
  foreign,
  corrupt,
  truncated,
};
Arrival classify(const ProbeReading& reading, std::uint32_t nonce) noexcept;

/// What its sender knows of a flow.
struct FlowSent {
  std::uint64_t first = 0;        ///< the first number; not 0 where an earlier run was resumed
  std::uint64_t ramp_frames = 0;  ///< before the measured window: the numbers from `first`
  std::uint64_t frames = 0;       ///< after those
  /// From how many numbers those are, when not each was sent: of replies, from those of the
  /// requests.
  std::optional<std::uint64_t> numbers = std::nullopt;
};

/// Plain numbers, to be shown to another process after each batch. Of the measured window, each
/// frame once, but where said otherwise.
struct FlowCounts {
  std::uint64_t received = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reordered = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t late = 0;                    ///< came after the drain, and are not among `received`
  std::uint64_t corrupt = 0, truncated = 0;  ///< arrivals, copies too
  std::uint64_t unverified = 0;
  std::uint64_t ramp_received = 0;
  std::uint64_t ramp_bytes = 0;
  std::uint64_t ramp_duplicates = 0;
  std::uint64_t ramp_reordered = 0;
  std::uint64_t begin = std::numeric_limits<std::uint64_t>::max();  ///< least number that came
  std::uint64_t end = 0;  ///< one more than the greatest number that came

  /// As far as can be told now: those that are overtaken seem lost until they come.
  std::uint64_t lost_so_far() const noexcept {
    return end <= begin || end - begin <= received + late ? 0 : end - begin - received - late;
  }
};

/// Threads: one at a time. Blocks: never.
class FlowReceiver {
 public:
  /// Damaged frames whose number is kept: 16 MiB a flow. Later ones count as those that do not say
  /// which frame they were: each stands for a missing frame as long as there is one.
  static constexpr std::size_t kMaxDamaged = 1'048'576;

  struct Options {
    std::uint32_t flow = 0;
    std::uint64_t measure_from_ns = 0;    ///< CLOCK_MONOTONIC
    LatencyHistogram* latency = nullptr;  ///< from the intended time; shared among flows
    LatencyHistogram* service = nullptr;  ///< from the real time
    bool jitter = true;
  };
  explicit FlowReceiver(const Options& options) noexcept : options_(options) {}
  /// Goes on from what an earlier run has received.
  FlowReceiver(const Options& options, SequenceLedger before) noexcept
      : options_(options), ledger_(std::move(before)) {}

  void measure_from(std::uint64_t time_ns) noexcept { options_.measure_from_ns = time_ns; }
  Period period_of(const Probe& probe) const noexcept {
    return perf::period_of(probe.intended_ns, options_.measure_from_ns);
  }

  /// A whole frame of this flow has come, of `bytes`, at `now_ns` of CLOCK_MONOTONIC.
  void note(const Probe& probe, std::size_t bytes, std::uint64_t now_ns);
  /// A damaged one, that is probably of this flow, and what it said if that is known
  /// (mend_probe()). Those of the ramp enter no figure; one that does not say when it was to be
  /// sent is of the ramp if it came in it.
  void note_damaged(Finding finding, const std::optional<Probe>& said, std::uint64_t now_ns);
  /// One of this flow has come and will not be checked any more; what it says is not sure.
  void note_unverified(const Probe& probe) noexcept {
    if (period_of(probe) == Period::window) ++counts_.unverified;
  }
  /// What has come at `time_ns` or later is late; what came before it may be noted yet.
  void end_drain(std::uint64_t time_ns) noexcept { drained_ns_ = time_ns; }

  const FlowCounts& counts() const noexcept { return counts_; }
  const SequenceLedger& ledger() const noexcept { return ledger_; }

  /// All but the names of the jobs. Of several gaps the first `most_gaps`; they are those of the
  /// window, without late frames.
  FlowResult result(const FlowSent& sent, std::size_t most_gaps = 16) const;

 private:
  struct Damaged {
    std::uint64_t number;
    bool truncated;
  };
  void judge_damaged(std::uint64_t from, std::uint64_t to, std::uint64_t missing,
                     FlowResult& result) const;
  void note_times(const Probe& probe, std::uint64_t now_ns) noexcept;

  Options options_;
  SequenceLedger ledger_;
  FlowCounts counts_;
  std::vector<Damaged> damaged_;  // in the order of arrival, some numbers twice
  std::uint64_t corrupt_unknown_ = 0, truncated_unknown_ = 0;  // those that do not say which
  std::uint64_t drained_ns_ = std::numeric_limits<std::uint64_t>::max();
  double jitter_ns_ = 0;
  std::int64_t transit_before_ns_ = 0;
  bool has_transit_ = false;
};

}  // namespace shmif::perf
