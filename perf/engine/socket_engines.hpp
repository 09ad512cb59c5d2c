#pragma once
// Ends inside an emulated host. The host's own IP stack carries the frames, as payload of UDP
// datagrams or as records on a TCP connection. The frames have the same bytes as on any wire, with
// the 14-byte header, so probes are written and read the same way.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"

namespace shmif::perf {

struct HostEndOptions {
  std::string local;                   ///< "198.18.0.1:7000", "[fd00::1]:7000"; port 0: any
  std::string remote;                  ///< the peer's address
  std::size_t max_frame_bytes = 1514;  ///< longer frames are refused
  EndOptions end;                      ///< name and faults
  // The first two are for TCP only; 0 or empty: the kernel's default.
  std::uint32_t mss_bytes = 0;        ///< TCP_MAXSEG
  std::string congestion;             ///< TCP_CONGESTION
  std::uint64_t window_bytes = 0;     ///< SO_SNDBUF and SO_RCVBUF
  std::optional<std::uint32_t> dscp;  ///< of IP_TOS or IPV6_TCLASS
  /// How long TCP waits for its peer, which may start later.
  std::chrono::milliseconds patience = std::chrono::seconds(10);
};

/// Makes an end that sends datagrams to `remote` and receives only from there. Without a remote it
/// receives from any address, and does not send. Each frame is one datagram, and datagrams are
/// never fragmented: max_frame_bytes() is what the path takes. The counters include frames dropped
/// because the socket was full. Errors: bad_argument, also for a congestion control or a buffer
/// that the kernel does not grant; or an errno.
Result<std::unique_ptr<End>> open_udp_host_end(const HostEndOptions& options);

/// Makes an end of a TCP connection: waits at `local` for one peer to connect; does not use
/// `remote`. Blocks: until a peer connects, at most `patience`. Errors: timed_out, bad_argument, or
/// an errno.
Result<std::unique_ptr<End>> listen_tcp_host_end(const HostEndOptions& options);
/// Makes the other end: connects from `local`, which may be empty, to `remote`. Blocks: until the
/// remote listens, at most `patience`. Errors: as listen_tcp_host_end().
Result<std::unique_ptr<End>> connect_tcp_host_end(const HostEndOptions& options);

// What the ends of both kinds share: options that are set before traffic, and the state of a TCP
// connection. Internal to perf/engine.

enum class Transport : std::uint8_t { udp, tcp };

/// Applies `options` to a socket, before it connects or listens. Errors: bad_argument for an option
/// that the kernel does not grant, with what it would grant; an errno.
Result<void> set_up_socket(int socket, const HostEndOptions& options, Transport transport);

/// Empty if the kernel does not tell. Blocks: never.
std::optional<TcpState> tcp_state_of(int socket) noexcept;

}  // namespace shmif::perf
