// The uplink over VXLAN.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/signals.hpp"
#include "base/text.hpp"
#include "shmif/log.hpp"
#include "tap/netlink.hpp"
#include "tap/netlink/vxlan.hpp"
#include "tap/netns.hpp"
#include "tap/tap_link.hpp"
#include "tools/common/command.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/link_address.hpp"
#include "tools/relay/peer.hpp"
#include "tools/uplink/routing.hpp"
#include "tools/uplink/run_uplink.hpp"
#include "tools/uplink/underlay.hpp"
#include "tools/uplink/uplink_line.hpp"

namespace shmif::tools {
namespace {

constexpr const char* kBridge = "bridge";
constexpr const char* kVxlan = "vxlan";
constexpr const char* kTap = "bus";

/// How long to wait for the devices of an uplink that was ended a moment ago. The kernel removes a
/// namespace in the background.
constexpr std::chrono::milliseconds kRemains{3000};

/// Keeps the kernel from sending packets of its own to the bus and to all machines: of IPv6 (MLD,
/// duplicate address detection), and answers of ARP.
void keep_silent(const tap::NetNamespace& where) {
  const auto write_files = []() -> Result<std::vector<UniqueFd>> {
    for (const auto& [file, value] :
         {std::pair("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"),
          std::pair("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
          std::pair("/proc/sys/net/ipv4/conf/all/arp_ignore", "8")}) {
      const UniqueFd opened(::open(file, O_WRONLY | O_CLOEXEC));
      if (!opened) continue;  // a kernel without IPv6
      [[maybe_unused]] const ssize_t written = ::write(opened.get(), value, 1);
    }
    return std::vector<UniqueFd>();
  };
  tap::run_in(where, write_files).value();
}

/// Adds what to do to an error about rights.
Error with_root_remedy(Error error) {
  if (error.code == std::errc::operation_not_permitted || error.code == Errc::not_supported)
    error.message += " (a VXLAN device needs root; without root, use --ssh HOST:PATH)";
  return error;
}

void done_or_throw(Result<void> done) {
  if (!done) throw Exception(with_root_remedy(std::move(done).error()));
}

/// The private namespace with its devices.
class Devices {
 public:
  Devices(const UplinkWish& wish, const BusInfo& bus, const tap::IpAddress& local,
          const std::vector<UnderlayPath>& paths)
      : inner_(make_namespace()), outer_(tap::NetNamespace::current().value()) {
    keep_silent(inner_);
    tap::Netlink session = tap::Netlink::open(inner_).value();
    done_or_throw(session.set_up("lo"));
    tap::VxlanOptions options;
    options.id = wish.vxlan_id;
    options.local = local;
    options.port = wish.udp_port;
    options.learning = wish.way == UplinkWay::vxlan;
    options.mtu = bus.mtu;
    options.mac = MacAddress::random();
    make_vxlan(options);
    done_or_throw(session.add_bridge(kBridge, MacAddress::random()));
    open_tap(wish, bus);
    for (const char* const port : {kVxlan, kTap}) {
      done_or_throw(session.disable_ipv6(port));
      done_or_throw(session.add_to_bridge(port, kBridge));
    }
    if (wish.way == UplinkWay::evpn) {
      done_or_throw(tap::let_routing_tell(kVxlan, inner_));
    } else {
      for (const UnderlayPath& path : paths)
        done_or_throw(tap::add_flood_peer(kVxlan, inner_, path.remote));
    }
    done_or_throw(session.disable_ipv6(kBridge));
    for (const char* const each : {kVxlan, kTap, kBridge}) done_or_throw(session.set_up(each));
    if (wish.way != UplinkWay::evpn) return;
    // The routing programs ask in this namespace which interface has their address, and whether
    // their peers can be reached. No packet uses either.
    done_or_throw(session.add_address("lo", tap::Cidr{local, local.bits()}));
    done_or_throw(tap::route_everything_to(kBridge, inner_));
  }
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;
  /// Removes the VXLAN device at once, so that the next uplink with its number finds none. The rest
  /// vanishes with the namespace.
  ~Devices() {
    if (auto session = tap::Netlink::open(inner_)) static_cast<void>(session->remove(kVxlan));
  }

  const tap::NetNamespace& space() const noexcept { return inner_; }
  AnyLink& link() noexcept { return *link_; }
  tap::DeviceCounters counters() const noexcept { return tap_->counters(); }

 private:
  static tap::NetNamespace make_namespace() {
    auto made = tap::NetNamespace::create();
    if (!made) throw Exception(with_root_remedy(std::move(made).error()));
    return *std::move(made);
  }

  void make_vxlan(const tap::VxlanOptions& options) const {
    const auto until = std::chrono::steady_clock::now() + kRemains;
    for (;;) {  // runs until `until` at most
      auto made = tap::add_vxlan(kVxlan, inner_, outer_, options);
      if (made) return;
      if (made.error().code != std::errc::file_exists || std::chrono::steady_clock::now() >= until)
        throw Exception(with_root_remedy(std::move(made).error()));
      ::poll(nullptr, 0, 20);
    }
  }

  void open_tap(const UplinkWish& wish, const BusInfo& bus) {
    need_tun_device();
    tap::TapOptions options;
    options.name = kTap;
    options.mtu = bus.mtu;
    options.mac = MacAddress::random();
    options.where = &inner_;
    options.up = false;
    options.offload = wish.offload && bus.carries_offloads;
    auto opened = std::make_unique<tap::TapLink>(tap::TapLink::open(options).value());
    tap_ = opened.get();
    link_.emplace(std::move(opened));
  }

  tap::NetNamespace inner_, outer_;
  tap::TapLink* tap_ = nullptr;
  std::optional<AnyLink> link_;
};

/// The ways to all machines. They must begin at one address, which the machines know this one by.
std::vector<UnderlayPath> find_paths(const UplinkWish& wish) {
  if (wish.local && !is_own_address(*wish.local))
    throw UsageError{"--local " + wish.local->to_string() +
                     " is no address of this machine ('ip address' shows those that it has)"};
  std::vector<UnderlayPath> paths;
  paths.reserve(wish.remotes.size());
  for (const tap::IpAddress& remote : wish.remotes) {
    auto found = path_to(remote);
    if (!found && found.error().code == Errc::bad_argument) throw UsageError{found.error().message};
    UnderlayPath path = std::move(found).value();
    if (path.local == remote)
      throw UsageError{remote.to_string() + " is this machine (name only the other machines)"};
    if (!wish.local && !paths.empty() && path.local != paths.front().local) {
      throw UsageError{"this machine reaches " + paths.front().remote.to_string() + " from " +
                       paths.front().local.to_string() + ", and " + remote.to_string() + " from " +
                       path.local.to_string() +
                       " (give --local ADDRESS, by which all of them know this machine)"};
    }
    paths.push_back(std::move(path));
  }
  return paths;
}

void need_mtu(const UplinkWish& wish, std::uint32_t bus_mtu, const tap::IpAddress& local) {
  if (const std::string why = too_wide(bus_mtu, local.is_v6()); !why.empty())
    throw Exception(Error(Errc::bad_argument, "cannot join " + wish.bus_text() + ": " + why));
}

std::string addresses_of(const std::vector<UnderlayPath>& paths) {
  std::string text;
  for (const UnderlayPath& path : paths)
    text += (text.empty() ? "" : ", ") + path.remote.to_string();
  return text;
}

/// Prints what was carried.
void sum_up_vxlan(const UplinkWish& wish, const std::string& far, const UplinkPort& port,
                  const tap::PairCounters& counts, const tap::DeviceCounters& device,
                  const JsonOutput& json) {
  const base::SignalGuard guard(SIGPIPE);  // the reader of this output may be gone
  auto [there, back] = port.ways(counts, wish.bus_text(), far);
  there.has_device = true;
  there.sink_device = device;
  if (json.is_wanted()) {
    json.print(json_text({{"directions", {to_json(there, port.faults().received), to_json(back)}},
                          {"local_frames", port.stayed()}}));
    return;
  }
  say(to_text(there) + to_text(back) + faults_text(there, port.faults().received) +
      faults_text(back, {}) + wish.bus_text() + ": " + base::counted(port.stayed(), "frame") +
      " between hosts of this bus stayed there");
}

}  // namespace

int run_vxlan_uplink(const UplinkWish& wish, const JsonOutput& json) {
  const std::vector<UnderlayPath> paths = find_paths(wish);
  const tap::IpAddress local = wish.local.value_or(paths.front().local);
  const StopSignals stop;
  UplinkBus bus(wish.path, wish.bus);
  const BusInfo info = bus.bus().info();
  need_mtu(wish, info.mtu, local);
  for (const std::string& text : too_narrow(paths, info.mtu)) log_warning(text);
  Devices devices(wish, info, local, paths);
  std::optional<Routing> routing;
  if (wish.way == UplinkWay::evpn) {
    routing.emplace(RoutingWish{.local = local, .asn = wish.asn, .peers = wish.remotes},
                    devices.space());
  }
  UplinkPort port(bus.bus(), {.name = wish.port_name,
                              .behind = HomeTable::Behind::bridge,
                              .take_offloads = devices.link().takes_offloads(),
                              .lock_memory = wish.bus.lock_memory,
                              .faults = wish.faults});
  const std::string far = "vxlan:" + std::to_string(wish.vxlan_id);
  const auto device_drops = [&devices]() -> UplinkDrops {
    const tap::DeviceCounters device = devices.counters();
    return {device.dropped_down + device.dropped_full, 0};
  };
  UplinkLine line(port, devices.link(), wish.bus_text(), far, device_drops);
  std::vector<UplinkWatch> watches;
  if (routing)
    watches.push_back({routing->output(), [&routing] { return routing->read_output(); }});
  say(far + ": ready, as port " + port.port().name() + ", from " + local.to_string() +
      (routing ? ", machines found by BGP with " : " to ") + addresses_of(paths) + ", MTU " +
      std::to_string(info.mtu));
  bus.keep();
  const UplinkEnd end = line.carry(stop.descriptor(), watches);
  sum_up_vxlan(wish, far, port, line.counts(), devices.counters(), json);
  if (routing && routing->has_ended() && !stop.stopped()) return fail(routing->why_ended());
  return end.text.empty() ? kDone : fail(end.text);
}

}  // namespace shmif::tools
