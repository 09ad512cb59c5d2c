// Reports for people and the lines for scripts: that what they say is what the JSON says.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "perf/report/report.hpp"
#include "perf/report/table.hpp"
#include "perf/report/text.hpp"
#include "perf/report/units.hpp"
#include "tests/perf/remote/served_sample.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

Report report_of(const RunResult& run) {
  return Report::parse(to_json(run, Bins::without), "sample").value();
}
std::string text_of(const RunResult& run) {
  return to_text(report_of(run));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// The first line that begins so, blanks in front not counted; empty when there is none.
std::string line_with(const std::string& text, const std::string& begin) {
  for (const std::string& line : lines_of(text)) {
    const auto at = line.find_first_not_of(' ');
    if (at != std::string::npos && line.substr(at).starts_with(begin)) return line;
  }
  return {};
}

// ---- Units ----

/// What stands behind the blank; empty when there is none.
std::string unit_in(const std::string& figure) {
  const auto blank = figure.find(' ');
  return blank == std::string::npos ? "" : figure.substr(blank + 1);
}

TEST(Units, AreKnownAsSuchWhateverTheNumber) {
  for (int power = 0; power <= 15; ++power) {
    const double size = 2 * std::pow(10, power);
    const auto bytes = static_cast<std::uint64_t>(size);
    for (const std::string& figure :
         {format_ns(size), format_bps(size), format_fps(size), format_share(size),
          format_seconds(size * 1e-9), format_bytes(bytes), format_memory(bytes)}) {
      EXPECT_TRUE(is_unit(unit_in(figure))) << figure;
    }
  }
  for (const char* other : {"", "frames", "S", "m", "kilo", "it/s", "ms,"}) {
    EXPECT_FALSE(is_unit(other)) << other;
  }
}

TEST(TextTable, ColumnsAreAlignedAlsoForLettersOfSeveralBytes) {
  Table table(0);
  table.add({"a", "1"});
  table.add({"Zürich", "1,000"});
  EXPECT_EQ(table.text(), "a           1\nZürich  1,000\n");
}

TEST(TextTable, ControlCharactersDoNotReachATerminal) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f\xc2\x9b."), "a?[2Jb?c??.");
  EXPECT_EQ(printable("Zürich"), "Zürich");
}

// ---- Provenance ----

/// A number of a text in base units, and half of its last digit.
struct Shown {
  std::string text;
  double value;
  double error;
};

double size_of_unit(const std::string& unit) {
  static const std::map<std::string, double> kUnits = {
      {"us", 1e3},     {"ms", 1e6},  {"ns", 1},       {"kbit/s", 1e3}, {"Mbit/s", 1e6},
      {"Gbit/s", 1e9}, {"k/s", 1e3}, {"M/s", 1e6},    {"kB", 1e3},     {"MB", 1e6},
      {"GB", 1e9},     {"%", 0.01},  {"GiB", 1 << 30}};
  const auto it = kUnits.find(unit);
  return it == kUnits.end() ? 1 : it->second;
}

/// Every number of the tables: of lines that begin with two blanks, behind the name of the row.
std::vector<Shown> numbers_in(const std::string& text) {
  static const std::regex kNumber(
      R"(  ([0-9][0-9,]*)(\.[0-9]+)?( (us|ms|ns|s|[kMG]?bit/s|[kM]?/s|[kMG]?B|GiB|%))?(?= |$))");
  std::vector<Shown> numbers;
  for (const std::string& line : lines_of(text)) {
    if (!line.starts_with("  ")) continue;
    for (std::sregex_iterator it(line.begin(), line.end(), kNumber), end; it != end; ++it) {
      std::string digits = (*it)[1].str();
      digits.erase(std::remove(digits.begin(), digits.end(), ','), digits.end());
      const double unit = size_of_unit((*it)[4].str());
      const auto decimals = (*it)[2].matched ? (*it)[2].length() - 1 : 0;
      numbers.push_back({it->str(), std::stod(digits + (*it)[2].str()) * unit,
                         0.5000001 * std::pow(10.0, -static_cast<double>(decimals)) * unit});
    }
  }
  return numbers;
}

void collect(const Json& json, std::vector<double>& into) {
  if (json.is_number()) {
    into.push_back(json.get<double>());
  } else if (json.is_structured()) {
    for (const Json& item : json) collect(item, into);
    into.push_back(static_cast<double>(json.size()));  // how many trials, jobs, repetitions
  }
}

TEST(Text, EveryNumberIsOneOfTheJson) {
  for (const char* name : {"failed", "quiet", "engines", "search", "unstarted"}) {
    const Report report = report_of(test::sample_named(name));
    std::vector<double> known;
    collect(report.json(), known);
    for (const Json& r : report.json()["repeats"]) {
      // The one figure that is computed for the text: the spread.
      known.push_back((r["max"].get<double>() - r["min"].get<double>()) /
                      r["median"].get<double>());
    }
    // Seconds stay seconds, and what is shown in ns may be nanoseconds or seconds.
    const auto shown = numbers_in(to_text(report));
    for (const Shown& n : shown) {
      const bool found = std::any_of(known.begin(), known.end(), [&](double k) {
        return std::fabs(k - n.value) <= n.error || std::fabs(k * 1e9 - n.value) <= n.error;
      });
      EXPECT_TRUE(found) << name << ": \"" << n.text << "\" is nowhere in the JSON";
    }
    EXPECT_GE(shown.size(), std::string(name) == "unstarted" ? 0U : 100U) << name;
  }
}

TEST(Text, WhatWentWrongComesBeforeAnyTable) {
  const std::string text = text_of(test::failed_sample());
  const auto table = text.find("traffic");
  ASSERT_NE(table, std::string::npos);
  for (const char* problem : {"FAILED    voip.peer: lost", "loss      bulk.peer",
                              "overrun   voip.peer", "warning   bulk: 148 k/s is 92.4 % of"}) {
    EXPECT_LT(text.find(problem), table) << problem;
  }
  const std::string quiet = text_of(test::engines_sample());
  EXPECT_EQ(quiet.find("FAILED"), std::string::npos);
}

// Once for all that is printed: scripts, the page and the text say the same.
TEST(Text, WhatWentWrongIsWhatTheJsonSays) {
  RunResult run = test::failed_sample();
  run.jobs[1].flows.at(0).late = 7;
  run.jobs[1].flows.at(0).cancelled = 3;
  run.jobs[0].tx.skipped_frames = 5;
  const std::string text = text_of(run);
  const auto json = nlohmann::json::parse(to_json(run, Bins::without));
  std::size_t problems = 0;
  for (const auto& job : json["jobs"]) {
    for (const auto& problem : job["problems"]) {
      ++problems;
      const std::string line =
          job["jobname"].get<std::string>() + ": " + problem["text"].get<std::string>() + '\n';
      EXPECT_NE(text.find(line), std::string::npos) << line;
    }
  }
  EXPECT_GE(problems, 4U);
  EXPECT_NE(text.find("7 late, 3 cancelled"), std::string::npos);
  EXPECT_NE(line_with(text, "skipped   "), "");
}

/// Round trips, of which requests and replies were lost.
RunResult lossy_round_trips(std::size_t pairs) {
  RunResult run;
  for (std::size_t i = 0; i < pairs; ++i) {
    RunResult one = test::quiet_sample(i + 1);
    JobResult& asker = one.jobs[0];
    JobResult& echo = one.jobs[1];
    asker.name += std::to_string(i);
    echo.peer_of = asker.name;
    echo.name = asker.name + ".echo";
    asker.role = Role::pingpong;
    echo.role = Role::echo;
    std::swap(asker.latency, echo.latency);
    asker.rx = asker.tx;
    echo.flows = asker.flows = {FlowResult()};
    FlowResult& requests = echo.flows[0];
    requests.kind = FlowResult::Kind::request;
    requests.from = asker.name;
    requests.to = echo.name;
    requests.sent = 1000;
    requests.received = 963;
    requests.lost = 37;
    FlowResult& replies = asker.flows[0];
    replies.kind = FlowResult::Kind::reply;
    replies.from = echo.name;
    replies.to = asker.name;
    replies.sent = 963;
    replies.received = 930;
    replies.lost = 33;
    if (i == 0) run = one;
    if (i != 0) std::ranges::move(one.jobs, std::back_inserter(run.jobs));
  }
  run.groups.clear();
  return run;
}

TEST(Text, TellsLostRequestsFromLostReplies) {
  const std::string text = text_of(lossy_round_trips(1));
  EXPECT_NE(text.find("bulk0.echo: 37 lost (3.70 %), of 1,000 requests sent by bulk0\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("bulk0: 33 lost (3.43 %), of 963 replies sent by bulk0.echo\n"),
            std::string::npos);
  EXPECT_NE(line_with(text, "bulk0 -> bulk0.echo requests"), "");
  EXPECT_NE(line_with(text, "bulk0.echo -> bulk0 replies"), "");
  // In a line for each job both are what came back too few, of what was asked.
  const std::string line = line_with(text_of(lossy_round_trips(6)), "bulk3 ");
  EXPECT_NE(line.find(" 70  7.00 %"), std::string::npos) << line;
}

TEST(Text, WhatWasNotMeasuredIsADash) {
  const std::string text = text_of(test::engines_sample());
  const std::string counts = line_with(text, "load.unix.peer received        ");
  ASSERT_NE(counts, "") << text;
  RunResult run = test::quiet_sample();
  run.jobs[0].limit_fps = run.jobs[0].rate_ci_share = std::nullopt;
  run.jobs[0].start_skew_ns = std::nullopt;
  EXPECT_TRUE(std::regex_match(line_with(text_of(run), "bulk job"),
                               std::regex(R"(  bulk job +- +- +- +-)")));
  run.jobs[1].latency = std::make_shared<LatencyHistogram>();
  EXPECT_NE(line_with(text_of(run), "bulk.peer latency  -  ("), "");
  EXPECT_NE(text_of(test::unstarted_sample()).find("machine -: - x -"), std::string::npos);
}

TEST(Text, NamesTheMachinesOfTheServersAndNotTheClients) {
  const std::string text = to_text(Report::parse(test::served_sample_json(), "served").value());
  const std::string ran = line_with(text, "lab1:7000");
  for (const char* part : {"passed", " 0 ", "12.3 us", "4.56 us"}) {
    EXPECT_NE(ran.find(part), std::string::npos) << part << " in: " << ran;
  }
  EXPECT_NE(line_with(text, "lab2:7000").find("FAILED         77"), std::string::npos) << text;
  EXPECT_NE(line_with(text, "machine of lab1:7000, lab-one:").find("6.1.0-served"),
            std::string::npos);
  EXPECT_EQ(text.find("6.1.0-client"), std::string::npos) << "no job ran there";
  EXPECT_NE(text.find("requested by desk"), std::string::npos);
}

TEST(Text, WhoStopsARunInWhichNothingFailedIsNotToldThatItHas) {
  RunResult run = test::quiet_sample();
  run.stopped_by_signal = SIGINT;
  run.exit_code = 130;
  const std::string stopped = lines_of(text_of(run))[0];
  EXPECT_NE(stopped.find(": stopped by SIGINT (exit code 130)"), std::string::npos) << stopped;
  EXPECT_EQ(stopped.find("FAILED"), std::string::npos) << stopped;
  run.failures = {"job \"a\": no"};
  const std::string failed = lines_of(text_of(run))[0];
  EXPECT_NE(failed.find(": FAILED (exit code 130)"), std::string::npos) << failed;
  EXPECT_NE(failed.find("stopped by SIGINT"), std::string::npos) << failed;
}

TEST(Text, WhatADeviceDroppedOfASendersFramesStandsInItsRow) {
  RunResult run = test::quiet_sample();
  run.jobs[0].rx.frames = run.jobs[0].rx.batches = 0;
  run.jobs[0].counts.wire.dropped_frames = 4711;
  const std::string text = text_of(run);
  const std::string counts = text.substr(text.find("wire dropped"));
  EXPECT_NE(line_with(counts, run.jobs[0].name + " sent").find("4,711"), std::string::npos)
      << counts;
}

TEST(Text, OfAGroupThatReportsForItsJobsOnlyThoseThatFailedAreShown) {
  RunResult run = test::quiet_sample();
  EXPECT_NE(line_with(text_of(run), "bulk: rw="), "");
  run.jobs[0].options["group_reporting"] = "no";
  EXPECT_NE(line_with(text_of(run), "bulk: rw="), "");
  run.jobs[0].options["group_reporting"] = "yes";
  EXPECT_EQ(line_with(text_of(run), "bulk: rw="), "");
  EXPECT_NE(line_with(text_of(run), "group "), "");
  run.jobs[0].passed = false;
  EXPECT_NE(line_with(text_of(run), "bulk: rw="), "");
}

/// The quiet run by `jobs` clones, each with its peer.
RunResult run_of(std::size_t jobs) {
  const RunResult one = test::quiet_sample();
  RunResult run = one;
  run.jobs.clear();
  for (std::size_t i = 0; i < jobs; ++i) {
    for (JobResult job : one.jobs) {
      job.name += '.' + std::to_string(i);
      if (!job.peer_of.empty()) job.peer_of = run.jobs.back().name;
      run.jobs.push_back(job);
    }
  }
  return run;
}

TEST(Text, AGroupOfOneJobAndItsPeerIsNotToldTwice) {
  EXPECT_EQ(line_with(text_of(run_of(1)), "group "), "");
  EXPECT_NE(line_with(text_of(run_of(2)), "group "), "");
}

TEST(Text, ManyJobsAreALineEachAndABlockOnlyForThoseThatSomethingHappenedTo) {
  RunResult run = run_of(20);
  run.jobs[15].flows[0].lost = 3;
  const std::string text = text_of(run);
  EXPECT_NE(line_with(text, "bulk.0   passed"), "") << text;
  EXPECT_EQ(line_with(text, "bulk.0: rw="), "");
  EXPECT_NE(line_with(text, "bulk.7: rw="), "") << text;
  EXPECT_NE(line_with(text, "group "), "");
  EXPECT_LT(lines_of(text).size(), 80U);
  EXPECT_LT(text.find("loss      bulk.peer.7"), text.find("bulk.0   passed"));
}

TEST(Text, WhatBecameOfTheLoadAfterStallsIsSaidWhereItWasChosenOrMattered) {
  RunResult run = test::quiet_sample();
  EXPECT_EQ(text_of(run).find("rate_catchup"), std::string::npos);
  run.jobs[0].options["rate_catchup"] = "limited";
  EXPECT_NE(text_of(run).find("after stalls: rate_catchup=limited, gave up 0 of"),
            std::string::npos);
  run.jobs[0].options["rate_catchup"] = "skip";
  run.jobs[0].tx.skipped_frames = 17;
  EXPECT_NE(line_with(text_of(run), "skipped   bulk: 17 of "), "");
}

TEST(Text, EnginesUnderTheSameLoadStandInOneTable) {
  const std::string text = text_of(test::engines_sample());
  EXPECT_NE(text.find("the same load over 4 engines\n"), std::string::npos);
  const std::string row = line_with(text, "tap  ");
  EXPECT_NE(row.find("2,700"), std::string::npos) << text;
  RunResult run = test::engines_sample();
  for (JobResult& job : run.jobs) job.options["bs"] = job.name;
  EXPECT_EQ(text_of(run).find("the same load"), std::string::npos);
}

// A trial that lost a frame and passed when it was tried again is no limit, so trials do not tell.
TEST(Text, ASearchWhoseHighestRatePassedSaysSo) {
  RunResult run = test::search_sample();
  EXPECT_EQ(text_of(run).find("the highest rate that was tried"), std::string::npos);
  run.searches[0].limited_by_maximum = true;
  EXPECT_NE(text_of(run).find("the highest rate that was tried"), std::string::npos);
}

TEST(Text, NoByteOfANameReachesTheTerminalAsACommand) {
  const std::string text = text_of(test::hostile_sample());
  EXPECT_EQ(std::count_if(text.begin(), text.end(),
                          [](char c) { return (c >= 0 && c < 0x20 && c != '\n') || c == 0x7f; }),
            0);
}

// ---- Terse ----

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == ';') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

TEST(Terse, EachLineHasTheFieldsThatTheDocumentNames) {
  std::ifstream document(shmif::test::in_source("docs/shmifperf-terse.md"));
  std::vector<std::string> names;
  const std::regex row(R"(\| [0-9]+ \| `?([a-z0-9_.]+)?.*)");
  std::smatch match;
  for (std::string line; std::getline(document, line);) {
    if (std::regex_match(line, match, row)) names.push_back(match[1]);
  }
  for (const std::string& name : test::sample_names()) {
    const Report report = report_of(test::sample_named(name));
    const auto lines = lines_of(to_terse(report));
    ASSERT_EQ(lines.size(), report.json()["jobs"].size());
    for (std::size_t job = 0; job < lines.size(); ++job) {
      const auto fields = fields_of(lines[job]);
      ASSERT_EQ(fields.size(), names.size()) << lines[job];
      EXPECT_EQ(fields[0], std::to_string(kTerseVersion));
      for (std::size_t i = 2; i < names.size(); ++i) {
        const auto dot = names[i].find('.');
        const Json& all = report.json()["jobs"][job];
        const Json& object = dot == std::string::npos ? all : all.at(names[i].substr(0, dot));
        const Json value = object.is_null() ? Json() : object.at(names[i].substr(dot + 1));
        if (value.is_string() && name == "hostile") continue;
        std::string text = value.is_null()     ? ""
                           : value.is_string() ? value.get<std::string>()
                                               : value.dump();
        std::ranges::replace(text, ';', '_');
        EXPECT_EQ(fields[i], text) << names[i];
      }
    }
  }
}

TEST(Terse, ASemicolonInANameIsNone) {
  const auto lines = lines_of(to_terse(report_of(test::hostile_sample())));
  EXPECT_EQ(fields_of(lines[1])[2].substr(0, 22), "?]0_owned??[2J_semi_co");
}

// ---- Narrow places ----

TEST(TextTable, IsFoldedWhereItIsTooWide) {
  Table table;
  table.add({"name", "first", "second", "third"});
  table.add({"a", "1,000", "2", "3"});
  EXPECT_EQ(table.text(22),
            "  name  first  second\n  a     1,000       2\n  name  third\n  a         3\n");
  EXPECT_EQ(table.text(), table.text(200));
  EXPECT_EQ(wrapped("a sentence of some words", 22, 0), "a sentence of some\nwords\n");
  EXPECT_EQ(wrapped("short", 80, 4), "short\n");
  // A figure and its unit stay together.
  EXPECT_EQ(wrapped("a pace of no more than 1.10 /s, of 50.0 %", 27, 4),
            "a pace of no more than\n    1.10 /s, of 50.0 %\n");
  EXPECT_EQ(wrapped("the pace that is left is 7 % of it", 27, 4),
            "the pace that is left is\n    7 % of it\n");
}

void expect_columns(const std::string& text, std::size_t max) {
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with("  shmifperf")) continue;  // the command, to be pasted
    EXPECT_LE(line.size(), max) << line;
  }
}

TEST(Text, FitsATerminalOfEightyColumnsWithAllFigures) {
  for (const char* name : {"failed", "engines", "search"}) {
    const Report report = report_of(test::sample_named(name));
    const std::string folded = to_text(report, 80);
    expect_columns(folded, 80);
    std::set<std::string> wide;
    std::set<std::string> narrow;
    for (const Shown& n : numbers_in(to_text(report))) wide.insert(n.text);
    for (const Shown& n : numbers_in(folded)) narrow.insert(n.text);
    // A folded sentence may begin a line with a number, which is in no column of the wide text.
    EXPECT_TRUE(std::ranges::includes(narrow, wide)) << name;
  }
}

TEST(Text, WhatIsBesideTheTablesFitsATerminalOfEightyColumnsToo) {
  RunResult run = test::quiet_sample();
  run.steady_state =
      "not reached: the slope of the rate was 1.23 % of its mean, and 0.100 % was asked for";
  JobResult& sender = run.jobs[0];
  sender.tx.skipped_frames = 1'000'000;
  sender.options["rate_catchup"] = "skip";
  JobResult& receiver = run.jobs[1];
  receiver.percentile_list = {1, 5, 10, 25, 75, 90, 95, 99, 99.9, 99.99, 99.999};
  FlowResult& flow = receiver.flows[0];
  flow.corrupt_copies = flow.truncated_copies = 1'234'567;
  flow.verification_complete = false;
  for (std::uint64_t i = 0; i < 8; ++i) {
    flow.gaps.emplace_back(12'000'000 + i * 1000, 12'000'100 + i * 1000);
  }
  run.links = {{"bus:/dev/shm/b",
                "bulk",
                "sent",
                {{5000, 57, 0, 0, 0, 0, 0}, 0},
                "loss=1%,duplicate=0.5%,reorder=0.3%,corrupt=0.2%,delay=5ms"}};
  const std::string folded = to_text(report_of(run), 80);
  expect_columns(folded, 80);
  for (const char* const there :
       {"missed numbers", "not reached: ", "delay=5ms", "p99.999 ", "rate_catchup=skip",
        "damaged copies", "verification is incomplete", "still under way"}) {
    EXPECT_NE(folded.find(there), std::string::npos) << there;
  }
}

TEST(Text, ALowerBoundOfLostFramesIsCalledOne) {
  RunResult run = test::quiet_sample();
  JobResult& job = run.jobs[1];
  job.overruns = job.overrun_frames = 66;
  job.counts.wire.lost_frames = 66;
  job.counts.wire.lost_is_lower_bound = true;
  job.counts.agree = std::nullopt;
  const std::string text = text_of(run);
  std::size_t times = 0;
  for (auto at = text.find("at least 66"); at != std::string::npos;
       at = text.find("at least 66", at + 1))
    ++times;
  EXPECT_EQ(times, 3U) << "problem, arrivals and counts: " << text;
}

TEST(Text, ARunThatPassedSaysInItsFirstLineWhatWasLost) {
  RunResult run = test::quiet_sample();
  EXPECT_NE(text_of(run).find(": passed (exit"), std::string::npos);
  run.jobs[1].flows[0].lost = 57;
  EXPECT_NE(text_of(run).find(": passed, 57 frames lost (exit"), std::string::npos);
  run.links = {{"bus:/dev/shm/b", "bulk", "sent", {{5000, 57, 0, 0, 0, 0, 0}, 0}, "loss=1%"}};
  EXPECT_NE(text_of(run).find(": passed, 57 frames lost by the requested faults (exit"),
            std::string::npos);
}

/// The lines of the table "faults on purpose".
std::vector<std::string> table_of_faults(const RunResult& run, std::size_t width) {
  const std::string text = to_text(report_of(run), width);
  std::istringstream in(text.substr(text.find("  faults on purpose")));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line) && !line.empty();) lines.push_back(line);
  return lines;
}

TEST(Text, OfFaultsItCountsColumnsAndNotBytes) {
  RunResult run = test::quiet_sample();
  // The name and the faults take 40 columns of 80, and more bytes.
  run.links = {{"bus:/dev/shm/b", "Prüfläufe", "sent", {}, "delay=5ms±1ms,loss=1%,rate"}};
  EXPECT_EQ(table_of_faults(run, 80).at(1).find("  Prüfläufe sent delay=5ms±1ms"), 0U);
  run.links[0].options += '1';
  EXPECT_EQ(table_of_faults(run, 80).at(1).find("delay="), std::string::npos);
}

TEST(Text, LinesAreBrokenByColumnsAndNotByBytes) {
  std::string narrow;
  for (int i = 0; i < 20; ++i) narrow += "uu uuu uuuu u ";
  const auto with_umlauts = [](std::string text) {
    for (std::size_t at = 0; (at = text.find('u', at)) != std::string::npos; at += 2) {
      text.replace(at, 1, "ü");
    }
    return text;
  };
  const std::string word = "u " + std::string(60, 'u') + " u";
  for (const std::string& text : {narrow, word}) {
    for (const std::size_t width : {25U, 30U, 41U}) {
      EXPECT_EQ(wrapped(with_umlauts(text), width, 2), with_umlauts(wrapped(text, width, 2)));
    }
  }
}

}  // namespace
}  // namespace shmif::perf
