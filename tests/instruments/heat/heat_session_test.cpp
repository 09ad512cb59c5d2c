// What a session makes of its sources: when it asks them, and what it tells of them.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/session.hpp"
#include "tests/instruments/membw/trees.hpp"
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

// Which ways to watch heat there are, on trees of kernel files as other machines have them.

namespace {

constexpr const char* kFaults = "/proc/sys/vm/unprivileged_userfaultfd";
constexpr const char* kRelease = "/proc/sys/kernel/osrelease";
constexpr const char* kContexts = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds";
constexpr const char* kSelfSmaps = "/proc/self/smaps";

class HeatCapabilities : public ::testing::Test {
 protected:
  HeatCapabilities() {
    tree_.put(kFaults, "0\n");
    tree_.put(kRelease, "6.7.0-1-amd64\n");
    tree_.put("/proc/self/clear_refs", "");
    tree_.put(kSelfSmaps, "00400000-00401000 r--p 0 08:01 7 /bin/a\nReferenced: 4 kB\n");
    tree_.put(kContexts, "0\n");
  }
  /// With a word of the reason, and one of the remedy; no word: there is none.
  void expect(const std::string& name, Support state, const std::string& reason,
              const std::string& remedy) const {
    SCOPED_TRACE(name);
    for (const Capability& each : heat_capabilities(tree_.files())) {
      if (each.name != name) continue;
      EXPECT_EQ(word_of(each.state), std::string(word_of(state)));
      EXPECT_NE(each.reason.find(reason), std::string::npos) << each.reason;
      EXPECT_NE(each.enable_with.find(remedy), std::string::npos) << each.enable_with;
      EXPECT_EQ(each.enable_with.empty(), remedy.empty()) << each.enable_with;
      return;
    }
    ADD_FAILURE() << "no entry";
  }

  Tree tree_;
};

TEST_F(HeatCapabilities, OfPagesDependOnTheReleaseOfTheKernel) {
  for (const char* const release : {"6.7.0", "6.10.2-generic", "7.0.0"}) {
    tree_.put(kRelease, release);
    expect("heat.client", Support::supported, "SHMIF_HEAT=DIR", "");
    expect("heat.pagemap_scan", Support::supported, "", "");
    expect("heat.written", Support::supported, "-- PROGRAM", "");
  }
  for (const char* const release : {"6.6.99-lts", "6.1.0", "5.19.0"}) {
    tree_.put(kRelease, release);
    expect("heat.written", Support::not_supported, "write protection", "Linux 6.7");
    expect("heat.client", Support::supported, "accesses alone", "Linux 6.7");
    expect("heat.pagemap_scan", Support::not_supported, "PAGEMAP_SCAN", "Linux 6.7");
  }
  for (const char* const release : {"5.18.19", "4.20.0", "6", "unknown"}) {
    tree_.put(kRelease, release);
    expect("heat.client", Support::not_supported, "userfaultfd(2)", "Linux 5.19");
  }
  tree_.put(kRelease, "6.7.0");
  tree_.remove(kFaults);
  expect("heat.client", Support::not_supported, "CONFIG_USERFAULTFD", "");
}

TEST_F(HeatCapabilities, OfMappingsNeedWhatTheKernelTellsOfThem) {
  const std::string clear = "/proc/self/clear_refs";
  expect("heat.clear_refs", Support::supported, "", "");
  tree_.put(kSelfSmaps, "00400000-00401000 r--p 0 08:01 7 /bin/a\nRss: 4 kB\n");
  expect("heat.clear_refs", Support::not_supported, "does not tell", "");
  tree_.remove(kSelfSmaps);
  expect("heat.clear_refs", Support::not_supported, tree_.at(kSelfSmaps),
         "CONFIG_PROC_PAGE_MONITOR");
  tree_.remove(clear);
  expect("heat.clear_refs", Support::not_supported, tree_.at(clear), "CONFIG_PROC_PAGE_MONITOR");
  std::filesystem::create_directory(tree_.at(clear));
  expect("heat.clear_refs", Support::not_supported, "is not a file", "");
}

TEST_F(HeatCapabilities, ThatAUserIsRefusedSayWhoMayHaveThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  for (const char* const file : {kContexts, kSelfSmaps}) {
    std::filesystem::permissions(tree_.at(file), std::filesystem::perms::none);
  }
  tree_.put("/proc/sys/kernel/yama/ptrace_scope", "2\n");
  EXPECT_TRUE(as_nobody(tree_, [&] {
    expect("heat.damon", Support::not_permitted, "Permission denied", "root");
    expect("heat.clear_refs", Support::not_permitted, "Permission denied", "the user of");
    expect("heat.written", Support::not_permitted, "ptrace_scope is 2", "root");
  }));
}

TEST_F(HeatCapabilities, OfTheKernelsMonitorLeaveItToThoseWhoUseItAndSayWhatItCannot) {
  expect("heat.damon", Support::supported, "--backend damon", "");
  const std::string operations =
      "/sys/kernel/mm/damon/admin/kdamonds/0/contexts/0/avail_operations";
  tree_.put(kContexts, "2\n");
  expect("heat.damon", Support::not_permitted, "somebody else", "end what uses DAMON");
  tree_.put(operations, "paddr\n");
  expect("heat.damon", Support::not_permitted, "cannot watch processes", "CONFIG_DAMON_VADDR");
  tree_.remove(operations);
  tree_.put(kContexts, "0\n");
  // The names of the kernel's functions tell it while nobody uses DAMON.
  const std::string any = "0000000000000000 T damon_select_ops\n";
  const std::string memory = "0000000000000000 t damon_pa_check_accesses\n";
  tree_.put("/proc/kallsyms", any + memory + "0000000000000000 t damon_va_check_accesses\n");
  expect("heat.damon", Support::supported, "--backend damon", "");
  tree_.put("/proc/kallsyms", any + memory);
  expect("heat.damon", Support::not_supported, "--ops paddr", "CONFIG_DAMON_VADDR");
  tree_.put("/proc/kallsyms", any);
  expect("heat.damon", Support::not_supported, "cannot watch processes", "CONFIG_DAMON_VADDR");
  tree_.put("/proc/kallsyms", "0000000000000000 T other\n");  // the kernel does not tell
  expect("heat.damon", Support::supported, "--backend damon", "");
  tree_.put(kContexts, "many\n");
  expect("heat.damon", Support::not_supported, "\"many\"", "");
  tree_.remove("/sys/kernel/mm/damon/admin");
  expect("heat.damon", Support::not_supported, "does not exist", "CONFIG_DAMON_SYSFS");
}

}  // namespace

}  // namespace shmif::perf::test
