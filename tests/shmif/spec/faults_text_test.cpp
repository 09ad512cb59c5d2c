// The text of faults: what it may say, and how a mistake in it is told.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "shmif/faults.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

TEST(ParseFaults, WhetherJitterKeepsTheOrderIsAnOptionOfJitter) {
  EXPECT_FALSE(parse_faults("delay=5ms±1ms").value().keep_order);
  EXPECT_FALSE(parse_faults("delay=5ms±1ms,order=free").value().keep_order);
  EXPECT_TRUE(parse_faults("order=keep,delay=5ms±1ms").value().keep_order);
  EXPECT_EQ(to_string(parse_faults("order=keep,delay=5ms±1ms,rate=1Mbit").value()),
            "delay=5ms±1ms,order=keep,rate=1Mbit");
  EXPECT_EQ(parse_faults("delay=5ms±1ms,order=kept").error().message,
            "fault \"order=kept\" is not known (keep or free)");
  for (const char* text : {"order=keep", "delay=5ms,order=free"}) {
    EXPECT_EQ(
        parse_faults(text).error().message,
        "fault \"order\" has no effect without jitter (write delay=5ms±1ms, or leave it out)");
  }
}

TEST(ParseFaults, UnderstandsEachKindAndItsUnits) {
  const FaultOptions o =
      parse_faults(
          "loss=1%,duplicate=2%,reorder=3%,corrupt=0.5%,truncate=100%,burst=1%:20%,"
          "delay=5ms±1ms,rate=2.5Gbit,queue=77,seed=12345678901234567890")
          .value();
  EXPECT_DOUBLE_EQ(o.loss, 0.01);
  EXPECT_DOUBLE_EQ(o.duplicate, 0.02);
  EXPECT_DOUBLE_EQ(o.reorder, 0.03);
  EXPECT_DOUBLE_EQ(o.corrupt, 0.005);
  EXPECT_DOUBLE_EQ(o.truncate, 1);
  ASSERT_TRUE(o.bursts);
  EXPECT_DOUBLE_EQ(o.bursts->to_bad, 0.01);
  EXPECT_DOUBLE_EQ(o.bursts->to_good, 0.2);
  EXPECT_DOUBLE_EQ(o.bursts->loss_in_bad, 1);
  EXPECT_DOUBLE_EQ(o.bursts->loss_in_good, 0);
  EXPECT_EQ(o.delay, 5ms);
  EXPECT_EQ(o.jitter, 1ms);
  EXPECT_EQ(o.rate_bps, 2'500'000'000U);
  EXPECT_EQ(o.queue_frames, 77U);
  EXPECT_EQ(o.seed, 12345678901234567890U);
  EXPECT_TRUE(o.any());
  EXPECT_EQ(parse_faults("delay=1.5us+-250ns").value().jitter, 250ns);
  EXPECT_EQ(parse_faults("delay=2s").value().delay, 2s);
  EXPECT_EQ(parse_faults("rate=64kbit").value().rate_bps, 64'000U);
  EXPECT_DOUBLE_EQ(parse_faults("burst=1%:2%:3%:4%").value().bursts->loss_in_good, 0.04);
}

TEST(ParseFaults, RefusesWhatMeansNothingNamingThePartAndWhatItCouldBe) {
  for (const char* text :
       {"",          "loss",           "loss=",      "loss=101%",     "loss=1.01",
        "loss=-1%",  "loss=1%%",       "loss=x",     "loss= 1%",      "loss=nan",
        "loss=inf",  "loss=1e-2",      "los=1%",     "loss=1%,",      "delay=5",
        "delay=5w",  "delay=1ms±2ms",  "delay=ms",   "delay=2h",      "delay=3601s",
        "rate=0bit", "rate=10MB",      "rate=0",     "rate=1001Gbit", "queue=0",
        "queue=1.5", "queue=10000001", "seed=x",     "burst=1%",      "burst=1%:2%:3%:4%:5%",
        "burst=1%:", "burst=0.1:1%",   "delay=5±1ms"}) {
    const auto parsed = parse_faults(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::bad_argument) << text;
    EXPECT_TRUE(parsed.error().message.starts_with("fault \"")) << parsed.error().message;
  }
  EXPECT_EQ(
      parse_faults("loss=1%,los=2%").error().message,
      "fault \"los=2%\": there is no such fault (loss, duplicate, reorder, corrupt, truncate, "
      "burst, delay, order, rate, queue, seed, drop, match)");
  EXPECT_EQ(parse_faults("loss=200%").error().message,
            "fault \"loss=200%\" is not a share (such as 1% or 0.5%, from 0% to 100%)");
  EXPECT_EQ(parse_faults("delay=1ms±2ms").error().message,
            "fault \"delay=1ms\" varies by more than the delay itself");
}

TEST(ParseFaults, EachKindAloneIsAFaultAndQueueAndSeedAreNone) {
  for (const char* text : {"loss=1%", "duplicate=1%", "reorder=1%", "corrupt=1%", "truncate=1%",
                           "burst=1%:20%", "delay=1ns", "rate=1bit", "drop=1"}) {
    EXPECT_TRUE(parse_faults(text).value().any()) << text;
  }
  for (const char* text : {"queue=5", "seed=7", "loss=0%", "delay=0"}) {
    EXPECT_FALSE(parse_faults(text).value().any()) << text;
  }
}

TEST(ParseFaults, TakesALimitAndRefusesWhatIsJustBeyond) {
  const std::pair<const char*, const char*> limits[] = {
      {"delay=1h", "delay=3600.000000001s"},
      {"delay=1ms±1ms", "delay=1ms±1000001ns"},
      {"delay=1h±1h", "delay=1h±3600.000000001s"},
      {"rate=1bit", "rate=0bit"},
      {"rate=1000Gbit", "rate=1000000000001bit"},
      {"queue=1", "queue=0"},
      {"queue=10M", "queue=10000001"},
      {"loss=100%", "loss=100.001%"},
      {"burst=1%:2%", "burst=1%"},
      {"burst=1%:2%:3%:4%", "burst=1%:2%:3%:4%:5%"},
      {"seed=18446744073709551615", "seed=18446744073709551616"}};
  for (const auto& [within, beyond] : limits) {
    EXPECT_TRUE(parse_faults(within)) << within;
    EXPECT_FALSE(parse_faults(beyond)) << beyond;
  }
}

TEST(ParseFaults, ANumberThatLacksItsUnitIsRefusedWithEachSpellingThatItCouldBe) {
  const auto why = [](const char* text) { return parse_faults(text).error().message; };
  for (const std::string key : {"loss", "duplicate", "reorder", "corrupt", "truncate"}) {
    EXPECT_EQ(why((key + "=1").c_str()), "fault \"" + key + "=1\" could be 1% or 100% (write " +
                                             key + "=1% or " + key + "=100%)");
    EXPECT_FALSE(parse_faults(key + "=0").value().any());
  }
  EXPECT_EQ(why("delay=5"), "fault \"delay=5\" could be 5ms or 5s (write delay=5ms or delay=5s)");
  EXPECT_EQ(why("delay=5ms±1"), "fault \"±1\" could be 1ms or 1s (write ±1ms or ±1s)");
  EXPECT_EQ(why("rate=10MB"),
            "fault \"rate=10MB\" could be 10Mbit or 80Mbit (write rate=10Mbit or rate=80Mbit)");
  EXPECT_EQ(why("rate=10"),
            "fault \"rate=10\" could be 10bit or 10Mbit (write rate=10bit or rate=10Mbit)");
  EXPECT_EQ(why("rate=999999"),
            "fault \"rate=999999\" could be 999999bit or 999999Mbit (write rate=999999bit or "
            "rate=999999Mbit)");
  EXPECT_EQ(why("rate=1000"),
            "fault \"rate=1000\" could be 1kbit or 1Gbit (write rate=1kbit or rate=1Gbit)");
  EXPECT_EQ(parse_faults("rate=1000000").value().rate_bps, 1'000'000U);
  EXPECT_EQ(parse_faults("rate=10bit").value().rate_bps, 10U);
}

using Range = FaultOptions::Range;

TEST(ParseFaults, AValueOfDropRunsToTheNextFault) {
  const FaultOptions alone = parse_faults("drop=57,60-62").value();
  EXPECT_EQ(alone.drop, (std::vector<Range>{{57, 57}, {60, 62}}));
  const FaultOptions between = parse_faults("loss=1%,drop=9,3,delay=5ms").value();
  EXPECT_EQ(between.drop, (std::vector<Range>{{3, 3}, {9, 9}})) << "in ascending order";
  EXPECT_EQ(between.delay, 5ms);
  EXPECT_EQ(parse_faults("drop=1-3,2-7,8,10").value().drop, (std::vector<Range>{{1, 8}, {10, 10}}))
      << "joined where they touch";
  EXPECT_EQ(to_string(parse_faults("drop=8,10,1-3,2-7").value()), "drop=1-8,10");
  EXPECT_EQ(parse_faults("drop=18446744073709551615,5").value().drop.back().last,
            18446744073709551615U);
  for (const auto& [text, why] :
       {std::pair{"drop=0", "\"drop=0\" is out of range (the first frame has the number 1)"},
        {"drop=5,0-3", "\"drop=5,0-3\" is out of range (the first frame has the number 1)"},
        {"drop=7-5", "\"drop=7-5\" has a range whose end is before its beginning"},
        {"drop=5,los=1%", "\"los=1%\": there is no such fault (loss, "},
        {"drop=5,", "\"\": there is no such fault (loss, "},
        {"drop=1,drop=2", "\"drop=2\": drop is given twice (leave one out)"}}) {
    const auto parsed = parse_faults(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_TRUE(parsed.error().message.starts_with(std::string("fault ") + why))
        << parsed.error().message;
  }
  for (const char* text : {"drop=x", "drop=1-", "drop=-1", "drop=1-2-3", "drop=1.5", "drop="})
    EXPECT_FALSE(parse_faults(text)) << text;
}

/// The filter of a text that also loses frames.
std::string match_of(const std::string& text) {
  return parse_faults(text).value().match.text;
}

TEST(ParseFaults, AFilterMayHaveQuotationMarksAndCommas) {
  if (!match_frames("tcp")) GTEST_SKIP() << match_frames("tcp").error().message;
  for (const char* text : {"match='tcp port 80',loss=1%", "match=\"tcp port 80\",loss=1%",
                           "loss=1%,match=tcp port 80", "match=tcp port 80,loss=1%"}) {
    EXPECT_EQ(match_of(text), "tcp port 80") << text;
    EXPECT_EQ(to_string(parse_faults(text).value()), "match='tcp port 80',loss=1%") << text;
  }
  EXPECT_EQ(match_of("match=ether[0] = 3,loss=1%"), "ether[0] = 3")
      << "no fault is called ether[0]";
  const std::string all = "match='udp or arp',delay=5ms,drop=5-7";
  EXPECT_EQ(to_string(parse_faults(all).value()), all);
  for (const auto& [text, why] :
       {std::pair{"match='tcp,loss=1%", "lacks the closing quotation mark"},
        {"match='tcp'x,loss=1%", "goes on behind the quotation mark (write a comma there)"},
        {"match='',loss=1%", "needs a filter (such as match='tcp port 80')"},
        {"match,loss=1%", "\"match\" needs a value"},
        {"match=tcp prot 80,loss=1%", "cannot compile the filter \"tcp prot 80\""},
        {"match=it's,loss=1%", "has a quotation mark"},
        {"match='tcp',queue=5",
         "\"match\" has no effect without a fault (add one, such as loss=1%)"},
        {"match='tcp',match='udp',loss=1%", "match is given twice"}}) {
    const auto parsed = parse_faults(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find(why), std::string::npos) << parsed.error().message;
  }
}

TEST(ParseLineFaults, ATextWithoutPrefixHoldsForBothWaysWithOtherRandomNumbers) {
  const LineFaults both = parse_line_faults("loss=1%,seed=7").value();
  EXPECT_DOUBLE_EQ(both.received.loss, 0.01);
  EXPECT_DOUBLE_EQ(both.sent.loss, 0.01);
  EXPECT_EQ(both.received.seed, 7U);
  EXPECT_EQ(both.sent.seed, 8U);
  EXPECT_TRUE(both.any());
}

TEST(ParseLineFaults, APrefixNamesTheWayAndTextsForOneWayAddUp) {
  const LineFaults in = parse_line_faults("in:loss=1%,seed=7").value();
  EXPECT_DOUBLE_EQ(in.received.loss, 0.01);
  EXPECT_FALSE(in.sent.any());
  EXPECT_TRUE(in.any());
  const LineFaults out = parse_line_faults("out:loss=1%,seed=7").value();
  EXPECT_FALSE(out.received.any());
  EXPECT_DOUBLE_EQ(out.sent.loss, 0.01);
  EXPECT_EQ(out.sent.seed, 8U) << "as if it had been given for both ways";
  const LineFaults each = parse_line_faults("delay=5ms;in:loss=1%;out:drop=3,5").value();
  EXPECT_EQ(to_string(each.received), "loss=1%,delay=5ms");
  EXPECT_EQ(to_string(each.sent), "delay=5ms,drop=3,5");
}

TEST(ParseLineFaults, SeedAndQueueWithoutAFaultAreRefused) {
  for (const char* const text : {"seed=3", "queue=5", "in:seed=3", "out:queue=5,seed=1"}) {
    const auto parsed = parse_line_faults(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(
        parsed.error().message.find("has no effect without a fault (add one, such as loss=1%)"),
        std::string::npos)
        << parsed.error().message;
  }
  for (const char* const text : {"loss=0%", "loss=1%;seed=5", "out:rate=1Mbit;queue=5", "none"})
    EXPECT_TRUE(parse_line_faults(text)) << text;
}

TEST(ParseLineFaults, NoneSetsNoFaultsAndOtherMistakesAreToldByName) {
  for (const char* text : {"none", "in:none", "in:none;out:none"})
    EXPECT_FALSE(parse_line_faults(text).value().any()) << text;
  EXPECT_FALSE(parse_line_faults("out:none;in:loss=1%").value().sent.any());
  for (const auto& [text, why] :
       {std::pair{"loss=1%;in:loss=2%", "fault \"loss=2%\": loss is given twice (leave one out)"},
        {"loss=1%;delay=5ms;out:delay=6ms",
         "fault \"delay=6ms\": delay is given twice (leave one out)"},
        {"none;out:loss=1%",
         "fault \"none\" excludes other faults of the same way (leave out one of them)"},
        {"up:loss=1%", "fault \"up:loss=1%\": there is no such fault (loss, "},
        {"in:loss=1%,out:loss=2%",
         "fault \"out:loss=2%\": a direction begins the text or comes after a semicolon"},
        {"out:loss=1%,in:loss=2%",
         "fault \"in:loss=2%\": a direction begins the text or comes after a semicolon"},
        {"loss=1%;", "fault \"\": there is no such fault (loss, "},
        {"", "fault \"\": there is no such fault (loss, "}}) {
    const auto parsed = parse_line_faults(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::bad_argument);
    EXPECT_TRUE(parsed.error().message.starts_with(why)) << parsed.error().message;
  }
}

// Whatever faults there are, parse_faults() reads the text of to_string() as the same ones.

constexpr unsigned kSpecs = 20'000;

/// Makes faults of all kinds: of any value, of short ones as people write them, and of the ends of
/// each range.
class AnyFaults {
 public:
  explicit AnyFaults(std::uint64_t seed) : random_(seed) {}

  FaultOptions make() {
    FaultOptions o;
    for (double FaultOptions::* const share :
         {&FaultOptions::loss, &FaultOptions::duplicate, &FaultOptions::reorder,
          &FaultOptions::corrupt, &FaultOptions::truncate}) {
      if (one_of(3)) o.*share = any_share();
    }
    if (one_of(4)) o.bursts = {any_share(), any_share(), any_share(), any_share()};
    if (one_of(2)) {
      o.delay = std::chrono::nanoseconds(static_cast<std::int64_t>(any(1, 3'600'000'000'000)));
      if (one_of(2)) {
        o.jitter = std::chrono::nanoseconds(
            static_cast<std::int64_t>(any(1, static_cast<std::uint64_t>(o.delay.count()))));
        o.keep_order = one_of(2);
      }
    }
    if (one_of(3)) o.rate_bps = any(1, 1'000'000'000'000);
    if (one_of(3)) o.drop = any_ranges();
    if (!o.any()) o.loss = 1;  // queue and match are nothing without a fault
    if (one_of(3)) o.queue_frames = any(1, 10'000'000);
    if (has_filters_ && one_of(4)) o.match = match_frames(filters_[random_() % 4]).value();
    if (one_of(2)) o.seed = any(0, UINT64_MAX);
    return o;
  }
  bool one_of(std::uint64_t many) { return random_() % many == 0; }

 private:
  /// A number of any length, of few digits, or at an end of the range.
  std::uint64_t any(std::uint64_t first, std::uint64_t last) {
    std::uint64_t value = random_() >> random_() % 64;
    if (one_of(3)) {
      value = 1 + random_() % 9;
      for (std::uint64_t zeros = random_() % 12; zeros > 0; --zeros) value *= 10;
    }
    if (one_of(8)) value = one_of(2) ? first : last;
    return std::clamp(value, first, last);
  }
  /// A hundredth of a number that a text can have.
  double any_share() {
    if (one_of(8)) return one_of(2) ? 0 : 1;
    if (one_of(2)) return static_cast<double>(random_() % 100'000) / 1000 / 100;
    return 100 *
           std::ldexp(static_cast<double>(random_() >> 11U),
                      -53 - static_cast<int>(random_() % 60)) /
           100;
  }
  std::vector<FaultOptions::Range> any_ranges() {
    std::vector<FaultOptions::Range> ranges;
    std::uint64_t at = any(1, UINT64_MAX / 2);
    for (std::uint64_t count = 1 + random_() % 5; count > 0; --count) {
      const std::uint64_t last = one_of(2) ? at : at + random_() % 1000;
      ranges.push_back({at, last});
      at = last + 2 + random_() % 1000;
    }
    return ranges;
  }

  std::mt19937_64 random_;
  const std::vector<std::string> filters_{"tcp port 80", "ether[12:2] == 0x88b5",
                                          "arp or (ip6 and host fd00::1)", "portrange 1-100"};
  const bool has_filters_ = match_frames("udp").has_value();
};

void expect_same(const FaultOptions& a, const FaultOptions& b) {
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.duplicate, b.duplicate);
  EXPECT_EQ(a.reorder, b.reorder);
  EXPECT_EQ(a.corrupt, b.corrupt);
  EXPECT_EQ(a.truncate, b.truncate);
  ASSERT_EQ(a.bursts.has_value(), b.bursts.has_value());
  if (a.bursts) {
    EXPECT_EQ(a.bursts->to_bad, b.bursts->to_bad);
    EXPECT_EQ(a.bursts->to_good, b.bursts->to_good);
    EXPECT_EQ(a.bursts->loss_in_bad, b.bursts->loss_in_bad);
    EXPECT_EQ(a.bursts->loss_in_good, b.bursts->loss_in_good);
  }
  EXPECT_EQ(a.delay, b.delay);
  EXPECT_EQ(a.jitter, b.jitter);
  EXPECT_EQ(a.keep_order, b.keep_order);
  EXPECT_EQ(a.rate_bps, b.rate_bps);
  EXPECT_EQ(a.queue_frames, b.queue_frames);
  EXPECT_EQ(a.drop, b.drop);
  EXPECT_EQ(a.match.text, b.match.text);
  EXPECT_EQ(a.match.filter == nullptr, b.match.filter == nullptr);
}

TEST(FaultsRoundTrip, TheTextOfAnyFaultsIsReadAsTheSameFaults) {
  AnyFaults maker(1);
  for (unsigned i = 0; i < kSpecs && !::testing::Test::HasFailure(); ++i) {
    const FaultOptions one = maker.make();
    const std::string text = to_string(one);
    SCOPED_TRACE(text);
    const auto again = parse_faults(text);
    ASSERT_TRUE(again) << again.error().message;
    expect_same(one, *again);
    EXPECT_EQ(again->seed, 1U) << "the text has no seed";
    EXPECT_EQ(to_string(*again), text);
  }
}

TEST(FaultsRoundTrip, TheTextOfAnyLineIsReadAsTheSameFaultsWithTheirSeeds) {
  AnyFaults maker(2);
  for (unsigned i = 0; i < kSpecs && !::testing::Test::HasFailure(); ++i) {
    LineFaults line;
    if (!maker.one_of(4)) line.received = maker.make();
    if (!maker.one_of(4)) line.sent = maker.make();
    if (maker.one_of(4)) {
      line.sent = line.received;
      ++line.sent.seed;
    }
    const std::string text = to_string(line);
    SCOPED_TRACE(text);
    const auto again = parse_line_faults(text);
    ASSERT_TRUE(again) << again.error().message;
    expect_same(line.received, again->received);
    expect_same(line.sent, again->sent);
    if (line.received.any()) {
      EXPECT_EQ(line.received.seed, again->received.seed);
    }
    if (line.sent.any()) {
      EXPECT_EQ(line.sent.seed, again->sent.seed);
    }
    EXPECT_EQ(to_string(*again), text);
  }
}

}  // namespace
}  // namespace shmif::test
