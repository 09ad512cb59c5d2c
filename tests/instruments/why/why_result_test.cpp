// The result of a watch: figures of the machine, of buses and of ports, each under its own name.

#include <map>
#include <vector>

#include "bus/repair/port_owners.hpp"
#include "instruments/why/machine_watch.hpp"
#include "instruments/why/why.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::test {
namespace {

/// Figures of CPUs 0 and 3 that grow by a part of `n`: in ticks of 10 ms, packets and microseconds.
void put_machine(const Tree& tree, unsigned n) {
  const auto text = [](std::uint64_t value) { return std::to_string(value); };
  tree.put("/proc/stat", "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 " + text(100 + 2 * n) + ' ' +
                             text(200 + 4 * n) + " 0 0\ncpu3 1 2 3 4 5 6 " + text(300 + 3 * n) +
                             ' ' + text(400 + 6 * n) + " 0 0\ncpu5 1 2 3 4 5 6 50 60 0 0\n");
  const std::string zeros = " 0 0 0 0 0 0 0 0 0";
  const auto hex = [](std::uint64_t value) {
    std::array<char, 32> digits{};
    std::snprintf(digits.data(), digits.size(), "%08lx", static_cast<unsigned long>(value));
    return std::string(digits.data());
  };
  tree.put("/proc/net/softnet_stat", hex(1000 + 100 * n) + ' ' + hex(20 + 7 * n) + ' ' +
                                         hex(30 + 11 * n) + zeros + " 00000000\n" +
                                         hex(5000 + 300 * n) + ' ' + hex(60 + 9 * n) + ' ' +
                                         hex(70 + 13 * n) + zeros + " 00000003\n");
  const auto pressure = [&](const char* name, std::uint64_t us) {
    tree.put(std::string("/proc/pressure/") + name,
             "some avg10=0.00 avg60=0.00 avg300=0.00 total=" + text(us) + '\n');
  };
  pressure("cpu", 700 + 30'000ULL * n);
  pressure("memory", 800 + 60'000ULL * n);
  pressure("io", 900 + 120'000ULL * n);
}

TEST(MachineFigures, AreThoseOfEachCpuAndEachSource) {
  const Tree tree;
  put_machine(tree, 0);
  WhySampler sampler(tree.files(), 0);
  sampler.sample(1 * kSecond);
  put_machine(tree, 4);
  sampler.sample(2 * kSecond);
  put_machine(tree, 10);
  sampler.sample(4 * kSecond);
  const WhySeries& series = sampler.series();
  EXPECT_EQ(series.begin_s, 1);
  EXPECT_EQ(series.ends_s, (std::vector<double>{2, 4}));
  ASSERT_EQ(series.machine.size(), 2U);
  const MachineStep& first = series.machine[0];
  ASSERT_EQ(first.cpus.size(), 2U) << "nothing happened on CPU 5";
  for (const CpuStep& cpu : first.cpus) {
    const bool zero = cpu.cpu == 0;
    EXPECT_TRUE(zero || cpu.cpu == 3) << cpu.cpu;
    EXPECT_EQ(cpu.softirq_us, zero ? 80'000U : 120'000U);
    EXPECT_EQ(cpu.steal_us, zero ? 160'000U : 240'000U);
    EXPECT_EQ(cpu.packets, zero ? 400U : 1200U);
    EXPECT_EQ(cpu.drops, zero ? 28U : 36U);
    EXPECT_EQ(cpu.squeezes, zero ? 44U : 52U);
  }
  EXPECT_EQ(first.cpu_us, 120'000U);
  EXPECT_EQ(first.memory_us, 240'000U);
  EXPECT_EQ(first.io_us, 480'000U);
  const WhyResult result = why_result(sampler, {});
  EXPECT_EQ(result.seconds, 3);
  EXPECT_EQ(result.looks, 2U);
  EXPECT_NEAR(result.own_share, sampler.own_seconds() / 3, 1e-12);
  EXPECT_GT(result.own_share, 0);
  EXPECT_NEAR(result.machine.softirq.value_or(0), 0.5 / 3, 1e-9) << "of all CPUs";
  EXPECT_NEAR(result.machine.steal.value_or(0), 1.0 / 3, 1e-9);
  EXPECT_EQ(result.machine.queue_drops, 160U);
  EXPECT_EQ(result.machine.squeezes, 240U);
  EXPECT_NEAR(result.machine.cpu_pressure.value_or(0), 0.1, 1e-9);
  EXPECT_NEAR(result.machine.memory_pressure.value_or(0), 0.2, 1e-9);
  EXPECT_NEAR(result.machine.io_pressure.value_or(0), 0.4, 1e-9);
  EXPECT_FALSE(result.partial);
  tree.put("/proc/pressure/memory", "some total=900000000\n");
  sampler.sample(5 * kSecond);
  EXPECT_EQ(why_result(sampler, {}).machine.memory_pressure, 1.0) << "looks are not punctual";
}

TEST(SamplerTimes, CountFromTheOriginAndGrowWithTheWatch) {
  const Tree tree;
  constexpr std::uint64_t kOrigin = 50 * kSecond, kInterval = kSecond / 10;
  WhySampler sampler(tree.files(), kOrigin);
  sampler.sample(10 * kSecond);
  EXPECT_EQ(sampler.series().begin_s, -40) << "before the origin";
  EXPECT_EQ(sampler.next_ns(kInterval), 10 * kSecond + kInterval);
  const auto behind = [&](std::uint64_t seconds) {
    sampler.sample(kOrigin + seconds * kSecond);
    return sampler.next_ns(kInterval) - kOrigin - seconds * kSecond;
  };
  EXPECT_EQ(behind(1200), kInterval) << "twenty minutes";
  EXPECT_EQ(behind(2400), 2 * kInterval);
  EXPECT_EQ(behind(86'400), 72 * kInterval) << "a day";
  EXPECT_EQ(sampler.series().ends_s, (std::vector<double>{1200, 2400, 86'400}));
}

/// Counters of a port, each another multiple of `n`.
void put_counters(const shmif::test::RawBus& raw, unsigned slot, std::uint64_t n) {
  auto& row = raw.slot(slot);
  row.lock_sleeps = 2 * n;
  row.pauses = 3 * n;
  row.stalls = 5 * n;
  row.overruns = 7 * n;
  row.paused_ns = 11'000 * n + 900;
  row.lost_frames = 13 * n;
  row.rx_frames = 17 * n;
  row.tx_frames = 19 * n;
}

/// Each counter of a step as a number of `n`, and the frames.
std::vector<std::uint64_t> counters_of(const PortStep& step) {
  return {step.lock_sleeps, step.pauses,      step.stalls, step.overruns,
          step.paused_us,   step.lost_frames, step.frames};
}

TEST(PortFigures, AreThoseOfEachPortInEachInterval) {
  const shmif::test::TempBus bus;
  std::vector<Port> ports;
  for (const char* const name : {"first", "second"}) {
    ports.push_back(shmif::test::port_on(bus.path(), {.name = name}));
  }
  const shmif::test::RawBus raw(bus.path());
  put_counters(raw, 0, 100);
  put_counters(raw, 1, 1000);
  WhySeries series;
  const TaskWatch tasks(KernelFiles(), series, 0);
  PortWatch watch = PortWatch::open(bus.path()).value();
  watch.sample(series, tasks);
  put_counters(raw, 0, 101);
  put_counters(raw, 1, 1010);
  raw.header().takeovers_dead = 4;
  raw.header().takeovers_living = 3;
  for (const double end : {1.0, 2.0}) {
    series.ends_s.push_back(end);
    watch.sample(series, tasks);
    raw.slot(0).paused_ns += 100;  // what was cut off before comes now
  }
  ASSERT_EQ(series.ports.size(), 2U);
  for (const std::uint64_t i : {0U, 1U}) {
    const PortSeries& port = series.ports[i];
    EXPECT_EQ(port.bus, bus.path());
    EXPECT_EQ(port.name, i == 0 ? "first" : "second");
    EXPECT_EQ(port.first, 0U);
    ASSERT_EQ(port.steps.size(), 2U);
    const std::uint64_t n = i == 0 ? 1 : 10;
    using Counters = std::vector<std::uint64_t>;
    EXPECT_EQ(counters_of(port.steps[0]),
              (Counters{2 * n, 3 * n, 5 * n, 7 * n, 11 * n, 13 * n, 36 * n}));
    EXPECT_EQ(counters_of(port.steps[1]), (Counters{0, 0, 0, 0, i == 0 ? 1U : 0U, 0, 0}));
  }
  ASSERT_EQ(series.buses.size(), 1U);
  EXPECT_EQ(series.buses[0].takeovers, (std::vector<std::uint32_t>{7, 0}));
  EXPECT_EQ(series.buses[0].takeovers_living, (std::vector<std::uint32_t>{3, 0}));
}

TEST(BusFigures, AreSumsOfTheirOwnPorts) {
  const shmif::test::TempBus one, other;
  std::vector<Port> ports;
  for (const auto& [bus, name] :
       {std::pair(&one, "a"), std::pair(&one, "b"), std::pair(&other, "c")}) {
    ports.push_back(shmif::test::port_on(bus->path(), {.name = name}));
  }
  WhySampler sampler(KernelFiles(), 0, MachineSources::of_causes);
  sampler.add_job(WatchedJob{.name = "idle", .uses_network = false});
  ASSERT_TRUE(sampler.add_bus(one.path()));
  ASSERT_TRUE(sampler.add_bus(other.path()));
  sampler.sample(1 * kSecond);
  const shmif::test::RawBus raw(one.path()), raw_other(other.path());
  put_counters(raw, 0, 1000);
  put_counters(raw, 1, 20'000);
  put_counters(raw_other, 0, 300'000);
  raw.header().takeovers_living = 6;
  raw_other.header().takeovers_dead = 8;
  sampler.sample(2 * kSecond);
  put_counters(raw, 0, 3000);
  raw.header().takeovers_living = 7;
  sampler.sample(4 * kSecond);
  const auto buses = why_result(sampler, {}).buses;
  ASSERT_EQ(buses.size(), 2U);
  for (const BusSummary& bus : buses) {
    const bool first = &bus == buses.data();
    EXPECT_EQ(bus.bus, first ? one.path() : other.path());
    EXPECT_EQ(bus.trouble, "");
    EXPECT_EQ(bus.known_until_s, 4);
    const std::uint64_t n = first ? 23'000 : 300'000;
    EXPECT_EQ(bus.takeovers, first ? 7U : 8U);
    EXPECT_EQ(bus.lock_sleeps, 2 * n);
    EXPECT_EQ(bus.pauses, 3 * n);
    EXPECT_EQ(bus.stalls, 5 * n);
    EXPECT_EQ(bus.overruns, 7 * n);
    EXPECT_NEAR(bus.paused_s, 11e-6 * static_cast<double>(n), 1e-9);
  }
  EXPECT_FALSE(sampler.add_bus(one.file("none")));
}

/// A repair may make the ring begin anew. Then the epoch grows.
TEST(RingOfABus, GoesBackOnlyInANewEpoch) {
  const shmif::test::TempBus bus;
  const Port port = shmif::test::port_on(bus.path(), {.name = "tx"});
  const shmif::test::RawBus raw(bus.path());
  WhySeries series;
  const TaskWatch tasks(KernelFiles(), series, 0);
  PortWatch watch = PortWatch::open(bus.path()).value();
  const std::uint64_t last = raw.header().last;
  raw.header().last = last + 800;
  watch.sample(series, tasks);
  const auto is_believed = [&](std::uint64_t epoch, std::uint64_t behind) {
    raw.header().epoch = epoch;
    raw.header().last = last + behind;
    series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    watch.sample(series, tasks);
    return series.buses.at(0).trouble.empty();
  };
  const std::uint64_t epoch = raw.header().epoch;
  EXPECT_TRUE(is_believed(epoch, 800));
  EXPECT_TRUE(is_believed(epoch + 1, 400)) << "it was repaired";
  EXPECT_TRUE(is_believed(epoch + 1, 480));
  EXPECT_FALSE(is_believed(epoch + 1, 400));
  raw.header().last = last;
}

}  // namespace

// What `why` can see, on this machine and on trees of others.

namespace {

class WhyCapabilities : public ::testing::Test {
 protected:
  WhyCapabilities() {
    std::string stat = "1 (cat) R";
    for (int field = 4; field <= 52; ++field) stat += " 0";
    tree.put("/proc/self/stat", stat + '\n');
    tree.put("/proc/self/schedstat", "107690 2434208 2\n");
    tree.put("/proc/self/sched", "se.nr_migrations     :     1\n");
    tree.put("/proc/self/cgroup", "0::/rig\n");
    tree.put("/proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
    tree.put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
    tree.put("/proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
    tree.put("/proc/net/softnet_stat", "01c5a5a1 00000000\n");
  }
  Capability one(const std::string& name) const {
    for (const Capability& each : why_capabilities(tree.files())) {
      if (each.name == name) return each;
    }
    ADD_FAILURE() << "no entry " << name;
    return {};
  }
  Tree tree;
};

TEST_F(WhyCapabilities, OfAMachineThatHasEverythingAreSupportedWithoutAReason) {
  const auto all = why_capabilities(tree.files());
  std::vector<std::string> names;
  for (const Capability& each : all) {
    names.push_back(each.name);
    EXPECT_EQ(each.state, Support::supported) << each.name << ": " << each.reason;
    EXPECT_EQ(each.reason + each.enable_with, "") << each.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"why", "why.schedstat", "why.migrations", "why.psi",
                                             "why.cgroup", "why.steal", "why.softnet"}));
}

TEST_F(WhyCapabilities, OfAnEmptyTreeNameTheFileThatIsMissing) {
  const Tree empty;
  for (const Capability& each : why_capabilities(empty.files())) {
    EXPECT_EQ(each.state, Support::not_supported) << each.name;
    EXPECT_NE(each.reason.find("cannot open " + empty.path() + "/proc/"), std::string::npos)
        << each.reason;
    EXPECT_NE(each.reason.find("No such file or directory: "), std::string::npos) << each.reason;
  }
}

TEST_F(WhyCapabilities, AreThoseOfWhatIsInTheFilesAndNotOfTheirNames) {
  const std::map<std::string, std::string> file_of{
      {"why", "/proc/self/stat"},           {"why.schedstat", "/proc/self/schedstat"},
      {"why.psi", "/proc/pressure/memory"}, {"why.cgroup", "/proc/self/cgroup"},
      {"why.steal", "/proc/stat"},          {"why.softnet", "/proc/net/softnet_stat"}};
  for (const auto& [name, file] : file_of) {
    const std::string text = tree.text(file);
    for (const char* const other : {"", "garbage\n", "total=some avg10\n"}) {
      tree.put(file, other);
      EXPECT_EQ(one(name).state, Support::not_supported) << name << " of \"" << other << '"';
      EXPECT_NE(one(name).reason.find(file), std::string::npos) << one(name).reason;
    }
    tree.remove(file);
    ASSERT_EQ(::mkfifo(tree.at(file).c_str(), 0600), 0);
    EXPECT_EQ(one(name).state, Support::not_supported) << name << " of a FIFO, without waiting";
    tree.remove(file);
    tree.put(file, text);
    EXPECT_EQ(one(name).state, Support::supported) << name;
  }
}

TEST_F(WhyCapabilities, ThatAUserMayNotReadSayWhoMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::map<std::string, std::string> files{{"why.schedstat", "/proc/self/schedstat"},
                                                 {"why.psi", "/proc/pressure/memory"},
                                                 {"why.softnet", "/proc/net/softnet_stat"}};
  for (const auto& [name, file] : files) ASSERT_EQ(::chmod(tree.at(file).c_str(), 0), 0);
  EXPECT_TRUE(as_nobody(tree, [&] {
    for (const auto& [name, file] : files) {
      const Capability found = one(name);
      EXPECT_EQ(found.state, Support::not_permitted) << name;
      EXPECT_NE(found.reason.find(file + ": Permission denied"), std::string::npos);
      EXPECT_NE(found.enable_with.find("as root"), std::string::npos) << found.enable_with;
    }
  }));
}

/// What a file says, and what is told of it: two words of the reason, and one of the remedy.
TEST_F(WhyCapabilities, TellWhatIsMissingAndTheRemedy) {
  struct Case {
    const char *name, *file, *text;
    Support state;
    const char *reason, *remedy;
  };
  constexpr auto kYes = Support::supported, kNo = Support::not_supported;
  const char* const v1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpuacct,cpu 0 0\n";
  const char* const no_steal = "cpu  1 2 3 4 5 6 7 0 9 10\n";
  for (const Case& each : {
           Case{"why.schedstat", "/proc/self/schedstat", "0 0 0\n", kNo, "only zeros", "delayacct"},
           {"why.schedstat", "/proc/self/schedstat", nullptr, kNo, "No such", "TASK_DELAY_ACCT"},
           {"why.migrations", "/proc/self/sched", "cat (1)\n", kYes, "no nr_migrations", ""},
           {"why.psi", "/proc/pressure/memory", "full total=1\n", kNo, "\"total\"", "psi=1"},
           {"why.psi", "/proc/pressure/memory", nullptr, kNo, "No such", "psi=1"},
           {"why.cgroup", "/proc/mounts", v1, kYes, "memory limits are not seen", ""},
           {"why.cgroup", "/proc/mounts", "cgroup /m cgroup rw,memory 0 0\n", kYes,
            "quotas are not seen", ""},
           {"why.cgroup", "/proc/mounts", "cgroup /s cgroup rw,cpuset,memory_like,cpu_like 0 0\n",
            kNo, "neither the controller cpu nor memory", "mount -t cgroup2"},
           {"why.steal", "/proc/stat", "cpu  1 2 3 4 5 6 7\n", kNo, "no figure of steal", ""},
           {"why.steal", "/proc/stat", no_steal, kYes, "", ""},
           {"why.steal", "/proc/cpuinfo", "flags\t\t: fpu vme hypervisor lahf_lm\n", kYes,
            "hypervisor may hide it", ""},
       }) {
    if (each.text != nullptr) tree.put(each.file, each.text);
    if (each.text == nullptr) tree.remove(each.file);
    const Capability found = one(each.name);
    EXPECT_EQ(found.state, each.state) << each.name;
    EXPECT_NE(found.reason.find(each.reason), std::string::npos) << found.reason;
    EXPECT_NE(found.enable_with.find(each.remedy), std::string::npos) << found.enable_with;
    EXPECT_EQ(found.reason.empty(), *each.reason == 0) << found.reason;
  }
}

}  // namespace

}  // namespace shmif::perf::test
