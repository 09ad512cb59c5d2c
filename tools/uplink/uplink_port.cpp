#include "tools/uplink/uplink_port.hpp"

#include <memory>
#include <string>
#include <system_error>

namespace shmif::tools {
namespace {

std::unique_ptr<Port> attach_uplink(const Bus& bus, const UplinkPortOptions& wish) {
  PortOptions options;
  options.name = wish.name.empty() ? "uplink" : wish.name;
  options.kind = LinkKind::bridge;
  options.promiscuous = true;  // a host with any address may be on another machine
  options.take_offloads = wish.take_offloads;
  options.lock_memory = wish.lock_memory;
  if (!wish.name.empty()) options.name_patience = kNamePatience;
  auto port = std::make_unique<Port>(options);
  Result<void> attached = port->attach(bus);
  if (!attached && wish.name.empty() && attached.error().code == Errc::name_taken) {
    options.name.clear();
    *port = Port(options);
    attached = port->attach(bus);
  }
  attached.value();
  return port;
}

tap::Line uplink_line(const Bus& bus, const UplinkPortOptions& wish) {
  tap::Line line(attach_uplink(bus, wish));
  line.set_faults(wish.faults).value();
  return line;
}

}  // namespace

UplinkPort::UplinkPort(const Bus& bus, const UplinkPortOptions& options)
    : line_(uplink_line(bus, options)),
      control_(line_, {.counts_elsewhere = [this] { return counts_behind_line(); }}),
      home_(options.behind) {
  line_.set_sorter([this](const FrameView& frame) { return stays(frame); });
  control_.note_start();
  control_.show_counts();
}

bool UplinkPort::stays(const FrameView& frame) {
  if (!home_.stays(frame, HomeTable::Clock::now())) return false;
  ++stayed_;
  return true;
}

bool UplinkPort::refuses_from_afar(const FrameView& frame) {
  if (control_.is_down()) {
    ++cut_back_;
    return true;
  }
  home_.came_from_afar(frame, HomeTable::Clock::now());
  return false;
}

bool UplinkPort::show_drops(const UplinkDrops& drops) {
  drops_ = drops_before_ + drops;
  return control_.show_counts();
}

LineCounts UplinkPort::counts_behind_line() const noexcept {
  return {.dropped_in = drops_.there, .dropped_out = drops_.back + cut_back_};
}

void UplinkPort::lose_what_waits() {
  if (!line_.has_carrier()) return;  // then nothing waits
  line_.set_carrier(false);
  line_.set_carrier(true);
}

std::pair<BridgeWay, BridgeWay> UplinkPort::ways(const tap::PairCounters& frames,
                                                 const std::string& bus,
                                                 const std::string& far) const {
  auto ways = ways_over(line_.counters(), line_.faults(), frames, bus, far);
  BridgeWay& back = ways.second;
  back.cut_at_source = cut_back_;
  // The bridge met them, and gave them to nobody.
  back.counters.received -= cut_back_;
  back.counters.consumed -= cut_back_;
  return ways;
}

}  // namespace shmif::tools
