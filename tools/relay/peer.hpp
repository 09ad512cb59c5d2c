#pragma once
// The parts that all bridges to programs share: a program at the far end of a socket as a link, the
// protocol that it speaks, the port of the bus that stands for it, and the account of what was
// carried for it.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/line/line.hpp"
#include "tools/common/json.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::tools {

class NatFilter;
struct PeerBridge;

using std::chrono::milliseconds;

/// After a signal, the links have this long to end. A program at the other end may keep a thread in
/// a system call, but it must not keep the bridge from ending.
inline constexpr milliseconds kEndPatience{1500};

/// Writes a line at once, even if its reader is gone.
void say(const std::string& text);

/// What the links of peers dropped.
struct PeerDrops {
  /// Frames from peers that the link dropped; they are not in Totals::frames.
  std::uint64_t too_long = 0, too_short = 0, bad_header = 0, discarded = 0;
  std::uint64_t not_ready = 0, no_room = 0;  ///< among frames for peers: taken, but not passed on
};

/// The drops of a link that only refuses frames of a wrong length, which must outlive the result.
template <class L>
std::function<PeerDrops()> drops_of(const L& link) {
  return [&link] {
    return PeerDrops{.too_long = link.drops().too_long, .too_short = link.drops().too_short};
  };
}

/// A program or a network to which the bridge is connected.
struct Peer {
  AnyLink link;
  std::function<PeerDrops()> drops;
  std::function<std::string()> farewell = {};  ///< says why it has gone, if the link cannot
  std::function<std::string()> fault = {};     ///< how it broke the rules; empty text if it did not
  /// Whether it could have carried frames. If this is unset, it could.
  std::function<bool()> was_set_up = {};
  const char* left_early = "";  ///< the message if it could not
};

/// How a bridge speaks to the programs behind its sockets. The rows are constants; any thread may
/// read them.
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

/// At most this many programs are served by one listening link. So others can still use 192 of the
/// 256 ports.
inline constexpr std::size_t kDefaultMaxPeers = 64;

/// A bridge between a bus and programs.
struct PeerBridge {
  const Bus* bus = nullptr;
  NewBus* made = nullptr;  ///< the bus, if the command has made it
  /// For serve_programs(): opens the bus that is at its path now.
  std::function<Result<Bus>()> find_bus = {};
  std::string bus_path;
  std::string bus_text, peer_text;                  ///< as on the command line
  std::string port_name;                            ///< empty if the bus chooses
  LineFaults faults;                                ///< of the line of each program
  bool lock_memory = false;                         ///< for each port
  const PeerProtocol* protocol = &kStreamProtocol;  ///< of a program that connects
  std::size_t max_peers = kDefaultMaxPeers;         ///< for serve_programs()
  NatFilter* filter = nullptr;                      ///< for route(): decides which frames may pass
  const JsonOutput* json = nullptr;                 ///< prints the counts; null: they are text

  /// The bridge carries frames, or would if programs came: a bus that was made stays.
  void keep_bus() const noexcept {
    if (made != nullptr) made->keep();
  }
};

/// What was carried for peers that have gone, and what their links dropped.
struct Totals {
  tap::PairCounters frames;  ///< to_right: to the peers
  PeerDrops drops;
  tap::LineCounters line;  ///< what the lines did between the ports and the peers
  LineFaults faults;       ///< the last ones that were set
  std::uint64_t peers = 0;
  std::uint64_t while_away = 0;  ///< frames that passed while no peer was connected

  void add(const Totals& more);
};

/// Says how long frames may be. The bridge does not know the peer's own limit, so this tells the
/// peer's owner the limit of the bridge.
std::string size_text(const PeerBridge& bridge);

/// How many programs at a time are connected to a bridge.
enum class Connections : std::uint8_t {
  many,  ///< each has a port, while it is connected
  one,   ///< one port stays, and counts what passes while no program is connected
  none,  ///< programs send datagrams, and do not connect
};

/// Says what was carried, as text or as JSON. `undelivered`: further frames that the peer's link
/// took and could not pass on.
void sum_up(const PeerBridge& bridge, Connections connections, const Totals& totals,
            std::uint64_t undelivered = 0);
/// The JSON of it.
Json to_json(const PeerBridge& bridge, Connections connections, const Totals& totals,
             std::uint64_t undelivered = 0);

/// What was carried for the peers of one port so far. Threads: any thread may call total(), even
/// while the thread that carries hangs.
class Account {
 public:
  void add_peer() {
    const std::lock_guard lock(mutex_);
    ++settled_.peers;
  }
  /// `now` returns what was carried for the present peer. It is called until settle().
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

  Port& port() { return line_->port(); }

  /// Carries frames between the port and `peer` until one of them ends, or `stop` is readable.
  /// `account` gets what was carried and what `drops` returns. Result: how it ended.
  tap::BridgeEnd carry(AnyLink& peer, int stop, const std::function<PeerDrops()>& drops,
                       Account& account);

 private:
  const PeerBridge* bridge_;
  std::optional<tap::Line> line_;
  bool was_noted_ = false;  ///< what the line has from its start is in the journal
};

/// Carries frames for one peer, until it or the bridge ends. Throws if there is no descriptor left
/// for it.
tap::BridgeEnd carry_peer(PeerPort& port, Peer& peer, int stop, Account& account);

/// Says why the bus no longer serves any program; empty if it still does.
std::string why_lost(const PeerBridge& bridge, const tap::BridgeEnd& end);
/// Whether a peer that has gone was never ready to carry frames.
bool came_in_vain(const Peer& peer);
/// Says why a peer has gone, as text for people.
std::string why_gone(const Peer& peer, const tap::BridgeEnd& end);

}  // namespace shmif::tools
