// The protocols of programs behind sockets: a row for each.

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "memif/memif_link.hpp"
#include "shmif/foreign/foreign.hpp"
#include "shmif/stream_link.hpp"
#include "tools/relay/peer.hpp"
#include "vhost/vhost_link.hpp"

namespace shmif::tools {
namespace {

/// Makes a link of a stream of frames.
Peer stream_peer(const PeerBridge& bridge, UniqueFd connected, Port& port) {
  StreamOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.address = bridge.peer_text;
  auto link = std::make_unique<StreamLink>(StreamLink::adopt(std::move(connected), options));
  const auto drops = drops_of(*link);
  return {AnyLink(std::move(link)), drops};
}

/// The most memory that one program of a bridge may have mapped.
std::uint64_t memory_share(const PeerBridge& bridge) {
  return kMaxForeignBytes / std::max<std::size_t>(bridge.max_peers, 1);
}

/// Makes a link to a virtual machine, whose memory is shared. Throws if that fails.
Peer vhost_peer(const PeerBridge& bridge, UniqueFd connected, Port& port) {
  vhost::VhostOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.offload = port.takes_offloads();
  options.address = bridge.peer_text;
  options.max_memory_bytes = memory_share(bridge);
  auto link = std::make_unique<vhost::VhostLink>(
      vhost::VhostLink::adopt(std::move(connected), options).value());
  const vhost::VhostLink* const raw = link.get();
  const auto drops = [raw] {
    const vhost::VhostDrops all = raw->drops();
    return PeerDrops{.too_long = all.too_long,
                     .too_short = all.too_short,
                     .bad_header = all.bad_header,
                     .discarded = all.discarded,
                     .not_ready = all.not_ready,
                     .no_room = all.no_room};
  };
  Peer peer{AnyLink(std::move(link)), drops};
  peer.fault = [raw] { return raw->why(); };
  peer.was_set_up = [raw] { return raw->was_set_up(); };
  peer.left_early =
      " is gone before it shared its memory (each machine has one pair of queues here: is it "
      "queues=1?)";
  return peer;
}

/// Makes a link to a packet processor, whose memory is shared. Throws if that fails.
Peer memif_peer(const PeerBridge& bridge, UniqueFd connected, Port& port) {
  memif::MemifOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.address = bridge.peer_text;
  options.max_memory_bytes = memory_share(bridge);
  auto link = std::make_unique<memif::MemifLink>(
      memif::MemifLink::adopt(std::move(connected), options).value());
  const memif::MemifLink* const raw = link.get();
  const auto drops = [raw] {
    const memif::MemifDrops all = raw->drops();
    return PeerDrops{.too_long = all.too_long,
                     .too_short = all.too_short,
                     .not_ready = all.not_ready,
                     .no_room = all.no_room};
  };
  Peer peer{AnyLink(std::move(link)), drops};
  peer.fault = [raw] { return raw->why(); };
  peer.was_set_up = [raw] { return raw->was_set_up(); };
  peer.left_early = " is gone before it had set up its interface";
  return peer;
}

}  // namespace

const PeerProtocol kStreamProtocol{.open = stream_peer, .socket_type = SOCK_STREAM};
const PeerProtocol kVhostProtocol{.open = vhost_peer,
                                  .socket_type = SOCK_STREAM,
                                  .carries_offloads = true,
                                  .when_not_ready = "while a machine had no driver",
                                  .what_had_no_room = "no buffer of the driver"};
const PeerProtocol kMemifProtocol{.open = memif_peer,
                                  .socket_type = SOCK_SEQPACKET,
                                  .when_not_ready = "before a program had set up its interface",
                                  .what_had_no_room = "no buffers of the program"};

}  // namespace shmif::tools
