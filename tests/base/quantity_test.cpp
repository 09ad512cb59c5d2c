// Every spelling of sizes, counts, rates, times and shares, for all programs at once.

#include "base/quantity.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace shmif::base {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

template <class T>
std::optional<T> value_of(const Reading<T>& reading) {
  return reading ? std::optional<T>(*reading) : std::nullopt;
}
Reading<nanoseconds> read_seconds(std::string_view text) {
  return read_time(text, TimeUnit::seconds);
}
Reading<nanoseconds> read_bare_time(std::string_view text) {
  return read_time(text, std::nullopt);
}

/// Every one of `texts` is refused, and the reason shows it.
template <class Read>
void expect_refused(Read read, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    const auto reading = read(text);
    ASSERT_FALSE(reading) << text;
    EXPECT_TRUE(reading.why(text).starts_with('"' + text + "\" ")) << reading.why(text);
  }
}

TEST(Quantity, SizesTakePowersOf1024InEitherCase) {
  EXPECT_EQ(value_of(read_size("0")), 0U);
  EXPECT_EQ(value_of(read_size("1514")), 1514U);
  for (const char* text : {"64k", "64K", "64ki", "64Kib", "64KB", "65536"}) {
    EXPECT_EQ(value_of(read_size(text)), 65536U) << text;
  }
  for (const char* text : {"4m", "4M", "4MiB", "4096k"}) {
    EXPECT_EQ(value_of(read_size(text)), 4194304U) << text;
  }
  EXPECT_EQ(value_of(read_size("1G")), 1073741824U);
  EXPECT_EQ(value_of(read_size("2t")), 2199023255552U);
  EXPECT_EQ(value_of(read_size("1.5k")), 1536U);
  EXPECT_EQ(value_of(read_size("0.0009765625k")), 1U);
  EXPECT_EQ(value_of(read_size("18446744073709551615")), UINT64_MAX);
}

TEST(Quantity, SizesThatAreNotExactlyThatAreRefused) {
  expect_refused(read_size, {"",
                             "k",
                             ".",
                             "4 m",
                             " 4m",
                             "-1",
                             "+1",
                             "1.",
                             ".k",
                             "1.5",
                             "1.0001k",
                             "0x10",
                             "4x",
                             "4kk",
                             "1e3",
                             "1,5k",
                             "1kbit",
                             "18446744073709551616",
                             "17179869184g",
                             "99999999999999999999",
                             "0.0000000000000000001g"});
}

TEST(Quantity, PacketsAreInDigitsBecauseTheirKCouldBeEither) {
  EXPECT_EQ(value_of(read_packet_bytes("9000")), 9000U);
  expect_refused(read_packet_bytes, {"", "9k", "1.5", "x", "-1"});
  EXPECT_EQ(read_packet_bytes("0k").why("0k"),
            "\"0k\" is not a number of bytes (such as 1500 or 9000, in digits)")
      << "it has one meaning only";
  EXPECT_EQ(read_packet_bytes("17179869184g").why("17179869184g"),
            "\"17179869184g\" is not a number of bytes (such as 1500 or 9000, in digits)")
      << "as a size, it is beyond 2^64";
  EXPECT_EQ(read_packet_bytes("9k").why("9k"), "\"9k\" could be 9000 or 9216 (write 9000 or 9216)");
}

TEST(Quantity, CountsAreInPowersOfAThousand) {
  EXPECT_EQ(value_of(read_count("1000")), 1000U);
  EXPECT_EQ(value_of(read_count("1k")), 1000U);
  EXPECT_EQ(value_of(read_count("2.5M")), 2'500'000U);
  EXPECT_EQ(value_of(read_count("14.880952m")), 14'880'952U);
  EXPECT_EQ(value_of(read_count("1G")), 1'000'000'000U);
  expect_refused(read_count, {"", "1ki", "0.5", "1/s", "18446744073709551616", "20000000000g"});
}

TEST(Quantity, RatesAreBitsPerSecondWithOrWithoutTheWord) {
  for (const char* text : {"10Mbit", "10mbit", "10MBIT", "10M", "10m", "10Mbits", "10mbit/s",
                           "10000k", "10000kbit", "0.01Gbit", "0.01g", "10000000", "10000000bit"}) {
    EXPECT_EQ(value_of(read_rate(text)), 10'000'000U) << text;
  }
  EXPECT_EQ(value_of(read_rate("2.5Gbit")), 2'500'000'000U);
  EXPECT_EQ(value_of(read_rate("1tbit")), 1'000'000'000'000U);
  EXPECT_EQ(value_of(read_rate("0")), 0U);
  expect_refused(read_rate, {"", "bit", "0.5bit", "-1Mbit", "10Mi", "10x", "99999999999tbit"});
}

TEST(Quantity, RatesThatSomeMeanInBytesAreRefusedWithBothSpellings) {
  for (const char* text : {"10MB", "10Mb", "10mbps", "10MB/s", "10Mbytes"}) {
    EXPECT_EQ(read_rate(text).why(text, "rate="),
              "\"rate=" + std::string(text) +
                  "\" could be 10Mbit or 80Mbit (write rate=10Mbit or rate=80Mbit)");
  }
  EXPECT_EQ(
      read_rate("3000000TB").why("3000000TB"),
      "\"3000000TB\" is not a rate (write bits per second, such as 64kbit, 10Mbit, 2Gbit or the "
      "plain number)")
      << "eight times that is more than 64 bits";
}

TEST(Quantity, TimesTakeTheirUnitOrThatOfTheOption) {
  EXPECT_EQ(value_of(read_seconds("30")), 30s);
  EXPECT_EQ(value_of(read_seconds("0.25")), 250ms);
  EXPECT_EQ(value_of(read_seconds(".5")), 500ms);
  EXPECT_EQ(value_of(read_time("30", TimeUnit::microseconds)), 30us);
  EXPECT_EQ(value_of(read_time("500", TimeUnit::milliseconds)), 500ms);
  for (const char* zero : {"0", "00", "0.0", ".0"}) EXPECT_EQ(value_of(read_bare_time(zero)), 0ns);
  const std::pair<const char*, nanoseconds> cases[] = {
      {"1ns", 1ns},   {"1.5us", 1500ns}, {"1.5\u00b5s", 1500ns}, {"2usec", 2us},
      {"5ms", 5ms},   {"5msec", 5ms},    {"5MS", 5ms},           {"1s", 1s},
      {"1sec", 1s},   {"2m", 120s},      {"2min", 120s},         {"1h", 3600s},
      {"1d", 86400s}, {"0.001s", 1ms}};
  for (const auto& [text, time] : cases) {
    EXPECT_EQ(value_of(read_bare_time(text)), time) << text;
    EXPECT_EQ(value_of(read_time(text, TimeUnit::milliseconds)), time) << text;
  }
  expect_refused(read_seconds,
                 {"", "s", ".", "1.", "-1", "1 s", "0.5ns", "1e9", "1w", "101y", "40000d", "soon"});
  EXPECT_EQ(read_bare_time("5").why("5", "delay="),
            "\"delay=5\" could be 5ms or 5s (write delay=5ms or delay=5s)");
}

TEST(Quantity, ANumberHasEighteenDecimalsAtMost) {
  const auto tiny = [](std::size_t zeros) { return "0." + std::string(zeros, '0') + "1s"; };
  const auto one = [](std::size_t zeros) { return "1." + std::string(zeros, '0') + "s"; };
  EXPECT_EQ(value_of(read_seconds(tiny(8))), 1ns);
  EXPECT_EQ(value_of(read_seconds(one(18))), 1s);
  // Ten to the power of 20 has more than 64 bits, and to that of 64 its last 64 are zeros.
  for (const std::size_t zeros :
       std::vector<std::size_t>{9, 17, 18, 19, 20, 25, 62, 63, 64, 65, 200}) {
    EXPECT_FALSE(read_seconds(tiny(zeros))) << tiny(zeros);
    if (zeros > 18) {
      EXPECT_FALSE(read_seconds(one(zeros))) << one(zeros);
    }
  }
}

TEST(Quantity, EveryUnitHasItsFactor) {
  constexpr std::uint64_t k = 1024;
  for (const auto& [letter, factor] : {std::pair{"k", k}, std::pair{"m", k * k},
                                       std::pair{"g", k * k * k}, std::pair{"t", k * k * k * k}}) {
    for (const char* const rest : {"", "i", "b", "ib"}) {
      const std::string text = std::string("3") + letter + rest;
      EXPECT_EQ(value_of(read_size(text)), 3 * factor) << text;
    }
  }
  const std::pair<const char*, std::uint64_t> prefixes[] = {
      {"", 1}, {"k", 1'000}, {"m", 1'000'000}, {"g", 1'000'000'000}, {"t", 1'000'000'000'000}};
  for (const auto& [prefix, factor] : prefixes) {
    for (const char* const word : {"", "bit", "bits", "bit/s", "bits/s"}) {
      const std::string text = std::string("3") + prefix + word;
      EXPECT_EQ(value_of(read_rate(text)), 3 * factor) << text;
    }
    for (const char* const word : {"b", "bps", "b/s", "byte", "bytes"}) {
      const std::string text = std::string("3") + prefix + word;
      EXPECT_NE(read_rate(text).why(text).find(" or " + rate_text(24 * factor) + " ("),
                std::string::npos)
          << read_rate(text).why(text);
    }
    if (*prefix == 't') continue;
    EXPECT_EQ(value_of(read_count(std::string("3") + prefix)), 3 * factor) << prefix;
  }
  const std::pair<const char*, nanoseconds> units[] = {
      {"ns", 1ns},      {"nsec", 1ns}, {"us", 1us},   {"usec", 1us}, {"\u00b5s", 1us},
      {"\u03bcs", 1us}, {"ms", 1ms},   {"msec", 1ms}, {"s", 1s},     {"sec", 1s},
      {"m", 1min},      {"min", 1min}, {"h", 1h},     {"d", 24h}};
  for (const auto& [unit, time] : units) {
    EXPECT_EQ(value_of(read_bare_time(std::string("3") + unit)), 3 * time) << unit;
  }
}

TEST(Quantity, ATimeIsAHundredYearsAtMost) {
  constexpr nanoseconds kYears = 100 * 365 * 24h;
  for (const TimeUnit unit : {TimeUnit::microseconds, TimeUnit::milliseconds, TimeUnit::seconds}) {
    const auto count = kYears.count() / static_cast<std::int64_t>(unit);
    EXPECT_EQ(value_of(read_time(std::to_string(count), unit)), kYears);
    EXPECT_FALSE(read_time(std::to_string(count + 1), unit));
  }
  EXPECT_EQ(value_of(read_bare_time("36500d")), kYears);
  EXPECT_FALSE(read_bare_time(std::to_string(kYears.count() + 1) + "ns"));
}

TEST(Quantity, EachTextHasTheLargestUnitThatLosesNothing) {
  const std::pair<nanoseconds, const char*> times[] = {{0ns, "0"},
                                                       {1ns, "1ns"},
                                                       {999ns, "999ns"},
                                                       {1us, "1us"},
                                                       {1ms, "1ms"},
                                                       {1s, "1s"},
                                                       {1min, "1m"},
                                                       {90s, "90s"},
                                                       {1h, "1h"},
                                                       {90min, "90m"},
                                                       {24h, "1d"},
                                                       {36h, "36h"},
                                                       {61min + 1s, "3661s"},
                                                       {1s + 1ns, "1000000001ns"}};
  for (const auto& [time, text] : times) EXPECT_EQ(time_text(time), text);
  const std::pair<std::uint64_t, const char*> sizes[] = {{0, "0"},
                                                         {1023, "1023"},
                                                         {1024, "1k"},
                                                         {1536, "1536"},
                                                         {3ULL << 20U, "3m"},
                                                         {5ULL << 30U, "5g"},
                                                         {1ULL << 40U, "1024g"}};
  for (const auto& [size, text] : sizes) EXPECT_EQ(size_text(size), text);
  const std::pair<std::uint64_t, const char*> rates[] = {{0, "0"},
                                                         {1, "1bit"},
                                                         {1'001, "1001bit"},
                                                         {64'000, "64kbit"},
                                                         {2'500'000, "2500kbit"},
                                                         {25'000'000, "25Mbit"},
                                                         {3'000'000'000, "3Gbit"},
                                                         {1'000'000'000'000, "1000Gbit"}};
  for (const auto& [rate, text] : rates) EXPECT_EQ(rate_text(rate), text);
}

TEST(Quantity, SharesHaveTheirPerCentSign) {
  EXPECT_EQ(value_of(read_share("1%")), 0.01);
  EXPECT_EQ(value_of(read_share("0.5%")), 0.005);
  EXPECT_EQ(value_of(read_share("100%")), 1);
  EXPECT_EQ(value_of(read_share("0")), 0);
  EXPECT_EQ(value_of(read_share("0%")), 0);
  EXPECT_EQ(value_of(read_share(".5%")), 0.005);
  expect_refused(read_share, {"", "%", "2", "101%", "101", "-1%", "nan", "inf", "1e-3", "0x1",
                              "0.01", "1", "1%%", "1 %"});
  EXPECT_EQ(read_share("1").why("1", "loss="),
            "\"loss=1\" could be 1% or 100% (write loss=1% or loss=100%)");
  EXPECT_EQ(read_share("0.01").why("0.01"), "\"0.01\" could be 0.01% or 1% (write 0.01% or 1%)");
  EXPECT_EQ(read_share("2").why("2"), "\"2\" needs a unit (write 2%)");
}

TEST(Quantity, PercentagesAreThatWithAndWithoutTheSign) {
  EXPECT_EQ(value_of(read_percentage("99.9")), 99.9);
  EXPECT_EQ(value_of(read_percentage("50%")), 50);
  EXPECT_EQ(value_of(read_percentage("100")), 100);
  EXPECT_EQ(value_of(read_percentage("0")), 0);
  expect_refused(read_percentage,
                 {"", "100.1", "-1", "nan", "5%%", std::string(400, '9'), std::string(4000, '9')});
}

TEST(Quantity, TextsComeBack) {
  for (const auto time : {0ns, 1ns, 1'000ns, 1'500ns, 2'000'000ns, 30'000'000'000ns}) {
    EXPECT_EQ(value_of(read_bare_time(time_text(time))), time);
  }
  for (const std::uint64_t n :
       {0ULL, 1ULL, 1536ULL, 65536ULL, 4194304ULL, 1073741825ULL, 1000000ULL}) {
    EXPECT_EQ(value_of(read_size(size_text(n))), n);
    EXPECT_EQ(value_of(read_rate(rate_text(n))), n);
  }
  for (const double share : {0.0, 0.001, 0.005, 0.01, 0.5, 1.0}) {
    EXPECT_EQ(value_of(read_share(share_text(share))), share);
  }
  EXPECT_EQ(time_text(1'500'000ns), "1500us");
  EXPECT_EQ(size_text(4U << 20U), "4m");
  EXPECT_EQ(rate_text(10'000'000), "10Mbit");
  EXPECT_EQ(share_text(0.005), "0.5%");
  EXPECT_EQ(share_text(1), "100%");
  EXPECT_EQ(share_text(0.25), "25%");
  EXPECT_EQ(share_text(*value_of(read_share("0.000000001%"))), "0.000000001%");
}

TEST(Quantity, EverySpellingThatHelpShowsIsTaken) {
  const auto taken = [](std::string_view kind, const std::string& text) {
    if (kind == "SIZE") return bool{read_size(text)};
    if (kind == "N") return bool{read_count(text)};
    if (kind == "RATE") return bool{read_rate(text)};
    if (kind == "TIME") return bool{read_bare_time(text)};
    return kind == "SHARE" && bool{read_share(text)};
  };
  for (const Spelling& spelling : kSpellings) {
    std::istringstream examples(spelling.examples);
    for (std::string text; examples >> text;) {
      if (text.back() == ',') text.pop_back();
      EXPECT_TRUE(taken(spelling.kind, text)) << spelling.kind << ": " << text;
    }
  }
}

}  // namespace
}  // namespace shmif::base
