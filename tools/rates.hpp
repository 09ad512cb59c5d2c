#pragma once
// What happened on a bus between two looks at it, as rates per second.

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "shmif/bus.hpp"

namespace shmif::tools {

/// A look at a bus and when it was taken.
struct Sample {
  std::chrono::steady_clock::time_point when;
  BusInfo info;
};

/// A port now, and its rates per second since the look before; a port that came since then counts
/// from 0. A super-frame counts as the frames that it stands for, but its bytes as the bus carries
/// them, with one header: no counter has the headers that its frames have on a wire.
struct PortRates {
  PortInfo port;
  bool known = false;  ///< the rates below mean something
  double tx_frames = 0, tx_bits = 0, rx_frames = 0, rx_bits = 0, lost_frames = 0;
  double wakeups = 0, doorbells = 0, lock_sleeps = 0;
};

/// `frames` and `bits` are sums of what the ports sent, also of those that have left.
struct BusRates {
  bool known = false;
  /// False: the bus carried frames of ports that left, and whose slots others have by now.
  bool complete = true;
  double frames = 0, bits = 0, acquisitions = 0;
  std::vector<PortRates> ports;
};

/// The rates between two samples; `before` may be nothing.
BusRates rates_between(const std::optional<Sample>& before, const Sample& now);

/// Three significant digits and a letter in at most six characters: "0", "0.5", "999", "1.23k",
/// "45.6M".
std::string format_rate(double value);

/// `frames` or `bits` of a bus: "-" when it was not measured, "1.23k+" when it was at least that.
std::string format_bus_rate(const BusRates& rates, double value);

}  // namespace shmif::tools
