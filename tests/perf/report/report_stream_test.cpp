// The outputs during a run: each key, field and column holds the figure that it is named for, and
// the tests know each of them.

#include <regex>

#include "perf/report/stream.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/perf/report/report_rig.hpp"

namespace shmif::perf::report_stream {
namespace {

using namespace report_rig;  // NOLINT(google-build-using-namespace): the rig of this folder
using test::Figures;

double a_second(std::uint64_t count, const IntervalResult& interval) {
  return static_cast<double>(count) / interval.seconds;
}

/// The figures of an interval, without TCP.
Figures wanted_interval(const IntervalResult& i) {
  Figures all{{"tx_fps", a_second(i.tx_frames, i)},
              {"tx_bps", a_second(i.tx_bytes * 8, i)},
              {"rx_fps", a_second(i.rx_frames, i)},
              {"rx_bps", a_second(i.rx_bytes * 8, i)},
              {"cpu_user_share", *i.cpu_user_seconds / i.seconds},
              {"cpu_system_share", *i.cpu_system_seconds / i.seconds}};
  all.merge(test::row_figures(i, kInStream));
  return all;
}

/// The figures of a job, the counts of which have `prefix` before their names.
Figures wanted_job(const JobProgress& job, const char* state, const std::string& prefix) {
  return {{"state", state},
          {"failed", job.failed},
          {prefix + "tx_frames", job.tx_frames},
          {prefix + "tx_bytes", job.tx_bytes},
          {prefix + "rx_frames", job.rx_frames},
          {prefix + "rx_bytes", job.rx_bytes},
          {prefix + "lost_frames", job.lost_frames}};
}

constexpr std::array<const char*, 4> kStateNames{"running", "draining", "ramp", "verifying"};

TEST(StreamFigures, EachKeyOfALineOfJsonHoldsItsFigureAndNoneIsUnknown) {
  const RunProgress progress = test::distinct_progress();
  Figures wanted{{"at_seconds", progress.at_seconds},
                 {"share", *progress.share},
                 {"left_seconds", *progress.left_seconds}};
  for (std::size_t n = 0; n < progress.jobs.size(); ++n) {
    const JobProgress& job = progress.jobs[n];
    const std::string at = "jobs." + std::to_string(n) + '.';
    wanted[at + "jobname"] = job.name;
    wanted[at + "groupname"] = job.group;
    for (const auto& [key, value] : wanted_job(job, kStateNames.at(n), ""))
      wanted[at + key] = value;
    for (const auto& [key, value] : wanted_interval(job.last)) {
      wanted[at + "interval." + key] = value;
    }
    wanted.merge(test::row_figures(*job.last.tcp, kInStream, at + "interval.tcp."));
  }
  test::expect_figures(wanted, test::flattened(Json::parse(to_json_line(progress))));
}

TEST(StreamFigures, EachFieldOfALineOfInfluxHoldsItsFigureAndNoneIsUnknown) {
  const RunProgress progress = test::distinct_progress();
  const std::chrono::system_clock::time_point when(std::chrono::nanoseconds(1763700000123456789));
  const Words lines = lines_of(to_influx(progress, when));
  ASSERT_EQ(lines.size(), progress.jobs.size());
  for (std::size_t n = 0; n < lines.size(); ++n) {
    const JobProgress& job = progress.jobs[n];
    std::smatch match;
    ASSERT_TRUE(std::regex_match(lines[n], match, std::regex(R"(([^ ]*) ([^ ]*) ([^ ]*))")));
    EXPECT_EQ(match[1], "shmifperf,groupname=" + job.group + ",jobname=" + job.name);
    EXPECT_EQ(match[3], "1763700000123456789");
    Figures shown;
    std::istringstream fields(match[2]);
    for (std::string field; std::getline(fields, field, ',');) {
      const auto at = field.find('=');
      std::string value = field.substr(at + 1);
      if (value.ends_with('i')) value.pop_back();  // an integer
      shown[field.substr(0, at)] = Json::parse(value);
    }
    Figures wanted = wanted_interval(job.last);
    wanted.merge(wanted_job(job, kStateNames.at(n), "all_"));
    test::expect_figures(wanted, shown);
  }
}

TEST(StreamFigures, WhatWasNotMeasuredIsNullInJsonAndNotThereInInfluxLines) {
  RunProgress progress;
  progress.jobs.resize(1);
  progress.jobs[0].name = "a b,c=d\\\ne\xff";
  progress.jobs[0].tx_frames = 1000;
  progress.jobs[0].last.seconds = 1;
  const auto interval = [&] { return Json::parse(to_json_line(progress))["jobs"][0]["interval"]; };
  EXPECT_TRUE(interval()["latency_p99_ns"].is_null());
  EXPECT_EQ(interval()["tx_fps"], 0.0);
  progress.jobs[0].last.seconds = 0;
  const Json json = Json::parse(to_json_line(progress));
  EXPECT_TRUE(json["share"].is_null());
  EXPECT_TRUE(interval()["tx_fps"].is_null()) << "no rate of no time";
  EXPECT_TRUE(json["jobs"][0]["jobname"].get<std::string>().ends_with("e\xEF\xBF\xBD"));
  const std::string influx = to_influx(progress, {});
  for (const char* none : {"latency", "tx_fps"}) EXPECT_FALSE(has(influx, none)) << influx;
  EXPECT_TRUE(has(influx, "tx_frames=1000i")) << influx;
  // Names cannot end a tag or a line.
  EXPECT_TRUE(influx.starts_with(R"(shmifperf,groupname=-,jobname=a\ b\,c\=d/?e)")) << influx;
  EXPECT_EQ(influx.find('\n'), influx.size() - 1);
}

// ---- The status ----

TEST(StatusText, EachColumnHoldsItsFigure) {
  const RunProgress progress = test::distinct_progress();
  const Words lines = lines_of(to_status(progress));
  ASSERT_EQ(lines.size(), 2 + progress.jobs.size());
  EXPECT_EQ(lines[0], "status after " + format_seconds(progress.at_seconds) + ", " +
                          format_per_cent(*progress.share) + ", eta " +
                          format_eta(*progress.left_seconds));
  EXPECT_EQ(cells_of(lines[1]), (Cells{"job", "state", "sent", "now", "received", "now", "lost",
                                       "p50", "p99", "max", "CPU"}));
  for (std::size_t n = 0; n < progress.jobs.size(); ++n) {
    const JobProgress& job = progress.jobs[n];
    const IntervalResult& i = job.last;
    EXPECT_EQ(cells_of(lines[2 + n]),
              (Cells{job.name, job.failed ? "FAILED" : kStateNames.at(n),
                     format_count(job.tx_frames), format_fps(a_second(i.tx_frames, i)),
                     format_bps(a_second(i.tx_bytes * 8, i)), format_count(job.rx_frames),
                     format_fps(a_second(i.rx_frames, i)), format_bps(a_second(i.rx_bytes * 8, i)),
                     format_count(job.lost_frames), format_ns(i.latency_p50_ns),
                     format_ns(i.latency_p99_ns), format_ns(i.latency_max_ns),
                     format_cpu((*i.cpu_user_seconds + *i.cpu_system_seconds) / i.seconds)}));
  }
}

JobProgress progress_of(const std::string& name, std::uint64_t tx_frames,
                        const std::string& group = "") {
  JobProgress job;
  job.name = name;
  job.group = group.empty() ? name : group;
  job.state = JobState::running;
  job.tx_frames = tx_frames;
  job.tx_bytes = tx_frames * 125;
  return job;
}

TEST(StatusText, OfADirectionThatAJobDoesNotUseHasDashes) {
  JobProgress sends = progress_of("sender", 1000);
  JobProgress sink = progress_of("sink", 0);
  sink.rx_frames = 2000;
  for (JobProgress* const job : {&sends, &sink}) {
    job->last.seconds = 1;
    job->last.tx_frames = job->last.rx_frames = 30;
    job->last.tx_bytes = job->last.rx_bytes = 500;
  }
  const std::string text =
      to_status({.at_seconds = 1, .share = {}, .left_seconds = {}, .jobs = {sends, sink}}, 0);
  EXPECT_EQ(row_of(text, "sender "), (Cells{"sender", "running", "1,000", "30.0 /s", "4.00 kbit/s",
                                            "-", "-", "-", "-", "-", "-", "-", "-"}));
  EXPECT_EQ(row_of(text, "sink "), (Cells{"sink", "running", "-", "-", "-", "2,000", "30.0 /s",
                                          "4.00 kbit/s", "0", "-", "-", "-", "-"}));
}

// ---- The lines of groups ----

TEST(ProgressLines, EachColumnHoldsItsFigure) {
  // The group "few" has the jobs 0 and 2 (2 has not failed), "many" has 1 and 3.
  RunProgress progress = test::distinct_progress();
  progress.jobs[1].failed = false;
  RunProgress before = progress;
  before.at_seconds -= 0.5;
  std::uint64_t less = 3000;
  for (JobProgress& job : before.jobs) {
    for (const auto count : {&JobProgress::tx_frames, &JobProgress::tx_bytes,
                             &JobProgress::rx_frames, &JobProgress::rx_bytes}) {
      job.*count -= less;
      less += 1700;
    }
  }
  // In the last half second, job 0 sent 3000 frames and 4700 bytes, and received 6400 frames and
  // 8100 bytes. Job 1 continues the series: it sent 9800 frames, and so on.
  const auto rate = [&](std::size_t group, std::size_t figure) {
    return (2 * 3000.0 + 1700.0 * static_cast<double>(4 * (2 * group + 2) + 2 * figure)) / 0.5;
  };
  const auto busy = [](const JobProgress& job) {
    return (*job.last.cpu_user_seconds + *job.last.cpu_system_seconds) / job.last.seconds;
  };
  ProgressLines lines;
  (void)lines.lines(before);
  const Words shown = lines.lines(progress);
  ASSERT_EQ(shown.size(), 2U);
  for (const std::size_t group : {0U, 1U}) {
    const JobProgress& first = progress.jobs.at(group);
    const JobProgress& second = progress.jobs.at(group + 2);
    EXPECT_EQ(cells_of(shown[group]),
              (Cells{group == 0 ? "few" : "many", group == 0 ? "[R/]" : "[DV]",
                     format_per_cent(std::min(*first.share, *second.share)),
                     "eta " + format_eta(std::max(*first.left_seconds, *second.left_seconds)),
                     "lost " + format_count(first.lost_frames + second.lost_frames),
                     "tx " + format_fps(rate(group, 0)), "rx " + format_fps(rate(group, 2)),
                     format_bps(rate(group, 1) * 8), format_bps(rate(group, 3) * 8),
                     "cpu " + format_cpu(busy(first) + busy(second))}));
  }
}

/// Lines of a run, one after the other.
class Told {
 public:
  Words at(double seconds, const std::vector<JobProgress>& jobs) {
    return lines_.lines({.at_seconds = seconds, .share = {}, .left_seconds = {}, .jobs = jobs});
  }

 private:
  ProgressLines lines_;
};

TEST(ProgressLines, RatesAreThoseOfTheLastSecondOfTheSameRun) {
  Told told;
  EXPECT_TRUE(has(told.at(0, {progress_of("a", 0)})[0], "tx -")) << "nothing is known yet";
  std::string line;
  for (int eighth = 1; eighth <= 30; ++eighth) {
    // Frames go in bursts: 1,000 in the first eighth of each second, then 5,000.
    const std::uint64_t bursts = static_cast<std::uint64_t>((eighth + 7) / 8);
    const std::uint64_t frames = bursts <= 2 ? 1000 * bursts : 2000 + (bursts - 2) * 5000;
    line = told.at(eighth * 0.125, {progress_of("a", frames)})[0];
  }
  EXPECT_TRUE(has(line, "tx 5.00 k/s  rx 0 /s  5.00 Mbit/s")) << line;
  (void)told.at(0.1, {progress_of("a", 50)});  // the next run of a campaign
  const Words both = told.at(0.2, {progress_of("a", 100), progress_of("b", 50)});
  EXPECT_TRUE(has(both[0], "tx 500 /s")) << both[0];
  EXPECT_TRUE(has(both[1], "tx -")) << both[1];
  EXPECT_TRUE(has(told.at(0.3, {progress_of("a", 0)})[0], "tx 0 /s")) << "never below nothing";
}

TEST(ProgressLines, AGroupIsAsFarAsTheJobThatIsFurthestFromItsEnd) {
  JobProgress over = progress_of("a.0", 0, "a");
  over.state = JobState::reaped;
  over.share = 1;
  over.left_seconds = 0;
  JobProgress runs = progress_of("a.1", 0, "a");
  runs.share = 0.45;
  runs.left_seconds = 90;
  runs.lost_frames = 1234;
  for (JobProgress* const job : {&over, &runs}) {
    job->last.seconds = 1;
    job->last.cpu_user_seconds = job == &runs ? 0.2 : 0.5;
    job->last.cpu_system_seconds = 0.05;
  }
  const std::string line = Told().at(1, {over, runs, runs})[0];
  EXPECT_TRUE(line.starts_with("a  [-RR]  45 %  eta 1m30s")) << line;
  EXPECT_TRUE(has(line, "lost 2,468")) << line;
  EXPECT_TRUE(line.ends_with("cpu 50 %")) << "of those that run: " << line;
  const std::string done = Told().at(1, {over})[0];
  EXPECT_TRUE(done.starts_with("a  [-]  done")) << done;
  EXPECT_FALSE(has(done, "eta")) << done;
  EXPECT_TRUE(done.ends_with("cpu -")) << done;
  runs.failed = true;
  EXPECT_TRUE(has(Told().at(1, {runs})[0], "FAILED"));
  EXPECT_EQ(format_per_cent(0.9999), "99 %") << "not all of it";
  EXPECT_EQ(format_per_cent(1), "100 %");
  EXPECT_EQ(format_per_cent(-1), "0 %");
  EXPECT_EQ(format_eta(59) + ' ' + format_eta(60), "59s 1m00s");
  EXPECT_EQ(format_eta(3599) + ' ' + format_eta(3600), "59m59s 1h00m");
  EXPECT_EQ(format_states(std::vector<JobState>(3, JobState::running)), "RRR");
  EXPECT_EQ(format_states(std::vector<JobState>(4, JobState::running)), "R(4)");
}

TEST(ProgressLines, WhatMattersStandsInEightyColumns) {
  std::vector<JobProgress> jobs(40, progress_of("j", 0, "a-group-with-quite-a-long-name"));
  jobs[0].left_seconds = 754;
  jobs[0].share = 0.45;
  Told told;
  (void)told.at(0, jobs);
  jobs[0].lost_frames = 12345;
  jobs[0].tx_frames = jobs[0].rx_frames = 12'345'678;
  const std::string seen = told.at(1, jobs)[0].substr(0, 79);
  for (const char* part :
       {"a-group-wit~", "R(40)", "45 %", "12m34s", "lost 12,345", "tx 12.3 M/s", "rx 12.3 M/s"}) {
    EXPECT_TRUE(has(seen, part)) << part << " in " << seen;
  }
  for (const auto& [name, shown] :
       {std::pair{"abcdefghijkl", "abcdefghijkl"},
        {"abcdefghij\u00fcklm", "abcdefghij~"},         // the letter has two bytes
        {"abcdefgh\u20acijklm", "abcdefgh\u20ac~"}}) {  // and this one three
    EXPECT_TRUE(Told().at(0, {progress_of(name, 0)})[0].starts_with(shown + std::string(" ")));
  }
}

// ---- Sums ----

TEST(Intervals, ThatFollowEachOtherAddUp) {
  const RunProgress progress = test::distinct_progress();
  const IntervalResult& a = progress.jobs[0].last;
  const IntervalResult& b = progress.jobs[1].last;
  IntervalResult sum = a;
  extend(sum, b);
  const auto both = static_cast<double>(a.latency_count + b.latency_count);
  Figures wanted{{"at_seconds", b.at_seconds},
                 {"seconds", a.seconds + b.seconds},
                 {"latency_mean_ns", (*a.latency_mean_ns * static_cast<double>(a.latency_count) +
                                      *b.latency_mean_ns * static_cast<double>(b.latency_count)) /
                                         both},
                 {"latency_p50_ns", std::max(*a.latency_p50_ns, *b.latency_p50_ns)},
                 {"latency_p99_ns", std::max(*a.latency_p99_ns, *b.latency_p99_ns)},
                 {"latency_max_ns", std::max(*a.latency_max_ns, *b.latency_max_ns)},
                 {"measured", a.measured && b.measured},
                 {"cpu_user_seconds", *a.cpu_user_seconds + *b.cpu_user_seconds},
                 {"cpu_system_seconds", *a.cpu_system_seconds + *b.cpu_system_seconds}};
  // A new row is not wanted until it is above, or among these.
  constexpr Places kAnywhere = kInResult | kInStream | kInMessages;
  const Figures of_a = test::row_figures(a, kAnywhere);
  const Figures of_b = test::row_figures(b, kAnywhere);
  for (const char* count : {"tx_frames", "tx_bytes", "rx_frames", "rx_bytes", "lost_frames",
                            "overruns", "latency_count"}) {
    wanted[count] = of_a.at(count).get<std::uint64_t>() + of_b.at(count).get<std::uint64_t>();
  }
  wanted.merge(Figures{{"tcp.retransmits", a.tcp->retransmits + b.tcp->retransmits}});
  wanted.merge(test::row_figures(*b.tcp, kAnywhere, "tcp."));  // the newest
  Figures shown = test::row_figures(sum, kAnywhere);
  shown.merge(test::row_figures(*sum.tcp, kAnywhere, "tcp."));
  test::expect_figures(wanted, shown);
  // What is not known of one part is not known of the whole.
  IntervalResult unknown = b;
  unknown.cpu_user_seconds = std::nullopt;
  unknown.latency_p50_ns = std::nullopt;
  unknown.latency_count = 0;
  extend(sum, unknown);
  EXPECT_FALSE(sum.cpu_user_seconds);
  EXPECT_FALSE(cpu_share(sum));
  extend(sum, b);
  EXPECT_FALSE(sum.cpu_user_seconds) << "a part of it is missing";
  EXPECT_EQ(*sum.latency_p50_ns, wanted["latency_p50_ns"]) << "the greatest that is known";
}

}  // namespace
}  // namespace shmif::perf::report_stream
