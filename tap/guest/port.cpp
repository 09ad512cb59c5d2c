#include "tap/guest/port.hpp"

#include <chrono>
#include <utility>

#include "tap/device_settings.hpp"
#include "tap/guest/watch.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"

namespace shmif::tap {
namespace {

template <class L>
Result<std::unique_ptr<AnyLink>> wrap(Result<L> link) {
  if (!link) return std::move(link).error();
  return std::make_unique<AnyLink>(std::make_unique<L>(*std::move(link)));
}

/// Our end of the interface, as a link.
Result<std::unique_ptr<AnyLink>> adopt(GuestLink& link, bool offload) {
  // A TAP file itself says whether it has offloads.
  if (link.kind == LinkKind::tap) return wrap(TapLink::adopt(std::move(link.descriptor)));
  return wrap(
      PacketLink::adopt(std::move(link.descriptor), {.tag_in_mtu = true, .offload = offload}));
}

}  // namespace

Result<GuestPort> GuestPort::attach(GuestLink& interface, const Bus& bus, PortOptions options) {
  options.kind = interface.kind;
  const bool offload = options.take_offloads;
  GuestPort made;
  made.always_promiscuous_ = options.promiscuous;
  made.options_ = options;
  auto port = std::make_unique<Port>(std::move(options));
  if (auto done = port->attach(bus); !done) return std::move(done).error();
  made.path_ = port->link().value().path;
  made.bus_mtu_ = port->mtu().value();  // it is attached
  made.carries_offloads_ = port->takes_offloads();
  made.state_.mtu = interface.mtu;
  made.interface_ = interface.interface;
  made.kind_ = interface.kind;
  made.line_ = std::make_unique<Line>(std::move(port));
  auto device = adopt(interface, offload);
  if (!device) return std::move(device).error();
  made.device_ = *std::move(device);
  return made;
}

Result<void> GuestPort::up() {
  if (const std::error_code error = port().up()) {
    return Error(error, "cannot bring the port up on " + bus().address() + ": " + error.message());
  }
  return {};
}

void GuestPort::show(const GuestInterfaceState& now) {
  state_ = now;
  if (!plugged_) return;
  GuestInterfaceState seen = now;
  // The news of an interface come later than the change that cuts the line.
  seen.carrier = seen.carrier && line_->has_carrier();
  show_on(port(), seen, always_promiscuous_);
}

std::error_code GuestPort::set_carrier(bool on) noexcept {
  return tap::set_carrier(device_->descriptor(), kind_, on);
}

std::error_code GuestPort::set_link(bool up) {
  line_->set_carrier(up);
  const std::error_code error = set_carrier(up && plugged_);
  show(GuestInterfaceState(state_));
  return error;
}

std::optional<std::uint32_t> GuestPort::mtu_of(const AnyLink& side) const noexcept {
  if (&side == &bus()) return port().mtu();
  if (&side == device_.get()) return state_.mtu;
  return std::nullopt;
}

bool GuestPort::unplug(std::error_code why) noexcept {
  plugged_ = false;
  static_cast<void>(port().down());
  waits_for_bus_ = why == Errc::bus_lost;
  return waits_for_bus_;
}

bool GuestPort::attach_again() {
  const Result<Bus> bus = Bus::open(path_);
  if (!bus || port().detach()) return false;
  const BusInfo info = bus->info();
  if (info.mtu != bus_mtu_ || info.carries_offloads != carries_offloads_) return false;
  if (!port().attach(*bus) || port().up() || !line_->restart()) return false;
  plugged_ = true;
  waits_for_bus_ = false;
  show(state_);  // also for changes made meanwhile; carrier follows with the next news
  static_cast<void>(set_carrier(line_->has_carrier()));
  return true;
}

Result<Port> GuestPort::attach_to(const Bus& bus) const {
  PortOptions options = options_;
  options.name = port().name();
  options.mac = port().mac();
  options.name_patience = std::chrono::milliseconds(0);
  Port twin(std::move(options));
  if (auto done = twin.attach(bus); !done) return std::move(done).error();
  if (const std::error_code error = twin.up())
    return Error(error, "cannot bring the port up on " + twin.address() + ": " + error.message());
  return twin;
}

void GuestPort::replace(Port moved) {
  port() = std::move(moved);
  path_ = port().link().value().path;   // it is attached
  static_cast<void>(line_->restart());  // without a descriptor for them, it has no faults
  show(state_);
}

}  // namespace shmif::tap
