#pragma once
// RemoteHost: one server as its client sees it. Internal to perf/remote.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/remote/address.hpp"
#include "perf/remote/clock_offset.hpp"
#include "perf/remote/connection.hpp"
#include "perf/report/report.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: connect() for the name server, else never.
class RemoteHost {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Stage : std::uint8_t {
    connecting,
    greeting,   ///< has been told hello; jobs go when it has answered
    preparing,  ///< has said hello, and makes the jobs ready
    prepared,
    going,  ///< was told to go
    over,   ///< has given its result, or never will: see failures()
  };

  /// `name` is what the user calls it.
  RemoteHost(std::string name, const HelloMessage& hello, const JobsMessage& jobs)
      : name_(std::move(name)), hello_(hello), jobs_(jobs) {}

  const std::string& name() const noexcept { return name_; }
  Stage stage() const noexcept { return stage_; }
  bool over() const noexcept { return stage_ == Stage::over; }
  /// -1: it has no connection.
  int descriptor() const noexcept;
  short events() const noexcept;

  void connect();
  /// Reads what has come, and looks at the clock.
  void look(Clock::time_point now);
  /// The start is at that time of our clock.
  void go(std::uint64_t start_ns);
  void stop(bool hard, int signal);
  /// No longer waits for it. `why` fails the run; empty: another host did.
  void give_up(const std::string& why);

  /// Prepared, and its clock known well enough.
  bool can_go() const noexcept;
  const ClockOffset& clock() const noexcept { return clock_; }
  /// By our clock; nothing: it has not started.
  std::optional<std::uint64_t> started_ns() const noexcept { return started_ns_; }

  const RunProgress& progress() const noexcept { return progress_; }
  /// Whether an interval came that was not taken.
  bool has_interval() const noexcept { return has_interval_; }
  void take_interval() noexcept { has_interval_ = false; }
  /// What the newest run of the campaign there is; empty: nothing new.
  std::string take_run() { return std::exchange(run_, {}); }

  /// Checks what the server gave as its result. It may be large: call when no other host is
  /// waited for, which would take the silence for an end. Nothing: there is none, or failures() has
  /// what is wrong with it.
  std::optional<Report> read_report();
  /// The exit code of its refusal; nothing: it has not refused.
  std::optional<int> refused_with() const noexcept { return refused_with_; }
  /// What happened to it beside what is in its report.
  const std::vector<std::string>& failures() const noexcept { return failures_; }

 private:
  void try_next_address(const std::string& why);
  void finish_connecting(Clock::time_point now);
  void hear(const Message& message);
  void hear_hello(const HelloMessage& hello);
  void ping(Clock::time_point now);
  void fail(std::string why);

  std::string name_;
  HelloMessage hello_;
  const JobsMessage& jobs_;
  Stage stage_ = Stage::connecting;
  std::vector<SocketAddress> addresses_;  ///< not yet tried
  std::unique_ptr<Connection> connection_;
  Clock::time_point deadline_;  ///< of connecting and greeting
  Clock::time_point pinged_{};
  bool pong_due_ = false;
  ClockOffset clock_;
  std::optional<std::uint64_t> started_ns_;
  RunProgress progress_;
  std::string run_;
  bool has_interval_ = false;
  std::string result_;  ///< JSON; empty: none
  std::optional<int> refused_with_;
  std::vector<std::string> failures_;
};

}  // namespace shmif::perf
