#pragma once
// The bridges whose far end is a program with a socket: stream:, vhost-user:, memif: and dgram:
// links, and gateways. Programs come and go, while the bridge goes on. Each program has its own
// port on the bus, and joins the bus as a host does.

#include "tools/common/signals.hpp"
#include "tools/relay/links.hpp"
#include "tools/relay/nat_process.hpp"
#include "tools/relay/peer.hpp"

namespace shmif::tools {

/// stream:PATH, vhost-user:PATH and memif:PATH: listens, and carries frames for every program that
/// connects, until a signal comes. Each program joins the bus that is at the path when it connects.
/// If no bus is there, the program is refused. With `port_name`, the first port has that name, and
/// the names of later ports have a number added. Result: the exit code. Blocks: until a signal
/// comes, and then until all programs let their links end. If one does not let it end within 1.5 s,
/// this call says so and ends the process. The same is true for keep_connected(), join_vde() and
/// route().
int serve_programs(const PeerBridge& bridge, const PeerPlaces& places, const StopSignals& stop);

/// stream:connect=PATH and vhost-user:connect=PATH: connects, and connects again whenever the
/// program has gone, until a signal comes.
int keep_connected(const PeerBridge& bridge, const PeerPlaces& places, const StopSignals& stop);

/// vde:URL: connects to a VDE network through libvdeplug, and connects again whenever it was gone.
int join_vde(const PeerBridge& bridge, const PeerPlaces& places, const StopSignals& stop);

/// Runs the program that `wish` names as a gateway of the bus, and runs it again when it has died,
/// until a signal comes. NatFilter decides which frames pass between the two. Throws if the program
/// cannot be started the first time.
int route(PeerBridge bridge, const NatWish& wish, const StopSignals& stop);

/// dgram:LOCAL,REMOTE: exchanges one datagram for each frame, until a signal comes.
int exchange_datagrams(const PeerBridge& bridge, const PeerPlaces& places, const StopSignals& stop);

}  // namespace shmif::tools
