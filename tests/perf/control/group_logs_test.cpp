// Logs that several jobs share (per_job_logs=0). The tests set the intervals.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/control/interval_log.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::group_logs {
namespace {

using Lines = std::vector<std::string>;

Lines lines_in(const std::string& path) {
  std::ifstream file(path);
  Lines lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// An interval of a second that ends then.
IntervalResult second_until(double at_seconds, std::uint64_t tx_frames) {
  IntervalResult i;
  i.at_seconds = at_seconds;
  i.seconds = 1;
  i.tx_frames = tx_frames;
  i.tx_bytes = tx_frames * 1024;
  i.latency_count = 1;
  i.latency_mean_ns = static_cast<double>(tx_frames) * 10;
  return i;
}

/// Two jobs that send and share their logs.
class LogsOfAGroup : public testing::Test {
 protected:
  LogsOfAGroup() {
    run_.aux_path = dir_.path();
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      JobOptions& o = plan_[i].options;
      o.name = i == 0 ? "a" : "b";
      o.write_bw_log = o.write_iops_log = o.write_lat_log = o.write_hist_log = "x";
      o.log_avg = o.log_hist = std::chrono::seconds(1);
      o.log_hist_coarseness = 10;
      o.per_job_logs = false;
    }
  }
  std::string why_not() const {
    const auto logs = IntervalLogs::open(plan_, run_);
    return logs ? "" : logs.error().message;
  }

  const test::TempDir dir_;
  RunOptions run_;
  std::vector<PlannedJob> plan_{2};
};

TEST_F(LogsOfAGroup, HaveTheLinesOfEachOfItsJobsAndTheNameOfNone) {
  auto logs = IntervalLogs::open(plan_, run_).value();
  const auto counts = std::make_unique<HistogramBlock>();
  (*counts)[3] = 1;
  logs->add(0, second_until(1, 100), 0, counts.get());
  logs->add(1, second_until(1, 7), 0, counts.get());
  logs->add(0, second_until(2, 200), 0, nullptr);
  logs->add(1, second_until(2, 8), 0, nullptr);
  EXPECT_EQ(logs->finish(), Lines{});
  EXPECT_EQ(lines_in(dir_.file("x_iops.log")), (Lines{"1000, 100, 1, 0, 0", "1000, 7, 1, 0, 0",
                                                      "2000, 200, 1, 0, 0", "2000, 8, 1, 0, 0"}));
  EXPECT_EQ(lines_in(dir_.file("x_bw.log")).at(2), "2000, 200, 1, 0, 0");
  EXPECT_EQ(lines_in(dir_.file("x_lat.log")).at(1), "1000, 70, 0, 0, 0");
  EXPECT_EQ(lines_in(dir_.file("x_clat_hist.log")),
            (Lines{"1000, 0, 0, 1, 0", "1000, 0, 0, 1, 0"}));
  EXPECT_EQ(outputs_of(plan_, run_), (Lines{dir_.file("x_bw.log"), dir_.file("x_iops.log"),
                                            dir_.file("x_lat.log"), dir_.file("x_clat_hist.log")}))
      << "each once";
}

TEST_F(LogsOfAGroup, HaveTheSumsOfItsJobsIfAsked) {
  for (PlannedJob& job : plan_) job.options.agg_logs = true;
  auto logs = IntervalLogs::open(plan_, run_).value();
  const auto counts = std::make_unique<HistogramBlock>();
  (*counts)[3] = 1;
  IntervalResult slower = second_until(1, 100);
  slower.latency_count = 3;
  logs->add(0, slower, 0, counts.get());
  logs->add(0, second_until(2, 200), 0, nullptr);
  logs->add(1, second_until(1, 7), 0, counts.get());
  EXPECT_EQ(logs->finish(), Lines{});
  EXPECT_EQ(lines_in(dir_.file("x_iops.log")), (Lines{"1000, 107, 1, 0, 0", "2000, 200, 1, 0, 0"}));
  EXPECT_EQ(lines_in(dir_.file("x_bw.log")).at(0), "1000, 107, 1, 0, 0");
  EXPECT_EQ(lines_in(dir_.file("x_lat.log")).at(0), "1000, 768, 0, 0, 0") << "(3 * 1000 + 70) / 4";
  EXPECT_EQ(lines_in(dir_.file("x_clat_hist.log")), (Lines{"1000, 0, 0, 2, 0"}));
  plan_[1].options.agg_logs = false;
  EXPECT_NE(why_not().find("give both the same per_job_logs"), std::string::npos) << why_not();
}

/// What a job of 1000 frames a second did in this time, in ms of its own.
IntervalResult span(double from_ms, double to_ms) {
  IntervalResult i;
  i.at_seconds = to_ms / 1000;
  i.seconds = (to_ms - from_ms) / 1000;
  i.tx_frames = static_cast<std::uint64_t>(to_ms - from_ms);
  i.tx_bytes = i.tx_frames * 1024;
  i.latency_count = 1;
  i.latency_mean_ns = 10;
  return i;
}

/// The frames that the lines of each time name together, in the order of the times.
std::map<long, long> frames_at(const std::string& path, double every_seconds) {
  std::map<long, double> rates;
  for (const std::string& line : lines_in(path)) {
    rates[std::stol(line)] += std::stod(line.substr(line.find(", ") + 2));
  }
  std::map<long, long> frames;
  for (const auto& [at, rate] : rates) frames[at] = std::lround(rate * every_seconds);
  return frames;
}

/// Logs of jobs whose lines are of 100 ms.
class TimesOfAGroup : public LogsOfAGroup {
 protected:
  TimesOfAGroup() {
    for (PlannedJob& job : plan_) {
      job.options.log_avg = job.options.log_hist = std::chrono::milliseconds(100);
    }
    logs_ = IntervalLogs::open(plan_, run_).value();
    (*counts_)[3] = 1;
  }
  void add(std::size_t job, double from_ms, double to_ms, double start_ms = 0) {
    logs_->add(job, span(from_ms, to_ms), start_ms / 1000, counts_.get());
  }
  /// Frames by the time of their lines.
  std::map<long, long> frames() {
    EXPECT_EQ(logs_->finish(), Lines{});
    return frames_at(dir_.file("x_iops.log"), 0.1);
  }
  /// Latencies by the time of their lines.
  std::map<long, long> latencies() const {
    std::map<long, long> found;
    for (const std::string& line : lines_in(dir_.file("x_clat_hist.log"))) {
      found[std::stol(line)] += std::stol(line.substr(line.rfind(", ", line.rfind(", ") - 1) + 2));
    }
    return found;
  }

  std::unique_ptr<IntervalLogs> logs_;
  const std::unique_ptr<HistogramBlock> counts_ = std::make_unique<HistogramBlock>();
};

using Sums = std::map<long, long>;

TEST_F(TimesOfAGroup, AreTheSameForAJobThatClosedItsIntervalsLate) {
  add(0, 0, 100);
  add(1, 0, 140);
  add(0, 100, 200);
  add(1, 140, 201);
  EXPECT_EQ(frames(), (Sums{{100, 200}, {200, 201}}));
  EXPECT_EQ(lines_in(dir_.file("x_bw.log")), (Lines{"100, 1000, 1, 0, 0", "100, 1000, 1, 0, 0",
                                                    "200, 1000, 1, 0, 0", "200, 1010, 1, 0, 0"}))
      << "a moment after the border is not divided";
  EXPECT_EQ(latencies(), (Sums{{100, 2}, {200, 2}})) << "an interval is in the line of its middle";
}

TEST_F(TimesOfAGroup, AreAllThoseOfAJobThatStoodStill) {
  add(0, 0, 330);
  add(0, 330, 400);
  EXPECT_EQ(frames(), (Sums{{100, 100}, {200, 100}, {300, 100}, {400, 100}}));
  EXPECT_EQ(latencies(), (Sums{{200, 1}, {400, 1}}));
}

TEST_F(TimesOfAGroup, AreTheNextOnesWhereTheMeasuredWindowBeginsOrEnds) {
  IntervalResult ramp = span(0, 150);
  ramp.ends_at_border = true;
  logs_->add(0, ramp, 0, counts_.get());
  add(0, 150, 230);
  add(1, 0, 260);
  add(1, 260, 261);
  EXPECT_EQ(frames(), (Sums{{100, 200}, {200, 200}, {300, 91}})) << "each frame once";
  EXPECT_EQ(latencies(), (Sums{{100, 1}, {200, 2}, {300, 1}}));
}

TEST_F(TimesOfAGroup, CountFromTheStartOfTheRunForJobsThatBeginLater) {
  add(0, 0, 100);
  add(0, 100, 200);
  add(1, 0, 100, 230);
  add(1, 100, 170, 230);
  EXPECT_EQ(frames(), (Sums{{100, 100}, {200, 100}, {300, 70}, {400, 100}}));
  EXPECT_EQ(latencies(), (Sums{{100, 1}, {200, 1}, {300, 1}, {400, 1}}));
}

TEST_F(TimesOfAGroup, LeaveOutWhatAJobWasNotHeardOfFor) {
  add(0, 0, 120);
  add(0, 550, 600);
  EXPECT_EQ(frames(), (Sums{{100, 100}, {200, 20}, {600, 50}}));
}

TEST_F(TimesOfAGroup, HaveFramesOfTheMomentAfterALineInTheNext) {
  add(0, 0, 100);
  IntervalResult late = span(100, 101);
  late.tx_frames = 7;
  logs_->add(0, late, 0, nullptr);
  late = span(101, 101.5);
  late.tx_frames = late.latency_count = 0;
  logs_->add(1, span(0, 100), 0, nullptr);
  logs_->add(1, late, 0, nullptr);
  EXPECT_EQ(frames(), (Sums{{100, 200}, {200, 7}}));
  EXPECT_EQ(lines_in(dir_.file("x_iops.log")).size(), 3U) << "none for a moment without frames";
}

TEST_F(LogsOfAGroup, HaveLinesOfTheSameIntervals) {
  plan_[1].options.log_avg = std::chrono::milliseconds(500);
  EXPECT_EQ(why_not(), "job \"b\": job \"a\" writes lines of other intervals to the log " +
                           dir_.file("x_bw.log") +
                           " (give both the same log_avg_msec, or another prefix)");
  plan_[1].options.log_avg = std::chrono::seconds(1);
  plan_[1].options.log_hist = std::chrono::seconds(2);
  EXPECT_EQ(why_not(), "job \"b\": job \"a\" writes lines of other intervals to the log " +
                           dir_.file("x_clat_hist.log") +
                           " (give both the same log_hist_msec, or another prefix)");
}

TEST_F(LogsOfAGroup, AreOnlyOfJobsThatAllShareThem) {
  EXPECT_EQ(why_not(), "");
  plan_[1].options.per_job_logs = true;
  EXPECT_EQ(why_not(), "") << "the other has logs of its own name";
  EXPECT_EQ(outputs_of(plan_, run_).at(4), dir_.file("x_bw.b.log"));
}

TEST_F(LogsOfAGroup, HaveTheSameBinsInEachLine) {
  plan_[1].options.log_hist_coarseness = 3;
  EXPECT_EQ(why_not(), "job \"b\": job \"a\" writes other bins to the log " +
                           dir_.file("x_clat_hist.log") +
                           " (give both the same log_hist_coarseness, or another prefix)");
  plan_[1].options.write_hist_log = "y";
  EXPECT_EQ(why_not(), "");
}

TEST_F(LogsOfAGroup, ThatCannotBeCompletedAreNamedOnce) {
  std::filesystem::create_symlink("/dev/full", dir_.file("x_iops.log"));
  for (PlannedJob& job : plan_) {
    job.options.write_bw_log = job.options.write_lat_log = job.options.write_hist_log = {};
  }
  auto logs = IntervalLogs::open(plan_, run_).value();
  logs->add(0, second_until(1, 1), 0, nullptr);
  logs->add(1, second_until(1, 1), 0, nullptr);
  EXPECT_EQ(logs->finish(), Lines{"the log " + dir_.file("x_iops.log") +
                                  " is not complete: No space left on device"});
}

/// The descriptor of this process for the file; -1: the file is not open.
int descriptor_of(const std::string& path) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) == path) {
      return std::stoi(entry.path().filename());
    }
  }
  return -1;
}

TEST_F(LogsOfAGroup, ThatCannotBeClosedAreNamedWithTheFirstError) {
  plan_.resize(1);
  JobOptions& o = plan_[0].options;
  o.write_bw_log = o.write_lat_log = o.write_hist_log = {};
  for (const bool full : {false, true}) {
    o.write_iops_log = full ? "full" : "closed";
    const std::string path = dir_.file(o.write_iops_log + "_iops.log");
    auto logs = IntervalLogs::open(plan_, run_).value();
    const int log = descriptor_of(path);
    ASSERT_GE(log, 0) << path;
    if (full) {
      const UniqueFd none(::open("/dev/full", O_WRONLY | O_CLOEXEC));
      ASSERT_EQ(::dup2(none.get(), log), log);
    }
    logs->add(0, second_until(1, 1), 0, nullptr);
    ::close(log);
    EXPECT_EQ(logs->finish(), Lines{"the log " + path + " is not complete: " +
                                    (full ? "No space left on device" : "Bad file descriptor")});
  }
}

}  // namespace
}  // namespace shmif::perf::group_logs
