#pragma once
// Socket addresses in text form: "198.18.0.1:7000", "[fd00::1]:7000".

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif {

/// The address of a socket, as system calls take it. get() and family() also work for families
/// other than IPv4 and IPv6.
struct SocketAddress {
  sockaddr_storage storage{};  ///< the address, in its own form
  socklen_t size = 0;          ///< how many bytes of it count; 0: no address

  /// For bind(2), connect(2), sendto(2), together with `size`. Valid as long as this object.
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  /// AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC if there is no address.
  int family() const noexcept { return storage.ss_family; }
  /// In the byte order of this machine; only for IPv4 and IPv6.
  std::uint16_t port() const noexcept;
  /// The same address with another port. Only for IPv4 and IPv6.
  SocketAddress with_port(std::uint16_t port) const noexcept;
  bool is_any() const noexcept;  ///< a wildcard address
  /// The wildcard address of the same family, with this port.
  SocketAddress any() const noexcept;
  /// "198.18.0.1:7000", "[fd00::1]:7000", "[fe80::1%eth0]:7000". Only for IPv4 and IPv6.
  std::string to_string() const;
};

/// The parts of HOST, HOST:PORT, or for IPv6 ADDRESS or [ADDRESS]:PORT.
struct HostPort {
  std::string host;                   ///< name or address, without brackets
  std::optional<std::uint16_t> port;  ///< empty if the text has none
};
/// Result: empty if the text has another form. Blocks: never; does not look up names.
std::optional<HostPort> split_host_port(std::string_view text);

/// Reads an address with a port: "198.18.0.1:7000", "[fd00::1]:7000", "[fe80::1%eth0]:7000".
/// Errors: bad_argument; the message names the problem. Blocks: never; does not look up names.
Result<SocketAddress> parse_socket_address(std::string_view text);
/// The address that `host` spells out, with that port: "198.18.0.1", "fe80::1%eth0". Blocks: never;
/// does not look up names. Errors: bad_argument.
Result<SocketAddress> parse_host_address(const std::string& host, std::uint16_t port);
/// Whether datagrams for the address stay on this machine. They do for a loopback address, and for
/// a unicast address of an interface here; an IPv4 address may be mapped to IPv6. Result: false for
/// the wildcard address, and if the kernel cannot be asked. Blocks: never.
bool is_of_this_machine(const SocketAddress& address) noexcept;
/// The address of `host`, a name or an address, with that port. Blocks: for the name server.
/// Errors: bad_argument.
Result<SocketAddress> resolve(const std::string& host, std::uint16_t port);
/// The address that a socket is bound to. Errors: an errno.
Result<SocketAddress> address_of(int socket);

/// A bound socket of that type (SOCK_DGRAM, SOCK_STREAM). Errors: an errno.
Result<UniqueFd> bound_socket(int type, const SocketAddress& local);
/// Connects the socket, as connect(2), which a signal does not end. Errors: an errno.
Result<void> connect_to(int socket, const SocketAddress& remote);

/// The largest datagram that reaches the peer of a connected UDP socket in one piece, at most what
/// UDP over IPv4 can carry. From then on the socket refuses larger ones and does not fragment.
std::size_t max_datagram_bytes(int socket, const SocketAddress& remote) noexcept;

}  // namespace shmif
