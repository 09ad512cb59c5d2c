// The course of a measurement: what is called in which order, what is dropped, and what is undone
// whatever happens.

#include "instruments/membw/measure.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

using Woken = MembwHooks::Woken;
using Log = std::vector<std::string>;

/// What all parts of a measurement do, in one list.
struct World {
  Log log;
  std::uint64_t now = 0;
  std::vector<Woken> wakes{};  ///< what the next sleeps say; then: time is up
  std::size_t slept = 0;

  Woken sleep(std::chrono::nanoseconds time) {
    log.push_back("sleep " + std::to_string(time.count() / 1'000'000));
    now += static_cast<std::uint64_t>(time.count());
    return slept < wakes.size() ? wakes[slept++] : Woken::time_is_up;
  }
};

/// Counts 100 more bytes per second in each window.
class FakeSource final : public MemorySource {
 public:
  FakeSource(World& world, std::string name, MemoryScope scope)
      : world_(world), name_(std::move(name)), scope_(scope) {}
  std::string name() const override { return name_; }
  std::string part() const override { return its_part; }
  std::string origin() const override { return its_origin; }
  MemoryScope scope() const override { return scope_; }
  MemoryLevel level() const override { return its_level; }
  Result<void> open(const std::vector<pid_t>& processes) override {
    log("open " + std::to_string(processes.size()));
    its_origin = "fake of " + std::to_string(processes.size());
    return fails_at == "open" ? fail("open") : Result<void>();
  }
  Result<void> enable() override {
    log("enable");
    begin_ = world_.now;
    return fails_at == "enable" ? fail("enable") : Result<void>();
  }
  Result<void> disable() override {
    log("disable");
    end_ = world_.now;
    return fails_at == "disable" || fails_twice ? fail("disable") : Result<void>();
  }
  MemoryReading read() override {
    MemoryReading reading;
    reading.begin_ns = begin_;
    reading.end_ns = end_;
    windows += 1;
    reading.reads = 100.0 * windows;
    reading.writes = 1.0;
    reading.total = 100.0 * windows + 1;
    if (!shares.empty()) reading.running_share = shares.at(static_cast<std::size_t>(windows) - 1);
    if (windows == missing) static_cast<MemoryRates&>(reading) = MemoryRates::not_measured("gone");
    return reading;
  }
  Result<void> close() override {
    log("close");
    its_origin = "closed";
    return fails_at == "close" ? fail("close") : Result<void>();
  }

  std::string fails_at, its_part, its_origin = "fake";
  bool fails_twice = false;  ///< also when it is disabled
  MemoryLevel its_level = MemoryLevel::dram;
  int windows = 0, missing = -1;
  std::vector<double> shares{};  ///< of each window; empty: all of it

 private:
  void log(const std::string& what) { world_.log.push_back(name_ + ' ' + what); }
  Result<void> fail(const std::string& what) const {
    return Error(Errc::not_supported, name_ + " cannot " + what);
  }
  World& world_;
  std::string name_;
  MemoryScope scope_;
  std::uint64_t begin_ = 0, end_ = 0;
};

class MembwRun : public ::testing::Test {
 protected:
  MembwRun() {
    for (const auto& [name, scope] :
         {std::pair("pmu", MemoryScope::machine), std::pair("resctrl", MemoryScope::group)}) {
      auto source = std::make_unique<FakeSource>(world_, name, scope);
      fakes_.push_back(source.get());
      sources_.push_back(std::move(source));
    }
    hooks_.sleep = [this](auto time) { return world_.sleep(time); };
  }
  MembwResult go() { return measure_memory(sources_, {10}, options_, hooks_); }
  /// The program can be stopped and goes on, or not.
  void can_pause(bool can = true) {
    hooks_.pause = [this, can] { return world_.log.emplace_back("pause"), can; };
    hooks_.resume = [this] { return world_.log.emplace_back("resume"), true; };
  }
  std::ptrdiff_t times(const std::string& what) const {
    return std::ranges::count(world_.log, what);
  }

  World world_;
  std::vector<FakeSource*> fakes_;
  std::vector<std::unique_ptr<MemorySource>> sources_;
  MembwOptions options_;
  MembwHooks hooks_;
};

TEST_F(MembwRun, SettlesThenDropsTheFirstSampleAndKeepsTheOthers) {
  options_.samples = 2;
  const MembwResult result = go();
  EXPECT_EQ(world_.log,
            (Log{"pmu open 1",    "resctrl open 1", "sleep 1000",  //
                 "pmu enable",    "resctrl enable", "sleep 1000", "resctrl disable", "pmu disable",
                 "pmu enable",    "resctrl enable", "sleep 1000", "resctrl disable", "pmu disable",
                 "pmu enable",    "resctrl enable", "sleep 1000", "resctrl disable", "pmu disable",
                 "resctrl close", "pmu close"}));
  ASSERT_EQ(result.samples.size(), 2U);
  EXPECT_EQ(result.samples[0].number, 1U);
  const MemorySummary& pmu = result.sources.at(0);
  EXPECT_EQ(pmu.rates.reads, 250) << "of the second and the third window";
  EXPECT_EQ(pmu.rates.writes, 1);
  EXPECT_EQ(pmu.window_s, 2);
  EXPECT_EQ(pmu.samples, 2U);
  EXPECT_FALSE(pmu.background) << "nothing could be paused";
  EXPECT_FALSE(result.partial);
  EXPECT_FALSE(result.error);
}

TEST_F(MembwRun, OfASingleRoundKeepsTheOnlySample) {
  options_.samples = 1;
  options_.once = true;
  hooks_.pause = [this] { return world_.log.emplace_back("pause"), true; };
  hooks_.round = [this] {
    world_.log.emplace_back("round");
    world_.now += 5'000'000'000;
    return Woken::time_is_up;
  };
  const MembwResult result = go();
  EXPECT_EQ(world_.log,
            (Log{"pmu open 1", "resctrl open 1", "pause",  //
                 "pmu enable", "resctrl enable", "sleep 1000", "resctrl disable", "pmu disable",
                 "sleep 1000",  //
                 "pmu enable", "resctrl enable", "round", "resctrl disable", "pmu disable",
                 "resctrl close", "pmu close"}));
  ASSERT_EQ(result.samples.size(), 1U);
  EXPECT_EQ(result.samples[0].number, 0U);
  EXPECT_EQ(result.sources[0].rates.reads, 200) << "of the window behind the background's";
  EXPECT_EQ(result.sources[0].window_s, 5);
  EXPECT_FALSE(result.partial);
  hooks_.round = [] { return Woken::stopped; };
  world_.log.clear();
  const MembwResult stopped = go();
  EXPECT_TRUE(stopped.samples.empty()) << "it did not end";
  EXPECT_TRUE(stopped.partial);
  EXPECT_EQ(times("pmu disable"), 2) << "with that of the background";
}

TEST_F(MembwRun, MeasuresTheBackgroundFirstWhileTheProgramIsPaused) {
  options_.samples = 1;
  hooks_.begin = [this] { return world_.log.emplace_back("begin"), Result<void>(); };
  can_pause();
  const MembwResult result = go();
  const Log first(world_.log.begin(), world_.log.begin() + 11);
  EXPECT_EQ(first,
            (Log{"pmu open 1", "resctrl open 1", "begin", "pause", "pmu enable", "resctrl enable",
                 "sleep 1000", "resctrl disable", "pmu disable", "resume", "sleep 1000"}));
  ASSERT_TRUE(result.sources[0].background);
  EXPECT_EQ(result.sources[0].background->reads, 100);
  EXPECT_EQ(result.sources[0].rates.reads, 300);
  EXPECT_FALSE(result.sources[1].background) << "a group has none";
}

TEST_F(MembwRun, LeavesNoProgramPausedHoweverTheBackgroundEnds) {
  for (const Woken woken : {Woken::stopped, Woken::nothing_left}) {
    world_ = {.log = {}, .wakes = {woken}};
    can_pause();
    const MembwResult result = go();
    EXPECT_EQ(times("pause"), 1);
    EXPECT_EQ(times("resume"), 1);
    EXPECT_FALSE(result.sources[0].background) << "it was cut short";
    EXPECT_TRUE(result.samples.empty());
  }
}

TEST_F(MembwRun, OpensNoWindowForAProgramThatCannotBegin) {
  hooks_.begin = [] { return Result<void>(Error(Errc::bad_argument, "cannot run it")); };
  hooks_.pause = [this] { return world_.log.emplace_back("pause"), true; };
  fakes_[0]->fails_at = "close";
  const MembwResult result = go();
  EXPECT_EQ(world_.log, (Log{"pmu open 1", "resctrl open 1", "resctrl close", "pmu close"}));
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->message, "cannot run it") << "the clean-up's error comes after it";
  EXPECT_TRUE(result.partial);
}

TEST_F(MembwRun, GoesOnUntilTheWatchedProcessesHaveEndedOrASignalComes) {
  constexpr auto kUp = Woken::time_is_up;
  for (const Woken woken : {Woken::nothing_left, Woken::stopped}) {
    world_ = {.log = {}, .wakes = {kUp, kUp, kUp, kUp, woken}};
    const MembwResult result = go();
    EXPECT_EQ(times("pmu enable"), 4);
    EXPECT_EQ(times("pmu disable"), 4) << "also of the window that was cut short";
    EXPECT_EQ(result.samples.size(), 2U);
    EXPECT_EQ(result.partial, woken == Woken::stopped);
    EXPECT_FALSE(result.error);
    EXPECT_EQ(world_.log.back(), "pmu close");
  }
}

TEST_F(MembwRun, GoesOnWithTheOtherSourcesWhenOneFails) {
  options_.samples = 1;
  for (const char* at : {"open", "enable", "disable"}) {
    fakes_[0]->fails_at = at;
    world_.log.clear();
    const MembwResult result = go();
    EXPECT_FALSE(result.sources[0].rates.total) << at;
    EXPECT_EQ(result.sources[0].rates.reason, std::string("pmu cannot ") + at);
    EXPECT_TRUE(result.sources[1].rates.total) << at;
    EXPECT_FALSE(result.error) << at;
    EXPECT_EQ(times("pmu close"), std::string(at) == "open" ? 0 : 1) << at;
  }
  fakes_[0]->fails_at = "close";
  const MembwResult result = go();
  EXPECT_TRUE(result.sources[0].rates.total);
  EXPECT_EQ(result.error->message, "pmu cannot close") << "nothing else went wrong";
  fakes_[1]->fails_at = "close";
  EXPECT_EQ(go().error->message, "resctrl cannot close") << "which is closed first";
}

TEST_F(MembwRun, CallsItsHooksInOrderAndTellsTheFirstErrorOfThem) {
  options_.samples = 5;
  const auto error = [](const char* text) { return Error(Errc::bad_argument, text); };
  const auto note = [this](const std::string& what) { world_.log.push_back(what); };
  hooks_.init = [&] { return note("init"), Result<void>(); };
  hooks_.set_up = [&](std::size_t number) {
    note("set up " + std::to_string(number));
    return Result<bool>(number < 2);
  };
  hooks_.measured = [&](const MembwSample& sample) {
    note("measured " + std::to_string(sample.number));
    return Result<void>();
  };
  hooks_.end = [&] { return note("end"), Result<void>(); };
  go();
  EXPECT_EQ(world_.log.front(), "init");
  EXPECT_EQ(world_.log.back(), "end");
  for (const char* each : {"set up 0", "measured 0", "set up 1", "measured 1", "set up 2"}) {
    EXPECT_EQ(times(each), 1) << each;
  }
  EXPECT_EQ(times("measured 2"), 0);

  fakes_[1]->fails_at = "close";
  hooks_.end = [&] { return note("end"), Result<void>(error("at the end")); };
  hooks_.set_up = [&](std::size_t number) {
    return number == 2 ? Result<bool>(error("set_up")) : Result<bool>(true);
  };
  const MembwResult failed = go();
  EXPECT_EQ(failed.error->message, "set_up");
  EXPECT_TRUE(failed.partial);
  EXPECT_EQ(failed.samples.size(), 1U);
  hooks_.set_up = {};
  EXPECT_EQ(go().error->message, "resctrl cannot close");
  fakes_[1]->fails_at = "";
  EXPECT_EQ(go().error->message, "at the end");
  world_.log.clear();
  hooks_.measured = [&](const MembwSample&) { return Result<void>(error("measured")); };
  const MembwResult full = go();
  EXPECT_EQ(full.error->message, "measured");
  EXPECT_TRUE(full.samples.empty());
  EXPECT_EQ(times("pmu enable"), 1) << "nothing is measured behind it";
  EXPECT_EQ(times("pmu close"), 1);
  EXPECT_EQ(world_.log.back(), "end");
  world_.log.clear();
  hooks_.init = [&] { return Result<void>(error("not now")); };
  EXPECT_EQ(go().error->message, "not now");
  EXPECT_EQ(world_.log, Log{"end"}) << "nothing was opened";
}

TEST_F(MembwRun, TellsOfEachSourceWhatItIs) {
  options_.samples = 3;
  fakes_[0]->shares = {0.1, 0.75, 0.5, 0.625};  // the first is dropped
  fakes_[1]->its_part = "half";
  fakes_[1]->its_level = MemoryLevel::copied;
  const MembwResult result = go();
  EXPECT_EQ(result.processes, std::vector<pid_t>{10});
  const MemorySummary &pmu = result.sources[0], &resctrl = result.sources[1];
  EXPECT_EQ(pmu.label(), "pmu");
  EXPECT_EQ(pmu.origin, "fake of 1") << "as it was when it was opened";
  EXPECT_EQ(pmu.scope, MemoryScope::machine);
  EXPECT_EQ(pmu.level, MemoryLevel::dram);
  EXPECT_EQ(pmu.running_share, 0.5) << "the least";
  EXPECT_EQ(resctrl.label(), "resctrl:half");
  EXPECT_EQ(resctrl.scope, MemoryScope::group);
  EXPECT_EQ(resctrl.level, MemoryLevel::copied);
  EXPECT_EQ(resctrl.samples, 3U);
  EXPECT_EQ(resctrl.window_s, 3);
  EXPECT_EQ(resctrl.running_share, 1);
}

TEST_F(MembwRun, MeasuresNoBackgroundOfAProgramThatCannotBePaused) {
  options_.samples = 1;
  can_pause(false);
  const MembwResult result = go();
  EXPECT_EQ(times("pause"), 1);
  EXPECT_EQ(times("resume"), 0);
  EXPECT_EQ(times("pmu enable"), 2);
  EXPECT_FALSE(result.sources[0].background);
  options_.background = false;
  world_.log.clear();
  EXPECT_FALSE(go().sources[0].background);
  EXPECT_EQ(times("pause"), 0) << "nobody asked for it";
}

TEST_F(MembwRun, WaitsOnlyIfTheIntervalIsLongerThanTheWindow) {
  options_.samples = 2;
  options_.interval = options_.window;
  go();
  EXPECT_EQ(times("sleep 0"), 0);
  world_.log.clear();
  options_.interval = options_.window + std::chrono::milliseconds(1);
  go();
  EXPECT_EQ(times("sleep 1"), 2);
  // What ends such a wait ends the measurement.
  for (const Woken woken : {Woken::stopped, Woken::nothing_left}) {
    world_.log.clear();
    world_.slept = 0;
    world_.wakes = {Woken::time_is_up, Woken::time_is_up, Woken::time_is_up, Woken::time_is_up,
                    woken};
    const MembwResult result = go();
    EXPECT_EQ(times("pmu enable"), 2);
    EXPECT_EQ(result.samples.size(), 1U);
    EXPECT_EQ(result.partial, woken == Woken::stopped);
  }
}

TEST_F(MembwRun, DropsTheFirstSampleOfEachStep) {
  options_.samples = 2;
  options_.steps = 2;
  const MembwResult result = go();
  EXPECT_EQ(times("pmu enable"), 6);
  ASSERT_EQ(result.samples.size(), 4U);
  std::string numbers;
  for (const MembwSample& each : result.samples) {
    numbers += std::to_string(each.number) + " of " + std::to_string(each.step) + ", ";
  }
  EXPECT_EQ(numbers, "1 of 0, 2 of 0, 4 of 1, 5 of 1, ");
  EXPECT_EQ(result.steps[0][0].rates.reads, 250);
  EXPECT_EQ(result.steps[1][0].rates.reads, 550);
  EXPECT_EQ(result.sources[0].rates.reads, 400) << "of all steps";
  EXPECT_FALSE(result.partial);
}

MemoryReading reading_with(std::optional<double> total, const std::string& reason) {
  MemoryReading made;
  made.end_ns = kSecond;
  made.total = total;
  made.reason = reason;
  return made;
}

TEST(MembwMean, HasEachRateAndTheFirstReason) {
  MemoryReading one = reading_with(30, "");
  one.reads = 1;
  one.local = 5;
  MemoryReading two = reading_with(50, "second");
  two.writes = 2;
  two.local = 7;
  const MemoryReading three = reading_with({}, "third");
  const MemoryRates mean = mean_of({&one, &two});
  EXPECT_EQ(mean.reads, 1) << "of those that have it";
  EXPECT_EQ(mean.writes, 2);
  EXPECT_EQ(mean.total, 40);
  EXPECT_EQ(mean.local, 6);
  EXPECT_EQ(mean.reason, "second");
  EXPECT_EQ(mean_of({&one, &three, &three}).reason, "2 of 3 samples have no total: third");
  const MemoryReading four = reading_with({}, "fourth");
  EXPECT_EQ(mean_of({&three, &four}).reason, "third");
  EXPECT_EQ(mean_of({&one, &three, &four}).reason, "2 of 3 samples have no total: third");
  EXPECT_EQ(mean_of({&three}).total, std::nullopt);
  MemoryReading none = reading_with(30, "");
  none.end_ns = none.begin_ns;
  EXPECT_EQ(mean_of({&none}).total, std::nullopt) << "a window without a length";
  MemoryReading longer = reading_with(200, "");
  longer.end_ns = 3 * kSecond;
  MemoryReading shorter = reading_with(100, "");
  EXPECT_EQ(mean_of({&shorter, &longer}).total, 175) << "each weighs as much as it is long";
}

TEST(MembwPairs, OfASampleAreThoseThatCanBeCompared) {
  MembwResult result;
  result.sources.resize(3);
  result.sources[0].source = "pmu";
  result.sources[1].source = "software";
  result.sources[1].level = MemoryLevel::copied;
  result.sources[2].source = "other";
  for (MemorySummary& each : result.sources) each.rates.total = 9;
  MembwSample sample;
  sample.readings = {reading_with(1e12, ""), reading_with(1e12, ""), reading_with(2e12, "")};
  const auto pairs = compare_sample(result, sample, MemoryReport::total, {});
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_EQ(pairs[0].first, "pmu");
  EXPECT_EQ(pairs[0].second, "other");
  EXPECT_EQ(pairs[0].second_bytes_per_s, 2e12) << "of the sample, not of all";
}

}  // namespace
}  // namespace shmif::perf::test
