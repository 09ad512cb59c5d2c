#pragma once
// RemoteHost: one server, as its client sees it. Internal to perf/remote.
//
// A server cannot make its client wait for ever: each answer has a deadline, which is longer than
// the server itself needs to give up and say so. Only the run itself, from its start to its end,
// may take any time. Meanwhile the server must answer pings.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/remote/connection.hpp"
#include "perf/report/report.hpp"

namespace shmif::perf {

/// Compares another machine's clock with ours, by questions and answers.
///
/// The fastest answer is the most precise: the other clock was read between question and answer, so
/// assuming the middle is wrong by at most half of that time (RFC 5905, section 8, "clock filter").
/// For comparisons that last seconds, this is enough.
class ClockOffset {
 public:
  /// Notes an answer: `asked` and `answered` by our clock, in nanoseconds; `theirs` was read in
  /// between.
  void note(std::uint64_t asked, std::uint64_t answered, std::uint64_t theirs) noexcept {
    ++answers_;
    const std::uint64_t took = answered - std::min(asked, answered);
    if (took >= best_) return;
    best_ = took;
    // Modulo 2^64: either clock may be ahead.
    offset_ = theirs - (asked + took / 2);
  }

  int answers() const noexcept { return answers_; }
  std::uint64_t error_ns() const noexcept { return best_ / 2; }  ///< at most; valid after an answer
  std::uint64_t to_theirs(std::uint64_t ours) const noexcept { return ours + offset_; }
  std::uint64_t to_ours(std::uint64_t theirs) const noexcept { return theirs - offset_; }

 private:
  int answers_ = 0;
  std::uint64_t best_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t offset_ = 0;
};

/// Threads: one at a time. Blocks: only connect(), for the name server.
class RemoteHost {
 public:
  using Clock = std::chrono::steady_clock;

  /// When the server gets its jobs.
  enum class JobsGo : std::uint8_t {
    at_once,   ///< when it has greeted
    when_told  ///< by send_jobs(), when its clock was compared
  };
  /// `name`: as the user wrote it. `jobs` must outlive this.
  RemoteHost(std::string name, const HelloMessage& hello, const JobsMessage& jobs,
             JobsGo jobs_go = JobsGo::at_once)
      : name_(std::move(name)), hello_(hello), jobs_(jobs), jobs_go_(jobs_go) {}

  const std::string& name() const noexcept { return name_; }
  /// Whether it has sent its result, or never will: see failures().
  bool over() const noexcept { return stage_ == Stage::over; }
  /// -1: not connected.
  int descriptor() const noexcept;
  short events() const noexcept;

  void connect();
  /// Reads what has arrived, and checks deadlines.
  void look(Clock::time_point now);
  /// Whether it waits for send_jobs(), and its clock is known well enough.
  bool can_take_jobs() const noexcept;
  void send_jobs(Clock::time_point now);
  /// Orders the start, at `start_ns` of our clock.
  void go(std::uint64_t start_ns);
  enum class Stop : std::uint8_t { orderly, at_once };
  void stop(Stop how, int signal);
  /// Fires its trigger, because that of another server fired.
  void trigger();
  /// The sender of the frames to its job `job` has ended, on another server.
  void sender_ended(const std::string& job, std::uint64_t frames);
  /// Stops waiting for it. `why` fails the run; empty: another server failed.
  void give_up(const std::string& why);

  /// Whether it is prepared, and its clock is known well enough.
  bool can_go() const noexcept;
  const ClockOffset& clock() const noexcept { return clock_; }
  /// Its clock, compared anew since the start was ordered.
  const ClockOffset& clock_since_start() const noexcept { return clock_since_start_; }
  /// HelloMessage::clock.
  const std::string& clock_identity() const noexcept { return clock_identity_; }
  /// By our clock; empty: it has not started.
  std::optional<std::uint64_t> started_ns() const noexcept { return started_ns_; }
  /// Whether it has said that it has started, or the time has passed at which go() ordered the
  /// start.
  bool may_have_started() const noexcept;

  const RunProgress& progress() const noexcept { return progress_; }
  /// The intervals that it has told since take_interval(), as one, but without the newest: until a
  /// later one comes, the newest may be its last.
  const RunProgress& interval() const noexcept { return interval_; }
  /// Whether there is an interval that take_interval() has not taken.
  bool has_interval() const noexcept { return has_interval_; }
  void take_interval() noexcept { has_interval_ = false; }
  /// Adds the newest interval to interval(), although it may be the last one.
  void add_newest_interval();
  /// The text of the campaign's newest run; empty if there is no new run.
  std::string take_run() { return std::exchange(run_, {}); }

  /// Why its trigger fired; empty: it did not.
  const std::string& triggered() const noexcept { return triggered_; }
  /// The verification states that it has sent.
  const std::vector<StateMessage>& states() const noexcept { return states_; }

  /// Checks and returns the server's result. This may take long, and the client is silent
  /// meanwhile, so that other servers would consider it gone. So call it when the client waits for
  /// no other server. `stop` may end it early (see JsonLimits). Empty if there is no result, or if
  /// it is invalid and failures() says why.
  std::optional<Report> read_report(const std::function<bool()>& stop = {});
  /// What its jobs know about flows from or to other servers, by name. Complete after
  /// read_report().
  const std::vector<std::pair<std::string, HalfFlow>>& halves() const noexcept { return halves_; }
  /// The exit code of its refusal; empty: it has not refused.
  std::optional<int> refused_with() const noexcept { return refused_with_; }
  /// Failures that are not in its report.
  const std::vector<std::string>& failures() const noexcept { return failures_; }
  /// The same, and the failures that need not stop the other servers.
  std::vector<std::string> failures_at_end() const;

 private:
  enum class Stage : std::uint8_t {
    connecting,
    greeting,   ///< hello was sent; the jobs follow its answer
    greeted,    ///< has answered, and gets its jobs when told
    preparing,  ///< has answered, and prepares the jobs
    prepared,
    going,  ///< was ordered to start
    over,
  };

  void try_next_address(const std::string& why);
  void finish_connecting(Clock::time_point now);
  void hear(const Message& message, Clock::time_point now);
  void hear_hello(const HelloMessage& hello, Clock::time_point now);
  void hear_state(const StateMessage& state);
  /// Why it is given up now; empty: it is not.
  std::string lateness(Clock::time_point now) const;
  void ping(Clock::time_point now);
  void fail(std::string why);

  std::string name_;
  HelloMessage hello_;
  const JobsMessage& jobs_;
  JobsGo jobs_go_;
  Stage stage_ = Stage::connecting;
  std::vector<SocketAddress> addresses_;  ///< not yet tried
  std::unique_ptr<Connection> connection_;
  std::optional<Clock::time_point> deadline_;  ///< for the end of this stage
  Clock::time_point answered_{};               ///< when it last showed that it reads
  Clock::time_point pinged_{};
  bool pong_due_ = false;
  bool noticed_ = false;  ///< it has given the reason why it stops the run
  ClockOffset clock_, clock_since_start_;
  std::string clock_identity_;
  std::optional<std::uint64_t> ordered_ns_;  ///< when it is to start, by our clock
  std::optional<std::uint64_t> started_ns_;
  RunProgress progress_, interval_;
  std::string run_;
  bool has_interval_ = false;
  std::optional<RunProgress> newest_interval_;
  std::string triggered_;
  std::vector<StateMessage> states_;
  std::size_t state_bytes_ = 0;
  bool states_lost_ = false;  ///< some were too many or too long to be kept
  std::vector<std::pair<std::string, HalfFlow>> halves_;
  std::string result_;        ///< JSON; empty until the result arrives
  std::string last_message_;  ///< too long to be anything but a result; read by read_report()
  std::optional<int> refused_with_;
  std::vector<std::string> failures_;
};

}  // namespace shmif::perf
