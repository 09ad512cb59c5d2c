#include "tap/upkeep.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

namespace shmif::tap {
namespace {

/// Of news of routes, lets only removed default routes pass. A router's program may add a hundred
/// thousand others.
bool leave_out_other_routes(int socket) {
  constexpr std::uint32_t kType = offsetof(nlmsghdr, nlmsg_type);
  constexpr std::uint32_t kPrefix = NLMSG_HDRLEN + offsetof(rtmsg, rtm_dst_len);
  // A filter loads numbers in network byte order.
  const std::uint32_t is_new = htons(RTM_NEWROUTE);
  const std::uint32_t is_gone = htons(RTM_DELROUTE);
  std::array<sock_filter, 7> program{{
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kType),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, is_new, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, is_gone, 0, 2),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kPrefix),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

/// The value of an attribute as an address; empty if it is not one of this family.
std::optional<IpAddress> address_in(const nlattr* attribute, unsigned char family) {
  IpAddress address;
  address.family = family;
  if (attribute == nullptr || (family != AF_INET && family != AF_INET6) ||
      static_cast<unsigned>(::nla_len(attribute)) != address.bits() / 8) {
    return std::nullopt;
  }
  std::memcpy(address.bytes.data(), ::nla_data(attribute), address.bits() / 8);
  return address;
}

/// The address that a message reports as removed.
std::optional<Cidr> removed_address(nlmsghdr* header) {
  std::array<nlattr*, IFA_MAX + 1> found{};
  if (::nlmsg_parse(header, sizeof(ifaddrmsg), found.data(), IFA_MAX, nullptr) < 0)
    return std::nullopt;
  const auto* const about = static_cast<const ifaddrmsg*>(::nlmsg_data(header));
  const auto address = address_in(
      found[IFA_LOCAL] != nullptr ? found[IFA_LOCAL] : found[IFA_ADDRESS], about->ifa_family);
  if (!address) return std::nullopt;
  return Cidr{*address, about->ifa_prefixlen};
}

struct DefaultRoute {
  unsigned index;  ///< of the interface
  IpAddress gateway;
};

/// The default route that a message reports as removed.
std::optional<DefaultRoute> removed_default_route(nlmsghdr* header) {
  std::array<nlattr*, RTA_MAX + 1> found{};
  if (::nlmsg_parse(header, sizeof(rtmsg), found.data(), RTA_MAX, nullptr) < 0) return std::nullopt;
  const auto* const about = static_cast<const rtmsg*>(::nlmsg_data(header));
  if (about->rtm_dst_len != 0 || about->rtm_table != RT_TABLE_MAIN) return std::nullopt;
  const auto gateway = address_in(found[RTA_GATEWAY], about->rtm_family);
  if (!gateway || found[RTA_OIF] == nullptr) return std::nullopt;
  return DefaultRoute{::nla_get_u32(found[RTA_OIF]), *gateway};
}

}  // namespace

Result<UniqueFd> Upkeep::open_socket() {
  UniqueFd s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (s && leave_out_other_routes(s.get()))
    address.nl_groups |= RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (!s || ::bind(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error::from_errno(errno, "cannot watch the addresses of interfaces");
  }
  return s;
}

Upkeep::Upkeep(UniqueFd socket, std::function<Result<Netlink>()> session,
               std::vector<GivenAddresses> given)
    : socket_(std::move(socket)), session_(std::move(session)) {
  for (GivenAddresses& each : given) {
    Interface& made =
        all_.emplace_back(Interface{each.index, {}, std::move(each.gateways), each.optimistic});
    for (const Cidr& cidr : each.addresses) made.addresses.push_back({cidr});
  }
}

void Upkeep::read() {
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;  // the kernel sends no larger ones
  // Bounded: a program that changes its interfaces without pause must not keep us here.
  for (int i = 0; i < 64; ++i) {
    sockaddr_nl from{};
    socklen_t length = sizeof from;
    const ssize_t n = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0 && errno == ENOBUFS) {
      // A message was lost. Try to put back the addresses of all interfaces; this does not change
      // addresses that are there.
      for (Interface& each : all_) {
        for (Address& address : each.addresses) address.lost = true;
        put_back(each);
      }
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    // Programs other than the kernel may also send here.
    if (from.nl_pid == 0) take(std::span(buffer).first(static_cast<std::size_t>(n)));
  }
}

void Upkeep::take(std::span<const std::byte> datagram) {
  auto* header =
      reinterpret_cast<nlmsghdr*>(const_cast<std::byte*>(datagram.data()));  // NOLINT: only read
  auto left = static_cast<int>(datagram.size());
  for (; ::nlmsg_ok(header, left) != 0; header = ::nlmsg_next(header, &left)) {
    if (header->nlmsg_type == RTM_NEWLINK || header->nlmsg_type == RTM_DELLINK) {
      if (::nlmsg_valid_hdr(header, sizeof(ifinfomsg)) == 0) continue;
      const auto* const about = static_cast<const ifinfomsg*>(::nlmsg_data(header));
      // A bridge sends the same message when an interface leaves the bridge.
      if (about->ifi_family == AF_BRIDGE) continue;
      const auto index = static_cast<unsigned>(about->ifi_index);
      if (header->nlmsg_type == RTM_NEWLINK) {
        note_link(index, (about->ifi_flags & IFF_UP) != 0);
      } else {
        std::erase_if(all_, [index](const Interface& each) { return each.index == index; });
      }
    } else if (header->nlmsg_type == RTM_DELADDR) {
      const auto cidr = removed_address(header);
      const auto* const about = static_cast<const ifaddrmsg*>(::nlmsg_data(header));
      if (cidr) note_removal(about->ifa_index, *cidr);
    } else if (header->nlmsg_type == RTM_DELROUTE) {
      if (const auto route = removed_default_route(header))
        note_removal(route->index, route->gateway);
    }
  }
}

void Upkeep::note_link(unsigned index, bool up) {
  for (Interface& each : all_) {
    if (each.index != index || each.up == up) continue;
    each.up = up;
    if (up) put_back(each);
  }
}

/// The kernel first reports that an interface is down, and then removes its addresses; it removes
/// only those of IPv6.
void Upkeep::note_removal(unsigned index, const Cidr& cidr) {
  for (Interface& each : all_) {
    if (each.index != index) continue;
    const auto it = std::ranges::find(each.addresses, cidr, &Address::cidr);
    if (it == each.addresses.end()) continue;
    if (!each.up && cidr.address.is_v6()) {
      it->lost = true;
    } else {
      each.addresses.erase(it);
    }
  }
}

/// The kernel removes the routes of an interface after it has reported that the interface is down.
void Upkeep::note_removal(unsigned index, const IpAddress& gateway) {
  for (Interface& each : all_) {
    if (each.index == index && each.up) std::erase(each.gateways, gateway);
  }
}

void Upkeep::put_back(Interface& interface) const {
  auto netlink = session_();
  if (!netlink) return;
  const std::string now = netlink->name_of(interface.index);
  if (now.empty()) return;
  for (Address& address : interface.addresses) {
    if (!address.lost) continue;
    const auto added = netlink->add_address(now, address.cidr, interface.optimistic);
    address.lost = !added && added.error().code != std::errc::file_exists;
  }
  // A default route that is there already stays: somebody chose another gateway.
  for (const IpAddress& gateway : interface.gateways)
    (void)netlink->add_default_route(now, gateway);
}

}  // namespace shmif::tap
