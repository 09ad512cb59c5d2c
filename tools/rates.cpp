#include "tools/rates.hpp"

#include <cstdio>

namespace shmif::tools {

namespace {

/// A counter that went back belongs to a newer owner of the slot.
double per_second(std::uint64_t before, std::uint64_t now, double seconds) {
  return now >= before ? static_cast<double>(now - before) / seconds : 0;
}

const PortInfo* same_port(const std::vector<PortInfo>& ports, const PortInfo& wanted) {
  for (const PortInfo& port : ports) {
    if (port.slot == wanted.slot && port.name == wanted.name && port.pid == wanted.pid)
      return &port;
  }
  return nullptr;
}

}  // namespace

BusRates rates_between(const std::optional<Sample>& before, const Sample& now) {
  BusRates rates;
  const double seconds =
      before ? std::chrono::duration<double>(now.when - before->when).count() : 0;
  rates.known = seconds > 0;
  if (rates.known) {
    rates.frames = per_second(before->info.frames, now.info.frames, seconds);
    rates.acquisitions =
        per_second(before->info.lock_acquisitions, now.info.lock_acquisitions, seconds);
  }
  for (const PortInfo& port : now.info.ports) {
    PortRates row{port};
    const PortInfo* const old = rates.known ? same_port(before->info.ports, port) : nullptr;
    if (old != nullptr) {
      row.known = true;
      row.tx_frames = per_second(old->tx_segments, port.tx_segments, seconds);
      row.tx_bits = 8 * per_second(old->tx_bytes, port.tx_bytes, seconds);
      row.rx_frames = per_second(old->rx_segments, port.rx_segments, seconds);
      row.rx_bits = 8 * per_second(old->rx_bytes, port.rx_bytes, seconds);
      row.lost_frames = per_second(old->lost_frames, port.lost_frames, seconds);
      row.wakeups = per_second(old->wakeups, port.wakeups, seconds);
      row.doorbells = per_second(old->doorbells, port.doorbells, seconds);
      row.lock_sleeps = per_second(old->lock_sleeps, port.lock_sleeps, seconds);
      rates.bits += row.tx_bits;
      // The bus numbers a super-frame as one frame.
      rates.frames +=
          per_second(old->tx_segments - old->tx_frames, port.tx_segments - port.tx_frames, seconds);
    }
    rates.ports.push_back(std::move(row));
  }
  return rates;
}

std::string format_rate(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T", "P"};
  std::size_t unit = 0;
  // 999.5 would be rounded to four digits.
  while (value >= 999.5 && unit < 5) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  const bool whole = unit == 0 && (value == 0 || value >= 9.95);
  const int digits = whole || value >= 99.95 ? 0 : value >= 9.995 || unit == 0 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f%s", digits, value, kUnits[unit]);
  return text;
}

}  // namespace shmif::tools
