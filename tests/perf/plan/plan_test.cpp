// From jobs as written to jobs as run: clones and peers, who sends to whom, who waits for whom, and
// who shares a wire.

#include <optional>
#include <set>
#include <utility>

#include "perf/worker/equipment.hpp"
#include "tests/perf/plan/plan_rig.hpp"

namespace shmif::perf::plans {
namespace {

using Places = std::vector<std::size_t>;

TEST(Plan, ASenderWithoutReceiverGetsAPeerForItsRole) {
  const auto plan = plan_of(
      "[global]\nruntime=1\npeer_cpus_allowed=1\nfault=loss=1%\nwrite_pcap=x\n"
      "[a]\nrw=tx\nnumber_ios=9\n[b]\nrw=txrx\nbs=64,128\nrate=1Mbit,2Mbit\nwrite_pcap=y\n"
      "[c]\nrw=pingpong\niodepth=4\nwrite_pcap=z\n");
  ASSERT_EQ(names(plan), (Words{"a", "a.sink", "b", "b.peer", "c", "c.echo"}));
  EXPECT_EQ(plan[1].options.rw, Role::rx);
  EXPECT_EQ(plan[1].peer_of, "a");
  EXPECT_EQ(plan[1].options.number_ios, 0U);
  EXPECT_EQ(plan[1].options.cpus_allowed, std::vector{1});
  EXPECT_TRUE(plan[0].options.fault.any());
  EXPECT_FALSE(plan[1].options.fault.any());
  EXPECT_TRUE(plan[1].options.write_pcap.empty());
  EXPECT_EQ(plan[0].to, 1U);
  EXPECT_EQ(plan[1].to, kNoJob);
  EXPECT_EQ(plan[2].to, 3U);
  EXPECT_EQ(plan[3].to, 2U);
  EXPECT_EQ(plan[3].options.rw, Role::txrx);
  EXPECT_EQ(plan[3].options.bs.tx.parts[0].min, 128U);
  EXPECT_EQ(plan[3].options.rate_bps.tx, 2'000'000U);
  EXPECT_NE(plan[3].options.randseed, plan[2].options.randseed);
  EXPECT_EQ(plan[5].options.rw, Role::echo);
  EXPECT_EQ(plan[4].to, 5U);
  EXPECT_FALSE(plan[0].options.given.empty());
  EXPECT_TRUE(plan[1].options.given.empty());
}

TEST(Plan, ClonesHaveNamesSeedsFilesAndPeersOfTheirOwn) {
  const auto plan = plan_of(sender("numjobs=3\nrandseed=7\nwrite_pcap=o"));
  ASSERT_EQ(names(plan), (Words{"a.0", "a.0.sink", "a.1", "a.1.sink", "a.2", "a.2.sink"}));
  EXPECT_EQ(plan[0].options.randseed, 7U);
  EXPECT_NE(plan[2].options.randseed, plan[0].options.randseed);
  EXPECT_NE(plan[4].options.randseed, plan[2].options.randseed);
  EXPECT_EQ(plan[1].options.randseed, plan[0].options.randseed);  // what it regenerates from
  EXPECT_EQ(plan[2].options.write_pcap, "o.1");
  EXPECT_EQ(plan[4].clone, 2U);
  EXPECT_EQ(plan[4].options.numjobs, 1U);
  EXPECT_EQ(plan[4].to, 5U);
}

TEST(Plan, ANamedReceiverIsSharedAndClonesGoRound) {
  const auto plan = plan_of(
      "[sink]\nrw=rx\nnumjobs=2\n[a]\nruntime=1\nnumjobs=3\nto=sink\n[b]\nruntime=1\nto=sink\n");
  ASSERT_EQ(names(plan), (Words{"sink.0", "sink.1", "a.0", "a.1", "a.2", "b"}));
  EXPECT_EQ(plan[2].to, 0U);
  EXPECT_EQ(plan[3].to, 1U);
  EXPECT_EQ(plan[4].to, 0U);
  EXPECT_EQ(plan[5].to, 0U);
}

TEST(Plan, PartnersThatSendToEachOtherNeedOneNameOnly) {
  const auto plan = plan_of("[global]\nruntime=1\nrw=txrx\n[a]\nto=b\n[b]\n");
  ASSERT_EQ(names(plan), (Words{"a", "b"}));
  EXPECT_EQ(plan[0].to, 1U);
  EXPECT_EQ(plan[1].to, 0U);
}

TEST(Plan, OnOneEndedEnginesNobodyElseIsMade) {
  auto plan = plan_of(sender("engine=null"));
  ASSERT_EQ(names(plan), Words{"a"});
  EXPECT_EQ(plan[0].to, kNoJob);
  plan = plan_of(sender("engine=null\nrw=txrx\nnumjobs=2"));
  ASSERT_EQ(names(plan), (Words{"a.0", "a.1"}));
  EXPECT_EQ(plan[1].to, 1U);
  EXPECT_NE(plan[0].options.wire, plan[1].options.wire);
  EXPECT_EQ(names(plan_of(sender("engine=pcap\nfilename=f"))), Words{"a"});
  EXPECT_EQ(names(plan_of("[a]\nrw=rx\nengine=pcap\nfilename=f\n")), Words{"a"});
}

TEST(Plan, ASenderWithNoPeerIsAloneOnItsWire) {
  const auto plan = plan_of(sender("engine=udp\nno_peer\nhostname=198.18.0.1\nport=7"));
  ASSERT_EQ(names(plan), Words{"a"});
  EXPECT_EQ(plan[0].to, kNoJob);
}

TEST(Plan, PairsOnTwoEndedEnginesHaveAWireEach) {
  const auto plan = plan_of(sender("engine=unix\nnumjobs=2"));
  ASSERT_EQ(plan.size(), 4U);
  EXPECT_EQ(plan[0].options.wire, "a.0");
  EXPECT_EQ(plan[1].options.wire, "a.0");
  EXPECT_EQ(plan[2].options.wire, "a.1");
  EXPECT_EQ(plan[3].options.wire, "a.1");
  const auto named = plan_of("[r]\nrw=rx\nengine=udp\n" + sender("engine=udp\nto=r"));
  EXPECT_EQ(named[0].options.wire, named[1].options.wire);
  EXPECT_FALSE(named[0].options.wire.empty());
  expect_problem("[r]\nrw=rx\nengine=udp\n" + sender("engine=udp\nto=r\nnumjobs=2"),
                 "\"r\" already has another partner");
  // A bus has room for all.
  EXPECT_EQ(plan_of(sender("numjobs=2"))[2].options.wire, "");
}

TEST(Plan, AListOfEnginesRunsTheSameLoadOverEachOneAfterTheOther) {
  const auto plan =
      plan_of("[global]\nengine=bus,unix\nruntime=1\n[r]\nrw=rx\n[a]\nto=r\n[after]\nwait_for=a\n");
  ASSERT_EQ(names(plan), (Words{"r-bus", "a-bus", "after-bus", "after-bus.sink", "r-unix", "a-unix",
                                "after-unix", "after-unix.sink"}));
  EXPECT_EQ(plan[1].to, 0U);
  EXPECT_EQ(plan[5].to, 4U);
  EXPECT_EQ(plan[5].options.engine, EngineKind::unix_pair);
  EXPECT_EQ(plan[2].waits_for, Places{1});
  EXPECT_EQ(plan[4].waits_for, (Places{0, 1, 2, 3}));
  EXPECT_EQ(plan[6].waits_for, (Places{0, 1, 2, 3, 5}));
  EXPECT_EQ(plan[1].group, "r-bus");
  EXPECT_EQ(plan[5].group, "r-unix");
}

TEST(Plan, AStonewallHoldsThoseBehindItTooAndBeginsAGroup) {
  const auto plan =
      plan_of("[global]\nruntime=1\nengine=null\n[a]\n[b]\n[c]\nstonewall\n[d]\n[e]\nnew_group\n");
  EXPECT_EQ(plan[0].waits_for, Places{});
  EXPECT_EQ(plan[1].waits_for, Places{});
  EXPECT_EQ(plan[2].waits_for, (Places{0, 1}));
  EXPECT_EQ(plan[3].waits_for, (Places{0, 1}));
  std::vector<std::string> groups;
  for (const PlannedJob& job : plan) groups.push_back(job.group);
  EXPECT_EQ(groups, (Words{"a", "a", "c", "c", "e"}));
}

TEST(Plan, AStonewallDoesNotWaitForWhoReceivesFromLaterJobsOrForBackgroundJobs) {
  const auto plan = plan_of(
      "[global]\nruntime=1\n[sink]\nrw=rx\n[noise]\nengine=null\nbackground\n[a]\nto=sink\n[b]"
      "\nstonewall\nto=sink\n");
  ASSERT_EQ(names(plan), (Words{"sink", "noise", "a", "b"}));
  EXPECT_EQ(plan[3].waits_for, Places{2});
}

TEST(Plan, WaitForMeansEveryCloneAndItsPeer) {
  const auto plan = plan_of("[global]\nruntime=1\n[a]\nnumjobs=2\n[b]\nengine=null\nwait_for=a\n");
  EXPECT_EQ(plan[4].waits_for, (Places{0, 1, 2, 3}));
}

TEST(Plan, CpusAreSplitOneForEachOrRefused) {
  const auto plan = plan_of(
      sender("numjobs=2\ncpus_allowed=2,4,6\ncpus_allowed_policy=split\npeer_cpus_allowed=1,3"));
  EXPECT_EQ(plan[0].options.cpus_allowed, std::vector{2});
  EXPECT_EQ(plan[1].options.cpus_allowed, std::vector{1});
  EXPECT_EQ(plan[2].options.cpus_allowed, std::vector{4});
  EXPECT_EQ(plan[3].options.cpus_allowed, std::vector{3});
  expect_problem(sender("numjobs=3\ncpus_allowed=0-1\ncpus_allowed_policy=split"),
                 "2 CPUs cannot be split between 3 jobs");
  expect_problem(
      sender("numjobs=2\ncpus_allowed=0-1\ncpus_allowed_policy=split\npeer_cpus_allowed=1"),
      "peer_cpus_allowed: 1 CPU cannot be split between the peers of 2 jobs");
  expect_problem(sender("numjobs=3\ncpus_allowed=1\ncpus_allowed_policy=split"),
                 "cpus_allowed: 1 CPU cannot be split between 3 jobs, one for each");
  expect_problem(sender("cpus_allowed_policy=split"), "0 CPUs");
}

TEST(Plan, AMixDividesTheSumOfBothRates) {
  const auto plan = plan_of(sender("rw=txrx\nrate=10Mbit\nrate_iops=1001\nrwmixtx=70"));
  EXPECT_EQ(plan[0].options.rate_bps.tx, 14'000'000U);
  EXPECT_EQ(plan[1].options.rate_bps.tx, 6'000'000U);
  EXPECT_EQ(plan[0].options.rate_fps.tx + plan[1].options.rate_fps.tx, 2002U);
  expect_problem(sender("rw=txrx\nrwmixtx=70\nrate=1Mbit,2Mbit"), "already has its own rate");
}

TEST(Plan, AMixWithoutARateIsOfTheFramesAndThePeerHasTheRest) {
  const auto plan = plan_of(sender("rw=txrx\nrwmixtx=70"));
  EXPECT_EQ(plan[0].options.rwmixtx, 70U);
  EXPECT_EQ(plan[1].options.rwmixtx, 30U);
  EXPECT_EQ(plan[0].options.rate_bps.tx, 0U);
  EXPECT_EQ(plan[1].options.rate_fps.tx, 0U);
  // With a rate, the rates are divided, and neither waits for the other.
  EXPECT_EQ(plan_of(sender("rw=txrx\nrate=10Mbit\nrwmixtx=70"))[1].options.rwmixtx, std::nullopt);
}

TEST(Plan, JobsOfAWireAgreeOnWhatItIs) {
  const auto plan = plan_of(sender("engine=tap") + "[b]\nruntime=1\nengine=tap\nmtu=9000\n" +
                            "[c]\nruntime=1\nbus_pause\n[d]\nruntime=1\nwire=w\n");
  ASSERT_EQ(names(plan), (Words{"a", "a.sink", "b", "b.sink", "c", "c.sink", "d", "d.sink"}));
  for (const std::size_t i : {0, 1, 2, 3}) EXPECT_EQ(plan[i].options.mtu, 9000U) << i;
  for (const std::size_t i : {4, 5}) EXPECT_TRUE(plan[i].options.bus_pause) << i;
  EXPECT_FALSE(plan[6].options.bus_pause);
  for (const auto& [one, other] :
       std::initializer_list<std::pair<const char*, const char*>>{{"mtu=9000", "mtu=2000"},
                                                                  {"bus_size=1m", "bus_size=2m"},
                                                                  {"bus_pause=1", "bus_pause=0"}}) {
    const std::string jobs = sender(one) + "[b]\nruntime=1\n" + other + '\n';
    expect_problem(jobs, "for job \"a\", which is on the same wire");
    EXPECT_EQ(problems_of(set_of(jobs + "wire=w\n")), Words()) << jobs;
  }
}

TEST(Plan, ABusOfSeveralFloodsHasALargerRingUnlessItsSizeIsGiven) {
  const auto ring = [](const std::string& jobs) {
    return plan_of(jobs).at(0).options.bus_size_bytes;
  };
  EXPECT_EQ(ring(sender("numjobs=1")), 4U << 20U);
  EXPECT_EQ(ring(sender("numjobs=2\nrate_iops=1k")), 4U << 20U);
  EXPECT_EQ(ring(sender("numjobs=2\nengine=host")), 4U << 20U);
  EXPECT_EQ(ring(sender("numjobs=2")), 32U << 20U);
  EXPECT_EQ(ring(sender("numjobs=2\nbus_size=4M")), 4U << 20U);
}

TEST(Plan, JobsOfADeviceOrOfASocketAgreeOnWhereItIs) {
  const std::string devices = "engine=packet\nnetdev=e0,e1,e2,e3\n";
  const std::string sockets = "[r]\nrw=rx\nengine=udp\n";
  expect_problem(sender(devices + "netns=x") + "[b]\nruntime=1\n" + devices + "netns=y\n",
                 "netns: is \"y\" here and \"x\" for job \"a\"");
  for (const auto& [one, other] : std::initializer_list<std::pair<const char*, const char*>>{
           {"hostname=127.0.0.1", "hostname=127.0.0.2"}, {"port=5", "port=6"}}) {
    expect_problem(sockets + one + '\n' + sender(std::string("engine=udp\nto=r\n") + other),
                   "on the same wire");
    expect_problem(sockets + other + '\n' + sender(std::string("engine=udp\nto=r\n") + one),
                   "on the same wire");
  }
  // One says it for all.
  auto plan = plan_of(sender(devices + "netns=x") + "[b]\nruntime=1\n" + devices);
  for (const PlannedJob& job : plan) EXPECT_EQ(job.options.netns, "x") << job.options.name;
  plan = plan_of(sockets + sender("engine=udp\nto=r\nhostname=127.0.0.2\nport=5"));
  for (const PlannedJob& job : plan) {
    EXPECT_EQ(job.options.hostname, "127.0.0.2") << job.options.name;
    EXPECT_EQ(job.options.port, 5U) << job.options.name;
  }
}

TEST(Plan, AWireIsLiveOnlyWhereEachOfItsJobsAllowsIt) {
  auto plan = plan_of(sender("allow_live=1") + "[b]\nruntime=1\n");
  for (const PlannedJob& job : plan) EXPECT_FALSE(job.options.allow_live) << job.options.name;
  plan = plan_of(sender("allow_live=1") + "[b]\nruntime=1\nallow_live=1\n");
  for (const PlannedJob& job : plan) EXPECT_TRUE(job.options.allow_live) << job.options.name;
}

TEST(Plan, NoTwoJobsWriteOneFile) {
  const auto plan = plan_of(sender("engine=bus,udp\nwrite_pcap=x"));
  EXPECT_EQ(plan[0].options.write_pcap, "x.bus");
  EXPECT_EQ(plan[2].options.write_pcap, "x.udp");
  expect_problem("[global]\nwrite_pcap=x\nruntime=1\n[a]\n[b]\n",
                 "write_pcap: \"x\" is already written by job \"a\"");
  expect_problem("[global]\nengine=pcap\nfilename=x\nruntime=1\n[a]\n[b]\n",
                 "filename: \"x\" is already written by job \"a\"");
  const auto clones = plan_of(sender("engine=pcap\nfilename=x\nnumjobs=2"));
  EXPECT_EQ(clones[1].options.filename, "x.1");
  // Who only receives records nothing.
  const auto sent = plan_of("[global]\nwrite_pcap=x\n[r]\nrw=rx\n" + sender("to=r"));
  EXPECT_TRUE(sent[0].options.write_pcap.empty());
  EXPECT_EQ(sent[1].options.write_pcap, "x");
}

TEST(Plan, MinimumsStayWithTheDirectionThatHasTraffic) {
  const auto plan = plan_of(sender("rate_iops_min=10,20"));
  EXPECT_EQ(plan[0].options.rate_min_fps.tx, 10U);
  EXPECT_EQ(plan[0].options.rate_min_fps.rx, 0U);
  EXPECT_EQ(plan[1].options.rate_min_fps.tx, 0U);
  EXPECT_EQ(plan[1].options.rate_min_fps.rx, 20U);
}

TEST(Plan, AnOptionOfNoUseIsToldOfUnlessAnotherJobUsesThatValue) {
  const std::string other = "[b]\nruntime=1\nengine=udp\nport=8\n";
  EXPECT_EQ(problems_of(set_of("[a]\nruntime=1\nport=8\n" + other)), Words());
  const auto problems = problems_of(set_of("[a]\nruntime=1\nport=7\n" + other));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_NE(problems[0].find("job \"a\": port: is for engine=udp"), std::string::npos);
}

TEST(Plan, BesideASearchRunBackgroundJobsAndThoseTheySendTo) {
  const auto plan =
      plan_of("[s]\nsearch=ndr\n[r]\nrw=rx\n[noise]\nbackground\nto=r\n[other]\nsearch=ndr\n");
  ASSERT_EQ(names(plan), (Words{"s", "s.sink", "r", "noise", "other", "other.sink"}));
  EXPECT_EQ(trial_jobs(plan, 0), (std::set<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(trial_jobs(plan, 4), (std::set<std::size_t>{2, 3, 4, 5}));
}

TEST(Plan, WhatARunReadsIsEachFileOfItsJobsButNoStandardInput) {
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
            (Words{"x.job", "a.pcap", "b.state", "c.pcap", "d.pcap", "e.pcap"}));
}

TEST(Plan, WhatARunWritesIsEachLogOnceAndNothingOfAPeer) {
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
  EXPECT_EQ(outputs_of(plan, run), (Words{"p.pcapng", "dir/x_bw.a_b.log", "/y_clat_hist.a_b.log",
                                          "p.pcapng", "dir/x_iops.log", "dir/x_lat.log"}));
}

TEST(Plan, OnlyWhoSendsBothWaysIsThePeerOfTheJobThatItNames) {
  const std::string both = "runtime=1\nrw=txrx\n";
  EXPECT_EQ(names(plan_of("[a]\n" + both + "[b]\nruntime=1\nto=a\n")), (Words{"a", "a.peer", "b"}));
  EXPECT_EQ(names(plan_of("[a]\n" + both + "[b]\n" + both + "to=a\n")), (Words{"a", "b"}));
}

TEST(Plan, WhoReceivesFramesForOthersHearsEverything) {
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

TEST(Plan, OfAJobThatNeverRunsBesideASearchItsPeerIsNotToldOf) {
  const auto problems =
      problems_of(set_of("[a]\nsearch=ndr\n[b]\nruntime=1\n[c]\nruntime=1\nrw=txrx\n"));
  ASSERT_EQ(problems.size(), 2U);
  EXPECT_NE(problems[0].find("job \"b\": background: "), std::string::npos);
  EXPECT_NE(problems[1].find("job \"c\": background: "), std::string::npos);
}

// ---- Peers ----

TEST(Plan, APeerHasWhatItSharesWithItsJobAndElseTheDefaults) {
  const auto plan = plan_of(
      sender("numjobs=1\ndrain_time=2\nverify_backlog=3\nmtu=9000\nexitall\nwrite_bw_log=x\n"
             "write_iops_log=x\nwrite_lat_log=x\nsteadystate=iops:1%\nss_dur=3\nflow=2\n"
             "exec_prerun=true\ndescription=d\nloops=2\nsize=1m\n[b]\nengine=null\nruntime=1\n"
             "flow=1"));
  const JobOptions& peer = plan.at(1).options;
  EXPECT_EQ(peer.runtime, std::chrono::seconds(1));
  EXPECT_EQ(peer.drain_time, std::chrono::seconds(2));
  EXPECT_EQ(peer.verify_backlog, 3U);
  EXPECT_EQ(peer.mtu, 9000U);
  EXPECT_FALSE(peer.exitall);
  EXPECT_EQ(peer.write_bw_log + peer.write_iops_log + peer.write_lat_log, "");
  EXPECT_EQ(peer.steadystate, "");
  EXPECT_EQ(peer.ss_dur.count(), 0);
  EXPECT_EQ(peer.flow, 0U);
  EXPECT_TRUE(peer.exec_prerun.empty());
  EXPECT_EQ(peer.description, "");
  EXPECT_EQ(peer.loops, 1U);
  EXPECT_EQ(peer.size_bytes, 0U);
}

/// An option of a job that its peer has, too.
struct Shared {
  const char* lines;
  bool (*equal)(const JobOptions&, const JobOptions&);
};

template <auto... kMembers>
bool as_its_job(const JobOptions& a, const JobOptions& b) {
  return ((a.*kMembers == b.*kMembers) && ...);
}

template <auto kMember>
bool other_way_round(const JobOptions& a, const JobOptions& b) {
  return (a.*kMember).tx == (b.*kMember).rx && (a.*kMember).rx == (b.*kMember).tx;
}

template <bool ErrorClasses::* kClass>
bool goes_on_alike(const JobOptions& a, const JobOptions& b) {
  return a.continue_on_error.*kClass == b.continue_on_error.*kClass;
}

void expect_shared(const std::string& lines, bool (*equal)(const JobOptions&, const JobOptions&)) {
  SCOPED_TRACE(lines);
  const auto plan = plan_of(sender(lines) + "[alive]\nengine=null\nruntime=1\n");
  ASSERT_EQ(plan.size(), 3U);
  ASSERT_EQ(plan[1].peer_of, "a");
  EXPECT_FALSE(equal(plan[0].options, JobOptions())) << "it is the default";
  EXPECT_TRUE(equal(plan[0].options, plan[1].options)) << "the peer has something else";
}

TEST(Plan, APeerRunsReceivesAndChecksAsItsJobAsksFor) {
  for (const auto& [lines, equal] : std::initializer_list<Shared>{
           {"thread", as_its_job<&JobOptions::thread>},
           {"start_delay=1", as_its_job<&JobOptions::start_delay>},
           {"startup_timeout=5", as_its_job<&JobOptions::startup_timeout>},
           {"continue_on_error=rx", goes_on_alike<&ErrorClasses::rx>},
           {"continue_on_error=lock", goes_on_alike<&ErrorClasses::lock>},
           {"end_on=overrun", as_its_job<&JobOptions::end_on_overrun>},
           {"runtime=7", as_its_job<&JobOptions::runtime>},
           {"ramp_time=2", as_its_job<&JobOptions::ramp_time>},
           {"drain_time=2", as_its_job<&JobOptions::drain_time>},
           {"rate_min=1k\nrate_cycle=3", as_its_job<&JobOptions::rate_cycle>},
           {"rate_min=1k\nrate_settle=3", as_its_job<&JobOptions::rate_settle>},
           {"iodepth_batch=7", as_its_job<&JobOptions::iodepth_batch>},
           {"io_submit_mode=offload", as_its_job<&JobOptions::io_submit_mode>},
           {"payload=zero", as_its_job<&JobOptions::payload>},
           {"randseed=9", as_its_job<&JobOptions::randseed>},
           {"vlan=5\nbs=100", as_its_job<&JobOptions::vlan>},
           {"verify=0", as_its_job<&JobOptions::verify>},
           {"do_verify=0", as_its_job<&JobOptions::do_verify>},
           {"verify_state_save", as_its_job<&JobOptions::verify_state_save>},
           {"verify_backlog=3", as_its_job<&JobOptions::verify_backlog>},
           {"verify_async=2", as_its_job<&JobOptions::verify_async>},
           {"disable_lat", as_its_job<&JobOptions::disable_lat>},
           {"percentile_list=50", as_its_job<&JobOptions::percentile_list>},
           {"group_reporting", as_its_job<&JobOptions::group_reporting>},
           {"counters=page-faults", as_its_job<&JobOptions::counters>},
           {"max_latency=1ms", as_its_job<&JobOptions::max_latency>},
           {"numa_node=0", as_its_job<&JobOptions::numa_node>},
           {"numa_cpu_nodes=0", as_its_job<&JobOptions::numa_cpu_nodes>},
           {"numa_mem_policy=local", as_its_job<&JobOptions::numa_mem_policy>},
           {"nice=1", as_its_job<&JobOptions::nice>},
           {"rtprio=5", as_its_job<&JobOptions::rtprio>},
           {"lockmem", as_its_job<&JobOptions::lockmem>},
           {"hugepages", as_its_job<&JobOptions::hugepages>},
           {"uid=nobody", as_its_job<&JobOptions::uid>},
           {"gid=nogroup", as_its_job<&JobOptions::gid>},
           {"cgroup=/x", as_its_job<&JobOptions::cgroup>},
           {"cgroup=/x\ncgroup_weight=50", as_its_job<&JobOptions::cgroup_weight>},
           {"cgroup=/x\ncgroup_nodelete", as_its_job<&JobOptions::cgroup_nodelete>},
           {"numjobs=1\ncpus_allowed=0,1\ncpus_allowed_policy=split",
            as_its_job<&JobOptions::cpus_allowed_policy>},
       }) {
    expect_shared(lines, equal);
  }
}

TEST(Plan, APeerIsOnTheWireOfItsJob) {
  for (const auto& [lines, equal] : std::initializer_list<Shared>{
           {"engine=packet", as_its_job<&JobOptions::engine>},
           {"bus=/tmp/x", as_its_job<&JobOptions::bus>},
           {"wire=w", as_its_job<&JobOptions::wire>},
           {"mtu=9000", as_its_job<&JobOptions::mtu>},
           {"bus_pause", as_its_job<&JobOptions::bus_pause>},
           {"engine=tap\nnetdev=e0,e1\nnetns=n", as_its_job<&JobOptions::netns>},
           {"engine=udp\nhostname=::1", as_its_job<&JobOptions::hostname>},
           {"allow_live", as_its_job<&JobOptions::allow_live>},
           {"engine=host\nproto=tcp", as_its_job<&JobOptions::proto>},
           {"engine=host\nproto=tcp\ncongestion=reno", as_its_job<&JobOptions::congestion>},
           {"engine=host\nproto=tcp\nmss=1000", as_its_job<&JobOptions::mss_bytes>},
           {"engine=host\nproto=tcp\nwindow=64k", as_its_job<&JobOptions::window_bytes>},
           {"engine=host\nproto=tcp\ndscp=ef", as_its_job<&JobOptions::dscp>},
       }) {
    expect_shared(lines, equal);
  }
}

TEST(Plan, APeerThatSendsSendsAsItsJobTheOtherWayRound) {
  for (const auto& [lines, equal] : std::initializer_list<Shared>{
           {"bs=64,128", other_way_round<&JobOptions::bs>},
           {"rate=1Mbit,2Mbit", other_way_round<&JobOptions::rate_bps>},
           {"rate_iops=1k,2k", other_way_round<&JobOptions::rate_fps>},
           {"rate=1Mbit\nrate_catchup=skip", as_its_job<&JobOptions::rate_catchup>},
           {"rate=1Mbit\nrate_overhead=24", as_its_job<&JobOptions::rate_overhead_bytes>},
           {"rate=1Mbit\nrate_process=poisson", as_its_job<&JobOptions::rate_process>},
           {"buffer_compress_percentage=50", as_its_job<&JobOptions::buffer_compress_percentage>},
           {"buffer_pattern=0xff", as_its_job<&JobOptions::buffer_pattern>},
           {"thinktime=2ms", as_its_job<&JobOptions::thinktime>},
           {"number_ios=3", as_its_job<&JobOptions::number_ios>},
           {"size=1m", as_its_job<&JobOptions::size_bytes>},
           {"time_based", as_its_job<&JobOptions::time_based>},
           {"headers=ipv4/udp\nbs=100", as_its_job<&JobOptions::headers>},
       }) {
    expect_shared(std::string("rw=txrx\n") + lines, equal);
  }
  for (const auto& [lines, equal] : std::initializer_list<Shared>{
           {"iodepth=4", as_its_job<&JobOptions::iodepth>},
           {"iodepth=4\niodepth_low=1", as_its_job<&JobOptions::iodepth_low>},
           {"iodepth=4\niodepth_batch_complete_min=2",
            as_its_job<&JobOptions::iodepth_batch_complete_min>},
           {"iodepth=4\niodepth_batch_complete_max=3",
            as_its_job<&JobOptions::iodepth_batch_complete_max>},
       }) {
    expect_shared(std::string("rw=pingpong\n") + lines, equal);
  }
  // It has random numbers of its own, as each clone has, and so have the faults of each.
  const auto plan =
      plan_of(sender("rw=txrx\nnumjobs=2\nfault=loss=1%,seed=5\nfault_rx=loss=1%,seed=5"));
  ASSERT_EQ(plan.size(), 4U);
  EXPECT_NE(plan[1].options.randseed, plan[0].options.randseed);
  EXPECT_NE(plan[3].options.randseed, plan[1].options.randseed);
  EXPECT_EQ(plan[0].options.fault.seed, 5U);
  EXPECT_NE(plan[2].options.fault.seed, 5U);
  EXPECT_NE(plan[2].options.fault_rx.seed, 5U);
  // Who only receives has no headers of its own.
  EXPECT_EQ(plan_of(sender("headers=ipv4/udp\nbs=100"))[1].options.headers, "");
}

}  // namespace
}  // namespace shmif::perf::plans
