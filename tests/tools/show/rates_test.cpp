#include "tools/show/top_text.hpp"

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
  info.incarnation = 1;
  info.name = name;
  info.tx_frames = tx_frames;
  info.tx_segments = tx_frames + more_segments;
  info.tx_bytes = tx_frames * 100;
  return info;
}

/// Gives what a port received, and what it waited for, values from `first` on.
void own_counters(PortInfo& port, std::uint64_t first) {
  for (std::uint64_t PortInfo::* const counter :
       {&PortInfo::rx_segments, &PortInfo::rx_bytes, &PortInfo::lost_frames, &PortInfo::wakeups,
        &PortInfo::doorbells, &PortInfo::lock_sleeps}) {
    port.*counter = first++;
  }
}

// The number of acquisitions is in the same word as the holder.
TEST(Rates, OfTheLockAreNotKnownIfItsWordWasOverwrittenAtEitherLook) {
  const Sample sound = sample_at(1, 0, {});
  for (const unsigned holder : {256U, 998U}) {
    Sample overwritten = sample_at(1, 0, {});
    overwritten.info.lock_holder = holder;
    overwritten.info.lock_acquisitions = 5000;
    for (const auto& [before, after] : {std::pair(sound, overwritten), {overwritten, sound}}) {
      Sample now = after;
      now.when = before.when + std::chrono::seconds(2);
      const BusRates rates = rates_between(before, now);
      EXPECT_TRUE(rates.known);
      EXPECT_FALSE(rates.acquisitions_known);
      EXPECT_EQ(rates.acquisitions, 0);
    }
  }
  EXPECT_FALSE(rates_between(std::nullopt, sound).acquisitions_known);
}

TEST(Rates, CountASuperFrameAsTheFramesItStandsFor) {
  const BusRates rates =
      rates_between(sample_at(0, 0, {port(0, "a", 0)}), sample_at(1, 10, {port(0, "a", 10, 430)}));
  EXPECT_DOUBLE_EQ(rates.ports.at(0).tx_frames, 440);
  EXPECT_DOUBLE_EQ(rates.frames, 440);
}

PortInfo owner(unsigned slot, std::uint32_t incarnation, std::uint64_t tx_frames) {
  PortInfo info = port(slot, "x", tx_frames);
  info.incarnation = incarnation;
  return info;
}

Sample with_former(Sample sample, unsigned slot, std::uint32_t incarnation,
                   std::uint64_t tx_frames) {
  FormerPort former;
  former.slot = slot;
  former.incarnation = incarnation;
  former.tx_frames = former.tx_segments = tx_frames;
  former.tx_bytes = tx_frames * 100;
  sample.info.former_ports.push_back(former);
  return sample;
}

TEST(Rates, ANewOwnerOfASlotCountsFromZero) {
  const BusRates rates = rates_between(with_former(sample_at(1, 500, {}), 0, 1, 500),
                                       sample_at(2, 1400, {owner(0, 2, 900), owner(1, 1, 10)}));
  EXPECT_TRUE(rates.ports.at(0).known);
  EXPECT_DOUBLE_EQ(rates.ports.at(0).tx_frames, 900);
  EXPECT_TRUE(rates.complete);
  EXPECT_DOUBLE_EQ(rates.frames, 910);
  EXPECT_DOUBLE_EQ(rates.bits, 910 * 800);
}

TEST(Rates, APortThatLeftCountsInBothFiguresOfTheBus) {
  const BusRates left = rates_between(sample_at(1, 500, {port(0, "a", 500)}),
                                      with_former(sample_at(2, 800, {}), 0, 1, 800));
  EXPECT_TRUE(left.complete);
  EXPECT_DOUBLE_EQ(left.frames, 300);
  EXPECT_DOUBLE_EQ(left.bits, 300 * 800);
  const BusRates came_and_left =
      rates_between(sample_at(1, 0, {}), with_former(sample_at(2, 70, {}), 0, 1, 70));
  EXPECT_TRUE(came_and_left.complete);
  EXPECT_DOUBLE_EQ(came_and_left.frames, 70);
  EXPECT_DOUBLE_EQ(came_and_left.bits, 70 * 800);
}

TEST(Rates, APortThatLeftCountsItsSuperFramesAsTheFramesTheyStandFor) {
  Sample after = with_former(sample_at(2, 10, {}), 0, 1, 10);
  after.info.former_ports[0].tx_segments = 440;
  EXPECT_DOUBLE_EQ(rates_between(sample_at(1, 0, {port(0, "a", 0)}), after).frames, 440);
}

TEST(Rates, OfTheBusAreMarkedWhereFramesAreOfAPortThatNobodyCanAsk) {
  // The first owner sent on after the look, left, and another has its slot.
  const Sample before = sample_at(1, 500, {owner(0, 1, 500)});
  const BusRates some = rates_between(before, sample_at(2, 600, {owner(0, 2, 10)}));
  EXPECT_FALSE(some.complete);
  EXPECT_EQ(format_bus_rate(some, some.frames), "10+");
  EXPECT_DOUBLE_EQ(some.ports.at(0).tx_frames, 10) << "of the new owner all, whatever the old sent";
  const BusRates none = rates_between(before, sample_at(2, 600, {owner(0, 2, 0)}));
  EXPECT_EQ(format_bus_rate(none, none.frames), "-");
  EXPECT_EQ(format_bus_rate(none, none.bits), "-");
  const BusRates all = rates_between(before, sample_at(2, 510, {owner(0, 2, 10)}));
  EXPECT_TRUE(all.complete) << "the bus carried no more than those ten";
  EXPECT_EQ(format_bus_rate(all, all.frames), "10");
}

TEST(Rates, OfTheBusAreMarkedWhereAnOwnerCameAndWentUnseenOrASlotIsUnknown) {
  const Sample before = with_former(sample_at(1, 500, {}), 0, 1, 500);
  const BusRates next = rates_between(before, sample_at(2, 600, {owner(0, 2, 10)}));
  EXPECT_TRUE(next.complete);
  const BusRates later = rates_between(before, sample_at(2, 600, {owner(0, 3, 10)}));
  EXPECT_FALSE(later.complete) << "the second owner may have sent the others";
  EXPECT_EQ(format_bus_rate(later, later.frames), "10+");
  const BusRates unknown = rates_between(sample_at(1, 500, {port(0, "a", 500), port(1, "b", 1)}),
                                         sample_at(2, 600, {port(1, "b", 3)}));
  EXPECT_FALSE(unknown.complete) << "nobody knows what became of the first slot";
  EXPECT_EQ(format_bus_rate(unknown, unknown.frames), "2.0+");
  const BusRates changing =
      rates_between(sample_at(1, 500, {owner(0, 0, 500)}), sample_at(2, 600, {owner(0, 0, 900)}));
  EXPECT_EQ(format_bus_rate(changing, changing.frames), "-");
}

TEST(Rates, OfANewOwnerAreItsOwnThoughItSentMoreThanTheOneBefore) {
  PortInfo before = owner(0, 1, 500), after = owner(0, 2, 800);
  own_counters(before, 100);
  own_counters(after, 300);
  const PortRates rates =
      rates_between(sample_at(1, 500, {before}), sample_at(2, 1300, {after})).ports.at(0);
  EXPECT_DOUBLE_EQ(rates.tx_frames, 800);
  EXPECT_DOUBLE_EQ(rates.tx_bits, 800 * 800);
  EXPECT_DOUBLE_EQ(rates.rx_frames, 300);
  EXPECT_DOUBLE_EQ(rates.rx_bits, 301 * 8);
  EXPECT_DOUBLE_EQ(rates.lost_frames, 302);
  EXPECT_DOUBLE_EQ(rates.wakeups, 303);
  EXPECT_DOUBLE_EQ(rates.doorbells, 304);
  EXPECT_DOUBLE_EQ(rates.lock_sleeps, 305);
}

TEST(Rates, APortWhoseSlotChangesHandsHasNone) {
  EXPECT_FALSE(
      rates_between(sample_at(1, 0, {owner(0, 1, 500)}), sample_at(2, 0, {owner(0, 0, 900)}))
          .ports.at(0)
          .known);
}

TEST(Rates, ACounterThatWentBackIsNoRate) {
  const BusRates rates =
      rates_between(sample_at(1, 9, {port(0, "a", 500)}), sample_at(2, 3, {port(0, "a", 5)}));
  EXPECT_DOUBLE_EQ(rates.frames, 0);
  EXPECT_DOUBLE_EQ(rates.ports.at(0).tx_frames, 0);
}

Sample netbsd_at(int seconds, std::uint64_t last, std::optional<std::uint64_t> frames,
                 std::optional<std::uint64_t> bytes) {
  Sample sample = sample_at(seconds, 0, {});
  sample.info.last = last;
  sample.info.netbsd.emplace();
  sample.info.netbsd->frames_in_ring = frames;
  sample.info.netbsd->bytes_in_ring = bytes;
  return sample;
}

TEST(Rates, OfABusOfNetbsdsFormatAreEstimatedFromTheMeanFrameInTheRing) {
  // 100 bytes on average, and 24 of a header: 1240 bytes are ten frames, in two seconds.
  const Sample before = netbsd_at(1, 5000, 7, 70000);
  const BusRates rates = rates_between(before, netbsd_at(3, 6240, 3, 300));
  EXPECT_TRUE(rates.known && rates.estimated && rates.complete);
  EXPECT_DOUBLE_EQ(rates.frames, 5);
  EXPECT_DOUBLE_EQ(rates.bits, 4000);
  EXPECT_EQ(format_bus_rate(rates, rates.frames), "~5.0");
  EXPECT_EQ(format_bus_rate(rates, 0), "0") << "this is no estimate";
  // Without frames in the ring, only that nothing came is known.
  const BusRates quiet = rates_between(before, netbsd_at(3, 5000, 0, 0));
  EXPECT_TRUE(quiet.complete);
  EXPECT_EQ(format_bus_rate(quiet, quiet.frames), "0");
  const BusRates busy = rates_between(before, netbsd_at(3, 5001, 0, 0));
  EXPECT_FALSE(busy.complete);
  EXPECT_EQ(busy.frames, 0);
  EXPECT_EQ(format_bus_rate(busy, busy.frames), "-");
  const auto has_none = [](const Sample& from, const Sample& to) {
    const BusRates unknown = rates_between(from, to);
    return !unknown.known && unknown.frames == 0 && format_bus_rate(unknown, unknown.frames) == "-";
  };
  EXPECT_TRUE(has_none(before, netbsd_at(3, 4999, 3, 300))) << "it was made anew";
  Sample repaired = netbsd_at(3, 2'000'000, 3, 300);
  repaired.info.epoch = 1;
  EXPECT_TRUE(has_none(before, repaired)) << "that moves the positions";
  // Where the lock was held at each look, the positions are not known.
  const Sample held = netbsd_at(3, 0, std::nullopt, std::nullopt);
  EXPECT_TRUE(has_none(before, held));
  EXPECT_TRUE(has_none(held, netbsd_at(5, 6240, 3, 300)));
}

TEST(Rates, AreWrittenInAtMostSixCharacters) {
  EXPECT_EQ(format_rate(0), "0");
  EXPECT_EQ(format_rate(0.5), "0.5");
  EXPECT_EQ(format_rate(12.3), "12");
  EXPECT_EQ(format_rate(999.4), "999");
  EXPECT_EQ(format_rate(999.5), "1.00k");
  EXPECT_EQ(format_rate(1234), "1.23k");
  EXPECT_EQ(format_rate(45'600'000), "45.6M");
  // On both sides of each place where a digit is given up.
  EXPECT_EQ(format_rate(9.6), "9.6");
  EXPECT_EQ(format_rate(9.94), "9.9");
  EXPECT_EQ(format_rate(9.96), "10");
  EXPECT_EQ(format_rate(9960), "9.96k");
  EXPECT_EQ(format_rate(9994), "9.99k");
  EXPECT_EQ(format_rate(9996), "10.0k");
  EXPECT_EQ(format_rate(99'600), "99.6k");
  EXPECT_EQ(format_rate(99'940), "99.9k");
  EXPECT_EQ(format_rate(99'960), "100k");
  EXPECT_EQ(format_rate(999'400), "999k");
  EXPECT_EQ(format_rate(999'600), "1.00M");
  EXPECT_EQ(format_rate(1e18), "1000P");
  for (double value = 0.01; value < 1e17; value *= 1.037) {
    EXPECT_LE(format_rate(value).size(), 5U) << value;
  }
}

}  // namespace
}  // namespace shmif::tools
