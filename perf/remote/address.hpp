#pragma once
// Addresses of servers: "lab3", "lab3:7000", "198.18.0.1", "[fd00::1]:7000".

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/socket_address.hpp"

namespace shmif::perf {

struct ServerAddress {
  std::string host;
  std::uint16_t port = 0;
};

/// Reads an address; the default port is kRemotePort. Errors: bad_argument, with the correct
/// format.
Result<ServerAddress> parse_server_address(std::string_view text);

/// All addresses of the name. Blocks: for the name server. Errors: bad_argument.
Result<std::vector<SocketAddress>> addresses_of(const ServerAddress& server);

/// A listening socket. Errors: an errno, with advice.
Result<UniqueFd> listen_at(const SocketAddress& address);
/// A socket that is connecting: poll() for POLLOUT, then call connected(). Errors: an errno.
Result<UniqueFd> begin_connecting(const SocketAddress& address);
Result<void> connected(int socket);

bool is_loopback(const SocketAddress& address) noexcept;

}  // namespace shmif::perf
