#pragma once
// Options of a socket that are set before traffic, and the state of a TCP connection. Internal to
// perf/engine.

#include <optional>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/engine/socket_end.hpp"

namespace shmif::perf {

enum class Transport : std::uint8_t { udp, tcp };

/// Applies `options` to a socket, before it connects or listens. Errors: bad_argument for an option
/// that the kernel does not grant, with what it would grant; an errno.
Result<void> set_up_socket(int socket, const HostEndOptions& options, Transport transport);

/// Empty if the kernel does not tell. Blocks: never.
std::optional<TcpState> tcp_state_of(int socket) noexcept;

}  // namespace shmif::perf
