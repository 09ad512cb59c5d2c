#pragma once
// RateSearch: chooses the rates to try, to find the highest rate that passes (RFC 2544, section
// 26.1; NDR and PDR in the terms of RFC 9411; or a bound of latency).
//
// It contains only the logic; the caller makes the trials. The highest rate is tried first. A trial
// that loses frames shows what rate the link carried, so the next trials are just below that rate
// and, if that passed, just above. The remaining gap between the highest rate that passed and the
// lowest that failed is halved until it is no wider than the resolution. The resolution is a share
// of the rate itself, because a link may carry a thousandth of what a sender can send. Rates are
// whole frames per second.
//
// A rate counts as passed only if a trial of it passed, and the result keeps every trial. On a
// machine that also does other work, a trial may narrowly fail although the link is good. If asked
// to, the search repeats such a trial once. A link that loses frames at a small share of the rate
// that it carried before loses them at any rate. The search then reports that, and does not try
// rates so low that a trial passes by chance.

#include <cstdint>
#include <optional>
#include <string>

#include "perf/job/job_options.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

struct RateSearchOptions {
  Search kind = Search::ndr;
  double max_fps = 0;
  double resolution = 0.005;    ///< share of the rate, but at least one frame per second
  double allowed_loss = 0;      ///< share, for Search::pdr
  double latency_bound_ns = 0;  ///< for Search::latency_target
  double latency_percentile = 99;
  std::string job{};              ///< name in the result
  std::uint32_t frame_bytes = 0;  ///< 0: a mix
  double mean_frame_bytes = 0;    ///< without FCS, for bits per second; 0: unknown
  double trial_seconds = 0;       ///< how long each trial sends; 0: unknown
};
/// What `job` asks for, up to `max_fps`.
RateSearchOptions rate_search_options(const JobOptions& job, double max_fps);

/// Repeats a trial once if it narrowly failed, and up to twice if the sender was off its CPU.
/// Threads: one at a time. Blocks: never.
class RateSearch {
 public:
  explicit RateSearch(const RateSearchOptions& options);

  /// The rate of the next trial; empty when the search is over.
  std::optional<double> next_fps() const noexcept;
  /// Notes the result of the trial of next_fps(). `offered_fps` is that rate, and `achieved_fps`
  /// the rate that was really sent. In `latency_percentile_ns`, lost frames count as infinitely
  /// late. note() sets `passed`.
  void note(TrialResult trial);
  SearchResult result() const;

 private:
  /// A message that says why a trial failed; empty if it passed. `near`: it failed narrowly.
  std::string why_failed(const TrialResult& trial, bool& near) const;
  /// Whether the gap is as narrow as asked for, or no rate below the failed ones is worth a trial.
  bool is_over() const noexcept;
  /// The rate that the link seems to carry, if it is worth a trial.
  std::optional<double> guess() const noexcept;
  void note_failed(const TrialResult& trial, const std::string& why);

  RateSearchOptions options_;
  SearchResult result_;
  std::optional<double> passed_fps_;  // the highest rate that passed
  std::optional<double> failed_fps_;  // the lowest rate that failed
  std::string why_lowest_failed_;
  std::optional<double> repeat_fps_;
  int repeats_ = 0;  // of this rate, so far
  // What the link carried in the trial of the lowest failed rate, plus the frames that may be lost.
  std::optional<double> carried_fps_;
  double max_carried_fps_ = 0;  // the highest in all failed trials
  int guesses_ = 0;             // trials at carried_fps_
  bool guess_passed_ = false;   // it passed, and no trial was made since then
};

/// Why the link may carry more than the rate that `search` found: in the trial that decided that
/// the next higher rate is too high, the sender did not send at that rate. Result: empty if it did,
/// if no higher rate was tried, or if no rate was found (`why_none` then says it). Blocks: never.
std::string doubt_of(const SearchResult& search);

/// What a run of `job` at `fps` shows about the link, for note(). Counts the frames that the job
/// sent and those that others sent to it. A frame counts as lost if it was not received whole and
/// in time.
TrialResult figures_of_trial(const RunResult& run, const JobOptions& job, double fps);

}  // namespace shmif::perf
