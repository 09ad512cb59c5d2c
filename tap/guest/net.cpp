#include "tap/guest/net.hpp"

#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "tap/guest/watch.hpp"
#include "tap/namespaces.hpp"
#include "tap/netlink.hpp"
#include "tap/netns.hpp"
#include "tap/tap_link.hpp"

namespace shmif::tap {
namespace {

constexpr std::chrono::milliseconds kCarrierTime{5000};
/// The kernel looks for duplicates for at most 2 s, where it cannot be told not to.
constexpr std::chrono::milliseconds kLinkLocalTime{3000};
/// For Netlink::add_address().
constexpr bool kOptimistic = true;

/// Writes a setting of /proc/sys. A setting that is missing or read-only stays as it is.
bool write_setting(const char* path, const char* value) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  const auto size = static_cast<ssize_t>(std::strlen(value));
  return file && ::write(file.get(), value, std::strlen(value)) == size;
}

/// Writes an IPv6 setting of an interface, or of interfaces that are made later ("default").
bool set_ipv6(const std::string& interface, const char* setting, const char* value) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + interface + '/' + setting;
  return write_setting(path.c_str(), value);
}

/// Result: whether the kernel can look for duplicates of an IPv6 address that is already in use.
bool tune_namespace() {
  // Every group may open ping sockets. The kernel accepts a range only if both its ends exist in
  // the user namespace. So try all ids, the 16-bit range that newgidmap gives, and the only id.
  for (const char* range : {"0 2147483647", "0 65535", "0 0"}) {
    if (write_setting("/proc/sys/net/ipv4/ping_group_range", range)) break;
  }
  // Duplicate address detection would keep link-local addresses unusable for more than a second.
  // They follow from the MAC address, which is unique on the bus, so they need no detection.
  // Without a link-local address, the kernel could not ask for the neighbours of other addresses.
  // Detection begins when the interface may use its link-local address.
  set_ipv6("all", "accept_dad", "0");
  set_ipv6("default", "accept_dad", "0");
  set_ipv6("default", "use_optimistic", "1");
  return set_ipv6("default", "optimistic_dad", "1");
}

/// Makes the namespace a router, or none: a new one forwards IPv4 if the machine does, as each does
/// on which Docker or podman has run. A kernel without IPv6 forwards only IPv4. Errors: the
/// system's, if it cannot become a router.
Result<void> set_forwarding(bool on) {
  constexpr const char* kIpv4 = "/proc/sys/net/ipv4/ip_forward";
  constexpr const char* kIpv6 = "/proc/sys/net/ipv6/conf/all/forwarding";
  for (const char* const path : {kIpv4, kIpv6}) {
    if (write_setting(path, on ? "1" : "0") || !on || (path == kIpv6 && errno == ENOENT)) continue;
    return Error::from_errno(errno, std::string("cannot turn on forwarding with ") + path,
                             "--forward needs a /proc/sys that can be written");
  }
  return {};
}

/// Why there is no TAP device. If only descriptors ran out, the machine itself could have made one.
Error no_tap_error(int number, const std::string& device) {
  const std::string what = "cannot make a TAP device with " + device;
  if (number == EMFILE || number == ENFILE) return Error::from_errno(number, what);
  return Error(Errc::not_supported,
               Error::from_errno(number, what, "a veth pair needs no device node").message);
}

/// Creates a TAP device in this namespace and opens it.
Result<UniqueFd> open_tap(const std::string& device, const GuestInterface& wanted) {
  UniqueFd file(::open(device.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!file) return no_tap_error(errno, device);
  ifreq request{};
  wanted.name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | (wanted.offload ? IFF_VNET_HDR : 0));
  if (::ioctl(file.get(), TUNSETIFF, &request) != 0) return no_tap_error(errno, device);
  if (auto set = set_tap_offloads(file.get(), wanted.name, wanted.offload); !set) {
    return std::move(set).error();
  }
  return file;
}

/// A socket that receives and sends whole frames on the far end of a veth pair. What it sends goes
/// past the interface's queue: after the guest's end has come up, with carrier, that queue drops
/// all frames without an error until the kernel has followed the carrier in the background.
Result<UniqueFd> open_packet_socket(unsigned index) {
  UniqueFd s(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_ALL);
  where.sll_ifindex = static_cast<int>(index);
  const int on = 1;
  if (!s || ::setsockopt(s.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0 ||
      ::bind(s.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0) {
    return Error::from_errno(errno, "cannot open a packet socket on the far end of a veth pair");
  }
  return s;
}

/// The second network namespace, with the far ends of veth pairs. It lives as long as the packet
/// sockets do.
class FarSide {
 public:
  /// Makes the namespace, and returns to the guest's namespace.
  static Result<FarSide> open(const NetNamespace& guest) {
    if (::unshare(CLONE_NEWNET) != 0) {
      const int number = errno;
      return Error::from_errno(number, "cannot make a network namespace for veth pairs",
                               why_no_namespaces(number));
    }
    auto there = NetNamespace::current();
    auto netlink = Netlink::open();
    if (::setns(guest.descriptor(), CLONE_NEWNET) != 0) {
      return Error::from_errno(errno, "cannot return to the host's network namespace");
    }
    if (!there) return std::move(there).error();
    if (!netlink) return std::move(netlink).error();
    return FarSide(*std::move(there), *std::move(netlink));
  }

  /// Makes a pair, `name` on both sides. The guest's end is not yet up. Result: the packet socket.
  Result<UniqueFd> add(const NetNamespace& guest, const std::string& name, std::uint32_t mtu) {
    return there<UniqueFd>(guest, [&] { return add_here(guest, name, mtu); });
  }

  /// The sockets by which a watch finds the guest's ends.
  Result<std::vector<UniqueFd>> open_abroad(const NetNamespace& guest) {
    return there<std::vector<UniqueFd>>(guest, open_abroad_sockets);
  }

 private:
  FarSide(NetNamespace space, Netlink netlink)
      : space_(std::move(space)), netlink_(std::move(netlink)) {}

  /// Runs `task` in the namespace, and returns to the guest's namespace.
  template <class T, class Task>
  Result<T> there(const NetNamespace& guest, const Task& task) {
    if (::setns(space_.descriptor(), CLONE_NEWNET) != 0) {
      return Error::from_errno(errno, "cannot enter the network namespace for veth pairs");
    }
    Result<T> done = task();
    if (::setns(guest.descriptor(), CLONE_NEWNET) != 0) {
      return Error::from_errno(errno, "cannot return to the host's network namespace");
    }
    return done;
  }

  Result<UniqueFd> add_here(const NetNamespace& guest, const std::string& name, std::uint32_t mtu) {
    if (auto done = netlink_.add_veth(name, name, &guest); !done) {
      if (done.error().code == std::errc::operation_not_supported) {
        return Error(Errc::not_supported, done.error().message + " (the kernel has no veth)");
      }
      return std::move(done).error();
    }
    auto end = netlink_.interface(name);
    if (!end) return std::move(end).error();
    if (auto done = netlink_.disable_ipv6(name); !done) return std::move(done).error();
    // Before the kernel compares a packet with the MTU, it takes out only 802.1Q tags.
    if (auto done = netlink_.set_mtu(name, mtu + kVlanTagBytes); !done)
      return std::move(done).error();
    // Bind before the interface is up, so that no frame of the guest is missed.
    auto heard = open_packet_socket(end->index);
    if (!heard) return heard;
    if (auto done = netlink_.set_up(name); !done) return std::move(done).error();
    return heard;
  }

  NetNamespace space_;
  Netlink netlink_;
};

/// Makes one device as `options.via` allows. It is not yet up.
Result<GuestEnd> make_device(const GuestOptions& options, const GuestInterface& wanted,
                             const NetNamespace& guest, std::optional<FarSide>& far) {
  GuestEnd end;
  std::string no_tap;
  if (options.via != Via::veth) {
    auto tap = open_tap(options.tun_device, wanted);
    if (tap) {
      end.descriptor = *std::move(tap);
      return end;
    }
    if (options.via == Via::tap) return std::move(tap).error();
    no_tap = "; " + tap.error().message;
  }
  end.kind = LinkKind::veth;
  if (!far) {
    auto opened = FarSide::open(guest);
    if (!opened) return std::move(opened).error();
    far.emplace(*std::move(opened));
  }
  auto socket = far->add(guest, wanted.name, wanted.mtu);
  if (!socket) return Error(socket.error().code, socket.error().message + no_tap);
  end.descriptor = *std::move(socket);
  return end;
}

/// Makes a TAP device in the bridge. It stays there, for a program to attach to.
Result<void> add_tap(Netlink& netlink, const std::string& name, const std::string& tun_device,
                     const GuestInterface& wanted) {
  if (auto usable = check_tun_device(tun_device); !usable) {
    return Error(Errc::not_supported,
                 "cannot make the TAP device \"" + name + "\": " + usable.error().message +
                     "; a program that can use a socket needs none: see 'shmifctl bridge --help'");
  }
  TapOptions options;
  options.name = name;
  options.mtu = wanted.mtu;
  options.up = false;
  options.persist = true;
  options.tun_device = tun_device;
  if (const auto tap = TapLink::open(options); !tap) return tap.error();
  // A device in the bridge has no addresses. Link-local addresses would make it send.
  if (auto done = netlink.disable_ipv6(name); !done) return done;
  if (auto done = netlink.add_to_bridge(name, wanted.lan->bridge); !done) return done;
  return netlink.set_up(name);
}

/// Makes the bridge, and connects the device and the TAP devices of the program.
Result<void> make_lan(Netlink& netlink, const GuestInterface& wanted, MacAddress mac,
                      const std::string& tun_device) {
  const std::string& bridge = wanted.lan->bridge;
  if (auto done = netlink.add_bridge(bridge, mac); !done) return done;
  if (auto done = netlink.add_to_bridge(wanted.name, bridge); !done) return done;
  for (const std::string& tap : wanted.lan->taps) {
    if (auto done = add_tap(netlink, tap, tun_device, wanted); !done) return done;
  }
  return {};
}

/// The interface that gets the addresses.
const std::string& face_of(const GuestInterface& wanted) {
  return wanted.lan ? wanted.lan->bridge : wanted.name;
}

/// Gives a device its properties and addresses. Only its MAC address may come later.
Result<void> configure(Netlink& netlink, const GuestOptions& options, const GuestInterface& wanted,
                       GuestEnd& end) {
  const std::string& name = wanted.name;
  if (end.kind == LinkKind::veth) {
    auto done = wanted.offload ? netlink.disable_unspeakable_offloads(name)
                               : netlink.disable_offloads(name);
    if (!done) return done;
  }
  if (auto done = netlink.set_mtu(name, wanted.mtu); !done) return done;
  if (wanted.lan) {
    if (auto done = netlink.disable_ipv6(name); !done) return done;
    if (auto done = make_lan(netlink, wanted, MacAddress::random(), options.tun_device); !done)
      return done;
  }
  for (const Cidr& address : wanted.addresses) {
    if (auto done = netlink.add_address(face_of(wanted), address); !done) return done;
  }
  auto made = netlink.interface(name);
  if (!made) return std::move(made).error();
  end.index = made->index;
  return {};
}

}  // namespace

struct GuestNet::Impl {
  const GuestOptions& options;
  Netlink netlink;
  bool optimistic;  ///< IPv6 addresses are usable while the kernel looks for duplicates
  std::vector<GuestEnd> ends{};
  std::optional<FarSide> far{};

  /// Gives an interface its MAC address, sets it up, and gives it its routes.
  Result<void> set_up(const GuestInterface& wanted, GuestEnd& end, MacAddress mac) {
    end.mac = mac;
    const std::string& face = face_of(wanted);
    if (auto done = netlink.set_mac(wanted.name, mac); !done) return done;
    if (wanted.lan) {
      if (auto done = netlink.set_mac(face, mac); !done) return done;
    }
    if (auto done = netlink.set_up(wanted.name); !done) return done;
    if (wanted.lan) {
      if (auto done = netlink.set_up(face); !done) return done;
    }
    if (auto done = netlink.wait_for_carrier(face, kCarrierTime); !done) return done;
    if (auto done = detect_duplicates(wanted); !done) return done;
    for (const IpAddress& gateway : wanted.gateways) {
      if (auto done = netlink.add_default_route(face, gateway); !done) return done;
    }
    return {};
  }

  /// Lets the kernel look for duplicates of IPv6 addresses, also of those that come later. The
  /// kernel finishes a link-local address in the background: if it had not done so before it is
  /// told to look, it would look for duplicates of that address first, for up to 2 s.
  Result<void> detect_duplicates(const GuestInterface& wanted) {
    const std::string& face = face_of(wanted);
    const bool can_tell = set_ipv6(face, "accept_dad", "0");
    const bool uses_ipv6 = std::ranges::any_of(
        wanted.addresses, [](const Cidr& each) { return each.address.is_v6(); });
    if (can_tell || uses_ipv6) {
      if (const auto done = netlink.wait_for_link_local(face, kLinkLocalTime); !done)
        return done.error();
    }
    if (!optimistic || !can_tell || !set_ipv6(face, "accept_dad", "1")) return {};
    for (const Cidr& address : wanted.addresses) {
      if (!address.address.is_v6()) continue;
      if (auto done = netlink.remove_address(face, address); !done) return done;
      if (auto done = netlink.add_address(face, address, kOptimistic); !done) return done;
    }
    return {};
  }
};

GuestNet::GuestNet(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GuestNet::GuestNet(GuestNet&&) noexcept = default;
GuestNet::~GuestNet() = default;

Result<GuestNet> GuestNet::make(const GuestOptions& options) {
  const bool optimistic = tune_namespace();
  if (auto done = set_forwarding(options.forward); !done) return std::move(done).error();
  auto guest = NetNamespace::current();
  if (!guest) return std::move(guest).error();
  auto netlink = Netlink::open();
  if (!netlink) return std::move(netlink).error();
  if (auto done = netlink->set_up("lo"); !done) return std::move(done).error();
  std::unique_ptr<Impl> impl(new Impl{options, *std::move(netlink), optimistic});
  for (const GuestInterface& wanted : options.interfaces) {
    auto end = make_device(options, wanted, *guest, impl->far);
    if (!end) return std::move(end).error();
    if (auto done = configure(impl->netlink, options, wanted, *end); !done)
      return std::move(done).error();
    if (!wanted.mac_comes_later) {
      auto done = impl->set_up(wanted, *end, wanted.mac.value_or(MacAddress::random()));
      if (!done) return std::move(done).error();
    }
    impl->ends.push_back(*std::move(end));
  }
  return GuestNet(std::move(impl));
}

std::vector<GuestEnd>& GuestNet::ends() noexcept {
  return impl_->ends;
}

Result<std::vector<UniqueFd>> GuestNet::open_watch() const {
  auto sockets = open_guest_watch_sockets();
  if (!sockets || !impl_->far) return sockets;
  auto guest = NetNamespace::current();
  if (!guest) return std::move(guest).error();
  auto there = impl_->far->open_abroad(*guest);
  if (!there) return std::move(there).error();
  std::ranges::move(*there, sockets->begin() + 2);
  return sockets;
}

Result<void> GuestNet::set_up(std::span<const MacAddress> macs) {
  for (std::size_t i = 0; i < impl_->ends.size() && i < macs.size(); ++i) {
    const GuestInterface& wanted = impl_->options.interfaces[i];
    if (!wanted.mac_comes_later) continue;
    if (auto done = impl_->set_up(wanted, impl_->ends[i], macs[i]); !done) return done;
  }
  return {};
}

Result<std::vector<GivenAddresses>> GuestNet::given() const {
  std::vector<GivenAddresses> all;
  for (const GuestInterface& each : impl_->options.interfaces) {
    if (each.addresses.empty() && each.gateways.empty()) continue;
    auto face = impl_->netlink.interface(face_of(each));
    if (!face) return std::move(face).error();
    all.push_back({face->index, each.addresses, each.gateways, impl_->optimistic});
  }
  return all;
}

}  // namespace shmif::tap
