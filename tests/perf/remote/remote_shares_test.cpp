// Which jobs each server gets, and what two servers say together about the frames between them.

#include <gtest/gtest.h>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "perf/option/job_file.hpp"
#include "perf/remote/combine.hpp"
#include "perf/remote/shares.hpp"
#include "perf/report/report.hpp"
#include "shmif/mac.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::remote_shares {
namespace {

using Json = nlohmann::json;

JobSet set_of(const std::string& jobs) {
  JobSet set;
  const auto problems = read_job_text("x.job", jobs, set);
  EXPECT_TRUE(problems.empty()) << problems.front();
  return set;
}
std::string value_of(const JobTexts::Job& job, const std::string& name) {
  const auto it = std::find_if(job.options.rbegin(), job.options.rend(),
                               [&](const auto& each) { return each.first == name; });
  return it == job.options.rend() ? "" : it->second;
}
const std::string kBothOnABus = "[global]\nruntime=1\nengine=bus\nbus=/b\n";

TEST(Shares, OnABusBothServersAreToldTheSameAddressOfTheReceiverAndNoTwoReceiversHaveOne) {
  const Shares shares =
      shares_of(set_of(kBothOnABus + "[j]\nserver=a\nrw=tx\nto=k\n"
                                     "[k]\nserver=b\nrw=rx\n"
                                     "[l]\nserver=b\nrw=pingpong\nto=m\n"
                                     "[m]\nserver=a\nrw=echo\n"
                                     "[o]\nserver=a\nrw=tx\nto=p\n"
                                     "[p]\nserver=b\nrw=rx\nhostname=02:00:00:00:00:07\n"));
  ASSERT_EQ(shares.servers.size(), 2U);
  const auto& of_a = shares.servers[0].texts.jobs;
  const auto& of_b = shares.servers[1].texts.jobs;
  ASSERT_EQ(of_a.size(), 3U);
  ASSERT_EQ(of_b.size(), 3U);
  const std::string k = value_of(of_b[0], "hostname");
  const std::string m = value_of(of_a[1], "hostname");
  EXPECT_EQ(value_of(of_a[0], "hostname"), k);
  EXPECT_EQ(value_of(of_b[1], "hostname"), m);
  EXPECT_NE(k, m);
  for (const std::string& address : {k, m}) {
    const auto mac = MacAddress::parse(address);
    ASSERT_TRUE(mac.has_value()) << address;
    EXPECT_EQ(address.substr(0, 3), "02:") << "one that no manufacturer gives";
  }
  EXPECT_EQ(value_of(of_a[2], "hostname"), "02:00:00:00:00:07");
  EXPECT_EQ(value_of(of_b[2], "hostname"), "02:00:00:00:00:07");
  for (const JobTexts::Job* const sender : {&of_a[0], &of_b[1]}) {
    EXPECT_EQ(value_of(*sender, "no_peer"), "1");
    EXPECT_EQ(value_of(*sender, "to"), "");
  }
  for (const JobTexts::Job* const receiver : {&of_b[0], &of_a[1]}) {
    EXPECT_EQ(value_of(*receiver, "verify_only"), "1");
    EXPECT_EQ(value_of(*receiver, "runtime"), "1000ms");
    EXPECT_EQ(value_of(*receiver, "drain_time"), "1000ms");
  }
  for (const ServerShare& share : shares.servers) {
    for (const JobTexts::Job& job : share.texts.jobs) EXPECT_TRUE(job.other_end_elsewhere);
  }
}

TEST(Shares, AReceiverListensForTheTimeAndTheDrainsOfItsSender) {
  const auto receiver = [](const std::string& of_sender, const std::string& of_receiver) {
    const Shares shares =
        shares_of(set_of(kBothOnABus + "[j]\nserver=a\nrw=tx\nto=k\n" + of_sender +
                         "\n[k]\nserver=b\nrw=rx\n" + of_receiver + "\n"));
    const JobTexts::Job& k = shares.servers.at(1).texts.jobs.at(0);
    return value_of(k, "runtime") + ' ' + value_of(k, "drain_time");
  };
  EXPECT_EQ(receiver("start_delay=2\nruntime=3\ndrain_time=200ms", "drain_time=7"), "5000ms 200ms");
  EXPECT_EQ(receiver("drain_time=0", ""), "1000ms 1000ms") << "as long as for a reply";
  const Shares here = shares_of(set_of(kBothOnABus + "[j]\nserver=a\nrw=tx\n"));
  EXPECT_FALSE(here.servers.at(0).texts.jobs.at(0).other_end_elsewhere);
}

TEST(Shares, AnOptionForAllJobsGoesToTheEndsOfAFlowThatUseIt) {
  const Shares shares = shares_of(
      set_of(kBothOnABus + "rate_iops=1000\nfault_rx=loss=1%\nport=7\n[j]\nserver=a\nrw=tx\n"
                           "to=k\n[k]\nserver=b\nrw=rx\n"));
  ASSERT_EQ(shares.servers.size(), 2U);
  const JobTexts::Job& j = shares.servers[0].texts.jobs.at(0);
  const JobTexts::Job& k = shares.servers[1].texts.jobs.at(0);
  EXPECT_EQ(value_of(j, "rate_iops"), "1000");
  EXPECT_EQ(value_of(k, "rate_iops"), "");
  EXPECT_EQ(value_of(j, "fault_rx"), "");
  EXPECT_EQ(value_of(k, "fault_rx"), "loss=1%");
  for (const JobTexts::Job* const each : {&j, &k})
    EXPECT_EQ(value_of(*each, "port"), "7") << "no job of the run uses it: the server refuses it";
}

TEST(ServerProblems, AreWhatTwoServersCannotDoTogether) {
  const std::string address = "hostname=02:00:00:00:00:07\n";
  for (const auto& [j, k, words] : std::initializer_list<std::array<std::string, 3>>{
           {"rw=tx\n", "rw=rx\n", ""},
           {"rw=pingpong\n", "rw=echo\n", ""},
           {"rw=pingpong\n", "rw=rx\n", "frames go one way or are echoed"},
           {"rw=tx\n", "rw=echo\n", "frames go one way or are echoed"},
           {"rw=tx\n", "rw=rx\nnumjobs=2\n", "clones cannot share its address"},
           {"rw=tx\nengine=bus,udp\n", "rw=rx\n", "only engine=udp and engine=bus lead there"},
           {"rw=tx\nengine=unix\n", "rw=rx\nengine=unix\n", "only engine=udp and engine=bus"},
           {"rw=tx\n", "rw=rx\nstonewall\n", "stonewall: servers do not wait for each other"},
           {"rw=tx\n", "rw=rx\nwait_for=j\n", "wait_for: servers do not wait for each other"},
           {"rw=tx\n", "rw=rx\n[l]\nserver=b:18765\nrw=tx\n", "server: b:18765 is the same as b"},
           {"rw=tx\n", "rw=rx\n[l]\nserver=b:7\nrw=tx\n", ""},
           {"rw=tx\n", "rw=rx\n" + address + "[l]\nserver=b\nrw=echo\n" + address, "address 02:00"},
           {"rw=tx\n", "rw=rx\n" + address + "[l]\nserver=b\nrw=tx\n" + address, ""}}) {
    std::string all;
    for (const std::string& each : server_problems(
             set_of(kBothOnABus + "[j]\nserver=a\nto=k\n" + j + "[k]\nserver=b\n" + k))) {
      all += each;
    }
    EXPECT_EQ(all.empty(), words.empty()) << j << k << all;
    EXPECT_NE(all.find(words), std::string::npos) << j << k << all;
  }
}

// ---- The results ----

HostResult result_of(const std::string& server, const Json& report) {
  HostResult result;
  result.name = server;
  result.report = Report::parse(report.dump(), "of " + server).value();
  return result;
}
Json& job_in(Json& report, const std::string& name) {
  for (Json& each : report.at("jobs")) {
    if (each.at("jobname") == name) return each;
  }
  throw std::runtime_error("no job " + name);
}

/// A flow of which both servers tell what the quiet sample does.
class SharedFlow : public ::testing::Test {
 protected:
  SharedFlow() {
    receiver().at("latency_ns_reason") = nullptr;
    EXPECT_FALSE(receiver().at("latency_ns").is_null());
    EXPECT_FALSE(receiver().at("intervals").empty());
  }
  Json& sender() { return job_in(told_by_sender_, "bulk"); }
  Json& receiver() { return job_in(told_by_receiver_, "bulk.peer"); }
  HostResult together(const ClockPair& clocks) {
    HostResult from = result_of("a", told_by_sender_);
    HostResult to = result_of("b", told_by_receiver_);
    account_for({"a", "bulk", "b", "bulk.peer"}, clocks, from, to);
    return to;
  }
  Json told_by_sender_ = Json::parse(to_json(test::quiet_sample(), Bins::without));
  Json told_by_receiver_ = told_by_sender_;
};

TEST_F(SharedFlow, ALatencyIsTakenBackIfTheClocksRanApartDuringTheRun) {
  const HostResult result = together({.shift_ns = 7, .error_ns = 5'000'000});
  Json report = result.report->json();
  const Json& job = job_in(report, "bulk.peer");
  const std::string why =
      "the frames come from another server, and the clocks of a and b were compared only to within "
      "5";
  for (const std::string key : {"latency_ns", "service_ns"}) {
    EXPECT_TRUE(job.at(key).is_null()) << key;
    EXPECT_EQ(job.at(key + "_reason").get<std::string>().find(why), 0U) << job.at(key + "_reason");
  }
  EXPECT_FALSE(job.contains("latency_clock_error_ns"));
  for (const Json& interval : job.at("intervals")) {
    for (const char* key :
         {"latency_mean_ns", "latency_p50_ns", "latency_p99_ns", "latency_max_ns"})
      EXPECT_TRUE(interval.at(key).is_null()) << key;
  }
  std::size_t groups = 0;
  for (const Json& group : report.at("groups")) {
    if (group.at("groupname") != job.at("groupname")) continue;
    ++groups;
    EXPECT_TRUE(group.at("latency_ns").is_null());
  }
  EXPECT_EQ(groups, 1U);
  EXPECT_NE(report.at("warnings").dump().find("bulk.peer: its latencies were dropped, because "),
            std::string::npos)
      << report.at("warnings");
  EXPECT_TRUE(result.failures.empty()) << "the frames were counted";
}

TEST_F(SharedFlow, FramesThatNobodySentAreAFailureThatNamesBothCounts) {
  const std::uint64_t arrived = receiver().at("loss").at("received_frames");
  ASSERT_GT(arrived, 0U);
  sender().at("tx").at("frames") = arrived - 1;
  const HostResult result = together({.shift_ns = 0});
  ASSERT_EQ(result.failures.size(), 1U);
  EXPECT_NE(
      result.failures[0].find("received " + std::to_string(arrived) + " frames, more than the " +
                              std::to_string(arrived - 1) + " of \"bulk\" on a"),
      std::string::npos)
      << result.failures[0];
  EXPECT_EQ(result.exit_code(), 1);
}

TEST_F(SharedFlow, ALostRequestIsNotCountedAgainAsALostReply) {
  const auto set = [](Json& loss, std::uint64_t sent, std::uint64_t arrived) {
    loss.at("sent_frames") = sent;
    loss.at("received_frames") = arrived;
    loss.at("lost_frames") = sent - arrived;
    for (const char* const key : {"corrupt_frames", "truncated_frames", "late_frames",
                                  "cancelled_frames", "unverified_frames"})
      loss.at(key) = 0;
  };
  Json& asks = sender();
  asks.at("rx") = receiver().at("rx");
  asks.at("loss") = receiver().at("loss");
  ASSERT_EQ(asks.at("loss").at("flows").size(), 1U);
  asks.at("tx").at("frames") = 1000;
  set(asks.at("loss"), 1000, 900);
  set(asks.at("loss").at("flows").at(0), 1000, 900);
  set(receiver().at("loss"), 940, 940);
  set(receiver().at("loss").at("flows").at(0), 940, 940);
  HostResult from = result_of("a", told_by_sender_);
  HostResult to = result_of("b", told_by_receiver_);
  account_for({"a", "bulk", "b", "bulk.peer"}, {}, from, to);
  Json asked = from.report->json();
  Json echoed = to.report->json();
  const Json& replies = job_in(asked, "bulk").at("loss");
  const Json& requests = job_in(echoed, "bulk.peer").at("loss");
  for (const Json& loss : {requests, requests.at("flows").at(0)}) {
    EXPECT_EQ(loss.at("sent_frames"), 1000);
    EXPECT_EQ(loss.at("lost_frames"), 60);
  }
  for (const Json& loss : {replies, replies.at("flows").at(0)}) {
    EXPECT_EQ(loss.at("sent_frames"), 940);
    EXPECT_EQ(loss.at("lost_frames"), 40);
  }
  EXPECT_EQ(requests.at("flows").at(0).at("kind"), "request");
  EXPECT_EQ(requests.at("flows").at(0).at("from"), "a/bulk");
  EXPECT_EQ(replies.at("flows").at(0).at("kind"), "reply");
  EXPECT_EQ(replies.at("flows").at(0).at("from"), "b/bulk.peer");
}

TEST_F(SharedFlow, WithoutTheSendersReportNobodyKnowsWhatWasLost) {
  HostResult from = result_of("a", told_by_sender_);
  from.report.reset();
  told_by_receiver_["causes"] = {
      {{"job", "bulk.peer"},
       {"cause", "stopped"},
       {"begin_s", 0.0},
       {"end_s", 1.0},
       {"share", 0.5},
       {"of_losses_share", 0.6},
       {"sentence", "it was stopped; 60 % of all lost frames fell there"}}};
  HostResult to = result_of("b", told_by_receiver_);
  account_for({"a", "bulk", "b", "bulk.peer"}, {}, from, to);
  Json told = to.report->json();
  EXPECT_EQ(told.at("causes").at(0).at("sentence"), "it was stopped");
  EXPECT_TRUE(told.at("causes").at(0).at("of_losses_share").is_null());
  const Json& job = job_in(told, "bulk.peer");
  EXPECT_TRUE(job.at("loss").is_null()) << job.at("loss");
  EXPECT_EQ(job.at("loss_reason"), "a has not reported how many frames \"bulk\" has sent");
  EXPECT_FALSE(job.at("rx").is_null()) << "what arrived is known";
  for (const bool alone : {false, true}) {
    for (Json& group : told_by_receiver_.at("groups")) {
      if (alone) group.at("jobnames") = {"bulk.peer"};
    }
    to = result_of("b", told_by_receiver_);
    account_for({"a", "bulk", "b", "bulk.peer"}, {}, from, to);
    const Json group = to.report->json().at("groups").at(0);
    EXPECT_EQ(group.at("loss").is_null(), alone) << group.at("loss");
    if (alone) continue;
    EXPECT_EQ(group.at("loss").at("sent_frames"), 0) << "others have sent nothing";
  }
}

// ---- Receivers that ended early, and senders that were killed ----

/// 1,000 frames, one each ms from 5,000,000,000 ns of the sender's clock on. The first 400 came.
class HalfOfAFlow : public SharedFlow {
 protected:
  HalfOfAFlow() {
    sender().at("tx").at("frames") = 1000;
    sender().at("tx").at("seconds") = 1.0;
    sender().at("exit_signal") = nullptr;
    Json& loss = receiver().at("loss");
    for (Json* const each : {&loss, &loss.at("flows").at(0)}) {
      for (const char* const key :
           {"lost_frames", "corrupt_frames", "truncated_frames", "late_frames", "cancelled_frames",
            "unverified_frames", "corrupt_copies", "truncated_copies"})
        each->at(key) = 0;
      each->at("sent_frames") = each->at("received_frames") = 400;
    }
    receiver().at("rx").at("frames") = 400;
    told_.window_begin_ns = kBegin;
    told_.window_end_ns = kBegin + 1'000'000'000;
    for (std::uint64_t i = 0; i < 1000; ++i) told_.marks.push_back({kBegin + i * 1'000'000, i});
    heard_.first_arrival_ns = kBegin;
    heard_.last_arrival_ns = kBegin + 399'000'000;
  }
  Json receiver_after(const ClockPair& clocks = {.shift_ns = 0}) {
    from_ = result_of("a", told_by_sender_);
    HostResult to = result_of("b", told_by_receiver_);
    from_.halves = {{"bulk", told_}};
    to.halves = {{"bulk.peer", heard_}};
    account_for({"a", "bulk", "b", "bulk.peer"}, clocks, from_, to);
    EXPECT_EQ(to.failures, std::vector<std::string>{});
    Json report = to.report->json();
    warnings_ = report.at("warnings").dump();
    return job_in(report, "bulk.peer");
  }
  using Counts = std::vector<std::uint64_t>;
  /// Lost, cancelled, corrupt, corrupt copies, truncated and truncated copies.
  static Counts fates(const Json& job) {
    Counts all;
    for (const char* const key : {"lost_frames", "cancelled_frames", "corrupt_frames",
                                  "corrupt_copies", "truncated_frames", "truncated_copies"}) {
      all.push_back(job.at("loss").at(key));
      EXPECT_EQ(job.at("loss").at("flows").at(0).at(key), job.at("loss").at(key)) << key;
    }
    return all;
  }
  static constexpr std::uint64_t kBegin = 5'000'000'000;
  HalfFlow told_, heard_;
  HostResult from_;
  std::string warnings_;
};

TEST_F(HalfOfAFlow, FramesSentToAReceiverThatHadEndedAreCancelledAndNoOthers) {
  // The frames up to 449 were sent before.
  heard_.listened_until_ns = kBegin + 449'500'000;
  const Json job = receiver_after();
  EXPECT_EQ(fates(job), (Counts{50, 550, 0, 0, 0, 0}));
  EXPECT_EQ(job.at("loss").at("sent_frames"), 1000);
  EXPECT_DOUBLE_EQ(job.at("loss").at("lost_share").get<double>(), 0.05);
  EXPECT_DOUBLE_EQ(job.at("rx").at("seconds").get<double>(), 0.4495);
  EXPECT_NE(job.at("problems").dump().find("50 lost (5.00 %), 550 cancelled, of 1,000 sent by"),
            std::string::npos)
      << job.at("problems");
}

TEST_F(HalfOfAFlow, TheClocksMayBeAsWrongAsTheyCan) {
  // The clock of the receiver is 3 s behind, give or take 2 ms; or 3 s ahead.
  for (const std::int64_t apart : {-3'000'000'000, 3'000'000'000}) {
    heard_.listened_until_ns = kBegin + 449'500'000 + static_cast<std::uint64_t>(apart);
    EXPECT_EQ(fates(receiver_after({.shift_ns = {}, .error_ns = 2'000'000, .apart_ns = apart})),
              (Counts{52, 548, 0, 0, 0, 0}));
  }
}

TEST_F(HalfOfAFlow, ADamagedFrameWithANumberThatTheReceiverDidNotKnowIsAFateAndNoCopy) {
  Json& loss = receiver().at("loss");
  for (Json* const each : {&loss, &loss.at("flows").at(0)}) {
    each->at("corrupt_copies") = 4;
    each->at("truncated_copies") = 2;
  }
  heard_.corrupt_apart = 3;
  heard_.truncated_apart = 2;
  heard_.listened_until_ns = kBegin + 404'500'000;
  EXPECT_EQ(fates(receiver_after()), (Counts{0, 595, 3, 1, 2, 0}));
  sender().at("tx").at("frames") = 404;  // only so many are missing
  EXPECT_EQ(fates(receiver_after()), (Counts{0, 0, 3, 1, 1, 1}));
}

TEST_F(HalfOfAFlow, RequestsThatNobodyTookHaveNoReplies) {
  Json& asks = sender();
  asks.at("rx") = receiver().at("rx");
  asks.at("loss") = receiver().at("loss");
  for (Json* const each : {&asks.at("loss"), &asks.at("loss").at("flows").at(0)}) {
    each->at("sent_frames") = 1000;
    each->at("received_frames") = 390;
    each->at("lost_frames") = 610;
  }
  heard_.listened_until_ns = kBegin + 449'500'000;
  EXPECT_EQ(fates(receiver_after()), (Counts{50, 550, 0, 0, 0, 0}));
  Json asked = from_.report->json();
  EXPECT_EQ(fates(job_in(asked, "bulk")), (Counts{10, 0, 0, 0, 0, 0}));
  EXPECT_EQ(job_in(asked, "bulk").at("loss").at("sent_frames"), 400);
}

TEST_F(HalfOfAFlow, TheRateOfASenderThatDiedIsOverTheTimeInWhichItsFramesCame) {
  sender().at("tx").at("seconds") = 0.0;
  sender().at("tx").at("frames") = 398;
  sender().at("exit_signal") = 9;
  Json job = receiver_after();
  EXPECT_EQ(job.at("loss").at("sent_frames"), 400) << "it had not counted the last ones";
  EXPECT_EQ(fates(job), (Counts{0, 0, 0, 0, 0, 0}));
  EXPECT_NEAR(job.at("rx").at("seconds").get<double>(), 0.4, 1e-9);
  EXPECT_NEAR(job.at("rx").at("rate_fps").get<double>(), 1000, 1e-6);
  EXPECT_NE(warnings_.find("bulk.peer: its rate is over the time in which frames arrived, because "
                           "it is not known how long \\\"bulk\\\" on a sent"),
            std::string::npos)
      << warnings_;
  // One frame has no rate.
  receiver().at("rx").at("frames") = 1;
  job = receiver_after();
  for (const char* const key : {"seconds", "rate_fps", "rate_bps"})
    EXPECT_TRUE(job.at("rx").at(key).is_null()) << key;
  EXPECT_NE(warnings_.find("bulk.peer: it has no rate, because "), std::string::npos) << warnings_;
}

// ---- The intervals ----

void set_lost(Json& job, const std::vector<std::uint64_t>& lost) {
  const Json one = job.at("intervals").at(0);
  Json& curve = job["intervals"] = Json::array();
  for (const std::uint64_t frames : lost) {
    curve.push_back(one);
    curve.back()["at_seconds"] = static_cast<double>(curve.size());
    curve.back()["seconds"] = 1.0;
    curve.back()["lost_frames"] = frames;
  }
}
std::vector<std::uint64_t> lost_in(const Json& job) {
  std::vector<std::uint64_t> lost;
  for (const Json& each : job.at("intervals")) lost.push_back(each.at("lost_frames"));
  return lost;
}

TEST_F(HalfOfAFlow, TheIntervalsAddUpToTheLossesThatTheSenderKnowsOf) {
  set_lost(receiver(), {0, 7, 0});
  EXPECT_EQ(lost_in(receiver_after()), (Counts{0, 7, 593}));
  // Frames that were sent when it had ended are not lost.
  heard_.listened_until_ns = kBegin + 404'500'000;
  set_lost(receiver(), {1, 7, 2});
  EXPECT_EQ(lost_in(receiver_after()), (Counts{1, 4, 0}));
}

// ---- The numbers that are missing ----

TEST_F(HalfOfAFlow, MissedNumbersAreAlsoThoseBeforeAndAfterTheOnesThatCame) {
  const auto gaps = [&](const Json& of_receiver) {
    receiver().at("loss").at("flows").at(0).at("gaps") = of_receiver;
    return receiver_after().at("loss").at("flows").at(0).at("gaps");
  };
  const Json two = Json::array({Json::array({20, 22}), Json::array({30, 31})});
  EXPECT_EQ(gaps(two), two) << "the sender has not told its numbers";
  told_.first_number = 10;
  told_.end_number = 1010;
  heard_.first_number = 12;
  heard_.end_number = 430;
  EXPECT_EQ(gaps(two).dump(), "[[10,12],[20,22],[30,31],[430,1010]]");
  heard_.listened_until_ns = kBegin + 449'500'000;
  EXPECT_EQ(gaps(two).dump(), "[[10,12],[20,22],[30,31],[430,460]]") << "550 were cancelled";
  heard_.listened_until_ns.reset();
  Json many = Json::array();
  for (std::uint64_t i = 0; i < 16; ++i) many.push_back(Json::array({20 + 2 * i, 21 + 2 * i}));
  const Json shown = gaps(many);
  EXPECT_EQ(shown.size(), 16U);
  EXPECT_EQ(shown.at(0).dump() + shown.at(15).dump(), "[10,12][48,49]") << "there may be more";
  heard_.first_number = heard_.end_number = 0;
  EXPECT_EQ(gaps(Json::array()).dump(), "[[10,1010]]") << "nothing came";
  receiver().at("exit_signal") = 9;
  EXPECT_EQ(gaps(Json::array()), Json::array()) << "who was killed has not told what came";
}

// ---- The causes ----

TEST_F(SharedFlow, AServerThatTellsCountsThatCannotBeHarmsNobody) {
  const Json whole = told_by_sender_;
  for (const std::uint64_t count : {UINT64_MAX, UINT64_MAX / 2, std::uint64_t{0}}) {
    for (const char* const key : {"received_frames", "corrupt_frames", "late_frames"}) {
      told_by_receiver_ = told_by_sender_ = whole;
      receiver().at("loss").at(key) = count;
      sender().at("tx").at("frames") = count;
      (void)together({.shift_ns = 0});
      (void)together({});
    }
  }
  for (const char* const key : {"loss", "rx", "latency_ns"}) {
    told_by_receiver_ = told_by_sender_ = whole;
    receiver().at(key) = nullptr;
    receiver().at(std::string(key) + "_reason") = "not measured";
    EXPECT_TRUE(together({.shift_ns = 0}).failures.empty()) << key;
  }
  told_by_receiver_ = told_by_sender_ = whole;
  receiver().at("groupname") = "nobody's";
  receiver().at("loss").at("flows") = Json::array();
  EXPECT_TRUE(together({.shift_ns = 0}).failures.empty());
  sender().at("tx") = nullptr;
  sender().at("tx_reason") = "not measured";
  EXPECT_FALSE(together({.shift_ns = 0}).failures.empty());
}

}  // namespace

}  // namespace shmif::perf::remote_shares

namespace shmif::perf::flow_faults {

// What the causes of a receiver say of its losses when its sender is on another server.

namespace {

using Json = nlohmann::json;

enum class By : std::uint8_t { time, count };

Json cause_of(const std::string& job, const std::string& kind, double share, double of_losses,
              const std::string& text, By by = By::time) {
  return {{"job", job},
          {"cause", kind},
          {"begin_s", 0.5},
          {"end_s", 0.75},
          {"share", share},
          {"of_losses_share", of_losses},
          {"counted", by == By::count},
          {"sentence", text}};
}

/// A receiver "k" that has lost frames, of which its server knew of some.
struct Blamed {
  Json report = Json::parse(R"({
    "jobs": [{"jobname": "k", "loss": {"lost_frames": 100}, "intervals": [{"at_seconds": 2.0}]}],
    "causes": []})");
  Json sending = Json::parse(R"({
    "links": [{"jobname": "j", "direction": "sent", "options": "loss=10%", "frames": 1000,
               "lost_frames": 0, "under_way_frames": 0, "queue_full_frames": 0}]})");
  std::uint64_t known_lost = 100;

  void lost(std::uint64_t frames) { report["jobs"][0]["loss"]["lost_frames"] = frames; }
  void by_faults(std::uint64_t frames) { sending["links"][0]["lost_frames"] = frames; }
  /// "SHARE SENTENCE" of each cause, in order.
  std::vector<std::string> after() {
    blame_faults(sending, "a", "j", report, "k", known_lost);
    return told();
  }
  std::vector<std::string> told() const {
    std::vector<std::string> all;
    for (const Json& each : report.at("causes")) {
      all.push_back(each.at("of_losses_share").dump() + ' ' +
                    each.at("sentence").get<std::string>());
    }
    return all;
  }
};
using Lines = std::vector<std::string>;

const Json kWaited = cause_of("k", "waited_for_cpu", 0.5, 0.51,
                              "k waited; 51 % of all lost frames fell there; it was worst then");
const std::string kFaults = "k: the requested faults of a/j (loss=10%) took ";

TEST(FlowFaults, OtherCausesExplainNoMoreThanTheFaultsLeave) {
  Blamed blamed;
  blamed.report["causes"] = Json::array({kWaited});
  blamed.by_faults(75);
  EXPECT_EQ(blamed.after(),
            (Lines{"0.75 " + kFaults + "75 frames; that explains 75 % of its lost frames",
                   "0.25 k waited; 25 % of all lost frames fell there; it was worst then"}));
  blamed.report["causes"] = Json::array({kWaited});
  blamed.by_faults(0);
  EXPECT_EQ(blamed.after(), Lines{"0.51 " + kWaited.at("sentence").get<std::string>()});
}

TEST(FlowFaults, CountedPacketsExplainLossesBeforeTimesDoAndNoLossIsExplainedTwice) {
  Blamed blamed;
  blamed.by_faults(40);
  blamed.report["causes"] = {kWaited, cause_of("k", "stopped", 0.1, 0.2, "k stopped"),
                             cause_of("k", "receive_buffer", 0.1, 0.5,
                                      "packets; that explains 50 % of its lost frames", By::count)};
  EXPECT_EQ(blamed.after(),
            (Lines{"0.4 " + kFaults + "40 frames; that explains 40 % of its lost frames",
                   "0.5 packets; that explains 50 % of its lost frames",
                   "0.1 k waited; 10 % of all lost frames fell there; it was worst then",
                   "0.0 k stopped"}));
}

TEST(FlowFaults, SharesAreOfAllLossesAlsoOfThoseOfWhichOnlyTheSenderKnew) {
  Blamed blamed;
  blamed.report["causes"] = {
      kWaited, cause_of("k", "qdisc", 0.1, 0.2, "packets; that explains 20 % of its lost frames",
                        By::count)};
  blamed.known_lost = 50;
  EXPECT_EQ(blamed.after(),
            (Lines{"0.255 k waited; 26 % of all lost frames fell there; it was worst then",
                   "0.1 packets; that explains 10 % of its lost frames"}));
}

TEST(FlowFaults, WhatWasNamedOnlyForLossesThatItDoesNotExplainIsNoCause) {
  Blamed blamed;
  blamed.by_faults(100);
  const std::string fell = "; 51 % of all lost frames fell there";
  blamed.report["causes"] = {
      cause_of("k", "waited_for_cpu", 0.039, 0.51, "k blinked" + fell),
      cause_of("k", "waited_for_cpu", 0.041, 0.51, "k waited" + fell),
      cause_of("k", "migrated", 0.001, 0.51, "k was moved" + fell),
      cause_of("k", "stopped", 0.039, 0.04, "k stopped; 4 % of all lost frames fell there"),
  };
  Lines told = blamed.after();
  ASSERT_EQ(told.size(), 4U);
  EXPECT_EQ(told.at(0).find("1.0 "), 0U);
  told.erase(told.begin());
  EXPECT_EQ(told, (Lines{"0.0 k waited", "0.0 k stopped", "0.0 k was moved"}));
}

TEST(FlowFaults, NothingIsSaidOfLossesThatAreNotKnown) {
  Blamed blamed;
  blamed.report["causes"] = {kWaited, cause_of("k", "waited_for_cpu", 0.039, 0.51,
                                               "k blinked; 51 % of all lost frames fell there")};
  forget_losses_of_causes(blamed.report, "k");
  EXPECT_EQ(blamed.told(), Lines{"null k waited; it was worst then"});
  blamed.report["causes"] = nullptr;
  forget_losses_of_causes(blamed.report, "k");
  EXPECT_TRUE(blamed.report["causes"].is_null()) << "nobody looked";
}

}  // namespace

}  // namespace shmif::perf::flow_faults
