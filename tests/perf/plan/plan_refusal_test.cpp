// Sets of jobs that make no plan, and the words that say why.

#include "tests/perf/plan/plan_rig.hpp"

namespace shmif::perf::plans {
namespace {

struct Contradiction {
  const char* lines;
  const char* words;
};

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
  expect_problem(sender("rw=txrx\nrate_iops=10\nrwmixtx=70\nto=b") + "[b]\n" + both,
                 "rwmixtx: divides the rate between a job and the peer made for it");
  expect_problem(sender("engine=unix\nto=b") +
                     "[b]\nrw=rx\nengine=unix\n[c]\nruntime=1\n"
                     "engine=unix\nto=b\n",
                 "to: engine=unix connects only two jobs, and \"b\"");
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

TEST(Plan, WhatNoJobMakesUseOfIsRefused) {
  for (const auto& [lines, words] : std::initializer_list<Contradiction>{
           {"netdev=eth0", "netdev: is for engine=tap and packet"},
           {"socket=x", "socket: is for engine=stream, dgram and vde"},
           {"filename=x", "filename: is for engine=pcap"},
           {"engine=null\nhostname=::1", "hostname: is for engine=udp and bus"},
           {"proto=tcp", "proto: is for engine=host"},
           {"search_trial=1", "search_trial: has no effect without a search"},
           {"search_resolution=1%", "search_resolution: has no effect without a search"},
           {"search_max_iops=1k", "search_max_iops: has no effect without a search"},
           {"netns=x", "netns: is for engine=tap and packet with netdev"},
           {"engine=tap\nnetns=x", "netns: is for engine=tap and packet with netdev"},
           {"engine=udp\nbus=x", "bus: is for engine=bus and host (leave it out)"},
           {"engine=tap\nbus_size=1m", "bus_size: is for a bus that the run makes"},
           {"bus=x\nbus_size=1m", "bus_size: is for a bus that the run makes"},
           {"engine=stream\nbus_pause", "bus_pause: is for a bus that the run makes"},
           {"bus=x\nbus_pause=0", "bus_pause: is for a bus that the run makes"},
           {"engine=unix\nwire=w", "wire: is for engine=bus, tap, packet and host"},
           {"bus=x\nmtu=1500", "mtu: has no effect: the bus that \"bus\" names has its own MTU"},
           {"engine=null\nallow_live", "allow_live: is for engine=bus, tap, packet and host"},
           {"engine=null\nend_on=overrun", "end_on: needs a receiver"},
           {"engine=null\ndo_verify=0", "do_verify: needs a receiver"},
           {"engine=pcap\nfilename=x\nverify_async=2", "verify_async: needs a receiver"},
           {"engine=udp\nport=7\nno_peer\nverify_backlog=2", "verify_backlog: needs a receiver"},
           {"engine=pcap\nfilename=x\nmax_latency=1", "max_latency: needs a latency"},
           {"rw=rx\nengine=pcap\nfilename=x\npercentile_list=50",
            "percentile_list: needs a latency"},
           {"rw=rx\nverify_only\nwrite_lat_log=x", "write_lat_log: needs a latency"},
           {"engine=null\nwrite_hist_log=x", "write_hist_log: needs a latency"},
           {"port=7", "port: is for engine=udp"},
           {"engine=null\nno_peer", "no_peer: is for engine=udp and bus"},
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
           {"search=ndr\nsearch_loss=1%", "search_loss: is for search=pdr"},
           {"engine=host\nthread", "thread: is not for engine=host"},
           {"ip=198.18.0.1/24", "ip: is for engine=host"},
           {"write_hist_log=x\nlog_avg_msec=50",
            "log_avg_msec: has no effect without write_bw_log, write_iops_log and write_lat_log"},
           {"write_bw_log=x\nlog_hist_msec=50",
            "log_hist_msec: has no effect without write_hist_log"},
           {"write_bw_log=x\nlog_hist_coarseness=2",
            "log_hist_coarseness: has no effect without write_hist_log"},
           {"rate_min=0\nrate_cycle=2", "rate_cycle: has no effect without rate_min"},
           {"headers=vlan\nbs=100\nengine=host", "headers: is for jobs that make frames"},
           {"headers=vlan\nbs=100\nengine=udp", "headers: is for jobs that make frames"},
           {"replay=x\nheaders=vlan", "headers: is for jobs that make frames"},
           {"flow=2", "flow: has no effect, because no other job"},
           {"flow=2\nengine=null\n[b]\nflow=3\nstonewall\nruntime=1",
            "flow: has no effect, because no other job"},
           {"latency_target=1ms\nsearch=none", "latency_target: needs search=latency_target"},
       }) {
    expect_problem(sender(lines), words);
  }
  for (const char* lines :
       {"search=ndr\nsearch_resolution=1%\nsearch_max_iops=1k\nsearch_trial=1",
        "engine=tap\nnetdev=e0,e1\nnetns=x", "engine=udp\nport=7", "engine=host\nbus=x\nmtu=1400",
        "engine=host\nbus_size=1m\nbus_pause", "engine=tap\nwire=w\nmtu=1400\nallow_live",
        "replay=x\nreplay_time_scale=50", "replay=x\nrate=1Mbit\nthinktime=1ms",
        "replay=x\nreplay_no_stall\nthinktime=1ms\nrate_catchup=limited",
        "replay=x\nrate_iops=1k\nrate_process=poisson\nrate_overhead=20",
        "write_bw_log=x\nlog_avg_msec=50\nper_job_logs=0",
        "write_hist_log=x\nlog_hist_msec=50\nlog_hist_coarseness=2\nper_job_logs=0",
        "steadystate=iops:1%\nss_dur=3\nss_ramp=1",
        "rate_iops_min=0,1\nrate_cycle=2\nrate_settle=2", "rate_min=1k\nrate_cycle=2",
        "rw=txrx\nrate_min=0,1k\nrate_cycle=2", "replay=x\nreplay_no_stall", "flow=2\nnumjobs=2",
        "flow=2\n[b]\nflow=3\nruntime=1"}) {
    EXPECT_EQ(problems_of(set_of(sender(lines))), Words()) << lines;
  }
  // What is written for many may be for some of them.
  EXPECT_EQ(names(plan_of(sender("engine=bus,udp\nhostname=::1"))).size(), 4U);
  EXPECT_EQ(names(plan_of("[global]\nproto=tcp\nruntime=1\n[a]\n[b]\nengine=host\n")).size(), 4U);
  EXPECT_EQ(names(plan_of(sender("engine=bus,host\nthread\nip=198.18.0.1/24"))).size(), 4U);
  EXPECT_EQ(
      names(plan_of("[global]\nflow=2\nruntime=1\nengine=null\n[a]\n[b]\n[c]\nstonewall\n")).size(),
      3U);
}

TEST(Plan, WhatGlobalGivesToSendersDoesNotReachReceivers) {
  const std::string receiver = "verify_async=2\nverify_backlog=3\n[b]\nrw=rx\n";
  const auto flows = plan_of("[global]\nruntime=1\nflow=2\n" + receiver + "[a]\nto=b\n[c]\nto=b\n");
  EXPECT_EQ(flows.at(0).options.flow, 0U) << "it sends nothing, and senders would wait for it";
  EXPECT_EQ(flows.at(1).options.flow, 2U);
  EXPECT_EQ(flows.at(2).options.flow, 2U);
  EXPECT_EQ(flows.at(0).options.verify_async, 2U);
  EXPECT_EQ(flows.at(0).options.verify_backlog, 3U);

  const auto replayed =
      plan_of("[global]\nruntime=1\nreplay=x\nreplay_no_stall\n[b]\nrw=rx\n[a]\nto=b\n");
  EXPECT_EQ(replayed.at(0).options.replay, "");
  EXPECT_EQ(replayed.at(1).options.replay, "x");

  const auto headed = plan_of("[global]\nruntime=1\nheaders=ipv4\nbs=100\n[b]\nrw=rx\n[a]\nto=b\n");
  EXPECT_EQ(headed.at(0).options.headers, "");
  EXPECT_EQ(headed.at(1).options.headers, "ipv4");

  const auto searched =
      plan_of("[global]\nlatency_target=1ms\nsearch_trial=1\n[b]\nrw=rx\n[a]\nto=b\n");
  EXPECT_EQ(searched.at(0).options.search, Search::none);
  EXPECT_EQ(searched.at(0).options.latency_target.count(), 0);
  EXPECT_EQ(searched.at(1).options.search, Search::latency_target);
  EXPECT_EQ(searched.at(1).options.latency_target, std::chrono::milliseconds(1));

  const auto asked = plan_of(
      "[global]\nruntime=1\nverify_async=2\nverify_backlog=3\n[a]\n"
      "rw=pingpong\n[c]\nrw=tx\n");
  EXPECT_EQ(asked.at(0).options.verify_async, 0U);
  EXPECT_EQ(asked.at(0).options.verify_backlog, 0U);
  EXPECT_EQ(asked.at(1).options.verify_async, 0U) << "of the echo made for it";
  EXPECT_EQ(asked.at(2).options.verify_async, 2U);

  // What only a sender needs may be beside it.
  for (const char* lines :
       {"loops=2\n[b]\nrw=rx\n[a]\nto=b\nsize=1m\n",
        "time_based\n[b]\nrw=rx\n[a]\nto=b\nruntime=1\n",
        "payload=pattern\n[b]\nrw=rx\n[a]\nto=b\nruntime=1\nbuffer_pattern=0x12\n",
        "vlan=5\nbs=100\n[b]\nrw=rx\n[a]\nto=b\nruntime=1\n",
        "engine=host\nthread\n[b]\nrw=rx\n[a]\nto=b\nruntime=1\n[c]\nengine=null\nruntime=1\n"}) {
    EXPECT_EQ(problems_of(set_of(std::string("[global]\n") + lines)), Words()) << lines;
  }
}

TEST(Plan, WhatNoRoleMakesUseOfIsRefused) {
  const std::string sends = ": is for jobs that send by themselves (rw=tx, txrx and pingpong)";
  const std::string pace = ": has no effect when replay keeps the times of the capture, ";
  const std::string frames = ": has no effect with replay, ";
  const std::string asks = ": is for rw=pingpong (leave it out)";
  const struct {
    const char* given;  // to a job of each role
    std::set<std::string> takes;
    std::string words;
  } kCases[] = {
      {"iodepth=4", {"pingpong"}, asks},
      {"iodepth_batch_complete_min=1", {"pingpong"}, asks},
      {"iodepth_batch_complete_max=8", {"pingpong"}, asks},
      {"iodepth_low=0", {"pingpong"}, asks},
      {"rwmixtx=50", {"txrx"}, ": is for rw=txrx (leave it out)"},
      {"number_ios=9", {"tx", "txrx", "pingpong"}, sends},
      {"size=1m", {"tx", "txrx", "pingpong"}, sends},
      {"io_limit=1m", {"tx", "txrx", "pingpong"}, sends},
      {"time_based", {"tx", "txrx", "pingpong"}, sends},
      {"loops=1", {"tx", "txrx", "pingpong"}, sends},
      {"rate=1Mbit", {"tx", "txrx", "pingpong"}, sends},
      {"rate_iops=1k", {"tx", "txrx", "pingpong"}, sends},
      {"flow=0", {"tx", "txrx", "pingpong"}, sends},
      {"iodepth_batch=4", {"tx", "txrx", "pingpong"}, sends.substr(0, sends.size() - 1)},
      {"rate_overhead=24", {"tx", "txrx", "pingpong"}, pace},
      {"rate_process=linear", {"tx", "txrx", "pingpong"}, pace},
      {"rate_catchup=skip", {"tx", "txrx", "pingpong"}, pace},
      {"thinktime=1ms", {"tx", "txrx", "pingpong"}, pace},
      {"thinktime_blocks=2", {}, ": has no effect without thinktime (leave it out)"},
      {"thinktime_spin=1ms", {}, ": has no effect without thinktime (leave it out)"},
      {"bs=128", {"tx", "txrx", "pingpong"}, frames},
      {"bsrange=128-256", {"tx", "txrx", "pingpong"}, frames},
      {"bssplit=128/50:256/50", {"tx", "txrx", "pingpong"}, frames},
      {"payload=zero", {"tx", "txrx", "pingpong"}, frames},
      {"buffer_pattern=0x12", {"tx", "txrx", "pingpong"}, frames},
      {"buffer_compress_percentage=5", {"tx", "txrx", "pingpong"}, frames},
      {"vlan=5", {"tx", "txrx", "pingpong"}, frames},
      {"io_submit_mode=offload", {"tx", "txrx", "pingpong", "echo"}, ": is for jobs that send or "},
      {"write_pcap=x", {"tx", "txrx", "pingpong", "echo"}, ": is for jobs that send or reply"},
      {"headers=eth", {"tx", "txrx"}, ": is for jobs that make frames which get no replies"},
      {"replay=x", {"tx", "txrx"}, ": is for jobs that send frames which get no replies"},
      {"search=ndr", {"tx", "txrx", "pingpong"}, sends},
      {"latency_target=1ms", {"tx", "txrx", "pingpong"}, sends},
      {"verify_async=2", {"tx", "txrx", "rx"}, ": needs a receiver that sends no replies"},
      {"verify_backlog=2", {"tx", "txrx", "rx"}, ": needs a receiver that sends no replies"},
      {"search_loss=1%", {}, ": is for search=pdr (leave it out)"},
      {"replay_no_stall", {}, ": has no effect without replay (leave it out)"},
      {"rate_cycle=2", {}, ": has no effect without rate_min and rate_iops_min (leave it out)"},
      {"rate_settle=2", {}, ": has no effect without rate_min and rate_iops_min (leave it out)"},
      {"ss_dur=3", {}, ": has no effect without steadystate (leave it out)"},
      {"ss_ramp=1", {}, ": has no effect without steadystate (leave it out)"},
      {"log_avg_msec=50", {}, ": has no effect without write_bw_log, "},
      {"log_hist_msec=50", {}, ": has no effect without write_hist_log (leave it out)"},
      {"log_hist_coarseness=1", {}, ": has no effect without write_hist_log (leave it out)"},
      {"per_job_logs=1",
       {},
       ": has no effect without logs (write_bw_log and so on) (leave it out)"},
      {"peer_cpus_allowed=0", {"tx", "txrx", "pingpong"}, ": is for jobs for which a peer is made"},
      // These are of use to each role.
      {"randseed=7", {"tx", "txrx", "pingpong", "rx", "echo"}, {}},
      {"drain_time=1", {"tx", "txrx", "pingpong", "rx", "echo"}, {}},
      {"verify=1", {"tx", "txrx", "pingpong", "rx", "echo"}, {}},
      {"rate_min=0", {"tx", "txrx", "pingpong", "rx", "echo"}, {}},
  };
  for (const auto& [given, takes, words] : kCases) {
    const std::string name = std::string(given).substr(0, std::string(given).find('='));
    for (const std::string role : {"tx", "txrx", "pingpong"}) {
      const Words found = problems_of(set_of(sender("rw=" + role + '\n' + given)));
      const bool is_told = std::ranges::any_of(found, [&](const std::string& each) {
        return each.find(name + words) != std::string::npos;
      });
      EXPECT_EQ(found.empty(), takes.contains(role)) << role << ' ' << given;
      EXPECT_EQ(is_told, !takes.contains(role)) << role << ' ' << given;
    }
    for (const std::string role : {"rx", "echo"}) {
      const std::string from = role == "rx" ? "tx" : "pingpong";
      const Words found = problems_of(
          set_of("[b]\nruntime=1\nrw=" + role + '\n' + given + '\n' + sender("to=b\nrw=" + from)));
      const bool is_told = std::ranges::any_of(found, [&](const std::string& each) {
        return each.find("job \"b\": " + name + words) != std::string::npos;
      });
      EXPECT_EQ(found.empty(), takes.contains(role)) << role << ' ' << given;
      EXPECT_EQ(is_told, !takes.contains(role)) << role << ' ' << given;
    }
    if (takes.empty()) continue;
    // What is written for all jobs may be for some of them.
    const std::string from = takes.contains("tx") ? "tx" : *takes.begin();
    const std::string to = from == "pingpong" ? "echo" : "rx";
    if (from == "txrx" || name == "peer_cpus_allowed") continue;
    EXPECT_EQ(problems_of(set_of(std::string("[global]\nruntime=1\n") + given + "\n[b]\nrw=" + to +
                                 "\n[a]\nto=b\nrw=" + from + '\n')),
              Words())
        << given;
  }
  // A receiver that checks the frames of a file makes them again.
  EXPECT_EQ(problems_of(set_of("[b]\nrw=rx\nengine=pcap\nfilename=x\nverify_only\n"
                               "verify=regenerate\nbs=128\nvlan=5\npayload=zero\n"
                               "iodepth_batch=4\n")),
            Words());
  EXPECT_EQ(problems_of(set_of(sender("thinktime=1ms\nthinktime_spin=1ms\nthinktime_blocks=2"))),
            Words());
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

TEST(Plan, OptionsThatContradictEachOtherAreRefused) {
  for (const auto& [lines, words] : std::initializer_list<Contradiction>{
           {"runtime=0", "runtime: the job has no limit"},
           {"runtime=0\nnumber_ios=1\ntime_based", "time_based: needs runtime"},
           {"loops=2", "loops: needs size"},
           {"engine=udp\nno_peer", "no_peer: the receiver's port must be known"},
           {"engine=udp\nno_peer\nport=7\nrw=txrx", "no_peer: without a peer, no frames come back"},
           {"engine=udp\nno_peer\nport=7\nto=b", "no_peer: \"to\" names a receiver"},
           {"hostname=::1", "hostname: on engine=bus, it is the MAC address of one port"},
           {"hostname=ff:ff:ff:ff:ff:ff", "hostname: on engine=bus, it is the MAC address"},
           {"rw=txrx\nhostname=02:00:00:00:00:01",
            "hostname: on engine=bus, it is the address of a job with rw=rx or rw=echo"},
           {"numjobs=2\nhostname=02:00:00:00:00:01",
            "hostname: job \"a.0.sink\" has the address 02:00:00:00:00:01, too"},
           {"no_peer\nbus=/b", "no_peer: the receiver's MAC address must be known (give hostname)"},
           {"no_peer\nhostname=02:00:00:00:00:01", "no_peer: nobody else is on a bus"},
           {"no_peer\nbus=/b\nhostname=02:00:00:00:00:01\nrw=txrx",
            "no_peer: such a job sends, or asks and waits"},
           {"engine=udp\nport=7\nrw=echo\nverify_only", "verify_only: such a job sends nothing"},
           {"engine=udp\nno_peer\nport=7\nsearch=ndr", "search: with no_peer, nobody counts"},
           {"verify_only", "verify_only: such a job sends nothing"},
           {"rw=rx\nverify_only\nverify=0", "verify_only: with verify=0"},
           {"thinktime=1ms\nthinktime_spin=2ms", "thinktime_spin: is longer"},
           {"rate_process=poisson", "rate_process: poisson needs rate"},
           {"rate=1Mbit\nrate_min=2Mbit", "rate_min: is more"},
           {"rate_iops=1k\nrate_iops_min=2k", "rate_iops_min: is more"},
           {"rw=pingpong\niodepth=4\niodepth_low=4", "iodepth_low: is not below"},
           {"rw=pingpong\niodepth=4\niodepth_batch_complete_min=5", "complete_min: is more"},
           {"rw=pingpong\niodepth=4\niodepth_batch_complete_min=3\niodepth_batch_complete_max=2",
            "complete_max: is less than iodepth_batch_complete_min"},
           {"cgroup_weight=50", "cgroup_weight: needs cgroup"},
           {"cgroup_nodelete", "cgroup_nodelete: needs cgroup"},
           {"numa_node=0\nnuma_cpu_nodes=0", "numa_node: is short for"},
           {"numa_node=0\nnuma_mem_policy=local", "numa_node: is short for"},
           {"rw=txrx\nrwmixtx=70\nflow=2", "rwmixtx: without a rate, it keeps the ratio"},
           {"rw=txrx\nrwmixtx=70\nsearch=ndr", "rwmixtx: a search sets the rate of one"},
           {"rw=txrx\nrwmixtx=70\nrate_iops=4,8", "rwmixtx: each direction already has"},
           {"rw=txrx\nrwmixtx=0", "rwmixtx: with 0, the job sends nothing (use rw=rx)"},
           {"rw=txrx\nrwmixtx=100", "rwmixtx: with 100, the job receives nothing (use rw=tx)"},
           {"payload=pattern", "payload: pattern needs"},
           {"payload=zero\nbuffer_compress_percentage=5",
            "buffer_compress_percentage: is only for"},
           {"vlan=5\nbs=60", "bs: with a vlan tag"},
           {"bs=1515", "give it mtu=1501"},
           {"rw=txrx\nbs=64,1515", "give it mtu=1501"},
           {"bs=1521\nvlan=5",
            "bs: frames of 1521 bytes do not fit a wire with mtu=1500 (give it mtu=1503)"},
           {"bs=1517\nheaders=ipv4/udp",
            "bs: frames of 1517 bytes do not fit a wire with mtu=1500 (give it mtu=1503)"},
           {"rw=txrx\nrate_iops=2\nrwmixtx=20",
            "rwmixtx: leaves one direction less than 1 of 4 per second (give a higher rate)"},
           {"engine=pcap", "filename: engine=pcap needs"},
           {"engine=pcap\nfilename=x\nrw=pingpong", "rw: a job either writes a capture file"},
           {"engine=null\nrw=pingpong", "rw: no other job can be on engine=null"},
           {"engine=null\nto=b", "to: no other job can be on engine=null"},
           {"exec=true", "exec: only engine=host"},
           {"engine=host\nip=198.18.0.1/24\nnumjobs=2", "ip: 2 jobs cannot"},
           {"engine=host\nexec=true\nuid=nobody", "uid: the program of exec runs as root"},
           {"engine=host\nexec=true\ngid=nogroup", "gid: the program of exec runs as root"},
           {"search=ndr\nrate=1Mbit", "search: it searches for the rate"},
           {"search=ndr\nnumber_ios=1", "search: each trial"},
           {"search=ndr\nnumjobs=2", "search: clones"},
           {"search=ndr\nengine=null", "search: nothing receives or loses frames on engine=null"},
           {"search=latency_target", "search: search=latency_target needs"},
           {"latency_target=1ms\nsearch=ndr", "latency_target: needs"},
           {"search=ndr\nlatency_target=1ms", "latency_target: needs"},
           {"latency_target=1ms\ndisable_lat", "disable_lat: without latencies, latency_target"},
           {"search=pdr", "search: search=pdr needs search_loss"},
           {"search=pdr\nsearch_loss=0%", "search: search=pdr needs search_loss"},
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
           {"headers=ipv4\nbs=1515", "give it mtu=1501"},
           {"rw=echo\nto=b", "to: a job with rw=echo sends nothing"},
           {"rw=rx\nverify_only\ndo_verify=0", "verify_only: with verify=0"},
           {"rate=3Mbit,1Mbit\nrate_min=2Mbit,2Mbit", "rate_min: is more"},
           {"rate_iops=3k,1k\nrate_iops_min=2k,2k", "rate_iops_min: is more"},
           {"io_submit_mode=offload\nfault=loss=1%", "io_submit_mode: a link with faults"},
           {"io_submit_mode=offload\nfault_rx=loss=1%", "io_submit_mode: a link with faults"},
           {"io_submit_mode=offload\nengine=null", "io_submit_mode: engine=null"},
           {"engine=host\nfault_rx=loss=1%", "fault_rx: is for jobs that receive"},
           {"engine=host\nrw=rx\nfault=loss=1%", "fault: is for jobs that send"},
           {"fault_rx=loss=1%", "fault_rx: is for jobs that receive"},
           {"rw=rx\nfault=loss=1%", "fault: is for jobs that send"},
           {"io_submit_mode=offload\nengine=host\nproto=tcp", "io_submit_mode: a TCP connection"},
           {"engine=null\nrw=rx", "rw: no other job can be on engine=null"},
           {"engine=pcap\nfilename=x\nrw=txrx", "rw: a job either writes a capture file"},
           {"search=ndr\nrate_iops=1k", "search: it searches for the rate"},
           {"search=ndr\nsize=1m", "search: each trial"},
           {"search=ndr\nio_limit=1m", "search: each trial"},
           {"search=ndr\ntime_based", "search: each trial"},
           {"search=ndr\nsize=1m\nloops=2", "search: each trial"},
           {"search=ndr\nloops=2", "search: each trial"},
           {"search=ndr\nreplay=x", "search: the rate of replay is that of its capture"},
           {"search=ndr\nthinktime=1ms", "search: the pauses of thinktime would be"},
           {"search=ndr\nsteadystate=iops:1%", "search: steadystate would end"},
           {"search=ndr\nengine=pcap\nfilename=x",
            "search: nothing receives or loses frames on engine=pcap, so all rates would do"},
           {"disable_lat\npercentile_list=50", "disable_lat: without latencies, percentile_list"},
           {"steadystate=iops:1%\nss_dur=1999ms", "ss_dur: is too short"},
           {"replay=x\nrate=1Mbit\nrate_catchup=skip", "rate_catchup: skip would leave"},
           {"replay=x\nramp_time=1", "ramp_time: the frames of a capture"},
           {"headers=vlan\nrw=rx\nengine=pcap\nfilename=x\nverify_only\nverify=regenerate",
            "headers: frames with headers cannot be made again"},
           {"vlan=5\nbs=63", "bs: with a vlan tag a frame has 64 bytes or more, not 63"},
           {"headers=ipv4/udp\nbs=87", "with these headers a frame has 88 bytes or more, not 87"},
           {"vlan=5\nbs=1519", "give it mtu=1501"},
           {"engine=host\nproto=udp\nbs=65536", "1m only with engine=host"},
       }) {
    expect_problem(sender(lines), words);
  }
}

TEST(Plan, FaultsGivenTwiceInOneSectionAreRefusedAndThoseOfGlobalReplaced) {
  for (const std::string option : {"fault", "fault_rx"}) {
    const std::string first = option + "=loss=1%\n";
    const std::string second = option + "=delay=1ms\n";
    JobSet twice;
    const Words errors = read_job_text("x.job", sender("rw=txrx\n" + first + second), twice);
    ASSERT_EQ(errors.size(), 1U);
    EXPECT_NE(errors[0].find(option + ": is given twice"), std::string::npos) << errors[0];
    const JobSet set = set_of("[global]\nrw=txrx\n" + first + "[a]\n" + second);
    const JobOptions& job = set.jobs.at(0);
    EXPECT_EQ(to_string(option == "fault" ? job.fault : job.fault_rx), "delay=1ms");
  }
}

TEST(Plan, WhatDoesNotContradictIsLeftAlone) {
  for (const char* lines :
       {"search=ndr", "search=pdr\nsearch_loss=1%", "latency_target=1ms", "bs=9014\nmtu=9000",
        "bs=1518\nvlan=5", "runtime=0\nsize=1m\nloops=3", "bus=/tmp/x\nbs=9000",
        "runtime=0\nreplay=x\nloops=2", "rate=1Mbit\nrate_min=1Mbit", "engine=host\nproto=tcp",
        "engine=host\nexec=true\nruntime=0", "rw=pingpong\niodepth=4\niodepth_low=3",
        "engine=host\nfault=loss=1%", "engine=host\nexec=ping\nfault=loss=100%",
        "engine=host\nexec=ping\nfault_rx=delay=1ms", "engine=host\nproto=tcp\nfault=loss=1%",
        "engine=host\nproto=tcp\nfault_rx=rate=1Mbit",
        "engine=host\nfault=loss=1%\nio_submit_mode=offload",
        "rw=pingpong\nfault=loss=1%\nfault_rx=loss=1%",
        // As far as each goes.
        "bs=1514", "vlan=5\nbs=64", "headers=ipv4/udp\nbs=88", "headers=ipv4\nbs=1514",
        "mtu=65521\nbs=65535", "engine=host\nproto=tcp\nbs=1m", "thinktime=1ms\nthinktime_spin=1ms",
        "rw=pingpong\niodepth=4\niodepth_batch_complete_min=4",
        "rw=pingpong\niodepth=4\niodepth_batch_complete_min=0\niodepth_batch_complete_max=1",
        "rw=pingpong\niodepth=4\niodepth_batch_complete_min=2\niodepth_batch_complete_max=2",
        "no_peer\nbus=/b\nhostname=02:00:00:00:00:01\nrw=pingpong", "rw=txrx\nrate_min=0,1k",
        "bus=/b\nrw=echo\nverify_only", "search=ndr\nrate_process=poisson",
        "engine=host\nproto=tcp\nto=b\n[b]\nengine=host\nproto=tcp\nrw=rx\nfault=loss=1%",
        "write_hist_log=x\nwrite_lat_log=x\nlog_hist_msec=1000", "rw=txrx\nrwmixtx=70",
        "numa_cpu_nodes=0\nnuma_mem_policy=bind:0", "rate=2Mbit,1Mbit\nrate_min=2Mbit,1Mbit",
        "steadystate=iops:1%\nss_dur=2", "rw=txrx\nrate_iops=1\nrwmixtx=50",
        "rw=txrx\nrate_iops=5\nrwmixtx=10", "write_hist_log=x\nwrite_lat_log=x\nlog_hist_msec=250",
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

TEST(Plan, AProblemOfOneJobIsToldOnceHoweverManyEnginesItHas) {
  EXPECT_EQ(problems_of(set_of("[a]\nengine=null,bus,unix\n")).size(), 1U);
  EXPECT_EQ(problems_of(set_of("[global]\nengine=null,bus\n[a]\n[b]\n")).size(), 2U)
      << "each job has it";
  EXPECT_EQ(problems_of(set_of("[a]\nengine=null,bus\nloops=2\n")).size(), 2U);
  EXPECT_EQ(problems_of(set_of(sender("to=b\nnumjobs=3") + "[b]\nrw=rx\nstart_delay=1\n")).size(),
            1U);
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
}  // namespace shmif::perf::plans
