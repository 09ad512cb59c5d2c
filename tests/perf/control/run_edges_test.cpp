// What a run does seldom, or a second time: outputs that cannot be written, captures that are not
// whole, several runs as one.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "perf/control/campaign.hpp"
#include "perf/control/harness_limit.hpp"
#include "perf/control/interval_log.hpp"
#include "perf/control/trigger.hpp"
#include "perf/plan/curve_interval.hpp"
#include "perf/worker/command.hpp"
#include "perf/worker/frame_source.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::run_edges {
namespace {

using Words = std::vector<std::string>;

// ---- Logs ----

/// A job with every kind of log.
PlannedJob logged_job() {
  PlannedJob job;
  job.options.name = "a";
  job.options.write_bw_log = job.options.write_iops_log = "rates";
  job.options.write_lat_log = job.options.write_hist_log = "times";
  return job;
}

const std::array<const char*, 4> kLogNames{"rates_bw.a.log", "rates_iops.a.log", "times_lat.a.log",
                                           "times_clat_hist.a.log"};

/// How many descriptors of this process lead into `folder`, and how many of them programs inherit.
std::pair<int, int> descriptors_into(const std::string& folder) {
  int all = 0;
  int inherited = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (error || !target.string().starts_with(folder)) continue;
    ++all;
    const int flags = ::fcntl(std::stoi(entry.path().filename()), F_GETFD);
    if ((flags & FD_CLOEXEC) == 0) ++inherited;
  }
  return {all, inherited};
}

TEST(LogsOfARun, AreOfNoConcernToTheProgramsThatItStarts) {
  const test::TempDir dir;
  RunOptions options;
  options.aux_path = dir.path();
  const std::vector<PlannedJob> plan{logged_job()};
  {
    auto logs = IntervalLogs::open(plan, options).value();
    EXPECT_EQ(descriptors_into(dir.path()), std::pair(4, 0));
    EXPECT_EQ(logs->finish(), Words{});
    EXPECT_EQ(descriptors_into(dir.path()).first, 0) << "they are closed";
  }
  // The last one cannot be made: those before it are not left open.
  const test::TempDir other;
  options.aux_path = other.path();
  std::filesystem::create_directory(other.file(kLogNames[3]));
  EXPECT_FALSE(IntervalLogs::open(plan, options));
  EXPECT_EQ(descriptors_into(other.path()).first, 0);
}

TEST(LogsOfARun, ThatHaveNoFolderSayWhatToDo) {
  const test::TempDir dir;
  RunOptions options;
  options.aux_path = dir.file("none");
  const std::vector<PlannedJob> plan{logged_job()};
  const auto logs = IntervalLogs::open(plan, options);
  ASSERT_FALSE(logs);
  EXPECT_EQ(logs.error().message, "job \"a\": cannot make the log " + dir.file("none") +
                                      "/rates_bw.a.log: No such file or directory (make the "
                                      "directory, or name another one with --aux-path)");
}

TEST(LogsOfARun, AreNotThoseOfTwoJobs) {
  const test::TempDir dir;
  RunOptions options;
  options.aux_path = dir.path();
  std::vector<PlannedJob> plan{logged_job(), logged_job()};
  plan[0].options.name = "a/b";
  plan[1].options.name = "a_b";
  const auto logs = IntervalLogs::open(plan, options);
  ASSERT_FALSE(logs);
  EXPECT_EQ(logs.error().message,
            "job \"a_b\": the log " + dir.file("rates_bw.a_b.log") +
                " is already that of job \"a/b\" (rename a job, or give it another prefix)");
  plan[1].options.write_bw_log = plan[1].options.write_iops_log = {};
  plan[1].options.write_lat_log = {};
  EXPECT_FALSE(IntervalLogs::open(plan, options)) << "nor is one of latencies";
  plan[1].options.name = "a_c";
  EXPECT_TRUE(IntervalLogs::open(plan, options));
}

TEST(LogsOfARun, OnAFullDiskAreEachNamedOnceAtTheEnd) {
  const test::TempDir dir;
  for (const char* const name : kLogNames) {
    std::filesystem::create_symlink("/dev/full", dir.file(name));
  }
  RunOptions options;
  options.aux_path = dir.path();
  const std::vector<PlannedJob> plan{logged_job()};
  auto logs = IntervalLogs::open(plan, options).value();
  const auto latencies = std::make_unique<HistogramBlock>();
  (*latencies)[7] = 3;
  IntervalResult interval;
  interval.seconds = 60;
  interval.latency_count = 3;
  interval.latency_mean_ns = 7;
  for (int i = 1; i <= 3; ++i) {
    interval.at_seconds = 60 * i;
    logs->add(0, interval, 0, latencies.get());
  }
  Words wanted;
  for (const char* const name : kLogNames) {
    wanted.push_back("the log " + dir.file(name) + " is not complete: No space left on device");
  }
  EXPECT_EQ(logs->finish(), wanted);
}

TEST(LogsOfARun, OfWhoHasBothKindsGoByTheShorterOfTheirTimes) {
  for (const auto& [rates, histograms] : {std::pair{200, 800}, {800, 200}}) {
    JobOptions job = logged_job().options;
    job.log_avg = std::chrono::milliseconds(rates);
    job.log_hist = std::chrono::milliseconds(histograms);
    const auto of = [&job](std::uint64_t curve_ns) {
      return interval_of(job, std::chrono::nanoseconds(curve_ns)).count();
    };
    EXPECT_EQ(of(1'000'000'000), 200'000'000);
    EXPECT_EQ(of(199'999'999), 100'000'000);
    EXPECT_EQ(of(200'000'000), 200'000'000);
  }
}

TEST(LogsOfARun, HaveALineForEachOfTheirTimesThoughIntervalsEndALittleLate) {
  const test::TempDir dir;
  RunOptions options;
  options.aux_path = dir.path();
  std::vector<PlannedJob> plan{logged_job()};
  plan[0].options.log_avg = plan[0].options.log_hist = std::chrono::milliseconds(200);
  plan[0].options.log_hist_coarseness = 11;  // all of them in one
  auto logs = IntervalLogs::open(plan, options).value();
  const auto latencies = std::make_unique<HistogramBlock>();
  IntervalResult interval;
  for (int i = 1; i <= 10; ++i) {
    interval.seconds = i == 1 ? 0.10001 : 0.1;
    interval.at_seconds = i / 10.0 + 0.00001;
    interval.tx_frames = static_cast<std::uint64_t>(i);
    interval.rx_frames = 1;
    interval.rx_bytes = static_cast<std::uint64_t>(100 * i);
    interval.latency_count = static_cast<std::uint64_t>(i);
    (*latencies)[7] = static_cast<std::uint32_t>(i);
    logs->add(0, interval, 0, latencies.get());
  }
  EXPECT_EQ(logs->finish(), Words{});
  const auto lines = [&](const char* name) {
    std::ifstream file(dir.file(name));
    Words all;
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  };
  EXPECT_EQ(lines("rates_iops.a.log"),
            (Words{"200, 15, 1, 0, 0", "400, 35, 1, 0, 0", "600, 55, 1, 0, 0", "800, 75, 1, 0, 0",
                   "1000, 95, 1, 0, 0"}));
  EXPECT_EQ(lines("times_clat_hist.a.log"),
            (Words{"200, 0, 150, 3", "400, 0, 350, 7", "600, 0, 550, 11", "800, 0, 750, 15",
                   "1000, 0, 950, 19"}));
}

// ---- Captures ----

/// A file of pcap(5) with so many frames that are whole, cut short, and too short for any frame.
std::string capture_of(const test::TempDir& dir, int whole, int cut, int runts) {
  const std::string path = dir.file("capture.pcap");
  std::ofstream file(path, std::ios::binary);
  const auto put = [&](std::initializer_list<std::uint32_t> words) {
    for (const std::uint32_t word : words) {
      file.write(reinterpret_cast<const char*>(&word), sizeof word);
    }
  };
  put({0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1});
  const auto record = [&](std::uint32_t kept, std::uint32_t length) {
    put({1'700'000'000, 0, kept, length});
    file << std::string(kept, 'f');
  };
  for (int i = 0; i < whole; ++i) record(60, 60);
  for (int i = 0; i < cut; ++i) record(60, 1514);
  for (int i = 0; i < runts; ++i) record(5, 5);
  return path;
}

TEST(ReplayWarning, CountsWhatOfACaptureIsNotWhole) {
  struct Case {
    int cut, runts;
    const char* text;
  };
  for (
      const Case& c :
      {Case{0, 0, ""},
       {1, 0, "1 frame of the capture was cut short when it was recorded, and is sent as it is"},
       {2, 0,
        "2 frames of the capture were cut short when they were recorded, and are sent as they are"},
       {0, 1, "1 record of the capture is too short for a frame, and is left out"},
       {0, 2, "2 records of the capture are too short for frames, and are left out"},
       {2, 1,
        "2 frames of the capture were cut short when they were recorded, and are sent as they are; "
        "1 record of the capture is too short for a frame, and is left out"}}) {
    const test::TempDir dir;
    JobOptions job;
    job.replay = capture_of(dir, 3, c.cut, c.runts);
    EXPECT_EQ(make_replay_source(job).value()->warning(), c.text);
  }
}

TEST(ReplayWarning, TellsOfFramesThatAreTooLongForTheWireAndWhichWireHasRoom) {
  const test::TempDir dir;
  JobOptions job;
  job.replay = dir.file("long.pcap");
  const auto write = [&](std::initializer_list<std::size_t> sizes) {
    std::filesystem::remove(job.replay);
    auto writer = PcapWriter::create(job.replay).value();
    for (const std::size_t size : sizes) {
      const std::vector<std::byte> bytes(size);
      const FrameView frame{std::span<const std::byte>(bytes)};
      ASSERT_EQ(writer.send({&frame, 1}).taken, 1U);
    }
  };
  const auto sizes_of = [](FrameSource& source) {
    source.begin(1, FrameSource::kNever, 1);
    std::array<FrameSource::Slot, 8> slots{};
    std::vector<std::uint32_t> sizes;
    for (std::size_t i = 0, taken = source.take(1'000'000'000, slots); i < taken; ++i) {
      sizes.push_back(slots[i].bytes);
    }
    return sizes;
  };
  write({100, 1515, 1514});
  auto one = make_replay_source(job, 1514).value();
  EXPECT_EQ(one->warning(),
            "1 frame of the capture is longer than the 1514 bytes that the wire carries (mtu=1501 "
            "has room), and is left out");
  EXPECT_EQ(one->max_bytes(), 1514U);
  EXPECT_EQ(sizes_of(*one), (std::vector<std::uint32_t>{100, 1514}));

  write({9000, 100, 1515});
  job.replay_no_stall = true;
  auto two = make_replay_source(job, 1514).value();
  EXPECT_EQ(two->warning(),
            "2 frames of the capture are longer than the 1514 bytes that the wire carries "
            "(mtu=8986 has room), and are left out");
  EXPECT_EQ(sizes_of(*two), std::vector<std::uint32_t>{100});
  EXPECT_EQ(make_replay_source(job, 9000).value()->warning(), "");

  write({9000});
  const auto none = make_replay_source(job, 8999);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::frame_too_long);
  EXPECT_EQ(none.error().message,
            "cannot replay \"" + job.replay +
                "\": 1 frame of the capture is longer than the 8999 bytes that the wire carries "
                "(mtu=8986 has room)");
}

/// A capture of two frames with that pause between them.
std::string capture_with_pause(const test::TempDir& dir, std::uint32_t seconds) {
  const std::string path = dir.file("pause.pcap");
  std::ofstream file(path, std::ios::binary);
  const auto put = [&](std::initializer_list<std::uint32_t> words) {
    for (const std::uint32_t word : words) {
      file.write(reinterpret_cast<const char*>(&word), sizeof word);
    }
  };
  put({0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1});
  for (const std::uint32_t at : {0U, seconds}) {
    put({1'700'000'000 + at, 0, 60, 60});
    file << std::string(60, 'f');
  }
  return path;
}

TEST(ReplayNotice, TellsOfAPauseOfMoreThanAMinute) {
  const test::TempDir dir;
  JobOptions job;
  const auto notice = [&](std::uint32_t seconds) {
    job.replay = capture_with_pause(dir, seconds);
    return make_replay_source(job).value()->notice();
  };
  EXPECT_EQ(notice(60), "");
  EXPECT_EQ(notice(61),
            "the longest pause of the capture takes 1 minute (replay_max_gap=1 cuts it to a "
            "second)");
  EXPECT_EQ(notice(120),
            "the longest pause of the capture takes 2 minutes (replay_max_gap=1 cuts it to a "
            "second)");
  job.replay_time_scale = 0.5;
  EXPECT_EQ(notice(120), "");
  job.replay_time_scale = 1;
  job.replay_max_gap = std::chrono::seconds(30);
  EXPECT_EQ(notice(3600), "");
  job.replay_max_gap = {};
  job.rate_fps.tx = 10;
  EXPECT_EQ(notice(3600), "") << "it has a rate of its own";
}

// ---- Triggers ----

TEST(TriggerFile, ThatCannotBeRemovedSaysSo) {
  const test::TempDir dir;
  RunOptions options;
  options.trigger_file = dir.file("stop");
  std::filesystem::create_directory(options.trigger_file);
  Trigger trigger(options);
  EXPECT_EQ(trigger.check(0, false),
            "file " + options.trigger_file + " appeared (but could not be removed)");
  EXPECT_EQ(trigger.check(0, false), std::nullopt) << "it fires once";
}

// ---- Repetitions ----

/// A run with that rate, and messages of its own besides one that each has.
RunResult run_of(std::uint64_t frames, const std::string& name) {
  RunResult run;
  JobResult& job = run.jobs.emplace_back();
  job.name = "a";
  job.tx.frames = frames;
  job.tx.seconds = 1;
  job.latency = job.service = job.spacing_error = std::make_shared<LatencyHistogram>();
  job.intervals.resize(3);
  run.groups.emplace_back().name = name;
  run.warnings = {"each", name};
  run.failures = {"failure of " + name};
  run.lost_outputs = {"output of " + name};
  return run;
}

TEST(RunsAsOne, KeepTheMessagesOfEachAndTheGroupsForMedians) {
  std::vector<RunResult> runs;
  runs.push_back(run_of(100, "slow"));
  runs.push_back(run_of(300, "fast"));
  runs.push_back(run_of(200, "middle"));
  const RunResult all = all_of_repetitions(std::move(runs));
  EXPECT_EQ(all.shown_run, 2U);
  EXPECT_EQ(all.jobs.at(0).intervals.size(), 3U);
  EXPECT_EQ(all.warnings, (Words{"each", "middle", "slow", "fast"}));
  EXPECT_EQ(all.failures, (Words{"failure of middle", "failure of slow", "failure of fast"}));
  EXPECT_EQ(all.lost_outputs, (Words{"output of middle", "output of slow", "output of fast"}));
  ASSERT_EQ(all.repetitions.size(), 3U);
  Words groups;
  for (const RunResult& run : all.repetitions) {
    EXPECT_TRUE(run.jobs.at(0).intervals.empty()) << "no median is made of them";
    for (const GroupResult& group : run.groups) groups.push_back(group.name);
  }
  EXPECT_EQ(groups, (Words{"slow", "fast", "middle"}));
}

/// What held the jobs of a run back, that somebody looked at so often for so long.
RunCauses causes_of(std::size_t looks, double seconds, double own_share, double share) {
  RunCauses causes;
  causes.why_unknown.clear();
  causes.looks = looks;
  causes.seconds = seconds;
  causes.own_share = own_share;
  Cause& cause = causes.causes.emplace_back();
  cause.share = share;
  cause.end_s = 1;
  return causes;
}

TEST(RunsAsOne, HaveTheCausesOfAllTheHeaviestFirst) {
  RunCauses all;
  add_causes(all, causes_of(3, 1, 0.5, 0.2));
  EXPECT_EQ(all.why_unknown, "") << "it was of none before";
  RunCauses second = causes_of(4, 3, 0.1, 0.6);
  second.missing = {{.source = "x", .reason = "a"}, {.source = "y", .reason = "b"}};
  add_causes(all, std::move(second));
  RunCauses third = causes_of(5, 4, 0.4, 0.4);
  third.missing = {{.source = "y", .reason = "c"}, {.source = "z", .reason = "d"}};
  add_causes(all, std::move(third));
  EXPECT_EQ(all.looks, 12U);
  EXPECT_EQ(all.seconds, 8);
  EXPECT_DOUBLE_EQ(all.own_share, (0.5 + 3 * 0.1 + 4 * 0.4) / 8);
  std::vector<double> shares;
  for (const Cause& cause : all.causes) shares.push_back(cause.share);
  EXPECT_EQ(shares, (std::vector<double>{0.6, 0.4, 0.2}));
  Words missing;
  for (const MissingSource& each : all.missing) missing.push_back(each.source + ' ' + each.reason);
  EXPECT_EQ(missing, (Words{"x a", "y b", "z d"})) << "each once, with its first reason";
}

TEST(RunsAsOne, HaveUnknownCausesOnlyIfNoneWasWatched) {
  RunCauses all;
  RunCauses unknown;
  unknown.why_unknown = "no job began";
  add_causes(all, RunCauses(unknown));
  EXPECT_EQ(all.why_unknown, "no job began");
  add_causes(all, causes_of(3, 1, 0.5, 0.2));
  EXPECT_EQ(all.why_unknown, "");
  add_causes(all, RunCauses(unknown));
  EXPECT_EQ(all.why_unknown, "");
  EXPECT_EQ(all.looks, 3U);
  EXPECT_EQ(all.own_share, 0.5);
}

TEST(RunsAsOne, HaveEachKindOfWarningOfEachJobOnce) {
  RunResult all = run_of(100, "a");
  all.warnings = {"a.1: late 3 times in 0.2 s"};
  RunResult more = run_of(100, "b");
  more.warnings = {"a.1: late 4,711 times in 1.25 s", "a.2: late 3 times in 0.2 s", "a.1: lost 3"};
  more.lost_outputs = {"output of a", "output of b"};
  keep_messages(all, std::move(more));
  EXPECT_EQ(all.warnings,
            (Words{"a.1: late 3 times in 0.2 s", "a.2: late 3 times in 0.2 s", "a.1: lost 3"}));
  EXPECT_EQ(all.lost_outputs, (Words{"output of a", "output of b"}));
}

TEST(RunsAsOne, KeepTheMessagesOfThoseBeforeAndBehindTheOneThatIsShown) {
  std::vector<RunResult> runs;
  runs.push_back(run_of(100, "slow"));
  runs.push_back(run_of(200, "middle"));
  runs.push_back(run_of(300, "fast"));
  const RunResult all = all_of_repetitions(std::move(runs));
  EXPECT_EQ(all.shown_run, 1U);
  EXPECT_EQ(all.warnings, (Words{"each", "middle", "slow", "fast"}));
  EXPECT_EQ(all.failures, (Words{"failure of middle", "failure of slow", "failure of fast"}));
}

TEST(RunsAsOne, OfAnEvenNumberShowTheUpperOfTheTwoInTheMiddle) {
  std::vector<RunResult> runs;
  for (const std::uint64_t rate : {100U, 300U, 200U, 400U}) runs.push_back(run_of(rate, "r"));
  EXPECT_EQ(all_of_repetitions(std::move(runs)).shown_run, 1U);
}

TEST(RunsAsOne, AreChosenByTheSumOfWhatAllSearchesFound) {
  std::vector<RunResult> runs;
  for (const auto& [first, second] : {std::pair{10, 50}, {40, 30}, {20, 60}}) {
    runs.push_back(run_of(1, "r"));
    runs.back().searches.resize(2);
    runs.back().searches[0].found_fps = first;
    runs.back().searches[1].found_fps = second;
  }
  EXPECT_EQ(all_of_repetitions(std::move(runs)).shown_run, 1U);
}

TEST(RunsAsOne, AreByOneWhoReceivedNothingNotOneWithoutTraffic) {
  std::vector<RunResult> runs;
  for (const std::uint64_t rate : {100U, 300U, 200U}) {
    runs.push_back(run_of(rate, "r"));
    runs.back().jobs[0].rx.seconds = 1;
  }
  const RunResult all = all_of_repetitions(std::move(runs));
  EXPECT_EQ(all.shown_run, 2U) << "by what was sent, for nobody received anything";
  ASSERT_EQ(all.repeats.size(), 1U);
  EXPECT_EQ(all.repeats[0].figure, "tx_fps");
  EXPECT_EQ(all.repeats[0].values, (std::vector<double>{100, 300, 200}));
}

// ---- Commands ----

/// Whether a process is there, and not only its exit status.
bool lives(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return false;
  const char state = text.at(text.rfind(')') + 2);
  return state != 'Z' && state != 'X';
}

TEST(LimitOfTheHarness, IsOfFramesMadePacedAndCheckedLikeThoseOfTheJob) {
  JobOptions job;
  job.bs.tx.parts = {{.min = 70, .max = 90, .weight = 3}};
  job.payload = Payload::zero;
  job.buffer_pattern = {std::byte{7}, std::byte{8}};
  job.buffer_compress_percentage = 41;
  job.vlan = 42;
  job.mtu = 1400;
  job.iodepth_batch = 43;
  job.verify = job.verify_regenerate = job.disable_lat = true;
  job.do_verify = false;
  job.verify_backlog = 44;
  job.verify_async = 45;
  job.rate_process = RateProcess::poisson;
  const JobOptions limit = limit_job(job);
  EXPECT_EQ(limit.bs.tx.parts.at(0).max, 90U);
  EXPECT_EQ(limit.payload, job.payload);
  EXPECT_EQ(limit.buffer_pattern, job.buffer_pattern);
  EXPECT_EQ(limit.buffer_compress_percentage, 41U);
  EXPECT_EQ(limit.vlan, 42U);
  EXPECT_EQ(limit.mtu, 1400U);
  EXPECT_EQ(limit.iodepth_batch, 43U);
  EXPECT_TRUE(limit.verify && limit.verify_regenerate && limit.disable_lat);
  EXPECT_FALSE(limit.do_verify);
  EXPECT_EQ(limit.verify_backlog, 44U);
  EXPECT_EQ(limit.verify_async, 45U);
  EXPECT_EQ(limit.rate_process, RateProcess::poisson);
  EXPECT_EQ(limit.rate_fps.tx, 0U) << "it is not paced";
  EXPECT_GT(limit.ramp_time.count(), 0);
  EXPECT_EQ(limit.engine, EngineKind::null);
  // A wire that keeps no frames takes at most what a receiver takes at once.
  job.iodepth_batch = 65;
  EXPECT_EQ(limit_job(job).iodepth_batch, 64U);
  // Whatever pace was asked for, it is of the same kind and beyond what any sender does.
  job.rate_fps.tx = 5;
  EXPECT_EQ(limit_job(job).rate_fps.tx, 50'000'000U);
  EXPECT_EQ(limit_job(job).rate_bps.tx, 0U);
  EXPECT_EQ(limit_job(job).ramp_time.count(), 0);
  job.rate_process = RateProcess::linear;
  job.rate_fps.tx = 0;
  job.rate_bps.tx = 5;
  EXPECT_EQ(limit_job(job).rate_fps.tx, 0U);
  EXPECT_EQ(limit_job(job).rate_bps.tx, std::uint64_t{1'000'000'000} * 80 * 8)
      << "of 80 bytes on average";
}

TEST(CommandOfARun, DiesWithTheOneWhoRunsIt) {
  const test::TempDir dir;
  const std::string told = dir.file("pid");
  const pid_t runner = ::fork();
  ASSERT_GE(runner, 0);
  if (runner == 0) {
    (void)run_command(
        {"sh", "-c", "echo $$ > " + told + ".new; mv " + told + ".new " + told + "; exec sleep 20"},
        {}, [] { return false; });
    ::_exit(0);
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  const auto wait_for = [&](const auto& happened) {
    while (!happened() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return happened();
  };
  EXPECT_TRUE(wait_for([&] { return std::filesystem::exists(told); }));
  ::kill(runner, SIGKILL);
  EXPECT_EQ(::waitpid(runner, nullptr, 0), runner);
  pid_t command = 0;
  std::ifstream(told) >> command;
  ASSERT_GT(command, 0);
  EXPECT_TRUE(wait_for([&] { return !lives(command); }));
  if (lives(command)) ::kill(command, SIGKILL);
}

}  // namespace
}  // namespace shmif::perf::run_edges
