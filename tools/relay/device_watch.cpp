#include "tools/relay/device_watch.hpp"

#include <utility>
#include <vector>

#include "bus/limits.hpp"
#include "shmif/debug/debug.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

/// A frame may be longer than the MTU by this, and a packet socket still takes it.
constexpr std::size_t kOneTagFrame = kEthernetHeaderBytes + kVlanTagBytes;

/// A socket in the namespace, made by `open`.
UniqueFd socket_in(const tap::NetNamespace* where, Result<UniqueFd> (*open)()) {
  const auto listen = [open]() -> Result<std::vector<UniqueFd>> {
    Result<UniqueFd> socket = open();
    if (!socket) return socket.error();
    std::vector<UniqueFd> one;
    one.push_back(std::move(*socket));
    return one;
  };
  std::vector<UniqueFd> sockets =
      (where != nullptr ? tap::run_in(*where, listen) : listen()).value();
  return std::move(sockets.at(0));
}

unsigned index_of(const tap::NetNamespace* where, const std::string& device) {
  const std::optional<tap::Interface> found = find_device(where, device);
  return found ? found->index : 0;
}

tap::GuestWatch open_watch(const tap::NetNamespace* where, const std::string& device, int our_end,
                           bool has_list) {
  std::vector<UniqueFd> sockets =
      (where != nullptr ? tap::run_in(*where, tap::open_watch_sockets) : tap::open_watch_sockets())
          .value();
  return tap::GuestWatch::open(
             tap::WatchSockets::take(sockets),
             {{.index = index_of(where, device), .has_list = has_list, .our_end = our_end}})
      .value();
}

}  // namespace

tap::Netlink open_session(const tap::NetNamespace* where) {
  return (where != nullptr ? tap::Netlink::open(*where) : tap::Netlink::open()).value();
}

std::optional<tap::Interface> find_device(const tap::NetNamespace* where, const std::string& name) {
  if (name.empty()) return std::nullopt;
  const Result<tap::Interface> found = open_session(where).interface(name);
  if (!found) return std::nullopt;
  return *found;
}

DeviceWatch::DeviceWatch(const tap::NetNamespace* where, const std::string& device, int our_end,
                         Port& port, Hears hears, tap::GivenAddresses given)
    : port_(port),
      hears_(hears),
      watch_(open_watch(where, device, our_end, hears == Hears::what_the_device_hears)) {
  if (!given.addresses.empty() || !given.gateways.empty()) {
    given.index = index_of(where, device);
    const auto session = [where] {
      return where != nullptr ? tap::Netlink::open(*where) : tap::Netlink::open();
    };
    upkeep_.emplace(socket_in(where, tap::Upkeep::open_socket), session,
                    std::vector<tap::GivenAddresses>{std::move(given)});
  }
  // This comes after the watch was opened, so that no change in between is missed.
  if (const std::optional<tap::Interface> now = find_device(where, device)) {
    follow({.promiscuous = now->is_promiscuous(),
            .carrier = now->has_carrier(),
            .mtu = now->mtu,
            .mac = now->mac});
  }
}

Result<void> DeviceWatch::join(tap::Bridge& bridge) {
  if (upkeep_) {
    const auto read = [this] {
      upkeep_->read();
      return true;
    };
    if (auto done = bridge.watch(upkeep_->descriptor(), read); !done) return done;
  }
  return bridge.watch(watch_.descriptor(), [this] {
    std::vector<tap::GuestInterfaceState> changes;
    watch_.read(changes);
    for (const tap::GuestInterfaceState& now : changes) follow(now);
    return true;
  });
}

void DeviceWatch::follow(const tap::GuestInterfaceState& now) {
  debug(Debug::relay, [&] {
    return "the device has " + std::string(now.carrier ? "carrier" : "no carrier") + ", MTU " +
           std::to_string(now.mtu) + " and MAC address " + now.mac.to_string() +
           (now.promiscuous ? ", and is promiscuous" : "");
  });
  device_ = now;
  show();
}

void DeviceWatch::set_link(bool up) {
  is_up_ = up;
  show();
}

void DeviceWatch::show() {
  if (!device_) return;
  tap::GuestInterfaceState seen = *device_;
  seen.carrier = seen.carrier && is_up_;
  if (hears_ == Hears::all_for_others) {
    tap::show_carrier_on(port_, seen);
  } else {
    tap::show_on(port_, seen, hears_ == Hears::all);
  }
}

std::string too_long_text(std::size_t frame_bytes, const std::string& from,
                          std::optional<std::uint32_t> from_mtu, const std::string& to,
                          std::optional<std::uint32_t> to_mtu) {
  const auto side = [](const std::string& name, const std::optional<std::uint32_t>& mtu) {
    return mtu ? name + " (MTU " + std::to_string(*mtu) + ')' : name;
  };
  std::string remedy = "give both sides the same MTU";
  if (from.starts_with("packet:") && from_mtu && frame_bytes > bus::max_frame_bytes(*from_mtu)) {
    remedy = "it is longer than the MTU of " + from.substr(from.find(':') + 1) +
             ": its kernel put it together from fragments, and only plain IP packets can be cut "
             "again; if this is a bridge, give packet: the port of it from which such frames come";
  } else if (to.starts_with("packet:") && to_mtu && frame_bytes > *to_mtu + kOneTagFrame &&
             frame_bytes <= bus::max_frame_bytes(*to_mtu)) {
    remedy =
        to.substr(to.find(':') + 1) +
        " carries its MTU and one VLAN tag; for a second tag, raise the MTU of the interface by "
        "4, or start a host with --via tap";
  }
  return "cannot pass on a frame of " + std::to_string(frame_bytes) + " bytes from " +
         side(from, from_mtu) + ": it is too long for " + side(to, to_mtu) +
         " (such frames are dropped and counted; " + remedy + ')';
}

void TooLongNotice::say(std::size_t frame_bytes, const std::string& from,
                        std::optional<std::uint32_t> from_mtu, const std::string& to,
                        std::optional<std::uint32_t> to_mtu) {
  if (std::exchange(said_, true)) return;
  complain(too_long_text(frame_bytes, from, from_mtu, to, to_mtu));
}

}  // namespace shmif::tools
