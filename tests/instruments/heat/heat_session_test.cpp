// What a session makes of its sources: when it asks them, and what it tells of them.

#include "instruments/heat/session.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/heat/page_scan.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

/// What a source says, and what it was asked.
struct Script {
  HeatProvenance provenance{"fake", "mapping", "a script", "not told"};
  std::vector<NamedRange> ranges{{{page_bytes(), 4 * page_bytes()}, "three pages", 7}};
  Looking looking = Looking::whole_ranges, next_looking = looking;
  std::chrono::nanoseconds cost{};
  bool burdens_target = false;
  bool keeps_regions = false;
  std::vector<Region> regions;
  std::optional<std::uint64_t> working_set;
  std::optional<Error> fails_to_list, fails_to_forget, fails_to_look;
  MappingLooks mappings;
  pid_t kernel_thread = 0;
  std::string calls;               ///< r, f and l, as they came
  bool met_other_regions = false;  ///< a look was of regions of another kind
};

class ScriptedSource : public HeatSource {
 public:
  explicit ScriptedSource(Script& script) : script_(script) {}
  const HeatProvenance& provenance() const noexcept override { return script_.provenance; }
  Looking looking() const noexcept override { return script_.looking; }
  std::chrono::nanoseconds cost(std::chrono::nanoseconds /*here*/) const noexcept override {
    return script_.cost;
  }
  bool burdens_target() const noexcept override { return script_.burdens_target; }
  Result<std::vector<NamedRange>> ranges() override {
    script_.calls += 'r';
    script_.looking = script_.next_looking;
    if (script_.fails_to_list) return *script_.fails_to_list;
    return script_.ranges;
  }
  Result<void> forget(Regions& /*regions*/) override {
    script_.calls += 'f';
    if (script_.fails_to_forget) return *script_.fails_to_forget;
    return {};
  }
  Result<void> look(Regions& regions) override {
    script_.calls += 'l';
    if (script_.fails_to_look) return *script_.fails_to_look;
    script_.met_other_regions |= regions.looking() != script_.looking;
    if (script_.looking == Looking::whole_ranges) {
      regions.record(std::vector<Sighting>{{true, std::nullopt}});
    }
    return {};
  }
  bool keeps_regions() const noexcept override { return script_.keeps_regions; }
  std::vector<Region> take_regions() override { return std::exchange(script_.regions, {}); }
  std::optional<std::uint64_t> take_working_set() override { return script_.working_set; }
  const MappingLooks& mappings() const noexcept override { return script_.mappings; }
  pid_t kernel_thread() const noexcept override { return script_.kernel_thread; }

 private:
  Script& script_;
};

class HeatSessionOfAScript : public ::testing::Test {
 protected:
  void watch(const std::string& attributes) {
    options_.attributes = read_attributes(attributes).value();
    session_.emplace(options_);
    session_->add(Process::open(::getpid()).value(), std::make_unique<ScriptedSource>(script_));
  }
  void step_until(const std::function<bool()>& done) {
    ASSERT_TRUE(shmif::test::eventually([&] { return session_->step(), done(); }));
  }
  HeatResult result() const { return session_->results().at(0); }

  Script script_;
  HeatOptions options_;
  std::optional<HeatSession> session_;
};

TEST_F(HeatSessionOfAScript, AsksForTheRangesBeforeItLooksAndTellsWhatItWatches) {
  watch("1ms,100s,100s,3,10");
  const std::uint64_t changes = session_->changes();
  step_until([this] { return script_.calls.size() >= 4; });
  EXPECT_EQ(script_.calls.substr(0, 4), "rflf");
  EXPECT_EQ(result().process, Process::open(::getpid()).value().id());
  EXPECT_EQ(result().name, std::string(program_invocation_short_name).substr(0, 15));
  EXPECT_EQ(result().ranges, script_.ranges);
  EXPECT_EQ(result().provenance.source, "fake");
  EXPECT_EQ(result().provenance.means, "a script");
  EXPECT_EQ(session_->changes(), changes) << "no window has ended";
  EXPECT_EQ(session_->windows(), 0U);
  EXPECT_TRUE(session_->is_watching());
}

TEST_F(HeatSessionOfAScript, HasSoManySamplesInAWindowAndKeepsTheNewestWindows) {
  options_.keep_windows = 2;
  watch("1us,3us,100s,3,10");
  const std::uint64_t changes = session_->changes();
  step_until([this] { return session_->windows() >= 5; });
  EXPECT_GE(session_->changes(), changes + 5);
  const auto windows = result().windows;
  ASSERT_EQ(windows.size(), 2U);
  const auto views = session_->views();
  ASSERT_EQ(views.size(), 1U);
  EXPECT_EQ(views, session_->views()) << "no copies";
  ASSERT_EQ(views[0]->windows.size(), 2U);
  EXPECT_EQ(views[0]->windows[1].end_s, windows[1].end_s);
  EXPECT_LE(windows[0].begin_s, windows[0].end_s);
  EXPECT_EQ(windows[0].end_s, windows[1].begin_s) << "one follows the other";
  for (const HeatWindow& each : windows) {
    EXPECT_GE(each.samples, 1U);
    EXPECT_LE(each.samples, 3U);
    ASSERT_EQ(each.regions.size(), 1U);
    EXPECT_EQ(each.regions[0].accesses, each.samples);
    EXPECT_EQ(each.working_set_bytes, 3 * page_bytes());
  }
}

/// As the kernel's monitor does.
TEST_F(HeatSessionOfAScript, TakesRegionsOfAWholeWindowAsTheSourceFoundThem) {
  script_.keeps_regions = true;
  watch("1us,30us,100s,3,10");
  step_until([this] { return script_.calls.size() >= 7; });
  EXPECT_EQ(session_->windows(), 0U) << "the source had none";
  script_.regions = {{4096, 8192, 20, {}, 3}, {8192, 16384, 0, {}, 1}, {16384, 32768, 1, {}, 2}};
  const auto regions = script_.regions;
  step_until([this] { return session_->windows() >= 1; });
  EXPECT_EQ(result().windows[0].regions, regions);
  EXPECT_EQ(result().windows[0].samples, 30U) << "what the kernel counts in a window";
  EXPECT_EQ(result().windows[0].working_set_bytes, 4096U + 16384U);
}

/// A sample that costs the target time is followed by a rest; any other lasts as long instead.
TEST_F(HeatSessionOfAScript, RestsSoThatALookCostsOnePartOfAHundred) {
  for (const bool burdens_target : {false, true}) {
    script_.calls.clear();
    script_.cost = std::chrono::seconds(1);
    script_.burdens_target = burdens_target;
    watch("1ms,100s,100s,3,10");
    step_until([this] { return script_.calls.size() >= 3; });
    EXPECT_DOUBLE_EQ(result().rest_s, 100);
    const std::string calls = burdens_target ? "rfl" : "rflf";
    EXPECT_EQ(script_.calls, calls);
    for (int i = 0; i < 2; ++i) std::this_thread::sleep_until(session_->step());
    session_->step();
    EXPECT_EQ(script_.calls, calls) << "it rests for 100 seconds";
  }
}

TEST_F(HeatSessionOfAScript, DoesNothingOnceItIsToEnd) {
  options_.stops = [] { return true; };
  watch("1ms,100s,100s,3,10");
  const auto before = HeatSession::Clock::now();
  const auto next = session_->step();
  EXPECT_GE(next, before);
  EXPECT_LE(next, HeatSession::Clock::now()) << "there is nothing to wait for";
  EXPECT_EQ(script_.calls, "");
}

/// Whichever call tells it.
TEST_F(HeatSessionOfAScript, TellsWhyASourceFailedAndWhetherItsProcessLeft) {
  const Error gone = Error::from_errno(ESRCH, "cannot look");
  const Error refused = Error::from_errno(EPERM, "cannot look");
  const std::string left =
      "the process shares its access heat no longer (it left its bus, or it is about to end)";
  for (const auto fails :
       {&Script::fails_to_list, &Script::fails_to_forget, &Script::fails_to_look}) {
    for (const char* const name : {"client", "clear_refs"}) {
      for (const Error& error : {gone, refused}) {
        script_ = {};
        script_.provenance.source = name;
        script_.*fails = error;
        watch("1ms,100s,100s,3,10");
        const std::uint64_t changes = session_->changes();
        step_until([this] { return !session_->is_watching(); });
        const bool has_left =
            name == std::string("client") && error.code == std::errc::no_such_process;
        EXPECT_GT(session_->changes(), changes);
        EXPECT_EQ(result().has_left, has_left) << name << ' ' << error.message;
        EXPECT_FALSE(result().has_ended) << "it lives";
        EXPECT_EQ(result().reason, has_left ? left : error.message);
        EXPECT_TRUE(result().windows.empty());
      }
    }
  }
}

/// Samples of one window are of the same addresses, however often these are to be read.
TEST_F(HeatSessionOfAScript, ReadsTheRangesAnewBetweenWindowsOnly) {
  watch("100us,100s,1us,3,10");
  step_until([this] { return script_.calls.size() >= 9; });
  EXPECT_EQ(script_.calls.substr(0, 9), "rflflflfl");
  script_ = {};
  watch("1us,1us,1us,3,10");
  step_until([this] { return session_->windows() >= 1; });
  script_.ranges = {{{page_bytes(), 2 * page_bytes()}, "one page", 8}};
  const std::size_t seen = session_->windows();
  step_until([&] { return session_->windows() >= seen + 2; });
  EXPECT_EQ(result().ranges, script_.ranges);
  ASSERT_EQ(result().windows.back().regions.size(), 1U);
  EXPECT_EQ(result().windows.back().regions[0].end, 2 * page_bytes());
  EXPECT_EQ(result().windows.back().working_set_bytes, page_bytes());
}

TEST_F(HeatSessionOfAScript, HasRegionsOfTheKindThatItsSourceLooksAtNow) {
  script_.looking = script_.next_looking = Looking::all_pages;
  script_.ranges = {{{page_bytes(), 17 * page_bytes()}, "sixteen pages", 7}};
  watch("1us,1us,1us,10,1000");
  step_until([this] { return session_->windows() >= 2; });
  script_.next_looking = Looking::chosen_pages;
  script_.calls.clear();
  step_until([this] { return std::ranges::count(script_.calls, 'l') >= 3; });
  EXPECT_FALSE(script_.met_other_regions);
  EXPECT_EQ(result().windows.front().regions.size(), 10U) << "the fewest that there may be";
  EXPECT_GE(result().windows.back().regions.size(), 10U);
}

TEST_F(HeatSessionOfAScript, TellsWhatTheSourceKnowsBesides) {
  script_.kernel_thread = 57;
  script_.mappings = {12, {{{{4096, 8192}, "library", 3}, 11}}};
  watch("1us,1us,1s,3,10");
  EXPECT_EQ(result().kernel_thread, 0) << "no window has ended";
  step_until([this] { return session_->windows() >= 1; });
  EXPECT_EQ(result().kernel_thread, 57);
  EXPECT_EQ(result().mappings.looks, 12U);
  ASSERT_EQ(result().mappings.mappings.size(), 1U);
  EXPECT_EQ(result().mappings.mappings[0].accesses, 11U);
  // What it knew last is kept when it fails.
  script_.mappings.looks = 13;
  script_.provenance.note = "a last note";
  script_.fails_to_look = script_.fails_to_forget = Error::from_errno(EPERM, "cannot look");
  step_until([this] { return !session_->is_watching(); });
  EXPECT_EQ(result().mappings.looks, 13U);
  EXPECT_EQ(result().provenance.note, "a last note");
  EXPECT_FALSE(result().windows.empty());
}

/// Pages are not known then, and mappings are.
TEST_F(HeatSessionOfAScript, GoesOnByMappingsIfWritesAreNotToldAnyMore) {
  const Error refused = Error::from_errno(EPERM, "cannot look");
  const Error gone = Error::from_errno(ESRCH, "cannot look");
  for (const HeatBackend backend : {HeatBackend::automatic, HeatBackend::written}) {
    for (const Error& error : {refused, gone}) {
      script_ = {};
      script_.provenance.source = "written";
      options_.backend = backend;
      watch("1us,1us,100s,3,10");
      step_until([this] { return session_->windows() >= 1; });
      EXPECT_FALSE(result().windows.empty());
      script_.fails_to_forget = error;
      const bool goes_on =
          backend == HeatBackend::automatic && error.code != std::errc::no_such_process;
      step_until(
          [&] { return !session_->is_watching() || result().provenance.source == "clear_refs"; });
      EXPECT_EQ(session_->is_watching(), goes_on);
      EXPECT_EQ(result().provenance.source, goes_on ? "clear_refs" : "written");
      EXPECT_EQ(result().fallback_reason, goes_on ? refused.message : "");
      EXPECT_EQ(result().reason, goes_on ? "" : error.message);
      EXPECT_EQ(result().windows.empty(), goes_on) << "those were of pages";
      EXPECT_FALSE(result().has_left);
    }
  }
}

TEST_F(HeatSessionOfAScript, HasAsManyWindowsAsTheTargetWithTheMost) {
  watch("1us,1us,100s,3,10");
  Script rests;
  rests.cost = std::chrono::seconds(100);
  session_->add(Process::open(::getpid()).value(), std::make_unique<ScriptedSource>(rests));
  step_until([this] { return session_->results()[0].windows.size() >= 3; });
  const auto results = session_->results();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_LE(results[1].windows.size(), 1U) << "it rests";
  EXPECT_EQ(session_->windows(), results[0].windows.size());
  EXPECT_GT(results[1].rest_s, 1000);
  rests.fails_to_look = Error::from_errno(EPERM, "cannot look");
  EXPECT_TRUE(session_->is_watching());
  script_.fails_to_forget = Error::from_errno(EPERM, "cannot look");
  step_until([this] { return !session_->results()[0].reason.empty(); });
  EXPECT_TRUE(session_->is_watching()) << "the other target";
  session_->finish();
  EXPECT_FALSE(session_->is_watching());
}

TEST_F(HeatSessionOfAScript, SaysAtItsEndWhichProcessesHaveEnded) {
  shmif::test::Child child([]() -> int {
    for (;;) ::pause();
  });
  watch("1ms,100s,100s,3,10");
  Script other;
  session_->add(Process::open(child.pid()).value(), std::make_unique<ScriptedSource>(other));
  step_until([&] { return other.calls.size() >= 3 && script_.calls.size() >= 3; });
  child.kill_and_wait();
  session_->finish();
  const auto results = session_->results();
  EXPECT_FALSE(results[0].has_ended);
  EXPECT_EQ(results[0].reason, "");
  EXPECT_TRUE(results[1].has_ended);
  EXPECT_EQ(results[1].reason, "the process has ended");
  for (const HeatResult& each : results) {
    ASSERT_EQ(each.windows.size(), 1U) << "what was seen of an unfinished window";
    EXPECT_GE(each.windows[0].samples, 1U);
  }
}

/// Of what was seen of an unfinished window nothing is lost, and nothing is made up.
TEST_F(HeatSessionOfAScript, KeepsTheFirstWindowOfATargetThatEndsInIt) {
  const Error gone = Error::from_errno(ESRCH, "cannot watch it");
  for (const bool at_once : {false, true}) {
    script_ = {};
    if (at_once) script_.fails_to_look = gone;
    watch("1ms,100s,100s,3,10");
    std::size_t looks = 0;
    step_until([&] {
      if (!script_.fails_to_look) {
        looks = static_cast<std::size_t>(std::ranges::count(script_.calls, 'l'));
        if (looks >= 3) script_.fails_to_look = gone;
      }
      return !session_->is_watching();
    });
    EXPECT_NE(result().reason, "");
    session_->finish();
    ASSERT_EQ(result().windows.size(), at_once ? 0U : 1U) << "it is told once";
    if (at_once) continue;
    EXPECT_EQ(result().windows[0].samples, looks);
    EXPECT_EQ(result().windows[0].regions.at(0).accesses, looks);
    EXPECT_EQ(result().windows[0].working_set_bytes, 3 * page_bytes());
  }
}

TEST_F(HeatSessionOfAScript, IsNotTakenForAliveUntilTheNextCostlyLook) {
  shmif::test::Child child([]() -> int {
    for (;;) ::pause();
  });
  session_.emplace(options_);
  script_.cost = std::chrono::seconds(1);  // it rests for 100 seconds
  session_->add(Process::open(child.pid()).value(), std::make_unique<ScriptedSource>(script_));
  step_until([this] { return result().rest_s > 0; });
  EXPECT_LT(session_->step() - HeatSession::Clock::now(), std::chrono::seconds(1));
  EXPECT_TRUE(session_->is_watching());
  child.kill_and_wait();
  session_->step();
  EXPECT_FALSE(session_->is_watching());
  EXPECT_EQ(result().reason, "the process has ended");
}

/// At the end of a process, any call about it can fail: ptrace(2) then says EPERM.
TEST_F(HeatSessionOfAScript, HasEndedWhateverErrorItsEndCauses) {
  const Tree tree;
  std::string stat = KernelFiles().read("/proc/self/stat").value();
  stat[stat.rfind(')') + 2] = 'Z';
  tree.put("/proc/" + std::to_string(::getpid()) + "/stat", stat);
  options_.files = tree.files();
  script_.fails_to_look = Error::from_errno(EIO, "it broke");
  watch("1us,1us,1s,3,10");
  step_until([this] { return !session_->is_watching(); });
  EXPECT_TRUE(result().has_ended);
  EXPECT_EQ(result().reason, "the process has ended");
}

}  // namespace
}  // namespace shmif::perf::test
