#include "tests/perf/job/plans.hpp"

#include <gtest/gtest.h>

#include "perf/option/job_file.hpp"

namespace shmif::perf {
namespace {

using Places = std::vector<std::size_t>;

JobSet set_of(const std::string& text) {
  JobSet set;
  for (const std::string& error : read_job_text("x.job", text, set)) ADD_FAILURE() << error;
  return set;
}

std::vector<PlannedJob> plan_of(const std::string& text) {
  auto plan = expand(set_of(text));
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : std::vector<PlannedJob>();
}

std::vector<std::string> names(const std::vector<PlannedJob>& plan) {
  std::vector<std::string> all;
  for (const PlannedJob& job : plan) all.push_back(job.options.name);
  return all;
}

/// One of the problems of `text` holds `words`, and expand() refuses it.
void expect_problem(const std::string& text, const std::string& words) {
  const JobSet set = set_of(text);
  std::string all;
  for (const std::string& problem : problems_of(set)) all += problem + '\n';
  EXPECT_NE(all.find(words), std::string::npos) << "of:\n" << text << "problems:\n" << all;
  EXPECT_FALSE(expand(set)) << text;
}

/// A job that lacks nothing but `lines`.
std::string sender(const std::string& lines) {
  return "[a]\nruntime=1\n" + lines + '\n';
}

using Words = std::vector<std::string>;

struct Contradiction {
  const char* lines;
  const char* words;
};

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

TEST(Plan, PairsOnTwoEndedEnginesHaveAWireEach) {
  const auto plan = plan_of(sender("engine=unix\nnumjobs=2\nwire=w"));
  ASSERT_EQ(plan.size(), 4U);
  EXPECT_EQ(plan[0].options.wire, "w/a.0");
  EXPECT_EQ(plan[1].options.wire, "w/a.0");
  EXPECT_EQ(plan[2].options.wire, "w/a.1");
  EXPECT_EQ(plan[3].options.wire, "w/a.1");
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

TEST(Plan, NamesThatAreMissingSuggestTheNearest) {
  expect_problem(sender("to=sinc") + "[sink]\nrw=rx\n",
                 "x.job:3: job \"a\": to: there is no job \"sinc\", did you mean \"sink\"?");
  expect_problem(sender("wait_for=web1") + "[web]\nruntime=1\n",
                 "wait_for: there is no job \"web1\", did you mean \"web\"?");
}

TEST(Plan, NoJobWaitsForItselfByAnyWay) {
  expect_problem(sender("wait_for=a"), "cannot wait for itself");
  expect_problem(
      "[global]\nruntime=1\nengine=null\n[a]\nwait_for=b\n[b]\nwait_for=c\n[c]\nwait_for=a\n",
      "jobs wait for each other, \"a\" for \"b\" for \"c\" for \"a\"");
  expect_problem("[global]\nruntime=1\nengine=null\n[a]\nwait_for=b\n[b]\nstonewall\n",
                 "jobs wait for each other");
  // The sink ends only when its sender has, which waits for it.
  expect_problem("[sink]\nrw=rx\n" + sender("to=sink\nwait_for=sink"), "jobs wait for each other");
  expect_problem("[n]\nruntime=1\nengine=null\nbackground\n" + sender("wait_for=n"),
                 "background=1");
}

TEST(Plan, ReceiversMustBeAbleToReceiveAndBeThereInTime) {
  expect_problem(sender("to=a"), "cannot send to itself");
  expect_problem(sender("to=b") + "[b]\nrw=echo\n", "does not receive");
  expect_problem(sender("rw=pingpong\nto=b") + "[b]\nrw=rx\n", "sends no replies");
  expect_problem(sender("to=b") + "[b]\nrw=rx\nengine=udp\n", "engine=udp");
  expect_problem(sender("to=b") + "[b]\nrw=rx\nwire=w\n", "another wire");
  expect_problem(sender("to=b") + "[b]\nrw=rx\nbus=/tmp/x\n", "another wire");
  expect_problem(sender("to=b") + "[b]\nrw=rx\nstonewall\n", "starts later");
  expect_problem(sender("to=b") + "[b]\nrw=rx\nstart_delay=1\n", "starts later");
  expect_problem("[b]\nrw=rx\n", "no job sends to this job");
  expect_problem("[b]\nrw=echo\n", "no job sends to this job");
  expect_problem("[b]\nrw=rx\nto=a\n" + sender("to=b"), "sends nothing by itself");
}

TEST(Plan, WhoSendsBackHasSomebodyToSendTo) {
  const std::string both = "runtime=1\nrw=txrx\n";
  expect_problem("[a]\n" + both + "numjobs=2\n[b]\n" + both + "to=a\n",
                 "job \"a.1\": rw: this job has no receiver");
  expect_problem("[r]\nrw=rx\nengine=bus,unix\n" + sender("to=r"),
                 "to: \"r\" runs over several engines");
}

TEST(Plan, NamesOccurOnce) {
  expect_problem(sender("") + sender(""), "another job has that name");
  expect_problem(sender("") + "[a.sink]\nruntime=1\n", "clone or peer");
  expect_problem(sender("numjobs=2") + "[a.1]\nruntime=1\n", "clone or peer");
}

TEST(Plan, ASetNeedsAJobThatKeepsItAlive) {
  EXPECT_EQ(problems_of({}).size(), 1U);
  EXPECT_FALSE(expand({}));
  expect_problem(sender("background"), "keeps the run going");
  std::string many = "[global]\nruntime=1\nnumjobs=256\n";
  for (const char* name : {"a", "b", "c", "d", "e"}) many += std::string("[") + name + "]\n";
  expect_problem(many, "more than 1024 jobs");
  const std::string max = "[global]\nruntime=1\nnumjobs=256\n[a]\n[b]\n[c]\n[d]\n";
  EXPECT_EQ(problems_of(set_of(max)), Words());
  expect_problem(max + "[e]\nnumjobs=1\n", "more than 1024 jobs");
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
      "peers of 2 jobs");
  expect_problem(sender("cpus_allowed_policy=split"), "0 CPUs");
}

TEST(Plan, AMixDividesTheSumOfBothRates) {
  const auto plan = plan_of(sender("rw=txrx\nrate=10Mbit\nrate_iops=1001\nrwmixtx=70"));
  EXPECT_EQ(plan[0].options.rate_bps.tx, 14'000'000U);
  EXPECT_EQ(plan[1].options.rate_bps.tx, 6'000'000U);
  EXPECT_EQ(plan[0].options.rate_fps.tx + plan[1].options.rate_fps.tx, 2002U);
  expect_problem(sender("rw=txrx\nrwmixtx=70"), "needs rate");
  expect_problem(sender("rw=txrx\nrwmixtx=70\nrate=1Mbit,2Mbit"), "already has its own rate");
}

// A share of 0 would be a rate of 0, which is no limit.
TEST(Plan, AMixLeavesNoDirectionWithoutARate) {
  expect_problem(sender("rw=txrx\nrate=10Mbit\nrwmixtx=0"), "use rw=rx");
  expect_problem(sender("rw=txrx\nrate=10Mbit\nrwmixtx=100"), "use rw=tx");
  expect_problem(sender("rw=txrx\nrate_iops=1\nrwmixtx=10"), "less than 1 of 2 per second");
  expect_problem(sender("rw=txrx\nrate=1Mbit\nrate_iops=1\nrwmixtx=30"), "less than 1");
}

TEST(Plan, AMixIsForAPeerMadeForTheJob) {
  const std::string mix = "rw=txrx\nrate=1Mbit\nrwmixtx=70\n";
  expect_problem(sender(mix + "engine=null"), "no peer is made for this job");
  expect_problem(sender(mix + "to=b") + "[b]\nrw=txrx\nruntime=1\n",
                 "no peer is made for this job");
  expect_problem(sender("rw=txrx\nto=b") + "[b]\nruntime=1\n" + mix, "job \"b\": rwmixtx");
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

TEST(Plan, WhatNoJobMakesUseOfIsRefused) {
  for (const auto& [lines, words] : std::initializer_list<Contradiction>{
           {"netdev=eth0", "netdev: is for engine=tap and packet"},
           {"filename=x", "filename: is for engine=pcap"},
           {"hostname=::1", "hostname: is for engine=udp"},
           {"proto=tcp", "proto: is for engine=host"},
           {"search_trial=1", "search_trial: has no effect without a search"},
           {"search_resolution=1%", "search_resolution: has no effect without a search"},
           {"search_max_iops=1k", "search_max_iops: has no effect without a search"},
           {"netns=x", "netns: is for engine=tap and packet"},
           {"port=7", "port: is for engine=udp"},
           {"mss=536", "mss: is for engine=host with proto=tcp"},
           {"engine=host\nmss=536", "mss: is for engine=host with proto=tcp"},
           {"congestion=reno", "congestion: is for engine=host with proto=tcp"},
           {"replay=x\nbs=64", "bs: has no effect with replay"},
           {"replay=x\nbsrange=64-128", "bsrange: has no effect with replay"},
           {"replay=x\nbssplit=64/50:128/50", "bssplit: has no effect with replay"},
           {"replay=x\npayload=zero", "payload: has no effect with replay"},
           {"replay=x\npayload=pattern\nbuffer_pattern=0x12",
            "buffer_pattern: has no effect with replay"},
           {"replay=x\nbuffer_compress_percentage=5", "buffer_compress_percentage: has no effect"},
           {"replay=x\nvlan=5", "vlan: has no effect with replay"},
           {"replay=x\nthinktime=1ms", "thinktime: has no effect when replay"},
           {"replay=x\nrate_catchup=limited", "rate_catchup: has no effect when replay"},
           {"replay=x\nrate_process=linear", "rate_process: has no effect when replay"},
           {"replay=x\nrate_overhead=20", "rate_overhead: has no effect when replay"},
           {"replay_time_scale=50",
            "replay_time_scale: has no effect: it needs replay at the times"},
           {"replay=x\nrate=1Mbit\nreplay_time_scale=50",
            "replay_time_scale: has no effect: it needs replay"},
           {"search=ndr\nlatency_percentile=90", "latency_percentile: is for search"},
           {"latency_target=1ms\nsearch=none", "latency_target: needs search=latency_target"},
       }) {
    expect_problem(sender(lines), words);
  }
  for (const char* lines : {"search=ndr\nsearch_resolution=1%\nsearch_max_iops=1k\nsearch_trial=1",
                            "engine=tap\nnetdev=e0,e1\nnetns=x", "engine=udp\nport=7",
                            "replay=x\nreplay_time_scale=50", "replay=x\nrate=1Mbit\nthinktime=1ms",
                            "replay=x\nreplay_no_stall\nthinktime=1ms\nrate_catchup=limited",
                            "replay=x\nrate_iops=1k\nrate_process=poisson\nrate_overhead=20"}) {
    EXPECT_EQ(problems_of(set_of(sender(lines))), Words()) << lines;
  }
  // What is written for many may be for some of them.
  EXPECT_EQ(names(plan_of(sender("engine=bus,udp\nhostname=::1"))).size(), 4U);
  EXPECT_EQ(names(plan_of("[global]\nproto=tcp\nruntime=1\n[a]\n[b]\nengine=host\n")).size(), 4U);
}

TEST(Plan, AProblemIsAtTheLineOfTheOptionThatItNames) {
  const std::string global = "[global]\nruntime=1\nengine=null\n";
  expect_problem(global + "[a]\n; one line\nwait_for=web1\n[web]\n",
                 "x.job:6: job \"a\": wait_for: ");
  expect_problem(global + "[a]\nbackground\n[b]\nrw=tx\nwait_for=a\n",
                 "x.job:8: job \"b\": wait_for: ");
  expect_problem(global + "[a]\nrw=tx\nto=nobody\n", "x.job:6: job \"a\": to: ");
  // An option of [global] has its line there. What is wrong with the whole job is at the job's
  // line.
  expect_problem("[global]\nruntime=1\nwait_for=nobody\n[a]\n", "x.job:3: job \"a\": wait_for: ");
  expect_problem("[global]\nwait_for=nobody\n[a]\nruntime=1\nwait_for=none\n",
                 "x.job:5: job \"a\": wait_for: ");
  expect_problem("; nothing ends it\n[a]\nrw=tx\n", "x.job:2: job \"a\": ");
}

TEST(Plan, APeerHasWhatItSharesWithItsJobAndElseTheDefaults) {
  const auto plan = plan_of(
      sender("numjobs=1\ndrain_time=2\nverify_backlog=3\nmtu=9000\nexitall\nwrite_bw_log=x\n"
             "write_iops_log=x\nwrite_lat_log=x\nsteadystate=iops:1%\nss_dur=3\nflow=2\n"
             "exec_prerun=true\ndescription=d\nloops=2\nsize=1m"));
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
           {"startup_timeout=3", as_its_job<&JobOptions::startup_timeout>},
           {"group_reporting", as_its_job<&JobOptions::group_reporting>},
           {"background", as_its_job<&JobOptions::background>},
           {"exitall_on_error", as_its_job<&JobOptions::exitall_on_error>},
           {"continue_on_error=tx", goes_on_alike<&ErrorClasses::tx>},
           {"continue_on_error=rx", goes_on_alike<&ErrorClasses::rx>},
           {"continue_on_error=verify", goes_on_alike<&ErrorClasses::verify>},
           {"continue_on_error=overrun", goes_on_alike<&ErrorClasses::overrun>},
           {"continue_on_error=lock", goes_on_alike<&ErrorClasses::lock>},
           {"end_on=overrun", as_its_job<&JobOptions::end_on_overrun>},
           {"runtime=7", as_its_job<&JobOptions::runtime>},
           {"ramp_time=2", as_its_job<&JobOptions::ramp_time>},
           {"drain_time=2", as_its_job<&JobOptions::drain_time>},
           {"rate_cycle=3", as_its_job<&JobOptions::rate_cycle>},
           {"rate_settle=3", as_its_job<&JobOptions::rate_settle>},
           {"iodepth_batch=7", as_its_job<&JobOptions::iodepth_batch>},
           {"io_submit_mode=offload", as_its_job<&JobOptions::io_submit_mode>},
           {"payload=zero", as_its_job<&JobOptions::payload>},
           {"payload=pattern\nbuffer_pattern=0x12", as_its_job<&JobOptions::buffer_pattern>},
           {"buffer_compress_percentage=5", as_its_job<&JobOptions::buffer_compress_percentage>},
           {"randseed=9", as_its_job<&JobOptions::randseed>},
           {"vlan=5\nbs=100", as_its_job<&JobOptions::vlan>},
           {"verify=0", as_its_job<&JobOptions::verify>},
           {"verify=regenerate", as_its_job<&JobOptions::verify_regenerate>},
           {"do_verify=0", as_its_job<&JobOptions::do_verify>},
           {"verify_backlog=3", as_its_job<&JobOptions::verify_backlog>},
           {"verify_async=2", as_its_job<&JobOptions::verify_async>},
           {"verify_state_save", as_its_job<&JobOptions::verify_state_save>},
           {"disable_lat", as_its_job<&JobOptions::disable_lat>},
           {"percentile_list=42", as_its_job<&JobOptions::percentile_list>},
           {"counters=page-faults", as_its_job<&JobOptions::counters>},
           {"max_latency=1ms", as_its_job<&JobOptions::max_latency>},
           {"numa_node=0", as_its_job<&JobOptions::numa_node>},
           {"nice=1", as_its_job<&JobOptions::nice>},
           {"rtprio=1", as_its_job<&JobOptions::rtprio>},
           {"lockmem", as_its_job<&JobOptions::lockmem>},
           {"hugepages", as_its_job<&JobOptions::hugepages>},
           {"uid=nobody", as_its_job<&JobOptions::uid>},
           {"gid=nogroup", as_its_job<&JobOptions::gid>},
           {"cgroup=/x", as_its_job<&JobOptions::cgroup>},
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
           {"bus_size=1m", as_its_job<&JobOptions::bus_size_bytes>},
           {"mtu=9000", as_its_job<&JobOptions::mtu>},
           {"bus_pause", as_its_job<&JobOptions::bus_pause>},
           {"engine=packet\nnetdev=e0,e1", as_its_job<&JobOptions::netdev>},
           {"engine=tap\nnetdev=e0,e1\nnetns=n", as_its_job<&JobOptions::netns>},
           {"engine=udp\nhostname=::1", as_its_job<&JobOptions::hostname>},
           {"engine=udp\nport=7", as_its_job<&JobOptions::port>},
           {"allow_live", as_its_job<&JobOptions::allow_live>},
           {"engine=host\nproto=tcp", as_its_job<&JobOptions::proto>},
           {"engine=host\nproto=tcp\nmss=536", as_its_job<&JobOptions::mss_bytes>},
           {"engine=host\nwindow=64k", as_its_job<&JobOptions::window_bytes>},
           {"engine=host\nproto=tcp\ncongestion=reno", as_its_job<&JobOptions::congestion>},
           {"engine=host\ndscp=ef", as_its_job<&JobOptions::dscp>},
       }) {
    expect_shared(lines, equal);
  }
}

TEST(Plan, APeerThatSendsSendsAsItsJobTheOtherWayRound) {
  for (const auto& [lines, equal] : std::initializer_list<Shared>{
           {"bs=64,128", other_way_round<&JobOptions::bs>},
           {"rate=1Mbit,2Mbit", other_way_round<&JobOptions::rate_bps>},
           {"rate_iops=1k,2k", other_way_round<&JobOptions::rate_fps>},
           {"rate_min=1Mbit,2Mbit", other_way_round<&JobOptions::rate_min_bps>},
           {"rate_iops_min=1k,2k", other_way_round<&JobOptions::rate_min_fps>},
           {"rate=1Mbit\nrate_overhead=20", as_its_job<&JobOptions::rate_overhead_bytes>},
           {"rate=1Mbit\nrate_process=poisson", as_its_job<&JobOptions::rate_process>},
           {"rate=1Mbit\nrate_catchup=skip", as_its_job<&JobOptions::rate_catchup>},
           {"thinktime=2ms", as_its_job<&JobOptions::thinktime>},
           {"thinktime=2ms\nthinktime_spin=1ms", as_its_job<&JobOptions::thinktime_spin>},
           {"thinktime=2ms\nthinktime_blocks=3", as_its_job<&JobOptions::thinktime_blocks>},
           {"number_ios=3", as_its_job<&JobOptions::number_ios>},
           {"size=1m", as_its_job<&JobOptions::size_bytes>},
           {"io_limit=1m", as_its_job<&JobOptions::io_limit_bytes>},
           {"size=1m\nloops=3", as_its_job<&JobOptions::loops>},
           {"time_based", as_its_job<&JobOptions::time_based>},
           {"headers=ipv4/udp\nbs=100", as_its_job<&JobOptions::headers>},
       }) {
    expect_shared(std::string("rw=txrx\n") + lines, equal);
  }
  for (const auto& [lines, equal] : std::initializer_list<Shared>{
           {"iodepth=4", as_its_job<&JobOptions::iodepth>},
           {"iodepth=4\niodepth_batch_complete_min=2",
            as_its_job<&JobOptions::iodepth_batch_complete_min>},
           {"iodepth=4\niodepth_low=2", as_its_job<&JobOptions::iodepth_low>},
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

TEST(Plan, MinimumsStayWithTheDirectionThatHasTraffic) {
  const auto plan = plan_of(sender("rate_iops_min=10,20"));
  EXPECT_EQ(plan[0].options.rate_min_fps.tx, 10U);
  EXPECT_EQ(plan[0].options.rate_min_fps.rx, 0U);
  EXPECT_EQ(plan[1].options.rate_min_fps.tx, 0U);
  EXPECT_EQ(plan[1].options.rate_min_fps.rx, 20U);
}

TEST(Plan, OptionsThatContradictEachOtherAreRefused) {
  for (const auto& [lines, words] : std::initializer_list<Contradiction>{
           {"runtime=0", "runtime: the job has no limit"},
           {"runtime=0\nnumber_ios=1\ntime_based", "time_based: needs runtime"},
           {"loops=2", "loops: needs size"},
           {"rw=echo\nthinktime=1", "thinktime: a job with rw=echo"},
           {"rw=rx\nsearch=ndr", "search: a job with rw=rx"},
           {"rw=pingpong\nreplay=x", "replay: the frames of a capture get no replies"},
           {"verify_only", "verify_only: such a job sends nothing"},
           {"rw=rx\nverify_only\nverify=0", "verify_only: with verify=0"},
           {"thinktime=1ms\nthinktime_spin=2ms", "thinktime_spin: is longer"},
           {"rate_process=poisson", "rate_process: poisson needs rate"},
           {"rate=1Mbit\nrate_min=2Mbit", "rate_min: is more"},
           {"rate_iops=1k\nrate_iops_min=2k", "rate_iops_min: is more"},
           {"rw=pingpong\niodepth=4\niodepth_low=4", "iodepth_low: is not below"},
           {"rw=pingpong\niodepth=4\niodepth_batch_complete_min=5", "complete_min: is more"},
           {"rw=pingpong\nverify_async=2", "verify_async: with rw=pingpong"},
           {"rw=pingpong\nverify_backlog=100", "verify_backlog: with rw=pingpong"},
           {"payload=pattern", "payload: pattern needs"},
           {"payload=zero\nbuffer_compress_percentage=5",
            "buffer_compress_percentage: is only for"},
           {"vlan=5\nbs=60", "bs: with a vlan tag"},
           {"bs=1515", "give it mtu=1501"},
           {"rw=txrx\nbs=64,1515", "give it mtu=1501"},
           {"engine=pcap", "filename: engine=pcap needs"},
           {"engine=pcap\nfilename=x\nrw=pingpong", "rw: a job either writes a capture file"},
           {"engine=null\nrw=pingpong", "rw: no other job can be on engine=null"},
           {"engine=null\nto=b", "to: no other job can be on engine=null"},
           {"exec=true", "exec: only engine=host"},
           {"ip=198.18.0.1/24", "ip: only engine=host"},
           {"engine=host\nip=198.18.0.1/24\nnumjobs=2", "ip: 2 jobs cannot"},
           {"engine=host\nexec=true\nuid=nobody", "uid: the program of exec runs as root"},
           {"engine=host\nexec=true\ngid=nogroup", "gid: the program of exec runs as root"},
           {"engine=host\nthread", "thread: an emulated host is a process"},
           {"search=ndr\nrate=1Mbit", "search: it searches for the rate"},
           {"search=ndr\nnumber_ios=1", "search: each trial"},
           {"search=ndr\nnumjobs=2", "search: clones"},
           {"search=ndr\nengine=null", "search: no frames can be lost"},
           {"search=latency_target", "search: search=latency_target needs"},
           {"latency_target=1ms\nsearch=ndr", "latency_target: needs"},
           {"latency_target=1ms\ndisable_lat", "disable_lat: without latencies, latency_target"},
           {"search=pdr", "search_loss: search=pdr"},
           {"search=ndr\nsearch_loss=1%", "search_loss: search=pdr"},
           {"disable_lat\nwrite_lat_log=x", "disable_lat: without latencies, write_lat_log"},
           {"verify_state_load=x\nnumjobs=2", "verify_state_load: a state"},
           {"disable_lat\nmax_latency=1ms", "disable_lat: without latencies, max_latency"},
           {"disable_lat\nwrite_hist_log=x", "disable_lat: without latencies, write_hist_log"},
           {"write_hist_log=x\nwrite_lat_log=x\nlog_hist_msec=300",
            "log_hist_msec: log_hist_msec or log_avg_msec"},
           {"bs=128k", "1m only with engine=host and proto=tcp"},
           {"engine=host\nbs=128k", "1m only with engine=host and proto=tcp"},
           {"mss=536", "mss: is for engine=host with proto=tcp"},
           {"engine=host\ncongestion=reno", "congestion: is for engine=host with proto=tcp"},
           {"window=64k", "window: is for engine=host"},
           {"dscp=ef", "dscp: is for engine=host"},
           {"headers=ipv4/udp", "with these headers a frame has 88 bytes or more, not 64"},
           {"headers=vlan\nbs=100\nvlan=5", "vlan: the option headers already says"},
           {"headers=vlan\nbs=100\nrw=pingpong", "headers: only a job that sends"},
           {"headers=vlan\nbs=100\nengine=host",
            "headers: the kernel makes the headers of engine=host"},
           {"headers=ipv4\nbs=1515", "give it mtu=1501"},
           {"rw=echo\nto=b", "to: a job with rw=echo sends nothing"},
           {"rw=rx\nreplay=x", "replay: a job with rw=rx"},
           {"rw=rx\nverify_only\ndo_verify=0", "verify_only: with verify=0"},
           {"rw=echo\nverify_async=2", "verify_async: with rw=pingpong"},
           {"rate=3Mbit,1Mbit\nrate_min=2Mbit,2Mbit", "rate_min: is more"},
           {"rate_iops=3k,1k\nrate_iops_min=2k,2k", "rate_iops_min: is more"},
           {"io_submit_mode=offload\nfault=loss=1%", "io_submit_mode: a link with faults"},
           {"io_submit_mode=offload\nfault_rx=loss=1%", "io_submit_mode: a link with faults"},
           {"io_submit_mode=offload\nengine=null", "io_submit_mode: engine=null"},
           {"io_submit_mode=offload\nengine=host\nproto=tcp", "io_submit_mode: a TCP connection"},
           {"engine=null\nrw=rx", "rw: no other job can be on engine=null"},
           {"engine=pcap\nfilename=x\nrw=txrx", "rw: a job either writes a capture file"},
           {"search=ndr\nrate_iops=1k", "search: it searches for the rate"},
           {"search=ndr\nsize=1m", "search: each trial"},
           {"search=ndr\nio_limit=1m", "search: each trial"},
           {"search=ndr\ntime_based", "search: each trial"},
           {"search=ndr\nsize=1m\nloops=2", "search: each trial"},
           {"search=ndr\nreplay=x", "search: replay already has a rate"},
           {"search=ndr\nthinktime=1ms", "search: thinktime would be"},
           {"search=ndr\nsteadystate=iops:1%", "search: steadystate would end"},
           {"search=ndr\nengine=pcap\nfilename=x", "search: no frames can be lost on engine=pcap"},
           {"disable_lat\npercentile_list=50", "disable_lat: without latencies, percentile_list"},
           {"steadystate=iops:1%\nss_dur=1999ms", "ss_dur: must be at least 2 s"},
           {"replay=x\nrate=1Mbit\nrate_catchup=skip", "rate_catchup: skip would leave"},
           {"replay=x\nramp_time=1", "ramp_time: the frames of a capture"},
           {"replay=x\nheaders=vlan", "headers: the frames of a capture"},
           {"headers=vlan\nbs=100\nengine=udp",
            "headers: the kernel makes the headers of engine=udp"},
           {"headers=vlan\nbs=100\nrw=echo", "headers: only a job that sends"},
           {"vlan=5\nbs=63", "bs: with a vlan tag a frame has 64 bytes or more, not 63"},
           {"headers=ipv4/udp\nbs=87", "with these headers a frame has 88 bytes or more, not 87"},
           {"vlan=5\nbs=1519", "give it mtu=1501"},
           {"engine=host\nproto=udp\nbs=65536", "1m only with engine=host"},
       }) {
    expect_problem(sender(lines), words);
  }
}

TEST(Plan, WhatDoesNotContradictIsLeftAlone) {
  for (const char* lines :
       {"search=ndr", "search=pdr\nsearch_loss=1%", "latency_target=1ms", "bs=9014\nmtu=9000",
        "bs=1518\nvlan=5", "runtime=0\nsize=1m\nloops=3", "bus=/tmp/x\nbs=9000",
        "runtime=0\nreplay=x\nloops=2", "rate=1Mbit\nrate_min=1Mbit", "engine=host\nproto=tcp",
        "engine=host\nexec=true\nruntime=0", "rw=pingpong\niodepth=4\niodepth_low=3",
        // As far as each goes.
        "bs=1514", "vlan=5\nbs=64", "headers=ipv4/udp\nbs=88", "headers=ipv4\nbs=1514",
        "mtu=65521\nbs=65535", "engine=host\nproto=tcp\nbs=1m", "thinktime=1ms\nthinktime_spin=1ms",
        "rw=pingpong\niodepth=4\niodepth_batch_complete_min=4",
        "rate=2Mbit,1Mbit\nrate_min=2Mbit,1Mbit", "steadystate=iops:1%\nss_dur=2",
        "rw=txrx\nrate_iops=1\nrwmixtx=50", "rw=txrx\nrate_iops=5\nrwmixtx=10",
        "write_hist_log=x\nwrite_lat_log=x\nlog_hist_msec=250",
        "write_hist_log=x\nlog_hist_msec=300", "replay=x\nrate=1Mbit\nrate_catchup=limited",
        "cpus_allowed=0-1\ncpus_allowed_policy=split\nnumjobs=2"}) {
    EXPECT_EQ(problems_of(set_of(sender(lines))), Words()) << lines;
  }
}

TEST(Plan, AJobThatWouldNeverRunBesideASearchIsRefused) {
  const std::string search = sender("search=ndr\nto=rx") + "[rx]\nrw=rx\n";
  EXPECT_EQ(problems_of(set_of(search + "[noise]\nruntime=1\nbackground\n")), Words());
  EXPECT_EQ(problems_of(set_of(search + "[other]\nsearch=ndr\n")), Words());
  expect_problem(search + "[noise]\nruntime=1\nto=rx\n",
                 "background: a search runs only beside background jobs");
}

TEST(Plan, SeveralProblemsAreToldAtOnce) {
  std::string many;
  for (int i = 0; i < 19; ++i) many += "[j" + std::to_string(i) + "]\n";
  EXPECT_EQ(problems_of(set_of(many)).size(), 19U) << "nothing says when each of them ends";
  for (int i = 19; i < 30; ++i) many += "[j" + std::to_string(i) + "]\n";
  EXPECT_EQ(problems_of(set_of(many)).size(), 20U) << "who has so many does not read on";
  EXPECT_EQ(problems_of(set_of(sender("loops=2\npayload=pattern") + "[b]\ntime_based\n")).size(),
            4U);
}

}  // namespace
}  // namespace shmif::perf
