#pragma once
// The bridges whose far end is a program with a socket: stream:, vhost-user:, memif: and dgram:
// links, and gateways. Programs come and go, and the bridge goes on. Each program has a port of its
// own on the bus, which it joins as a host does.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "shmif/bus.hpp"
#include "shmif/socket_place.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/nat_filter.hpp"
#include "tools/relay/nat_process.hpp"

namespace shmif::tools {

/// What a program that connects speaks.
enum class PeerProtocol : std::uint8_t { stream, vhost_user, memif };

/// How many programs one listening link serves at a time. Others can then use 192 of the 256 ports.
inline constexpr std::size_t kDefaultMaxPeers = 64;

struct PeerBridge {
  const Bus* bus = nullptr;
  /// Opens the bus that is at its path now; for serve_programs().
  std::function<Result<Bus>()> find_bus = {};
  std::string bus_path;
  std::string bus_text, peer_text;  ///< as on the command line
  std::string port_name;            ///< empty: the bus chooses
  bool lock_memory = false;         ///< of each port
  PeerProtocol protocol = PeerProtocol::stream;
  std::size_t max_peers = kDefaultMaxPeers;  ///< of serve_programs()
  NatFilter* filter = nullptr;               ///< of route(): what may pass
};

/// stream:PATH, vhost-user:PATH and memif:PATH: listens, and carries frames for every program that
/// connects, until a signal comes. Each program joins the bus that is at the path when it connects.
/// If no bus is there, the program is refused. With `port_name`, the first port has that
/// name, and others have numbers behind it. Result: the exit code. Blocks: until then, and until
/// all programs let their links end; where one does not in 1.5 s, this says so and ends the
/// process. The same is true for keep_connected(), join_vde() and route().
int serve_programs(const PeerBridge& bridge, const SocketPlace& place, const StopSignals& stop);

/// stream:connect=PATH and vhost-user:connect=PATH: connects, and connects again when the program
/// has gone, until a signal comes.
int keep_connected(const PeerBridge& bridge, const SocketPlace& place, const StopSignals& stop);

/// vde:URL: connects to a VDE network through libvdeplug, and again when that was gone.
int join_vde(const PeerBridge& bridge, const std::string& url, const StopSignals& stop);

/// Runs the program that `wish` names as a gateway of the bus, and again when it has died, until a
/// signal comes. Between the two, NatFilter says what passes. Throws if it cannot be started the
/// first time.
int route(PeerBridge bridge, const NatWish& wish, const StopSignals& stop);

/// dgram:LOCAL,REMOTE: one datagram for each frame, until a signal comes.
int exchange_datagrams(const PeerBridge& bridge, const SocketPlace& local,
                       const SocketPlace& remote, const StopSignals& stop);

}  // namespace shmif::tools
