#pragma once
// A session on one thread or process of a scripted kernel, for the tests of sessions.

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "instruments/counters/sample.hpp"
#include "instruments/counters/session.hpp"
#include "tests/instruments/counters/fake_counters.hpp"

namespace shmif::perf::test {

struct NoSink final : SampleSink {
  void sample(const Sample& /*sample*/) override {}
};

/// Whose sets are switched by hand only.
class ScriptedSession : public testing::Test {
 protected:
  std::size_t program(const std::vector<EventSetup>& events) {
    const auto first = session.program(events);
    EXPECT_TRUE(first) << first.error().message;
    return first ? *first : 0;
  }
  void start(const std::vector<EventSetup>& events, const CounterTarget& target) {
    program(events);
    const auto loaded = session.load(target);
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_TRUE(session.start());
  }
  Reading read(std::size_t event, bool stop_target = false) {
    std::array readings{Reading{event}};
    const auto got = session.read(readings, stop_target);
    EXPECT_TRUE(got) << got.error().message;
    return readings[0];
  }
  SetQuery query(unsigned id) {
    std::array queries{SetQuery{id}};
    const auto got = session.query_sets(queries);
    EXPECT_TRUE(got) << got.error().message;
    return queries[0];
  }
  SampleCounts samples() {
    NoSink sink;
    return session.read_samples(sink).value();
  }
  /// Why it cannot be loaded; empty if it can.
  std::string why(const CounterTarget& target) {
    fault.reset();
    const auto loaded = session.load(target, &fault);
    EXPECT_EQ(kernel.open_files() == 0, !loaded.has_value());
    return loaded ? "" : loaded.error().message;
  }
  /// Fails the nth call of this kind from now on; 0: each.
  void refuse(KernelCall which, int error, int nth) {
    kernel.before = [which, error, nth, asked = 0](KernelCall call, int /*nth*/) mutable {
      return call == which && (++asked == nth || nth == 0) ? -error : 0;
    };
  }

  FakeCounters kernel;
  CounterSession session = session_over({.switch_by_itself = false}, kernel);
  const CounterTarget thread = CounterTarget::thread({kTask, 7});
  const CounterTarget process = CounterTarget::process({kTask, 7});
  std::optional<VectorFault> fault;
};

inline void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& each : words) {
    EXPECT_NE(text.find(each), std::string::npos) << "no \"" << each << "\" in: " << text;
  }
}

}  // namespace shmif::perf::test
