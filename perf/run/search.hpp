#pragma once
// RateSearch: which rates to try, to find the highest one that passes (RFC 2544, section 26.1; NDR
// and PDR of RFC 9411's terms; or a bound of latency).
//
// Logic alone: somebody else makes the trials. The highest rate is tried first. A trial that loses
// frames tells what the link did carry, so the next ones are there: just below it, and when that
// passed, just above. What is left is halved until the gap between the highest rate that passed and
// the lowest that failed is no wider than the resolution, which is a share of the rate itself: a
// link may carry a thousandth of what a sender can send. Rates are whole frames per second.
//
// A rate counts as passed only when a trial of it passed, and every trial is kept in the result. On
// a machine that does other things too, a trial may fail by a hair for no fault of the link: such a
// trial is repeated, once, where that is asked for. A link that loses frames at far less than it
// carried a moment ago loses them at any rate, and the search says so instead of going down to the
// rates at which chance lets a trial pass.

#include <cstdint>
#include <optional>
#include <string>

#include "perf/job/job_options.hpp"
#include "perf/run/run_result.hpp"
#include "perf/stats/latency_histogram.hpp"

namespace shmif::perf {

struct RateSearchOptions {
  Search kind = Search::ndr;
  double max_fps = 0;
  double resolution = 0.005;    ///< share of the rate, though never less than a frame per second
  double allowed_loss = 0;      ///< share, of Search::pdr
  double latency_bound_ns = 0;  ///< of Search::latency_target
  double latency_percentile = 99;
  /// One more trial where one failed by a hair, and up to two where the sender was off its CPU.
  bool repeat_near = true;
  std::string job{};              ///< for the result
  std::uint32_t frame_bytes = 0;  ///< 0: a mix
  double mean_frame_bytes = 0;    ///< without FCS, for bits per second; 0: unknown
  double trial_seconds = 0;       ///< how long each sends; 0: unknown
};
/// What `job` asks for, up to `max_fps`.
RateSearchOptions rate_search_options(const JobOptions& job, double max_fps);

/// Threads: one at a time. Blocks: never.
class RateSearch {
 public:
  explicit RateSearch(const RateSearchOptions& options);

  /// The rate of the next trial; nothing when the search is over.
  std::optional<double> next_fps() const noexcept;
  /// How the trial of next_fps() went. `offered_fps` is that rate, `achieved_fps` what was really
  /// sent; `latency_percentile_ns` counts lost frames as endlessly late (percentile_of_sent()).
  /// `passed` is set here.
  void note(TrialResult trial);
  SearchResult result() const;

 private:
  /// Why a trial failed, for a person; empty: it passed. `near`: by a hair.
  std::string why_failed(const TrialResult& trial, bool& near) const;
  /// The gap is as narrow as asked for, or nothing below what failed is worth a trial.
  bool is_over() const noexcept;
  /// Where the link's own rate seems to be, when a trial there is worth it.
  std::optional<double> guess() const noexcept;
  void note_failed(const TrialResult& trial, const std::string& why);

  RateSearchOptions options_;
  SearchResult result_;
  std::optional<double> passed_fps_;  // the highest
  std::optional<double> failed_fps_;  // the lowest
  std::string why_lowest_failed_;
  std::optional<double> repeat_fps_;
  int repeats_ = 0;  // of this rate, so far
  // What the link carried in the trial of the lowest rate that failed, by frames that may be lost.
  std::optional<double> carried_fps_;
  double most_carried_fps_ = 0;  // of all trials that failed
  int guesses_ = 0;              // trials at carried_fps_
  bool guess_passed_ = false;    // and nothing was tried since
};

/// What a run of `job` at `fps` tells about the link, for note(). Counts the frames that the job
/// sent and those that others sent to it. A frame that was not received whole and in time is lost.
TrialResult figures_of_trial(const RunResult& run, const JobOptions& job, double fps);

/// The latency that `per_cent` of the frames sent did not exceed, of which `lost` never came;
/// nothing where that many did not come, or nothing was sent.
std::optional<double> percentile_of_sent(const LatencyHistogram& latency, std::uint64_t lost,
                                         double per_cent) noexcept;

}  // namespace shmif::perf
