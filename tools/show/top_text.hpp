#pragma once
// The output of `shmifctl top`: a screen, or lines; and the rates per second in it.

#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "tools/show/terminal.hpp"

namespace shmif::tools {

/// The state of a bus and the time when it was read.
struct Sample {
  std::chrono::steady_clock::time_point when;
  BusInfo info;
};

/// A port now, and its rates per second since the previous sample. A port that attached since then
/// counts from 0. A super-frame counts as the frames that it stands for. But its bytes are those on
/// the bus, with one header, because no counter includes the headers that its frames have on a
/// wire.
struct PortRates {
  PortInfo port;
  bool known = false;  ///< the rates below are valid
  double tx_frames = 0, tx_bits = 0, rx_frames = 0, rx_bits = 0, lost_frames = 0;
  double wakeups = 0, doorbells = 0, lock_sleeps = 0;
  /// The share of the ring that the port still has to read. If it is 1 or more, senders have begun
  /// to overwrite that part.
  double lag = 0;
  bool lag_known = true;  ///< false: the header of the bus does not say where the ring ends
};

/// `frames` and `bits` are sums over all senders, including ports that have left.
struct BusRates {
  bool known = false;
  /// False if the bus also carried frames of ports that have left, and other ports have taken their
  /// slots.
  bool complete = true;
  /// True if `frames` and `bits` follow from the bytes written and the mean size of the frames in
  /// the ring.
  bool estimated = false;
  double frames = 0, bits = 0, acquisitions = 0;
  bool acquisitions_known = false;  ///< at both times, the lock word said how many there were
  std::vector<PortRates> ports;
};

/// The rates between two samples; `before` may be empty.
BusRates rates_between(const std::optional<Sample>& before, const Sample& now);

/// Three significant digits and a letter, at most six characters: "0", "0.5", "999", "1.23k",
/// "45.6M".
std::string format_rate(double value);

/// `frames` or `bits` of a bus: "-" if not measured, "1.23k+" if it is a lower bound,
/// "~1.23k" if it is an estimate.
std::string format_bus_rate(const BusRates& rates, double value);

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
