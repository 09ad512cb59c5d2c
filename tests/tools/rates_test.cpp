#include "tools/rates.hpp"

#include <gtest/gtest.h>

namespace shmif::tools {
namespace {

Sample sample_at(int seconds, std::uint64_t frames, std::vector<PortInfo> ports) {
  Sample sample{std::chrono::steady_clock::time_point(std::chrono::seconds(seconds)), {}};
  sample.info.frames = frames;
  sample.info.ports = std::move(ports);
  return sample;
}

PortInfo port(unsigned slot, const char* name, std::uint64_t tx_frames,
              std::uint64_t more_segments = 0) {
  PortInfo info;
  info.slot = slot;
  info.name = name;
  info.tx_frames = tx_frames;
  info.tx_segments = tx_frames + more_segments;
  info.tx_bytes = tx_frames * 100;
  return info;
}

TEST(Rates, AreDifferencesPerSecond) {
  const BusRates rates = rates_between(sample_at(10, 1000, {port(0, "a", 500)}),
                                       sample_at(12, 3000, {port(0, "a", 1500)}));
  EXPECT_TRUE(rates.known);
  EXPECT_DOUBLE_EQ(rates.frames, 1000);
  ASSERT_EQ(rates.ports.size(), 1U);
  EXPECT_DOUBLE_EQ(rates.ports[0].tx_frames, 500);
  EXPECT_DOUBLE_EQ(rates.ports[0].tx_bits, 400000);
  EXPECT_DOUBLE_EQ(rates.bits, 400000);
}

TEST(Rates, CountASuperFrameAsTheFramesItStandsFor) {
  const BusRates rates =
      rates_between(sample_at(0, 0, {port(0, "a", 0)}), sample_at(1, 12, {port(0, "a", 10, 430)}));
  EXPECT_DOUBLE_EQ(rates.ports.at(0).tx_frames, 440);
  EXPECT_DOUBLE_EQ(rates.frames, 442) << "two more are of a port that has left";
}

TEST(Rates, AFirstLookHasNone) {
  const BusRates rates = rates_between(std::nullopt, sample_at(1, 1000, {port(0, "a", 500)}));
  EXPECT_FALSE(rates.known);
  EXPECT_FALSE(rates.ports.at(0).known);
}

TEST(Rates, ANewOwnerOfASlotDoesNotInheritTheOldOnesCounters) {
  const BusRates rates =
      rates_between(sample_at(1, 0, {port(0, "a", 500)}), sample_at(2, 0, {port(0, "b", 900)}));
  EXPECT_FALSE(rates.ports.at(0).known);
}

TEST(Rates, ACounterThatWentBackIsNoRate) {
  const BusRates rates =
      rates_between(sample_at(1, 9, {port(0, "a", 500)}), sample_at(2, 3, {port(0, "a", 5)}));
  EXPECT_DOUBLE_EQ(rates.frames, 0);
  EXPECT_DOUBLE_EQ(rates.ports.at(0).tx_frames, 0);
}

TEST(Rates, AreWrittenInAtMostSixCharacters) {
  EXPECT_EQ(format_rate(0), "0");
  EXPECT_EQ(format_rate(0.5), "0.5");
  EXPECT_EQ(format_rate(12.3), "12");
  EXPECT_EQ(format_rate(999.4), "999");
  EXPECT_EQ(format_rate(999.5), "1.00k");
  EXPECT_EQ(format_rate(1234), "1.23k");
  EXPECT_EQ(format_rate(45'600'000), "45.6M");
  for (double value = 0.01; value < 1e17; value *= 1.037) {
    EXPECT_LE(format_rate(value).size(), 5U) << value;
  }
}

}  // namespace
}  // namespace shmif::tools
