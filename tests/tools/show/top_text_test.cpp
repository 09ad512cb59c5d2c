#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tools/show/top_text.hpp"

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
  sample.info.netbsd = BusInfo::Netbsd{};
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

namespace shmif::test {
namespace {

// The colours of top's screen, and what it makes of names that others chose.

constexpr const char* kBold = "\x1b[1m";
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kRed = "\x1b[31m";
constexpr const char* kGreen = "\x1b[32m";
constexpr const char* kYellow = "\x1b[33m";

tools::PortRates port_of(unsigned slot, const std::string& name) {
  tools::PortRates row;
  row.port.slot = slot;
  row.port.name = name;
  row.port.live = row.port.up = true;
  row.known = true;
  return row;
}

tools::TopView view_of(std::vector<tools::PortRates> ports) {
  tools::TopView view;
  view.info.path = "/bus";
  view.rates.known = true;
  for (const tools::PortRates& row : ports) view.info.ports.push_back(row.port);
  view.rates.ports = std::move(ports);
  return view;
}

/// The row of a port on a wide screen, with its colours.
std::string row_of(const tools::PortRates& port) {
  tools::TopView view = view_of({port});
  const std::string screen = tools::top_screen(view, {.columns = 200, .rows = 10});
  const std::size_t head = screen.find("SLOT ");
  const std::size_t begin = screen.find('\n', head) + 1;
  return screen.substr(begin, screen.find('\n', begin) - begin);
}

/// Whether `text` stands there in that colour alone.
bool is_in(const std::string& row, const std::string& colour, const std::string& text) {
  return row.find(colour + text + "\x1b[0m") != std::string::npos;
}

TEST(TopColours, TellTheStateOfAPort) {
  tools::PortRates port = port_of(1, "alice");
  const std::string name = "alice" + std::string(26, ' ');
  EXPECT_TRUE(is_in(row_of(port), kGreen, "up  ")) << row_of(port);
  EXPECT_TRUE(is_in(row_of(port), kBold, name)) << row_of(port);
  port.port.carrier = false;
  EXPECT_TRUE(is_in(row_of(port), kYellow, "down")) << row_of(port);
  port.port.carrier = true;
  port.port.carrier_known = false;
  EXPECT_TRUE(is_in(row_of(port), kGreen, "up? ")) << row_of(port);
  port.port.carrier_known = true;
  port.port.up = false;
  EXPECT_TRUE(is_in(row_of(port), kYellow, "down")) << row_of(port);
  port.port.up = true;
  port.port.live = false;
  const std::string dead = row_of(port);
  EXPECT_TRUE(is_in(dead, kRed, "dead")) << dead;
  EXPECT_TRUE(is_in(dead, kDim, name)) << dead;
  EXPECT_TRUE(is_in(dead, kDim, "   1")) << dead;
  EXPECT_FALSE(contains(dead, kBold));
}

TEST(TopColours, TellOfLossesNowAndOfThoseThatWere) {
  tools::PortRates port = port_of(1, "alice");
  std::string row = row_of(port);
  EXPECT_FALSE(contains(row, kRed));
  EXPECT_FALSE(contains(row, kYellow));
  port.port.lost_frames = 123;
  row = row_of(port);
  EXPECT_FALSE(contains(row, kRed)) << "nothing is lost just now";
  EXPECT_TRUE(is_in(row, kYellow, "  123")) << row;
  port.lost_frames = 45;
  row = row_of(port);
  EXPECT_TRUE(is_in(row, kRed, "    45")) << row;
  EXPECT_TRUE(is_in(row, kYellow, "  123")) << row;
}

TEST(TopColours, TellHowFarBehindAPortIsFromHalfTheRingOn) {
  const auto row_with = [](double lag, bool up = true) {
    tools::PortRates port = port_of(1, "alice");
    port.lag = lag;
    port.port.up = up;
    return row_of(port);
  };
  for (const double little : {0.0, 0.499}) {
    EXPECT_FALSE(contains(row_with(little), kYellow));
    EXPECT_FALSE(contains(row_with(little), kRed));
  }
  EXPECT_TRUE(is_in(row_with(0.5), kYellow, "  50%")) << row_with(0.5);
  EXPECT_TRUE(is_in(row_with(0.999), kYellow, "  99%")) << row_with(0.999);
  EXPECT_TRUE(is_in(row_with(1), kRed, " over")) << row_with(1);
  EXPECT_TRUE(contains(row_with(0.25, false), "    - ")) << "it reads nothing";
  EXPECT_FALSE(contains(row_with(0.25, false), "25%"));
}

/// The head of a screen of 200 columns, without the ports below it.
std::string head_of(std::vector<tools::PortRates> ports) {
  tools::TopView view = view_of(std::move(ports));
  const std::string screen = tools::top_screen(view, {.columns = 200, .rows = 20});
  return screen.substr(0, screen.find("SLOT "));
}

TEST(TopHead, NamesWhoSendsTheMostAtMostThreeAndNoneWithoutAPercent) {
  const auto senders = [](const std::vector<double>& bits) {
    std::vector<tools::PortRates> ports;
    for (const double each : bits) {
      const auto slot = static_cast<unsigned>(ports.size());
      ports.push_back(port_of(slot, std::string(1, static_cast<char>('a' + slot))));
      ports.back().tx_bits = each;
    }
    return head_of(ports);
  };
  EXPECT_TRUE(contains(senders({10, 40, 20, 30}), " b 40 %, d 30 %, c 20 %  "));
  EXPECT_TRUE(contains(senders({4, 996}), " b 100 %  "));
  EXPECT_TRUE(contains(senders({6, 994}), " b 99 %, a 1 %  "));
  EXPECT_TRUE(contains(senders({0, 0}), "talkers    none  "));
}

TEST(TopHead, CountsWhatPortsHaveLostThatAreGoneAndNamesWhoIsSlowest) {
  std::vector<tools::PortRates> ports{port_of(1, "alice"), port_of(2, "bob~")};
  ports[0].port.lost_frames = 3;
  ports[1].port.lost_frames = 40;
  ports[1].port.live = false;
  EXPECT_TRUE(contains(head_of(ports), "lost/s     0; 43 in all "));
  EXPECT_TRUE(contains(head_of(ports), "slowest    none is behind "));
  ports[1].lag = 0.999;
  EXPECT_TRUE(contains(head_of(ports), "slowest    bob~, 99% of the ring behind "));
  ports[1].lag = 1;
  EXPECT_TRUE(contains(head_of(ports), "slowest    bob~, overwritten "));
}

TEST(TopHead, IsShorterOnAShortScreenThatItFillsWithAPort) {
  for (unsigned rows = 5; rows < 13; ++rows) {
    std::vector<tools::PortRates> ports;
    const std::size_t room = tools::top_rows({.columns = 80, .rows = rows});
    EXPECT_EQ(room, rows < 10 ? 1U : rows - 8) << rows;
    for (unsigned slot = 0; slot < room; ++slot) ports.push_back(port_of(slot, "alice"));
    tools::TopView view = view_of(ports);
    std::string screen = tools::top_screen(view, {.columns = 80, .rows = rows});
    EXPECT_EQ(std::ranges::count(screen, '\n') + 1, rows) << screen;
    EXPECT_EQ(times_in(screen, "alice"), room) << screen;
    EXPECT_FALSE(contains(screen, "(up/down)")) << "all are there";
    view.rates.ports.push_back(port_of(99, "bob"));
    screen = tools::top_screen(view, {.columns = 80, .rows = rows});
    EXPECT_TRUE(
        contains(screen, "ports 1-" + std::to_string(room) + " of " + std::to_string(room + 1)));
  }
}

TEST(TopLines, HaveNoLagIfTheHeaderDoesNotSayWhereTheRingEnds) {
  tools::TopView view = view_of({port_of(1, "alice")});
  view.rates.ports[0].lag_known = false;
  EXPECT_TRUE(tools::top_lines(0, view.info, view.rates).ends_with(" lag -\n"));
  EXPECT_TRUE(contains(head_of(view.rates.ports), "slowest    - "));

  tools::Sample sample;
  sample.info.ring_bytes = 1U << 20U;
  sample.info.ports.push_back(port_of(1, "alice").port);
  sample.info.ports[0].unread_bytes = 1U << 18U;
  const auto row_at = [&](std::uint64_t last) {
    sample.info.last = last;
    return tools::rates_between(std::nullopt, sample).ports.at(0);
  };
  EXPECT_TRUE(row_at(1U << 20U).lag_known);
  EXPECT_EQ(row_at(1U << 20U).lag, 0.25);
  for (const std::uint64_t none : {std::uint64_t{17}, std::uint64_t{1} << 50U}) {
    EXPECT_FALSE(row_at(none).lag_known);
    EXPECT_EQ(row_at(none).lag, 0);
  }
}

TEST(TopNames, SteerNoTerminalWhereverTheyStand) {
  const std::string wild = "a\x1b[2J\x7f\xc2\x9bz";
  tools::TopView view = view_of({port_of(1, wild)});
  view.info.path = "/dev/shm/" + wild;
  const std::string lines = tools::top_lines(0, view.info, view.rates);
  EXPECT_TRUE(contains(lines, " port a?[2J???z slot 1 "));
  EXPECT_EQ(lines.find('\x1b'), std::string::npos) << lines;
  const std::string screen = tools::top_screen(view, {.columns = 200, .rows = 10});
  EXPECT_TRUE(contains(screen, "shmif top  /dev/shm/a?[2J???z "));
  EXPECT_TRUE(is_in(screen, kBold, "a?[2J???z" + std::string(22, ' '))) << screen;
  EXPECT_FALSE(contains(screen, "\x1b[2J"));
}

/// The slots of the ports in the order in which a screen of that order has them.
std::vector<unsigned> slots_by(tools::TopOrder order, std::vector<tools::PortRates> ports) {
  tools::TopView view = view_of(std::move(ports));
  view.look.order = order;
  (void)tools::top_screen(view, {.columns = 200, .rows = 20});
  std::vector<unsigned> slots;
  for (const tools::PortRates& row : view.rates.ports) slots.push_back(row.port.slot);
  return slots;
}

TEST(TopOrders, EachGoesByItsOwnFigureAndAmongEqualsByTheSlot) {
  using tools::TopOrder;
  using Slots = std::vector<unsigned>;
  std::vector<tools::PortRates> ports;
  // Of each figure, the most in another slot.
  for (const auto& [slot, name, lag, tx, rx] : {std::tuple{3U, "b", 0.1, 10.0, 300.0},
                                                {1U, "d", 0.4, 30.0, 200.0},
                                                {4U, "a", 0.3, 40.0, 100.0},
                                                {2U, "c", 0.2, 20.0, 400.0},
                                                {0U, "d", 0.4, 30.0, 200.0}}) {
    tools::PortRates row = port_of(slot, name);
    row.lag = lag;
    row.tx_bits = tx;
    row.rx_bits = rx;
    row.tx_frames = row.rx_frames = 1000 - tx;  // it goes by bits
    ports.push_back(row);
  }
  EXPECT_EQ(slots_by(TopOrder::slot, ports), (Slots{0, 1, 2, 3, 4}));
  EXPECT_EQ(slots_by(TopOrder::name, ports), (Slots{4, 3, 2, 0, 1}));
  EXPECT_EQ(slots_by(TopOrder::lag, ports), (Slots{0, 1, 4, 2, 3}));
  EXPECT_EQ(slots_by(TopOrder::tx, ports), (Slots{4, 0, 1, 2, 3}));
  EXPECT_EQ(slots_by(TopOrder::rx, ports), (Slots{2, 3, 0, 1, 4}));
  EXPECT_EQ(slots_by(TopOrder::trouble, ports), (Slots{4, 0, 1, 2, 3})) << "without any, by tx";
}

TEST(TopOrders, LossComesBeforeALagFromHalfOfTheRingOnAndThatBeforeWhatIsSent) {
  std::vector<tools::PortRates> ports;
  for (const auto& [slot, lost, lag, tx] : {std::tuple{0U, 0.0, 0.49, 20.0},
                                            {1U, 0.0, 0.1, 30.0},
                                            {2U, 0.0, 0.5, 10.0},
                                            {3U, 0.0, 1.5, 5.0},
                                            {4U, 1.0, 0.0, 0.0},
                                            {5U, 2.0, 0.0, 0.0},
                                            {6U, 1.0, 0.9, 0.0}}) {
    tools::PortRates row = port_of(slot, "x");
    row.lost_frames = lost;
    row.lag = lag;
    row.tx_bits = tx;
    row.port.lost_frames = 100 - slot;  // what was lost once does not count
    ports.push_back(row);
  }
  EXPECT_EQ(slots_by(tools::TopOrder::trouble, ports),
            (std::vector<unsigned>{5, 6, 4, 3, 2, 1, 0}));
}

}  // namespace
}  // namespace shmif::test
