#include "shmif/socket_address.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace shmif {
namespace {

constexpr std::size_t kUdpHeaderBytes = 8;
constexpr std::size_t kMaxUdpBytes = 65507;  // an IPv4 packet of 65535 minus both headers

sockaddr_in v4(const SocketAddress& a) noexcept {
  sockaddr_in out{};
  std::memcpy(&out, &a.storage, sizeof out);
  return out;
}
sockaddr_in6 v6(const SocketAddress& a) noexcept {
  sockaddr_in6 out{};
  std::memcpy(&out, &a.storage, sizeof out);
  return out;
}
/// The IPv4 address that is mapped to this IPv6 address; empty if it is not a mapped address.
std::optional<in_addr_t> mapped_v4(const in6_addr& address) noexcept {
  if (!IN6_IS_ADDR_V4MAPPED(&address)) return std::nullopt;
  in_addr_t mapped = 0;
  std::memcpy(&mapped, address.s6_addr + 12, sizeof mapped);
  return mapped;
}
template <class T>
SocketAddress from(const T& address) noexcept {
  SocketAddress out;
  std::memcpy(&out.storage, &address, sizeof address);
  out.size = sizeof address;
  return out;
}

/// "%eth0" for an address whose meaning depends on the interface; empty for others.
std::string zone_of(const sockaddr_in6& address) {
  if (address.sin6_scope_id == 0) return {};
  std::array<char, IF_NAMESIZE> name{};
  if (::if_indextoname(address.sin6_scope_id, name.data()) != nullptr)
    return '%' + std::string(name.data());
  return '%' + std::to_string(address.sin6_scope_id);
}

Error not_an_address(std::string_view text) {
  return {Errc::bad_argument, '"' + std::string(text) +
                                  "\" is not a socket address (write an IP address and a port, "
                                  "\"198.18.0.1:7000\" or \"[fd00::1]:7000\")"};
}

}  // namespace

std::uint16_t SocketAddress::port() const noexcept {
  return ntohs(family() == AF_INET6 ? v6(*this).sin6_port : v4(*this).sin_port);
}

SocketAddress SocketAddress::with_port(std::uint16_t port) const noexcept {
  if (family() == AF_INET6) {
    sockaddr_in6 a = v6(*this);
    a.sin6_port = htons(port);
    return from(a);
  }
  sockaddr_in a = v4(*this);
  a.sin_port = htons(port);
  return from(a);
}

SocketAddress SocketAddress::any() const noexcept {
  if (family() == AF_INET6) {
    sockaddr_in6 a = v6(*this);
    a.sin6_addr = in6addr_any;
    return from(a);
  }
  sockaddr_in a = v4(*this);
  a.sin_addr.s_addr = htonl(INADDR_ANY);
  return from(a);
}

bool SocketAddress::is_any() const noexcept {
  if (family() != AF_INET6) return v4(*this).sin_addr.s_addr == htonl(INADDR_ANY);
  const sockaddr_in6 a = v6(*this);
  return IN6_IS_ADDR_UNSPECIFIED(&a.sin6_addr) || mapped_v4(a.sin6_addr) == htonl(INADDR_ANY);
}

std::string SocketAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const std::string port_text = ':' + std::to_string(port());
  if (family() == AF_INET6) {
    const sockaddr_in6 a = v6(*this);
    (void)::inet_ntop(AF_INET6, &a.sin6_addr, text.data(), text.size());
    return '[' + std::string(text.data()) + zone_of(a) + ']' + port_text;
  }
  const sockaddr_in a = v4(*this);
  (void)::inet_ntop(AF_INET, &a.sin_addr, text.data(), text.size());
  return text.data() + port_text;
}

std::optional<HostPort> split_host_port(std::string_view text) {
  std::string_view host = text;
  std::string_view rest;  // colon and port
  if (text.starts_with('[')) {
    const std::size_t end = std::min(text.find(']'), text.size());
    host = text.substr(1, end - 1);
    rest = text.substr(std::min(end + 1, text.size()));
    if (end == text.size() || (!rest.empty() && rest[0] != ':')) return std::nullopt;
  } else if (const std::size_t colon = text.find(':'); colon == text.rfind(':')) {
    host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? "" : text.substr(colon);
  }  // more than one colon: an IPv6 address without brackets, so no port
  if (host.empty() || host.find_first_of(" \t/@") != std::string_view::npos) return std::nullopt;
  HostPort split{std::string(host), std::nullopt};
  if (rest.empty()) return split;
  std::uint16_t port = 0;
  const char* const end = rest.data() + rest.size();
  const auto [stop, problem] = std::from_chars(rest.data() + 1, end, port);
  if (problem != std::errc{} || stop != end) return std::nullopt;
  split.port = port;
  return split;
}

Result<SocketAddress> parse_socket_address(std::string_view text) {
  const auto split = split_host_port(text);
  if (!split || !split->port) return not_an_address(text);
  if (text.starts_with('[')) {
    if (split->host.find('%') != std::string::npos) {  // with the interface of a link-local address
      return parse_host_address(split->host, *split->port);
    }
    sockaddr_in6 a{};
    a.sin6_family = AF_INET6;
    a.sin6_port = htons(*split->port);
    if (::inet_pton(AF_INET6, split->host.c_str(), &a.sin6_addr) == 1) return from(a);
    return not_an_address(text);
  }
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(*split->port);
  if (::inet_pton(AF_INET, split->host.c_str(), &a.sin_addr) == 1) return from(a);
  return not_an_address(text);
}

namespace {

Result<SocketAddress> look_up(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_flags = flags;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int problem = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (problem != 0) {
    return Error(Errc::bad_argument, "cannot find the host \"" + host +
                                         "\": " + ::gai_strerror(problem) +
                                         " (give an IP address, as 127.0.0.1)");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  return address.with_port(port);
}

}  // namespace

Result<SocketAddress> resolve(const std::string& host, std::uint16_t port) {
  return look_up(host, port, 0);
}

Result<SocketAddress> parse_host_address(const std::string& host, std::uint16_t port) {
  return look_up(host, port, AI_NUMERICHOST);
}

bool is_of_this_machine(const SocketAddress& address) noexcept {
  const bool six = address.family() == AF_INET6;
  const sockaddr_in6 wanted6 = six ? v6(address) : sockaddr_in6{};
  const auto mapped = six ? mapped_v4(wanted6.sin6_addr) : std::optional<in_addr_t>();
  if (six && IN6_IS_ADDR_LOOPBACK(&wanted6.sin6_addr)) return true;
  const bool four = !six || mapped.has_value();
  const in_addr_t wanted4 = mapped.value_or(six ? 0 : v4(address).sin_addr.s_addr);
  if (four && ntohl(wanted4) >> 24U == IN_LOOPBACKNET) return true;
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) return false;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned(found, &::freeifaddrs);
  for (const ifaddrs* each = found; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr) continue;
    if (four && each->ifa_addr->sa_family == AF_INET) {
      sockaddr_in here{};
      std::memcpy(&here, each->ifa_addr, sizeof here);
      if (here.sin_addr.s_addr == wanted4) return true;
    } else if (!four && each->ifa_addr->sa_family == AF_INET6) {
      sockaddr_in6 here{};
      std::memcpy(&here, each->ifa_addr, sizeof here);
      if (IN6_ARE_ADDR_EQUAL(&here.sin6_addr, &wanted6.sin6_addr) &&
          (here.sin6_scope_id == 0 || here.sin6_scope_id == wanted6.sin6_scope_id))
        return true;
    }
  }
  return false;
}

Result<SocketAddress> address_of(int socket) {
  SocketAddress address;
  address.size = sizeof address.storage;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) {
    return Error::from_errno(errno, "cannot get the address of a socket");
  }
  return address;
}

Result<UniqueFd> bound_socket(int type, const SocketAddress& local) {
  const std::string what = "cannot bind a socket to " + local.to_string();
  UniqueFd socket(::socket(local.family(), type | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, what);
  const int on = 1;
  if ((type & SOCK_STREAM) == SOCK_STREAM) {
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  if (::bind(socket.get(), local.get(), local.size) != 0) {
    return Error::from_errno(errno, what,
                             errno == EADDRINUSE ? "another program uses that port; choose another"
                             : errno == EADDRNOTAVAIL ? "it is not an address of this machine"
                                                      : "");
  }
  return socket;
}

Result<void> connect_to(int socket, const SocketAddress& remote) {
  while (::connect(socket, remote.get(), remote.size) != 0) {
    if (errno == EINTR) continue;
    return Error::from_errno(errno, "cannot connect a socket to " + remote.to_string());
  }
  return {};
}

std::size_t max_datagram_bytes(int socket, const SocketAddress& remote) noexcept {
  const bool six = remote.family() == AF_INET6;
  const int level = six ? IPPROTO_IPV6 : IPPROTO_IP;
  static_assert(IPV6_PMTUDISC_DO == IP_PMTUDISC_DO);
  const int never = IP_PMTUDISC_DO;
  (void)::setsockopt(socket, level, six ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &never,
                     sizeof never);
  int mtu = 0;
  socklen_t size = sizeof mtu;
  if (::getsockopt(socket, level, six ? IPV6_MTU : IP_MTU, &mtu, &size) != 0) return kMaxUdpBytes;
  const std::size_t headers = (six ? 40 : 20) + kUdpHeaderBytes;
  const std::size_t room = static_cast<std::size_t>(mtu) - headers;
  return std::min(room, kMaxUdpBytes);
}

}  // namespace shmif
