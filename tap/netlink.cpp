#include "tap/netlink.hpp"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <netlink/addr.h>
#include <netlink/attr.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tap/features.hpp"
#include "tap/libnl.hpp"

namespace shmif::tap {
namespace {

using AddrPtr = std::unique_ptr<rtnl_addr, NlDeleter<rtnl_addr_put>>;
using NeighbourPtr = std::unique_ptr<rtnl_neigh, NlDeleter<rtnl_neigh_put>>;
using RoutePtr = std::unique_ptr<rtnl_route, NlDeleter<rtnl_route_put>>;
using CachePtr = std::unique_ptr<nl_cache, NlDeleter<nl_cache_free>>;
using NlAddrPtr = std::unique_ptr<nl_addr, NlDeleter<nl_addr_put>>;

constexpr unsigned kMinIpv6Mtu = 1280;  // RFC 8200; below it the kernel takes no IPv6 address

/// Converts libnl's own error numbers back to the kernel's errno.
int errno_of(int nl_error) {
  static constexpr std::array<std::pair<int, int>, 15> kTable{{{NLE_EXIST, EEXIST},
                                                               {NLE_OBJ_NOTFOUND, ENOENT},
                                                               {NLE_NODEV, ENODEV},
                                                               {NLE_PERM, EPERM},
                                                               {NLE_NOACCESS, EACCES},
                                                               {NLE_BUSY, EBUSY},
                                                               {NLE_INVAL, EINVAL},
                                                               {NLE_NOMEM, ENOMEM},
                                                               {NLE_NOADDR, EADDRNOTAVAIL},
                                                               {NLE_OPNOTSUPP, EOPNOTSUPP},
                                                               {NLE_AF_NOSUPPORT, EAFNOSUPPORT},
                                                               {NLE_RANGE, ERANGE},
                                                               {NLE_AGAIN, EAGAIN},
                                                               {NLE_INTR, EINTR},
                                                               {NLE_BAD_SOCK, EBADF}}};
  const int wanted = std::abs(nl_error);
  for (const auto& [nle, number] : kTable) {
    if (nle == wanted) return number;
  }
  return EIO;
}

/// An Error that says what failed, why, and what to do about it if that is known.
Error failure(int nl_error, const std::string& what) {
  const int number = errno_of(nl_error);
  const std::error_code code(number, std::generic_category());
  std::string why = number == EIO ? nl_geterror(nl_error) : code.message();
  if (number == EPERM || number == EACCES) {
    why += " (needs CAP_NET_ADMIN in this network namespace)";
  }
  return {code, what + ": " + why};
}

Error bad_name(std::string_view name) {
  return {Errc::bad_argument, "\"" + std::string(name) +
                                  "\" is not a name for an interface: 1 to 15 characters without "
                                  "'/', ':', '%' and blanks"};
}

NlAddrPtr to_nl(const IpAddress& a, unsigned prefix) {
  NlAddrPtr p(nl_addr_build(a.family, a.bytes.data(), a.bits() / 8));
  if (p) nl_addr_set_prefixlen(p.get(), static_cast<int>(prefix));
  return p;
}

Error out_of_memory() {
  return Error::from_errno(ENOMEM, "netlink");
}

IpAddress broadcast_of(const Cidr& c) {
  IpAddress b = c.address;
  for (unsigned bit = c.prefix; bit < 32; ++bit) {
    b.bytes[bit / 8] = static_cast<std::uint8_t>(b.bytes[bit / 8] | 0x80U >> bit % 8);
  }
  return b;
}

/// Opens the two sockets of a session: rtnetlink, and one for ioctl.
Result<std::vector<UniqueFd>> open_sockets() {
  UniqueFd route(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl any{};
  any.nl_family = AF_NETLINK;
  if (!route || ::bind(route.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    return Error::from_errno(errno, "cannot open a netlink socket");
  }
  UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return Error::from_errno(errno, "cannot open a socket for interface requests");
  std::vector<UniqueFd> sockets;
  sockets.push_back(std::move(route));
  sockets.push_back(std::move(control));
  return sockets;
}

/// Whether packet sockets can describe super-frames of UDP. Before Linux 6.2 they drop such frames.
bool speaks_of_udp_segments() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  return ::uname(&kernel) == 0 && std::sscanf(kernel.release, "%d.%d", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 2));
}

/// Whether a feature of an interface, by its name in `ethtool -k`, makes frames that an Offload or
/// a packet socket cannot describe.
bool is_unspeakable(std::string_view feature) {
  if (feature == "tx-udp-segmentation") return !speaks_of_udp_segments();
  constexpr std::array<std::string_view, 4> kSpeakable{
      "tx-generic-segmentation", "tx-tcp-segmentation", "tx-tcp6-segmentation",
      "tx-tcp-ecn-segmentation"};
  if (feature == "tx-gso-partial" || feature == "tx-gso-list") return true;
  return feature.starts_with("tx-") && feature.ends_with("-segmentation") &&
         std::find(kSpeakable.begin(), kSpeakable.end(), feature) == kSpeakable.end();
}

}  // namespace

bool is_interface_name(std::string_view name) noexcept {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         std::all_of(
             name.begin(), name.end(),
             [](char c) {
               // The kernel treats a '%' as a pattern to fill in.
               return c != '/' && c != ':' && c != '%' && static_cast<unsigned char>(c) > ' ' &&
                      c != '\x7f';
             });
}

struct Netlink::Impl {
  NlSocketPtr socket;
  UniqueFd control;
  UniqueFd own_namespace;  ///< tells whether /proc/sys/net shows this session's namespace

  /// Asks the kernel for one interface.
  Result<NlLinkPtr> get(const std::string& name) const {
    if (!is_interface_name(name)) return bad_name(name);
    rtnl_link* link = nullptr;
    if (const int e = rtnl_link_get_kernel(socket.get(), 0, name.c_str(), &link); e < 0) {
      // The kernel reports an unknown interface with different errors.
      const bool unknown = errno_of(e) == ENOENT || errno_of(e) == ENODEV || errno_of(e) == EINVAL;
      return failure(unknown ? NLE_NODEV : e, "no interface \"" + name + "\" here");
    }
    return NlLinkPtr(link);
  }

  /// Looks up the interface, lets `edit` fill in the changes, and sends them.
  template <class Edit>
  Result<void> change(const std::string& name, const std::string& what, Edit edit) {
    auto link = get(name);
    if (!link) return Error(link.error().code, what + ": " + link.error().message);
    const NlLinkPtr changes(rtnl_link_alloc());
    if (!changes) return out_of_memory();
    rtnl_link_set_ifindex(changes.get(), rtnl_link_get_ifindex(link->get()));
    edit(changes.get());
    if (const int e = rtnl_link_change(socket.get(), link->get(), changes.get(), 0); e < 0) {
      return failure(e, what);
    }
    return {};
  }

  Result<void> set_flag(const std::string& name, const std::string& what, unsigned flag, bool on) {
    return change(name, what, [&](rtnl_link* l) {
      if (on) {
        rtnl_link_set_flags(l, flag);
      } else {
        rtnl_link_unset_flags(l, flag);
      }
    });
  }
};

Netlink::Netlink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Netlink::Netlink(Netlink&&) noexcept = default;
Netlink& Netlink::operator=(Netlink&&) noexcept = default;
Netlink::~Netlink() = default;

Result<Netlink> Netlink::open() {
  auto here = NetNamespace::current();
  if (!here) return std::move(here).error();
  return open(*here);
}

Result<Netlink> Netlink::open(const NetNamespace& where) {
  auto sockets = where.is_current() ? open_sockets() : run_in(where, open_sockets);
  if (!sockets) return std::move(sockets).error();
  auto impl = std::make_unique<Impl>();
  impl->socket.reset(nl_socket_alloc());
  if (!impl->socket) return out_of_memory();
  const int fd = sockets->at(0).release();  // nl_socket_free closes it
  if (const int e = nl_socket_set_fd(impl->socket.get(), NETLINK_ROUTE, fd); e < 0) {
    ::close(fd);
    return failure(e, "cannot use a netlink socket");
  }
  believe_kernel_only(impl->socket.get());
  impl->control = std::move(sockets->at(1));
  impl->own_namespace.reset(::fcntl(where.descriptor(), F_DUPFD_CLOEXEC, 0));
  return Netlink(std::move(impl));
}

Result<Interface> Netlink::interface(const std::string& name) const {
  auto link = impl_->get(name);
  if (!link) return std::move(link).error();
  Interface i;
  i.index = static_cast<unsigned>(rtnl_link_get_ifindex(link->get()));
  i.name = rtnl_link_get_name(link->get());
  i.flags = rtnl_link_get_flags(link->get());
  i.mtu = rtnl_link_get_mtu(link->get());
  i.promiscuity = rtnl_link_get_promiscuity(link->get());
  if (nl_addr* mac = rtnl_link_get_addr(link->get()); mac != nullptr && nl_addr_get_len(mac) == 6) {
    i.mac = MacAddress::read(nl_addr_get_binary_addr(mac));
  }
  return i;
}

std::string Netlink::name_of(unsigned index) const {
  rtnl_link* link = nullptr;
  if (rtnl_link_get_kernel(impl_->socket.get(), static_cast<int>(index), nullptr, &link) < 0) {
    return {};
  }
  return rtnl_link_get_name(NlLinkPtr(link).get());
}

std::optional<bool> Netlink::tap_has_header(const std::string& name) const {
  if (!is_interface_name(name)) return std::nullopt;
  // Built here, because libnl does not know this kind of device.
  nl_msg* const message = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_REQUEST);
  if (message == nullptr) return std::nullopt;
  const ifinfomsg about{};
  if (nlmsg_append(message, const_cast<ifinfomsg*>(&about), sizeof about, NLMSG_ALIGNTO) != 0 ||
      nla_put_string(message, IFLA_IFNAME, name.c_str()) != 0) {
    nlmsg_free(message);
    return std::nullopt;
  }
  std::optional<bool> answer;
  nl_cb* const own = nl_socket_get_cb(impl_->socket.get());  // counts the reference
  nl_cb* const callbacks = nl_cb_clone(own);
  nl_cb_put(own);
  const auto read = [](nl_msg* got, void* into) -> int {
    constexpr int kTunHasHeader = 5;  // IFLA_TUN_VNET_HDR, which old headers lack
    nlattr* const info =
        nlmsg_find_attr(nlmsg_hdr(got), static_cast<int>(sizeof(ifinfomsg)), IFLA_LINKINFO);
    nlattr* const kind = info == nullptr ? nullptr
                                         : nla_find(static_cast<nlattr*>(nla_data(info)),
                                                    nla_len(info), IFLA_INFO_KIND);
    nlattr* const data = info == nullptr ? nullptr
                                         : nla_find(static_cast<nlattr*>(nla_data(info)),
                                                    nla_len(info), IFLA_INFO_DATA);
    if (kind == nullptr || data == nullptr || nla_strcmp(kind, "tun") != 0) return NL_OK;
    nlattr* const header =
        nla_find(static_cast<nlattr*>(nla_data(data)), nla_len(data), kTunHasHeader);
    *static_cast<std::optional<bool>*>(into) = header != nullptr && nla_get_u8(header) != 0;
    return NL_OK;
  };
  nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, read, &answer);
  if (nl_send_auto(impl_->socket.get(), message) >= 0 &&
      nl_recvmsgs(impl_->socket.get(), callbacks) >= 0) {
    nl_wait_for_ack(impl_->socket.get());  // or the ack would answer the next request
  }
  nl_cb_put(callbacks);
  nlmsg_free(message);
  return answer;
}

Result<std::vector<AddressedInterface>> Netlink::interfaces() const {
  nl_cache* links = nullptr;
  nl_cache* addresses = nullptr;
  const std::string what = "cannot list interfaces";
  if (const int e = rtnl_link_alloc_cache(impl_->socket.get(), AF_UNSPEC, &links); e < 0) {
    return failure(e, what);
  }
  const CachePtr links_owned(links);
  if (const int e = rtnl_addr_alloc_cache(impl_->socket.get(), &addresses); e < 0) {
    return failure(e, what);
  }
  const CachePtr addresses_owned(addresses);
  std::vector<AddressedInterface> all;
  for (nl_object* o = nl_cache_get_first(links); o != nullptr; o = nl_cache_get_next(o)) {
    auto* const link = reinterpret_cast<rtnl_link*>(o);
    AddressedInterface& each = all.emplace_back();
    each.name = rtnl_link_get_name(link);
    if (nl_addr* mac = rtnl_link_get_addr(link); mac != nullptr && nl_addr_get_len(mac) == 6) {
      each.mac = MacAddress::read(nl_addr_get_binary_addr(mac));
    }
    for (nl_object* a = nl_cache_get_first(addresses); a != nullptr; a = nl_cache_get_next(a)) {
      auto* const address = reinterpret_cast<rtnl_addr*>(a);
      nl_addr* const local = rtnl_addr_get_local(address);
      if (rtnl_addr_get_ifindex(address) != rtnl_link_get_ifindex(link) || local == nullptr) {
        continue;
      }
      Cidr cidr;
      cidr.address.family = nl_addr_get_family(local);
      cidr.prefix = nl_addr_get_prefixlen(local);
      const std::size_t size = std::min<std::size_t>(nl_addr_get_len(local), 16);
      std::memcpy(cidr.address.bytes.data(), nl_addr_get_binary_addr(local), size);
      each.addresses.push_back(cidr);
    }
  }
  return all;
}

Result<bool> Netlink::leads_to_many(const IpAddress& address) const {
  const NlAddrPtr to = to_nl(address, address.bits());
  if (!to) return out_of_memory();
  rtnl_route* found = nullptr;
  const int e = rtnl_route_lookup(impl_->socket.get(), to.get(), &found);
  const RoutePtr route(found);
  // Unreachable, prohibited and blackhole. For most of these, libnl has no number of its own.
  if (e == -NLE_FAILURE || e == -NLE_NOACCESS || e == -NLE_INVAL) return false;
  if (e < 0 || !route) {
    return failure(e < 0 ? e : -NLE_FAILURE,
                   "cannot ask the kernel where " + address.to_string() + " leads");
  }
  const auto type = rtnl_route_get_type(route.get());
  return type == RTN_BROADCAST || type == RTN_MULTICAST;
}

Result<void> Netlink::set_up(const std::string& name, bool up) {
  return impl_->set_flag(name, "cannot set interface \"" + name + (up ? "\" up" : "\" down"),
                         IFF_UP, up);
}

Result<void> Netlink::set_mtu(const std::string& name, std::uint32_t mtu) {
  return impl_->change(name,
                       "cannot set the MTU of interface \"" + name + "\" to " + std::to_string(mtu),
                       [&](rtnl_link* l) { rtnl_link_set_mtu(l, mtu); });
}

Result<void> Netlink::set_mac(const std::string& name, MacAddress mac) {
  const NlAddrPtr address(nl_addr_build(AF_LLC, mac.bytes.data(), mac.bytes.size()));
  if (!address) return out_of_memory();
  return impl_->change(name,
                       "cannot set the MAC of interface \"" + name + "\" to " + mac.to_string(),
                       [&](rtnl_link* l) { rtnl_link_set_addr(l, address.get()); });
}

Result<void> Netlink::rename(const std::string& name, const std::string& to) {
  if (!is_interface_name(to)) return bad_name(to);
  return impl_->change(name, "cannot rename interface \"" + name + "\" to \"" + to + "\"",
                       [&](rtnl_link* l) { rtnl_link_set_name(l, to.c_str()); });
}

Result<void> Netlink::remove(const std::string& name) {
  auto link = impl_->get(name);
  if (!link) return std::move(link).error();
  if (const int e = rtnl_link_delete(impl_->socket.get(), link->get()); e < 0) {
    return failure(e, "cannot remove interface \"" + name + "\"");
  }
  return {};
}

Result<void> Netlink::move_to(const std::string& name, const NetNamespace& where) {
  return impl_->change(
      name, "cannot move interface \"" + name + "\" to the network namespace of " + where.name(),
      [&](rtnl_link* l) { rtnl_link_set_ns_fd(l, where.descriptor()); });
}

Result<void> Netlink::add_veth(const std::string& name, const std::string& peer,
                               const NetNamespace* peer_namespace) {
  if (!is_interface_name(name)) return bad_name(name);
  if (!is_interface_name(peer)) return bad_name(peer);
  const NlLinkPtr link(rtnl_link_veth_alloc());
  if (!link) return out_of_memory();
  const NlLinkPtr other(rtnl_link_veth_get_peer(link.get()));
  rtnl_link_set_name(link.get(), name.c_str());
  rtnl_link_set_name(other.get(), peer.c_str());
  if (peer_namespace != nullptr) rtnl_link_set_ns_fd(other.get(), peer_namespace->descriptor());
  if (const int e = rtnl_link_add(impl_->socket.get(), link.get(), NLM_F_CREATE | NLM_F_EXCL);
      e < 0) {
    return failure(e, "cannot create the veth pair \"" + name + "\" and \"" + peer + "\"");
  }
  return {};
}

Result<void> Netlink::add_bridge(const std::string& name, MacAddress mac) {
  if (!is_interface_name(name)) return bad_name(name);
  const std::string what = "cannot create the bridge \"" + name + '"';
  // Built here, because libnl 3.7 cannot write most attributes of a bridge.
  nl_msg* const message =
      nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL);
  if (message == nullptr) return out_of_memory();
  const ifinfomsg about{};
  // All attributes fit into the page that the message has.
  bool fits =
      nlmsg_append(message, const_cast<ifinfomsg*>(&about), sizeof about, NLMSG_ALIGNTO) == 0 &&
      nla_put_string(message, IFLA_IFNAME, name.c_str()) == 0 &&
      nla_put(message, IFLA_ADDRESS, static_cast<int>(mac.bytes.size()), mac.bytes.data()) == 0;
  constexpr std::uint16_t kAllThatMayPass = 0xfff8;  // the kernel refuses bits 0 to 2
  nlattr* const kind = nla_nest_start(message, IFLA_LINKINFO);
  fits = fits && kind != nullptr && nla_put_string(message, IFLA_INFO_KIND, "bridge") == 0;
  nlattr* const data = nla_nest_start(message, IFLA_INFO_DATA);
  fits = fits && data != nullptr && nla_put_u32(message, IFLA_BR_STP_STATE, 0) == 0 &&
         nla_put_u32(message, IFLA_BR_FORWARD_DELAY, 0) == 0 &&
         nla_put_u8(message, IFLA_BR_MCAST_SNOOPING, 0) == 0 &&
         nla_put_u16(message, IFLA_BR_GROUP_FWD_MASK, kAllThatMayPass) == 0;
  if (!fits) {
    nlmsg_free(message);
    return out_of_memory();
  }
  nla_nest_end(message, data);
  nla_nest_end(message, kind);
  const int e = nl_send_sync(impl_->socket.get(), message);  // frees the message
  if (e == -NLE_OPNOTSUPP) {
    return Error::from_errno(EOPNOTSUPP, what, "the kernel has no bridges: run 'modprobe bridge'");
  }
  if (e < 0) return failure(e, what);
  return {};
}

Result<void> Netlink::add_to_bridge(const std::string& name, const std::string& bridge) {
  const std::string what = "cannot add interface \"" + name + "\" to the bridge \"" + bridge + '"';
  auto link = impl_->get(bridge);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const int index = rtnl_link_get_ifindex(link->get());
  return impl_->change(name, what, [&](rtnl_link* l) { rtnl_link_set_master(l, index); });
}

namespace {

/// Whether the interface has an address of that family that is alone in its network.
bool has_single_address(nl_sock* socket, int index, int family) {
  nl_cache* addresses = nullptr;
  if (rtnl_addr_alloc_cache(socket, &addresses) < 0) return false;
  const CachePtr owned(addresses);
  for (nl_object* each = nl_cache_get_first(addresses); each != nullptr;
       each = nl_cache_get_next(each)) {
    auto* const address = reinterpret_cast<rtnl_addr*>(each);
    const int bits = family == AF_INET6 ? 128 : 32;
    if (rtnl_addr_get_ifindex(address) == index && rtnl_addr_get_family(address) == family &&
        rtnl_addr_get_prefixlen(address) == bits)
      return true;
  }
  return false;
}

/// Why an interface takes no IPv6 address. Empty if the reason is not that it has no IPv6.
std::string why_no_ipv6(const std::string& name) {
  const std::string setting = "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
  if (::access("/proc/net/if_inet6", F_OK) != 0)
    return "this machine has no IPv6, as with ipv6.disable=1 on the kernel's command line: give "
           "IPv4 addresses only";
  std::ifstream file(setting);
  int value = 0;
  if (!(file >> value) || value == 0) return {};
  return "IPv6 is switched off: " + setting + " is 1. Set it to 0, or give IPv4 addresses only";
}

/// An address of this interface; null if there is no memory.
AddrPtr rtnl_address(rtnl_link* link, const Cidr& cidr) {
  AddrPtr address(rtnl_addr_alloc());
  const NlAddrPtr local = to_nl(cidr.address, cidr.prefix);
  if (!address || !local) return {};
  rtnl_addr_set_ifindex(address.get(), rtnl_link_get_ifindex(link));
  rtnl_addr_set_local(address.get(), local.get());
  return address;
}

}  // namespace

Result<void> Netlink::add_address(const std::string& name, const Cidr& cidr, bool optimistic) {
  const std::string what =
      "cannot add address " + cidr.to_string() + " to interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const AddrPtr address = rtnl_address(link->get(), cidr);
  if (!address) return out_of_memory();
  if (cidr.address.is_v6()) {
    rtnl_addr_set_flags(address.get(), optimistic ? IFA_F_OPTIMISTIC : IFA_F_NODAD);
  } else if (cidr.prefix < 31) {
    const NlAddrPtr broadcast = to_nl(broadcast_of(cidr), 32);
    if (broadcast) rtnl_addr_set_broadcast(address.get(), broadcast.get());
  }
  if (const int e = rtnl_addr_add(impl_->socket.get(), address.get(), 0); e < 0) {
    const unsigned mtu = rtnl_link_get_mtu(link->get());
    if (cidr.address.is_v6() && mtu < kMinIpv6Mtu) {
      return Error::from_errno(errno_of(e), what,
                               "IPv6 needs an MTU of " + std::to_string(kMinIpv6Mtu) +
                                   ", the interface has " + std::to_string(mtu));
    }
    const std::string no_ipv6 = cidr.address.is_v6() ? why_no_ipv6(name) : std::string();
    if (!no_ipv6.empty()) return Error::from_errno(EAFNOSUPPORT, what, no_ipv6);
    return failure(e, what);
  }
  return {};
}

Result<void> Netlink::remove_address(const std::string& name, const Cidr& cidr) {
  const std::string what =
      "cannot remove address " + cidr.to_string() + " from interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const AddrPtr address = rtnl_address(link->get(), cidr);
  if (!address) return out_of_memory();
  if (const int e = rtnl_addr_delete(impl_->socket.get(), address.get(), 0); e < 0) {
    return failure(e, what);
  }
  return {};
}

Result<void> Netlink::add_neighbour(const std::string& name, const IpAddress& address,
                                    MacAddress mac) {
  const std::string what =
      "cannot add neighbour " + address.to_string() + " to interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const NeighbourPtr neighbour(rtnl_neigh_alloc());
  const NlAddrPtr to = to_nl(address, address.bits());
  const NlAddrPtr at(nl_addr_build(AF_LLC, mac.bytes.data(), mac.bytes.size()));
  if (!neighbour || !to || !at) return out_of_memory();
  rtnl_neigh_set_ifindex(neighbour.get(), rtnl_link_get_ifindex(link->get()));
  rtnl_neigh_set_dst(neighbour.get(), to.get());
  rtnl_neigh_set_lladdr(neighbour.get(), at.get());
  rtnl_neigh_set_state(neighbour.get(), NUD_PERMANENT);
  if (const int e =
          rtnl_neigh_add(impl_->socket.get(), neighbour.get(), NLM_F_CREATE | NLM_F_REPLACE);
      e < 0) {
    return failure(e, what);
  }
  return {};
}

namespace {

/// A default route of the main table; null if there is no memory.
RoutePtr rtnl_default_route(int index, const IpAddress& gateway, unsigned flags) {
  RoutePtr route(rtnl_route_alloc());
  const NlAddrPtr via = to_nl(gateway, gateway.bits());
  const NlAddrPtr everywhere = to_nl(IpAddress{gateway.family, {}}, 0);
  rtnl_nexthop* hop = rtnl_route_nh_alloc();
  if (!route || !via || !everywhere || hop == nullptr) {
    if (hop != nullptr) rtnl_route_nh_free(hop);
    return nullptr;
  }
  rtnl_route_nh_set_ifindex(hop, index);
  rtnl_route_nh_set_gateway(hop, via.get());
  rtnl_route_nh_set_flags(hop, flags);
  rtnl_route_add_nexthop(route.get(), hop);  // now the route owns the hop
  rtnl_route_set_family(route.get(), static_cast<std::uint8_t>(gateway.family));
  rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
  rtnl_route_set_protocol(route.get(), RTPROT_STATIC);
  rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
  rtnl_route_set_dst(route.get(), everywhere.get());
  return route;
}

}  // namespace

Result<void> Netlink::add_default_route(const std::string& name, const IpAddress& gateway) {
  const std::string what = "cannot add a default route through gateway " + gateway.to_string() +
                           " on interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const int index = rtnl_link_get_ifindex(link->get());
  const auto add = [&](unsigned flags) {
    const RoutePtr route = rtnl_default_route(index, gateway, flags);
    return route ? rtnl_route_add(impl_->socket.get(), route.get(), NLM_F_EXCL) : -NLE_NOMEM;
  };
  int e = add(0);
  if (e < 0 && has_single_address(impl_->socket.get(), index, gateway.family))
    e = add(RTNH_F_ONLINK);
  if (e < 0) {
    // The kernel answers "network is unreachable", "no route to host" or, for an interface that is
    // down, "network is down". libnl has one number for all of these.
    if (errno_of(e) == EIO || errno_of(e) == EINVAL) {
      return Error::from_errno(
          EHOSTUNREACH, what,
          "the interface must be up and have an address in the gateway's network");
    }
    return failure(e, what);
  }
  return {};
}

Result<void> Netlink::remove_default_route(const std::string& name, const IpAddress& gateway) {
  const std::string what = "cannot remove the default route through gateway " +
                           gateway.to_string() + " on interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const RoutePtr route = rtnl_default_route(rtnl_link_get_ifindex(link->get()), gateway, 0);
  if (!route) return out_of_memory();
  if (const int e = rtnl_route_delete(impl_->socket.get(), route.get(), 0); e < 0)
    return failure(e, what);
  return {};
}

std::optional<DefaultRoute> Netlink::default_route(int family) const {
  constexpr std::uint32_t kIpv6Metric = 1024;  // the kernel's default
  nl_cache* all = nullptr;
  if (rtnl_route_alloc_cache(impl_->socket.get(), family, 0, &all) < 0) return std::nullopt;
  const CachePtr owned(all);
  for (nl_object* each = nl_cache_get_first(all); each != nullptr; each = nl_cache_get_next(each)) {
    auto* const route = reinterpret_cast<rtnl_route*>(each);
    nl_addr* const to = rtnl_route_get_dst(route);
    if (rtnl_route_get_table(route) != RT_TABLE_MAIN || rtnl_route_get_type(route) != RTN_UNICAST ||
        (to != nullptr && nl_addr_get_prefixlen(to) != 0) ||
        rtnl_route_get_priority(route) != (family == AF_INET6 ? kIpv6Metric : 0))
      continue;
    rtnl_nexthop* const hop = rtnl_route_nexthop_n(route, 0);
    if (hop == nullptr) continue;
    DefaultRoute found{name_of(static_cast<unsigned>(rtnl_route_nh_get_ifindex(hop))),
                       IpAddress{family, {}}};
    nl_addr* const via = rtnl_route_nh_get_gateway(hop);
    if (via != nullptr && nl_addr_get_len(via) == found.gateway.bits() / 8)
      std::memcpy(found.gateway.bytes.data(), nl_addr_get_binary_addr(via), nl_addr_get_len(via));
    return found;
  }
  return std::nullopt;
}

Result<void> Netlink::wait_for_carrier(const std::string& name, std::chrono::milliseconds timeout) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + timeout;
  // The kernel reports link changes only to sockets in a multicast group. Looking again every
  // millisecond is as good, because the wait is short, and it leaves nothing behind.
  for (;;) {
    auto now = interface(name);
    if (!now) return std::move(now).error();
    if (now->has_carrier()) return {};
    if (steady_clock::now() >= deadline) {
      return Error(Errc::timed_out, "interface \"" + name + "\" has no carrier after " +
                                        std::to_string(timeout.count()) +
                                        " ms (is its other end there and up?)");
    }
    ::poll(nullptr, 0, 1);
  }
}

Result<void> Netlink::disable_ipv6(const std::string& name) {
  auto changed = impl_->change(
      name, "cannot disable IPv6 on interface \"" + name + "\"",
      [](rtnl_link* l) { rtnl_link_inet6_set_addr_gen_mode(l, IN6_ADDR_GEN_MODE_NONE); });
  // A kernel without IPv6 has no IPv6 to switch off.
  if (!changed && changed.error().code != std::errc::address_family_not_supported) return changed;
  auto here = NetNamespace::current();
  struct stat ours{};
  struct stat theirs{};
  if (here && ::fstat(here->descriptor(), &ours) == 0 &&
      ::fstat(impl_->own_namespace.get(), &theirs) == 0 && ours.st_ino == theirs.st_ino) {
    const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file) (void)!::write(file.get(), "1", 1);  // if /proc is read-only, only the above holds
  }
  return {};
}

Result<void> Netlink::disable_offloads(const std::string& name) {
  if (!is_interface_name(name)) return bad_name(name);
  static constexpr std::array<std::uint32_t, 6> kOff{ETHTOOL_STSO,    ETHTOOL_SGSO,    ETHTOOL_SGRO,
                                                     ETHTOOL_SRXCSUM, ETHTOOL_STXCSUM, ETHTOOL_SSG};
  for (const std::uint32_t command : kOff) {
    ethtool_value value{};
    value.cmd = command;
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), name.size());
    request.ifr_data = reinterpret_cast<char*>(&value);
    if (::ioctl(impl_->control.get(), SIOCETHTOOL, &request) != 0 && errno != EOPNOTSUPP) {
      return Error::from_errno(errno,
                               "cannot switch off the offloads of interface \"" + name + "\"");
    }
  }
  return {};
}

Result<void> Netlink::disable_unspeakable_offloads(const std::string& name) {
  if (!is_interface_name(name)) return bad_name(name);
  const std::string what =
      "cannot switch off the offloads of tunnels on interface \"" + name + "\"";
  auto features = Features::read(impl_->control.get(), name);
  if (!features) return Error(features.error().code, what + ": " + features.error().message);
  const auto is_off = [](const Features::Feature&) { return false; };
  return features->request([](const Features::Feature& f) { return is_unspeakable(f.name); },
                           is_off);
}

}  // namespace shmif::tap
