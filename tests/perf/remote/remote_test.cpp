// What goes over the network between client and server.

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "perf/option/job_file.hpp"
#include "perf/remote/combine.hpp"
#include "perf/remote/connection.hpp"
#include "perf/remote/limits.hpp"
#include "perf/remote/protocol.hpp"
#include "perf/remote/remote_host.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/plan/plans.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf {
namespace {

std::vector<Message> one_of_each() {
  RunProgress progress;
  progress.at_seconds = 1.5;
  progress.share = 0.25;
  JobProgress job;
  job.name = "voip.3";
  job.group = "voip";
  job.peer_of = "voip";
  job.state = JobState::draining;
  job.pid = 4711;
  job.failed = true;
  job.share = 0.5;
  job.last.tx_frames = 7;
  job.last.latency_p99_ns = 1234.5;
  job.last.measured = false;
  job.rx_bytes = 1ULL << 60U;
  progress.jobs = {job, job};
  JobsMessage jobs;
  jobs.set.run = {{"repeat", "3"}};
  jobs.set.jobs = {{"a", "x.job:3", {{"rw", "tx"}, {"bs", "64-1518"}}}, {"b", "", {}}};
  jobs.set.jobs[1].other_end_elsewhere = true;
  jobs.set.jobs[1].state = {std::byte{0x5a}, std::byte{0}};
  jobs.command = {"shmifperf", "run"};
  return {HelloMessage{.version = "1.2.3", .host = "lab"},
          jobs,
          PreparedMessage{12},
          RefusedMessage{{"one", "two"}, 77},
          BusyMessage{"198.18.0.1:7 (lab)", "2026-11-21T02:37:32Z"},
          GoMessage{~0ULL},
          StartedMessage{1},
          ProgressMessage{progress, true},
          RunMessage{"run 2 of 5"},
          StopMessage{true, 15},
          NoticeMessage{"why"},
          TriggeredMessage{"file x appeared"},
          TriggerMessage{},
          SenderEndedMessage{"k", ~0ULL},
          StateMessage{"j", {std::byte{0x5a}, std::byte{0}, std::byte{0xff}}},
          FinishedMessage{
              "{\"jobs\": []}\n",
              {{"k",
                {.listened_until_ns = ~0ULL,
                 .first_arrival_ns = 2,
                 .last_arrival_ns = 3,
                 .corrupt_apart = 4,
                 .truncated_apart = 5,
                 .first_number = 11,
                 .end_number = ~0ULL}},
               {"j", {.window_begin_ns = 6, .window_end_ns = 7, .marks = {{8, 9}, {~0ULL, 10}}}}}},
          PingMessage{3},
          PongMessage{4, 5}};
}

TEST(RemoteProtocol, EveryMessageComesBackAsItWas) {
  const std::vector<Message> all = one_of_each();
  ASSERT_EQ(all.size(), std::variant_size_v<Message>);
  for (const Message& message : all) {
    const std::string text = encode(message);
    const auto back = decode(text);
    ASSERT_TRUE(back) << text << ": " << back.error().message;
    EXPECT_EQ(back->index(), message.index());
    EXPECT_EQ(encode(*back), text);
  }
  const auto progress = std::get<ProgressMessage>(*decode(encode(all[7]))).progress;
  EXPECT_EQ(progress.share, 0.25);
  EXPECT_EQ(progress.left_seconds, std::nullopt);
  EXPECT_EQ(progress.jobs[1].state, JobState::draining);
  EXPECT_EQ(progress.jobs[1].last.latency_p99_ns, 1234.5);
  EXPECT_FALSE(progress.jobs[1].last.measured);
  const auto finished = std::get<FinishedMessage>(*decode(encode(all[15])));
  EXPECT_EQ(finished.halves, std::get<FinishedMessage>(all[15]).halves);
  const auto jobs = std::get<JobsMessage>(*decode(encode(all[1]))).set.jobs;
  EXPECT_FALSE(jobs.at(0).other_end_elsewhere);
  EXPECT_TRUE(jobs.at(1).other_end_elsewhere);
  EXPECT_EQ(jobs.at(1).state, std::get<JobsMessage>(all[1]).set.jobs.at(1).state);
}

TEST(RemoteProtocol, HasAnotherNumberWhenMessagesCarryAnotherFigure) {
  EXPECT_NE((folded_figures<RunProgress, TcpSample>()), folded_figures<RunProgress>());
  EXPECT_NE(folded_figures<RunProgress>(), folded_figures<TcpSample>());
}

/// Progress as a server of this kRemoteProtocol sends it, of two jobs: no two numbers of the first
/// are alike, and the second has nothing that may be missing. The fuzzer begins with it.
std::string some_progress() {
  std::ifstream file(shmif::test::in_source("tests/fuzz/corpus/remote/progress"));
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(RemoteProtocol, EachFigureOfProgressIsTheOneOfItsName) {
  const std::string text = some_progress();
  const auto message = decode(text);
  ASSERT_TRUE(message) << message.error().message;
  const auto json = nlohmann::json::parse(text);
  const RunProgress& run = std::get<ProgressMessage>(*message).progress;
  test::Figures wanted = test::row_figures(run, kInMessages);
  ASSERT_EQ(run.jobs.size(), 2U);
  for (const std::size_t i : {0U, 1U}) {
    const JobProgress& job = run.jobs[i];
    const std::string at = "jobs." + std::to_string(i) + '.';
    wanted[at + "state"] = static_cast<int>(job.state);
    wanted[at + "pid"] = job.pid;
    wanted.merge(test::row_figures(job, kInMessages, at));
    wanted.merge(test::row_figures(job.last, kInMessages, at + "interval."));
    if (job.last.tcp) {
      wanted.merge(test::row_figures(*job.last.tcp, kInMessages, at + "interval.tcp."));
    } else {
      wanted[at + "interval.tcp"] = nullptr;
    }
  }
  test::expect_figures(wanted, test::flattened(json.at("progress")));
  EXPECT_TRUE(run.jobs[0].last.tcp);
  EXPECT_FALSE(run.jobs[1].last.tcp);
  // What is in no other output, so no other test spells its key.
  const JobProgress& job = run.jobs[0];
  EXPECT_EQ(job.state, JobState::draining);
  EXPECT_EQ(job.pid, 4711);
  EXPECT_EQ(job.peer_of, "c");
  EXPECT_EQ(job.share, 0.5);
  EXPECT_EQ(job.left_seconds, 2.5);
  EXPECT_EQ(job.last.latency_count, 12U);
  EXPECT_EQ(job.last.cpu_user_seconds, 0.125);
  EXPECT_EQ(job.last.cpu_system_seconds, 0.0625);
  // It is also what this version sends, without any other key.
  EXPECT_EQ(nlohmann::json::parse(encode(*message)), json);
}

TEST(RemoteProtocol, ProgressThatLacksAFigureOrHasOneOfAnotherTypeIsRefused) {
  const auto whole = nlohmann::json::parse(some_progress());
  std::size_t tried = 0;
  const auto figures = whole.flatten();
  for (const auto& [place, value] : figures.items()) {
    if (!place.starts_with("/progress/")) continue;
    ++tried;
    auto less = whole;
    const nlohmann::json::json_pointer at(place);
    less.at(at.parent_pointer()).erase(at.back());
    EXPECT_FALSE(decode(less.dump())) << place;
    auto other = whole;
    other[at] = value.is_string() ? nlohmann::json(7) : nlohmann::json("seven");
    EXPECT_FALSE(decode(other.dump())) << place;
  }
  EXPECT_EQ(tried, figures.size() - 2) << "all but the type of the message, and `interval`";
  auto unknown = whole;
  unknown.at("progress").at("jobs").at(0).at("state") = 99;
  EXPECT_FALSE(decode(unknown.dump()));
}

/// The results of two servers: the same report from each.
std::vector<HostResult> two_servers(const Report& report) {
  return {{.name = "x",
           .report = report,
           .failures = {},
           .start_offset_ns = 1'200'000,
           .clock_error_ns = 34'000},
          {.name = "y",
           .report = report,
           .failures = {},
           .start_offset_ns = 5'600'000,
           .clock_error_ns = 78'000}};
}

TEST(RemoteFigures, OfEachServerAreThoseOfItsOwnResult) {
  const std::string text = to_json(test::distinct_sample().run, Bins::with);
  const Report report = Report::parse(text, "server").value();
  const auto whole = nlohmann::json::parse(combined_json(two_servers(report), {}, Bins::with));
  for (const char* list : {"jobs", "groups", "links", "searches", "repeats", "steady_states"}) {
    const nlohmann::json& of_one = report.json().at(list);
    ASSERT_EQ(whole.at(list).size(), 2 * of_one.size()) << list;
    for (std::size_t i = 0; i < whole.at(list).size(); ++i) {
      const auto shown = test::flattened(whole.at(list)[i]);
      for (const auto& [place, value] : test::flattened(of_one[i % of_one.size()])) {
        if (!value.is_number()) continue;
        EXPECT_EQ(shown.at(place), value) << list << ' ' << place;
      }
      EXPECT_EQ(shown.at("hostname"), i < of_one.size() ? "x" : "y");
    }
  }
  for (const std::size_t i : {0U, 1U}) {
    const nlohmann::json& host = whole.at("hosts").at(i);
    EXPECT_EQ(host.at("hostname"), i == 0 ? "x" : "y");
    EXPECT_EQ(host.at("exit_code"), 143);
    EXPECT_EQ(host.at("start_offset_ns"), i == 0 ? 1'200'000 : 5'600'000);
    EXPECT_EQ(host.at("clock_error_ns"), i == 0 ? 34'000 : 78'000);
    EXPECT_EQ(host.at("machine"), report.json().at("machine"));
    EXPECT_EQ(host.at("time"), report.json().at("time"));
  }
}

TEST(RemoteFigures, WhatHeldJobsBackIsOfAllServersTheHeaviestFirst) {
  RunResult run = test::distinct_sample().run;
  run.causes.causes[0].of_losses_share = 0.5;
  run.causes.causes[1].of_losses_share = 0.25;
  for (Cause& cause : run.causes.causes) cause.share = 1;
  std::vector<HostResult> hosts =
      two_servers(Report::parse(to_json(run, Bins::without), "server").value());
  auto whole = nlohmann::json::parse(combined_json(hosts, {}, Bins::without));
  ASSERT_EQ(whole.at("causes").size(), 4U);
  std::vector<std::string> jobs;
  for (const nlohmann::json& cause : whole.at("causes")) jobs.push_back(cause.at("job"));
  EXPECT_EQ(jobs, (std::vector<std::string>{"y/a", "x/a", "y/d", "x/d"}));
  EXPECT_EQ(whole.at("causes").at(0).at("sentence"), "y: the-sentence-of-a");
  EXPECT_EQ(whole.at("causes").at(0).at("hostname"), "y");
  EXPECT_EQ(whole.at("causes_reason"), nullptr);
  EXPECT_EQ(whole.at("why"), nullptr) << "each server has its own";
  EXPECT_EQ(whole.at("hosts").at(1).at("why").at("looks"), run.causes.looks);
  EXPECT_EQ(whole.at("hosts").at(1).at("causes_reason"), nullptr);
  EXPECT_TRUE(Report::parse(whole.dump(), "whole"));

  run.causes = {};
  run.causes.why_unknown = "it was turned off (why=0)";
  hosts[0].report = Report::parse(to_json(run, Bins::without), "server").value();
  whole = nlohmann::json::parse(combined_json(hosts, {}, Bins::without));
  EXPECT_EQ(whole.at("causes").size(), 2U) << "those of the other server";
  EXPECT_EQ(whole.at("hosts").at(0).at("causes_reason"), "it was turned off (why=0)");
  EXPECT_EQ(whole.at("hosts").at(0).at("why"), nullptr);

  hosts[1].report.reset();
  whole = nlohmann::json::parse(combined_json(hosts, {}, Bins::without));
  EXPECT_EQ(whole.at("causes"), nullptr);
  EXPECT_EQ(whole.at("causes_reason"), "x: it was turned off (why=0); y: it has no result");
  EXPECT_TRUE(Report::parse(whole.dump(), "whole"));
}

TEST(RemoteFigures, OfEachServerSayWhetherItPassedAndWhyNot) {
  const Report good = Report::parse(to_json(test::quiet_sample(), Bins::without), "s").value();
  const Report bad = Report::parse(to_json(test::failed_sample(), Bins::without), "s").value();
  const std::vector<HostResult> hosts{
      {.name = "a:1", .report = good, .failures = {}},
      {.name = "b:2", .report = bad, .failures = {}},
      {.name = "c:3", .report = good, .failures = {"one\x1b", "two\xff"}},
      {.name = "d:4", .report = {}, .failures = {}}};
  WholeRun run;
  run.options = {{"repeat", "3"}, {"status-interval", "2"}};
  const auto whole = nlohmann::json::parse(combined_json(hosts, run, Bins::without));
  const auto list = [&](const char* key) {
    auto values = nlohmann::json::array();
    for (const auto& host : whole.at("hosts")) values.push_back(host.at(key));
    return values;
  };
  EXPECT_EQ(list("passed"), (nlohmann::json{true, false, false, false}));
  EXPECT_EQ(list("failures"),
            nlohmann::json::parse("[[], [], [\"one\\u001b\", \"two\xEF\xBF\xBD\"], []]"));
  EXPECT_EQ(list("exit_code"), (nlohmann::json{0, 1, 0, nullptr}));
  EXPECT_EQ(list("shmifperf_version"), (nlohmann::json{"0.1.0", "0.1.0", "0.1.0", nullptr}));
  EXPECT_EQ(whole.at("jobs").at(0).at("hostname"), "a:1");
  EXPECT_EQ(whole.at("options"), (nlohmann::json{{"repeat", "3"}, {"status-interval", "2"}}));
  EXPECT_EQ(whole.at("exit_code"), 1);
  const std::string text = combined_text(hosts, run);
  EXPECT_NE(text.find("\nFAILED    c:3: one?\nFAILED    c:3: two?\n"), std::string::npos)
      << text.substr(0, 1000);
}

/// Of "loss.flows.0.from" the last word, and of "jobnames.2" the list.
std::string key_of(const std::string& place) {
  const std::string last = place.substr(place.rfind('.') + 1);
  if (last.find_first_not_of("0123456789") != std::string::npos) return last;
  return key_of(place.substr(0, std::min(place.rfind('.'), place.size())));
}

TEST(RemoteFigures, EveryNameHasThatOfItsServerBeforeIt) {
  const std::set<std::string> names{"jobname", "groupname", "peer_of", "jobnames", "from", "to"};
  const std::string text = to_json(test::distinct_sample().run, Bins::with);
  const Report report = Report::parse(text, "server").value();
  std::set<std::string> seen;
  for (const Bins bins : {Bins::with, Bins::without}) {
    const std::string all = combined_json(two_servers(report), {}, bins);
    EXPECT_EQ(all.find("\"bins\"") == std::string::npos, bins == Bins::without);
    const auto whole = nlohmann::json::parse(all);
    for (const char* list : {"jobs", "groups", "links", "searches", "repeats", "steady_states"}) {
      const nlohmann::json& of_one = report.json().at(list);
      for (std::size_t i = 0; i < whole.at(list).size(); ++i) {
        const std::string host = i < of_one.size() ? "x/" : "y/";
        const auto shown = test::flattened(whole.at(list)[i]);
        for (const auto& [place, value] : test::flattened(of_one[i % of_one.size()])) {
          const std::string key = key_of(place);
          if (!value.is_string() || !names.contains(key)) continue;
          EXPECT_EQ(shown.at(place), host + value.get<std::string>()) << list << ' ' << place;
          seen.insert(key);
        }
      }
    }
  }
  EXPECT_EQ(seen, names) << "the sample has all of them";
}

TEST(RemoteFigures, ThatTwoBeganTogetherIsAsSureAsTheClockThatIsKnownWorst) {
  const Report report = Report::parse(to_json(test::quiet_sample(), Bins::without), "s").value();
  auto hosts = two_servers(report);
  for (int i = 0; i < 2; ++i) {
    const std::string text = combined_text(hosts, {});
    EXPECT_NE(text.find("(their clocks are compared to within 156 us)"), std::string::npos) << text;
    std::swap(hosts[0], hosts[1]);
  }
  hosts[0].start_offset_ns.reset();
  EXPECT_EQ(combined_text(hosts, {}).find("began within"), std::string::npos) << "one alone";
}

TEST(RemoteProtocol, WhatIsNotWholeOrOfAnotherTypeIsRefused) {
  for (const Message& message : one_of_each()) {
    const std::string text = encode(message);
    for (std::size_t size = 0; size < text.size(); ++size) {
      EXPECT_FALSE(decode(text.substr(0, size))) << text.substr(0, size);
    }
  }
  for (const char* text : {"",
                           "null",
                           "[]",
                           "{}",
                           "1",
                           R"({"type":"dance"})",
                           R"({"type":1})",
                           R"({"type":"go"})",
                           R"({"type":"go","start_ns":-1})",
                           R"({"type":"go","start_ns":1.5})",
                           R"({"type":"go","start_ns":"1"})",
                           R"({"type":"stop","hard":1,"signal":2})",
                           R"({"type":"stop","hard":true,"signal":65})",
                           R"({"type":"refused","exit_code":1,"why":[1]})",
                           R"({"type":"refused","exit_code":0,"why":[]})",
                           R"({"type":"refused","why":[]})",
                           R"({"type":"refused","exit_code":256,"why":[]})",
                           R"({"type":"jobs","run":[["a"]],"jobs":[],"command":[]})",
                           R"({"type":"jobs","run":{},"jobs":[],"command":[]})",
                           R"({"type":"jobs","run":[],"jobs":[1],"command":[]})",
                           R"({"type":"ping","sent_ns":1} {})",
                           "{\"type\":\"busy\",\"by\":\"\xff\",\"since\":\"\"}"}) {
    EXPECT_FALSE(decode(text)) << text;
  }
}

TEST(RemoteProtocol, BombsAreRefusedBeforeTheyGoOff) {
  EXPECT_FALSE(decode(std::string(1U << 20U, '[')));
  EXPECT_FALSE(
      decode(R"({"type":"refused","why":)" + std::string(20, '[') + std::string(20, ']') + '}'));
  std::string many = R"({"type":"refused","why":[""])";
  many.pop_back();
  for (std::size_t i = 0; i < kMaxItems; ++i) many += ",\"\"";
  EXPECT_FALSE(decode(many + "]}"));
  EXPECT_FALSE(decode(R"({"type":"busy","since":"","by":")" + std::string(1U << 20U, 'x') + "\"}"));
  std::string objects = R"({"type":"jobs","run":[],"command":[],"jobs":[{})";
  for (int i = 0; i < 131'000; ++i) objects += ",{}";
  const auto refused = decode(objects + "]}");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("more than 16 times its length"), std::string::npos)
      << "it is refused before it is a tree: " << refused.error().message;
}

TEST(RemoteProtocol, MessagesAreCutFromAStreamWhateverPiecesItComesIn) {
  const std::string stream = with_length("one") + with_length("two and more") + with_length("3");
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    MessageReader reader(64);
    std::vector<std::string> read;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      reader.feed(std::string_view(stream).substr(at, piece));
      for (auto next = reader.next(); *next; next = reader.next()) read.push_back(**next);
    }
    EXPECT_EQ(read, (std::vector<std::string>{"one", "two and more", "3"}));
  }
}

TEST(RemoteProtocol, ALengthIsBelievedOnlyWithinItsBound) {
  for (const std::string& length :
       {std::string(4, '\0'), std::string("\0\0\0\x41", 4), std::string("\xff\xff\xff\xff", 4)}) {
    MessageReader reader(64);
    reader.feed(length);
    EXPECT_FALSE(reader.next());
  }
  MessageReader reader(64);
  reader.feed(std::string("\0\0\0\x40", 4));
  EXPECT_TRUE(reader.next());
}

TEST(RemoteJobs, EveryProfileMeansTheSameOnTheOtherSide) {
  for (const Profile& profile : profiles()) {
    JobSet set;
    ASSERT_TRUE(read_job_text(profile.name, profile.text, set).empty());
    std::vector<std::string> problems;
    const JobSet again = job_set_of(texts_of(set), ServerLimits{}, problems);
    EXPECT_TRUE(problems.empty()) << problems.front();
    const auto plan = expand(set).value();
    const auto plan_again = expand(again).value();
    ASSERT_EQ(plan.size(), plan_again.size()) << profile.name;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      EXPECT_EQ(plan[i].options.name, plan_again[i].options.name);
      EXPECT_EQ(plan[i].options.bs.tx, plan_again[i].options.bs.tx);
      EXPECT_EQ(plan[i].options.runtime, plan_again[i].options.runtime);
      EXPECT_EQ(plan[i].options.given, plan_again[i].options.given);
      EXPECT_EQ(plan[i].waits_for, plan_again[i].waits_for);
    }
  }
}

TEST(RemoteJobs, WhatConcernsTheClientStaysThere) {
  JobSet set;
  ASSERT_TRUE(read_job_text("x.job",
                            "[global]\noutput=/tmp/x\noutput-format=json\nrepeat=2\n[a]\nsize=1k\n",
                            set)
                  .empty());
  EXPECT_EQ(texts_of(set).run, (OptionTexts{{"repeat", "2"}}));
  ServerLimits limits;
  EXPECT_EQ(apply_limits(limits, set).size(), 2U) << "and is refused if it comes all the same";
}

TEST(RemoteJobs, UnknownOptionsBadValuesAndBadNamesAreRefusedByName) {
  JobTexts texts;
  texts.run = {{"repeat", "0"}, {"bs", "64"}};
  texts.jobs = {{"a", "", {{"rat", "1"}, {"rate", "x"}}}, {"a/b", "", {}}};
  std::vector<std::string> problems;
  (void)job_set_of(texts, ServerLimits{}, problems);
  ASSERT_EQ(problems.size(), 5U);
  EXPECT_NE(problems[2].find("job \"a\": unknown option \"rat\""), std::string::npos);
  EXPECT_NE(problems[4].find("\"a/b\" is not a job name"), std::string::npos);
}

TEST(RemoteExitCode, IsTheOneThatSaysMostOfAllServers) {
  const HostResult unsupported{
      .name = "a", .report = {}, .failures = {"refused: no namespaces"}, .refused_with = 77};
  const HostResult refused{
      .name = "b", .report = {}, .failures = {"refused: too long"}, .refused_with = 1};
  const HostResult vanished{.name = "c", .report = {}, .failures = {"it vanished"}};
  const HostResult waited{.name = "d", .report = {}, .failures = {}};  // for the others
  const WholeRun whole;
  EXPECT_EQ(exit_code_of({unsupported, waited}, whole), 77);
  EXPECT_EQ(exit_code_of({unsupported, refused}, whole), 1);
  EXPECT_EQ(exit_code_of({vanished, unsupported}, whole), 1);
  EXPECT_EQ(exit_code_of({waited}, whole), 1) << "nothing ran";
  WholeRun stopped;
  stopped.signal = 15;
  EXPECT_EQ(exit_code_of({unsupported, waited}, stopped), 128 + 15);
}

TEST(ServerAddress, IsReadAsPeopleWriteIt) {
  const auto read = [](const char* text) {
    const auto address = parse_server_address(text);
    return address ? address->host + '|' + std::to_string(address->port) : "refused";
  };
  EXPECT_EQ(read("lab3"), "lab3|18765");
  EXPECT_EQ(read("lab3:7000"), "lab3|7000");
  EXPECT_EQ(read("198.18.0.1:0"), "198.18.0.1|0");
  EXPECT_EQ(read("[fd00::1]:7000"), "fd00::1|7000");
  EXPECT_EQ(read("[fd00::1]"), "fd00::1|18765");
  EXPECT_EQ(read("fd00::1"), "fd00::1|18765");
  for (const char* text : {"", ":", ":7000", "lab3:", "lab3:x", "lab3:65536", "lab3:-1", "[fd00::1",
                           "[fd00::1]x", "[fd00::1]:", "[]:1", "a b", "me@lab3", "http://lab3"}) {
    EXPECT_EQ(read(text), "refused") << text;
  }
}

TEST(ClockOffset, TheQuickestAnswerSaysMost) {
  ClockOffset clock;
  clock.note(1000, 3000, 500'000);  // read at 2000, give or take 1000
  EXPECT_EQ(clock.error_ns(), 1000U);
  EXPECT_EQ(clock.to_theirs(2000), 500'000U);
  clock.note(5000, 5100, 503'100);
  EXPECT_EQ(clock.error_ns(), 50U);
  clock.note(6000, 9000, 1);
  EXPECT_EQ(clock.error_ns(), 50U);
  EXPECT_EQ(clock.answers(), 3);
  EXPECT_EQ(clock.to_ours(clock.to_theirs(7777)), 7777U);
  ClockOffset behind;  // a machine that was started later
  behind.note(1'000'000, 1'000'100, 50);
  EXPECT_EQ(behind.to_theirs(1'000'050), 50U);
  EXPECT_EQ(behind.to_ours(0), 1'000'000U);
}

}  // namespace
}  // namespace shmif::perf
