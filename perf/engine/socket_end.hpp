#pragma once
// Ends inside an emulated host: its own IP stack carries the frames, as the payload of UDP
// datagrams or as records on a TCP connection. Their bytes are the same as on any wire, with their
// 14-byte header, so that probes are written and read the same way.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "bus/result.hpp"
#include "perf/engine/engine.hpp"

namespace shmif::perf {

struct HostEndOptions {
  std::string local;                   ///< "198.18.0.1:7000", "[fd00::1]:7000"; port 0: any
  std::string remote;                  ///< the same of the peer
  std::size_t max_frame_bytes = 1514;  ///< longer frames are refused
  EndOptions end;                      ///< its name, and faults on the way
  // Of TCP, but for the last two; 0 and nothing: as the kernel has it.
  std::uint32_t mss_bytes = 0;        ///< TCP_MAXSEG
  std::string congestion;             ///< TCP_CONGESTION
  std::uint64_t window_bytes = 0;     ///< SO_SNDBUF and SO_RCVBUF
  std::optional<std::uint32_t> dscp;  ///< of IP_TOS or IPV6_TCLASS
  /// How long TCP waits for its peer, which may not listen yet.
  std::chrono::milliseconds patience = std::chrono::seconds(10);
};

/// An end that sends datagrams to `remote`, and receives those from there; without a remote it
/// receives from anybody, and sends nothing. A frame goes in one datagram, and no datagram is ever
/// cut up: max_frame_bytes() is what the way there takes. The counters know what was dropped
/// because the socket was full. Errors: bad_argument, also for a congestion control or a buffer
/// that the kernel does not grant; or the system's.
Result<std::unique_ptr<End>> open_udp_host_end(const HostEndOptions& options);

/// An end of a TCP connection: waits at `local` for one peer to connect; `remote` is not used.
/// Blocks: until it has, at most `patience`. Errors: timed_out, bad_argument, or the system's.
Result<std::unique_ptr<End>> listen_tcp_host_end(const HostEndOptions& options);
/// The other end: connects from `local`, which may be empty, to `remote`. Blocks: until that
/// listens, at most `patience`. Errors: as listen_tcp_host_end().
Result<std::unique_ptr<End>> connect_tcp_host_end(const HostEndOptions& options);

}  // namespace shmif::perf
