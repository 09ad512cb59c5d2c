// What the instruments found, in whole texts: each figure at its place, and why one is missing.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "perf/report/counters_report.hpp"
#include "perf/report/why_report.hpp"

namespace shmif::perf::findings {
namespace {

using Json = nlohmann::json;

// ---- Why ----

TaskSummary task_of(const std::string& job, const std::string& name, pid_t thread) {
  TaskSummary task;
  task.job = job;
  task.name = name;
  task.process = 40;
  task.thread = thread;
  task.seconds = 2;
  return task;
}

WhyResult found() {
  WhyResult result;
  result.seconds = 12;
  result.looks = 1;
  result.own_share = 0.034;
  TaskSummary task = task_of("rx", "rx", 41);
  task.running = 0.11;
  task.waiting = 0.22;
  task.asleep = 0.33;
  task.stopped = 0.34;
  task.voluntary = 1001;
  task.involuntary = 1002;
  task.migrations = 1003;
  task.minor_faults = 1004;
  task.major_faults = 1005;
  TaskSummary unseen = task_of("rx", "helper", 42);
  unseen.seconds = 0;
  unseen.ended = true;
  result.tasks = {task, unseen};
  result.machine = {.steal = 0.01,
                    .softirq = 0.02,
                    .queue_drops = 1,
                    .squeezes = 3,
                    .cpu_pressure = 0.04,
                    .memory_pressure = 0.05,
                    .io_pressure = {}};
  BusSummary bus;
  bus.bus = "/dev/shm/b";
  bus.takeovers = 1;
  bus.lock_sleeps = 2;
  bus.pauses = 3;
  bus.paused_s = 0.5;
  bus.stalls = 4;
  bus.overruns = 5;
  BusSummary lost = bus;
  lost.bus = "/dev/shm/c";
  lost.trouble = "it was truncated";
  lost.known_until_s = 7;
  result.buses = {bus, lost};
  result.missing = {{.source = "/proc/pressure/io", .reason = "no pressure of disks"}};
  return result;
}

std::string line_with(const std::string& text, const std::string& words) {
  const std::size_t at = text.find(words);
  if (at == std::string::npos) return "none in " + text;
  const std::size_t begin =
      text.rfind('\n', at) == std::string::npos ? 0 : text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

TEST(WhyFindings, EachFigureOfTheTextIsAtItsPlace) {
  WhyResult result = found();
  std::string text = why_text(result);
  EXPECT_EQ(text.find("watched for 12.0 s, 2 threads, 1 look that took 3.40 % of a CPU\n"), 0U)
      << text;
  const auto cells = [&](const std::string& of) {
    std::string line = line_with(text, of);
    for (std::size_t at = 0; (at = line.find("  ")) != std::string::npos;) line.erase(at, 1);
    return line;
  };
  EXPECT_EQ(cells("thread "),
            " thread running waiting asleep stopped slept interrupted migrations faults major "
            "faults");
  EXPECT_EQ(cells("rx 41"), " rx 41 11.0 % 22.0 % 33.0 % 34.0 % 1,001 1,002 1,003 1,004 1,005");
  EXPECT_EQ(cells("rx helper 42"), " rx helper 42 - - - - 0 0 0 0 0") << "it was never seen";
  EXPECT_EQ(line_with(text, "machine: "),
            "machine: steal 1.00 %, softirqs 2.00 % of a CPU; pressure of CPU 4.00 %, memory 5.00 "
            "%, disk -; queues of CPUs dropped 1 packet, were left early 3 times");
  EXPECT_EQ(line_with(text, "bus /dev/shm/b"),
            "bus /dev/shm/b: 2 sleeps for the lock, 1 takeover, 3 pauses (0.500 s), 4 stalls, 5 "
            "overruns");
  EXPECT_EQ(line_with(text, "bus /dev/shm/c").find("bus /dev/shm/c, until 7.00 s: 2 sleeps"), 0U);
  EXPECT_EQ(line_with(text, "not seen"), "not seen: no pressure of disks");
  EXPECT_EQ(line_with(text, "held it back"),
            "nothing held it back: rx 41 ran for 11.0 % of its time, waited for a CPU for 22.0 % "
            "and slept for 33.0 %");
  result.machine.queue_drops = 0;
  EXPECT_NE(why_text(result).find("; queues of CPUs dropped 0 packets, were left early 3 times\n"),
            std::string::npos)
      << "that no packet was dropped";
  std::swap(result.tasks[0], result.tasks[1]);
  text = why_text(result);
  EXPECT_LT(text.find(" rx helper 42 "), text.find(" rx 41 ")) << "not the busiest first";
  result.partial = true;
  result.looks = 2;
  result.machine.squeezes.reset();
  result.causes.emplace_back().sentence = "a sentence";
  text = why_text(result);
  EXPECT_EQ(text.find("partial: stopped after 12.0 s, 2 threads, 2 looks "), 0U) << text;
  EXPECT_EQ(text.find("queues of CPUs"), std::string::npos);
  EXPECT_EQ(text.find("held it back"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\na sentence\n")) << text;
}

TEST(WhyFindings, ThatAreNoneSayWhatTheBusiestThreadDid) {
  WhyResult result;
  const auto last = [&] {
    const std::string text = why_text(result);
    return text.substr(text.rfind('\n', text.size() - 2) + 1);
  };
  EXPECT_EQ(last(), "nothing was seen: it ended before the first look\n");
  result.tasks_missed = true;
  EXPECT_EQ(last(), "nothing was seen: the files of the threads could not be read\n");
  TaskSummary task = task_of("a", "a", 1);
  task.seconds = 0;
  result.tasks = {task};
  EXPECT_EQ(last(), "what it did is not known: a 1 was not seen for a whole interval\n");
  // By the time, not by the share; and waiting counts, but sleep does not.
  TaskSummary busy = task_of("b", "b", 2);
  busy.running = 0.3;
  TaskSummary brief = task_of("c", "c", 3);
  brief.seconds = 0.1;
  brief.running = 1;
  TaskSummary waits = task_of("d", "d", 4);
  waits.running = 0.1;
  waits.waiting = 0.25;
  result.tasks = {task, brief, busy, waits};
  EXPECT_EQ(last(),
            "in what was seen, nothing held it back: d 4 ran for 10.0 % of its time, waited for a "
            "CPU for 25.0 % and slept for 0 %\n");
  result.tasks_missed = false;
  result.tasks = {brief, busy};
  EXPECT_EQ(last(), "nothing held it back: b 2 ran for 30.0 % of its time and slept for 0 %\n");
}

TEST(WhyFindings, ShowTheThreadsThatMakeUpNearlyAllOfTheBusyTimeAndCountTheOthers) {
  /// Threads that were busy for that share of a second each.
  const auto watched = [](const std::vector<double>& busy) {
    WhyResult result;
    for (const double share : busy) {
      TaskSummary& task = result.tasks.emplace_back(
          task_of("load", "load", static_cast<pid_t>(101 + result.tasks.size())));
      task.running = share / 2;
      task.waiting = share / 2;
      task.asleep = 1 - share;
    }
    return result;
  };
  const auto rows = [](const std::string& text) {
    std::string threads;
    for (std::size_t at = 0; (at = text.find("\n  load ", at)) != std::string::npos; ++at) {
      threads += text.substr(at + 8, 3) + ' ';
    }
    return threads;
  };
  std::vector<double> busy(40, 0.0001);
  for (const std::size_t i : {3U, 9U, 11U, 20U, 30U, 39U}) busy[i] = 0.5;
  const std::string few = why_text(watched(busy));
  EXPECT_EQ(rows(few), "104 110 112 121 131 140 ");
  EXPECT_NE(few.find("\nand 34 more threads, with 0.113 % of the time"), std::string::npos) << few;
  EXPECT_EQ(Json::parse(why_json(watched(busy))).at("tasks").size(), 40U);
  const std::string many = why_text(watched(std::vector<double>(50, 0.3)));
  EXPECT_EQ(rows(many).size(), 20U * 4) << "twenty at most";
  EXPECT_NE(many.find("\nand 30 more threads, with 60.0 % of the time"), std::string::npos) << many;
  EXPECT_EQ(rows(why_text(watched({0, 0.9, 0, 0, 0}))), "101 102 103 104 105 ") << "none of a few";
  WhyResult stopped = watched(std::vector<double>(30, 0.001));
  stopped.tasks[25].stopped = 1;
  EXPECT_NE(rows(why_text(stopped)).find("126 "), std::string::npos);
}

TEST(WhyFindings, EachFigureOfTheJsonIsAtItsPlaceOrHasAReason) {
  WhyResult result = found();
  Json json = Json::parse(why_json(result));
  EXPECT_EQ(json.at("seconds"), 12);
  EXPECT_EQ(json.at("looks"), 1);
  EXPECT_EQ(json.at("partial"), false);
  EXPECT_EQ(json.at("own_cpu_share"), 0.034);
  EXPECT_EQ(json.at("tasks").at(0), Json::parse(R"({
    "job": "rx", "name": "rx", "process": 40, "thread": 41, "ended": false, "seconds": 2.0,
    "running_share": 0.11, "running_share_reason": null,
    "waiting_share": 0.22, "waiting_share_reason": null,
    "asleep_share": 0.33, "asleep_share_reason": null,
    "stopped_share": 0.34, "stopped_share_reason": null,
    "voluntary_switches": 1001, "involuntary_switches": 1002, "migrations": 1003,
    "minor_faults": 1004, "major_faults": 1005})"));
  const std::string unseen = "the thread was not seen for a whole interval";
  const Json& helper = json.at("tasks").at(1);
  EXPECT_EQ(helper.at("ended"), true);
  for (const std::string key :
       {"running_share", "waiting_share", "asleep_share", "stopped_share"}) {
    EXPECT_TRUE(helper.at(key).is_null()) << key;
    EXPECT_EQ(helper.at(key + "_reason"), unseen) << key;
  }
  EXPECT_EQ(json.at("machine"), Json::parse(R"({
    "steal_share": 0.01, "steal_share_reason": null,
    "softirq_share": 0.02, "softirq_share_reason": null,
    "queue_drops": 1, "queue_drops_reason": null,
    "queue_squeezes": 3, "queue_squeezes_reason": null,
    "cpu_pressure_share": 0.04, "cpu_pressure_share_reason": null,
    "memory_pressure_share": 0.05, "memory_pressure_share_reason": null,
    "io_pressure_share": null, "io_pressure_share_reason": "no pressure of disks"})"));
  EXPECT_EQ(json.at("buses"), Json::parse(R"([
    {"bus": "/dev/shm/b", "lock_sleeps": 2, "takeovers": 1, "pauses": 3, "paused_s": 0.5,
     "stalls": 4, "overruns": 5, "known_until_s": null, "reason": null},
    {"bus": "/dev/shm/c", "lock_sleeps": 2, "takeovers": 1, "pauses": 3, "paused_s": 0.5,
     "stalls": 4, "overruns": 5, "known_until_s": 7.0, "reason": "it was truncated"}])"));
  EXPECT_EQ(json.at("missing"),
            Json::parse(R"([{"source": "/proc/pressure/io", "reason": "no pressure of disks"}])"));
  result.machine = {};
  result.tasks[0].waiting.reset();
  json = Json::parse(why_json(result));
  const Json& machine = json.at("machine");
  const std::string unread = " was not read at both ends of an interval";
  EXPECT_EQ(machine.at("steal_share_reason"), "/proc/stat" + unread);
  EXPECT_EQ(machine.at("softirq_share_reason"), "/proc/stat" + unread);
  EXPECT_EQ(machine.at("queue_drops_reason"), "/proc/net/softnet_stat" + unread);
  EXPECT_EQ(machine.at("queue_squeezes_reason"), "/proc/net/softnet_stat" + unread);
  EXPECT_EQ(machine.at("cpu_pressure_share_reason"), "/proc/pressure/cpu" + unread);
  EXPECT_EQ(machine.at("memory_pressure_share_reason"), "/proc/pressure/memory" + unread);
  EXPECT_EQ(json.at("tasks").at(0).at("waiting_share_reason"),
            "the kernel tells no run delays (schedstat)");
  result.missing.push_back({.source = "/proc/PID/schedstat", .reason = "no schedstat"});
  EXPECT_EQ(Json::parse(why_json(result)).at("tasks").at(0).at("waiting_share_reason"),
            "no schedstat");
}

// ---- Counted events ----

StatResult counted() {
  StatResult result;
  result.elapsed_s = 2;
  result.clock_ns = 77;
  result.cpus = {0, 1, 2, 5};
  result.one_instant = true;
  StatEvent clock;
  clock.name = "task-clock";
  clock.value = 1'500'000;
  clock.unit = "ns";
  StatEvent whole;
  whole.name = "cycles";
  whole.value = 1'234'567;
  whole.scaled = true;
  whole.enabled_ns = 1000;
  whole.running_ns = 333;
  whole.source = "a table";
  whole.note = "a note";
  StatEvent few;
  few.name = "faults";
  few.value = 12.5;
  few.unit = "Joules";
  StatEvent none;
  none.name = "secret";
  none.state = "not permitted";
  none.reason = "the kernel says so";
  none.enable_with = "sysctl x=1";
  result.events = {clock, whole, few, none};
  result.derived = {{"IPC", 0.12345, ""}, {"clock", 2.5, "GHz"}};
  result.sets = {{.id = 3, .events = 1, .activations = 4, .active_ns = 5'000'000}};
  return result;
}

TEST(StatFindings, AreWholeInTheText) {
  StatResult result = counted();
  EXPECT_EQ(stat_text(result),
            "Counted on CPUs 0-2,5 for 2.000 s:\n"
            "  event               value    unit       rate  counted\n"
            "  task-clock          1.500      ms\n"
            "  cycles          1,234,567          617,284/s    33.3%\n"
            "  faults             12.500  Joules     6.25/s\n"
            "  secret      not permitted\n"
            "  IPC: 0.123\n"
            "  clock: 2.500 GHz\n"
            "  event set 3: 4 turns, 5.000 ms\n"
            "  cycles: a note\n"
            "  secret: not permitted: the kernel says so; to change that: sysctl x=1\n");
  result.events[1].scaled = false;
  EXPECT_EQ(line_with(stat_text(result), "  cycles   "),
            "  cycles          1,234,567          617,284/s")
      << "it counted all the time that it was to count";
  result.partial = true;
  result.cpus = {4};
  result.elapsed_s = 0;
  result.events.resize(3);
  const std::string text = stat_text(result);
  EXPECT_EQ(text.find("Counted on CPU 4 for 0.000 s, until a signal came:\n"), 0U) << text;
  EXPECT_EQ(text.find("/s"), std::string::npos) << "no time, no rate";
  result.cpus.clear();
  EXPECT_EQ(stat_text(result).find("Counted for 0.000 s"), 0U);
}

TEST(StatFindings, AreWholeInTheJson) {
  StatResult result = counted();
  EXPECT_EQ(Json::parse(stat_json(result)), Json::parse(R"({
    "events": [
      {"name": "task-clock", "value": 1500000, "unit": "ns", "scaled": false, "enabled_ns": null,
       "running_ns": null, "source": "", "reason": ""},
      {"name": "cycles", "value": 1234567, "unit": "", "scaled": true, "enabled_ns": 1000,
       "running_ns": 333, "source": "a table", "reason": ""},
      {"name": "faults", "value": 12.5, "unit": "Joules", "scaled": false, "enabled_ns": null,
       "running_ns": null, "source": "", "reason": ""},
      {"name": "secret", "value": null, "unit": "", "scaled": false, "enabled_ns": null,
       "running_ns": null, "source": "", "reason": "not permitted: the kernel says so"}],
    "derived": [{"name": "IPC", "value": 0.12345, "unit": ""},
                {"name": "clock", "value": 2.5, "unit": "GHz"}],
    "sets": [{"id": 3, "activations": 4, "active_ns": 5000000}],
    "elapsed_s": 2.0, "clock_ns": 77, "one_instant": true, "partial": false,
    "cpus": [0, 1, 2, 5]})"));
  result.cpus.clear();
  // More than a double has whole numbers of, and more than 64 bits.
  for (const double large : {9007199254740992.0, 9007199254740994.0, 1e19, 2e25}) {
    result.events[0].value = large;
    const Json json = Json::parse(stat_json(result));
    EXPECT_FALSE(json.contains("cpus"));
    EXPECT_EQ(json.at("events")[0].at("value").get<double>(), large);
    EXPECT_EQ(json.at("events")[0].at("value").is_number_integer(), large <= 9007199254740992.0);
  }
}

TEST(StatFindings, RatesFromAHundredOnAreWholeAndNumbersGrouped) {
  StatResult result;
  result.elapsed_s = 1;
  result.events.resize(1);
  result.events[0].name = "e";
  for (const auto& [value, scaled, wanted] :
       {std::tuple{99.994, false, " e 99.994 99.99/s"},
        {100, false, " e 100 100/s"},
        {1000, false, " e 1,000 1,000/s"},
        {0, false, " e 0 0.00/s"},
        {1234.5678, false, " e 1234.568 1,235/s"},
        {9007199254740994, false, " e 9,007,199,254,740,994 9,007,199,254,740,994/s"},
        {1e19, false, " e 10,000,000,000,000,000,000 10,000,000,000,000,000,000/s"},
        {1234.5678, true, " e 1,235 1,235/s"},  // an estimate has no fractions
        {12.5, true, " e 13 12.50/s"}}) {
    result.events[0].value = value;
    result.events[0].scaled = scaled;
    std::string text = line_with(stat_text(result), "  e ");
    for (std::size_t at = 0; (at = text.find("  ")) != std::string::npos;) text.erase(at, 1);
    EXPECT_EQ(text, wanted);
  }
}

// ---- Samples ----

SampleReport sampled() {
  SampleReport report;
  report.event = "cycles";
  report.profile.samples = 200;
  report.profile.rows = {{"inner", "lib.so", 150, 0.75}, {"outer", "program", 50, 0.25}};
  report.profile.roots = {{"outer", "program", 200, 50, {{"inner", "lib.so", 150, 150, {}}}}};
  report.profile.notes = {"a note"};
  report.lost_samples = 3;
  report.elapsed_s = 1.5;
  return report;
}

TEST(SampleFindings, AreWholeInTheText) {
  SampleReport report = sampled();
  const std::string table =
      "  function  samples   share   object\n"
      "  inner         150  75.00%   lib.so\n"
      "  outer          50  25.00%  program\n";
  EXPECT_EQ(sample_text(report, 0),
            "200 samples of cycles in 1.500 s, 3 lost\n" + table + "  a note\n");
  report.callgraph = report.partial = report.lost_is_least = true;
  report.cpus = {1, 3};
  EXPECT_EQ(sample_text(report, 0),
            "200 samples of cycles on CPUs 1,3 in 1.500 s, at least 3 lost, until a signal came\n" +
                table +
                "calls, by the kernel's walk along frame pointers: functions that were compiled "
                "without them lack or misname their callers\n"
                "100.00%  outer (program)\n"
                " 75.00%    inner (lib.so)\n"
                "  more samples than 3 may be lost: this kernel does not tell how many found no "
                "room behind the last one (Linux 6.0 and newer do)\n"
                "  a note\n");
  const std::string most = sample_text(report, 0.75);
  EXPECT_NE(most.find("  inner         150  75.00%"), std::string::npos)
      << "as much as the least share: " << most;
  EXPECT_NE(most.find(" 75.00%    inner (lib.so)\n"), std::string::npos) << most;
  EXPECT_EQ(most.find("  outer   "), std::string::npos);
  EXPECT_EQ(sample_text(report, 0.76).find("inner"), std::string::npos);
  report.profile.rows[0].symbol = std::string(61, 'x');
  EXPECT_EQ(sample_text(report, 0).find(std::string(61, 'x')), std::string::npos);
}

TEST(SampleFindings, OfNoSamplesHaveNeitherATableNorCalls) {
  SampleReport report;
  report.event = "cycles";
  report.callgraph = true;
  EXPECT_EQ(sample_text(report, 0), "0 samples of cycles in 0.000 s, 0 lost\n");
  report = sampled();
  EXPECT_EQ(sample_text(report, 0.8), "200 samples of cycles in 1.500 s, 3 lost\n  a note\n")
      << "no function has that share";
}

TEST(SampleFindings, AreWholeInTheJson) {
  SampleReport report = sampled();
  EXPECT_EQ(Json::parse(sample_json(report)), Json::parse(R"({
    "samples": 200, "lost_samples": 3, "lost_samples_reason": null,
    "profile": [{"symbol": "inner", "object": "lib.so", "samples": 150, "share": 0.75},
                {"symbol": "outer", "object": "program", "samples": 50, "share": 0.25}],
    "event": "cycles", "elapsed_s": 1.5, "notes": ["a note"], "partial": false})"));
  report.cpus = {1, 3};
  report.callgraph = report.lost_is_least = report.partial = true;
  const Json json = Json::parse(sample_json(report));
  EXPECT_EQ(json.at("cpus"), (Json{1, 3}));
  EXPECT_EQ(json.at("partial"), true);
  EXPECT_TRUE(json.at("lost_samples_reason").is_string());
  EXPECT_EQ(json.at("callgraph"), Json::parse(R"([
    {"symbol": "outer", "object": "program", "samples": 200, "own": 50, "calls": [
      {"symbol": "inner", "object": "lib.so", "samples": 150, "own": 150, "calls": []}]}])"));
}

}  // namespace
}  // namespace shmif::perf::findings
