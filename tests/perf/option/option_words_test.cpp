// Options whose value is a word: each of their words, and what each means.

#include <gtest/gtest.h>
#include <sys/sysinfo.h>

#include <string>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/job/values.hpp"
#include "perf/option/option_table.hpp"

namespace shmif::perf {
namespace {

/// A word of an option, and whether the option is so afterwards.
struct WordOfAJob {
  const char *name, *word;
  bool (*is_so)(const JobOptions&);
};

template <auto kMember, auto kValue, class Options>
bool is(const Options& options) {
  return options.*kMember == kValue;
}

template <class Word, class Options>
void expect_word(const Word& word, Options options) {
  const Result<void> done = set_option(*find_option(word.name), word.word, options);
  EXPECT_TRUE(done) << done.error().message;
  EXPECT_TRUE(word.is_so(options)) << word.name << '=' << word.word;
}

using OfJob = JobOptions;

TEST(OptionWords, OfAJobMeanWhatTheySay) {
  for (const WordOfAJob& word : std::initializer_list<WordOfAJob>{
           {"rw", "tx", is<&OfJob::rw, Role::tx, OfJob>},
           {"rw", "write", is<&OfJob::rw, Role::tx, OfJob>},
           {"rw", "rx", is<&OfJob::rw, Role::rx, OfJob>},
           {"rw", "read", is<&OfJob::rw, Role::rx, OfJob>},
           {"rw", "txrx", is<&OfJob::rw, Role::txrx, OfJob>},
           {"rw", "rw", is<&OfJob::rw, Role::txrx, OfJob>},
           {"rw", "echo", is<&OfJob::rw, Role::echo, OfJob>},
           {"rw", "pingpong", is<&OfJob::rw, Role::pingpong, OfJob>},
           {"rate_process", "linear", is<&OfJob::rate_process, RateProcess::linear, OfJob>},
           {"rate_process", "poisson", is<&OfJob::rate_process, RateProcess::poisson, OfJob>},
           {"rate_catchup", "burst", is<&OfJob::rate_catchup, CatchUp::burst, OfJob>},
           {"rate_catchup", "limited", is<&OfJob::rate_catchup, CatchUp::limited, OfJob>},
           {"rate_catchup", "skip", is<&OfJob::rate_catchup, CatchUp::skip, OfJob>},
           {"io_submit_mode", "inline", is<&OfJob::io_submit_mode, IoSubmit::inline_, OfJob>},
           {"io_submit_mode", "offload", is<&OfJob::io_submit_mode, IoSubmit::offload, OfJob>},
           {"payload", "random", is<&OfJob::payload, Payload::random, OfJob>},
           {"payload", "pattern", is<&OfJob::payload, Payload::pattern, OfJob>},
           {"payload", "zero", is<&OfJob::payload, Payload::zero, OfJob>},
           {"proto", "udp", is<&OfJob::proto, HostProtocol::udp, OfJob>},
           {"proto", "tcp", is<&OfJob::proto, HostProtocol::tcp, OfJob>},
           {"cpus_allowed_policy", "shared",
            is<&OfJob::cpus_allowed_policy, CpuPolicy::shared, OfJob>},
           {"cpus_allowed_policy", "split",
            is<&OfJob::cpus_allowed_policy, CpuPolicy::split, OfJob>},
           {"end_on", "none", is<&OfJob::end_on_overrun, false, OfJob>},
           {"end_on", "overrun", is<&OfJob::end_on_overrun, true, OfJob>},
           {"search", "none", is<&OfJob::search, Search::none, OfJob>},
           {"search", "ndr", is<&OfJob::search, Search::ndr, OfJob>},
           {"search", "pdr", is<&OfJob::search, Search::pdr, OfJob>},
           {"search", "latency_target", is<&OfJob::search, Search::latency_target, OfJob>},
           {"verify", "1", is<&OfJob::verify, true, OfJob>},
           {"verify", "crc32c", is<&OfJob::verify, true, OfJob>},
           {"verify", "regenerate", is<&OfJob::verify_regenerate, true, OfJob>},
           {"verify", "regenerate", is<&OfJob::verify, true, OfJob>},
           {"verify", "0", is<&OfJob::verify, false, OfJob>},
           {"verify", "none", is<&OfJob::verify, false, OfJob>},
           {"verify", "null", is<&OfJob::verify, false, OfJob>},
       }) {
    // Once from the default, and once from everything else.
    expect_word(word, OfJob{});
    OfJob other;
    other.rw = Role::rx;
    other.rate_process = RateProcess::poisson;
    other.rate_catchup = CatchUp::skip;
    other.io_submit_mode = IoSubmit::offload;
    other.payload = Payload::zero;
    other.proto = HostProtocol::tcp;
    other.cpus_allowed_policy = CpuPolicy::split;
    other.end_on_overrun = true;
    other.search = Search::ndr;
    other.verify = false;
    expect_word(word, other);
  }
}

// ---- Limits and halves ----

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
