// The course of a measurement: what is called in which order, what is dropped, and what is undone
// whatever happens.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "instruments/membw/measure.hpp"
#include "tests/instruments/membw/fake_resctrl.hpp"

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

// The JSON of a measurement: each value in its field.

namespace {

using Json = nlohmann::json;

MemorySummary controllers() {
  MemorySummary pmu;
  pmu.source = "pmu";
  pmu.origin = "counters";
  pmu.scope = MemoryScope::socket;
  pmu.level = MemoryLevel::dram;
  pmu.window_s = 2.5;
  pmu.samples = 3;
  pmu.rates = {1e9, 2e9, 3e9, 4e9, ""};
  pmu.running_share = 0.5;
  pmu.background = MemoryRates{5, 6, 7};
  return pmu;
}
MemorySummary local_bytes() {
  MemorySummary local;
  local.source = "resctrl";
  local.part = "local";
  local.origin = "files";
  local.scope = MemoryScope::group;
  local.level = MemoryLevel::copied;
  local.rates = MemoryRates::not_measured("none there");
  return local;
}

MembwResult one_sample() {
  MembwResult result;
  result.sources = {controllers(), local_bytes()};
  result.processes = {71, 72};
  MembwSample sample;
  sample.number = 4;
  sample.step = 1;
  sample.readings.resize(2);
  sample.readings[0].begin_ns = 1'000'000'000;
  sample.readings[0].end_ns = 3'500'000'000;
  sample.readings[0].reads = 11;
  sample.readings[0].writes = 12;
  sample.readings[0].total = 13;
  sample.readings[1].reason = "none there";
  result.samples.push_back(std::move(sample));
  return result;
}

TEST(MembwJson, HasEachValueInItsField) {
  MemoryComparison pair;
  pair.first = "a";
  pair.second = "b";
  pair.verdict = MemoryVerdict::refused;
  pair.first_bytes_per_s = 21;
  pair.second_bytes_per_s = 22;
  pair.difference_bytes_per_s = 23;
  pair.difference_share = 0.25;
  pair.reason = "too little";
  MembwResult result = one_sample();
  result.partial = true;
  result.error = Error(Errc::busy, "somebody changed it");
  const std::string text = membw_json(result, MemoryReport::writes, {pair});
  EXPECT_EQ(Json::parse(text), Json::parse(R"({
    "report": "writes",
    "partial": true,
    "error": "somebody changed it",
    "sources": [
      {"source": "pmu", "part": null, "origin": "counters", "scope": "socket", "level": "dram",
       "samples": 3, "window_s": 2.5, "read_bytes_per_s": 1e9, "write_bytes_per_s": 2e9,
       "total_bytes_per_s": 3e9, "local_bytes_per_s": 4e9, "background_bytes_per_s": 6.0,
       "scaled": true, "running_share": 0.5, "reason": null},
      {"source": "resctrl", "part": "local", "origin": "files", "scope": "group",
       "level": "copied", "samples": 0, "window_s": null, "read_bytes_per_s": null,
       "write_bytes_per_s": null, "total_bytes_per_s": null, "local_bytes_per_s": null,
       "background_bytes_per_s": null, "scaled": null, "running_share": null,
       "reason": "none there"}],
    "comparisons": [
      {"first": "a", "second": "b", "first_bytes_per_s": 21.0, "second_bytes_per_s": 22.0,
       "difference_bytes_per_s": 23.0, "difference_share": 0.25, "verdict": "refused",
       "reason": "too little"}],
    "samples": [
      {"number": 4, "step": 1, "pids": [71, 72], "readings": [
        {"source": "pmu", "begin_ns": 1000000000, "window_s": 2.5, "read_bytes_per_s": 11.0,
         "write_bytes_per_s": 12.0, "total_bytes_per_s": 13.0, "reason": null},
        {"source": "resctrl:local", "begin_ns": 0, "window_s": 0.0, "read_bytes_per_s": null,
         "write_bytes_per_s": null, "total_bytes_per_s": null, "reason": "none there"}]}]})"))
      << text;
  EXPECT_TRUE(text.starts_with("{\n  \"report\": \"writes\",\n  \"partial\": true,\n")) << text;
  EXPECT_TRUE(text.ends_with("}\n"));
}

TEST(MembwJson, HasTheAllocationAndThePairsOfASampleIfThereAreAny) {
  const MembwResult result = one_sample();
  const auto sample = [&](const MembwExtras& extras) {
    return Json::parse(membw_json(result, MemoryReport::total, {}, extras))["samples"][0];
  };
  const Json both = sample({.pairs = CompareLimits{}, .allocations = {"MB:0=9", "MB:0=8"}});
  EXPECT_EQ(both["allocation"], "MB:0=8") << "of its step";
  EXPECT_TRUE(both["pairs"].is_array());
  const Json none = sample({.pairs = {}, .allocations = {"MB:0=9"}});
  EXPECT_FALSE(none.contains("allocation"));
  EXPECT_FALSE(none.contains("pairs"));
}

TEST(MembwJson, CountsTheVerdictsOfASweep) {
  MembwResult result;
  auto other = controllers();
  other.source = "other";
  const auto step = [&](double total, double share) {
    auto one = controllers();
    one.rates.total = total;
    other.rates.total = total * share;
    one.samples = 7;
    result.steps.push_back({one, other});
  };
  step(1e10, 1);
  step(1e10, 0.5);
  step(2e10, 0.5);
  step(1, 1);
  step(2, 1);
  step(3, 1);
  auto without = controllers();
  without.rates = MemoryRates::not_measured("gone");
  result.steps.push_back({without, other});
  const MembwExtras extras{.pairs = {}, .allocations = {"a", "b", "c", "d", "e", "f", "g"}};
  const auto sweep = Json::parse(membw_json(result, MemoryReport::total, {}, extras))["sweep"];
  EXPECT_EQ(sweep["verdicts"], Json::parse(R"([
    {"first": "pmu", "second": "other", "verdict": "different", "same": 1, "different": 2,
     "refused": 3, "not_measured": 1}])"));
  ASSERT_EQ(sweep["steps"].size(), 7U);
  EXPECT_EQ(sweep["steps"][1]["allocation"], "b");
  EXPECT_EQ(sweep["steps"][1]["sources"][0], Json::parse(R"(
    {"source": "pmu", "samples": 7, "read_bytes_per_s": 1e9, "write_bytes_per_s": 2e9,
     "total_bytes_per_s": 1e10, "reason": null})"));
  EXPECT_EQ(sweep["steps"][6]["sources"][0]["reason"], "gone");
  EXPECT_EQ(sweep["steps"][1]["comparisons"][0]["verdict"], "different");
  EXPECT_EQ(sweep["steps"][3]["comparisons"][0]["verdict"], "refused");
}

TEST(MembwJson, IsAsciiWhateverAFileIsCalled) {
  MembwResult result = one_sample();
  result.sources[0].origin = "caf\xc3\xa9 \xff";
  const std::string text = membw_json(result, MemoryReport::total, {});
  EXPECT_NE(text.find("\"caf\\u00e9 \\ufffd\""), std::string::npos) << text;
}

}  // namespace

// What a machine can measure of its memory bandwidth, and what would change that.

namespace {

constexpr const char* kParanoid = "/proc/sys/kernel/perf_event_paranoid";

/// With a word of the reason, and one of the remedy; no word: there is none.
void expect_capability(const Tree& tree, const std::string& name, Support state,
                       const std::string& reason = "", const std::string& remedy = "") {
  SCOPED_TRACE(name);
  for (const Capability& each : membw_capabilities(tree.files())) {
    if (each.name != name) continue;
    EXPECT_EQ(word_of(each.state), std::string(word_of(state))) << each.reason;
    EXPECT_NE(each.reason.find(reason), std::string::npos) << each.reason;
    EXPECT_NE(each.enable_with.find(remedy), std::string::npos) << each.enable_with;
    EXPECT_EQ(each.enable_with.empty(), remedy.empty()) << each.enable_with;
    return;
  }
  ADD_FAILURE() << "no entry";
}

TEST(MembwCapabilities, HaveAReasonWhereSomethingIsMissingAndTheSoftwareSourceAlwaysWorks) {
  for (const Capability& each : membw_capabilities(KernelFiles())) {
    EXPECT_EQ(each.reason.empty(), each.state == Support::supported) << each.name;
  }
  const Tree tree;
  expect_capability(tree, "membw.software", Support::supported, "CONFIG_TASK_IO_ACCOUNTING");
  tree.put("/proc/self/io", "garbage\n");
  expect_capability(tree, "membw.software", Support::supported, "proc_pid_io(5)");
}

TEST(MembwCapabilities, OfCountersDependOnTheSettingAndTheUser) {
  const Tree tree;
  const auto expect = [&](Support state, const std::string& reason = "",
                          const std::string& remedy = "") {
    expect_capability(tree, "membw.pmu", state, reason, remedy);
  };
  expect(Support::not_supported);
  put_imc(tree, 0);
  expect(Support::not_supported);  // no perf_event_open
  tree.put(kParanoid, "2\n");
  const auto expect_of = [&](const char* rights, bool suffices) {
    tree.put("/proc/self/status", std::string("Name:\tx\nCapEff:\t") + rights + '\n');
    expect(suffices ? Support::supported : Support::not_permitted, suffices ? "" : "CAP_PERFMON",
           suffices ? "" : "kernel.perf_event_paranoid=0");
  };
  for (const char* rights : {"0000004000000000", "0000000000200000"}) expect_of(rights, true);
  for (const char* rights : {"ffffffbfffdfffff", "0000000000000000", "not hexadecimal"}) {
    expect_of(rights, false);
  }
  for (const char* open : {"0\n", "-1\n"}) {
    tree.put(kParanoid, open);
    expect(Support::supported);
  }
  tree.put("/proc/self/status", "CapEff:\t0000004000000000\n");
  for (const char* other : {"", "garbage\n", "-\n", "0x0\n"}) {
    tree.put(kParanoid, other);
    expect(Support::not_supported, "perf_event_paranoid");
  }
  if (::geteuid() != 0) return;
  tree.put(kParanoid, "1\n");
  tree.remove("/proc/self/status");  // nobody tells the rights
  expect(Support::supported);
  EXPECT_TRUE(as_nobody(tree, [&] {
    expect(Support::not_permitted, "CAP_PERFMON", "kernel.perf_event_paranoid=0");
  }));
}

TEST(MembwCapabilities, OfResctrlNeedItMountedEventsAndAPlaceForGroups) {
  const Tree tree;
  FakeResctrl resctrl(tree, {});
  const auto expect = [&](Support state, const std::string& reason = "",
                          const std::string& remedy = "") {
    expect_capability(tree, "membw.resctrl", state, reason, remedy);
  };
  expect(Support::not_supported, "names no mbm_total_bytes");
  tree.put(kRoot + "/info/L3_MON/mon_features", "mbm_total_bytes\n");
  expect(Support::supported);
  if (::geteuid() == 0) {
    EXPECT_TRUE(as_nobody(
        tree, [&] { expect(Support::not_permitted, "mon_groups: Permission denied", "root"); }));
  }
  expect_capability(tree, "membw.allocation", Support::not_supported, "schemata");
  resctrl.put_allocation();
  expect_capability(tree, "membw.allocation", Support::supported);
  resctrl.leave_unmounted();
  for (const char* name : {"membw.resctrl", "membw.allocation"}) {
    expect_capability(tree, name, Support::not_supported, "not mounted", "mount -t resctrl");
  }
  tree.put("/proc/filesystems", "nodev\tproc\n");
  expect(Support::not_supported);
}

}  // namespace

}  // namespace shmif::perf::test
