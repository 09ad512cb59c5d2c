#include "tools/relay/peer.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "base/signals.hpp"
#include "base/text.hpp"
#include "bus/limits.hpp"
#include "memif/memif_link.hpp"
#include "shmif/foreign/foreign.hpp"
#include "shmif/stream_link.hpp"
#include "tools/common/command.hpp"
#include "tools/common/output.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/interceptors.hpp"
#include "tools/relay/line_control.hpp"
#include "tools/relay/nat_filter.hpp"
#include "tools/relay/watches.hpp"
#include "vhost/vhost_link.hpp"

namespace shmif::tools {

void say(const std::string& text) {
  const base::SignalGuard guard(SIGPIPE);  // the reader of this line may be gone
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    std::printf("%s\n", base::printable(line).c_str());
  flush_output();
}

void Totals::add(const Totals& more) {
  add_counts(frames, more.frames);
  for (const auto drop : {&PeerDrops::too_long, &PeerDrops::too_short, &PeerDrops::bad_header,
                          &PeerDrops::discarded, &PeerDrops::not_ready, &PeerDrops::no_room}) {
    drops.*drop += more.drops.*drop;
  }
  line += more.line;
  if (more.faults.any()) faults = more.faults;
  peers += more.peers;
  while_away += more.while_away;
}

std::string size_text(const PeerBridge& bridge) {
  const std::uint32_t mtu = bridge.bus->info().mtu;
  return ", MTU " + std::to_string(mtu) + " (frames of at most " +
         std::to_string(bus::max_frame_bytes(mtu)) + " bytes)";
}

namespace {

/// What became of the frames on the way to the peers, and on the way from them.
std::pair<BridgeWay, BridgeWay> ways_of(const PeerBridge& bridge, const Totals& totals,
                                        std::uint64_t undelivered) {
  auto ways =
      ways_over(totals.line, totals.faults, totals.frames, bridge.bus_text, bridge.peer_text);
  ways.first.sink_refused = undelivered + totals.drops.not_ready + totals.drops.no_room;
  if (bridge.filter != nullptr) {
    ways.first.filtered = bridge.filter->refused(NatWay::out);
    ways.second.filtered = bridge.filter->refused(NatWay::in);
  }
  return ways;
}

}  // namespace

Json to_json(const PeerBridge& bridge, Connections connections, const Totals& totals,
             std::uint64_t undelivered) {
  const auto [to_peers, from_peers] = ways_of(bridge, totals, undelivered);
  const auto figure_if = [](bool known, std::uint64_t figure) {
    return known ? std::optional(figure) : std::nullopt;
  };
  Json programs = Json::object();
  set_figure(programs, "connections", figure_if(connections != Connections::none, totals.peers),
             "programs that send datagrams do not connect");
  set_figure(programs, "disconnected_frames",
             figure_if(connections == Connections::one, totals.while_away),
             connections == Connections::none ? "whether a program is there is not known"
                                              : "a program has a port only while it is connected");
  programs["too_long_frames"] = totals.drops.too_long;
  programs["too_short_frames"] = totals.drops.too_short;
  // The other links have neither headers before their frames nor queues in shared memory.
  const bool is_virtio = bridge.protocol->carries_offloads;
  const bool shares_memory = *bridge.protocol->when_not_ready != '\0';
  set_figure(programs, "bad_header_frames", figure_if(is_virtio, totals.drops.bad_header),
             "frames of this link have no headers of their own");
  set_figure(programs, "disabled_queue_frames", figure_if(is_virtio, totals.drops.discarded),
             "this link has no queues that a program can disable");
  const char* const kNoMemory = "the program does not share its memory";
  set_figure(programs, "not_ready_frames", figure_if(shares_memory, totals.drops.not_ready),
             kNoMemory);
  set_figure(programs, "no_room_frames", figure_if(shares_memory, totals.drops.no_room), kNoMemory);
  Json json{{"directions", {to_json(to_peers, totals.faults.received), to_json(from_peers)}},
            {"programs", std::move(programs)}};
  if (bridge.filter != nullptr) json["rule_refused_by_reason"] = bridge.filter->to_json();
  return json;
}

void sum_up(const PeerBridge& bridge, Connections connections, const Totals& totals,
            std::uint64_t undelivered) {
  if (bridge.json != nullptr && bridge.json->is_wanted()) {
    const base::SignalGuard guard(SIGPIPE);  // the reader may be gone
    bridge.json->print(json_text(to_json(bridge, connections, totals, undelivered)));
    return;
  }
  const auto [to_peers, from_peers] = ways_of(bridge, totals, undelivered);
  std::string text = to_text(to_peers) + to_text(from_peers) +
                     faults_text(to_peers, totals.faults.received) + faults_text(from_peers, {});
  std::vector<std::string> more;
  if (totals.peers > 0 || totals.while_away > 0)
    more.push_back(base::counted(totals.peers, "connection"));
  const auto add = [&more](std::uint64_t count, const char* one, const char* many,
                           const std::string& what) {
    if (count > 0) more.push_back(base::counted(count, one, many) + what);
  };
  const PeerDrops& drops = totals.drops;
  add(drops.too_long, "frame from there was", "frames from there were", " too long");
  add(drops.too_short, "frame from there was", "frames from there were", " too short");
  add(drops.bad_header, "frame", "frames", " from there had a header that was not agreed on");
  add(drops.discarded, "frame", "frames", " from there came through a disabled queue");
  add(drops.not_ready, "frame", "frames",
      std::string(" passed ") + bridge.protocol->when_not_ready);
  add(drops.no_room, "frame", "frames",
      std::string(" fitted ") + bridge.protocol->what_had_no_room);
  add(totals.while_away, "frame", "frames", " passed while nobody was there");
  if (bridge.filter != nullptr) {
    if (std::string refused = bridge.filter->to_text(); !refused.empty())
      more.push_back(std::move(refused));
  }
  for (std::size_t i = 0; i < more.size(); ++i)
    text += (i == 0 ? bridge.peer_text + ": " : ", ") + more[i];
  while (text.ends_with('\n')) text.pop_back();
  say(text);
}

namespace {

struct Settled {
  Account& account;
  ~Settled() { account.settle(); }
};

}  // namespace

PeerPort::PeerPort(const PeerBridge& bridge, const std::string& name, milliseconds patience)
    : bridge_(&bridge) {
  PortOptions options;
  options.name = name;
  options.kind = LinkKind::bridge;
  options.name_patience = patience;
  options.learn = true;  // learns the program's addresses, however many it has
  options.lock_memory = bridge.lock_memory;
  // With faults, the port itself cuts super-frames into the segments that meet them.
  options.take_offloads = bridge.protocol->carries_offloads && !bridge.faults.received.any();
  auto port = std::make_unique<Port>(options);
  port->attach(*bridge.bus).value();
  line_.emplace(std::move(port));
  line_->set_faults(bridge.faults).value();
}

tap::BridgeEnd PeerPort::carry(AnyLink& peer, int stop, const std::function<PeerDrops()>& drops,
                               Account& account) {
  std::error_code trouble;  // an error of the peer; reported once before its link ends
  LoopGuard guard([&] { complain(loop_text(bridge_->bus_text, bridge_->peer_text, {})); });
  tap::BridgeOptions options;
  options.on_trouble = [&](AnyLink& link, std::error_code error) {
    if (&link == &line_->link()) {
      follow_bus(bridge_->bus_path, peer.descriptor(), LinkKind::bridge, error);
    } else if (error) {
      trouble = error;
    }
  };
  tap::Bridge bridge = tap::Bridge::create(options).value();
  BusWatch watch;
  LineControl control(*line_, {});
  if (!std::exchange(was_noted_, true)) control.note_start();
  const PortUp up(port(), "bus " + bridge_->bus_path);
  watch.add(port());
  const auto settle = [&] {
    line_->settle();
    return true;
  };
  control.show_counts();
  watch.join(bridge, settle).value();
  control.join(bridge).value();
  const auto look = [&](LoopGuard::Side side) {
    const bool answers = side == LoopGuard::Side::left;  // it is the port on the bus
    const NatWay way = answers ? NatWay::out : NatWay::in;
    return [&, side, answers, way](const FrameView& frame, AnyLink& back) {
      if (control.is_down()) return true;
      return guard.look(side, frame, back) || (answers && PingAnswerer(port())(frame, back)) ||
             (bridge_->filter != nullptr && bridge_->filter->keep(way, frame, back));
    };
  };
  const std::size_t pair =
      bridge.add(line_->link(), peer, look(LoopGuard::Side::left), look(LoopGuard::Side::right))
          .value();
  account.follow([&, before = line_->counters()] {
    Totals now;
    now.line = line_->counters().since(before);
    now.faults = line_->faults();
    now.frames = bridge.counters(pair);
    now.drops = drops();
    return now;
  });
  const Settled settled{account};
  auto end = bridge.run(stop);
  if (trouble && end.error == Errc::link_ended) end.error = trouble;
  return end;
}

tap::BridgeEnd carry_peer(PeerPort& port, Peer& peer, int stop, Account& account) {
  account.add_peer();  // it counts even if carrying fails
  return port.carry(peer.link, stop, peer.drops, account);
}

std::string why_lost(const PeerBridge& bridge, const tap::BridgeEnd& end) {
  if (end.why != tap::BridgeEnd::Why::link_ended || !end.address.starts_with("bus:")) return {};
  return "cannot go on with " + bridge.bus_text + ": " + end.error.message();
}

std::string why_gone(const Peer& peer, const tap::BridgeEnd& end) {
  const std::string fault = peer.fault ? peer.fault() : std::string();
  if (!fault.empty()) return " broke the rules (" + fault + "), and was cut off";
  if (end.error == Errc::corrupt) return " sent an invalid record, and was cut off";
  if (end.error && end.error != Errc::link_ended) return " is gone: " + end.error.message();
  return came_in_vain(peer) ? peer.left_early : " is gone";
}

bool came_in_vain(const Peer& peer) {
  return peer.was_set_up && !peer.was_set_up();
}

namespace {

// The protocols of programs behind sockets: a row for each.

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
