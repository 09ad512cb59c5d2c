#pragma once
// ServedRun: the one run of a server, from a client's jobs to its last word. Internal to
// perf/remote.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/remote/run_child.hpp"

namespace shmif::perf {

/// What the client is to be told.
struct Told {
  std::string json;
  bool progress = false;  ///< may be left out when the client does not keep up
};

/// Threads: one at a time. Blocks: never.
class ServedRun {
 public:
  using Clock = std::chrono::steady_clock;

  ServedRun(std::unique_ptr<RunChild> child, std::string client, std::string since,
            std::size_t jobs, std::chrono::nanoseconds max_runtime)
      : child_(std::move(child)),
        client_(std::move(client)),
        since_(std::move(since)),
        jobs_(jobs),
        max_runtime_(max_runtime) {}

  const std::string& client() const noexcept { return client_; }
  const std::string& since() const noexcept { return since_; }
  int descriptor() noexcept { return child_->messages().descriptor(); }
  /// Before its first jobs are ready it is to be asked often.
  bool is_starting() const noexcept { return !prepared_ || (gone_ && !told_start_); }

  void go(std::uint64_t start_ns);
  /// A stop that drains; the client waits for the result. `why` fails the run; empty: the client
  /// asked for it.
  void stop(int signal, const std::string& why, Clock::time_point now);
  void stop_hard(int signal, Clock::time_point now);
  /// The client is gone: nobody waits for anything.
  void abandon(Clock::time_point now);

  /// Looks at its process and the clock. Result: what is new, in order.
  std::vector<Told> look(Clock::time_point now);
  /// Whether all is over and said.
  bool over() const noexcept { return over_; }
  bool abandoned() const noexcept { return abandoned_; }
  /// Whether its first jobs have begun; true only once.
  bool take_start() noexcept { return told_start_ && !std::exchange(start_taken_, true); }

 private:
  void listen();
  void watch_the_clock(Clock::time_point now);
  void escalate(Clock::time_point now);
  void tell(const Message& message) { told_.push_back({encode(message)}); }

  std::unique_ptr<RunChild> child_;
  std::string client_;
  std::string since_;
  std::size_t jobs_;
  std::chrono::nanoseconds max_runtime_;
  Clock::time_point made_ = Clock::now();
  std::optional<Clock::time_point> gone_;     ///< when it was told to go
  std::optional<Clock::time_point> stopped_;  ///< by us, so that it cannot take its time
  std::optional<Clock::time_point> hard_;
  std::vector<Told> told_;
  bool prepared_ = false;
  bool told_start_ = false;
  bool start_taken_ = false;
  std::string last_words_;  ///< result or refusal, kept until its process has ended
  bool killed_ = false;
  bool abandoned_ = false;
  bool over_ = false;
};

}  // namespace shmif::perf
