// What the watches take from files of the kernel and from the table of ports, look by look.

#include <array>
#include <cstdio>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "instruments/why/machine_watch.hpp"
#include "instruments/why/net_watch.hpp"
#include "instruments/why/task_watch.hpp"
#include "instruments/why/why.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/instruments/why/why_series.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::test {
namespace {

TEST(MachineWatch, ForCausesOnlyReadsOnlyWhatACauseCanComeFrom) {
  const Tree tree;
  tree.put("/proc/stat", "cpu0 0 0 0 0 0 0 0 0\n");
  tree.put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
  const auto sources_missed = [&tree](bool uses_network, MachineSources sources) {
    WhySeries series;
    series.jobs.push_back({.name = "job", .uses_network = uses_network});
    MachineWatch watch(tree.files(), sources);
    watch.sample(series);
    series.ends_s.push_back(1);
    watch.sample(series);
    EXPECT_TRUE(series.machine.at(0).stolen_known);
    EXPECT_FALSE(series.machine.at(0).queues_known);
    EXPECT_EQ(series.machine.at(0).memory_us, 0U);
    std::vector<std::string> missed;
    for (const MissingSource& source : series.missing) missed.push_back(source.source);
    return missed;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(sources_missed(false, MachineSources::of_causes), Names{});
  EXPECT_EQ(sources_missed(true, MachineSources::of_causes), Names{"/proc/net/softnet_stat"});
  EXPECT_EQ(sources_missed(false, MachineSources::all),
            (Names{"/proc/net/softnet_stat", "/proc/pressure/cpu", "/proc/pressure/io"}));
}

TEST(PortWatch, GivesAPortToTheJobThatHasItAndNotToTheOneThatItsRowNames) {
  const shmif::test::TempBus bus;
  Port port;
  const shmif::test::StayingChild owner([&] {
    port = shmif::test::port_on(bus.path(), {.name = "tx"});
    return true;
  });
  const shmif::test::StayingChild other([] { return true; });
  WhySeries series;
  series.jobs = {{.name = "owner"}, {.name = "other"}};
  TaskWatch tasks(KernelFiles(), series, 0);
  ASSERT_TRUE(tasks.add(owner.pid(), 0));
  ASSERT_TRUE(tasks.add(other.pid(), 1));
  PortWatch honest = PortWatch::open(bus.path()).value();
  honest.sample(series, tasks);
  const shmif::test::RawBus raw(bus.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(other.pid());
  PortWatch deceived = PortWatch::open(bus.path()).value();
  deceived.sample(series, tasks);
  ASSERT_EQ(series.ports.size(), 2U);
  EXPECT_EQ(series.ports[0].job, 0U);
  EXPECT_EQ(series.ports[1].job, std::nullopt);
}

TEST(PortWatch, GivesAPortToAJobThatIsFoundLater) {
  const shmif::test::TempBus bus;
  Port port;
  const shmif::test::StayingChild owner([&] {
    port = shmif::test::port_on(bus.path(), {.name = "tx"});
    return true;
  });
  const Port own = shmif::test::port_on(bus.path(), {.name = "thread"});
  Port others;
  const shmif::test::StayingChild other([&] {
    others = shmif::test::port_on(bus.path(), {.name = "other"});
    return true;
  });
  WhySeries series;
  series.jobs = {{.name = "owner"}};
  TaskWatch tasks(KernelFiles(), series, 0);
  PortWatch watch = PortWatch::open(bus.path()).value();
  watch.sample(series, tasks);
  ASSERT_EQ(series.ports.size(), 3U);
  for (const PortSeries& each : series.ports) EXPECT_EQ(each.job, std::nullopt) << each.name;
  ASSERT_TRUE(tasks.add(owner.pid(), 0));
  series.jobs.push_back({.name = "thread"});  // a thread of this process
  series.jobs.push_back({.name = "other"});   // too, but the port is another process's
  series.ends_s.push_back(1);
  watch.sample(series, tasks);
  for (const PortSeries& each : series.ports) {
    const auto job = each.name == "tx" ? std::optional<std::size_t>(0) : 1;
    EXPECT_EQ(each.job, each.name == "other" ? std::nullopt : job) << each.name;
  }
}

TEST(RepeatedFile, IsReadWholeHoweverLongItIs) {
  const Tree tree;
  std::vector<char> buffer;
  std::string text;
  for (const std::size_t bytes : {16383U, 16384U, 16385U, 32768U, 100'000U, 5U}) {
    text.clear();
    while (text.size() < bytes) text += std::to_string(text.size()) + '\n';
    text.resize(bytes);
    tree.put("/proc/stat", text);
    RepeatedFile file(tree.at("/proc/stat"));
    for (int look = 0; look < 2; ++look) {
      const auto seen = file.read(buffer);
      ASSERT_TRUE(seen);
      EXPECT_TRUE(*seen == text) << seen->size() << " bytes of " << bytes;
    }
  }
}

/// A bus with a port that is looked at every second.
class LookedAtBus : public testing::Test {
 protected:
  LookedAtBus() { EXPECT_TRUE(install_sigbus_guard()); }
  void look() {
    if (std::exchange(begun_, true)) {
      series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    }
    watch_.sample(series, tasks_);
  }
  /// Of the three looks, the last one found what is said.
  void expect_given_up(const std::string& why) {
    ASSERT_EQ(series.buses.size(), 1U);
    EXPECT_NE(series.buses[0].trouble.find(why), std::string::npos) << series.buses[0].trouble;
    EXPECT_EQ(series.buses[0].takeovers, (std::vector<std::uint32_t>{0}));
    ASSERT_EQ(series.ports.size(), 1U);
    EXPECT_EQ(series.ports[0].steps.size(), 1U);
    ASSERT_EQ(series.missing.size(), 1U);
    EXPECT_EQ(series.missing[0].source, bus.path());
    EXPECT_NE(series.missing[0].reason.find(why), std::string::npos) << series.missing[0].reason;
    look();
    EXPECT_EQ(series.buses[0].takeovers.size(), 1U) << "from then on, nothing is known";
    EXPECT_EQ(series.missing.size(), 1U);
  }

  shmif::test::TempBus bus;
  Port port = shmif::test::port_on(bus.path(), {.name = "tx"});
  WhySeries series;

 private:
  TaskWatch tasks_{KernelFiles(), series, 0};
  PortWatch watch_ = PortWatch::open(bus.path()).value();
  bool begun_ = false;
};

/// Each of the counters, at the most that can have been in a look of a second and above it.
TEST(CountersOfABus, ArePlausibleUpToTenMillionsASecond) {
  ASSERT_TRUE(install_sigbus_guard());
  using Counter = std::function<std::uint64_t&(const shmif::test::RawBus&)>;
  const std::vector<Counter> counters{
      [](const auto& raw) -> std::uint64_t& { return raw.slot(0).lock_sleeps; },
      [](const auto& raw) -> std::uint64_t& { return raw.slot(0).pauses; },
      [](const auto& raw) -> std::uint64_t& { return raw.slot(0).overruns; },
      [](const auto& raw) -> std::uint64_t& { return raw.slot(0).stalls; },
      [](const auto& raw) -> std::uint64_t& { return raw.header().takeovers_dead; },
      [](const auto& raw) -> std::uint64_t& { return raw.header().takeovers_living; }};
  constexpr std::uint64_t kMost = 20'000'000;  // a second, and one for looks that are late
  for (std::size_t at = 0; at < counters.size(); ++at) {
    for (const auto& [then, now, is_plausible] :
         {std::tuple(std::uint64_t{3}, 3 + kMost, true), {3, 4 + kMost, false}, {3, 2, false}}) {
      const shmif::test::TempBus bus;
      const Port port = shmif::test::port_on(bus.path(), {.name = "tx"});
      const shmif::test::RawBus raw(bus.path());
      WhySeries series;
      const TaskWatch tasks(KernelFiles(), series, 0);
      series.missing.clear();
      PortWatch watch = PortWatch::open(bus.path()).value();
      counters[at](raw) = then;
      watch.sample(series, tasks);
      series.ends_s.push_back(1);
      watch.sample(series, tasks);
      counters[at](raw) = now;
      series.ends_s.push_back(2);
      watch.sample(series, tasks);
      EXPECT_EQ(series.buses.at(0).trouble.empty(), is_plausible) << at << ' ' << now;
      if (is_plausible) continue;
      EXPECT_EQ(series.ports.at(0).steps.size(), 1U);
    }
  }
}

TEST_F(LookedAtBus, ThatIsTruncatedCannotBeReadAnyMore) {
  series.missing.clear();
  look();
  look();
  std::filesystem::resize_file(bus.path(), 4096);
  look();
  expect_given_up("to 4096 bytes, so it cannot be read any more");
}

TEST_F(LookedAtBus, ThatIsDeletedIsCountedOnAndSaysSoOnceAndThenThatItIsOverwritten) {
  series.missing.clear();
  const shmif::test::RawBus raw(bus.path());
  look();
  look();
  std::filesystem::remove(bus.path());
  raw.slot(0).lock_sleeps = 5;
  look();
  look();
  ASSERT_EQ(series.missing.size(), 1U) << "once";
  EXPECT_NE(series.missing[0].reason.find("was deleted"), std::string::npos);
  EXPECT_EQ(series.buses.at(0).trouble, "") << "its counters are known";
  EXPECT_EQ(series.ports.at(0).steps.at(1).lock_sleeps, 5U) << "the deleted file is counted on";
  raw.slot(0).lock_sleeps = UINT64_MAX;
  look();
  look();
  ASSERT_EQ(series.missing.size(), 1U);
  EXPECT_EQ(series.missing[0].source, bus.path());
  for (const char* const words : {"was deleted", "overwritten"}) {
    EXPECT_NE(series.missing[0].reason.find(words), std::string::npos) << series.missing[0].reason;
  }
  EXPECT_NE(series.buses.at(0).trouble, "");
  EXPECT_EQ(series.buses[0].takeovers.size(), 3U) << "what was counted before is kept";
}

TEST_F(LookedAtBus, WhoseNameIsAnotherFileNowIsNotMixedUpWithThat) {
  series.missing.clear();
  look();
  std::filesystem::rename(bus.path(), bus.path() + ".old");
  Bus::create(bus.path(), {}).value();
  look();
  ASSERT_EQ(series.missing.size(), 1U);
  EXPECT_TRUE(
      series.missing[0].reason.ends_with("and the file that has the name now was not watched"))
      << series.missing[0].reason;
  EXPECT_EQ(series.ports.size(), 1U) << "the port of the watched file";
  std::filesystem::remove(bus.path() + ".old");
}

/// What a CPU counted while it was offline is not that of an interval.
TEST(MachineWatch, KnowsNothingOfACpuThatWasNotThereAtTheLookBefore) {
  const Tree tree;
  ASSERT_EQ(::sysconf(_SC_CLK_TCK), 100);
  const auto put = [&](int ticks, bool second) {
    const auto line = [&](int cpu) {
      return "cpu" + std::to_string(cpu * 300) + " 0 0 0 0 0 0 0 " + std::to_string(ticks) +
             " 0 0\n";
    };
    std::array<char, 256> queues{};
    std::snprintf(queues.data(), queues.size(), "%08x %08x 0 0 0 0 0 0 0 0 0 0 ",
                  static_cast<unsigned>(ticks), static_cast<unsigned>(ticks));
    tree.put("/proc/stat", line(0) + (second ? line(1) : ""));
    tree.put("/proc/net/softnet_stat", std::string(queues.data()) + "00\n" +
                                           (second ? std::string(queues.data()) + "12c\n" : ""));
  };
  WhySeries series;
  MachineWatch watch(tree.files(), MachineSources::all);
  for (const auto& [ticks, second] :
       {std::pair(100, true), {103, true}, {110, false}, {130, true}, {131, true}}) {
    put(ticks, second);
    if (ticks != 100) series.ends_s.push_back(ticks);
    watch.sample(series);
  }
  std::vector<std::string> told;
  for (const MachineStep& step : series.machine) {
    std::string line;
    for (const CpuStep& cpu : step.cpus) {
      line += std::to_string(cpu.cpu) + ": " + std::to_string(cpu.steal_us / 10'000) + '/' +
              std::to_string(cpu.drops) + ' ';
    }
    told.push_back(std::move(line));
  }
  EXPECT_EQ(told, (std::vector<std::string>{"0: 3/3 300: 3/3 ", "0: 7/7 ", "0: 20/20 ",
                                            "0: 1/1 300: 1/1 "}));
}

/// The kernel counts packets in 32 bits, which a fast machine passes in minutes.
TEST(MachineWatch, CountsTheQueuesOfCpusOnBehindTheGreatestNumber) {
  const Tree tree;
  WhySeries series;
  MachineWatch watch(tree.files(), MachineSources::all);
  std::vector<std::string> told;
  for (const char* const line :
       {"fffffff0 fffffffd ffffffff", "0000000a 00000004 00000001", "0000000a 00000004 00000003",
        "00000002 00000000 00000000", "00000005 00000001 00000000"}) {
    tree.put("/proc/net/softnet_stat", std::string(line) + '\n');
    if (!told.empty()) series.ends_s.push_back(static_cast<double>(told.size()));
    watch.sample(series);
    std::string figures;
    for (const MachineStep& step : series.machine) {
      if (&step != &series.machine.back()) continue;
      for (const CpuStep& cpu : step.cpus) {
        figures += std::to_string(cpu.packets) + ' ' + std::to_string(cpu.drops) + ' ' +
                   std::to_string(cpu.squeezes);
      }
    }
    told.push_back(figures);
  }
  EXPECT_EQ(told, (std::vector<std::string>{"", "26 7 2", "0 0 2", "", "3 1 0"}))
      << "the last but one: they began again";
}

TEST(TrafficOfPorts, IsThatOfAllPortsOfTheJobAndOfNoOthers) {
  WhySeries series = quiet_series(3, {"rx", "other"});
  const auto add_port = [&](std::size_t job, std::size_t first, std::vector<PortStep> steps) {
    series.ports.push_back(
        {.bus = "/b", .name = "p", .job = job, .first = first, .steps = std::move(steps)});
  };
  add_port(0, 0, {{.overruns = 2, .lost_frames = 9}, {.overruns = 1, .lost_frames = 4}, {}});
  add_port(0, 1, {{.overruns = 5, .lost_frames = 30}, {.overruns = 7, .lost_frames = 11}});
  add_port(1, 0, {{.overruns = 100, .lost_frames = 200}});
  const auto traffic = traffic_of_ports(series);
  ASSERT_EQ(traffic.size(), 2U);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
  for (const TrafficStep& step : traffic[0].steps) found.emplace_back(step.overruns, step.lost);
  EXPECT_EQ(found,
            (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{2, 9}, {6, 34}, {7, 11}}));
}

TEST(WhyResults, SayUntilWhichLookABusIsKnown) {
  ASSERT_TRUE(install_sigbus_guard());
  const shmif::test::TempBus bus;
  WhySampler sampler(KernelFiles(), 0, MachineSources::of_causes);
  const auto added = sampler.add_bus(bus.path());
  ASSERT_TRUE(added) << added.error().message;
  for (const std::uint64_t second : {1U, 2U, 4U}) sampler.sample(second * kSecond);
  const auto known = [&] { return why_result(sampler, {}).buses.at(0).known_until_s; };
  EXPECT_EQ(known(), 4);
  std::filesystem::resize_file(bus.path(), 4096);
  for (const std::uint64_t second : {7U, 11U}) sampler.sample(second * kSecond);
  EXPECT_NE(why_result(sampler, {}).buses.at(0).trouble, "");
  EXPECT_EQ(known(), 4) << "the last look that could read it";
  const shmif::test::TempBus other;
  ASSERT_TRUE(sampler.add_bus(other.path()));
  for (const std::uint64_t second : {13U, 14U}) sampler.sample(second * kSecond);
  std::filesystem::resize_file(other.path(), 4096);
  sampler.sample(16 * kSecond);
  ASSERT_EQ(sampler.series().buses.size(), 2U);
  EXPECT_EQ(why_result(sampler, {}).buses[1].known_until_s, 14) << "it came later";
}

}  // namespace
}  // namespace shmif::perf::test
