#pragma once
// How the programs behind sockets are spoken to: a row for each protocol.

#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tools/relay/peer.hpp"

namespace shmif::tools {

/// One protocol. The rows are constants; any thread may read them.
struct PeerProtocol {
  /// Makes a link of a program that has connected. The link fits the frame size of the port, whose
  /// frames it carries. Throws if that fails. Blocks: never.
  Peer (*open)(const PeerBridge& bridge, UniqueFd connected, Port& port);
  int socket_type;                    ///< SOCK_STREAM or SOCK_SEQPACKET
  bool carries_offloads = false;      ///< unfinished checksums and super-frames
  const char* when_not_ready = "";    ///< for sum_up(): when the frames of `not_ready` passed
  const char* what_had_no_room = "";  ///< for sum_up(): what the frames of `no_room` did not fit
};

extern const PeerProtocol kStreamProtocol;  ///< a length before each frame
extern const PeerProtocol kVhostProtocol;
extern const PeerProtocol kMemifProtocol;

}  // namespace shmif::tools
