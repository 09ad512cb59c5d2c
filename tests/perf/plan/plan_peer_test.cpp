// What a peer has from the job that it is made for.

#include "tests/perf/plan/plan_rig.hpp"

namespace shmif::perf::plans {
namespace {

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
           {"continue_on_error=rx", goes_on_alike<&ErrorClasses::rx>},
           {"continue_on_error=lock", goes_on_alike<&ErrorClasses::lock>},
           {"end_on=overrun", as_its_job<&JobOptions::end_on_overrun>},
           {"runtime=7", as_its_job<&JobOptions::runtime>},
           {"ramp_time=2", as_its_job<&JobOptions::ramp_time>},
           {"drain_time=2", as_its_job<&JobOptions::drain_time>},
           {"rate_min=1k\nrate_cycle=3", as_its_job<&JobOptions::rate_cycle>},
           {"iodepth_batch=7", as_its_job<&JobOptions::iodepth_batch>},
           {"io_submit_mode=offload", as_its_job<&JobOptions::io_submit_mode>},
           {"payload=zero", as_its_job<&JobOptions::payload>},
           {"randseed=9", as_its_job<&JobOptions::randseed>},
           {"vlan=5\nbs=100", as_its_job<&JobOptions::vlan>},
           {"verify=0", as_its_job<&JobOptions::verify>},
           {"verify_backlog=3", as_its_job<&JobOptions::verify_backlog>},
           {"verify_async=2", as_its_job<&JobOptions::verify_async>},
           {"disable_lat", as_its_job<&JobOptions::disable_lat>},
           {"counters=page-faults", as_its_job<&JobOptions::counters>},
           {"max_latency=1ms", as_its_job<&JobOptions::max_latency>},
           {"numa_node=0", as_its_job<&JobOptions::numa_node>},
           {"nice=1", as_its_job<&JobOptions::nice>},
           {"lockmem", as_its_job<&JobOptions::lockmem>},
           {"hugepages", as_its_job<&JobOptions::hugepages>},
           {"uid=nobody", as_its_job<&JobOptions::uid>},
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
           {"mtu=9000", as_its_job<&JobOptions::mtu>},
           {"bus_pause", as_its_job<&JobOptions::bus_pause>},
           {"engine=tap\nnetdev=e0,e1\nnetns=n", as_its_job<&JobOptions::netns>},
           {"engine=udp\nhostname=::1", as_its_job<&JobOptions::hostname>},
           {"allow_live", as_its_job<&JobOptions::allow_live>},
           {"engine=host\nproto=tcp", as_its_job<&JobOptions::proto>},
           {"engine=host\nproto=tcp\ncongestion=reno", as_its_job<&JobOptions::congestion>},
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
           {"iodepth=4\niodepth_batch_complete_min=2",
            as_its_job<&JobOptions::iodepth_batch_complete_min>},
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
