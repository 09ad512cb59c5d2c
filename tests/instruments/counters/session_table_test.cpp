// The table of a session's life: each call in each state, as code, and as it is.

#include "instruments/counters/session_table.hpp"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "instruments/counters/sample.hpp"
#include "instruments/counters/session.hpp"
#include "tests/instruments/counters/fake_counters.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kTrigger = 40;

class Nobody final : public SampleSink {
 public:
  void sample(const Sample& /*sample*/) override {}
};

const CounterTarget kTarget = CounterTarget::thread({kTask, 7});

/// A session with an event that masks it, in this state.
void bring_to(SessionState state, CounterSession& session, FakeCounters& kernel) {
  const std::array setup{EventSetup{fake_event(kTrigger), 0, {.period = 100, .mask = true}}};
  ASSERT_TRUE(session.program(setup));
  const std::array sets{SetSetup{1}};
  ASSERT_TRUE(session.create_sets(sets));
  if (state == SessionState::closed) {
    ASSERT_TRUE(session.close());
  }
  if (state == SessionState::unloaded || state == SessionState::closed) return;
  ASSERT_TRUE(session.load(kTarget));
  if (state == SessionState::loaded) return;
  ASSERT_TRUE(session.start());
  if (state == SessionState::masked) kernel.overflow(kTrigger);
  if (state == SessionState::ended) kernel.end(kTask);
}

std::optional<std::error_code> code_of(const auto& result) {
  return result ? std::nullopt : std::optional(result.error().code);
}

std::optional<std::error_code> perform(SessionCall call, CounterSession& session) {
  Nobody nobody;
  const std::array create{SetSetup{2}};
  const std::array<unsigned, 1> remove{1};
  const std::array setup{EventSetup{fake_event(1)}};
  const std::array values{ValueSetup{0, 5, 50}};
  std::array readings{Reading{0}};
  std::array query{SetQuery{0}};
  switch (call) {
    case SessionCall::create_set: return code_of(session.create_sets(create));
    case SessionCall::delete_set: return code_of(session.delete_sets(remove));
    case SessionCall::program: return code_of(session.program(setup));
    case SessionCall::set_values: return code_of(session.set_values(values));
    case SessionCall::load: return code_of(session.load(kTarget));
    case SessionCall::start: return code_of(session.start());
    case SessionCall::stop: return code_of(session.stop());
    case SessionCall::restart: return code_of(session.restart());
    case SessionCall::switch_set: return code_of(session.switch_set());
    case SessionCall::read: return code_of(session.read(readings));
    case SessionCall::read_samples: return code_of(session.read_samples(nobody));
    case SessionCall::query_sets: return code_of(session.query_sets(query));
    case SessionCall::unload: return code_of(session.unload());
    case SessionCall::close: return code_of(session.close());
  }
  return std::nullopt;
}

TEST(SessionTable, IsWhatASessionAnswersInEachState) {
  for (std::size_t at = 0; at < kSessionStates; ++at) {
    const auto state = static_cast<SessionState>(at);
    for (const SessionRow& row : kSessionRows) {
      SCOPED_TRACE(std::string(row.name) + " while " + name_of(state));
      FakeCounters kernel;
      {
        CounterSession session = session_over({.switch_by_itself = false}, kernel);
        bring_to(state, session, kernel);
        ASSERT_EQ(session.state(), state);
        const auto code = perform(row.call, session);
        const Answer answer = row.answers[at];
        if (answer == Answer::ok) {
          EXPECT_EQ(code, std::nullopt);
          EXPECT_EQ(session.state(), row.next.value_or(state));
        } else {
          EXPECT_EQ(code, std::optional(make_error_code(
                              answer == Answer::busy ? CounterErrc::busy : CounterErrc::invalid)));
          EXPECT_EQ(session.state(), state) << "what is refused changes nothing";
        }
      }
      EXPECT_EQ(kernel.open_files(), 0U) << "all is given back";
    }
  }
}

TEST(SessionTable, MeansNothingToASessionThatWasMovedAway) {
  FakeCounters kernel;
  CounterSession session = session_over({}, kernel);
  CounterSession heir = std::move(session);
  for (const SessionRow& row : kSessionRows) {
    // NOLINTNEXTLINE(bugprone-use-after-move): what is left is a closed session
    EXPECT_EQ(perform(row.call, session), std::optional(make_error_code(CounterErrc::bad_session)))
        << row.name;
  }
  EXPECT_EQ(heir.state(), SessionState::unloaded);
}

}  // namespace
}  // namespace shmif::perf::test
