// Options at both sides of their limits, given a second time, by halves, and with keywords.

#include <gtest/gtest.h>
#include <sys/sysinfo.h>

#include <string>
#include <vector>

#include "perf/job/values.hpp"
#include "perf/option/keywords.hpp"
#include "perf/option/option_table.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

/// Sets options one after the other.
class Setter {
 public:
  Setter& set(const char* name, const std::string& value) {
    const Result<void> done = set_option(*find_option(name), value, job);
    EXPECT_TRUE(done) << done.error().message;
    return *this;
  }
  bool takes(const std::string& name, const std::string& value) {
    const OptionRow& row = *find_option(name);
    return row.of_run() ? bool(set_option(row, value, run)) : bool(set_option(row, value, job));
  }
  JobOptions job;
  RunOptions run;
};

/// The least and the greatest value, and those next to them; empty: there is none.
struct Limits {
  const char* name;
  const char *min, *max;
  const char *below, *above;
};

TEST(OptionLimits, AreWhereTheDocumentationHasThem) {
  for (const Limits& limits : std::initializer_list<Limits>{
           {"numjobs", "1", "256", "0", "257"},
           {"startup_timeout", "1ms", "1h", "999us", "3600001ms"},
           {"start_delay", "0", "365d", "-1", "31536000001ms"},
           {"rate", "0", "1000Gbit", "-1", "1000000000001"},
           {"rate_iops", "0", "1000M", "-1", "1000000001"},
           {"rate_min", "0", "1000Gbit", "-1", "1000000000001"},
           {"rate_iops_min", "0", "1000M", "-1", "1000000001"},
           {"rwmixtx", "0", "100", "-1", "101"},
           {"rate_overhead", "0", "1000", "-1", "1001"},
           {"rate_cycle", "1", "1h", "999us", "3600001ms"},
           {"rate_settle", "0", "1h", "-1", "3600001ms"},
           {"thinktime", "0", "24h", "-1", "86400001ms"},
           {"thinktime_spin", "0", "24h", "-1", "86400001ms"},
           {"thinktime_blocks", "1", "1000000000", "0", "1000000001"},
           {"iodepth", "1", "1000000", "0", "1000001"},
           {"iodepth_batch", "1", "1024", "0", "1025"},
           {"iodepth_batch_complete_min", "0", "1024", "-1", "1025"},
           {"iodepth_batch_complete_max", "0", "1024", "-1", "1025"},
           {"iodepth_low", "0", "1000000", "-1", "1000001"},
           {"flow", "0", "1000000", "-1", "1000001"},
           {"runtime", "0", "365d", "-1", "31536000001ms"},
           {"ramp_time", "0", "24h", "-1", "86400001ms"},
           {"drain_time", "0", "1h", "-1", "3600001ms"},
           {"loops", "1", "18446744073709551615", "0", "18446744073709551616"},
           {"number_ios", "0", "18446744073709551615", "-1", "18446744073709551616"},
           {"bs", "60", "1m", "59", "1048577"},
           {"buffer_compress_percentage", "0", "100", "-1", "101"},
           {"vlan", "1", "4094", "0", "4095"},
           {"bus_size", "64k", "1g", "65535", "1073741825"},
           {"mtu", "68", "65535", "67", "65536"},
           {"port", "0", "65535", "-1", "65536"},
           {"mss", "0", "32767", "-1", "32768"},
           {"window", "0", "1g", "-1", "1073741825"},
           {"dscp", "0", "63", "-1", "64"},
           {"congestion", "a", "fifteen_letters", "", "sixteen__letters"},
           {"verify_backlog", "0", "1000000000", "-1", "1000000001"},
           {"verify_async", "0", "64", "-1", "65"},
           {"max_latency", "0", "1h", "-1", "3600001ms"},
           {"search_loss", "0%", "100%", "-1%", "101%"},
           {"search_resolution", "0.001%", "100%", "0%", "101%"},
           {"search_max_iops", "0", "1000M", "-1", "1000000001"},
           {"search_trial", "1ms", "24h", "999us", "86400001ms"},
           {"latency_target", "0", "1h", "-1", "3600001ms"},
           {"latency_percentile", "0", "100", "-1", "101"},
           {"ss_dur", "0", "24h", "-1", "86400001ms"},
           {"ss_ramp", "0", "24h", "-1", "86400001ms"},
           {"replay_time_scale", "1", "100000", "0", "100001"},
           {"replay_max_gap", "1us", "24h", "0", "86400001ms"},
           {"log_hist_msec", "10", "1h", "9999us", "3600001ms"},
           {"log_hist_coarseness", "0", "6", "-1", "7"},
           {"log_avg_msec", "10", "1h", "9999us", "3600001ms"},
           {"cpus_allowed", "0", "1023", "-1", "1024"},
           {"numa_node", "0", "1023", "-1", "1024"},
           {"numa_cpu_nodes", "0", "1023", "-1", "1024"},
           {"numa_mem_policy", "bind:0", "bind:1023", "bind:-1", "bind:1024"},
           {"cgroup_weight", "0", "10000", "-1", "10001"},
           {"nice", "-20", "19", "-21", "20"},
           {"rtprio", "1", "99", "0", "100"},
           {"status-interval", "0", "24h", "-1", "86400001ms"},
           {"repeat", "1", "1000", "0", "1001"},
           {"stuck_timeout", "1ms", "24h", "999us", "86400001ms"},
           {"trigger-timeout", "0", "365d", "-1", "31536000001ms"},
       }) {
    Setter setter;
    EXPECT_TRUE(setter.takes(limits.name, limits.min)) << limits.name;
    EXPECT_TRUE(setter.takes(limits.name, limits.max)) << limits.name;
    EXPECT_FALSE(setter.takes(limits.name, limits.below)) << limits.name << '=' << limits.below;
    EXPECT_FALSE(setter.takes(limits.name, limits.above)) << limits.name << '=' << limits.above;
  }
}

TEST(OptionLimits, OfAListOfPercentilesAreTwentyAndEachIsThereOnce) {
  std::string list = "100:0.5";
  for (int i = 1; i <= 18; ++i) list += ':' + std::to_string(i);
  Setter setter;
  EXPECT_EQ(setter.set("percentile_list", list).job.percentile_list.size(), 20U);
  EXPECT_EQ(setter.job.percentile_list.front(), 0.5);
  EXPECT_EQ(setter.job.percentile_list.back(), 100);
  EXPECT_FALSE(setter.takes("percentile_list", list + ":50"));
  setter.set("percentile_list", "99:50:99");
  EXPECT_EQ(setter.job.percentile_list, (std::vector{50.0, 99.0}));
}

TEST(OptionLimits, NamesOfJobsAreUpTo64PrintableCharacters) {
  for (const std::string& name :
       {std::string(64, 'x'), std::string("a b"), std::string("~"), std::string("..."),
        std::string("Global"), std::string("\xc3\xa4")}) {
    EXPECT_TRUE(is_job_name(name)) << name;
  }
  for (const std::string& name :
       {std::string(65, 'x'), std::string(), std::string("."), std::string(".."),
        std::string("global"), std::string(" a"), std::string("a "), std::string("a/b"),
        std::string("a[b"), std::string("a]b"), std::string("a\x1f"), std::string("a\x7f"),
        std::string("a\0", 2)}) {
    EXPECT_FALSE(is_job_name(name)) << name;
  }
}

/// All values that differ by direction.
std::vector<std::string> directions(const JobOptions& job) {
  const auto text = [](std::uint64_t value) { return std::to_string(value); };
  return {to_string(job.bs.tx),      to_string(job.bs.rx),      text(job.rate_bps.tx),
          text(job.rate_bps.rx),     text(job.rate_fps.tx),     text(job.rate_fps.rx),
          text(job.rate_min_bps.tx), text(job.rate_min_bps.rx), text(job.rate_min_fps.tx),
          text(job.rate_min_fps.rx)};
}

TEST(Options, AHalfOfAPairLeavesTheOtherDirectionAlone) {
  struct Pair {
    const char *name, *a, *b, *c;
  };
  std::size_t pairs = 0;
  for (const OptionRow& row : option_table()) pairs += row.pair ? 1 : 0;
  const std::vector<Pair> all{{"rate", "1000000", "2000000", "3000000"},
                              {"rate_iops", "10", "20", "30"},
                              {"rate_min", "1000000", "2000000", "3000000"},
                              {"rate_iops_min", "10", "20", "30"},
                              {"bs", "100", "200", "300"},
                              {"bsrange", "100-110", "200-210", "300-310"},
                              {"bssplit", "100/1:110/2", "200/1:210/2", "300/1:310/2"}};
  EXPECT_EQ(all.size(), pairs);
  for (const auto& [name, a, b, c] : all) {
    SCOPED_TRACE(name);
    const auto both = [option = name](const std::string& tx, const std::string& rx) {
      return directions(Setter().set(option, tx + ',' + rx).job);
    };
    const auto comma = [](const std::string& tx, const std::string& rx) { return tx + ',' + rx; };
    Setter setter;
    setter.set(name, comma(a, b)).set(name, comma(c, ""));
    EXPECT_EQ(directions(setter.job), both(c, b));
    EXPECT_EQ(setter.job.given.back().second, comma(c, b));
    setter.set(name, comma("", a));
    EXPECT_EQ(directions(setter.job), both(c, a));
    EXPECT_EQ(setter.job.given.back().second, comma(c, a));
    EXPECT_EQ(directions(setter.set(name, b).job), both(b, b));
    EXPECT_EQ(directions(setter.set(name, comma("", c)).job), both(b, c));
    EXPECT_EQ(setter.job.given.back().second, comma(b, c));
    // The other direction may be as it is by default.
    const auto one = directions(Setter().set(name, comma(a, "")).job);
    const auto other = directions(Setter().set(name, comma("", a)).job);
    const auto whole = directions(Setter().set(name, a).job);
    const auto standard = directions(JobOptions());
    for (std::size_t i = 0; i < whole.size(); i += 2) {
      EXPECT_EQ(one[i], whole[i]);
      EXPECT_EQ(one[i + 1], standard[i + 1]);
      EXPECT_EQ(other[i], standard[i]);
      EXPECT_EQ(other[i + 1], whole[i + 1]);
    }
  }
}

TEST(Options, GivenAgainReplaceWhatWasGivenBefore) {
  Setter setter;
  setter.set("verify", "regenerate").set("verify", "1");
  EXPECT_TRUE(setter.job.verify);
  EXPECT_FALSE(setter.job.verify_regenerate);
  setter.set("verify", "0").set("verify", "regenerate");
  EXPECT_TRUE(setter.job.verify && setter.job.verify_regenerate);
  setter.set("continue_on_error", "tx").set("continue_on_error", "rx");
  EXPECT_FALSE(setter.job.continue_on_error.tx);
  setter.set("cpus_allowed", "1").set("cpus_allowed", "2");
  EXPECT_EQ(setter.job.cpus_allowed, std::vector{2});
  // But for faults, which would seem to add up.
  setter.set("fault", "loss=1%");
  EXPECT_FALSE(setter.takes("fault", "duplicate=1%"));
  EXPECT_EQ(setter.job.fault.loss, 0.01);
  EXPECT_TRUE(setter.takes("output-format", "json,normal,json"));
  EXPECT_EQ(setter.run.output_format, (std::vector{OutputFormat::json, OutputFormat::normal}));
  EXPECT_TRUE(setter.takes("output-format", "terse"));
  EXPECT_EQ(setter.run.output_format, std::vector{OutputFormat::terse});
}

}  // namespace
}  // namespace shmif::perf
