// The heat of a bus: whom it finds, and the picture.

#include "instruments/heat/bus_heat.hpp"

#include <gtest/gtest.h>

#include "base/text.hpp"
#include "bus/layout.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::TempBus;
using shmif::test::TempDir;

constexpr std::uint64_t kBusAt = 1U << 20U;
constexpr std::uint64_t kRingBytes = 1U << 20U;
constexpr std::uint64_t kRingAt = kBusAt + bus::kRingOffset;
constexpr const char* kAlways = ", in 100 % of the looks";

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
  result.provenance.writes_reason = "no writes";
  result.ranges = {{{kBusAt, kRingAt + 2 * kRingBytes}, "rx@/dev/shm/bus7", 77}};
  result.windows = {{1.0, 2.0, 10, 0, std::move(regions)}};
  return result;
}

std::vector<std::string> lines_of(const HeatResult& result, std::size_t columns = 100,
                                  const BusInfo& bus = small_bus()) {
  const std::string text = bus_heat_text({result}, bus, columns, false);
  const auto lines = base::split(text, '\n');
  return {lines.begin(), lines.end() - 1};
}

TEST(BusPicture, ShowsHeaderPortsAndRingAndFoldsTheTwoPlacesOfTheRing) {
  constexpr std::uint64_t kQuarter = kRingBytes / 4;
  // What is read only is at the first place; the other is written through the second.
  HeatResult result = result_of({
      {kBusAt, kBusAt + 4096, 10, 10, 0},                       // the header
      {kBusAt + 4096, kBusAt + 4096 + (128U << 10U), 5, 0, 0},  // the ports
      {kRingAt, kRingAt + kQuarter, 10, 0, 0},                  // read only
      {kRingAt + kRingBytes + 3 * kQuarter, kRingAt + kRingBytes * 2, 10, 10, 0},
  });
  // 10 of labels, 4 bars, 1 of the header, 8 of ports: 40 are the ring's.
  EXPECT_EQ(
      lines_of(result, 63),
      (std::vector<std::string>{
          "bus /dev/shm/bus7", "rx used 644.0 KiB of 1.2 MiB; most: 256.0 KiB of the ring at 0",
          "  B, in 100 % of the looks", "the last 1.0 s, 10 looks; h: the bus's header",
          "share of looks in which pages of a part were used, none to all: \" .:-=+*#%@\"",
          "          |h|ports   |ring: 1.0 MiB, a character is 25.6 KiB  |",
          std::string(22 + 20, ' ') + '^', "rx: rig, process 41",
          "  touched |@|++++++++|@@@@@@@@@@" + std::string(20, ' ') + "@@@@@@@@@@|",
          "  written |@|        |" + std::string(30, ' ') + "@@@@@@@@@@|"}));
  BusInfo bus = small_bus();
  for (const auto& [last, column] : {std::pair(std::uint64_t{0}, 22U), {kRingBytes - 1, 61U}}) {
    bus.last = last;
    EXPECT_EQ(lines_of(result, 63, bus).at(6).find('^'), column);
  }
  // It is of the last window.
  HeatWindow last = result.windows.back();
  last.regions = {{kBusAt, kBusAt + 4096, 5, {}, 0}};
  result.windows.push_back(last);
  const auto lines = lines_of(result);
  EXPECT_EQ(lines.at(1),
            "rx used 4.0 KiB of 1.2 MiB; most: 4.0 KiB of the header, in 50 % of the looks");
  EXPECT_TRUE(lines.at(lines.size() - 2).starts_with("  touched |+|        |  "));
  EXPECT_EQ(lines.back(), "  written   not measured: no writes");
}

TEST(BusPicture, NamesThePartOfTheBusThatIsUsedMostAndClaimsNoMoreThanIsKnown) {
  constexpr std::uint64_t kTableEnd = 4096 + bus::kTableBytes;
  struct Case {
    std::uint64_t begin, end;
    const char* says;
  };
  for (const Case& each : {Case{0, 4096, "4.0 KiB of 1.2 MiB; most: 4.0 KiB of the header"},
                           {0, 8192, "8.0 KiB of 1.2 MiB; most: 8.0 KiB from the header on"},
                           {4096, 12288, "8.0 KiB of 1.2 MiB; most: 8.0 KiB of the ports"},
                           {4096, kTableEnd, "128.0 KiB of 1.2 MiB; most: 128.0 KiB of the ports"},
                           {8192, bus::kRingOffset + (512U << 10U),
                            "696.0 KiB of 1.2 MiB; most: 696.0 KiB from the ports on"},
                           {kTableEnd + 4096, bus::kRingOffset + 4096,
                            "60.0 KiB of 1.2 MiB; most: 60.0 KiB from behind the ports on"}}) {
    const auto result = result_of({{kBusAt + each.begin, kBusAt + each.end, 10, 0, 0}});
    EXPECT_EQ(lines_of(result).at(1), std::string("rx used ") + each.says + kAlways);
  }
  auto result = result_of({{kRingAt, kRingAt + 65536, 10, 0, 0}});
  for (const auto& [precision, says] : std::vector<std::pair<std::string, std::string>>{
           {"page", "64.0 KiB of 1.2 MiB; most: 64.0 KiB of the ring at 0 B"},
           {"sampled page", "about 64.0 KiB of 1.2 MiB; most: about 64.0 KiB of the ring at 0 B"},
           {"region", "about 64.0 KiB of 1.2 MiB; most: about 64.0 KiB of the ring at 0 B"},
           {"mapping", "mappings with 64.0 KiB of 1.2 MiB"}}) {
    result.provenance.precision = precision;
    EXPECT_EQ(lines_of(result, 120).at(1), "rx used " + says + kAlways);
  }
}

TEST(BusPicture, HasARowForEachPortOfAProcessAndTheReasonOfOneThatWasNotMeasured) {
  HeatResult result = result_of({{kBusAt, kBusAt + 4096, 4, {}, 0}});
  constexpr std::uint64_t kOther = 64 * kBusAt;
  result.ranges.push_back(
      {{kOther, kOther + bus::kRingOffset + 2 * kRingBytes}, "tx@/dev/shm/bus7", 77});
  result.ranges.push_back({{1, 4097}, "else@/dev/shm/bus8", 78});
  result.provenance.precision = "sampled page";
  result.reason = "it left";
  const std::string text = bus_heat_text({result}, small_bus(), 100, false);
  for (const char* const part :
       {"\nrx used about 4.0 KiB of 1.2 MiB; most: ", "\ntx used about 0 B of 1.2 MiB\n",
        "\nrx: rig, process 41, by sampled page (it left)\n  touched |=|",
        "\ntx: rig, process 41, by sampled page (it left)\n  touched | |"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  EXPECT_EQ(text.find("else"), std::string::npos);
  result.ranges = {result.ranges[2]};
  EXPECT_EQ(lines_of(result).back(), "rig, process 41: it has left the bus");
  HeatResult absent;
  absent.process = {42, 0};
  absent.name = "tx";
  absent.reason = "it was started without SHMIF_HEAT (start it with SHMIF_HEAT=DIR)";
  EXPECT_EQ(lines_of(absent, 60),
            (std::vector<std::string>{"bus /dev/shm/bus7", "tx, process 42",
                                      "  not measured: it was started without SHMIF_HEAT (start it",
                                      "  with SHMIF_HEAT=DIR)"}));
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
  for (const std::string& line : lines_of(result, 80)) EXPECT_LE(line.size(), 80U) << line;
}

/// A port may have almost any name, and a bus may be in any directory.
TEST(BusParties, AreThePortsOfOneProcessTogetherAndOnlyThoseOfThisBus) {
  const TempDir dir;
  const std::string path = dir.file("bus@host@0");
  Bus::create(path, {}).value();
  Bus::create(dir.file("other"), {}).value();
  const std::vector<std::string> names{"rx", "rx@b", "@", "a@b@c"};
  BusInfo bus;
  {
    const ClientsHere here;
    std::vector<Port> ports;
    for (const std::string& name : names) {
      ports.push_back(shmif::test::port_on(path, {.name = name}));
    }
    const Port elsewhere = shmif::test::port_on(dir.file("other"), {.name = "else"});
    bus = Bus::open(path).value().info();
    const auto parties = heat_parties(bus, here.folder());
    ASSERT_EQ(parties.size(), 1U) << "one process";
    EXPECT_EQ(parties[0].pid, ::getpid());
    // If there is no source, the kernel cannot, and says why.
    EXPECT_NE(parties[0].reason.empty(), parties[0].source == nullptr);
    EXPECT_EQ(parties[0].ports, names);
    const auto none = heat_parties(bus, dir.path());
    ASSERT_EQ(none.size(), 1U);
    EXPECT_EQ(none[0].source, nullptr);
    EXPECT_EQ(none[0].ports, names);
    EXPECT_EQ(none[0].reason,
              "it shares no access heat in " + dir.path() + " (start it with SHMIF_HEAT=DIR)");
    EXPECT_TRUE(heat_parties(bus, dir.path(), KernelFiles(), [] { return true; }).empty());
  }
  for (const std::string& name : names) EXPECT_EQ(port_of({{}, name + '@' + path, 0}, bus), name);
  EXPECT_EQ(port_of({{}, "left@" + path, 0}, bus), "left") << "it has left the bus";
}

TEST(BusParties, AreNotTheDead) {
  const TempBus bus;
  const shmif::test::Shared<std::atomic<bool>> attached;
  shmif::test::Child child([&]() -> int {
    const Port port = shmif::test::port_on(bus.path());
    *attached = true;
    for (;;) ::pause();
  });
  ASSERT_TRUE(shmif::test::eventually([&] { return attached->load(); }));
  const TempDir nowhere;
  EXPECT_EQ(heat_parties(bus.info(), nowhere.path()).size(), 1U);
  child.kill_and_wait();
  ASSERT_EQ(bus.info().ports.size(), 1U) << "nobody has cleaned up yet";
  EXPECT_TRUE(heat_parties(bus.info(), nowhere.path()).empty());
}

TEST(BusParties, AreNotLookedForWhereTheEnvironmentOfAnotherProcessLeads) {
  const TempBus bus;
  const Port port = shmif::test::port_on(bus.path());
  if (std::getenv("SHMIF_HEAT") == nullptr) {
    EXPECT_EQ(heat_parties(bus.info(), "").at(0).reason,
              "it was started without SHMIF_HEAT (start it with SHMIF_HEAT=DIR)");
  }
  const shmif::test::StayingChild bystander([] { return true; });
  const shmif::test::RawBus raw(bus.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  const auto parties = heat_parties(bus.info(), "");
  ASSERT_EQ(parties.size(), 1U);
  EXPECT_EQ(parties[0].source, nullptr);
  EXPECT_NE(parties[0].reason.find("does not use this bus"), std::string::npos)
      << parties[0].reason;
}

TEST(BusParties, ThatAreNotWatchedHaveTheNamesOfTheirPortsAndTheReason) {
  HeatSession session{HeatOptions()};
  std::vector<BusParty> parties(2);
  parties[0] = {41, {"rx", "tx", "more"}, nullptr, "it shares nothing"};
  parties[1] = {42, {"one"}, nullptr, "nor does it"};
  EXPECT_TRUE(add_parties(session, std::move(parties)).empty());
  std::string told;
  for (const HeatResult& each : session.results()) {
    told += std::to_string(each.process.number) + ' ' + each.name + ": " + each.reason + '\n';
  }
  EXPECT_EQ(told, "41 rx, tx, more: it shares nothing\n42 one: nor does it\n");
  EXPECT_FALSE(session.is_watching());
}

TEST(BusMappings, AreOfTheSizeAndTheFileOfTheBus) {
  BusInfo bus = small_bus();
  struct Case {
    std::uint64_t more, inode, device;
    const char* mapped_as;
    bool is_of_bus;
  };
  for (const Case& each : {Case{0, 77, 0, "", true},
                           {0, 78, 0, "", false},
                           {4096, 77, 0, "", false},
                           {0, 77, 0x1b, "00:1b 77", true},
                           {0, 77, 0x1c, "00:1b 77", false},  // another file system
                           {0, 78, 0x1b, "00:1b 77", false},
                           {0, 77, 0, "00:1b 77", true},  // of an older library
                           {0, 77, 0xfd0000010a, "fd:10a 77", true}}) {
    bus.mapped_as = each.mapped_as;
    const NamedRange range{
        {kBusAt, kRingAt + 2 * kRingBytes + each.more}, "rx@/b", each.inode, each.device};
    EXPECT_EQ(is_of_bus(range, bus), each.is_of_bus) << each.mapped_as << ' ' << each.inode;
  }
}

}  // namespace
}  // namespace shmif::perf::test
