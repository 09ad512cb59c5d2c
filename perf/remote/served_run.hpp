#pragma once
// ServedRun: the one run of a server, from the client's jobs to the last message. Internal to
// perf/remote.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/remote/run_child.hpp"

namespace shmif::perf {

/// A message for the client.
struct Told {
  std::string json;
  bool progress = false;  ///< may be dropped if the client reads too slowly
};

/// Threads: one at a time. Blocks: never.
class ServedRun {
 public:
  using Clock = std::chrono::steady_clock;

  ServedRun(std::unique_ptr<RunChild> child, std::string client, std::string since,
            std::chrono::nanoseconds max_runtime)
      : child_(std::move(child)),
        client_(std::move(client)),
        since_(std::move(since)),
        max_runtime_(max_runtime) {}

  const std::string& client() const noexcept { return client_; }
  const std::string& since() const noexcept { return since_; }
  int descriptor() noexcept { return child_->messages().descriptor(); }
  /// Whether its first jobs are not ready or not started; look() must then be called often.
  bool is_starting() const noexcept { return !ready_ || (gone_ && !told_start_); }

  /// How many jobs its plan has; 0 until the plan is made, if the jobs were refused, and once that
  /// was told.
  std::uint64_t take_jobs() noexcept { return std::exchange(jobs_to_tell_, 0); }
  /// Why its jobs were refused or could not be planned; otherwise empty.
  const std::string& refusal() const noexcept { return refusal_; }

  void go(std::uint64_t start_ns);
  /// Stops the run; it drains, and the client waits for the result. `why` fails the run; empty: the
  /// client asked for the stop.
  void stop(int signal, const std::string& why, Clock::time_point now);
  /// Stops the run because the server ends: it drains for a moment only.
  void end(int signal, const std::string& why, Clock::time_point now);
  void stop_hard(int signal, Clock::time_point now);
  /// The trigger has fired on another server of the client.
  void trigger() { child_->trigger(); }
  /// The sender of the frames to that job has ended, on another server.
  void sender_ended(const std::string& job, std::uint64_t frames) {
    child_->sender_ended(job, frames);
  }
  /// The client is gone, so the result is not needed.
  void abandon(Clock::time_point now);

  /// Checks its process and deadlines. Result: new messages, in order.
  std::vector<Told> look(Clock::time_point now);
  /// Whether the run is over and all its messages were returned.
  bool over() const noexcept { return over_; }
  bool abandoned() const noexcept { return abandoned_; }
  /// Why it was stopped, if the client did not ask for that. Returns the reason only once.
  std::string take_reason() { return std::exchange(reason_, {}); }
  /// Whether its first jobs have started; true only once.
  bool take_start() noexcept { return told_start_ && !std::exchange(start_taken_, true); }

 private:
  void listen();
  void watch_the_clock(Clock::time_point now);
  void escalate(Clock::time_point now);
  void kill_planner(const std::string& why);
  void tell(const Message& message) { told_.push_back({encode(message)}); }

  std::unique_ptr<RunChild> child_;
  std::string client_;
  std::string since_;
  std::uint64_t jobs_ = 0;
  std::uint64_t jobs_to_tell_ = 0;
  std::chrono::nanoseconds max_runtime_;
  Clock::time_point made_ = Clock::now();
  std::optional<Clock::time_point> ready_;    ///< when its jobs were ready
  std::optional<Clock::time_point> gone_;     ///< when it was ordered to start
  std::optional<Clock::time_point> stopped_;  ///< by the server, which then limits its time
  std::optional<Clock::time_point> hard_at_;  ///< when it will be stopped hard
  std::optional<Clock::time_point> hard_;
  std::vector<Told> told_;
  std::vector<Told> states_;  ///< told with the result, because they may be long
  bool told_start_ = false;
  bool start_taken_ = false;
  std::string last_words_;  ///< result or refusal, kept until its process has ended
  std::string refusal_;
  std::string reason_;
  bool killed_ = false;
  bool abandoned_ = false;
  bool over_ = false;
};

}  // namespace shmif::perf
