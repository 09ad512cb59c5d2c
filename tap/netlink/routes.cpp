// Where packets go: default routes, and what the kernel's routes say of an address.

#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "tap/netlink/session.hpp"

namespace shmif::tap {
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
