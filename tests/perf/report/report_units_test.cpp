// Where a figure for people gets another unit or another number of digits, and where a line or a
// table for them is broken: both sides of each limit.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "perf/report/stream.hpp"
#include "perf/report/table.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf::report_units {
namespace {

TEST(UnitLimits, ANumberHasThreeDigitsAlsoWhereItIsRoundedToOneMore) {
  EXPECT_EQ(format_fps(99.94), "99.9 /s");
  EXPECT_EQ(format_fps(99.6), "99.6 /s");
  EXPECT_EQ(format_fps(99.96), "100 /s");
  EXPECT_EQ(format_fps(9.97), "9.97 /s");
  EXPECT_EQ(format_fps(9.996), "10.0 /s");
  EXPECT_EQ(format_fps(0.9994), "0.999 /s");
  EXPECT_EQ(format_fps(0.9997), "1.00 /s");
  EXPECT_EQ(format_fps(0.0996), "0.100 /s");
  EXPECT_EQ(format_fps(0.0994), "0.0994 /s");
  EXPECT_EQ(format_seconds(0.0999), "99.9 ms");
  EXPECT_EQ(format_seconds(0.09996), "0.100 s");
  EXPECT_EQ(format_seconds(0), "0 s");
  EXPECT_EQ(format_fps(999.4), "999 /s");
  EXPECT_EQ(format_fps(999.6), "1.00 k/s");
  EXPECT_EQ(format_share(0.000385), "0.0385 %");
  EXPECT_EQ(format_share(0), "0 %");
  EXPECT_EQ(format_share(1), "100 %");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(123), "123");
}

TEST(UnitLimits, EachUnitIsAThousandOfTheOneBelowIt) {
  const std::vector<std::string> times{"ns", "us", "ms", "s"};
  const std::vector<std::string> bits{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
  const std::vector<std::string> frames{"/s", "k/s", "M/s", "G/s"};
  const std::vector<std::string> bytes{"B", "kB", "MB", "GB", "TB"};
  const std::vector<std::string> memory{"B", "KiB", "MiB", "GiB", "TiB"};
  for (std::size_t i = 0; i < 5; ++i) {
    const double two = 2 * std::pow(1000, i);
    if (i < times.size()) {
      EXPECT_EQ(format_ns(two), "2.00 " + times[i]);
    }
    if (i < frames.size()) {
      EXPECT_EQ(format_fps(two), "2.00 " + frames[i]);
    }
    EXPECT_EQ(format_bps(two), "2.00 " + bits[i]);
    EXPECT_EQ(format_bytes(static_cast<std::uint64_t>(two)), "2.00 " + bytes[i]);
    EXPECT_EQ(format_memory(std::uint64_t{2} << (10 * i)), "2.00 " + memory[i]);
  }
  EXPECT_EQ(format_bps(2e15), "2000 Tbit/s") << "there is none above";
}

TEST(UnitLimits, OnlyOneThingIsSingularAndWhatIsNoNumberIsADash) {
  EXPECT_EQ(format_counted(0, "job"), "0 jobs");
  EXPECT_EQ(format_counted(1, "job"), "1 job");
  EXPECT_EQ(format_counted(2, "job"), "2 jobs");
  EXPECT_EQ(format_counted(std::nullopt, "job"), "- jobs");
  for (const double none : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_EQ(format_ns(none), "-");
    EXPECT_EQ(format_fps(none), "-");
    EXPECT_EQ(format_seconds(none), "-");
    EXPECT_EQ(format_share(none), "-");
  }
  EXPECT_EQ(format_ns(std::nullopt), "-");
  EXPECT_EQ(format_count(std::nullopt), "-");
}

TEST(UnitLimits, TimesLeftChangeTheirUnitsAtAMinuteAndAtAnHour) {
  EXPECT_EQ(format_eta(0), "0s");
  EXPECT_EQ(format_eta(0.2), "1s");
  EXPECT_EQ(format_eta(59), "59s");
  EXPECT_EQ(format_eta(59.1), "1m00s") << "never too short";
  EXPECT_EQ(format_eta(60), "1m00s");
  EXPECT_EQ(format_eta(3599), "59m59s");
  EXPECT_EQ(format_eta(3600), "1h00m");
  EXPECT_EQ(format_eta(36'420), "10h07m");
}

// ---- Where lines end ----

TEST(WrappedText, NeverEndsBetweenANumberAndItsUnitWhateverFollows) {
  for (const char* unit : {"ms", "MHz", "frames/s", "%", "Gbit/s", "kB", "GiB", "/s"}) {
    for (const char* end : {"", ",", ";", ":", ".", ")", ").", "),"}) {
      const std::string figure = "1.10 " + std::string(unit) + end;
      EXPECT_EQ(wrapped("a pace of no more than " + figure + " in all", 27, 4),
                "a pace of no more than\n    " + figure + " in all\n");
    }
  }
  // This is no unit.
  EXPECT_EQ(wrapped("a pace of no more than 1.10 or so", 27, 4),
            "a pace of no more than 1.10\n    or so\n");
}

TEST(WrappedText, AWordThatIsTooLongHasALineOfItsOwn) {
  const std::string longer(60, 'w');
  EXPECT_EQ(wrapped("u " + longer + " v", 25, 2), "u\n  " + longer + "\n  v\n");
}

TEST(WrappedText, IsLeftAsItIsWhereThereIsHardlyAnyRoom) {
  const std::string line = "one two three four five six seven eight nine";
  EXPECT_EQ(wrapped(line, 24, 4), line + '\n');
  EXPECT_EQ(wrapped(line, 25, 4), "one two three four five\n    six seven eight nine\n");
}

TEST(FoldedTable, HasAsManyColumnsOnALineAsFitExactly) {
  Table table;
  table.add({"name", "first", "second", "third"});
  const std::string two = "  name  first  second\n  name  third\n";
  EXPECT_EQ(table.text(21), two);
  EXPECT_EQ(table.text(27), two);
  EXPECT_EQ(table.text(28), "  name  first  second  third\n");
  EXPECT_EQ(table.text(20), "  name  first\n  name  second\n  name  third\n");
  EXPECT_EQ(table.text(1), table.text(20)) << "a column at least";
}

}  // namespace
}  // namespace shmif::perf::report_units
