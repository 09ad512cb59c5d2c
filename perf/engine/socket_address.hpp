#pragma once
// Socket addresses as people write them: "198.18.0.1:7000", "[fd00::1]:7000".

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bus/result.hpp"
#include "bus/unique_fd.hpp"

namespace shmif::perf {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const noexcept { return storage.ss_family; }
  std::uint16_t port() const noexcept;
  SocketAddress with_port(std::uint16_t port) const noexcept;
  /// All addresses of this machine, of the same family, with this one's port.
  SocketAddress any() const noexcept;
  std::string to_string() const;
};

/// HOST, HOST:PORT, or with an IPv6 address ADDRESS or [ADDRESS]:PORT, taken apart.
struct HostPort {
  std::string host;  ///< a name or a number, without brackets
  std::optional<std::uint16_t> port;
};
/// Nothing: that is none. Blocks: never, no name is looked up.
std::optional<HostPort> split_host_port(std::string_view text);

/// Errors: bad_argument, naming what is wrong. Blocks: never, no name is looked up.
Result<SocketAddress> parse_socket_address(std::string_view text);
/// What `host`, a name or a number, stands for, with that port. Blocks: for the name server.
/// Errors: bad_argument.
Result<SocketAddress> resolve(const std::string& host, std::uint16_t port);
/// What a socket is bound to. Errors: the system's.
Result<SocketAddress> address_of(int socket);

/// A socket of that type (SOCK_DGRAM, SOCK_STREAM), bound. Errors: the system's.
Result<UniqueFd> bound_socket(int type, const SocketAddress& local);
Result<void> connect_to(int socket, const SocketAddress& remote);

/// The largest datagram that the way to the peer of a connected UDP socket takes in one piece, and
/// no more than UDP over IPv4 ever carries. Larger ones are refused from now on, not cut up.
std::size_t max_datagram_bytes(int socket, const SocketAddress& remote) noexcept;

}  // namespace shmif::perf
