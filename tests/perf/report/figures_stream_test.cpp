// The outputs during a run: each key, field and column holds the figure that it is named for, and
// the tests know each of them.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "perf/report/stream.hpp"
#include "perf/report/units.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/perf/report/row_figures.hpp"

namespace shmif::perf::figures_stream {
namespace {

using Json = nlohmann::json;
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
    wanted[at + "state"] = kStateNames.at(n);
    wanted[at + "failed"] = job.failed;
    wanted[at + "tx_frames"] = job.tx_frames;
    wanted[at + "tx_bytes"] = job.tx_bytes;
    wanted[at + "rx_frames"] = job.rx_frames;
    wanted[at + "rx_bytes"] = job.rx_bytes;
    wanted[at + "lost_frames"] = job.lost_frames;
    for (const auto& [key, value] : wanted_interval(job.last)) {
      wanted[at + "interval." + key] = value;
    }
    wanted.merge(test::row_figures(*job.last.tcp, kInStream, at + "interval.tcp."));
  }
  const Figures shown = test::flattened(Json::parse(to_json_line(progress)));
  test::expect_figures(wanted, shown);
  std::map<double, std::string> places;
  for (const auto& [place, value] : shown) {
    if (!value.is_number()) continue;
    const auto [other, is_new] = places.try_emplace(value.get<double>(), place);
    EXPECT_TRUE(is_new) << place << " and " << other->second << " of the sample are alike";
  }
}

/// The fields of a line for InfluxDB, as in JSON: an integer loses its "i".
Figures fields_of_influx(const std::string& text) {
  Figures all;
  std::istringstream fields(text);
  for (std::string field; std::getline(fields, field, ',');) {
    const auto at = field.find('=');
    std::string value = field.substr(at + 1);
    if (value.ends_with('i')) value.pop_back();
    all[field.substr(0, at)] = Json::parse(value);
  }
  return all;
}

TEST(StreamFigures, EachFieldOfALineOfInfluxHoldsItsFigureAndNoneIsUnknown) {
  const RunProgress progress = test::distinct_progress();
  const std::chrono::system_clock::time_point when(std::chrono::microseconds(1763700000123456));
  std::istringstream lines(to_influx(progress, when));
  for (std::size_t n = 0; n < progress.jobs.size(); ++n) {
    const JobProgress& job = progress.jobs[n];
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    std::smatch match;
    ASSERT_TRUE(std::regex_match(line, match, std::regex(R"(([^ ]*) ([^ ]*) ([^ ]*))"))) << line;
    EXPECT_EQ(match[1], "shmifperf,groupname=" + job.group + ",jobname=" + job.name);
    EXPECT_EQ(match[3], "1763700000123456000");
    Figures wanted = wanted_interval(job.last);
    wanted["state"] = kStateNames.at(n);
    wanted["failed"] = job.failed;
    wanted["all_tx_frames"] = job.tx_frames;
    wanted["all_tx_bytes"] = job.tx_bytes;
    wanted["all_rx_frames"] = job.rx_frames;
    wanted["all_rx_bytes"] = job.rx_bytes;
    wanted["all_lost_frames"] = job.lost_frames;
    test::expect_figures(wanted, fields_of_influx(match[2]));
  }
}

/// The parts of a line between two or more blanks.
std::vector<std::string> columns_of_line(const std::string& line) {
  std::vector<std::string> columns;
  for (std::size_t at = line.find_first_not_of(' '); at != std::string::npos;) {
    const std::size_t end = std::min(line.find("  ", at), line.size());
    columns.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(' ', end);
  }
  return columns;
}

TEST(StreamFigures, EachColumnOfTheStatusHoldsItsFigure) {
  const RunProgress progress = test::distinct_progress();
  std::istringstream lines(to_status(progress));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(line, "status after " + format_seconds(progress.at_seconds) + ", " +
                      format_per_cent(*progress.share) + ", eta " +
                      format_eta(*progress.left_seconds));
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(columns_of_line(line),
            (std::vector<std::string>{"job", "state", "sent", "now", "received", "now", "lost",
                                      "p50", "p99", "max", "CPU"}));
  for (std::size_t n = 0; n < progress.jobs.size(); ++n) {
    const JobProgress& job = progress.jobs[n];
    const IntervalResult& i = job.last;
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(
        columns_of_line(line),
        (std::vector<std::string>{
            job.name, job.failed ? "FAILED" : kStateNames.at(n), format_count(job.tx_frames),
            format_fps(a_second(i.tx_frames, i)), format_bps(a_second(i.tx_bytes * 8, i)),
            format_count(job.rx_frames), format_fps(a_second(i.rx_frames, i)),
            format_bps(a_second(i.rx_bytes * 8, i)), format_count(job.lost_frames),
            format_ns(i.latency_p50_ns), format_ns(i.latency_p99_ns), format_ns(i.latency_max_ns),
            format_cpu((*i.cpu_user_seconds + *i.cpu_system_seconds) / i.seconds)}));
  }
  EXPECT_FALSE(std::getline(lines, line)) << line;
}

TEST(StreamFigures, EachColumnOfTheLineOfAGroupHoldsItsFigure) {
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
  const auto moved = [](std::size_t job, std::size_t figure) {
    return 3000.0 + 1700.0 * static_cast<double>(4 * job + figure);
  };
  const auto rate = [&](std::size_t group, std::size_t figure) {
    return (moved(group, figure) + moved(group + 2, figure)) / 0.5;
  };
  const auto busy = [](const JobProgress& job) {
    return (*job.last.cpu_user_seconds + *job.last.cpu_system_seconds) / job.last.seconds;
  };
  ProgressLines lines;
  (void)lines.lines(before);
  const std::vector<std::string> shown = lines.lines(progress);
  ASSERT_EQ(shown.size(), 2U);
  const std::array<const char*, 2> names{"few", "many"};
  const std::array<const char*, 2> states{"[R/]", "[DV]"};
  for (const std::size_t group : {0U, 1U}) {
    const JobProgress& first = progress.jobs.at(group);
    const JobProgress& second = progress.jobs.at(group + 2);
    EXPECT_EQ(columns_of_line(shown[group]),
              (std::vector<std::string>{
                  names.at(group), states.at(group),
                  format_per_cent(std::min(*first.share, *second.share)),
                  "eta " + format_eta(std::max(*first.left_seconds, *second.left_seconds)),
                  "lost " + format_count(first.lost_frames + second.lost_frames),
                  "tx " + format_fps(rate(group, 0)), "rx " + format_fps(rate(group, 2)),
                  format_bps(rate(group, 1) * 8), format_bps(rate(group, 3) * 8),
                  "cpu " + format_cpu(busy(first) + busy(second))}));
  }
}

TEST(StreamFigures, OfTwoIntervalsTheSumIsOfBoth) {
  const RunProgress progress = test::distinct_progress();
  const IntervalResult& a = progress.jobs[0].last;
  const IntervalResult& b = progress.jobs[1].last;
  IntervalResult sum = a;
  extend(sum, b);
  const auto both = static_cast<double>(a.latency_count + b.latency_count);
  const Figures wanted{
      {"at_seconds", b.at_seconds},
      {"seconds", a.seconds + b.seconds},
      {"tx_frames", a.tx_frames + b.tx_frames},
      {"tx_bytes", a.tx_bytes + b.tx_bytes},
      {"rx_frames", a.rx_frames + b.rx_frames},
      {"rx_bytes", a.rx_bytes + b.rx_bytes},
      {"lost_frames", a.lost_frames + b.lost_frames},
      {"overruns", a.overruns + b.overruns},
      {"latency_count", a.latency_count + b.latency_count},
      {"latency_mean_ns", (*a.latency_mean_ns * static_cast<double>(a.latency_count) +
                           *b.latency_mean_ns * static_cast<double>(b.latency_count)) /
                              both},
      {"latency_p50_ns", std::max(*a.latency_p50_ns, *b.latency_p50_ns)},
      {"latency_p99_ns", std::max(*a.latency_p99_ns, *b.latency_p99_ns)},
      {"latency_max_ns", std::max(*a.latency_max_ns, *b.latency_max_ns)},
      {"measured", a.measured && b.measured},
      {"cpu_user_seconds", *a.cpu_user_seconds + *b.cpu_user_seconds},
      {"cpu_system_seconds", *a.cpu_system_seconds + *b.cpu_system_seconds},
      {"tcp.retransmits", a.tcp->retransmits + b.tcp->retransmits},
      {"tcp.rtt_ns", b.tcp->rtt_ns},
      {"tcp.rttvar_ns", b.tcp->rttvar_ns},
      {"tcp.snd_cwnd_bytes", b.tcp->cwnd_bytes},
      {"tcp.mss_bytes", b.tcp->mss_bytes},
      {"tcp.pmtu_bytes", b.tcp->pmtu_bytes}};
  // A new row is not wanted until it has a line above.
  constexpr Places kAnywhere = kInResult | kInStream | kInMessages;
  Figures shown = test::row_figures(sum, kAnywhere);
  shown.merge(test::row_figures(*sum.tcp, kAnywhere, "tcp."));
  test::expect_figures(wanted, shown);
}

}  // namespace
}  // namespace shmif::perf::figures_stream
