// Where a figure for people gets another unit or another number of digits, and where a line or a
// table for them is broken.

#include <gtest/gtest.h>

#include <cmath>

#include "perf/report/stream.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf::report_units {
namespace {

TEST(Units, ANumberHasThreeDigitsAlsoWhereItIsRoundedToOneMore) {
  for (const auto& [value, text] : {std::pair{99.94, "99.9 /s"},
                                    {99.96, "100 /s"},
                                    {9.97, "9.97 /s"},
                                    {9.996, "10.0 /s"},
                                    {0.9994, "0.999 /s"},
                                    {0.9997, "1.00 /s"},
                                    {0.0996, "0.100 /s"},
                                    {0.0994, "0.0994 /s"},
                                    {999.4, "999 /s"},
                                    {999.6, "1.00 k/s"}}) {
    EXPECT_EQ(format_fps(value), text);
  }
  EXPECT_EQ(format_seconds(0.0999), "99.9 ms");
  EXPECT_EQ(format_seconds(0.09996), "0.100 s");
  EXPECT_EQ(format_seconds(0), "0 s");
  EXPECT_EQ(format_share(0.000385), "0.0385 %");
  EXPECT_EQ(format_share(1), "100 %");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_counted(0, "job"), "0 jobs");
  EXPECT_EQ(format_counted(1, "job"), "1 job");
}

TEST(Units, EachIsAThousandOfTheOneBelowItAndWhatIsNoNumberIsADash) {
  const std::string kilo[] = {"", "k", "M", "G", "T"};
  const std::string times[] = {"ns", "us", "ms", "s"};
  const std::string memory[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  for (std::size_t i = 0; i < 5; ++i) {
    const double two = 2 * std::pow(1000, i);
    if (i < 4) {
      EXPECT_EQ(format_ns(two), "2.00 " + times[i]);
      EXPECT_EQ(format_fps(two), "2.00 " + kilo[i] + "/s");
    }
    EXPECT_EQ(format_bps(two), "2.00 " + kilo[i] + "bit/s");
    EXPECT_EQ(format_bytes(static_cast<std::uint64_t>(two)), "2.00 " + kilo[i] + "B");
    EXPECT_EQ(format_memory(std::uint64_t{2} << (10 * i)), "2.00 " + memory[i]);
  }
  EXPECT_EQ(format_bps(2e15), "2000 Tbit/s") << "there is none above";
  for (const double none : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_EQ(format_ns(none), "-");
    EXPECT_EQ(format_fps(none), "-");
    EXPECT_EQ(format_seconds(none), "-");
    EXPECT_EQ(format_share(none), "-");
  }
  EXPECT_EQ(format_count(std::nullopt), "-");
}

TEST(Units, OfTimesLeftChangeAtAMinuteAndAtAnHour) {
  for (const auto& [seconds, text] : {std::pair{0.2, "1s"},
                                      {59.0, "59s"},
                                      {59.1, "1m00s"},
                                      {3599.0, "59m59s"},
                                      {3600.0, "1h00m"},
                                      {36'420.0, "10h07m"}}) {
    EXPECT_EQ(format_eta(seconds), text);
  }
}

// ---- Where lines end ----

TEST(WrappedText, NeverEndsBetweenANumberAndItsUnitWhateverFollows) {
  for (const char* unit : {"ms", "MHz", "frames/s", "%", "Gbit/s", "kB", "GiB", "/s"}) {
    for (const char* end : {"", ",", ".", ")", "),"}) {
      const std::string figure = "1.10 " + std::string(unit) + end;
      EXPECT_EQ(wrapped("a pace of no more than " + figure + " in all", 27, 4),
                "a pace of no more than\n    " + figure + " in all\n");
    }
  }
  EXPECT_EQ(wrapped("a pace of no more than 1.10 or so", 27, 4),
            "a pace of no more than 1.10\n    or so\n")
      << "this is no unit";
}

TEST(WrappedText, IsLeftAsItIsWhereThereIsHardlyAnyRoom) {
  const std::string line = "one two three four five six seven eight nine";
  EXPECT_EQ(wrapped(line, 24, 4), line + '\n');
  EXPECT_EQ(wrapped(line, 25, 4), "one two three four five\n    six seven eight nine\n");
  const std::string longer(60, 'w');
  EXPECT_EQ(wrapped("u " + longer + " v", 25, 2), "u\n  " + longer + "\n  v\n");
}

TEST(WrappedText, IsBrokenByColumnsAndNotByBytes) {
  EXPECT_EQ(wrapped("ü üü üüü üüüü üüüüü üüüüüü üüüüüüü", 25, 2),
            "ü üü üüü üüüü üüüüü\n  üüüüüü üüüüüüü\n");
  Table table(0);
  table.add({"a", "1"});
  table.add({"Zürich", "1,000"});
  EXPECT_EQ(table.text(), "a           1\nZürich  1,000\n");
}

TEST(FoldedTable, HasAsManyColumnsOnALineAsFitExactly) {
  Table table;
  table.add({"name", "first", "second", "third"});
  table.add({"a", "1,000", "2", "3"});
  const std::string two =
      "  name  first  second\n  a     1,000       2\n  name  third\n  a         3\n";
  EXPECT_EQ(table.text(21), two);
  EXPECT_EQ(table.text(27), two);
  EXPECT_EQ(table.text(28), "  name  first  second  third\n  a     1,000       2      3\n");
  EXPECT_EQ(table.text(), table.text(28));
  EXPECT_EQ(table.text(1), table.text(20)) << "a column at least";
}

TEST(PrintableText, HasNoControlCharacters) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f\xc2\x9b."), "a?[2Jb?c??.");
  EXPECT_EQ(printable("Zürich"), "Zürich");
}

}  // namespace
}  // namespace shmif::perf::report_units
