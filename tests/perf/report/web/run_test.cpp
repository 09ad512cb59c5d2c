// Compares what the page tells of a whole run with the result's JSON: its head, searches,
// repetitions, faults, machine and servers.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "perf/stats/latency_histogram.hpp"
#include "tests/perf/remote/served_sample.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/web/cells.hpp"
#include "tests/perf/report/web/samples.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf::page_cells {
namespace {

TEST_F(TablesInABrowser, SearchesAreShownByTheirKind) {
  const Json& result = test::searches_json();
  const Json& facts = shown("searches", result);
  const std::pair<const char*, const char*> kinds[] = {
      {"ndr", "Highest rate without loss (RFC 2544)"},
      {"pdr", "Highest rate within the permitted loss"},
      {"latency_target", "Highest rate within the latency target"}};
  for (const auto& [kind, title] : kinds) {
    Rows expected;
    for (const Json& s : result["searches"]) {
      if (s["kind"] != kind) continue;
      std::optional<double> too_high;
      for (const Json& trial : s["trials"]) {
        const double offered = trial["offered_fps"];
        if (trial["passed"] || offered <= number(s["found_fps"]).value_or(0)) continue;
        too_high = std::min(offered, too_high.value_or(offered));
      }
      expected.push_back(
          {{"frame", s["frame_bytes"].is_null() ? "mix" : count(s["frame_bytes"]) + " B"},
           {"job", s["jobname"]},
           {"found", fps(s["found_fps"])},
           {"found bit rate", bps(s["found_bps"])},
           {"first too high", too_high ? format_fps(too_high) : "-"},
           {"trials", std::to_string(s["trials"].size())},
           {"limited by", s["limited_by_maximum"].get<bool>() ? "the highest rate that was tried"
                          : s["why_none"].is_null()           ? ""
                                                              : s["why_none"].get<std::string>()}});
    }
    ASSERT_FALSE(expected.empty()) << kind;
    EXPECT_EQ(table_of(facts, title).rows, expected);
  }
}

TEST_F(TablesInABrowser, TheTrialThatFiguresAndCurvesAreOfIsNamed) {
  const Json& result = test::searches_json();
  std::string wanted = "Figures and curves of a search are those of one trial.";
  std::set<std::string> ways;
  for (const Json& s : result["searches"]) {
    const Json& trial = s["shown_trial"];
    if (trial.is_null()) continue;
    wanted += ' ' + s["jobname"].get<std::string>() + ": ";
    if (trial["offered_fps"].is_null()) {
      wanted += "a trial at full speed, with which the search began.";
      ways.insert("full speed");
    } else if (trial["number"].is_null()) {
      wanted += "a trial at " + fps(trial["offered_fps"]) + " that was cut off.";
      ways.insert("cut off");
    } else {
      const bool passed = trial["passed"];
      wanted += "trial " + count(trial["number"]) + " of " + std::to_string(s["trials"].size()) +
                " at " + fps(trial["offered_fps"]) + (passed ? ", passed." : ", failed.");
      ways.insert("counted");
    }
  }
  ASSERT_EQ(ways.size(), 3U) << "each way occurs";
  const Json& notes = shown("searches", result)["notes"];
  EXPECT_EQ(std::ranges::count(notes, Json(wanted)), 1) << notes << '\n' << wanted;
}

TEST_F(TablesInABrowser, RepetitionsAreShownByTheirMedianAndTheirLeastAndMost) {
  const Json& result = test::searches_json();
  Rows expected;
  for (const Json& r : result["repeats"]) {
    const auto figure = r["figure"].get<std::string>();
    const auto format = [&](const Json& value) {
      return figure.ends_with("_fps") ? fps(value)
             : figure == "lost_share" ? share(value)
                                      : ns(value);
    };
    const Json spread =
        (r["max"].get<double>() - r["min"].get<double>()) / r["median"].get<double>();
    expected.push_back({{"figure", r["jobname"].get<std::string>() + " " + figure},
                        {"times", std::to_string(r["values"].size())},
                        {"median", format(r["median"])},
                        {"least", format(r["min"])},
                        {"most", format(r["max"])},
                        {"spread", share(spread)}});
  }
  ASSERT_EQ(expected.size(), 3U);
  EXPECT_EQ(table_of(shown("searches", result), "Repetitions").rows, expected);
}

TEST_F(TablesInABrowser, OfRepetitionsEachFigureIsTheMedianAndNotThatOfTheRunThatIsShown) {
  const Json& facts = shown("repeated", test::repeated_json());
  LatencyHistogram middle;
  record(middle, 2000, 970);
  record(middle, 2500, 30);
  const auto at = [&](double per_cent) {
    return page_words(format_ns(static_cast<double>(middle.percentile(per_cent))));
  };
  const Rows rows = table_of(facts, "At a glance").rows;
  ASSERT_EQ(rows.size(), 1U);
  for (const auto& [head, text] : Cells{{"offered", "200 k/s"},
                                        {"sent", "200 k/s"},
                                        {"received", "199 k/s"},
                                        {"p50", at(50)},
                                        {"p99", at(99)}}) {
    EXPECT_EQ(std::ranges::find(rows[0], head, &Cells::value_type::first)->second, text) << head;
  }
  EXPECT_EQ(std::ranges::count_if(facts["notes"],
                                  [](const Json& note) {
                                    return note.get<std::string>().starts_with(
                                        "Medians of 3 runs; counts, curves and buckets are those "
                                        "of run 1.");
                                  }),
            1);
}

TEST_F(TablesInABrowser, EachFaultOnPurposeHasItsCount) {
  const Json& result = test::searches_json();
  const Rows expected = rows_of(result["links"], [](const Json& l) -> Rows {
    return {{{"line", l["jobname"].get<std::string>() + " " + l["direction"].get<std::string>()},
             {"options", l["options"]},
             {"frames", count(l["frames"])},
             {"lost", count(l["lost_frames"])},
             {"duplicated", count(l["duplicated_frames"])},
             {"reordered", count(l["reordered_frames"])},
             {"corrupted", count(l["corrupted_frames"])},
             {"truncated", count(l["truncated_frames"])},
             {"queue full", count(l["queue_full_frames"])},
             {"still under way", count(l["under_way_frames"])}}};
  });
  ASSERT_EQ(expected.size(), 2U);
  EXPECT_EQ(table_of(shown("searches", result), "Faults on purpose").rows, expected);
}

Cells window_row(const std::string& name, const Json& c) {
  return {{"over the window", name + "CPU " + std::to_string(c["cpu"].get<int>())},
          {"user", share(c["user_share"])},
          {"system", share(c["system_share"])},
          {"irq", share(c["irq_share"])},
          {"steal", share(c["steal_share"]) + (c["steal_share"].get<double>() >= 0.01 ? "!" : "")},
          {"idle", share(c["idle_share"])}};
}

std::string cpus_of(const Json& machine) {
  return std::to_string(machine["cpus"].get<int>()) + " × " +
         machine["cpu_model"].get<std::string>() + " at 2893 MHz";
}

TEST_F(TablesInABrowser, TheMachineIsDescribed) {
  const Json& result = test::few_jobs_json();
  const Json& facts = shown("few", result);
  const Json& m = result["machine"];
  const Json expected = {{"host", m["hostname"]},
                         {"CPUs", cpus_of(m)},
                         {"memory", format_memory(m["memory_bytes"].get<std::uint64_t>())},
                         {"kernel", m["kernel"]},
                         {"clock", m["clock_source"]},
                         {"virtualization", m["virtualization"]}};
  // The page has pairs in their order; a JSON object is sorted.
  Json shown_list = Json::object();
  for (const Json& pair : facts["list"]) shown_list[pair[0].get<std::string>()] = pair[1];
  EXPECT_EQ(shown_list, expected);
  EXPECT_EQ(table_of(facts, "CPUs over the measured window").rows,
            rows_of(m["cpu_window"], [](const Json& c) -> Rows { return {window_row("", c)}; }));
}

TEST_F(TablesInABrowser, EachServerHasItsRowAndItsCpus) {
  const Json result = Json::parse(test::served_sample_json());
  const Json& facts = shown("servers", result);
  const Json& ran = result["hosts"][0];
  const Json& m = ran["machine"];
  Cells first = {{"server", "lab1:7000"},
                 {"passed", "yes"},
                 {"exit code", "0"},
                 {"let go", ns(ran["start_offset_ns"])},
                 {"±", ns(ran["clock_error_ns"])},
                 {"host", m["hostname"]},
                 {"CPUs", cpus_of(m)},
                 {"memory", format_memory(m["memory_bytes"].get<std::uint64_t>())},
                 {"kernel", m["kernel"]},
                 {"clock", m["clock_source"]},
                 {"virtualization", m["virtualization"]}};
  Cells second = first;
  for (auto& [head, text] : second) text = "-";
  second[0].second = "lab2:7000";
  second[1].second = "NO!";
  second[2].second = "77";
  EXPECT_EQ(table_of(facts, "Servers").rows, (Rows{first, second}));
  EXPECT_EQ(table_of(facts, "CPUs over the measured window").rows,
            rows_of(m["cpu_window"],
                    [](const Json& c) -> Rows { return {window_row("lab1:7000 ", c)}; }));
  EXPECT_EQ(facts["list"], Json::array()) << "the client's machine";
}

TEST_F(TablesInABrowser, TheHeadSaysHowTheRunEndedAndWhatWasLost) {
  Json result = test::few_jobs_json();
  const Json& failed = shown("few", result);
  EXPECT_EQ(failed["verdict"], Json::array({"FAILED"}));
  std::uint64_t lost = 0;
  for (const Json& job : result["jobs"]) {
    if (!job["loss"].is_null()) lost += job["loss"]["lost_frames"].get<std::uint64_t>();
  }
  EXPECT_EQ(failed["head"], Json::array({"2025-11-21 04:40:00 UTC · took " +
                                         format_seconds(number(result["time"]["seconds"])) +
                                         " · on bench1 · shmifperf 0.1.0 · exit code 1 · " +
                                         format_count(lost) + " frames lost"}));
  EXPECT_EQ(failed["command"], Json::array({"shmifperf run --output-format=json+ call.job"}));
  const Json& problems = failed["problems"];
  ASSERT_GE(problems.size(), 2U);
  EXPECT_EQ(problems[0]["title"], "failed");
  EXPECT_EQ(problems[0]["text"], "killed: killed by signal 9");
  std::vector<std::string> expected;
  for (const Json& failure : result["failures"]) expected.push_back(failure);
  for (const bool care : {false, true}) {
    for (const Json& job : result["jobs"]) {
      for (const Json& problem : job["problems"]) {
        if ((problem["kind"] == "skipped") != care) continue;
        expected.push_back(job["jobname"].get<std::string>() + ": " +
                           problem["text"].get<std::string>());
      }
    }
  }
  for (const Json& warning : result["warnings"]) expected.push_back(warning);
  std::vector<std::string> texts;
  for (const Json& problem : problems) texts.push_back(problem["text"]);
  EXPECT_EQ(texts, expected);

  // Faults that the user asked for explain all losses, and then some of them.
  result["passed"] = true;
  result["failures"] = Json::array();
  result["exit_code"] = 0;
  result["steady_state"] = "reached at 12 s";
  result["links"] = test::searches_json()["links"];
  Json& link = result["links"][0];
  result["links"].erase(1);
  link["lost_frames"] = lost - 1;
  link["queue_full_frames"] = 0;
  link["under_way_frames"] = 1;
  const Json& all = shown("head-all", result);
  EXPECT_EQ(all["verdict"], Json::array({"PASSED"}));
  EXPECT_TRUE(all["head"][0].get<std::string>().ends_with(
      " · exit code 0 · " + format_count(lost) +
      " frames lost by the requested faults · steady state reached at 12 s"))
      << all["head"];
  link["lost_frames"] = lost - 3;
  link["queue_full_frames"] = 2;
  result["passed"] = false;
  result["stopped_by_signal"] = 2;
  const Json& some = shown("head-some", result);
  EXPECT_EQ(some["verdict"], Json::array({"STOPPED"}));
  EXPECT_TRUE(some["head"][0].get<std::string>().ends_with(
      " · stopped by SIGINT · " + format_count(lost) + " frames lost, no more than " +
      format_count(lost - 2) +
      " of them by the requested faults and 2 by the full queue of a fault · steady state reached "
      "at 12 s"))
      << some["head"];
}

/// The result of few jobs with lines that were asked to do so much to the frames, on purpose.
Json asked_for(std::uint64_t lost, std::uint64_t others) {
  Json result = test::few_jobs_json();
  Json line = test::searches_json()["links"][0];
  line["lost_frames"] = lost;
  line["queue_full_frames"] = line["under_way_frames"] = 0;
  for (const char* fate :
       {"duplicated_frames", "reordered_frames", "corrupted_frames", "truncated_frames"}) {
    line[fate] = others;
  }
  result["links"] = Json::array();
  for (Json& job : result["jobs"]) {
    line["jobname"] = job["jobname"];
    result["links"].push_back(line);
    if (job["loss"].is_null()) continue;
    for (Json& flow : job["loss"]["flows"]) {
      flow["late_frames"] = flow["cancelled_frames"] = flow["unverified_frames"] = 0;
    }
    job["problems"].push_back({{"kind", "loss"}, {"text", "some lost"}});
  }
  return result;
}

/// The marks ("!" bad, "~" asked for) of the cells below `head`.
std::string marks_below(const Json& facts, const std::string& table, const std::string& head) {
  std::string marks;
  for (const Cells& row : table_of(facts, table).rows) {
    for (const auto& [name, text] : row) {
      if (name == head) marks += text.ends_with('!') ? '!' : text.ends_with('~') ? '~' : ' ';
    }
  }
  return marks;
}

TEST_F(TablesInABrowser, LossesThatWereAskedForAreNoFault) {
  const std::uint64_t enough = 1'000'000'000;
  const Json& none = shown("asked-none", asked_for(0, 0));
  const Json& all = shown("asked-all", asked_for(enough, enough));
  const Json& others = shown("asked-others", asked_for(0, enough));
  const Json& losses = shown("asked-losses", asked_for(enough, 0));
  const auto with = [](std::string marks, char mark) {
    std::ranges::replace(marks, '!', mark);
    return marks;
  };
  for (const auto& [table, head] : {std::pair{"At a glance", "lost"},
                                    {"What became of the frames", "lost"},
                                    {"What became of the frames", "duplicate"},
                                    {"What became of the frames", "reordered"},
                                    {"What became of the frames", "corrupt"},
                                    {"What became of the frames", "truncated"}}) {
    const bool is_loss = head == std::string_view("lost");
    const std::string bad = marks_below(none, table, head);
    EXPECT_NE(bad.find('!'), std::string::npos) << table << ' ' << head;
    EXPECT_EQ(marks_below(all, table, head), with(bad, '~')) << table << ' ' << head;
    EXPECT_EQ(marks_below(others, table, head), with(bad, is_loss ? '!' : '~')) << head;
    EXPECT_EQ(marks_below(losses, table, head), with(bad, is_loss ? '~' : '!')) << head;
  }
  const auto bad_losses = [](const Json& facts) {
    return std::ranges::count_if(facts["problems"], [](const Json& problem) {
      return problem["title"] == "loss" && problem["kind"] == "bad";
    });
  };
  EXPECT_GT(bad_losses(none), 0);
  EXPECT_EQ(bad_losses(others), bad_losses(none));
  EXPECT_EQ(bad_losses(losses), bad_losses(none));
  EXPECT_EQ(bad_losses(all), 0);
}

TEST_F(TablesInABrowser, TheFirstFiguresAreThoseThatAReaderLooksFor) {
  const Json& few = shown("few", test::few_jobs_json());
  std::uint64_t received = 0;
  std::uint64_t lost = 0;
  for (const Json& job : test::few_jobs_json()["jobs"]) {
    if (!job["rx"].is_null()) received += job["rx"]["frames"].get<std::uint64_t>();
    if (!job["loss"].is_null()) lost += job["loss"]["lost_frames"].get<std::uint64_t>();
  }
  const Json& figures = few["figures"];
  EXPECT_EQ(figures[0], ": " + format_count(received) + " frames received")
      << "rates of jobs that followed each other do not add up";
  EXPECT_EQ(figures[1], "bad: " + format_count(lost) + " lost");
  const Json& asked = shown("asked-all", asked_for(1'000'000'000, 1'000'000'000));
  EXPECT_EQ(asked["figures"][1], "asked: " + format_count(lost) + " lost");
  Json senders = test::few_jobs_json();
  for (Json& job : senders["jobs"]) job["rx"] = job["loss"] = nullptr;
  const std::string unknown = shown("senders", senders)["figures"].dump();
  EXPECT_NE(unknown.find(" frames sent"), std::string::npos) << unknown;
  EXPECT_EQ(unknown.find("lost"), std::string::npos) << "nobody counted them: " << unknown;
  const Json& one = shown("repeated", test::repeated_json());
  const Json& sink = test::repeated_json()["jobs"][1];
  EXPECT_EQ(one["figures"][0], ": " + bps(sink["rx"]["rate_bps"]) + " received") << one["figures"];
  const Json& searches = shown("searches", test::searches_json());
  const Json& first = test::searches_json()["searches"][0];
  EXPECT_NE(searches["figures"][0].get<std::string>().find(fps(first["found_fps"])),
            std::string::npos)
      << searches["figures"];
}

TEST_F(TablesInABrowser, TheFirstFiguresAreNotOfAQueueThatTheRunItselfFilled) {
  Json result = Json::parse(to_json(test::failed_sample(), Bins::without));
  Json& call = result["jobs"][0];
  call["rw"] = "pingpong";
  result["jobs"][2]["spacing_error_ns"] = nullptr;  // it sends at full speed
  const auto rate = [&](const char* key) {
    return result["jobs"][1]["rx"][key].get<double>() + result["jobs"][3]["rx"][key].get<double>();
  };
  const Json& latency = result["jobs"][1]["latency_ns"];
  Json expected = {": " + format_bps(rate("rate_bps")) + " received",
                   ": " + format_fps(rate("rate_fps")) + " frames", "bad: 22,223 lost",
                   ": " + ns(latency["p50"]) + " round trip, p50, voip",
                   ": " + ns(latency["p99"]) + " round trip, p99, voip"};
  EXPECT_EQ(shown("full-speed", result)["figures"], expected);
  call["tx"]["offered_fps"] = 2 * call["tx"]["rate_fps"].get<double>();
  expected.erase(4);
  expected.erase(3);
  EXPECT_EQ(shown("behind-its-pace", result)["figures"], expected);
}

}  // namespace
}  // namespace shmif::perf::page_cells
