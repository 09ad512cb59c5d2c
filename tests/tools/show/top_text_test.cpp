// The colours of top's screen, and what it makes of names that others chose.

#include "tools/show/top_text.hpp"

#include <gtest/gtest.h>

#include <string>

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
  EXPECT_EQ(dead.find(kBold), std::string::npos) << dead;
}

TEST(TopColours, TellOfLossesNowAndOfThoseThatWere) {
  tools::PortRates port = port_of(1, "alice");
  std::string row = row_of(port);
  EXPECT_EQ(row.find(kRed), std::string::npos) << row;
  EXPECT_EQ(row.find(kYellow), std::string::npos) << row;
  port.port.lost_frames = 123;
  row = row_of(port);
  EXPECT_EQ(row.find(kRed), std::string::npos) << "nothing is lost just now: " << row;
  EXPECT_TRUE(is_in(row, kYellow, "  123")) << row;
  port.lost_frames = 45;
  row = row_of(port);
  EXPECT_TRUE(is_in(row, kRed, "    45")) << row;
  EXPECT_TRUE(is_in(row, kYellow, "  123")) << row;
}

TEST(TopNames, SteerNoTerminalWhereverTheyStand) {
  const std::string wild = "a\x1b[2J\x7f\xc2\x9bz";
  tools::TopView view = view_of({port_of(1, wild)});
  view.info.path = "/dev/shm/" + wild;
  const std::string lines = tools::top_lines(0, view.info, view.rates);
  EXPECT_NE(lines.find(" port a?[2J???z slot 1 "), std::string::npos) << lines;
  EXPECT_EQ(lines.find('\x1b'), std::string::npos) << lines;
  const std::string screen = tools::top_screen(view, {.columns = 200, .rows = 10});
  EXPECT_NE(screen.find("shmif top  /dev/shm/a?[2J???z "), std::string::npos) << screen;
  EXPECT_TRUE(is_in(screen, kBold, "a?[2J???z" + std::string(22, ' '))) << screen;
  EXPECT_EQ(screen.find("\x1b[2J"), std::string::npos) << screen;
}

TEST(TopNames, AndTheShapeOfTheBusShareALineOnlyIfBothFit) {
  tools::TopView view = view_of({});
  view.info.file_system = "tmpfs";
  const auto first_line = [&](unsigned columns) {
    const std::string screen = tools::top_screen(view, {.columns = columns, .rows = 10});
    return screen.substr(0, screen.find('\n'));
  };
  const std::string name = "\x1b[1mshmif top  /bus";
  EXPECT_EQ(first_line(34), name + "  tmpfs  0 B  mtu 0\x1b[0m");
  EXPECT_EQ(first_line(33), name + std::string(18, ' ') + "\x1b[0m");
}

TEST(TopNames, HaveRoomForTheLongestThereCanBeAndNoMore) {
  for (const auto& [columns, width] : {std::pair{80U, 15U}, {83U, 10U}, {92U, 19U}, {300U, 31U}}) {
    tools::TopView view = view_of({port_of(1, std::string(31, 'n'))});
    const std::string screen = tools::top_screen(view, {.columns = columns, .rows = 10});
    EXPECT_EQ(screen.find(" LOST/s ") - screen.find(" NAME "), width + 1) << columns;
    EXPECT_TRUE(is_in(screen, kBold, std::string(width, 'n'))) << columns << '\n' << screen;
  }
}

}  // namespace
}  // namespace shmif::test
