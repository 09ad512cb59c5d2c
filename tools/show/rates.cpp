#include "tools/show/rates.hpp"

#include <cstdio>
#include <map>

#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

/// A counter goes back only if it was overwritten.
std::uint64_t grown(std::uint64_t before, std::uint64_t now) {
  return now >= before ? now - before : 0;
}

const PortInfo* same_port(const std::vector<PortInfo>& ports, const PortInfo& wanted) {
  for (const PortInfo& port : ports) {
    if (port.slot == wanted.slot && port.incarnation == wanted.incarnation) return &port;
  }
  return nullptr;
}

/// The last owner of a slot, and the counts of what it sent.
struct Sent {
  std::uint32_t incarnation = 0;  // 0 if it is not known
  bool has_left = true;
  std::uint64_t frames = 0, bytes = 0, segments = 0;
};

std::map<unsigned, Sent> sent_by_slot(const BusInfo& info) {
  std::map<unsigned, Sent> slots;
  for (const FormerPort& p : info.former_ports)
    slots[p.slot] = {p.incarnation, true, p.tx_frames, p.tx_bytes, p.tx_segments};
  for (const PortInfo& p : info.ports)
    slots[p.slot] = {p.incarnation, false, p.tx_frames, p.tx_bytes, p.tx_segments};
  return slots;
}

/// Adds up what all ports sent between two samples, as far as the slots still show that.
void add_up(const BusInfo& before, const BusInfo& now, double seconds, BusRates& rates) {
  const std::map<unsigned, Sent> old_slots = sent_by_slot(before);
  const std::map<unsigned, Sent> slots = sent_by_slot(now);
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;
  std::uint64_t segments = 0;
  bool complete = true;
  for (const auto& [slot, sent] : slots) {
    const auto found = old_slots.find(slot);
    Sent old = found != old_slots.end() ? found->second : Sent{};
    if (sent.incarnation == 0 || old.incarnation != sent.incarnation) {
      // It is complete only if no other port had the slot in between, and the old port had already
      // left.
      complete = complete && old.has_left && sent.incarnation == old.incarnation + 1;
      if (sent.incarnation == 0) continue;
      old = {};
    }
    frames += grown(old.frames, sent.frames);
    bytes += grown(old.bytes, sent.bytes);
    segments += grown(old.segments, sent.segments);
  }
  for (const auto& [slot, old] : old_slots) complete = complete && slots.contains(slot);
  // If a slot changed its port unseen, this does not matter as long as the bus numbered no more
  // frames than these.
  rates.complete = complete || grown(before.frames, now.frames) <= frames;
  rates.frames = static_cast<double>(segments) / seconds;
  rates.bits = 8 * static_cast<double>(bytes) / seconds;
}

/// NetBSD's format does not count frames. But it says how many bytes were written, including
/// headers, and the frames in the ring have a mean size.
void estimate(const BusInfo& before, const BusInfo& now, double seconds, BusRates& rates) {
  const double header_bytes = now.netbsd->version == 2 ? 12 : 24;
  rates.estimated = true;
  // A repair moves the positions.
  rates.known = why_no_end(before) == nullptr && why_no_end(now) == nullptr &&
                before.epoch == now.epoch && now.last >= before.last;
  if (!rates.known) return;
  const auto bytes = static_cast<double>(now.last - before.last);
  const std::uint64_t frames = *now.netbsd->frames_in_ring;
  if (frames == 0) {
    rates.complete = bytes == 0;
    return;
  }
  const double mean = static_cast<double>(*now.netbsd->bytes_in_ring) / static_cast<double>(frames);
  rates.complete = true;
  rates.frames = bytes / (mean + header_bytes) / seconds;
  rates.bits = 8 * mean * rates.frames;
}

}  // namespace

BusRates rates_between(const std::optional<Sample>& before, const Sample& now) {
  BusRates rates;
  const double seconds =
      before ? std::chrono::duration<double>(now.when - before->when).count() : 0;
  rates.known = seconds > 0;
  const auto per_second = [seconds](std::uint64_t from, std::uint64_t to) {
    return static_cast<double>(grown(from, to)) / seconds;
  };
  if (rates.known) {
    if (now.info.netbsd) {
      estimate(before->info, now.info, seconds, rates);
    } else {
      add_up(before->info, now.info, seconds, rates);
    }
    rates.acquisitions_known =
        why_no_acquisitions(before->info) == nullptr && why_no_acquisitions(now.info) == nullptr;
    if (rates.acquisitions_known)
      rates.acquisitions = per_second(before->info.lock_acquisitions, now.info.lock_acquisitions);
  }
  for (const PortInfo& port : now.info.ports) {
    PortRates row{port};
    row.lag_known = why_no_end(now.info) == nullptr;
    if (now.info.ring_bytes != 0 && row.lag_known) {
      row.lag = static_cast<double>(port.unread_bytes) / static_cast<double>(now.info.ring_bytes);
    }
    // While a slot changes hands, it is not known to which port its counters belong.
    row.known = rates.known && port.incarnation != 0;
    if (row.known) {
      const PortInfo* const seen = same_port(before->info.ports, port);
      const PortCounters none;
      const PortCounters& old = seen != nullptr ? *seen : none;
      row.tx_frames = per_second(old.tx_segments, port.tx_segments);
      row.tx_bits = 8 * per_second(old.tx_bytes, port.tx_bytes);
      row.rx_frames = per_second(old.rx_segments, port.rx_segments);
      row.rx_bits = 8 * per_second(old.rx_bytes, port.rx_bytes);
      row.lost_frames = per_second(old.lost_frames, port.lost_frames);
      row.wakeups = per_second(old.wakeups, port.wakeups);
      row.doorbells = per_second(old.doorbells, port.doorbells);
      row.lock_sleeps = per_second(old.lock_sleeps, port.lock_sleeps);
    }
    rates.ports.push_back(std::move(row));
  }
  return rates;
}

std::string format_bus_rate(const BusRates& rates, double value) {
  if (!rates.known || (!rates.complete && value == 0)) return "-";
  return (rates.estimated && value > 0 ? "~" : "") + format_rate(value) +
         (rates.complete ? "" : "+");
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
