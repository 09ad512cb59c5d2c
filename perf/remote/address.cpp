#include "perf/remote/address.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "perf/remote/protocol.hpp"

namespace shmif::perf {

namespace {

constexpr int kBacklog = 64;

Error no_address(std::string_view text) {
  return {Errc::bad_argument, '"' + std::string(text) +
                                  "\" is no address of a server (write HOST, HOST:PORT, or "
                                  "[ADDRESS]:PORT for IPv6)"};
}

/// Messages are small and somebody waits for each.
void send_at_once(int socket) {
  const int on = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

Result<ServerAddress> parse_server_address(std::string_view text) {
  ServerAddress server{"", kRemotePort};
  std::string_view host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return no_address(text);
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port[0] != ':') return no_address(text);
    if (port == ":") return no_address(text);
    if (!port.empty()) port.remove_prefix(1);
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    // Of more than one colon none is before a port: that is IPv6 without its brackets.
    if (text.find(':', colon + 1) == std::string_view::npos) {
      host = text.substr(0, colon);
      port = text.substr(colon + 1);
      if (port.empty()) return no_address(text);
    }
  }
  if (host.empty() || host.find_first_of(" \t/@") != std::string_view::npos) {
    return no_address(text);
  }
  if (!port.empty()) {
    const auto [end, problem] =
        std::from_chars(port.data(), port.data() + port.size(), server.port);
    if (problem != std::errc{} || end != port.data() + port.size()) return no_address(text);
  }
  server.host = host;
  return server;
}

Result<std::vector<SocketAddress>> addresses_of(const ServerAddress& server) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int problem = ::getaddrinfo(server.host.c_str(), nullptr, &hints, &found);
  if (problem != 0) {
    return Error(Errc::bad_argument,
                 "cannot find the host \"" + server.host + "\": " + ::gai_strerror(problem) +
                     " (give its name as this machine knows it, or its number)");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  std::vector<SocketAddress> all;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
    SocketAddress address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
    all.push_back(address.with_port(server.port));
  }
  if (all.empty()) {
    return Error(Errc::bad_argument,
                 "the host \"" + server.host + "\" has no IPv4 or IPv6 address (give its number)");
  }
  return all;
}

Result<UniqueFd> listen_at(const SocketAddress& address) {
  auto socket = bound_socket(SOCK_STREAM | SOCK_NONBLOCK, address);
  if (!socket) return std::move(socket).error();
  if (::listen(socket->get(), kBacklog) != 0) {
    return Error::from_errno(
        errno, "cannot listen at " + address.to_string(),
        errno == EADDRINUSE ? "another program has that port; choose one" : "");
  }
  return socket;
}

Result<UniqueFd> begin_connecting(const SocketAddress& address) {
  UniqueFd socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "cannot make a socket");
  send_at_once(socket.get());
  if (::connect(socket.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) {
    return Error::from_errno(errno, "cannot connect to " + address.to_string());
  }
  return socket;
}

Result<void> connected(int socket) {
  int problem = 0;
  socklen_t size = sizeof problem;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &problem, &size) != 0) problem = errno;
  if (problem != 0) return Error::from_errno(problem, "cannot connect");
  return {};
}

bool is_loopback(const SocketAddress& address) noexcept {
  if (address.family() == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, &address.storage, sizeof six);
    return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) != 0;
  }
  sockaddr_in four{};
  std::memcpy(&four, &address.storage, sizeof four);
  return ntohl(four.sin_addr.s_addr) >> 24U == 127;
}

}  // namespace shmif::perf
