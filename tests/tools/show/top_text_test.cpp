// The colours of top's screen, and what it makes of names that others chose.

#include "tools/show/top_text.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/run_tool.hpp"

namespace shmif::test {
namespace {

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
