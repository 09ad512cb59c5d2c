#pragma once
// Watches the memory of the jobs of a run (option `heat`), in a separate thread. Internal to
// perf/control.

#include <sys/types.h>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "instruments/heat/session.hpp"
#include "instruments/heat/source.hpp"
#include "perf/control/run_state.hpp"
#include "perf/result/instruments_of_run.hpp"
#include "perf/result/run_result.hpp"
#include "perf/worker/job_counting.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class HeatWatch {
 public:
  /// Create it after all processes of the run, because a fork copies no threads.
  HeatWatch(const RunState& run, const HeatFolder& folder);
  HeatWatch(const HeatWatch&) = delete;
  HeatWatch& operator=(const HeatWatch&) = delete;
  ~HeatWatch() { end(); }

  /// Call it every tick. `start_ns`: start of the run's first jobs; 0 if they have not begun.
  /// `sending`: frames are being sent. `measuring`: the first measured window has begun.
  void look(std::uint64_t start_ns, bool sending, bool measuring);
  /// Ends the measurement. Result: an entry for each job of the run. Blocks: until the jobs are
  /// released; a job that does not answer takes a second.
  std::vector<std::shared_ptr<const HeatOfJob>> finish();

 private:
  struct Watched {
    std::string port;  ///< for a job that is a thread; empty if the job is the whole process
    HeatOfJob heat;
  };
  /// Processes that are watched in the same way.
  struct Session {
    HeatAttributes attributes;
    HeatSession session;
    std::uint64_t changes = 0;  ///< how many of its changes were seen
  };
  Session session_with(std::chrono::microseconds sampling) const;
  void measure();
  /// Waits until `then`. Result: false if the measurement is over.
  bool wait_until(HeatSession::Clock::time_point then);
  void search(Session& exact, Session& sampled);
  void take(Session& from);
  void take_windows(const HeatResult& result, Watched& job, double taken) const;
  /// Converts a time of now_ns() to the clock of the session.
  double session_seconds(std::uint64_t then_ns) const noexcept;
  void explain(std::size_t at);
  void end();

  const RunState& run_;
  const std::string folder_;
  std::vector<Watched> jobs_;
  std::multimap<pid_t, std::size_t> jobs_of_;  ///< the jobs of each process
  std::set<std::string> known_;                ///< sockets that were looked at
  std::set<pid_t> missing_;                    ///< processes that have not come yet
  /// For each process, the time up to which its windows were taken.
  std::map<pid_t, double> taken_;
  std::uint64_t session_ns_ = 0;  ///< when the sessions began
  mutable std::mutex mutex_;      ///< guards the members below
  std::condition_variable changed_;
  std::uint64_t start_ns_ = 0;
  std::uint64_t measured_ns_ = 0;  ///< when the first measured window began; 0 if it has not
  bool has_sent_ = false;
  bool over_ = false;
  std::thread thread_;
};

// What a job has counted for the events that it was asked for. Internal to perf/control.

/// The results are in the order of the option. If an event was not counted, its value is empty and
/// it has a reason.
std::vector<CounterResult> counter_results(std::span<const JobEvent> events,
                                           std::span<const CounterBlock> block);

/// What a job has counted in each interval.
class CounterCurve {
 public:
  /// Takes the intervals that the job has logged since the last call. A job counts time from its
  /// own start, which was at `start_seconds`.
  void collect(const CounterLog& log, std::size_t events, double start_seconds);
  /// `events` and `block` are those of counter_results().
  std::vector<CounterInterval> result(std::span<const JobEvent> events,
                                      std::span<const CounterBlock> block) const;

 private:
  struct Counted {
    std::uint64_t value = 0, enabled_ns = 0, running_ns = 0;
  };
  struct Interval {
    double at_seconds = 0, seconds = 0;
    std::vector<std::optional<Counted>> counts;  ///< empty if it was not counted
  };
  static CounterInterval::Count count_of(const JobEvent& event, const std::string& refused,
                                         const std::optional<Counted>& counted);

  std::uint64_t read_ = 0;
  std::vector<Interval> intervals_;
};

}  // namespace shmif::perf
