#pragma once
// The output of `shmifctl top`: a screen, or lines.

#include <ctime>
#include <string>

#include "shmif/bus.hpp"
#include "tools/show/rates.hpp"
#include "tools/show/terminal.hpp"

namespace shmif::tools {

/// The contents of the screen.
struct TopView {
  BusInfo info;
  BusRates rates;
  std::size_t scrolled = 0;  ///< number of ports above the first one shown
};

/// How many ports fit on a screen of that size.
std::size_t top_rows(Screen::Size size);

/// The screen, without a newline after its last line. Scrolls back if there are too few ports.
std::string top_screen(TopView& view, Screen::Size size);

/// The lines of one sample, for a file or a pipe: one for the bus, one for each port.
std::string top_lines(std::time_t now, const BusInfo& info, const BusRates& rates);

}  // namespace shmif::tools
