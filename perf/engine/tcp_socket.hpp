#pragma once
// What may be asked of a socket before traffic, and what the kernel says of a TCP connection.
// Internal to perf/engine.

#include <optional>

#include "bus/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/engine/socket_end.hpp"

namespace shmif::perf {

/// Sets what `options` ask of a socket, before it is connected or listens. `tcp`: of a stream.
/// Errors: bad_argument for what the kernel does not grant, with what it would; the system's.
Result<void> set_up_socket(int socket, const HostEndOptions& options, bool tcp);

/// Nothing when the kernel does not say. Blocks: never.
std::optional<TcpState> tcp_state_of(int socket) noexcept;

}  // namespace shmif::perf
