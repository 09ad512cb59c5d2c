// Addresses of interfaces, and of their neighbours; default routes, and what the kernel's routes
// say of an address.

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "tap/netlink/session.hpp"

namespace shmif::tap {
namespace {

using NeighbourPtr = std::unique_ptr<rtnl_neigh, NlDeleter<rtnl_neigh_put>>;

constexpr unsigned kMinIpv6Mtu = 1280;  // RFC 8200; below it the kernel takes no IPv6 address

IpAddress broadcast_of(const Cidr& c) {
  IpAddress b = c.address;
  for (unsigned bit = c.prefix; bit < 32; ++bit) {
    b.bytes[bit / 8] = static_cast<std::uint8_t>(b.bytes[bit / 8] | 0x80U >> bit % 8);
  }
  return b;
}

/// Why an interface takes no IPv6 address. Empty if the reason is not that it has no IPv6. Reads
/// the kernel's answer and not /proc, which shows the settings of the caller's namespace.
std::string why_no_ipv6(const std::string& name, int error) {
  if (error == EOPNOTSUPP || error == EAFNOSUPPORT)
    return "this machine has no IPv6, as with ipv6.disable=1 on the kernel's command line: give "
           "IPv4 addresses only";
  if (error != EACCES) return {};
  return "IPv6 is switched off: /proc/sys/net/ipv6/conf/" + name +
         "/disable_ipv6 is 1. Set it to 0, or give IPv4 addresses only";
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

/// How many link-local addresses an interface has, and how many of them it may not use yet.
struct LinkLocals {
  unsigned all = 0;
  unsigned tentative = 0;
};

Result<LinkLocals> link_locals(nl_sock* socket, int index) {
  nl_cache* addresses = nullptr;
  if (const int e = rtnl_addr_alloc_cache(socket, &addresses); e < 0) {
    return libnl_failure(e, "cannot list addresses");
  }
  const CachePtr owned(addresses);
  LinkLocals found;
  for (nl_object* each = nl_cache_get_first(addresses); each != nullptr;
       each = nl_cache_get_next(each)) {
    auto* const address = reinterpret_cast<rtnl_addr*>(each);
    if (rtnl_addr_get_ifindex(address) != index || rtnl_addr_get_family(address) != AF_INET6 ||
        rtnl_addr_get_scope(address) != RT_SCOPE_LINK)
      continue;
    ++found.all;
    // An optimistic one is tentative, too, and no source of a question for a neighbour.
    if ((rtnl_addr_get_flags(address) & IFA_F_TENTATIVE) != 0) ++found.tentative;
  }
  return found;
}

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

/// Waits until frames to an address of this machine stay here. The kernel adds this route of an
/// optimistic address in the background.
void wait_for_local_route(nl_sock* socket, const IpAddress& address) {
  constexpr int kLooks = 3000;  // of a millisecond each
  const NlAddrPtr to = to_nl(address, address.bits());
  for (int i = 0; to && i < kLooks; ++i) {
    rtnl_route* found = nullptr;
    if (rtnl_route_lookup(socket, to.get(), &found) < 0) return;
    const RoutePtr route(found);
    if (rtnl_route_get_type(route.get()) == RTN_LOCAL) return;
    ::poll(nullptr, 0, 1);
  }
}

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

Result<bool> Netlink::wait_for_link_local(const std::string& name,
                                          std::chrono::milliseconds timeout) {
  using std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kTimeToAppear{100};
  const auto begun = steady_clock::now();
  const auto link = impl_->get(name);
  if (!link) return link.error();
  for (;;) {  // until the time is over
    const auto found = link_locals(impl_->socket.get(), rtnl_link_get_ifindex(link->get()));
    if (!found) return found.error();
    if (found->all > 0 && found->tentative == 0) return true;
    const auto since = steady_clock::now() - begun;
    if (since >= timeout || (found->all == 0 && since >= kTimeToAppear)) return false;
    ::poll(nullptr, 0, 1);
  }
}

Result<void> Netlink::add_address(const std::string& name, const Cidr& cidr, bool optimistic) {
  const std::string what =
      "cannot add address " + cidr.to_string() + " to interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const AddrPtr address = rtnl_address(link->get(), cidr);
  if (!address) return netlink_out_of_memory();
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
    const std::string no_ipv6 =
        cidr.address.is_v6() ? why_no_ipv6(name, errno_of(e)) : std::string();
    if (!no_ipv6.empty()) return Error::from_errno(EAFNOSUPPORT, what, no_ipv6);
    return libnl_failure(e, what);
  }
  if (optimistic) wait_for_local_route(impl_->socket.get(), cidr.address);
  return {};
}

Result<void> Netlink::remove_address(const std::string& name, const Cidr& cidr) {
  const std::string what =
      "cannot remove address " + cidr.to_string() + " from interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const AddrPtr address = rtnl_address(link->get(), cidr);
  if (!address) return netlink_out_of_memory();
  if (const int e = rtnl_addr_delete(impl_->socket.get(), address.get(), 0); e < 0) {
    return libnl_failure(e, what);
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
  if (!neighbour || !to || !at) return netlink_out_of_memory();
  rtnl_neigh_set_ifindex(neighbour.get(), rtnl_link_get_ifindex(link->get()));
  rtnl_neigh_set_dst(neighbour.get(), to.get());
  rtnl_neigh_set_lladdr(neighbour.get(), at.get());
  rtnl_neigh_set_state(neighbour.get(), NUD_PERMANENT);
  if (const int e =
          rtnl_neigh_add(impl_->socket.get(), neighbour.get(), NLM_F_CREATE | NLM_F_REPLACE);
      e < 0) {
    return libnl_failure(e, what);
  }
  return {};
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

Result<bool> Netlink::leads_to_many(const IpAddress& address) const {
  const NlAddrPtr to = to_nl(address, address.bits());
  if (!to) return netlink_out_of_memory();
  rtnl_route* found = nullptr;
  const int e = rtnl_route_lookup(impl_->socket.get(), to.get(), &found);
  const RoutePtr route(found);
  // Unreachable, prohibited and blackhole. For most of these, libnl has no number of its own.
  if (e == -NLE_FAILURE || e == -NLE_NOACCESS || e == -NLE_INVAL) return false;
  if (e < 0 || !route) {
    return libnl_failure(e < 0 ? e : -NLE_FAILURE,
                         "cannot ask the kernel where " + address.to_string() + " leads");
  }
  const auto type = rtnl_route_get_type(route.get());
  return type == RTN_BROADCAST || type == RTN_MULTICAST;
}

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
    return libnl_failure(e, what);
  }
  return {};
}

Result<void> Netlink::remove_default_route(const std::string& name, const IpAddress& gateway) {
  const std::string what = "cannot remove the default route through gateway " +
                           gateway.to_string() + " on interface \"" + name + "\"";
  auto link = impl_->get(name);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const RoutePtr route = rtnl_default_route(rtnl_link_get_ifindex(link->get()), gateway, 0);
  if (!route) return netlink_out_of_memory();
  if (const int e = rtnl_route_delete(impl_->socket.get(), route.get(), 0); e < 0)
    return libnl_failure(e, what);
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

}  // namespace shmif::tap
