// The heat of a bus: whom it finds, and the picture.

#include <gtest/gtest.h>
#include <numeric>

#include "base/text.hpp"
#include "bus/layout.hpp"
#include "instruments/heat/bus_heat.hpp"
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
  const std::vector<std::string> names{"rx@b", "rx", "@", "a@b@c"};
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

namespace shmif::perf::test::history {

// The heat of a mapping of a bus over a long time: what is kept of it.

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRingBytes = 1U << 20U;
constexpr std::uint64_t kAt = 7U << 20U;
constexpr std::uint64_t kRingAt = kAt + bus::kRingOffset;
constexpr AddressRange kMapped{kAt, kRingAt + 2 * kRingBytes};
constexpr std::uint32_t kLooks = 10;

BusHistory history() {
  return {kRingBytes, kPage, 1.0};
}

/// One with fewer looks than usual was cut short.
HeatWindow window_at(double begin_s, std::vector<Region> regions, std::uint32_t looks = kLooks) {
  return {begin_s, begin_s + static_cast<double>(looks) / kLooks, looks, 0, std::move(regions)};
}

/// The first pages of the ring were used in so many looks, and written in half as many.
Region used(std::uint64_t pages, std::uint32_t accesses = kLooks) {
  return {kRingAt, kRingAt + pages * kPage, accesses, accesses / 2, 0};
}

double sum_of(const std::vector<double>& cells, std::size_t from, std::size_t count) {
  const auto first = cells.begin() + static_cast<std::ptrdiff_t>(from);
  return std::accumulate(first, first + static_cast<std::ptrdiff_t>(count), 0.0);
}

TEST(BusHistory, ShowsHeaderPortsAndRingAndFoldsTheTwoPlacesOfTheRing) {
  BusHistory all = history();
  all.add(window_at(0, {{kAt, kAt + kPage, 10, 5, 0},
                        {kRingAt, kRingAt + kRingBytes / 2, 10, 0, 0},
                        {kRingAt + kRingBytes, kRingAt + 2 * kRingBytes, 4, 2, 0}}),
          kMapped);
  ASSERT_EQ(all.rows().size(), 1U);
  const BusHeatRow& row = all.rows().front();
  ASSERT_EQ(row.accessed.size(), BusHistory::kCells);
  EXPECT_EQ(row.accessed[0], 1) << "the header";
  EXPECT_EQ(sum_of(row.accessed, 1, 7), 0) << "the ports";
  EXPECT_EQ(row.accessed[8], 1) << "oftener at the first place";
  EXPECT_EQ(row.accessed[63], 0.4) << "only at the second place";
  EXPECT_EQ(row.written[0], 0.5);
  EXPECT_EQ(row.written[8], 0.2);
  EXPECT_EQ(all.touched_bytes(), kPage + kRingBytes);
  EXPECT_EQ(all.written_bytes(), kPage + kRingBytes);
  const auto regions = all.regions();
  ASSERT_EQ(regions.size(), 4U) << "the header, the ports, and two of the ring";
  EXPECT_EQ(regions[2], (Region{bus::kRingOffset, bus::kRingOffset + kRingBytes / 2, 10, 2, 0}));
  EXPECT_EQ(regions[3].end, all.bytes());
}

TEST(BusHistory, ItsWorkingSetIsThatOfTheWindows) {
  BusHistory all = history();
  for (std::uint64_t i = 1; i <= 100; ++i) {
    all.add(window_at(static_cast<double>(i), {used(i)}), kMapped);
  }
  EXPECT_EQ(all.working_set_bytes(50), 50 * kPage);
  EXPECT_EQ(all.working_set_bytes(95), 95 * kPage);
  EXPECT_EQ(all.working_set_bytes(100), 100 * kPage);
  EXPECT_EQ(all.touched_bytes(), 100 * kPage);
  EXPECT_EQ(all.windows(), 100U);
}

TEST(BusHistory, KeepsAHundredRowsOfAnyTimeWithTheirBordersAndMeans) {
  BusHistory all = history();
  constexpr std::size_t kWindows = 1234;
  for (std::size_t i = 0; i < kWindows; ++i) {
    all.add(window_at(static_cast<double>(i), {used(256, i < kWindows / 2 ? 4 : 8)}), kMapped);
  }
  ASSERT_LE(all.rows().size(), BusHistory::kMaxRows);
  EXPECT_GE(all.rows().size(), BusHistory::kMaxRows / 2);
  EXPECT_EQ(all.rows().front().begin_s, 0);
  EXPECT_EQ(all.rows().back().end_s, static_cast<double>(kWindows));
  std::uint64_t looks = 0;
  double heat = 0;
  for (std::size_t i = 0; i < all.rows().size(); ++i) {
    const BusHeatRow& row = all.rows()[i];
    looks += row.looks;
    heat += row.accessed[20] * static_cast<double>(row.looks);
    if (i > 0) {
      EXPECT_EQ(row.begin_s, all.rows()[i - 1].end_s);
      // Only the last one may grow yet.
      EXPECT_EQ(all.rows()[i - 1].looks, all.rows().front().looks);
    }
  }
  EXPECT_EQ(looks, kWindows * kLooks);
  EXPECT_NEAR(heat, 617.0 * 4 + 617.0 * 8, 1e-6);
}

/// Windows have so many looks as there was time for; a row of two has the mean of their looks.
TEST(BusHistory, ARowOfTwoWindowsIsTheMeanOfTheirLooks) {
  BusHistory all = history();
  const auto add = [&](int i) {
    const bool is_long = i % 2 == 1;
    const Region region{kRingAt, kRingAt + kRingBytes, is_long ? 6U : 10U, is_long ? 3U : 5U, 0};
    HeatWindow window = window_at(i, {region}, is_long ? 30 : 10);
    window.end_s = i + 0.5;
    all.add(window, kMapped);
  };
  for (int i = 0; i < 100; ++i) add(i);
  ASSERT_EQ(all.rows().size(), 100U);
  EXPECT_EQ(all.rows()[1].looks, 30U);
  EXPECT_DOUBLE_EQ(all.rows()[1].accessed[20], 0.2);
  EXPECT_DOUBLE_EQ(all.rows()[1].written[20], 0.1);
  add(100);
  ASSERT_EQ(all.rows().size(), 51U);
  for (const std::size_t i : {0U, 1U, 49U}) {
    const BusHeatRow& row = all.rows()[i];
    EXPECT_EQ(row.begin_s, 2.0 * static_cast<double>(i));
    EXPECT_EQ(row.end_s, 2.0 * static_cast<double>(i) + 1.5);
    EXPECT_EQ(row.looks, 40U);
    EXPECT_DOUBLE_EQ(row.accessed[20], 0.4);
    EXPECT_DOUBLE_EQ(row.written[20], 0.2);
  }
  EXPECT_EQ(all.rows()[50].begin_s, 100);
  EXPECT_EQ(all.rows()[50].looks, 10U);
  add(101);
  EXPECT_EQ(all.rows().size(), 51U) << "later rows are of two windows, too";
  EXPECT_EQ(all.rows()[50].looks, 40U);
  add(102);
  EXPECT_EQ(all.rows().size(), 52U);
  EXPECT_EQ(all.rows()[51].looks, 10U);
}

TEST(BusHistory, AWindowOfARampIsInTheMapAndInNothingElse) {
  BusHistory all = history();
  all.add(window_at(0, {used(9)}), kMapped, BusHistory::Counts::row);
  EXPECT_EQ(all.rows().size(), 1U);
  EXPECT_FALSE(all.touched_bytes());
  EXPECT_FALSE(all.written_bytes());
  EXPECT_FALSE(all.working_set_bytes(50));
  EXPECT_TRUE(all.regions().empty());
  all.add(window_at(1, {used(3)}), kMapped);
  EXPECT_EQ(all.rows().size(), 2U);
  EXPECT_EQ(all.touched_bytes(), 3 * kPage);
}

TEST(BusHistory, AShortWindowIsNotInTheWorkingSet) {
  BusHistory all = history();
  all.add(window_at(0, {used(9)}), kMapped);
  all.add(window_at(1, {used(20, 4)}, 4), kMapped);
  EXPECT_EQ(all.working_set_bytes(100), 9 * kPage);
  EXPECT_EQ(all.looks_of_regions(), kLooks);
  EXPECT_EQ(all.touched_bytes(), 20 * kPage);
}

TEST(BusHistory, AgesWhatIsUsedAsOftenAsBefore) {
  BusHistory all = history();
  const auto rest = [](std::uint64_t from) {
    return Region{kRingAt + from * kPage, kMapped.end, 0, 0, 0};
  };
  for (int i = 0; i < 5; ++i) all.add(window_at(i, {used(8), rest(8)}), kMapped);
  all.add(window_at(5, {used(4), rest(4)}), kMapped);
  const auto regions = all.regions();
  ASSERT_EQ(regions.size(), 4U);
  EXPECT_EQ(regions[1].age, 5U) << "used all the time";
  EXPECT_EQ(regions[2].age, 0U) << "no more";
  EXPECT_EQ(regions[3].age, 6U) << "never";
}

TEST(BusHistory, SaysThatWritesAreNotMeasuredWhereTheKernelDoesNotTell) {
  BusHistory all = history();
  all.add(window_at(0, {{kAt, kMapped.end, 3, std::nullopt, 0}}), kMapped);
  EXPECT_FALSE(all.written_bytes());
  EXPECT_TRUE(all.rows().front().written.empty());
  EXPECT_FALSE(all.regions().front().writes);
  EXPECT_TRUE(all.touched_bytes());
}

TEST(BusHistory, LeavesOutWindowsThatKnowNothingOfTheBus) {
  BusHistory all = history();
  all.add(window_at(0, {{kMapped.end, kMapped.end + kPage, 3, 1, 0}}), kMapped);
  all.add(window_at(1, {used(3)}, 0), kMapped);
  EXPECT_TRUE(all.rows().empty());
  EXPECT_EQ(all.windows(), 0U);
}

// Of what is joined, nothing is said to have been so for longer than it was.
TEST(BusHistory, JoinedRegionsAreAsOldAsTheYoungest) {
  constexpr std::uint64_t kLarge = 64U << 20U;
  BusHistory all(kLarge, kPage, 1.0);
  std::vector<Region> regions;
  for (std::uint64_t i = 0; i < kLarge / kPage; ++i) {
    const std::uint64_t begin = kRingAt + i * kPage;
    const std::uint32_t accesses = i % 2 == 0 ? 5 : 0;
    regions.push_back({begin, begin + kPage, accesses, 0, 0});
  }
  for (int i = 0; i < 4; ++i) all.add(window_at(i, regions), {kAt, kRingAt + 2 * kLarge});
  const auto kept = all.regions();
  ASSERT_LE(kept.size(), BusHistory::kMaxRegions);
  EXPECT_EQ(kept.back().age, 3U) << "one half began in the first window, the other before";
}

// More regions than are kept: neighbours become one with the mean of their counts.
TEST(BusHistory, JoinedRegionsHaveTheMeanOfTheirCounts) {
  constexpr std::uint64_t kLarge = 64U << 20U;
  BusHistory all(kLarge, kPage, 1.0);
  std::vector<Region> regions{{kAt, kRingAt, 0, 0, 0}};
  for (std::uint64_t i = 0; i < kLarge / kPage; ++i) {
    const std::uint64_t begin = kRingAt + i * kPage;
    const std::uint32_t more = i % 2;
    regions.push_back({begin, begin + kPage, 10 + more, 4 + more, 0});
  }
  all.add(window_at(0, regions, 20), {kAt, kRingAt + 2 * kLarge});
  EXPECT_EQ(all.regions(), (std::vector<Region>{{0, bus::kRingOffset, 0, 0, 1},
                                                {bus::kRingOffset, all.bytes(), 11, 5, 0}}))
      << "the half is rounded up";
}

TEST(BusHistory, KeepsWhatWasWrittenBeforeTheKernelToldNoMore) {
  BusHistory all = history();
  all.add(window_at(0, {used(3)}), kMapped);
  all.add(window_at(1, {{kRingAt, kRingAt + 5 * kPage, 3, std::nullopt, 0}}), kMapped);
  EXPECT_EQ(all.written_bytes(), 3 * kPage);
  EXPECT_EQ(all.touched_bytes(), 5 * kPage);
  EXPECT_FALSE(all.regions()[2].writes) << "those are of the last window";
  BusHistory half = history();
  const Region untold{kRingAt, kRingAt + kPage, 3, std::nullopt, 0};
  for (int i = 0; i <= 100; ++i) half.add(window_at(i, {i % 2 == 0 ? used(3) : untold}), kMapped);
  ASSERT_LT(half.rows().size(), 100U) << "rows of two windows";
  EXPECT_TRUE(half.rows()[0].written.empty());
}

}  // namespace

}  // namespace shmif::perf::test::history
