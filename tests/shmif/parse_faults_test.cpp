// The text of faults: what it may say, and how a mistake in it is told.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>

#include "shmif/faults.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

TEST(ParseFaults, AKindThatIsGivenTwiceIsRefusedByName) {
  for (const auto& [text, why] :
       {std::pair{"loss=1%,delay=5ms,loss=2%",
                  "fault \"loss=2%\": loss is given twice (leave one out)"},
        {"burst=1%:2%,burst=1%:2%",
         "fault \"burst=1%:2%\": burst is given twice (leave one out)"}}) {
    const auto parsed = parse_faults(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().message, why);
  }
}

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
      "burst, delay, order, rate, queue, seed)");
  EXPECT_EQ(parse_faults("loss=200%").error().message,
            "fault \"loss=200%\" is not a share (such as 1% or 0.5%, from 0% to 100%)");
  EXPECT_EQ(parse_faults("delay=1ms±2ms").error().message,
            "fault \"delay=1ms\" varies by more than the delay itself");
}

TEST(ParseFaults, EachKindAloneIsAFaultAndQueueAndSeedAreNone) {
  for (const char* text : {"loss=1%", "duplicate=1%", "reorder=1%", "corrupt=1%", "truncate=1%",
                           "burst=1%:20%", "delay=1ns", "rate=1bit"}) {
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
  EXPECT_EQ(why("loss=0.01"),
            "fault \"loss=0.01\" could be 0.01% or 1% (write loss=0.01% or loss=1%)");
  EXPECT_EQ(why("loss=5"), "fault \"loss=5\" needs a unit (write loss=5%)");
  EXPECT_EQ(why("delay=5"), "fault \"delay=5\" could be 5ms or 5s (write delay=5ms or delay=5s)");
  EXPECT_EQ(why("delay=5ms±1"), "fault \"±1\" could be 1ms or 1s (write ±1ms or ±1s)");
  EXPECT_EQ(why("rate=10MB"),
            "fault \"rate=10MB\" could be 10Mbit or 80Mbit (write rate=10Mbit or rate=80Mbit)");
}

TEST(ParseFaults, RatesAreWrittenAsForShmifperf) {
  for (const char* text : {"rate=10Mbit", "rate=10mbit", "rate=10M", "rate=10m", "rate=10000kbit",
                           "rate=10Mbit/s", "rate=10000000", "rate=0.01gbit"}) {
    EXPECT_EQ(parse_faults(text).value().rate_bps, 10'000'000U) << text;
  }
}

TEST(ParseFaults, ReadsWhatToStringWrites) {
  EXPECT_EQ(to_string(FaultOptions()), "none");
  EXPECT_EQ(to_string(parse_faults("queue=5,seed=7").value()), "none");
  for (const char* plain : {"loss=7%", "loss=0.3%", "corrupt=0.0001%"}) {
    EXPECT_EQ(to_string(parse_faults(plain).value()), plain);
  }
  EXPECT_EQ(to_string(parse_faults("loss=1%,delay=5ms±1ms,rate=10Mbit").value()),
            "loss=1%,delay=5ms±1ms,rate=10Mbit");
  const std::string all =
      "loss=0.5%,burst=1%:20%:100%:0%,duplicate=2%,reorder=3%,corrupt=4%,truncate=5%,delay=7us±"
      "500ns,rate=64kbit,queue=5";
  EXPECT_EQ(to_string(parse_faults(all).value()), all);
}

}  // namespace
}  // namespace shmif::test
