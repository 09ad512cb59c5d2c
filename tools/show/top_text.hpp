#pragma once
// The output of `shmifctl top`: a screen, or lines.

#include <array>
#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "tools/show/rates.hpp"
#include "tools/show/terminal.hpp"

namespace shmif::tools {

/// Which ports come first. Among equal ports, those with the lower slot do.
enum class TopOrder : std::uint8_t {
  trouble,  ///< ports that lose frames, then those far behind, then the busiest senders
  lag,
  tx,
  rx,
  name,
  slot,
};

/// A name of an order, and the key that selects it.
struct TopOrderName {
  TopOrder order;
  const char* word;
  char key;
};
inline constexpr std::array<TopOrderName, 6> kTopOrders{{{TopOrder::trouble, "loss", 'l'},
                                                         {TopOrder::lag, "lag", 'g'},
                                                         {TopOrder::tx, "tx", 't'},
                                                         {TopOrder::rx, "rx", 'r'},
                                                         {TopOrder::name, "name", 'n'},
                                                         {TopOrder::slot, "slot", 's'}}};

/// How the screen is drawn, and which part of it.
struct TopLook {
  TopOrder order = TopOrder::trouble;
  std::size_t scrolled = 0;  ///< number of ports above the first one shown
  bool colours = true;
  bool blocks = false;  ///< whether the terminal shows block characters, for the sparkline
};

/// The contents of the screen.
struct TopView {
  BusInfo info;
  BusRates rates;
  TopLook look{};
  std::vector<double> history{};  ///< frames/s of all samples so far; the newest is last
};

/// How many ports fit on a screen of that size.
std::size_t top_rows(Screen::Size size);

/// The screen, without a newline after its last line. Sorts the ports. Scrolls back if there are
/// too few ports.
std::string top_screen(TopView& view, Screen::Size size);

/// The lines of one sample, for a file or a pipe: one for the bus, one for each port.
std::string top_lines(std::time_t now, const BusInfo& info, const BusRates& rates);

}  // namespace shmif::tools
