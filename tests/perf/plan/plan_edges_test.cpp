// Plans at their edges: who sends back, who is on which wire, what is told how often.

#include <gtest/gtest.h>

#include <set>

#include "perf/option/job_file.hpp"
#include "perf/plan/plan.hpp"
#include "perf/worker/job_traffic.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

std::vector<PlannedJob> planned(const std::string& text) {
  auto plan = expand(test::set_of(text));
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : std::vector<PlannedJob>();
}

std::vector<std::string> names_of(const std::vector<PlannedJob>& plan) {
  std::vector<std::string> names;
  for (const PlannedJob& job : plan) names.push_back(job.options.name);
  return names;
}

using Names = std::vector<std::string>;

TEST(PlanEdges, AStonewallWithinJobsOfManyEnginesBeginsAnotherBlock) {
  const std::string job = "runtime=1\nengine=bus,unix\n";
  const auto plan = planned("[a]\n" + job + "[b]\n" + job + "[c]\n" + job + "stonewall\n");
  EXPECT_EQ(names_of(plan),
            (Names{"a-bus", "a-bus.sink", "b-bus", "b-bus.sink", "a-unix", "a-unix.sink", "b-unix",
                   "b-unix.sink", "c-bus", "c-bus.sink", "c-unix", "c-unix.sink"}));
  EXPECT_EQ(plan.at(0).waits_for.size(), 0U);
  EXPECT_EQ(plan.at(4).waits_for.size(), 4U);
  EXPECT_EQ(plan.at(8).waits_for.size(), 8U);
  EXPECT_EQ(plan.at(10).waits_for.size(), 10U);
}

TEST(PlanEdges, AnOptionOfNoUseIsToldOfUnlessAnotherJobUsesThatValue) {
  const std::string other = "[b]\nruntime=1\nengine=udp\nport=8\n";
  EXPECT_EQ(problems_of(test::set_of("[a]\nruntime=1\nport=8\n" + other)), Names());
  const auto problems = problems_of(test::set_of("[a]\nruntime=1\nport=7\n" + other));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_NE(problems[0].find("job \"a\": port: is for engine=udp"), std::string::npos);
}

TEST(PlanEdges, BesideASearchRunBackgroundJobsAndThoseTheySendTo) {
  const auto plan =
      planned("[s]\nsearch=ndr\n[r]\nrw=rx\n[noise]\nbackground\nto=r\n[other]\nsearch=ndr\n");
  ASSERT_EQ(names_of(plan), (Names{"s", "s.sink", "r", "noise", "other", "other.sink"}));
  EXPECT_EQ(trial_jobs(plan, 0), (std::set<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(trial_jobs(plan, 4), (std::set<std::size_t>{2, 3, 4, 5}));
}

TEST(PlanEdges, WhatARunReadsIsEachFileOfItsJobsButNoStandardInput) {
  std::vector<PlannedJob> plan(6);
  plan[0].options.replay = "a.pcap";
  plan[1].options.verify_state_load = "b.state";
  plan[2].options.engine = EngineKind::pcap;
  plan[2].options.rw = Role::rx;
  plan[2].options.filename = "c.pcap";
  plan[3].options.engine = EngineKind::pcap;
  plan[3].options.filename = "written.pcap";
  plan[4].options.headers = "pcap(d.pcap,2)/udp(dport=7)";
  plan[5].options.headers = "pcap(e.pcap)";
  plan[5].options.replay = "-";
  RunOptions run;
  run.job_files = {"x.job", "-"};
  EXPECT_EQ(inputs_of(plan, run),
            (Names{"x.job", "a.pcap", "b.state", "c.pcap", "d.pcap", "e.pcap"}));
}

TEST(PlanEdges, WhatARunWritesIsEachLogOnceAndNothingOfAPeer) {
  std::vector<PlannedJob> plan(4);
  plan[0].options.name = "a/b";
  plan[0].options.write_bw_log = "x";
  plan[0].options.write_hist_log = "/y";
  plan[0].options.write_pcap = "p.pcapng";
  plan[1].options = plan[0].options;
  plan[1].peer_of = "a/b";
  plan[2].options.name = "c";
  plan[2].options.write_iops_log = "x";
  plan[2].options.write_lat_log = "x";
  plan[2].options.per_job_logs = false;
  plan[3].options = plan[2].options;
  plan[3].options.name = "d";
  plan[3].options.engine = EngineKind::pcap;
  plan[3].options.filename = "-";
  RunOptions run;
  run.aux_path = "dir";
  EXPECT_EQ(outputs_of(plan, run), (Names{"p.pcapng", "dir/x_bw.a_b.log", "/y_clat_hist.a_b.log",
                                          "p.pcapng", "dir/x_iops.log", "dir/x_lat.log"}));
}

TEST(PlanEdges, NobodyNeedsToSendToAReceiverInTheBackground) {
  const std::string sender = "[a]\nruntime=1\n";
  EXPECT_EQ(problems_of(test::set_of(sender + "[r]\nrw=rx\nbackground\n")), Names());
  const auto problems = problems_of(test::set_of(sender + "[r]\nrw=rx\n"));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_NE(problems[0].find("no job sends to this job"), std::string::npos);
}

TEST(PlanEdges, OnlyWhoSendsBothWaysIsThePeerOfTheJobThatItNames) {
  const std::string both = "runtime=1\nrw=txrx\n";
  EXPECT_EQ(names_of(planned("[a]\n" + both + "[b]\nruntime=1\nto=a\n")),
            (Names{"a", "a.peer", "b"}));
  EXPECT_EQ(names_of(planned("[a]\n" + both + "[b]\n" + both + "to=a\n")), (Names{"a", "b"}));
}

TEST(PlanEdges, OnAWireOfTwoEndsNobodyIsThePartnerOfTwo) {
  const std::string both = "runtime=1\nrw=txrx\nengine=unix\n";
  const std::string tx = "runtime=1\nengine=unix\n";
  for (const auto& [text, partner] : std::initializer_list<std::pair<std::string, std::string>>{
           {"[a]\n" + both + "to=b\n[b]\n" + both + "to=c\n[c]\n" + both, "c"},
           {"[c]\n" + both + "[b]\n" + both + "to=c\n[a]\n" + both + "to=b\n", "b"},
           {"[r]\nrw=rx\nengine=unix\n[a]\n" + tx + "to=r\n[b]\n" + tx + "to=r\n", "r"}}) {
    const auto problems = problems_of(test::set_of(text));
    ASSERT_GE(problems.size(), 1U) << text;
    EXPECT_NE(problems[0].find("to: engine=unix connects only two jobs, and \"" + partner +
                               "\" already has another partner"),
              std::string::npos)
        << problems[0];
  }
}

TEST(PlanEdges, OnlyWhoMixesWithoutARateWaitsForItsPartner) {
  const auto share_of = [](const std::string& options, std::size_t job) {
    const auto plan = planned("[j]\nruntime=1\n" + options);
    EXPECT_EQ(plan.size(), 2U);
    const std::vector<WorkerSetup> setups(plan.size());
    const auto memory = RunMemory::create(plan.size()).value();
    memory->job(0).start_ns = memory->job(1).start_ns = 1;
    const RunOptions run;
    const auto share = make_share({plan, setups, run, *memory}, job);
    return share ? std::optional(share->room(0)) : std::nullopt;
  };
  for (const std::size_t job : {0U, 1U}) {
    SCOPED_TRACE(job);
    const std::string mix = "rw=txrx\nrwmixtx=75\n";
    EXPECT_EQ(share_of(mix, job), 64 * (job == 0 ? 3U : 1U));
    EXPECT_EQ(share_of(mix + "rate_iops=1000\n", job), std::nullopt);
    EXPECT_EQ(share_of(mix + "rate=1Mbit\n", job), std::nullopt);
    EXPECT_EQ(share_of("rw=txrx\n", job), std::nullopt);
    EXPECT_EQ(share_of("rw=tx\n", job), std::nullopt);
  }
}

TEST(PlanEdges, WhoReceivesFramesForOthersHearsEverything) {
  std::vector<PlannedJob> plan(3);
  plan[0].to = plan[2].to = 1;
  plan[1].options.rw = Role::rx;
  const auto hears = [&] {
    EXPECT_FALSE(hears_everything(plan, 0) || hears_everything(plan, 2)) << "nobody sends to them";
    return hears_everything(plan, 1);
  };
  EXPECT_FALSE(hears());
  plan[2].options.replay = "x.pcap";
  EXPECT_TRUE(hears());
  plan[2].options.replay.clear();
  plan[2].options.headers = "eth(dst=02:00:00:00:00:09)";
  EXPECT_TRUE(hears());
  plan[2].options.headers = "eth(src=02:00:00:00:00:09)";
  EXPECT_FALSE(hears()) << "it is still for this one";
  plan[0].options.headers = "eth(dst=02:00:00:00:00:09)";
  EXPECT_TRUE(hears()) << "one of its two senders";
  plan[0].to = kNoJob;
  EXPECT_FALSE(hears());
  plan[1].options.verify_only = true;
  EXPECT_TRUE(hears());
}

}  // namespace
}  // namespace shmif::perf
