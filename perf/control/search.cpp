#include "perf/control/search.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/nearest_rank.hpp"
#include "perf/frame/schedule.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

// If a trial fails by no more than this, it may be repeated: so little is noise of the machine, not
// of the link.
constexpr double kNearLoss = 0.001;
constexpr double kNearLatency = 1.2;
// A sender that was later than this sent a burst, not the rate, if the next frame was due by then.
// Losses in a burst say nothing about the rate.
constexpr double kLateNs = 3e6;
constexpr int kMaxRepeatsWhenLate = 2;
// If a sender falls short of the rate by more than the sum of these, the trial did not test that
// rate. One frame per second can come from rounding in a short trial.
constexpr double kShortfall = 0.01;
constexpr double kShortfallFps = 1;
// At most this many trials are made at the rate that the link carried. After that, the search
// halves.
constexpr int kMaxGuesses = 3;
// While no trial has passed, each next rate is lower by this factor.
constexpr double kStepDown = 8;
// A link that carried some rate and loses frames at this small share of it loses them at any rate.
constexpr double kLosesAtAnyRate = 1.0 / (kStepDown * kStepDown);
// A trial with fewer frames says nothing about losses.
constexpr double kMinFrames = 10;

template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 300> text{};
  std::snprintf(text.data(), text.size(), pattern, values...);
  return text.data();
}

/// Whether the sender cannot reach the rate, even with more time.
bool fell_short(const TrialResult& trial) {
  const double shortfall = trial.offered_fps - trial.achieved_fps;
  return shortfall > kShortfall * trial.offered_fps + kShortfallFps;
}

/// Whether frames left at once that were due one after the other. At a low rate, a late frame may
/// still leave before the next one is due.
bool sent_burst(const TrialResult& trial) {
  const double spacing_ns = trial.offered_fps > 0 ? 1e9 / trial.offered_fps : 0;
  return trial.sender_late_ns.value_or(0) > std::max(kLateNs, spacing_ns);
}

/// Why a failed trial says less about the link than about its sender; empty if it does not.
std::string excuse_of(const TrialResult& trial) {
  if (fell_short(trial)) {
    return format("the sender itself reached only %.6g frames/s of %.6g", trial.achieved_fps,
                  trial.offered_fps);
  }
  if (!sent_burst(trial)) return {};
  return format("the sender was off its CPU and up to %.3g ms late, so it sent a burst",
                *trial.sender_late_ns / 1e6);
}

}  // namespace

std::string doubt_of(const SearchResult& search) {
  if (!search.found_fps) return {};
  const TrialResult* decisive = nullptr;
  for (const TrialResult& trial : search.trials) {
    if (trial.passed || trial.offered_fps <= *search.found_fps) continue;
    // The last trial of a rate decides.
    if (decisive == nullptr || trial.offered_fps <= decisive->offered_fps) decisive = &trial;
  }
  return decisive == nullptr ? std::string() : excuse_of(*decisive);
}

RateSearchOptions rate_search_options(const JobOptions& job, double max_fps) {
  RateSearchOptions options;
  options.kind = job.search;
  options.max_fps = max_fps;
  options.resolution = job.search_resolution;
  options.allowed_loss = job.search_loss;
  options.latency_bound_ns = static_cast<double>(job.latency_target.count());
  options.latency_percentile = job.latency_percentile;
  options.job = job.name;
  const SizeChooser sizes(job.bs.tx, job.randseed);
  options.frame_bytes = sizes.is_fixed() ? sizes.min() : 0;
  options.mean_frame_bytes = sizes.mean();
  options.trial_seconds = std::chrono::duration<double>(job.search_trial).count();
  return options;
}

RateSearch::RateSearch(const RateSearchOptions& options) : options_(options) {
  // Halving would never reach a resolution finer than a millionth.
  options_.resolution = std::clamp(options_.resolution, 1e-6, 1.0);
  if (options_.max_fps > 0) options_.max_fps = std::max(1.0, std::floor(options_.max_fps));
  result_.job = options.job;
  result_.kind = options.kind;
  result_.frame_bytes = options.frame_bytes;
}

bool RateSearch::is_over() const noexcept {
  const double low = passed_fps_.value_or(0);
  if (*failed_fps_ - low <= std::max(1.0, options_.resolution * *failed_fps_)) return true;
  if (passed_fps_) return false;
  const double min = options_.trial_seconds > 0 ? kMinFrames / options_.trial_seconds : 1;
  return *failed_fps_ <= min || *failed_fps_ <= max_carried_fps_ * kLosesAtAnyRate;
}

std::optional<double> RateSearch::guess() const noexcept {
  const double low = passed_fps_.value_or(0);
  double fps = 0;
  if (guess_passed_) {
    fps = std::floor(low * (1 + options_.resolution * 0.9));  // this may be the second-last trial
  } else if (carried_fps_ && guesses_ < kMaxGuesses) {
    fps = std::floor(*carried_fps_ * (1 - options_.resolution / 2));
  }
  if (!(fps > low) || !(fps < *failed_fps_)) return std::nullopt;
  return fps;
}

std::optional<double> RateSearch::next_fps() const noexcept {
  if (!(options_.max_fps > 0)) return std::nullopt;
  if (repeat_fps_) return repeat_fps_;
  if (!failed_fps_) {
    if (passed_fps_) return std::nullopt;  // the maximum passed
    return options_.max_fps;
  }
  if (is_over()) return std::nullopt;
  if (const auto fps = guess()) return fps;
  if (!passed_fps_) return std::max(1.0, std::floor(*failed_fps_ / kStepDown));
  const double low = *passed_fps_;
  const bool far_apart = *failed_fps_ > 2 * low;
  const double middle =
      far_apart ? std::sqrt(low * *failed_fps_) : std::midpoint(low, *failed_fps_);
  // A whole number between the two; they are more than one apart.
  return std::max(std::floor(middle), std::floor(low) + 1);
}

std::string RateSearch::why_failed(const TrialResult& trial, bool& near) const {
  near = false;
  if (fell_short(trial)) return excuse_of(trial);
  if (options_.kind == Search::latency_target) {
    const auto& latency = trial.latency_percentile_ns;
    if (latency && *latency <= options_.latency_bound_ns) return {};
    near = latency && *latency <= options_.latency_bound_ns * kNearLatency;
    if (!latency) {
      return format("less than %.6g %% of the frames arrived", options_.latency_percentile);
    }
    return format("%.6g %% of the frames took up to %.6g us, and %.6g us was allowed",
                  options_.latency_percentile, *latency / 1000, options_.latency_bound_ns / 1000);
  }
  const double allowed = options_.kind == Search::pdr ? options_.allowed_loss : 0;
  if (trial.loss_share <= allowed) return {};
  near = trial.loss_share <= allowed + kNearLoss;
  return format("%.3g %% of the frames were lost, and %.3g %% was allowed", trial.loss_share * 100,
                allowed * 100);
}

void RateSearch::note(TrialResult trial) {
  bool near = false;
  const std::string why = why_failed(trial, near);
  trial.passed = why.empty();
  debug(Debug::search, [&] {
    return "job " + options_.job +
           format(": a trial at %.6g frames/s reached %.6g and lost %.3g %%: ", trial.offered_fps,
                  trial.achieved_fps, trial.loss_share * 100) +
           (trial.passed ? "passed" : "failed, " + why);
  });
  trial.job = options_.job;
  trial.frame_bytes = options_.frame_bytes;
  const bool late = !fell_short(trial) && sent_burst(trial);
  const int max = late ? kMaxRepeatsWhenLate : near ? 1 : 0;
  const bool again = !trial.passed && repeats_ < max;
  const bool guessed = failed_fps_ && !guess_passed_ && guess() == trial.offered_fps;
  repeats_ = again ? repeats_ + 1 : 0;
  repeat_fps_.reset();
  if (again) {
    repeat_fps_ = trial.offered_fps;
  } else {
    guesses_ += guessed ? 1 : 0;
    guess_passed_ = guessed && trial.passed;
    if (trial.passed) {
      passed_fps_ = trial.offered_fps;
    } else {
      note_failed(trial, why);
    }
  }
  result_.trials.push_back(std::move(trial));
}

void RateSearch::note_failed(const TrialResult& trial, const std::string& why) {
  failed_fps_ = trial.offered_fps;
  why_lowest_failed_ = why;
  if (const std::string excuse = excuse_of(trial); !excuse.empty() && excuse != why) {
    why_lowest_failed_ += "; " + excuse + " (give it its own CPU with cpus_allowed)";
  }
  const double allowed = options_.kind == Search::pdr ? options_.allowed_loss : 0;
  const double arrived = trial.achieved_fps * (1 - trial.loss_share);
  carried_fps_.reset();
  max_carried_fps_ = std::max(max_carried_fps_, arrived);
  // If all frames arrived but too late, it is not known at which rate they would be in time.
  const bool lost_any = trial.loss_share > allowed || fell_short(trial);
  if (lost_any && arrived > 0) carried_fps_ = arrived / (1 - std::min(allowed, 0.99));
}

SearchResult RateSearch::result() const {
  SearchResult result = result_;
  if (passed_fps_) {
    result.found_fps = passed_fps_;
    if (options_.mean_frame_bytes > 0) {
      result.found_bps = *passed_fps_ * options_.mean_frame_bytes * 8;
    }
    result.limited_by_maximum = !failed_fps_;
  } else if (!(options_.max_fps > 0)) {
    result.why_none = "no frame could be sent, so there is no rate to begin with";
  } else if (next_fps()) {
    result.why_none = "the search was stopped before any rate had passed";
  } else {
    result.why_none = format("no rate passed, not even %.6g frames/s: there, ", *failed_fps_) +
                      why_lowest_failed_;
  }
  return result;
}

namespace {

/// The latency that `per_cent` of the sent frames did not exceed; `lost` of them never arrived.
/// Result: empty if fewer than that share arrived, or no frame was sent.
std::optional<double> percentile_of_sent(const LatencyHistogram& latency, std::uint64_t lost,
                                         double per_cent) noexcept {
  const std::uint64_t rank = base::nearest_rank(latency.count() + lost, per_cent);
  if (latency.count() == 0 || rank > latency.count()) return std::nullopt;
  return static_cast<double>(latency.at_rank(rank));
}

}  // namespace

TrialResult figures_of_trial(const RunResult& run, const JobOptions& job, double fps) {
  TrialResult figures;
  figures.job = job.name;
  figures.offered_fps = fps;
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  LatencyHistogram latency;
  for (const JobResult& result : run.jobs) {
    const bool own = result.name == job.name;
    if (own && result.tx.seconds > 0) {
      figures.achieved_fps = static_cast<double>(result.tx.frames) / result.tx.seconds;
      if (!result.spacing_error->empty()) {
        figures.sender_late_ns = static_cast<double>(result.spacing_error->max());
      }
    }
    bool receives = false;
    for (const FlowResult& flow : result.flows) {
      if (flow.from != job.name && !own) continue;
      receives = true;
      sent += flow.sent;
      lost += flow.sent - std::min(flow.sent, flow.received);
    }
    if (receives) latency.merge(*result.latency);
  }
  if (sent != 0) figures.loss_share = static_cast<double>(lost) / static_cast<double>(sent);
  figures.latency_percentile_ns = percentile_of_sent(latency, lost, job.latency_percentile);
  return figures;
}

}  // namespace shmif::perf
