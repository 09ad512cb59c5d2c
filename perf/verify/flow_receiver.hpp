#pragma once
// FlowReceiver: what a receiver knows about one flow.
//
// period_of() assigns each frame to the ramp or to the measured window, by its intended time. The
// ledger notes all frames; those of the ramp are not in any figure.
//
// A frame that was sent has one fate (FlowResult). A damaged arrival is the fate of its frame only
// if no whole frame with its number arrived, and if it is the first damaged one. Others are copies.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "perf/frame/probe.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/stats/period.hpp"
#include "perf/verify/sequence_ledger.hpp"

namespace shmif::perf {

/// What a frame means to a receiver of the run with `nonce`.
enum class Arrival : std::uint8_t {
  ours,
  stale,  ///< a probe of another run
  foreign,
  corrupt,
  truncated,
};
Arrival classify(const ProbeReading& reading, std::uint32_t nonce) noexcept;

/// What the sender knows about a flow.
struct FlowSent {
  std::uint64_t first = 0;        ///< the first number; not 0 if an earlier run is continued
  std::uint64_t ramp_frames = 0;  ///< sent before the measured window: the numbers from `first`
  std::uint64_t frames = 0;       ///< sent after those
  /// How many numbers those frames were taken from, if not each number was sent: replies use the
  /// numbers of the requests.
  std::optional<std::uint64_t> numbers = std::nullopt;
};

/// Plain numbers, which other processes may read after each batch. Except where stated, they count
/// frames of the measured window, each once.
struct FlowCounts {
  std::uint64_t received = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reordered = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t late = 0;                    ///< arrived after the drain; not in `received`
  std::uint64_t corrupt = 0, truncated = 0;  ///< arrivals, including copies
  std::uint64_t unverified = 0;
  std::uint64_t ramp_received = 0;
  std::uint64_t begin = std::numeric_limits<std::uint64_t>::max();  ///< least number that arrived
  std::uint64_t end = 0;  ///< one more than the greatest number that arrived

  /// The number lost as far as known now: overtaken frames count as lost until they arrive.
  std::uint64_t lost_so_far() const noexcept {
    return end <= begin || end - begin <= received + late ? 0 : end - begin - received - late;
  }
};

/// Threads: one at a time. Blocks: never.
class FlowReceiver {
 public:
  /// The most damaged frames whose numbers are kept: 16 MiB per flow. Later ones count like those
  /// with an unknown number: each stands for a missing frame as long as there is one.
  static constexpr std::size_t kMaxDamaged = 1'048'576;
  /// The most numbers that are noted as damaged but not yet arrived whole: 3 MiB per flow.
  static constexpr std::size_t kMaxOnlyDamaged = 65'536;

  struct Options {
    std::uint32_t flow = 0;
    std::uint64_t measure_from_ns = 0;    ///< CLOCK_MONOTONIC
    LatencyHistogram* latency = nullptr;  ///< since the intended time; shared among flows
    LatencyHistogram* service = nullptr;  ///< since the real time
    bool jitter = true;
  };
  /// `before`: what an earlier run has received.
  explicit FlowReceiver(const Options& options, SequenceLedger before = {}) noexcept
      : options_(options), ledger_(std::move(before)) {}

  void measure_from(std::uint64_t time_ns) noexcept { options_.measure_from_ns = time_ns; }
  /// The sender begins with this number. If an earlier run has received greater ones, they are sent
  /// again now, and these frames have a fate of their own.
  void begin_at(std::uint64_t first) { ledger_.forget_from(first); }
  Period period_of(const Probe& probe) const noexcept {
    return perf::period_of(probe.intended_ns, options_.measure_from_ns);
  }

  /// Notes a whole frame of this flow, of `bytes`, received at `now_ns` of CLOCK_MONOTONIC.
  void note(const Probe& probe, std::size_t bytes, std::uint64_t now_ns);
  /// The same for all frames of a train of this flow. Result: the period that counts them; empty if
  /// nothing was noted, because they must be noted one by one.
  std::optional<Period> note_train(const ProbeTrain& train, std::uint64_t now_ns);
  /// Notes a damaged frame that is probably of this flow. `said`: its probe, if that is known
  /// (mend_probe()). Frames of the ramp are not in any figure. A frame with an unknown intended
  /// time belongs to the ramp if it arrived in the ramp.
  void note_damaged(Finding finding, const std::optional<Probe>& said, std::uint64_t now_ns);
  /// Notes a frame of this flow that will not be checked any more. Its probe may be wrong.
  void note_unverified(const Probe& probe) noexcept {
    if (period_of(probe) == Period::window) ++counts_.unverified;
    ++all_unverified_;
  }
  /// Frames that arrive at `time_ns` or later are late. Earlier ones may still be noted after this
  /// call.
  void end_drain(std::uint64_t time_ns) noexcept { drained_ns_ = time_ns; }

  /// Call it when the sender has sent all: it has used no number from `end` on. Frames with such
  /// numbers are not the sender's, and are taken out of all counts. Result: how many of them were
  /// in the window.
  std::uint64_t end_at(std::uint64_t end);

  const FlowCounts& counts() const noexcept { return counts_; }
  /// One more than the greatest number that arrived, whole or damaged, in ramp or window.
  std::uint64_t end() const noexcept { return std::max(ledger_.end(), damaged_end_); }
  /// How many numbers in [first, end) have not come whole so far. `first`: that of the whole run.
  std::uint64_t not_whole(std::uint64_t first, std::uint64_t end) const noexcept;
  /// The same without those that came damaged, or were not checked.
  std::uint64_t missing(std::uint64_t first, std::uint64_t end) const noexcept;
  /// How many frames came damaged and not whole, or without a number, or were not checked.
  std::uint64_t not_lost() const noexcept {
    return only_damaged_.size() + all_unknown_ + all_unverified_;
  }
  const SequenceLedger& ledger() const noexcept { return ledger_; }

  /// The result, without the names of the jobs. Includes the first `max_gaps` gaps of the window;
  /// late frames do not leave a gap.
  FlowResult result(const FlowSent& sent, std::size_t max_gaps = 16) const;

 private:
  struct Damaged {
    std::uint64_t number;
    bool truncated;
  };
  void judge_damaged(std::uint64_t from, std::uint64_t to, std::uint64_t missing,
                     FlowResult& result) const;
  void note_times(const ProbeTimes& times, std::size_t frames, std::uint64_t now_ns) noexcept;

  Options options_;
  SequenceLedger ledger_;
  FlowCounts counts_;
  std::vector<Damaged> damaged_;  // in order of arrival; a number may occur twice
  std::uint64_t corrupt_unknown_ = 0, truncated_unknown_ = 0;  // with an unknown number
  // For ramp and window together: the numbers that have only arrived damaged so far, and how many
  // arrivals have an unknown number.
  std::unordered_set<std::uint64_t> only_damaged_;
  std::uint64_t damaged_end_ = 0, all_unknown_ = 0, all_unverified_ = 0;
  std::uint64_t drained_ns_ = std::numeric_limits<std::uint64_t>::max();
  double jitter_ns_ = 0;
  std::int64_t transit_before_ns_ = 0;
  bool has_transit_ = false;
  bool told_damage_ = false;
};

}  // namespace shmif::perf
