// Options whose value is a word: each of their words, and what each means.

#include <gtest/gtest.h>

#include "perf/engine/engine.hpp"
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

}  // namespace
}  // namespace shmif::perf
