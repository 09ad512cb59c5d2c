#include "tools/relay/link_side.hpp"

#include <unistd.h>

#include <cstdint>
#include <system_error>

#include "bus/file/output_file.hpp"
#include "tap/host_mac.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"
#include "tools/relay/bus_watch.hpp"
#include "tools/relay/device_watch.hpp"
#include "tools/relay/link_row.hpp"

namespace shmif::tools {
namespace {

/// Properties of the bus at the other end, which exists or will be made. A device or another bus
/// must fit it.
struct BusBeside {
  std::optional<BusInfo> info;  ///< set if the bus exists
  std::optional<std::uint32_t> mtu;
  bool carries_offloads = false;
};

BusBeside bus_beside(LinkSide& other, const BusWish& wish) {
  if (!other.address.row->is_bus) return {};
  if (!other.bus && wish.create && access(other.address.target.c_str(), F_OK) != 0)
    return {std::nullopt, wish.options.mtu, wish.options.carries_offloads()};
  const BusInfo bus = bus_of(other, wish).info();
  return {bus, bus.mtu, bus.carries_offloads};
}

/// Keeps the counters of a device within reach.
template <class Device>
void hold_device(LinkSide& side, Device opened) {
  const Device* const device = side.hold(std::move(opened));
  side.device = [device] { return device->counters(); };
}

}  // namespace

const Bus& bus_of(LinkSide& side, const BusWish& wish) {
  if (!side.bus) side.bus.emplace(provide_bus(side.address.target, wish, side.new_bus).value());
  return *side.bus;
}

void open_sides(std::array<LinkSide, 2>& sides, const LinkWish& wish) {
  for (const auto step :
       {&OpenSteps::check, &OpenSteps::before_buses, &OpenSteps::bus, &OpenSteps::after_buses}) {
    for (LinkSide& side : sides) {
      LinkSide& other = side.is_second ? sides[0] : sides[1];
      if (const OpenSteps::Step take = side.address.row->open.*step; take != nullptr)
        take(side, other, wish);
    }
  }
  for (const LinkSide& side : sides) {
    if (side.port != nullptr) bring_up(*side.port, "bus " + side.address.target);
  }
}

/// If the other link is a bus, it must be one before this one is made.
void inspect_beside(LinkSide&, LinkSide& other, const LinkWish& wish) {
  static_cast<void>(bus_beside(other, wish.bus));
}

void attach_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  const Bus& bus = bus_of(side, wish.bus);
  PortOptions options;
  options.take_offloads =
      wish.offload && (other.line || other.link ? other.end().takes_offloads()
                                                : bus_beside(other, wish.bus).carries_offloads);
  options.name = wish.port_name;
  options.kind = LinkKind::bridge;
  options.name_patience = kNamePatience;
  options.lock_memory = wish.bus.lock_memory;
  options.promiscuous = true;  // hosts behind the bridge can have any addresses
  auto port = std::make_unique<Port>(options);
  port->attach(bus).value();
  side.port = port.get();
  side.line.emplace(std::move(port));
  side.bus.reset();
}

void open_tap_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  const BusBeside bus = bus_beside(other, wish.bus);
  need_tun_device();
  tap::TapOptions options;
  options.name = side.address.target;
  options.mtu = bus.mtu;
  options.offload = wish.offload && bus.carries_offloads;
  const bool is_new = !find_device(nullptr, side.address.target);
  if (is_new && bus.info) options.mac = tap::device_mac(*bus.info, side.address.target);
  // The address follows from a bus that will be made later.
  side.mac_comes_later = is_new && other.address.row->is_bus && !bus.info;
  options.up = !side.mac_comes_later;
  options.put_back = true;
  hold_device(side, tap::TapLink::open(options).value());
}

/// The bus that decides the address of a new device is there now.
void address_tap_side(LinkSide& side, LinkSide& other, const LinkWish&) {
  if (!side.mac_comes_later) return;
  const BusInfo made = Bus::open(other.address.target).value().info();
  tap::Netlink session = open_session(nullptr);
  session.set_mac(side.address.target, tap::device_mac(made, side.address.target)).value();
  session.set_up(side.address.target).value();
}

void open_packet_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  const BusBeside bus = bus_beside(other, wish.bus);
  tap::PacketOptions options;
  options.offload = wish.offload && bus.carries_offloads;
  hold_device(side, tap::PacketLink::open(side.address.target, options).value());
}

/// Refuses to overwrite a file. It may be the capture that was to be replayed.
void check_capture_side(LinkSide& side, LinkSide&, const LinkWish& wish) {
  const std::string& file = side.address.target;
  if (!side.is_second || file == "-") return;
  bus::check_output(file, {.what = "cannot record into \"" + file + '"',
                           .replace = wish.force ? bus::Replace::captures : bus::Replace::nothing,
                           .remedy = "to replay it, make it the first link; to replace it, give "
                                     "--force"})
      .value();
}

void read_capture_side(LinkSide& side, LinkSide&, const LinkWish& wish) {
  if (side.is_second) return;
  const std::string& file = side.address.target;
  PcapReadOptions options;
  options.speed = 1;
  options.max_gap = wish.max_gap;
  options.on_long_gap = [file](std::chrono::nanoseconds left) { say_long_gap(file, left); };
  options.stop_descriptor = wish.stop_descriptor;
  side.reader = side.hold(PcapReader::open(file, options).value());
}

void write_capture_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  if (!side.is_second) return;
  side.writer = side.hold(
      create_capture(side.address.target, CaptureFormat::by_name, 0, {}, wish.stop_descriptor));
  if (other.port != nullptr) side.writer->note_changes(other.address.target);
}

}  // namespace shmif::tools
