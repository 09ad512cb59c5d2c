#pragma once
// StopPatience: how long a client waits for its servers after a stop. Only this code decides that.
// Internal to perf/remote.
//
//                               jobs not started            jobs started
//   first signal, or a failure  given up kUnstartedTime     stopped hard kSoftTime and the drain
//   after `go`                  later                       later, given up kHardTime after that
//   second signal               given up at once            stopped hard at once
//   third signal                given up at once            given up at once
//
// A server whose jobs have not started has no result that could be lost. Once the ordered start
// time has passed, jobs count as started, even if the server has not said so yet. A failure before
// `go` is not a stop: no jobs have started, so the client gives up all servers at once.

#include <chrono>
#include <optional>
#include <string>

namespace shmif::perf {

/// Threads: one at a time. Blocks: never.
class StopPatience {
 public:
  using Clock = std::chrono::steady_clock;

  /// As long as a server may be silent. It can end jobs that have not started at once.
  static constexpr std::chrono::seconds kUnstartedTime{8};
  /// How long servers may take for a stop, besides the time that their jobs drain.
  static constexpr std::chrono::seconds kSoftTime{30};
  /// How long servers may take for a hard stop: they need 5 s at most, plus the way back.
  static constexpr std::chrono::seconds kHardTime{10};

  /// `drain`: how long the jobs may drain.
  explicit StopPatience(std::chrono::nanoseconds drain) noexcept : drain_(drain) {}

  /// `signals`: how many have asked for a stop so far.
  void note_signals(int signals, Clock::time_point now) noexcept;
  /// Notes that another server failed after `go`, so the run is not the one that was asked for.
  void note_failure(Clock::time_point now) noexcept;
  int signals() const noexcept { return signals_; }

  /// Whether servers must now be told to stop hard; true only once.
  bool take_hard(Clock::time_point now) noexcept;
  /// Why a server is given up; empty if it is not. `has_started`: whether its jobs may already run.
  std::string why_given_up(bool has_started, Clock::time_point now) const;

 private:
  std::chrono::nanoseconds drain_;
  int signals_ = 0;
  std::optional<Clock::time_point> stopped_, hard_;
};

}  // namespace shmif::perf
