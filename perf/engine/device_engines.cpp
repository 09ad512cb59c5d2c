// engine=tap: a kernel bridge, with a TAP device for each end; or existing TAP devices.

#include <algorithm>
#include <memory>
#include <utility>

#include "perf/engine/device_wires.hpp"
#include "perf/engine/link_end.hpp"
#include "shmif/datagram_link.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"

namespace shmif::perf {
namespace {

using TapEndLink = CappedLink<tap::TapLink>;

/// Opens a device without setting it up or down.
Result<tap::TapLink> open_tap(const std::string& name, const tap::NetNamespace& where,
                              std::optional<std::uint32_t> mtu) {
  tap::TapOptions options;
  options.name = name;
  options.mtu = mtu;
  options.up = false;
  options.where = &where;
  return tap::TapLink::open(options);
}

class TapWire final : public Wire {
 public:
  TapWire(tap::NetNamespace where, const JobOptions& job, std::size_t ends)
      : where_(std::move(where)),
        mtu_(device_mtu(job)),
        largest_(mtu_ + kEthernetHeaderBytes),
        ends_(ends) {}

  Capabilities capabilities() const noexcept override { return kTapEngine.capabilities; }
  std::string address() const override { return "tap:"; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, ends_, address()); !fits) return std::move(fits).error();
    const std::string name = "tap" + std::to_string(options.index);
    auto link = open_tap(name, where_, mtu_);
    if (!link) return std::move(link).error();
    auto netlink = tap::Netlink::open(where_);
    if (!netlink) return std::move(netlink).error();
    if (auto done = netlink->disable_ipv6(name); !done) return std::move(done).error();
    if (auto done = netlink->set_up(name); !done) return std::move(done).error();
    auto opened = RouteSession::open(where_);
    if (!opened) return std::move(opened).error();
    const auto session = std::make_shared<RouteSession>(*std::move(opened));
    if (auto done = session->add_port(name, kBridge, mac_of(options)); !done) {
      return std::move(done).error();
    }
    auto index = session->index_of(name);
    if (!index) return std::move(index).error();
    return make_end(TapEndLink(*std::move(link), largest_), options, RoomWait::sleep,
                    [counts = CountsSince(session, *index)](const TapEndLink&) {
                      return from_device(counts());
                    });
  }

 private:
  /// Frames sent by this end are received by the device, and the other way round. The device counts
  /// a frame that is dropped later in rx_packets, too; one that it refused fails in write().
  static WireCounters from_device(const std::optional<InterfaceCounts>& c) {
    if (!c) return {};
    return {.tx_frames = c->rx_frames,
            .tx_bytes = c->rx_bytes,
            .rx_frames = c->tx_frames,
            .rx_bytes = c->tx_bytes,
            .lost_frames = std::nullopt,
            .overruns = std::nullopt,
            .dropped_frames = c->rx_dropped + c->tx_dropped};
  }

  tap::NetNamespace where_;
  std::uint32_t mtu_;
  std::size_t largest_;
  std::size_t ends_;
};

Result<std::unique_ptr<End>> open_named_tap(const std::string& name, const tap::NetNamespace& where,
                                            const EndOptions& options) {
  auto link = open_tap(name, where, std::nullopt);
  if (!link) return std::move(link).error();
  auto netlink = tap::Netlink::open(where);
  if (!netlink) return std::move(netlink).error();
  auto device = netlink->interface(name);
  if (!device) return std::move(device).error();
  return make_end(TapEndLink(*std::move(link), device->mtu + kEthernetHeaderBytes), options,
                  RoomWait::sleep,
                  [](const TapEndLink& l) { return from_link(l.link().counters()); });
}

Result<std::unique_ptr<Wire>> make_tap_wire(const JobOptions& job, std::size_t ends) {
  if (auto usable = tap::check_tun_device(); !usable) {
    return Error(Errc::not_supported, usable.error().message);
  }
  if (!job.netdev.empty()) {
    auto found = find_interfaces(job, ends);
    if (!found) return std::move(found).error();
    return make_named_wire(EngineKind::tap, *std::move(found), open_named_tap);
  }
  auto space = make_quiet_namespace();
  if (!space) return std::move(space).error();
  auto session = RouteSession::open(*space);
  if (!session) return std::move(session).error();
  if (auto made = session->add_bridge(kBridge); !made) return std::move(made).error();
  return std::unique_ptr<Wire>(std::make_unique<TapWire>(*std::move(space), job, ends));
}

}  // namespace

const Engine kTapEngine{
    .kind = EngineKind::tap,
    .name = "tap",
    .wire = "a network namespace with a bridge and a TAP per job",
    .capabilities = {.counts = true, .batches = true},
    .through = Through::files,
    .make_wire = make_tap_wire,
    .instead =
        "; engine=packet needs no TAP device; engine=bus, unix and udp need no namespace either"};

// engine=packet: veth pairs with a packet socket for each end. Two ends use one pair; more ends use
// a bridge and a pair each. Or existing interfaces that the job names.

namespace {

using tap::PacketLink;

using PacketEndLink = CappedLink<PacketLink>;

std::string near_name(std::size_t index) {
  return "veth" + std::to_string(index);
}
/// The other end of the pair, on the bridge.
std::string port_name(std::size_t index) {
  return "port" + std::to_string(index);
}

class PacketWire final : public Wire {
 public:
  PacketWire(tap::NetNamespace where, const JobOptions& job, std::size_t ends, bool bridged)
      : where_(std::move(where)),
        largest_(device_mtu(job) + kEthernetHeaderBytes),
        ends_(ends),
        bridged_(bridged) {}

  Capabilities capabilities() const noexcept override { return kPacketEngine.capabilities; }
  std::string address() const override { return "packet:"; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, ends_, address()); !fits) return std::move(fits).error();
    auto opened = RouteSession::open(where_);
    if (!opened) return std::move(opened).error();
    const auto session = std::make_shared<RouteSession>(*std::move(opened));
    auto index = session->index_of(near_name(options.index));
    if (!index) return std::move(index).error();
    std::optional<CountsSince> at_port;
    if (bridged_) {
      const std::string port = port_name(options.index);
      if (auto done = session->add_port(port, kBridge, mac_of(options)); !done) {
        return std::move(done).error();
      }
      auto port_index = session->index_of(port);
      if (!port_index) return std::move(port_index).error();
      at_port.emplace(session, *port_index);
    }
    auto link = PacketLink::open(near_name(options.index), {.where = &where_});
    if (!link) return std::move(link).error();
    return make_end(PacketEndLink(*std::move(link), largest_), options, RoomWait::poll,
                    [counts = CountsSince(session, *index), at_port](PacketEndLink& l) {
                      return from_interfaces(counts(), at_port ? (*at_port)() : std::nullopt, l);
                    });
  }

 private:
  /// Frames are lost if the other side of a pair has no room (the sending side counts them), or if
  /// the packet socket is not read in time.
  static WireCounters from_interfaces(const std::optional<InterfaceCounts>& near,
                                      const std::optional<InterfaceCounts>& port,
                                      PacketEndLink& link) {
    if (!near) return {};
    const std::optional<std::uint32_t> missed = drops_of(link.descriptor());
    WireCounters counted;
    counted.tx_frames = near->tx_frames + near->tx_dropped;
    if (near->tx_dropped == 0) counted.tx_bytes = near->tx_bytes;
    if (!missed) return counted;
    counted.rx_frames = near->rx_frames - *missed;
    if (*missed == 0) counted.rx_bytes = near->rx_bytes;
    counted.dropped_frames = near->tx_dropped + *missed + (port ? port->tx_dropped : 0);
    return counted;
  }

  tap::NetNamespace where_;
  std::size_t largest_;
  std::size_t ends_;
  bool bridged_;
};

Result<std::unique_ptr<End>> open_named_interface(const std::string& name,
                                                  const tap::NetNamespace& where,
                                                  const EndOptions& options) {
  auto link = PacketLink::open(name, {.where = &where});
  if (!link) return std::move(link).error();
  return make_end(*std::move(link), options, RoomWait::poll,
                  [](const PacketLink& l) { return from_link(l.counters()); });
}

/// Sets the MTU of one side of a pair, and sets it up.
Result<void> bring_up(tap::Netlink& netlink, const std::string& name, std::uint32_t mtu) {
  if (auto done = netlink.disable_ipv6(name); !done) return done;
  if (auto done = netlink.set_mtu(name, mtu); !done) return done;
  return netlink.set_up(name);
}

Result<void> make_pairs(const tap::NetNamespace& space, std::size_t ends, std::uint32_t mtu,
                        bool bridged) {
  auto netlink = tap::Netlink::open(space);
  if (!netlink) return std::move(netlink).error();
  for (std::size_t i = 0; i < (bridged ? ends : 1); ++i) {
    const std::string near = near_name(i);
    const std::string other = bridged ? port_name(i) : near_name(1);
    if (auto made = netlink->add_veth(near, other); !made) {
      if (made.error().code != std::errc::operation_not_supported) return made;
      return Error(Errc::not_supported, made.error().message + " (the kernel has no veth)");
    }
    for (const std::string& name : {near, other}) {
      if (auto up = bring_up(*netlink, name, mtu); !up) return up;
    }
    if (auto up = netlink->wait_for_carrier(near, std::chrono::seconds(5)); !up) return up;
  }
  return {};
}

Result<std::unique_ptr<Wire>> make_packet_wire(const JobOptions& job, std::size_t ends) {
  if (!job.netdev.empty()) {
    auto found = find_interfaces(job, ends);
    if (!found) return std::move(found).error();
    return make_named_wire(EngineKind::packet, *std::move(found), open_named_interface);
  }
  auto space = make_quiet_namespace();
  if (!space) return std::move(space).error();
  const bool bridged = ends > 2;
  if (auto made = make_pairs(*space, ends, device_mtu(job), bridged); !made)
    return std::move(made).error();
  if (bridged) {
    auto session = RouteSession::open(*space);
    if (!session) return std::move(session).error();
    if (auto made = session->add_bridge(kBridge); !made) return std::move(made).error();
  }
  return std::unique_ptr<Wire>(std::make_unique<PacketWire>(*std::move(space), job, ends, bridged));
}

}  // namespace

const Engine kPacketEngine{.kind = EngineKind::packet,
                           .name = "packet",
                           .wire = "a network namespace with a bridge and a veth pair per job",
                           .capabilities = {.counts = true, .batches = true, .overruns = true},
                           .through = Through::sockets,
                           .make_wire = make_packet_wire};

}  // namespace shmif::perf
