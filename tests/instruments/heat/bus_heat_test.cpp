// The heat of a bus: whom it finds, and the picture.

#include "instruments/heat/bus_heat.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "bus/layout.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kBusAt = 1U << 20U;
constexpr std::uint64_t kRingBytes = 1U << 20U;
constexpr std::uint64_t kRingAt = kBusAt + bus::kRingOffset;

BusInfo small_bus() {
  BusInfo bus;
  bus.path = "/dev/shm/bus7";
  bus.ring_bytes = kRingBytes;
  bus.inode = 77;
  bus.last = 5 * kRingBytes + kRingBytes / 2;
  return bus;
}

HeatResult result_of(std::vector<Region> regions) {
  HeatResult result;
  result.process = {41, 1};
  result.name = "rig";
  result.provenance.precision = "page";
  result.ranges = {{{kBusAt, kRingAt + 2 * kRingBytes}, "rx@/dev/shm/bus7", 77}};
  result.windows = {{1.0, 2.0, 10, 0, std::move(regions)}};
  return result;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(BusPicture, ShowsHeaderPortsAndRingAndFoldsTheTwoPlacesOfTheRing) {
  constexpr std::uint64_t kQuarter = kRingBytes / 4;
  // What is read only is at the first place; the other is written through the second.
  const auto result = result_of({
      {kBusAt, kBusAt + 4096, 10, 10, 0},                       // the header
      {kBusAt + 4096, kBusAt + 4096 + (128U << 10U), 5, 0, 0},  // the ports
      {kRingAt, kRingAt + kQuarter, 10, 0, 0},                  // read only
      {kRingAt + kRingBytes + 3 * kQuarter, kRingAt + kRingBytes * 2, 10, 10,
       0},  // at the second place
  });
  // 10 of labels, 4 bars, 1 of the header, 8 of ports: 40 are the ring's.
  const auto lines = lines_of(bus_heat_text({result}, small_bus(), 63, false));
  ASSERT_EQ(lines.size(), 10U);
  EXPECT_EQ(lines[1], "rx used 644.0 KiB of 1.2 MiB; most: 256.0 KiB of the ring at 0");
  EXPECT_EQ(lines[2], "  B, in 100 % of the looks");
  EXPECT_EQ(lines[3], "the last 1.0 s, 10 looks; h: the bus's header");
  EXPECT_EQ(lines[5], "          |h|ports   |ring: 1.0 MiB, a character is 25.6 KiB  |");
  EXPECT_EQ(lines[6].find('^'), 22U + 20U) << "half of the ring";
  EXPECT_EQ(lines[7], "rx: rig, process 41");
  EXPECT_EQ(lines[8], "  touched |@|++++++++|@@@@@@@@@@" + std::string(20, ' ') + "@@@@@@@@@@|");
  EXPECT_EQ(lines[9], "  written |@|        |" + std::string(30, ' ') + "@@@@@@@@@@|");
}

TEST(BusPicture, IsOfTheLastWindow) {
  HeatResult result = result_of({{kRingAt, kRingAt + kRingBytes, 10, 10, 0}});
  HeatWindow last = result.windows.back();
  last.regions = {{kBusAt, kBusAt + 4096, 5, {}, 0}};
  result.windows.push_back(last);
  const auto lines = lines_of(bus_heat_text({result}, small_bus(), 80, false));
  EXPECT_EQ(lines.at(1),
            "rx used 4.0 KiB of 1.2 MiB; most: 4.0 KiB of the header, in 50 % of the looks");
  const std::string& touched = lines.at(lines.size() - 2);
  EXPECT_EQ(touched.substr(0, 24), "  touched |+|        |  ") << touched;
  EXPECT_EQ(lines.back().find("  written   not measured"), 0U) << lines.back();
}

TEST(BusPicture, NamesThePartOfTheBusThatIsUsedMost) {
  const auto concludes = [](std::uint64_t begin, std::uint64_t end) {
    const auto result = result_of({{kBusAt + begin, kBusAt + end, 10, 0, 0}});
    return lines_of(bus_heat_text({result}, small_bus(), 100, false)).at(1);
  };
  const std::string always = ", in 100 % of the looks";
  EXPECT_EQ(concludes(0, 4096), "rx used 4.0 KiB of 1.2 MiB; most: 4.0 KiB of the header" + always);
  EXPECT_EQ(concludes(0, 8192),
            "rx used 8.0 KiB of 1.2 MiB; most: 8.0 KiB from the header on" + always);
  EXPECT_EQ(concludes(4096, 12288),
            "rx used 8.0 KiB of 1.2 MiB; most: 8.0 KiB of the ports" + always);
  constexpr std::uint64_t kTableEnd = 4096 + bus::kTableBytes;
  EXPECT_EQ(concludes(4096, kTableEnd),
            "rx used 128.0 KiB of 1.2 MiB; most: 128.0 KiB of the ports" + always);
  EXPECT_EQ(concludes(8192, bus::kRingOffset + (512U << 10U)),
            "rx used 696.0 KiB of 1.2 MiB; most: 696.0 KiB from the ports on" + always);
  EXPECT_EQ(concludes(kTableEnd + 4096, bus::kRingOffset + 4096),
            "rx used 60.0 KiB of 1.2 MiB; most: 60.0 KiB from behind the ports on" + always);
}

TEST(BusPicture, ClaimsNoMoreThanThePrecisionOfTheLooksTells) {
  auto result = result_of({{kRingAt, kRingAt + 65536, 10, 0, 0}});
  const auto conclusion = [&](const char* precision) {
    result.provenance.precision = precision;
    return lines_of(bus_heat_text({result}, small_bus(), 120, false)).at(1);
  };
  const std::string always = ", in 100 % of the looks";
  EXPECT_EQ(conclusion("page"),
            "rx used 64.0 KiB of 1.2 MiB; most: 64.0 KiB of the ring at 0 B" + always);
  for (const char* const precision : {"sampled page", "region"}) {
    EXPECT_EQ(
        conclusion(precision),
        "rx used about 64.0 KiB of 1.2 MiB; most: about 64.0 KiB of the ring at 0 B" + always);
  }
  result.windows.back().regions = {{kBusAt, kRingAt + 2 * kRingBytes, 10, 0, 0}};
  EXPECT_EQ(conclusion("mapping"), "rx used mappings with 1.2 MiB of 1.2 MiB" + always);
}

TEST(BusPicture, SaysWhyAProcessWasNotMeasuredAndShowsNoZeros) {
  HeatResult absent;
  absent.process = {42, 0};
  absent.name = "tx";
  absent.reason = "it was started without SHMIF_HEAT (start it with SHMIF_HEAT=DIR)";
  const auto lines = lines_of(bus_heat_text({absent}, small_bus(), 60, false));
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[1], "tx, process 42");
  EXPECT_EQ(lines[2], "  not measured: it was started without SHMIF_HEAT (start it");
  EXPECT_EQ(lines[3], "  with SHMIF_HEAT=DIR)");
}

TEST(BusPicture, MeansTheSameInColourAndWithoutControlCharactersOfOthers) {
  auto result = result_of({{kRingAt, kRingAt + kRingBytes, 2, 10, 0}});
  result.name = "a\x1b[2Jb";
  std::string coloured = bus_heat_text({result}, small_bus(), 80, true);
  EXPECT_NE(coloured.find("\x1b[31m@"), std::string::npos);
  EXPECT_NE(coloured.find("\x1b[32m"), std::string::npos);
  for (const std::string code : {"\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"}) {
    for (std::size_t at = 0; (at = coloured.find(code)) != std::string::npos;) {
      coloured.erase(at, code.size());
    }
  }
  EXPECT_EQ(coloured, bus_heat_text({result}, small_bus(), 80, false));
  for (const std::string& line : lines_of(coloured)) EXPECT_LE(line.size(), 80U) << line;
}

TEST(BusParties, AreThePortsOfOneProcessTogetherAndOnlyThoseOfThisBus) {
  const ClientsHere here;
  const shmif::test::TempDir dir;
  const std::string path = dir.file("bus0");
  Bus::create(path, {}).value();
  Bus::create(dir.file("other"), {}).value();
  const auto open_port = [](const char* name) {
    PortOptions options;
    options.name = name;
    return Port(options);
  };
  Port first = open_port("rx");
  Port second = open_port("tx");
  Port elsewhere = open_port("else");
  first.attach(path).value();
  second.attach(path).value();
  elsewhere.attach(dir.file("other")).value();
  const BusInfo bus = Bus::open(path).value().info();
  auto parties = heat_parties(bus, here.folder());
  ASSERT_EQ(parties.size(), 1U);
  EXPECT_EQ(parties[0].pid, ::getpid());
  if (parties[0].source) {  // or else the kernel cannot, and says why
    EXPECT_EQ(parties[0].ports, (std::vector<std::string>{"rx", "tx"}));
    EXPECT_EQ(parties[0].reason, "");
  } else {
    EXPECT_NE(parties[0].reason, "");
  }
  parties.clear();
  const auto none = heat_parties(bus, dir.path());
  ASSERT_EQ(none.size(), 1U);
  EXPECT_EQ(none[0].source, nullptr);
  EXPECT_EQ(none[0].ports, (std::vector<std::string>{"rx", "tx"}));
  EXPECT_EQ(none[0].reason,
            "it shares no access heat in " + dir.path() + " (start it with SHMIF_HEAT=DIR)");
}

/// A port may have almost any name, and a bus may be in any directory.
TEST(BusParties, HaveNamesOfPortsAndBusesWithAnAt) {
  const ClientsHere here;
  const shmif::test::TempDir dir;
  const std::string path = dir.file("bus@host@0");
  Bus::create(path, {}).value();
  std::vector<std::string> names{"rx", "rx@b", "@", "a@b@c"};
  std::vector<Port> ports;
  for (const std::string& name : names) {
    ports.push_back(shmif::test::port_on(path, {.name = name}));
  }
  const BusInfo bus = Bus::open(path).value().info();
  const auto parties = heat_parties(bus, here.folder());
  ASSERT_EQ(parties.size(), 1U) << "one process";
  EXPECT_EQ(parties[0].ports, names);
  for (const std::string& name : names) {
    EXPECT_EQ(port_of({{}, name + '@' + path, 0}, bus), name);
  }
  EXPECT_EQ(port_of({{}, "left@" + path, 0}, bus), "left") << "it has left the bus";
}

TEST(BusParties, AreNotTheDead) {
  const shmif::test::TempBus bus;
  const shmif::test::Shared<std::atomic<bool>> attached;
  shmif::test::Child child([&]() -> int {
    const Port port = shmif::test::port_on(bus.path());
    *attached = true;
    for (;;) ::pause();
  });
  ASSERT_TRUE(shmif::test::eventually([&] { return attached->load(); }));
  const shmif::test::TempDir nowhere;
  EXPECT_EQ(heat_parties(bus.info(), nowhere.path()).size(), 1U);
  child.kill_and_wait();
  ASSERT_EQ(bus.info().ports.size(), 1U) << "nobody has cleaned up yet";
  EXPECT_TRUE(heat_parties(bus.info(), nowhere.path()).empty());
}

TEST(BusParties, AreNotLookedForWhereTheEnvironmentOfAnotherProcessLeads) {
  const shmif::test::TempBus bus;
  const Port port = shmif::test::port_on(bus.path());
  const shmif::test::StayingChild bystander([] { return true; });
  const shmif::test::RawBus raw(bus.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  const auto parties = heat_parties(bus.info(), "");
  ASSERT_EQ(parties.size(), 1U);
  EXPECT_EQ(parties[0].source, nullptr);
  EXPECT_NE(parties[0].reason.find("does not use this bus"), std::string::npos)
      << parties[0].reason;
}

}  // namespace
}  // namespace shmif::perf::test
