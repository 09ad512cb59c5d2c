// What is told of a run while it lasts, as text: the lines of groups, JSON, InfluxDB's lines.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "perf/report/stream.hpp"

namespace shmif::perf {
namespace {

JobProgress job(const std::string& name, const std::string& group, JobState state) {
  JobProgress job;
  job.name = name;
  job.group = group;
  job.state = state;
  return job;
}

/// At that time, with `frames` of 1,000 bits each sent since the start.
RunProgress sent(double at_seconds, std::uint64_t frames) {
  RunProgress progress;
  progress.at_seconds = at_seconds;
  progress.jobs = {job("a", "a", JobState::running)};
  progress.jobs[0].tx_frames = frames;
  progress.jobs[0].tx_bytes = frames * 125;
  return progress;
}

// ---- Lines of progress ----

TEST(Progress, AHundredPerCentIsAllOfIt) {
  EXPECT_EQ(format_per_cent(0.9999), "99 %");
  EXPECT_EQ(format_per_cent(1), "100 %");
  EXPECT_EQ(format_per_cent(-1), "0 %");
}

TEST(Progress, StatesAreLettersAndOfManyAlikeANumber) {
  using enum JobState;
  EXPECT_EQ(format_states({running, draining}), "RD");
  EXPECT_EQ(format_states({running, running, running}), "RRR");
  EXPECT_EQ(format_states({not_created, running, running, running, running, reaped}), "_R(4)-");
}

TEST(Progress, RatesAreThoseOfTheLastSecond) {
  ProgressLines lines;
  EXPECT_NE(lines.lines(sent(0, 0))[0].find("tx -"), std::string::npos) << "nothing is known yet";
  for (int tenth = 1; tenth <= 20; ++tenth) {
    // 1,000 a second at first, then 5,000.
    const std::uint64_t frames = tenth <= 10 ? tenth * 100U : 1000 + (tenth - 10) * 500U;
    (void)lines.lines(sent(tenth * 0.1, frames));
  }
  const std::string line = lines.lines(sent(2.1, 6500))[0];
  EXPECT_NE(line.find("tx 5.00 k/s  rx 0 /s  5.00 Mbit/s"), std::string::npos) << line;
}

TEST(Progress, TheNextRunOfACampaignBeginsAnew) {
  ProgressLines lines;
  (void)lines.lines(sent(9, 9000));
  (void)lines.lines(sent(0.1, 50));
  const std::string line = lines.lines(sent(0.2, 100))[0];
  EXPECT_NE(line.find("tx 500 /s"), std::string::npos) << line;
}

TEST(Progress, AGroupIsAsFarAsTheJobThatIsFurthestFromItsEnd) {
  RunProgress progress;
  progress.jobs = {job("a.0", "a", JobState::reaped), job("a.1", "a", JobState::running),
                   job("b", "b", JobState::reaped)};
  progress.jobs[0].share = 1;
  progress.jobs[1].share = 0.45;
  progress.jobs[1].left_seconds = 90;
  progress.jobs[1].lost_frames = 1234;
  const auto lines = ProgressLines().lines(progress);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].rfind("a  [-R]  45 %  eta 1m30s", 0), 0U) << lines[0];
  EXPECT_NE(lines[0].find("lost 1,234"), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1].rfind("b   [-]  done", 0), 0U) << lines[1];
  progress.jobs[1].failed = true;
  EXPECT_NE(ProgressLines().lines(progress)[0].find("FAILED"), std::string::npos);
}

TEST(Progress, WhatMattersStandsInEightyColumns) {
  RunProgress progress;
  for (int i = 0; i < 40; ++i) {
    progress.jobs.push_back(job("j", "a-group-with-quite-a-long-name", JobState::running));
  }
  progress.jobs[0].left_seconds = 754;
  progress.jobs[0].share = 0.45;
  ProgressLines lines;
  (void)lines.lines(progress);
  progress.at_seconds += 1;
  progress.jobs[0].lost_frames = 12345;
  progress.jobs[0].tx_frames = progress.jobs[0].rx_frames = 12'345'678;
  const std::string seen = lines.lines(progress)[0].substr(0, 79);
  for (const char* part :
       {"a-group-wit~", "R(40)", "45 %", "12m34s", "lost 12,345", "tx 12.3 M/s", "rx 12.3 M/s"}) {
    EXPECT_NE(seen.find(part), std::string::npos) << part << " in " << seen;
  }
}

// ---- Streams ----

TEST(Stream, WhatWasNotMeasuredIsNullInJsonAndNotThereInInfluxLines) {
  RunProgress progress = sent(1, 1000);
  progress.jobs[0].last.seconds = 1;
  const auto json = nlohmann::json::parse(to_json_line(progress));
  EXPECT_TRUE(json["share"].is_null());
  EXPECT_TRUE(json["jobs"][0]["interval"]["latency_p99_ns"].is_null());
  EXPECT_EQ(json["jobs"][0]["interval"]["tx_fps"], 0.0);
  progress.jobs[0].last.seconds = 0;
  EXPECT_TRUE(
      nlohmann::json::parse(to_json_line(progress))["jobs"][0]["interval"]["tx_fps"].is_null())
      << "no rate of no time";
  const std::string influx = to_influx(progress, {});
  EXPECT_EQ(influx.find("latency"), std::string::npos) << influx;
  EXPECT_EQ(influx.find("tx_fps"), std::string::npos) << influx;
  EXPECT_NE(influx.find("tx_frames=1000i"), std::string::npos) << influx;
}

TEST(Stream, NamesCannotEndATagOrALine) {
  RunProgress progress = sent(1, 1);
  progress.jobs[0].name = "a b,c=d\\\ne";
  progress.jobs[0].group = "";
  const std::string line =
      to_influx(progress, std::chrono::system_clock::time_point(std::chrono::seconds(1)));
  EXPECT_EQ(line.rfind(R"(shmifperf,groupname=-,jobname=a\ b\,c\=d/?e )", 0), 0U) << line;
  EXPECT_TRUE(line.ends_with(" 1000000000\n")) << line;
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

IntervalResult interval(double at_seconds, double seconds, std::uint64_t frames,
                        std::uint64_t latencies) {
  IntervalResult i;
  i.at_seconds = at_seconds;
  i.seconds = seconds;
  i.tx_frames = frames;
  i.latency_count = latencies;
  return i;
}

TEST(Stream, IntervalsThatFollowEachOtherAddUp) {
  IntervalResult sum = interval(1, 1, 10, 1);
  sum.latency_mean_ns = sum.latency_p99_ns = sum.latency_max_ns = 100;
  IntervalResult next = interval(1.5, 0.5, 30, 3);
  next.latency_mean_ns = next.latency_p99_ns = 200;
  next.latency_max_ns = 50;
  extend(sum, next);
  extend(sum, interval(2, 0.5, 0, 0));
  EXPECT_EQ(sum.at_seconds, 2);
  EXPECT_EQ(sum.seconds, 2);
  EXPECT_EQ(sum.tx_frames, 40U);
  EXPECT_DOUBLE_EQ(*sum.latency_mean_ns, 175);
  EXPECT_EQ(*sum.latency_p99_ns, 200) << "a bound: the greatest of the parts";
  EXPECT_EQ(*sum.latency_max_ns, 100);
  EXPECT_FALSE(sum.latency_p50_ns);
}

TEST(Stream, TheCpuTimeOfSeveralIntervalsIsKnownIfThatOfEachIs) {
  IntervalResult known = interval(1, 1, 0, 0);
  known.cpu_user_seconds = 0.5;
  known.cpu_system_seconds = 0.25;
  IntervalResult sum;
  extend(sum, known);
  extend(sum, known);
  EXPECT_EQ(sum.cpu_user_seconds, 1.0);
  EXPECT_EQ(sum.cpu_system_seconds, 0.5);
  EXPECT_EQ(cpu_share(sum), 0.75);
  extend(sum, interval(2, 1, 0, 0));
  EXPECT_FALSE(sum.cpu_user_seconds);
  EXPECT_FALSE(cpu_share(sum));
  extend(sum, known);
  EXPECT_FALSE(sum.cpu_system_seconds) << "a part of it is missing";
}

}  // namespace
}  // namespace shmif::perf
