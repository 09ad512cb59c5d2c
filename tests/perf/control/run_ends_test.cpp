// Ends that no job chose: of processes that hang or are killed, of threads that cannot be, of the
// controller, of what the system refuses.

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.hpp"
#include "perf/control/campaign.hpp"
#include "perf/verify/verify_state.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using test::Child;
using test::pair;
using test::run;
using test::send_signal;
using test::Shared;
using test::signal_in;

const std::string kLong = "[global]\nrate_iops=1000\nruntime=20\ndrain_time=50ms\n";

TEST(RunEnds, SignalsOfTheTerminalEndNoJobForTheControllerTellsItToStop) {
  bool sent = false;
  const RunResult result = run_text("[a]\nrate_iops=1000\nnumber_ios=1000\ndrain_time=5\n",
                                    [&](const RunProgress& progress) {
                                      if (sent || progress.jobs[0].tx_frames == 0) return;
                                      sent = true;
                                      for (const int number : {SIGINT, SIGQUIT, SIGHUP, SIGUSR1}) {
                                        for (const JobProgress& job : progress.jobs)
                                          send_signal(job, number);
                                      }
                                    });
  EXPECT_TRUE(sent);
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "a").tx.frames, 1000U);
  EXPECT_EQ(flow_to(result, "a.sink").received, 1000U);
}

TEST(RunEnds, AJobKilledBeforeTheStartFailsTheRun) {
  const RunResult result =
      run_text(kLong + "[a]\nexec_prerun=sleep 20\n", signal_in(JobState::created, 0, SIGKILL));
  EXPECT_TRUE(failed(result, "job \"a\": did not start: was killed by signal 9"));
  EXPECT_EQ(job_of(result, "a").tx.frames, 0U);
}

TEST(RunEnds, AJobThatHangsInItsLastCommandIsKilled) {
  // Nothing but its own work would have ended it: no runtime.
  const RunResult result =
      run_text("[global]\nstuck_timeout=200ms\n[a]\nnumber_ios=10\nexec_postrun=sleep 600\n");
  EXPECT_TRUE(failed(result, "job \"a\": is stuck: still finishing"));
  EXPECT_EQ(result.failures.size(), 1U) << "that it was killed is no other failure";
  EXPECT_TRUE(failed(run_text("[global]\nstuck_timeout=200ms\n[a]\nthread\nnumber_ios=10\n"
                              "exec_postrun=sleep 600\n"),
                     "sleep did not end in time, and was killed"))
      << "a thread is not killed, but its command is";
  EXPECT_EQ(flow_to(result, "a.sink").received, 10U);
}

/// Runs a job in a process group of its own, in which there is a bystander, too. Result: the wait
/// status of the process that ran it; 0 if the job failed with `failure`, and the bystander lives.
int run_beside_a_bystander(const std::string& text, const test::Meddler::Deed& deed,
                           const std::string& failure) {
  const pid_t harness = ::fork();
  if (harness != 0) {
    int status = -1;
    EXPECT_EQ(::waitpid(harness, &status, 0), harness);
    return status;
  }
  ::setpgid(0, 0);
  const pid_t bystander = ::fork();
  if (bystander == 0) {
    for (;;) ::pause();
  }
  const RunResult result = run_text(text, deed);
  const bool as_said = std::ranges::any_of(result.failures, [&](const std::string& each) {
    return each.find(failure) != std::string::npos;
  });
  const bool lives = ::waitpid(bystander, nullptr, WNOHANG) == 0;
  ::kill(bystander, SIGKILL);
  ::_exit((as_said ? 0 : 1) + (lives ? 0 : 2));
}

TEST(RunEnds, TheKillOfAStragglerSparesTheGroupOfTheHarness) {
  // One that does not become ready is in that group still.
  EXPECT_EQ(run_beside_a_bystander(
                "[global]\nstartup_timeout=100ms\n[a]\nnumber_ios=10\nexec_prerun=sleep 600\n",
                [](const RunProgress&) {}, "job \"a\": did not start: was not initialised"),
            0);
  EXPECT_EQ(run_beside_a_bystander("[global]\nstuck_timeout=200ms\n[a]\nrate_iops=1000\n"
                                   "runtime=300ms\ndrain_time=50ms\n",
                                   signal_in(JobState::running, 0, SIGSTOP),
                                   "job \"a\": is stuck: still running"),
            0);
}

TEST(RunEnds, AReceiverIsNotStuckAsLongAsSomebodyIsToSendToIt) {
  // Its own runtime would have ended long before.
  const RunResult result = run_text(
      "[global]\nstuck_timeout=1\nruntime=100ms\ndrain_time=50ms\nrate_iops=1000\n"
      "[rx]\nrw=rx\n[a]\nto=rx\nstart_delay=800ms\n[b]\nstonewall\nto=rx\nstart_delay=800ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "rx").flows.size(), 2U);
}

TEST(RunEnds, AJobThatHangsAtItsStartKeepsEvenOthersFromBeginning) {
  const RunResult result = run_text(
      "[global]\nengine=null\nrw=txrx\nstartup_timeout=1500ms\n[a]\nruntime=20\n"
      "[b]\nnumber_ios=10\nexec_prerun=sleep 20\n");
  EXPECT_TRUE(failed(result, "job \"b\": did not start: was not initialised after 1.5 s"));
  EXPECT_EQ(job_of(result, "a").tx.frames, 0U);
}

/// How long a run goes on that is stopped `stops` times when its first job is in that state.
std::chrono::nanoseconds stopped_in(JobState state, int stops, const std::string& text,
                                    RunResult& result) {
  std::chrono::steady_clock::time_point begin;
  result = test::run_stopped(text, SIGINT, stops, [&](const RunProgress& progress) {
    begin = std::chrono::steady_clock::now();
    return progress.jobs[0].state == state;
  });
  return std::chrono::steady_clock::now() - begin;
}

TEST(RunEnds, AStopReachesTheCommandsOfThreadsToo) {
  const std::string job = "[a]\nengine=unix\nthread\nnumber_ios=10\ndrain_time=50ms\n";
  RunResult result;
  EXPECT_LT(stopped_in(JobState::created, 1, job + "exec_prerun=sleep 600\n", result), 60s);
  EXPECT_TRUE(passed(result)) << "a job that was stopped before it began has not failed";
  EXPECT_LT(stopped_in(JobState::finishing, 2, job + "exec_postrun=sleep 600\n", result), 60s);
  EXPECT_TRUE(failed(result, "sleep did not end in time, and was killed"));
  EXPECT_EQ(flow_to(result, "a.sink").received, 10U);
}

TEST(RunEnds, AStopReachesJobsThatWaitForOthersOrForFrames) {
  const RunResult result =
      test::run_stopped(kLong +
                            "runtime=300\n[a]\n[slow]\nengine=unix\nrate_iops=1\n"
                            "[later]\nwait_for=a\n[thread]\nthread\nengine=udp\n",
                        SIGTERM, 1, [](const auto& run) { return run.jobs[1].rx_frames >= 50; });
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(result.stopped_by_signal, SIGTERM);
  EXPECT_EQ(job_of(result, "later").tx.frames, 0U);
  EXPECT_FALSE(job_of(result, "later").passed) << "it never ran";
}

TEST(RunEnds, WhatTheSystemRefusesToForkIsAFailedStartThatIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  Child user([] {
    constexpr unsigned kNobodyElse = 64113;
    const rlimit few{.rlim_cur = 3, .rlim_max = 3};
    if (::setrlimit(RLIMIT_NPROC, &few) != 0 || ::setgid(kNobodyElse) != 0 ||
        ::setuid(kNobodyElse) != 0) {
      return 1;
    }
    const RunResult result = run_text(kLong + "[a]\nengine=unix\nnumjobs=4\n");
    if (!failed(result, "did not start: cannot start a process")) return 2;
    if (!failed(result, "ulimit -u")) return 3;
    for (const JobResult& job : result.jobs) {
      if (job.tx.frames != 0) return 4;
    }
    return ::waitpid(-1, nullptr, 0) < 0 && errno == ECHILD ? 0 : 5;
  });
  EXPECT_EQ(user.wait(), 0);
}

TEST(RunEnds, AKilledControllerLeavesNoJobBehind) {
  // Whoever loses its parent becomes a child of this process, so that none goes unseen.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  const test::TempDir dir;
  // Of its own: what a killed run has made, nobody takes away.
  const test::TempBus bus;
  // Longer than this test waits, so that none ends by itself.
  std::string jobs =
      "[global]\nrate_iops=1000\nruntime=60\ndrain_time=50ms\naux-path=" + dir.path() +
      "\nbus=" + bus.path() + "\n[a]\nnumjobs=2\n[thread]\nthread\n[host]\nengine=host\n";
  if (::geteuid() == 0) jobs += "[user]\nengine=unix\nuid=65534\ngid=65534\n";
  const std::ptrdiff_t at_once = ::geteuid() == 0 ? 5 : 4;
  jobs += "[waits]\nwait_for=a\n[starts]\nstonewall\n";
  const Shared<std::atomic<bool>> at_work;
  Child controller([&] {
    run_text(jobs, [&](const RunProgress& progress) {
      const auto moves = [](const JobProgress& job) { return job.tx_frames > 10; };
      if (std::ranges::count_if(progress.jobs, moves) >= at_once) *at_work = true;
    });
    return 0;
  });
  ASSERT_TRUE(test::eventually([&] { return at_work->load(); }));
  EXPECT_EQ(controller.kill_and_wait(), 128 + SIGKILL);
  EXPECT_TRUE(test::eventually([] {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return errno == ECHILD;
  })) << "a job or something that it started still lives";
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

// ---- What must fail a run ----

/// A pair over a bus that would run for long.
std::vector<PlannedJob> long_pair(Role role = Role::tx) {
  auto plan = pair(role, EngineKind::bus);
  plan[0].options.rate_fps.tx = 1000;
  plan[0].options.runtime = 30s;
  plan[0].options.drain_time = 100ms;
  return plan;
}

RunOptions stuck_after(std::chrono::nanoseconds time) {
  RunOptions options;
  options.stuck_timeout = time;
  return options;
}

RunOptions going_on() {
  RunOptions options;
  options.continue_on_start_error = true;
  return options;
}

TEST(RunFailure, AKilledSenderFailsTheRunAndItsFramesAreStillCounted) {
  const RunResult result = run(long_pair(), {}, signal_in(JobState::running, 0, SIGKILL));
  EXPECT_TRUE(failed(result, "job \"first\": was killed by signal 9"));
  EXPECT_EQ(result.jobs[0].exit_signal, SIGKILL);
  const FlowResult& flow = result.jobs[1].flows[0];
  EXPECT_GT(flow.received, 0U);
  EXPECT_EQ(flow.received, flow.sent);
  EXPECT_TRUE(result.jobs[1].passed);
  // What it could not tell any more is not known, and not 0.
  EXPECT_FALSE(result.jobs[0].cpu);
  EXPECT_FALSE(result.jobs[0].runtime_seconds);
}

TEST(RunFailure, WhoEchoesEndsWithAKilledOneWhoAsked) {
  const RunResult result =
      run(long_pair(Role::pingpong), stuck_after(5s), signal_in(JobState::running, 0, SIGKILL));
  EXPECT_TRUE(failed(result, "job \"first\": was killed by signal 9"));
  EXPECT_TRUE(result.jobs[1].passed) << testing::PrintToString(result.jobs[1].errors);
}

TEST(RunFailure, AKilledReceiverFailsTheRunAndItsFramesAreStillCounted) {
  const RunResult result = run(long_pair(), {}, signal_in(JobState::running, 1, SIGKILL));
  EXPECT_TRUE(failed(result, "job \"second\": was killed by signal 9"));
  EXPECT_GT(result.jobs[1].flows[0].received, 0U);
  // Whoever sent to it is stopped: nothing of it can be verified any more.
  EXPECT_TRUE(result.jobs[0].passed);
  EXPECT_LT(result.jobs[0].tx.frames, 30000U);
}

TEST(RunFailure, WithContinueOnStartErrorTheOthersRun) {
  auto plan = long_pair();
  plan[0].options.number_ios = 100;
  plan.push_back(test::job("third", Role::tx, EngineKind::bus));
  plan[2].options.exec_prerun = {"false"};
  plan[2].to = 1;
  const RunResult result = run(plan, going_on());
  EXPECT_TRUE(failed(result, "job \"third\": did not start"));
  EXPECT_EQ(result.jobs[1].flows[0].received, 100U);
}

TEST(RunMinimumRate, ATotalStallOfTheSenderTripsIt) {
  auto plan = long_pair();
  plan[0].options.rate_min_fps.tx = 1;
  plan[0].options.rate_settle = 100ms;
  plan[0].options.rate_cycle = 200ms;
  const RunResult result = run(plan, stuck_after(200ms), signal_in(JobState::running, 0, SIGSTOP));
  EXPECT_TRUE(
      failed(result, "job \"first\": tx: wanted at least 1 frames/s (rate_iops_min), got 0"));
  EXPECT_TRUE(failed(result, "job \"first\": is stuck"));
}

TEST(RunFailure, AReceiverBelowItsMinimumEndsThoseThatSendToItToo) {
  auto plan = long_pair();
  plan[1].options.rate_min_fps.rx = 1'000'000;
  plan[1].options.rate_settle = 100ms;
  plan[1].options.rate_cycle = 100ms;
  const RunResult result = run(plan);
  EXPECT_TRUE(
      failed(result, "job \"second\": rx: wanted at least 1000000 frames/s (rate_iops_min), "));
  EXPECT_GT(result.jobs.at(0).tx.frames, 0U);
  EXPECT_LT(result.jobs.at(0).tx.frames, 30000U);
}

TEST(RunStop, ASecondStopEndsAJobThatDoesNotListen) {
  auto stop = signal_in(JobState::running, 1, SIGSTOP);
  const RunResult result = test::run_stopped(kLong + "[a]\n", SIGINT, 2, [&](const auto& progress) {
    stop(progress);
    return progress.jobs[0].tx_frames >= 300;
  });
  EXPECT_TRUE(failed(result, "job \"a.sink\": did not end within a second of a hard stop"));
}

TEST(RunOrder, AJobThatStoodStillFromTheStartToTheStopReceivesAllThatWasSentToIt) {
  auto plan = long_pair();
  plan.push_back(test::job("third", Role::tx, EngineKind::unix_pair));
  plan.push_back(test::job("fourth", Role::rx, EngineKind::unix_pair));
  plan[2].to = 3;
  plan[2].options.number_ios = 10;
  plan[2].options.exitall = true;
  plan[0].options.drain_time = 10s;  // a busy machine lets it go on later
  const test::TempDir aux;
  RunOptions options;
  options.aux_path = aux.path();
  RunControl control;
  control.start_at_ns = RunControl::kHeld;
  enum class Step { ready, started, stopped, continued } step = Step::ready;
  test::Meddler meddler([&](const RunProgress& progress) {
    if (step == Step::ready && control.ready) {
      test::send_signal(progress.jobs[1], SIGSTOP);
      control.start_at_ns = 0;
      step = Step::started;
    } else if (step == Step::started && progress.jobs[2].state == JobState::reaped) {
      step = Step::stopped;  // by the next look at the latest
    } else if (step == Step::stopped) {
      test::send_signal(progress.jobs[1], SIGCONT);
      step = Step::continued;
    }
  });
  const RunResult result = Runner::create(options, std::move(plan)).value()->run(&meddler, control);
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(step, Step::continued);
  const FlowResult& flow = result.jobs[1].flows[0];
  EXPECT_GT(flow.sent, 0U);
  EXPECT_EQ(flow.received, flow.sent);
}

}  // namespace

// Runs come to their end, whatever keeps one of their jobs, and what they say then adds up.

namespace {

/// A record of 2000 frames at `path`.
void make_record(const std::string& path) {
  ASSERT_TRUE(passed(
      run_text("[j]\nengine=unix\nrate_iops=20k\nnumber_ios=2000\nwrite_pcap=" + path + '\n')));
}

TEST(RunFinish, ConnectionsOfHostsThatSendBothWaysEndInOrder) {
  // Whoever is first to have all closes the connection that the other still looks at.
  const std::string hosts = "engine=host\nproto=tcp\nruntime=300ms\nbs=512\n";
  for (const char* const role : {"rw=pingpong\n", "rw=txrx\nrate_iops=2000\n"}) {
    const RunResult result = run_text("[j]\n" + hosts + role);
    EXPECT_TRUE(passed(result)) << role;
    EXPECT_EQ(flow_to(result, "j").lost, 0U) << role;
  }
}

TEST(RunFinish, AnEndlessReplayFlatOutStopsWhenToldTo) {
  const test::TempDir dir;
  make_record(dir.file("r"));
  const RunResult result = run_text(
      "[global]\ntrigger-timeout=200ms\n[j]\nruntime=60\ntime_based\nreplay_no_stall\n"
      "replay=" +
      dir.file("r") + '\n');
  EXPECT_TRUE(passed(result));
  EXPECT_LT(job_of(result, "j").tx.seconds, 30);
  EXPECT_EQ(job_of(result, "j").tx.offered_frames, job_of(result, "j").tx.frames)
      << "flat out asks for nothing that did not go";
}

TEST(RunFinish, JobsWithWeightsDoNotWaitForOneThatWaitsForThem) {
  const std::string job = "rw=tx\nengine=unix\nflow=1\nnumber_ios=1000\n";
  const RunResult result = run_text("[a]\n" + job + "[b]\nstonewall\n" + job + "[c]\n" + job);
  EXPECT_TRUE(passed(result));
  for (const char* const sink : {"a.sink", "b.sink", "c.sink"}) {
    EXPECT_EQ(flow_to(result, sink).received, 1000U) << sink;
  }
}

TEST(RunFinish, ABackgroundJobEndsWithTheLastJobThoughThatNeverStarted) {
  const RunResult result = run_text(
      "[global]\ncontinue_on_start_error\nstartup_timeout=300ms\n"
      "[noise]\nengine=unix\nbackground\nrate_iops=100\ndrain_time=50ms\n"
      "[j]\nengine=null\nrw=txrx\nnumber_ios=10\nexec_prerun=sleep 5\n");
  EXPECT_TRUE(failed(result, "job \"j\": did not start"));
  EXPECT_LT(job_of(result, "noise").tx.seconds, 30);
}

TEST(RunFinish, WhatWentIntoALinkWithFaultsIsWhatCameOutWasDroppedOrIsUnderWay) {
  // Each link passes on a hundred frames a second, and its queue has room for 300.
  const std::string faults = "=rate=80kbit,loss=10%,duplicate=20%,seed=5,queue=300\n";
  const RunResult result = run_text(
      "[global]\nbs=100\nrate_iops=5000\nnumber_ios=500\ndrain_time=20ms\n"
      "[j]\nrw=tx\nfault" +
      faults + "[to_k]\nrw=tx\nto=k\n[k]\nrw=rx\nfault_rx" + faults);
  EXPECT_TRUE(passed(result));
  const auto came_out = [&](std::size_t link) {
    const FaultsMade& made = result.links.at(link).faults;
    EXPECT_GT(made.lost, 0U);
    EXPECT_GT(made.duplicated, 0U);
    EXPECT_GT(made.queue_full, 0U);
    EXPECT_GT(made.under_way, 0U);
    return made.frames + made.duplicated - made.lost - made.queue_full - made.under_way;
  };
  EXPECT_EQ(came_out(0), job_of(result, "j").counts.wire.tx_frames);
  EXPECT_EQ(came_out(1), job_of(result, "k").counts.receiver_rx);
  EXPECT_EQ(result.links[1].faults.frames, job_of(result, "k").counts.wire.rx_frames);
}

TEST(RunFinish, WhatTheRampSkipsWasNotOffered) {
  bool frozen = false;
  const RunResult result = run_text(
      "[j]\nengine=unix\nrate_iops=1000\nrate_catchup=skip\nramp_time=600ms\nruntime=500ms\n"
      "drain_time=50ms\n",
      [&](const RunProgress& progress) {
        const JobProgress& sender = progress.jobs[0];
        if (frozen || sender.pid == 0 || sender.state != JobState::ramp) return;
        frozen = true;
        test::freeze(sender, std::chrono::milliseconds(200));
      });
  EXPECT_TRUE(passed(result));
  EXPECT_TRUE(frozen);
  EXPECT_EQ(job_of(result, "j").tx.offered_frames, 500U);
  EXPECT_LT(job_of(result, "j").tx.ramp_frames, 550U);
}

// ---- Triggers ----

class RunTrigger : public testing::Test {
 protected:
  /// A run that would last for long, with such a trigger.
  RunResult run(const std::string& trigger, const test::Meddler::Deed& deed = [](const auto&) {}) {
    JobSet set = test::set_of("[global]\naux-path=" + dir_.path() +
                              "\ntrigger=sh -c \"echo ran >>" + ran() + "\"\n" + trigger +
                              "\nrate_iops=1000\nruntime=20\ndrain_time=50ms\n"
                              "[a]\n[b]\nengine=unix\n");
    set.run.allow_exec = allow_exec_;
    return test::run(expand(set).value(), set.run, deed);
  }
  std::string ran() const { return dir_.file("ran"); }
  std::string text_of(const std::string& path) const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void expect_fired(const RunResult& result, const std::string& why) {
    EXPECT_TRUE(passed(result));
    EXPECT_TRUE(std::ranges::any_of(result.warnings, [&](const std::string& text) {
      return text.find(why) != std::string::npos;
    })) << why;
    EXPECT_EQ(text_of(ran()), "ran\n") << "once";
    for (const char* job : {"a", "b"}) {
      EXPECT_LT(job_of(result, job).tx.seconds, 15) << job;
      EXPECT_EQ(flow_to(result, job + std::string(".sink")).lost, 0U) << "it was drained";
      EXPECT_TRUE(std::filesystem::exists(verify_state_path(dir_.path(), job))) << job;
    }
  }

  test::TempDir dir_;
  bool allow_exec_ = true;
};

TEST_F(RunTrigger, FiresWhenAFileAppearsAndTakesItAway) {
  const std::string file = dir_.file("now");
  bool made = false;
  const RunResult result = run("trigger-file=" + file, [&](const RunProgress& progress) {
    if (made || progress.jobs[1].rx_frames < 50) return;
    made = true;
    std::ofstream{file};
  });
  expect_fired(result, "file " + file + " appeared");
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(RunTrigger, FiresWhenItsTimeHasPassed) {
  const RunResult result = run("trigger-timeout=300ms");
  expect_fired(result, "trigger-timeout has passed");
  EXPECT_GE(job_of(result, "a").tx.offered_frames, 200U);
}

TEST_F(RunTrigger, FiresWhenAFrameMatches) {
  expect_fired(run("trigger-match=ether proto 0x88b5 and ether[30:4] = 0x64000000"),
               "a frame matched");
}

TEST_F(RunTrigger, OneSignalEndsTheRunAndNotItsCommand) {
  class Signals final : public RunObserver {
   public:
    RunControl control;
    void on_trigger(const std::string&) override {
      control.signal = SIGINT;
      control.stops = 1;
    }
    void on_progress(const RunProgress&) override {}
    void on_interval(const RunProgress&) override {}
  };
  const JobSet set =
      test::set_of("[global]\ntrigger-timeout=20ms\ntrigger=sh -c \"echo ran >>" + ran() +
                   "\"\naux-path=" + dir_.path() +
                   "\n[a]\nengine=unix\nrate_iops=1000\nruntime=20\ndrain_time=10ms\n");
  Signals signals;
  const RunResult result =
      Runner::create(set.run, expand(set).value()).value()->run(&signals, signals.control);
  EXPECT_TRUE(result.trigger_fired);
  EXPECT_EQ(result.stopped_by_signal, SIGINT);
  EXPECT_TRUE(result.failures.empty()) << result.failures.front();
  EXPECT_EQ(text_of(ran()), "ran\n");
}

TEST_F(RunTrigger, ACommandThatFailsFailsTheRun) {
  const JobSet set = test::set_of(
      "[global]\ntrigger-timeout=50ms\ntrigger=false\n[a]\nrate_iops=1000\nruntime=20\n");
  EXPECT_TRUE(failed(test::run(expand(set).value(), set.run),
                     "the trigger's command: false ended with status 1"));
}

TEST_F(RunTrigger, AServerRunsNoCommandUnlessItWasToldTo) {
  allow_exec_ = false;
  const RunResult result = run("trigger-timeout=50ms");
  EXPECT_TRUE(failed(result, "--allow-exec"));
  EXPECT_FALSE(std::filesystem::exists(ran()));
}

TEST_F(RunTrigger, AFilterThatIsNoneIsAnErrorOfTheStart) {
  const RunResult result = run("trigger-match=no such filter");
  EXPECT_TRUE(failed(result, "did not start"));
  EXPECT_TRUE(failed(result, "no such filter"));
}

}  // namespace

}  // namespace shmif::perf
