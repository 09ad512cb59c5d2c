#pragma once
// The two sides of a bridge between two links, and how each kind of link is opened.

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "shmif/bus.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tap/device_counters.hpp"
#include "tap/line/line.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/link_address.hpp"

namespace shmif::tools {

/// One side of a bridge. The members that are null or empty tell of what kind the link is not.
struct LinkSide {
  LinkAddress address;
  bool is_second = false;           ///< the second link of the command line
  NewBus new_bus;                   ///< the bus, until the bridge has started
  std::optional<Bus> bus;           ///< set from the first inspection until the port is attached
  std::optional<AnyLink> link;      ///< unless the link is a port
  std::optional<tap::Line> line;    ///< the port, and the faults of frames from it and to it
  Port* port = nullptr;             ///< the link, if it is one
  PcapReader* reader = nullptr;     ///< the link, if it is one
  CaptureWriter* writer = nullptr;  ///< the link, if it is one
  FaultLink* faults = nullptr;      ///< wraps `link`, if faults apply to frames from it
  FaultOptions fault_options{};     ///< those of `faults`
  /// Reads the counters of the link, if it is a device.
  std::function<tap::DeviceCounters()> device = {};
  bool mac_comes_later = false;  ///< the device is new, and is down until it has its address
  int file = -1;                 ///< descriptor of the link, even if it is wrapped

  /// The link, for a bridge.
  AnyLink& end() { return line ? line->link() : *link; }
  int our_end() { return faults != nullptr ? file : end().descriptor(); }

  template <class L>
  L* hold(L made) {
    auto owned = std::make_unique<L>(std::move(made));
    L* const raw = owned.get();
    link.emplace(std::move(owned));
    return raw;
  }
};

/// What the user asked for, beside the links.
struct LinkWish {
  const BusWish& bus;
  std::string port_name;
  bool offload = false;  ///< pass on unfinished checksums and super-frames, if both sides can
  bool force = false;    ///< replace a capture file
  std::chrono::nanoseconds max_gap{0};  ///< in a replay; 0: no limit
  int stop_descriptor = -1;             ///< ends waits for captures
};

/// The bus of a side. It is opened only once, so the port attaches to the bus that was inspected.
/// Throws if there is none. Threads: one at a time. Blocks: while a bus is made.
const Bus& bus_of(LinkSide& side, const BusWish& wish);

/// Opens both sides, and brings their ports up. Throws, and leaves no trace, if that fails.
/// Threads: one at a time. Blocks: while a bus is made, for up to kNamePatience for a name, and for
/// the other end of a capture that is a FIFO, until wish.stop_descriptor is readable.
void open_sides(std::array<LinkSide, 2>& sides, const LinkWish& wish);

// The steps of the kinds of link (LinkRow::open), which open_sides() takes.
void inspect_beside(LinkSide& side, LinkSide& other, const LinkWish& wish);
void attach_side(LinkSide& side, LinkSide& other, const LinkWish& wish);
void open_tap_side(LinkSide& side, LinkSide& other, const LinkWish& wish);
void address_tap_side(LinkSide& side, LinkSide& other, const LinkWish& wish);
void open_packet_side(LinkSide& side, LinkSide& other, const LinkWish& wish);
void check_capture_side(LinkSide& side, LinkSide& other, const LinkWish& wish);
void read_capture_side(LinkSide& side, LinkSide& other, const LinkWish& wish);
void write_capture_side(LinkSide& side, LinkSide& other, const LinkWish& wish);

}  // namespace shmif::tools
