#include "perf/option/option_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <span>

#include "base/text.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

/// An option, a value that is not its default, what the member is then, and values that are
/// refused.
template <class Options>
struct Case {
  const char* name;
  const char* value;
  bool (*is_set)(const Options&);
  std::vector<const char*> refused;
};
using JobCase = Case<JobOptions>;
using RunCase = Case<RunOptions>;
using J = const JobOptions&;
using R = const RunOptions&;

const std::vector<JobCase>& job_cases() {
  static const std::vector<JobCase> all{
      {"name", "web 1", [](J j) { return j.name == "web 1"; }, {"", "a/b", "global", "a]", "\n"}},
      {"description", "x y", [](J j) { return j.description == "x y"; }, {""}},
      {"numjobs", "256", [](J j) { return j.numjobs == 256; }, {"0", "257", "-1", "many", ""}},
      {"thread", "1", [](J j) { return j.thread; }, {"2", "maybe"}},
      {"wait_for", "a", [](J j) { return j.wait_for == "a"; }, {""}},
      {"stonewall", "1", [](J j) { return j.stonewall; }, {"x"}},
      {"start_delay", "1.5", [](J j) { return j.start_delay == 1500ms; }, {"-1", "2y"}},
      {"new_group", "1", [](J j) { return j.new_group; }, {"x"}},
      {"group_reporting", "1", [](J j) { return j.group_reporting; }, {"x"}},
      {"exitall", "1", [](J j) { return j.exitall; }, {"x"}},
      {"exitall_on_error", "1", [](J j) { return j.exitall_on_error; }, {"x"}},
      {"background", "1", [](J j) { return j.background; }, {"x"}},
      {"startup_timeout", "3", [](J j) { return j.startup_timeout == 3s; }, {"0", "2h"}},
      {"rw", "pingpong", [](J j) { return j.rw == Role::pingpong; }, {"randread", "TX", ""}},
      {"to", "sink", [](J j) { return j.to == "sink"; }, {""}},
      {"bs",
       "imix",
       [](J j) { return j.bs.tx == imix_sizes() && j.bs.rx == imix_sizes(); },
       {"59", "1048577", "64/1", "64,64,64"}},
      {"bsrange",
       "64-100,200-300",
       [](J j) { return j.bs.tx.parts[0].max == 100 && j.bs.rx.parts[0].min == 200; },
       {"100-64", "0-64"}},
      {"bssplit",
       "64/70:1514/30",
       [](J j) { return j.bs.tx.parts[1].weight == 30; },
       {"64/0", "64/70:x/30"}},
      {"rate",
       "2Gbit,1Mbit",
       [](J j) { return j.rate_bps.tx == 2'000'000'000 && j.rate_bps.rx == 1'000'000; },
       {"10MB", "1001Gbit", "-1", ""}},
      {"rate_iops",
       ",1k",
       [](J j) { return j.rate_fps.tx == 0 && j.rate_fps.rx == 1000; },
       {"1001M", "1ki", ","}},
      {"rwmixtx", "70", [](J j) { return j.rwmixtx == 70; }, {"101"}},
      {"rate_overhead", "24", [](J j) { return j.rate_overhead_bytes == 24; }, {"1001"}},
      {"rate_process",
       "poisson",
       [](J j) { return j.rate_process == RateProcess::poisson; },
       {"uniform"}},
      {"rate_catchup", "skip", [](J j) { return j.rate_catchup == CatchUp::skip; }, {"burst,skip"}},
      {"rate_min", "1Mbit", [](J j) { return j.rate_min_bps.rx == 1'000'000; }, {"x"}},
      {"rate_iops_min", "10", [](J j) { return j.rate_min_fps.tx == 10; }, {"x"}},
      {"rate_cycle", "500", [](J j) { return j.rate_cycle == 500ms; }, {"0", "2h"}},
      {"rate_settle", "2", [](J j) { return j.rate_settle == 2s; }, {"2h"}},
      {"thinktime", "30", [](J j) { return j.thinktime == 30us; }, {"25h"}},
      {"thinktime_spin", "1ms", [](J j) { return j.thinktime_spin == 1ms; }, {"x"}},
      {"thinktime_blocks", "10", [](J j) { return j.thinktime_blocks == 10; }, {"0"}},
      {"iodepth", "64", [](J j) { return j.iodepth == 64; }, {"0", "1000001"}},
      {"iodepth_batch", "1", [](J j) { return j.iodepth_batch == 1; }, {"0", "1025"}},
      {"iodepth_batch_complete_min",
       "4",
       [](J j) { return j.iodepth_batch_complete_min == 4; },
       {"-1", "1025"}},
      {"iodepth_batch_complete_max",
       "4",
       [](J j) { return j.iodepth_batch_complete_max == 4; },
       {"-1", "1025"}},
      {"iodepth_low", "4", [](J j) { return j.iodepth_low == 4; }, {"1000001"}},
      {"flow", "8", [](J j) { return j.flow == 8; }, {"-8"}},
      {"io_submit_mode",
       "offload",
       [](J j) { return j.io_submit_mode == IoSubmit::offload; },
       {"x"}},
      {"runtime", "1m", [](J j) { return j.runtime == 60s; }, {"366d", "soon"}},
      {"time_based", "1", [](J j) { return j.time_based; }, {"x"}},
      {"ramp_time", "2", [](J j) { return j.ramp_time == 2s; }, {"25h"}},
      {"drain_time", "0", [](J j) { return j.drain_time == 0s; }, {"61m"}},
      {"loops", "3", [](J j) { return j.loops == 3; }, {"0"}},
      {"number_ios", "1M", [](J j) { return j.number_ios == 1'000'000; }, {"1.5"}},
      {"size", "1g", [](J j) { return j.size_bytes == 1U << 30U; }, {"1x"}},
      {"io_limit", "4k", [](J j) { return j.io_limit_bytes == 4096; }, {"x"}},
      {"payload", "zero", [](J j) { return j.payload == Payload::zero; }, {"one"}},
      {"buffer_pattern",
       "0xff00",
       [](J j) { return j.buffer_pattern.size() == 2 && j.payload == Payload::pattern; },
       {"0xf", "text"}},
      {"buffer_compress_percentage",
       "100",
       [](J j) { return j.buffer_compress_percentage == 100; },
       {"101"}},
      {"randseed",
       "18446744073709551615",
       [](J j) { return j.randseed == UINT64_MAX; },
       {"18446744073709551616"}},
      {"vlan", "4094", [](J j) { return j.vlan == 4094; }, {"0", "4095"}},
      {"headers",
       "ipv4/udp",
       [](J j) { return j.headers == "ipv4/udp"; },
       {"", "udp", "ipv4/ospf", "ipv4(ttl=256)/udp", "ipv4(src=inc(198.18.0.9,198.18.0.1))/udp"}},
      {"engine",
       "bus,unix",
       [](J j) {
         return j.engine == EngineKind::bus &&
                j.engines == std::vector{EngineKind::bus, EngineKind::unix_pair};
       },
       {"psync", "bus,bus", "bus,", ""}},
      {"bus", "/tmp/b", [](J j) { return j.bus == "/tmp/b"; }, {""}},
      {"wire", "w", [](J j) { return j.wire == "w"; }, {""}},
      {"bus_size", "64k", [](J j) { return j.bus_size_bytes == 65536; }, {"63k", "5g"}},
      {"mtu", "9000", [](J j) { return j.mtu == 9000; }, {"67", "65536", "9k"}},
      {"bus_pause", "1", [](J j) { return j.bus_pause; }, {"x"}},
      {"netdev", "veth0", [](J j) { return j.netdev == "veth0"; }, {""}},
      {"netns", "ns", [](J j) { return j.netns == "ns"; }, {""}},
      {"socket", "/run/q", [](J j) { return j.socket == "/run/q"; }, {""}},
      {"filename", "a.pcap", [](J j) { return j.filename == "a.pcap"; }, {""}},
      {"hostname", "::1", [](J j) { return j.hostname == "::1"; }, {""}},
      {"port", "65535", [](J j) { return j.port == 65535; }, {"65536"}},
      {"server", "lab1:7", [](J j) { return j.server == "lab1:7"; }, {""}},
      {"no_peer", "1", [](J j) { return j.no_peer; }, {"x"}},
      {"allow_live", "1", [](J j) { return j.allow_live; }, {"x"}},
      {"fault",
       "loss=1%",
       [](J j) { return j.fault.loss == 0.01 && !j.fault_rx.any(); },
       {"loss=2", "loss=1", "lost=1%"}},
      {"fault_rx", "duplicate=1%", [](J j) { return j.fault_rx.duplicate == 0.01; }, {"x"}},
      {"proto", "tcp", [](J j) { return j.proto == HostProtocol::tcp; }, {"sctp"}},
      {"mss", "536", [](J j) { return j.mss_bytes == 536; }, {"32768", "1k"}},
      {"window", "256k", [](J j) { return j.window_bytes == 262144; }, {"2g"}},
      {"congestion",
       "reno",
       [](J j) { return j.congestion == "reno"; },
       {"", "longer_than_the_kernels"}},
      {"dscp", "ef", [](J j) { return j.dscp == 46; }, {"64", "af14"}},
      {"ip", "198.18.0.1/24", [](J j) { return j.ip == "198.18.0.1/24"; }, {""}},
      {"exec",
       "sh -c 'a b'",
       [](J j) { return j.exec == std::vector<std::string>{"sh", "-c", "a b"}; },
       {"'", ""}},
      {"verify", "none", [](J j) { return !j.verify; }, {"md5"}},
      {"do_verify", "0", [](J j) { return !j.do_verify; }, {"x"}},
      {"verify_backlog", "64", [](J j) { return j.verify_backlog == 64; }, {"-1"}},
      {"verify_async", "2", [](J j) { return j.verify_async == 2; }, {"65"}},
      {"verify_only", "1", [](J j) { return j.verify_only; }, {"x"}},
      {"verify_state_save", "1", [](J j) { return j.verify_state_save; }, {"x"}},
      {"verify_state_load", "s", [](J j) { return j.verify_state_load == "s"; }, {""}},
      {"continue_on_error",
       "tx,lock",
       [](J j) { return j.continue_on_error.tx && j.continue_on_error.lock; },
       {"some"}},
      {"end_on", "overrun", [](J j) { return j.end_on_overrun; }, {"1"}},
      {"disable_lat", "1", [](J j) { return j.disable_lat; }, {"x"}},
      {"percentile_list",
       "99.5:50",
       [](J j) { return j.percentile_list == std::vector{50.0, 99.5}; },
       {"", "0", "101", "50:", "50,99"}},
      {"max_latency", "10ms", [](J j) { return j.max_latency == 10ms; }, {"2h"}},
      {"search", "pdr", [](J j) { return j.search == Search::pdr; }, {"fastest"}},
      {"search_loss", "0.1%", [](J j) { return j.search_loss == 0.001; }, {"101%"}},
      {"search_resolution",
       "1%",
       [](J j) { return j.search_resolution == 0.01; },
       {"0", "0%", "2"}},
      {"search_max_iops", "1M", [](J j) { return j.search_max_fps == 1'000'000; }, {"2g"}},
      {"search_trial", "60", [](J j) { return j.search_trial == 60s; }, {"0"}},
      {"latency_target",
       "100",
       [](J j) { return j.latency_target == 100us && j.search == Search::latency_target; },
       {"2h"}},
      {"latency_percentile", "99.9", [](J j) { return j.latency_percentile == 99.9; }, {"101"}},
      {"steadystate", "bw_slope:1%", [](J j) { return j.steadystate == "bw_slope:1%"; }, {"lat:1"}},
      {"ss_dur", "10", [](J j) { return j.ss_dur == 10s; }, {"25h"}},
      {"counters",
       "page-faults,cycles:u",
       [](J j) { return j.counters == "page-faults,cycles:u"; },
       {""}},
      {"ss_ramp", "5", [](J j) { return j.ss_ramp == 5s; }, {"25h"}},
      {"replay", "a.pcap", [](J j) { return j.replay == "a.pcap"; }, {""}},
      {"replay_time_scale", "200", [](J j) { return j.replay_time_scale == 0.5; }, {"0", "100001"}},
      {"replay_max_gap",
       "2",
       [](J j) { return j.replay_max_gap == std::chrono::seconds(2); },
       {"0", "25h"}},
      {"replay_no_stall", "1", [](J j) { return j.replay_no_stall; }, {"x"}},
      {"write_pcap", "o.pcap", [](J j) { return j.write_pcap == "o.pcap"; }, {""}},
      {"per_job_logs", "0", [](J j) { return !j.per_job_logs; }, {"2x"}},
      {"write_bw_log", "p", [](J j) { return j.write_bw_log == "p"; }, {""}},
      {"write_iops_log", "p", [](J j) { return j.write_iops_log == "p"; }, {""}},
      {"write_lat_log", "p", [](J j) { return j.write_lat_log == "p"; }, {""}},
      {"write_hist_log", "p", [](J j) { return j.write_hist_log == "p"; }, {""}},
      {"log_hist_msec", "100", [](J j) { return j.log_hist == 100ms; }, {"0", "9"}},
      {"log_hist_coarseness", "6", [](J j) { return j.log_hist_coarseness == 6; }, {"7"}},
      {"log_avg_msec", "100", [](J j) { return j.log_avg == 100ms; }, {"0", "9"}},
      {"cpus_allowed", "0-1,3", [](J j) { return j.cpus_allowed == std::vector{0, 1, 3}; }, {"a"}},
      {"cpus_allowed_policy",
       "split",
       [](J j) { return j.cpus_allowed_policy == CpuPolicy::split; },
       {"own"}},
      {"peer_cpus_allowed",
       "1",
       [](J j) { return j.peer_cpus_allowed == std::vector{1}; },
       {"1024"}},
      {"numa_node", "1", [](J j) { return j.numa_node == 1; }, {"1024"}},
      {"numa_cpu_nodes",
       "0-1,3",
       [](J j) { return j.numa_cpu_nodes == std::vector{0, 1, 3}; },
       {"", "x", "1024", "2-1", "all,0"}},
      {"numa_mem_policy",
       "interleave:0,2-3",
       [](J j) {
         return j.numa_mem_policy == NumaPolicy{NumaPolicy::Mode::interleave, std::vector{0, 2, 3}};
       },
       {"", "bind", "interleave", "prefer", "prefer:0-1", "prefer:all", "local:0", "default:1",
        "bind:x", "bind:", "spread:0"}},
      {"nice", "-20", [](J j) { return j.nice == -20; }, {"-21", "20", "1k"}},
      {"rtprio", "1", [](J j) { return j.rtprio == 1; }, {"0", "100"}},
      {"lockmem", "1", [](J j) { return j.lockmem; }, {"1g"}},
      {"hugepages", "1", [](J j) { return j.hugepages; }, {"x"}},
      {"uid", "nobody", [](J j) { return j.uid == "nobody"; }, {""}},
      {"gid", "65534", [](J j) { return j.gid == "65534"; }, {""}},
      {"cgroup", "a", [](J j) { return j.cgroup == "a"; }, {""}},
      {"cgroup_weight", "50", [](J j) { return j.cgroup_weight == 50; }, {"10001"}},
      {"cgroup_nodelete", "1", [](J j) { return j.cgroup_nodelete; }, {"x"}},
      {"exec_prerun", "true", [](J j) { return j.exec_prerun.size() == 1; }, {"\""}},
      {"exec_postrun", "true", [](J j) { return j.exec_postrun.size() == 1; }, {"\""}},
  };
  return all;
}

const std::vector<RunCase>& run_cases() {
  static const std::vector<RunCase> all{
      {"output", "o", [](R r) { return r.outputs == std::vector<OutputPlace>{{"o", {}}}; }, {""}},
      {"output",
       "json+:a:b",
       [](R r) { return r.outputs == std::vector<OutputPlace>{{"a:b", OutputFormat::json_plus}}; },
       {"json:", ""}},
      {"output",
       "./jsonx:o",
       [](R r) { return r.outputs == std::vector<OutputPlace>{{"./jsonx:o", {}}}; },
       {"jsonx:o", "XML:o", ""}},
      {"output", "10:o", [](R r) { return !r.outputs.empty() && !r.outputs[0].format; }, {""}},
      {"output-format",
       "json+,terse",
       [](R r) {
         return r.output_format == std::vector{OutputFormat::json_plus, OutputFormat::terse};
       },
       {"xml", "json,", ""}},
      {"details", "1", [](R r) { return r.details; }, {"all"}},
      {"status-interval", "1", [](R r) { return r.status_interval == 1s; }, {"-1"}},
      {"eta", "never", [](R r) { return r.eta == RunOptions::Eta::never; }, {"sometimes"}},
      {"json-stream", "1", [](R r) { return r.json_stream; }, {"x"}},
      {"format", "influx", [](R r) { return r.metrics_format == "influx"; }, {"graphite"}},
      {"metrics",
       "9400",
       [](R r) { return r.metrics_address == "127.0.0.1:9400"; },
       {"65536", ":1", "host", "a b:1", "::1:9400"}},
      {"aux-path", "d", [](R r) { return r.aux_path == "d"; }, {""}},
      {"repeat", "5", [](R r) { return r.repeat == 5; }, {"0", "1001"}},
      {"why", "0", [](R r) { return !r.why; }, {"x"}},
      {"membw", "1", [](R r) { return r.membw; }, {"x"}},
      {"heat", "1", [](R r) { return r.heat; }, {"x"}},
      {"continue_on_start_error", "1", [](R r) { return r.continue_on_start_error; }, {"x"}},
      {"stuck_timeout", "9", [](R r) { return r.stuck_timeout == 9s; }, {"0"}},
      {"trigger-file", "f", [](R r) { return r.trigger_file == "f"; }, {""}},
      {"trigger-timeout", "9", [](R r) { return r.trigger_timeout == 9s; }, {"x"}},
      {"trigger-match", "arp", [](R r) { return r.trigger_match == "arp"; }, {""}},
      {"trigger", "sync", [](R r) { return r.trigger_command.size() == 1; }, {"'"}},
  };
  return all;
}

template <class Options>
void expect_settable(const std::vector<Case<Options>>& cases) {
  for (const auto& c : cases) {
    const OptionRow* const row = find_option(c.name);
    ASSERT_NE(row, nullptr) << c.name;
    EXPECT_EQ(row->name, c.name);
    Options options;
    EXPECT_FALSE(c.is_set(options)) << c.name << " is so by default, which proves nothing";
    const Result<void> done = set_option(*row, c.value, options);
    EXPECT_TRUE(done) << done.error().message;
    EXPECT_TRUE(c.is_set(options)) << c.name << '=' << c.value;
    EXPECT_EQ(options.given, (decltype(options.given){{c.name, c.value}}));
  }
}

TEST(OptionTable, EveryOptionOfAJobSetsItsMember) {
  expect_settable(job_cases());
}

TEST(OptionTable, EveryOptionOfARunSetsItsMember) {
  expect_settable(run_cases());
}

/// Result: how many of them are flags.
template <class Options>
std::size_t expect_flags(const std::vector<Case<Options>>& cases) {
  std::size_t flags = 0;
  for (const auto& c : cases) {
    const OptionRow& row = *find_option(c.name);
    if (!row.flag) continue;
    ++flags;
    const bool on = c.value == std::string("1");
    Options options;
    EXPECT_TRUE(set_option(row, std::nullopt, options)) << c.name;
    EXPECT_EQ(c.is_set(options), on) << c.name;
    EXPECT_EQ(options.given.back(), (std::pair<std::string, std::string>(c.name, "1")));
    EXPECT_TRUE(set_option(row, "0", options)) << c.name;
    EXPECT_EQ(c.is_set(options), !on) << c.name;
    EXPECT_EQ(options.given.back(), (std::pair<std::string, std::string>(c.name, "0")));
  }
  return flags;
}

TEST(OptionTable, AFlagNeedsNoValueAndZeroTakesItBack) {
  EXPECT_GE(expect_flags(job_cases()) + expect_flags(run_cases()), 20U);
}

TEST(OptionTable, KeywordsAndCalculationsWithThemStandForNumbersOfThisMachine) {
  const Keywords here = keywords_of_this_machine();
  const auto set = [](const char* name, const char* value) {
    JobOptions job;
    const Result<void> done = set_option(*find_option(name), value, job);
    EXPECT_TRUE(done) << done.error().message;
    return job;
  };
  EXPECT_EQ(set("numjobs", "$ncpus").numjobs, here.ncpus);
  EXPECT_EQ(set("numjobs", "2*$ncpus").numjobs, 2 * here.ncpus);
  EXPECT_EQ(set("size", "$mb_memoryM").size_bytes, here.mb_memory << 20U);
  EXPECT_EQ(set("size", "4*($pagesize+1)").size_bytes, 4 * (here.pagesize + 1));
  EXPECT_EQ(set("cpus_allowed", "0-($ncpus-1)").cpus_allowed.size(), here.ncpus);
  EXPECT_EQ(set("runtime", "3*$ncpus").runtime, 3s * here.ncpus);
  // What is noted can be given to another machine.
  EXPECT_EQ(set("numjobs", "$ncpus").given[0].second, std::to_string(here.ncpus));
  // Texts and commands keep theirs.
  EXPECT_EQ(set("exec_prerun", "echo $ncpus").exec_prerun[1], "$ncpus");
}

TEST(OptionTable, CalculationsFollowTheirSignsAndRefuseWhatHasNoResult) {
  const Keywords two{.ncpus = 2, .mb_memory = 1024, .pagesize = 4096};
  const auto made = [&](const char* text, bool whole = true) {
    const auto result = replace_keywords(text, whole, two);
    return result ? *result : "refused";
  };
  EXPECT_EQ(made("1 + 2*$ncpus"), "5");
  EXPECT_EQ(made("(1+2)*$ncpus"), "6");
  EXPECT_EQ(made("8*$mb_memoryM"), "8192M");
  EXPECT_EQ(made("$pagesize/$ncpus-48"), "2000");
  EXPECT_EQ(made("1/$ncpus"), "0.5000");
  EXPECT_EQ(made("0-($ncpus-1),7", false), "0-1,7");
  EXPECT_EQ(made("64-1518"), "64-1518") << "no keyword, no calculation";
  for (const char* text : {"$ncpus*", "($ncpus", "$ncpus/0", "1-$ncpus", "$ncpus**2", "()$ncpus",
                           "1 $ncpus", "$ncpus+"}) {
    EXPECT_EQ(made(text), "refused") << text;
  }
  for (const char* text : {"0-($ncpus", "0-(1+)$ncpus"}) EXPECT_EQ(made(text, false), "refused");
  EXPECT_EQ(made("0-(($ncpus+1)/2),7", false), "0-1.5000,7");
  JobOptions job;
  EXPECT_FALSE(set_option(*find_option("numjobs"), "$ncpus*", job));
}

TEST(OptionTable, NoRowIsWithoutACaseAbove) {
  std::set<std::string> tested;
  for (const JobCase& c : job_cases()) tested.insert(c.name);
  for (const RunCase& c : run_cases()) tested.insert(c.name);
  for (const OptionRow& row : option_table()) EXPECT_TRUE(tested.contains(row.name)) << row.name;
  EXPECT_EQ(tested.size(), option_table().size());
}

template <class Options>
void expect_refusals(const std::vector<Case<Options>>& cases) {
  for (const auto& c : cases) {
    const OptionRow& row = *find_option(c.name);
    EXPECT_FALSE(c.refused.empty()) << c.name;
    for (const char* value : c.refused) {
      Options options;
      const Result<void> done = set_option(row, value, options);
      ASSERT_FALSE(done) << c.name << '=' << value;
      EXPECT_EQ(done.error().code, Errc::bad_argument);
      EXPECT_EQ(done.error().message.rfind(row.name + ": ", 0), 0U) << done.error().message;
      EXPECT_FALSE(c.is_set(options)) << c.name << '=' << value;
      EXPECT_TRUE(options.given.empty()) << c.name;
    }
  }
}

TEST(OptionTable, ValuesOutsideTheirRangeAreRefusedByName) {
  expect_refusals(job_cases());
  expect_refusals(run_cases());
}

TEST(OptionTable, TakesBothEndsOfEachRangeThatItSays) {
  const std::string ranges = R"(0 to 365d=start_delay=runtime=trigger-timeout
0 to 1d=thinktime=thinktime_spin=ramp_time=ss_dur=ss_ramp=status-interval
0 to 1h=rate_settle=drain_time=max_latency=latency_target
1us to 1d=replay_max_gap;1ms to 1d=search_trial=stuck_timeout
1ms to 1h=startup_timeout=rate_cycle;10ms to 1h=log_hist_msec=log_avg_msec
0 to 1000000000=rate_iops=rate_iops_min=verify_backlog=search_max_iops
1 to 1000000000=thinktime_blocks;0 to 1000000=iodepth_low=flow;1 to 1000000=iodepth
0 to 1024=iodepth_batch_complete_min=iodepth_batch_complete_max;1 to 1024=iodepth_batch
0 to 1000Gbit=rate=rate_min;64k to 1g=bus_size;0 to 1g=window;1 to 100000=replay_time_scale
68 to 65535=mtu;0 to 65535=port;0 to 32767=mss;1 to 4094=vlan;0 to 10000=cgroup_weight
0 to 1023=numa_node;0 to 1000=rate_overhead;1 to 1000=repeat;1 to 256=numjobs
0 to 100=buffer_compress_percentage=latency_percentile;0% to 100%=search_loss
1 to 99=rwmixtx=rtprio;0 to 64=verify_async;0 to 63=dscp;-20 to 19=nice
0 to 6=log_hist_coarseness)";
  for (const std::string_view line : base::split(ranges, '\n')) {
    for (const std::string_view each : base::split(line, ';')) {
      const auto words = base::split(each, '=');
      const std::string range(words[0]);
      const std::size_t middle = range.find(" to ");
      for (const std::string_view name : std::span(words).subspan(1)) {
        const OptionRow& row = *find_option(std::string(name));
        EXPECT_TRUE((row.range + ',').starts_with(range + ',')) << name << ": " << row.range;
        for (const std::string& end : {range.substr(0, middle), range.substr(middle + 4)}) {
          JobOptions job;
          RunOptions run;
          EXPECT_TRUE(row.of_run() ? set_option(row, end, run) : set_option(row, end, job))
              << name << '=' << end;
        }
      }
    }
  }
}

TEST(OptionTable, APercentileListHasUpToTwentyNumbers) {
  std::string list = "1";
  for (int i = 2; i <= 20; ++i) list += ':' + std::to_string(i);
  JobOptions job;
  EXPECT_TRUE(set_option(*find_option("percentile_list"), list, job));
  EXPECT_FALSE(set_option(*find_option("percentile_list"), list + ":21", job));
}

TEST(OptionTable, EveryRowIsDocumented) {
  for (const OptionRow& row : option_table()) {
    EXPECT_FALSE(row.placeholder.empty()) << row.name;
    EXPECT_FALSE(row.standard.empty()) << row.name;
    EXPECT_FALSE(row.range.empty()) << row.name;
    EXPECT_TRUE(row.text.ends_with('.')) << row.name;
    EXPECT_TRUE(row.range.find("  ") == std::string::npos) << row.name;
    EXPECT_NE(static_cast<bool>(row.set_job), static_cast<bool>(row.set_run)) << row.name;
    const auto& categories = option_categories();
    EXPECT_TRUE(std::any_of(categories.begin(), categories.end(), [&](const CategoryInfo& info) {
      return info.category == row.category;
    })) << row.name;
  }
}

TEST(OptionTable, NoNameMeansTwoOptionsHoweverItIsWritten) {
  std::set<std::string> seen;
  for (const OptionRow& row : option_table()) {
    std::vector<std::string> names = row.aliases;
    names.push_back(row.name);
    for (std::string name : names) {
      EXPECT_EQ(find_option(name), &row) << name;
      std::replace(name.begin(), name.end(), '-', '_');
      EXPECT_TRUE(seen.insert(name).second) << name;
    }
  }
  for (const CategoryInfo& info : option_categories()) {
    // `options NAME` takes either; engine is both, and documents itself in its category.
    if (std::string(info.name) == "engine") continue;
    EXPECT_FALSE(seen.contains(info.name)) << info.name;
  }
}

TEST(OptionTable, FiosOtherNamesAndDashesAreKnown) {
  EXPECT_EQ(find_option("ioengine"), find_option("engine"));
  EXPECT_EQ(find_option("startdelay"), find_option("start_delay"));
  EXPECT_EQ(find_option("io_size"), find_option("io_limit"));
  EXPECT_EQ(find_option("group-reporting"), find_option("group_reporting"));
  EXPECT_EQ(find_option("output_format"), find_option("output-format"));
  EXPECT_EQ(find_option("blocksize"), find_option("bs"));
  EXPECT_EQ(find_option("RW"), nullptr);
  EXPECT_EQ(find_option(""), nullptr);
}

TEST(OptionTable, AnUnknownNameSuggestsTheNearest) {
  EXPECT_EQ(unknown_option("rat").message, "unknown option \"rat\", did you mean \"rate\"?");
  EXPECT_NE(unknown_option("stonewal").message.find("\"stonewall\"?"), std::string::npos);
  EXPECT_NE(unknown_option("output-fromat").message.find("\"output-format\"?"), std::string::npos);
  EXPECT_EQ(unknown_option("frobnication").message,
            "unknown option \"frobnication\" (shmifperf options lists all)");
  for (const std::string name : {"interface", "iface", "dev"}) {
    EXPECT_NE(unknown_option(name).message.find("--netdev"), std::string::npos);
  }
}

TEST(OptionTable, OptionsOfTheRunAreNotThoseOfAJob) {
  JobOptions job;
  RunOptions run;
  EXPECT_FALSE(set_option(*find_option("output"), "x", job));
  EXPECT_FALSE(set_option(*find_option("rate"), "1", run));
}

TEST(OptionTable, ALaterEngineReplacesAList) {
  JobOptions job;
  ASSERT_TRUE(set_option(*find_option("engine"), "bus,tap", job));
  ASSERT_TRUE(set_option(*find_option("engine"), "unix", job));
  EXPECT_EQ(job.engine, EngineKind::unix_pair);
  EXPECT_TRUE(job.engines.empty());
}

TEST(OptionTable, HalvesOfAPairAreNotedAsOne) {
  JobOptions job;
  for (const char* rate : {"10Mbit", ",5Mbit", "1Mbit,"}) {
    ASSERT_TRUE(set_option(*find_option("rate"), rate, job));
  }
  EXPECT_EQ(job.rate_bps.tx, 1'000'000U);
  EXPECT_EQ(job.rate_bps.rx, 5'000'000U);
  EXPECT_EQ(job.given.back().second, "1Mbit,5Mbit");
  JobOptions again;
  ASSERT_TRUE(set_option(*find_option("rate"), job.given.back().second, again));
  EXPECT_EQ(again.rate_bps.tx, job.rate_bps.tx);
  EXPECT_EQ(again.rate_bps.rx, job.rate_bps.rx);
}

TEST(OptionTable, ReplayWithoutPausesIsSoWhateverTheScale) {
  JobOptions job;
  ASSERT_TRUE(set_option(*find_option("replay_no_stall"), "1", job));
  ASSERT_TRUE(set_option(*find_option("replay_time_scale"), "200", job));
  EXPECT_TRUE(job.replay_no_stall);
}

TEST(OptionTable, ARefusedPairChangesNeitherDirection) {
  JobOptions job;
  ASSERT_FALSE(set_option(*find_option("rate"), "1Mbit,x", job));
  EXPECT_EQ(job.rate_bps.tx, 0U);
}

}  // namespace
}  // namespace shmif::perf
