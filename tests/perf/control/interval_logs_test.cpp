// Logs of intervals: their lines, their files, and what jobs that share them (per_job_logs=0) get.
// The tests set the intervals.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "perf/control/interval_log.hpp"
#include "perf/plan/plan.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::interval_logs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Lines = std::vector<std::string>;

Lines lines_in(const std::string& path) {
  std::ifstream file(path);
  Lines lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// ---- Files ----

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
    EXPECT_EQ(logs->finish(), Lines{});
    EXPECT_EQ(descriptors_into(dir.path()).first, 0) << "they are closed";
  }
  // The last one cannot be made: those before it are not left open.
  const test::TempDir other;
  options.aux_path = other.path();
  std::filesystem::create_directory(other.file(kLogNames[3]));
  EXPECT_FALSE(IntervalLogs::open(plan, options));
  EXPECT_EQ(descriptors_into(other.path()).first, 0);
}

TEST(LogsOfARun, AreNotThoseOfTwoJobsAndNeedAFolder) {
  const test::TempDir dir;
  std::vector<PlannedJob> plan{logged_job(), logged_job()};
  const auto why_not = [&](const std::string& folder) {
    RunOptions options;
    options.aux_path = folder;
    const auto logs = IntervalLogs::open(plan, options);
    return logs ? "" : logs.error().message;
  };
  plan[0].options.name = "a/b";
  plan[1].options.name = "a_b";
  const std::string twice = why_not(dir.path());
  EXPECT_NE(twice.find(dir.file("rates_bw.a_b.log")), std::string::npos) << twice;
  EXPECT_NE(twice.find("rename a job"), std::string::npos) << twice;
  plan[1].options.name = "a_c";
  EXPECT_EQ(why_not(dir.path()), "");
  for (PlannedJob& job : plan) job.options.per_job_logs = false;
  EXPECT_EQ(why_not(dir.path()), "");
  plan[1].options.log_avg *= 2;
  EXPECT_NE(why_not(dir.path()).find("give both the same log_avg_msec"), std::string::npos);
  plan[1].options = plan[0].options;
  plan[1].options.log_hist *= 2;
  EXPECT_NE(why_not(dir.path()).find("give both the same log_hist_msec"), std::string::npos);
  plan[1].options = plan[0].options;
  ++plan[1].options.log_hist_coarseness;
  EXPECT_NE(why_not(dir.path()).find("the same log_hist_coarseness"), std::string::npos);
  const std::string nowhere = why_not(dir.file("none"));
  EXPECT_NE(nowhere.find("No such file or directory"), std::string::npos) << nowhere;
  EXPECT_NE(nowhere.find("--aux-path"), std::string::npos) << nowhere;
}

// ---- Lines ----

/// The half of a second that ends at `at_seconds`.
IntervalResult half_until(double at_seconds, std::uint64_t tx, std::uint64_t rx) {
  IntervalResult i;
  i.at_seconds = at_seconds;
  i.seconds = 0.5;
  i.tx_frames = tx;
  i.tx_bytes = tx * 1024;
  i.rx_frames = rx;
  i.rx_bytes = rx * 2048;
  return i;
}

TEST(LogsOfAJob, HaveALineForEachDirectionAndTheLatenciesOfItsPeerAsSent) {
  const test::TempDir dir;
  RunOptions run;
  run.aux_path = dir.path();
  std::vector<PlannedJob> plan(4);
  const char* const names[] = {"s", "s.peer", "r", "no"};
  for (std::size_t i = 0; i < plan.size(); ++i) {
    JobOptions& o = plan[i].options;
    o.name = names[i];
    o.rw = i < 2 ? Role::txrx : Role::rx;
    o.log_avg = seconds(1);
    if (i == 3) continue;
    o.write_bw_log = i == 2 ? dir.file("whole") : "x";
    if (i == 2) continue;
    o.write_iops_log = "x";
    o.write_lat_log = "x";
  }
  plan[1].peer_of = "s";
  auto logs = IntervalLogs::open(plan, run).value();
  // Whole intervals make a line, none of them longer than those of the curve.
  EXPECT_EQ(interval_of(log_options(plan, plan[0]), milliseconds(100)), milliseconds(100));
  EXPECT_EQ(interval_of(log_options(plan, plan[1]), milliseconds(300)), milliseconds(250));
  EXPECT_EQ(interval_of(log_options(plan, plan[2]), seconds(2)), seconds(1));
  EXPECT_EQ(interval_of(log_options(plan, plan[3]), milliseconds(100)), milliseconds(100));
  EXPECT_TRUE(logs->with_histograms().empty());
  const auto latency = [](IntervalResult i, double mean) {
    i.latency_count = mean == 300 ? 6 : 2;
    i.latency_mean_ns = mean;
    return i;
  };
  logs->add(0, latency(half_until(0.5, 10, 20), 100), 0, nullptr);
  logs->add(1, latency(half_until(0.5, 7, 7), 500), 0, nullptr);
  EXPECT_EQ(lines_in(dir.file("x_iops.s.log")), Lines{}) << "half a line";
  logs->add(0, latency(half_until(1, 30, 60), 300), 0, nullptr);
  logs->add(1, latency(half_until(1, 7, 7), 900), 0, nullptr);
  EXPECT_EQ(lines_in(dir.file("x_iops.s.log")), (Lines{"1000, 80, 0, 0, 0", "1000, 40, 1, 0, 0"}))
      << "at once, for who follows it";
  // A border of the window ends a line, and the end of the run the last one.
  IntervalResult border = half_until(1.5, 5, 6);
  border.ends_at_border = true;
  logs->add(0, border, 0, nullptr);
  logs->add(0, half_until(2, 1, 2), 0, nullptr);
  logs->add(2, half_until(0.5, 0, 9), 0, nullptr);
  logs->add(3, half_until(0.5, 1, 1), 0, nullptr);
  EXPECT_EQ(logs->finish(), Lines{});
  EXPECT_EQ(lines_in(dir.file("x_iops.s.log")),
            (Lines{"1000, 80, 0, 0, 0", "1000, 40, 1, 0, 0", "1500, 12, 0, 0, 0",
                   "1500, 10, 1, 0, 0", "2000, 4, 0, 0, 0", "2000, 2, 1, 0, 0"}));
  EXPECT_EQ(lines_in(dir.file("x_bw.s.log")),
            (Lines{"1000, 160, 0, 0, 0", "1000, 40, 1, 0, 0", "1500, 24, 0, 0, 0",
                   "1500, 10, 1, 0, 0", "2000, 8, 0, 0, 0", "2000, 2, 1, 0, 0"}))
      << "KiB per second";
  EXPECT_EQ(lines_in(dir.file("x_lat.s.log")), (Lines{"1000, 250, 0, 0, 0", "1000, 700, 1, 0, 0"}));
  EXPECT_EQ(lines_in(dir.file("whole_bw.r.log")), Lines{"500, 36, 0, 0, 0"})
      << "who receives alone has one direction; a whole path is not below aux-path";
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator(dir.path())) ++files;
  EXPECT_EQ(files, 4U);
}

// ---- Groups ----

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

TEST_F(TimesOfAGroup, CountFromTheStartOfTheRunForJobsThatBeginLater) {
  add(0, 0, 100);
  add(0, 100, 200);
  add(1, 0, 100, 230);
  add(1, 100, 170, 230);
  EXPECT_EQ(frames(), (Sums{{100, 100}, {200, 100}, {300, 70}, {400, 100}}));
  EXPECT_EQ(latencies(), (Sums{{100, 1}, {200, 1}, {300, 1}, {400, 1}}));
}

}  // namespace
}  // namespace shmif::perf::interval_logs
