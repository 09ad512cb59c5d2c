// engine=tap: a kernel bridge, with a TAP device for each end; or existing TAP devices.

#include <algorithm>
#include <memory>
#include <utility>

#include "perf/engine/device_wires.hpp"
#include "perf/engine/link_end.hpp"
#include "perf/engine/wires.hpp"
#include "tap/netlink.hpp"
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
    EndOptions with_mac = options;
    with_mac.mac = mac_of(options);
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
    if (auto done = session->add_port(name, kBridge, with_mac.mac); !done) {
      return std::move(done).error();
    }
    auto index = session->index_of(name);
    if (!index) return std::move(index).error();
    return make_end(TapEndLink(*std::move(link), largest_), with_mac, RoomWait::sleep,
                    [counts = CountsSince(session, *index)](const TapEndLink&) {
                      return from_device(counts());
                    });
  }

 private:
  /// Frames sent by this end are received by the device, and the other way round.
  static WireCounters from_device(const std::optional<InterfaceCounts>& c) {
    if (!c) return {};
    return {.tx_frames = c->rx_frames + c->rx_dropped,
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

}  // namespace shmif::perf
