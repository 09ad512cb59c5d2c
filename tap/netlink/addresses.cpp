// Addresses of interfaces, and of their neighbours.

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/neighbour.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
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

}  // namespace shmif::tap
