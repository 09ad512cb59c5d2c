#pragma once
// What all bridges to programs have in common: a program at the far end of a socket as a link, the
// port of the bus that stands for it, and what was carried for it.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "base/unique_fd.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tools/shmifctl/bridge_peers.hpp"

namespace shmif::tools {

using std::chrono::milliseconds;

/// How long after a signal the links have to end. A program at the other end may keep a thread in a
/// system call, and must not keep the bridge.
inline constexpr milliseconds kEndPatience{1500};

/// Writes a line at once, also if nobody reads it any more.
void say(const std::string& text);

/// What the links of peers dropped.
struct PeerDrops {
  std::uint64_t too_long = 0, too_short = 0, bad_header = 0, discarded = 0;  ///< received
  std::uint64_t not_ready = 0, no_room = 0;  ///< taken for them, and not passed on
};

/// A program or a network with which the bridge is connected.
struct Peer {
  AnyLink link;
  std::function<PeerDrops()> drops;
  std::function<std::string()> farewell = {};  ///< says why it has gone, if the link cannot
  std::function<std::string()> fault = {};     ///< how it broke the rules; empty text: it did not
  std::function<bool()> was_set_up = {};       ///< whether it could have carried frames; none: yes
  const char* left_early = "";                 ///< said of one that was not
};

/// What was carried for peers that have gone, and what their links dropped.
struct Totals {
  tap::PairCounters frames;  ///< to_right: to the peers
  PeerDrops drops;
  std::uint64_t peers = 0;
  std::uint64_t while_away = 0;  ///< frames that passed while no peer was there

  void add(const tap::DirectionCounters& more, tap::DirectionCounters& to) const {
    using Count = std::uint64_t tap::DirectionCounters::*;
    using D = tap::DirectionCounters;
    for (const Count count :
         {&D::received, &D::frames, &D::bytes, &D::segments, &D::batches, &D::consumed, &D::lost,
          &D::dropped_full, &D::dropped_too_long, &D::dropped_error}) {
      to.*count += more.*count;
    }
  }
  void add(const Totals& more) {
    add(more.frames.to_right, frames.to_right);
    add(more.frames.to_left, frames.to_left);
    using Drop = std::uint64_t PeerDrops::*;
    for (const Drop drop : {&PeerDrops::too_long, &PeerDrops::too_short, &PeerDrops::bad_header,
                            &PeerDrops::discarded, &PeerDrops::not_ready, &PeerDrops::no_room}) {
      drops.*drop += more.drops.*drop;
    }
    peers += more.peers;
    while_away += more.while_away;
  }
};

std::string count_of(std::uint64_t count, const char* one, const char* many);

/// How long frames may be. The peer's own limit is not known, so its owner is told this one.
std::string size_text(const PeerBridge& bridge);

/// Says what was carried. `undelivered`: more frames that the peer's link took and could not pass
/// on.
void sum_up(const PeerBridge& bridge, const Totals& totals, std::uint64_t undelivered = 0);

/// What was carried for the peers of one port, up to now. Threads: total() from any, also while the
/// thread that carries hangs.
class Account {
 public:
  void add_peer() {
    const std::lock_guard lock(mutex_);
    ++settled_.peers;
  }
  /// `now`: what is carried for the present peer. It is called until settle().
  void follow(std::function<Totals()> now) {
    const std::lock_guard lock(mutex_);
    now_ = std::move(now);
  }
  void settle() {
    const std::lock_guard lock(mutex_);
    settled_.add(now_());
    now_ = nullptr;
  }
  Totals total() const {
    const std::lock_guard lock(mutex_);
    Totals all = settled_;
    if (now_) all.add(now_());
    return all;
  }

 private:
  mutable std::mutex mutex_;  ///< never held while a call may block
  Totals settled_;
  std::function<Totals()> now_;
};

/// A port of the bus, and the program for which it stands.
class PeerPort {
 public:
  /// `patience`: how long to wait for the name. Throws what attaching throws.
  PeerPort(const PeerBridge& bridge, const std::string& name, milliseconds patience);

  Port& port() { return *port_; }

  /// Carries frames between the port and `peer` until that ends, or `stop` is readable. `account`
  /// gets what was carried, and what `drops` says. Result: how it ended.
  tap::BridgeEnd carry(AnyLink& peer, int stop, const std::function<PeerDrops()>& drops,
                       Account& account);

 private:
  const PeerBridge* bridge_;
  Port* port_ = nullptr;
  std::optional<AnyLink> link_;
};

/// Carries frames for one peer, until it or the bridge ends. Throws if there is no descriptor for
/// that.
tap::BridgeEnd carry_peer(PeerPort& port, Peer& peer, int stop, Account& account);

/// Why the bus serves nobody any more; empty if it does.
std::string why_lost(const PeerBridge& bridge, const tap::BridgeEnd& end);
/// Whether a peer that has gone had never come so far that it could carry frames.
bool came_in_vain(const Peer& peer);
/// Why a peer has gone, for people.
std::string why_gone(const Peer& peer, const tap::BridgeEnd& end);

/// A stream's frames as a link of the bus's size.
Peer stream_peer(const PeerBridge& bridge, UniqueFd connected, Port& port);
/// A program that has connected, as a link of the bridge's protocol. Throws if it cannot be made.
Peer connected_peer(const PeerBridge& bridge, UniqueFd connected, Port& port);

}  // namespace shmif::tools
