#include "tools/uplink/underlay.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/unique_fd.hpp"
#include "tap/netlink.hpp"
#include "tap/netlink/vxlan.hpp"

namespace shmif::tools {
namespace {

socklen_t to_socket_address(const tap::IpAddress& address, std::uint16_t port,
                            sockaddr_storage& storage) {
  storage = {};
  if (address.is_v6()) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&v6.sin6_addr, address.bytes.data(), sizeof v6.sin6_addr);
    std::memcpy(&storage, &v6, sizeof v6);
    return sizeof v6;
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  std::memcpy(&v4.sin_addr, address.bytes.data(), sizeof v4.sin_addr);
  std::memcpy(&storage, &v4, sizeof v4);
  return sizeof v4;
}

tap::IpAddress from_socket_address(const sockaddr_storage& storage) {
  tap::IpAddress address;
  address.family = storage.ss_family;
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    std::memcpy(address.bytes.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
  } else {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    std::memcpy(address.bytes.data(), &v4.sin_addr, sizeof v4.sin_addr);
  }
  return address;
}

std::string interface_with(const tap::IpAddress& address) {
  const auto session = tap::Netlink::open();
  if (!session) return {};
  const auto all = session->interfaces();
  if (!all) return {};
  for (const tap::AddressedInterface& each : *all) {
    if (std::ranges::any_of(each.addresses,
                            [&](const tap::Cidr& has) { return has.address == address; }))
      return each.name;
  }
  return {};
}

/// Whether the kernel refused to send there only because a socket must ask for broadcasts.
bool is_broadcast(int socket, const sockaddr* there, socklen_t size) {
  const int yes = 1;
  return ::setsockopt(socket, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes) == 0 &&
         ::connect(socket, there, size) == 0;
}

}  // namespace

Result<UnderlayPath> path_to(const tap::IpAddress& remote) {
  const std::string what = "cannot find the way to " + remote.to_string();
  const UniqueFd socket(::socket(remote.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, what);
  sockaddr_storage storage;
  const socklen_t size = to_socket_address(remote, tap::kVxlanPort, storage);
  const auto* const there = reinterpret_cast<const sockaddr*>(&storage);
  if (::connect(socket.get(), there, size) != 0) {
    const int why = errno;
    if (why == EACCES && is_broadcast(socket.get(), there, size))
      return Error(Errc::bad_argument,
                   remote.to_string() +
                       " is a broadcast address of this machine's network, and not the address of "
                       "one machine (name each machine by its own address)");
    errno = why;
    return Error::from_errno(errno, what,
                             "give this machine an address in its network, or a route: 'ip route'");
  }
  sockaddr_storage own{};
  socklen_t own_size = sizeof own;
  int mtu = 0;
  socklen_t mtu_size = sizeof mtu;
  const int level = remote.is_v6() ? IPPROTO_IPV6 : IPPROTO_IP;
  const int option = remote.is_v6() ? IPV6_MTU : IP_MTU;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &own_size) != 0 ||
      ::getsockopt(socket.get(), level, option, &mtu, &mtu_size) != 0)
    return Error::from_errno(errno, what);
  UnderlayPath path;
  path.remote = remote;
  path.local = from_socket_address(own);
  path.mtu = static_cast<std::uint32_t>(std::max(mtu, 0));
  path.interface = interface_with(path.local);
  return path;
}

bool is_own_address(const tap::IpAddress& address) {
  return !interface_with(address).empty();
}

std::string too_wide(std::uint32_t bus_mtu, bool is_v6) {
  constexpr std::uint32_t kMaxPacket = 65'535;
  const std::uint32_t most = kMaxPacket - tap::vxlan_bytes(is_v6);
  if (bus_mtu <= most) return {};
  return "the bus has an MTU of " + std::to_string(bus_mtu) + ", and VXLAN over " +
         (is_v6 ? "IPv6" : "IPv4") + " carries at most " + std::to_string(most) +
         " (make the bus with --mtu " + std::to_string(most) + " or less, or use --ssh)";
}

std::vector<std::string> too_narrow(const std::vector<UnderlayPath>& paths, std::uint32_t bus_mtu) {
  std::vector<std::string> texts;
  std::set<std::string> said;
  for (const UnderlayPath& path : paths) {
    const std::uint32_t headers = tap::vxlan_bytes(path.remote.is_v6());
    const std::uint32_t needed = bus_mtu + headers;
    if (path.mtu >= needed || !said.insert(path.interface).second) continue;
    const std::string name = path.interface.empty() ? "NAME" : path.interface;
    texts.push_back("the MTU " + std::to_string(path.mtu) + " of the route to " +
                    path.remote.to_string() +
                    (path.interface.empty() ? std::string() : " (" + path.interface + ")") +
                    " is too small: frames of this bus, whose MTU is " + std::to_string(bus_mtu) +
                    ", need " + std::to_string(needed) +
                    " there. Long frames are sent in fragments, or their senders are told to send "
                    "shorter ones (make the buses with --mtu " +
                    std::to_string(path.mtu - std::min(path.mtu, headers)) +
                    ", or raise the MTU of the network: 'ip link set dev " + name + " mtu " +
                    std::to_string(needed) + "')");
  }
  return texts;
}

}  // namespace shmif::tools
