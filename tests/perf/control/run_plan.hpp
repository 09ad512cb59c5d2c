#pragma once
// Runs of a few jobs, for tests: a pair on a wire, or what a user writes in a job file, and what
// became of it.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bus/frame.hpp"
#include "perf/control/runner.hpp"
#include "perf/frame/probe.hpp"
#include "perf/option/job_file.hpp"
#include "perf/plan/plan.hpp"
#include "shmif/port.hpp"
#include "tests/perf/plan/plans.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {

/// A job of `role` that runs for 200 ms.
inline perf::PlannedJob job(std::string name, perf::Role role, perf::EngineKind engine) {
  perf::PlannedJob planned;
  planned.options.name = std::move(name);
  planned.options.rw = role;
  planned.options.engine = engine;
  planned.options.runtime = std::chrono::milliseconds(200);
  planned.group = "group";
  return planned;
}

/// A sender or asker, and who receives or answers.
inline std::vector<perf::PlannedJob> pair(perf::Role role, perf::EngineKind engine) {
  std::vector<perf::PlannedJob> plan;
  plan.push_back(job("first", role, engine));
  plan.push_back(job("second",
                     role == perf::Role::pingpong ? perf::Role::echo
                     : role == perf::Role::txrx   ? perf::Role::txrx
                                                  : perf::Role::rx,
                     engine));
  plan[0].to = 1;
  if (role == perf::Role::txrx) plan[1].to = 0;
  return plan;
}

/// Does something to a run at every look at it.
class Meddler final : public perf::RunObserver {
 public:
  using Deed = std::function<void(const perf::RunProgress&)>;
  explicit Meddler(Deed deed) : deed_(std::move(deed)) {}
  void on_progress(const perf::RunProgress& progress) override { deed_(progress); }
  void on_interval(const perf::RunProgress&) override {}

 private:
  Deed deed_;
};

/// What a run writes besides its result goes away with the test, unless it was told where to.
inline perf::RunResult run_once(
    std::vector<perf::PlannedJob> plan, perf::RunOptions options = {},
    const Meddler::Deed& deed = [](const auto&) {}) {
  std::optional<TempDir> aux;
  if (options.aux_path.empty()) options.aux_path = aux.emplace().path();
  perf::RunControl control;
  Meddler meddler(deed);
  return perf::Runner::create(options, std::move(plan)).value()->run(&meddler, control);
}

/// Runs again, at most ten times, until `happened`: what a test is about could not happen if the
/// machine stood still at that moment. Only for what must happen in some run, never for what each
/// run promises. `once`: runs, and returns the result.
template <class Once, class Happened>
auto run_until(const Once& once, const Happened& happened) {
  auto result = once();
  for (int again = 1; again < 10 && !happened(result); ++again) result = once();
  return result;
}

/// Whether a job had no CPU in all of its window, which may be short, so that nothing was tested.
inline bool stood_still(const perf::RunResult& result) {
  return std::any_of(result.failures.begin(), result.failures.end(), [](const std::string& text) {
    return text.find("sent none of the ") != std::string::npos;
  });
}

/// Runs until the jobs got a CPU in their window.
inline perf::RunResult run(
    const std::vector<perf::PlannedJob>& plan, const perf::RunOptions& options = {},
    const Meddler::Deed& deed = [](const auto&) {}) {
  return run_until([&] { return run_once(plan, options, deed); },
                   [](const perf::RunResult& result) { return !stood_still(result); });
}

/// Sends a signal to a job that is a child of this process. After SIGSTOP it waits until the job
/// has stopped: a signal that the job gets before that could still end it.
inline void send_signal(const perf::JobProgress& job, int number) {
  const auto pid = static_cast<pid_t>(job.pid);
  if (pid == 0) return;  // it has ended, or has not begun
  ::kill(pid, number);
  siginfo_t what{};
  if (number == SIGSTOP)
    ::waitid(P_PID, static_cast<id_t>(pid), &what, WSTOPPED | WEXITED | WNOWAIT);
}

/// Sends a job a signal, once, when the job is in that state. In the state `running` it waits for
/// the job's first frame.
inline Meddler::Deed signal_in(perf::JobState state, std::size_t job, int number) {
  return [=, done = false](const perf::RunProgress& progress) mutable {
    const perf::JobProgress& p = progress.jobs[job];
    if (done || p.pid == 0 || p.state != state) return;
    if (state == perf::JobState::running && p.tx_frames + p.rx_frames == 0) return;
    done = true;
    send_signal(p, number);
  };
}

/// Lets a job that is a child of this process stand still for that long.
inline void freeze(const perf::JobProgress& job, std::chrono::milliseconds time) {
  send_signal(job, SIGSTOP);
  std::this_thread::sleep_for(time);
  send_signal(job, SIGCONT);
}

/// Stops the receiver until the sender has sent nothing between two looks. Then the queue between
/// them is full, or the sender had no CPU. So the test must look whether the engine refused frames,
/// and run again if not.
inline Meddler::Deed full_queue() {
  return
      [stopped = false, done = false, sent = std::uint64_t{0}](const perf::RunProgress& p) mutable {
        const bool waits = std::exchange(sent, p.jobs[0].tx_frames) == p.jobs[0].tx_frames;
        if (done || p.jobs[1].rx_frames == 0) return;
        if (!std::exchange(stopped, true)) {
          send_signal(p.jobs[1], SIGSTOP);
        } else if (waits) {
          done = true;
          send_signal(p.jobs[1], SIGCONT);
        }
      };
}

/// Passes when the run did; else prints why it did not.
inline testing::AssertionResult passed(const perf::RunResult& result) {
  if (result.failures.empty()) return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure();
  for (const std::string& text : result.failures) failure << text << '\n';
  return failure;
}

/// Passes when the run failed, and one of the reasons contains `text`.
inline testing::AssertionResult failed(const perf::RunResult& result, const std::string& text) {
  auto failure = testing::AssertionFailure() << "no failure says \"" << text << "\":\n";
  for (const std::string& each : result.failures) {
    if (each.find(text) != std::string::npos) return testing::AssertionSuccess();
    failure << each << '\n';
  }
  return failure;
}

// ---- Job files ----

/// The jobs of a job file.
inline perf::JobSet set_of(const std::string& text) {
  perf::JobSet set;
  const auto errors = perf::read_job_text("test.job", text, set);
  if (!errors.empty()) throw std::runtime_error(errors.front());
  return set;
}

/// Runs a job file, which must be without errors.
inline perf::RunResult run_text(
    const std::string& text, const Meddler::Deed& deed = [](const auto&) {}) {
  const perf::JobSet set = set_of(text);
  return run(perf::expand(set).value(), set.run, deed);
}

/// Runs a job file that is told to stop, so many times, once `when` says so.
inline perf::RunResult run_stopped(const std::string& text, int signal, int stops,
                                   const std::function<bool(const perf::RunProgress&)>& when) {
  perf::JobSet set = set_of(text);
  std::optional<TempDir> aux;
  if (set.run.aux_path.empty()) set.run.aux_path = aux.emplace().path();
  perf::RunControl control;
  Meddler meddler([&](const perf::RunProgress& progress) {
    if (control.stops != 0 || !when(progress)) return;
    control.signal = signal;
    control.stops = stops;
  });
  return perf::Runner::create(set.run, perf::expand(set).value()).value()->run(&meddler, control);
}

inline const perf::JobResult& job_of(const perf::RunResult& result, const std::string& name) {
  for (const perf::JobResult& job : result.jobs) {
    if (job.name == name) return job;
  }
  throw std::runtime_error("no job " + name);
}

/// The only flow that `name` receives.
inline const perf::FlowResult& flow_to(const perf::RunResult& result, const std::string& name) {
  return job_of(result, name).flows.at(0);
}

/// A frame as somebody saw it who has no part in the run.
struct Witnessed {
  std::vector<std::byte> bytes;
  std::uint64_t time_ns = 0;  ///< of the wall clock, when it was put on the bus
  perf::ProbeReading reading;
  const perf::Probe& probe() const { return reading.probe; }
};

/// All that is on a bus yet, read by one who is no port of it: a capture that is independent of the
/// run. Make the bus large enough for all.
inline std::vector<Witnessed> witnessed(const std::string& bus) {
  Follower follower = Follower::open(bus, Start::oldest).value();
  std::vector<Witnessed> all;
  FrameBatch batch(256, 1U << 20U);
  while (follower.receive(batch).frames != 0) {
    for (const FrameView& frame : batch.frames()) {
      all.push_back({std::vector<std::byte>(frame.bytes.begin(), frame.bytes.end()), frame.time_ns,
                     perf::read_probe(frame.bytes, perf::probe_offset(frame.bytes))});
    }
    batch.clear();
  }
  return all;
}

/// A bus that keeps so much.
inline BusOptions roomy(std::uint64_t mib) {
  BusOptions options;
  options.ring_bytes = mib << 20U;
  return options;
}

}  // namespace shmif::test

namespace shmif::perf {

// What nearly every test of a run calls.
using shmif::test::failed;
using shmif::test::flow_to;
using shmif::test::job_of;
using shmif::test::passed;
using shmif::test::run_text;
using shmif::test::witnessed;
using shmif::test::Witnessed;

}  // namespace shmif::perf
