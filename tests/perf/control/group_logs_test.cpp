// Logs that several jobs share (per_job_logs=0). The tests set the intervals.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
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
  logs->add(0, second_until(1, 100), counts.get());
  logs->add(1, second_until(1, 7), counts.get());
  logs->add(0, second_until(2, 200), nullptr);
  logs->add(1, second_until(2, 8), nullptr);
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
  logs->add(0, second_until(1, 1), nullptr);
  logs->add(1, second_until(1, 1), nullptr);
  EXPECT_EQ(logs->finish(), Lines{"the log " + dir_.file("x_iops.log") +
                                  " is not complete: No space left on device"});
}

/// The descriptor of this process for the file; -1: it has none.
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
    logs->add(0, second_until(1, 1), nullptr);
    ::close(log);
    EXPECT_EQ(logs->finish(), Lines{"the log " + path + " is not complete: " +
                                    (full ? "No space left on device" : "Bad file descriptor")});
  }
}

}  // namespace
}  // namespace shmif::perf::group_logs
