#include "tools/shmifctl/bridge_peers.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/signal_guard.hpp"
#include "memif/memif_link.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/port.hpp"
#include "shmif/stream_link.hpp"
#include "shmif/vde_link.hpp"
#include "tap/bridge.hpp"
#include "tools/common/command.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/bus_watch.hpp"
#include "tools/relay/device_watch.hpp"
#include "tools/relay/line_budget.hpp"
#include "tools/relay/loop_guard.hpp"
#include "tools/relay/ping_answerer.hpp"
#include "vhost/vhost_link.hpp"

namespace shmif::tools {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLastPause{2000};
/// How long after a signal the links have to end. A program at the other end may keep a thread in a
/// system call, and must not keep the bridge.
constexpr milliseconds kEndPatience{1500};

void say(const std::string& text) {
  const base::SignalGuard guard(SIGPIPE);  // the reader of this may be gone
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

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

std::string count_of(std::uint64_t count, const char* one, const char* many) {
  return std::to_string(count) + ' ' + (count == 1 ? one : many);
}

/// How long frames may be. The peer's own limit is not known, so its owner is told this one.
std::string size_text(const PeerBridge& bridge) {
  const std::uint32_t mtu = bridge.bus->info().mtu;
  return ", MTU " + std::to_string(mtu) + " (frames of at most " +
         std::to_string(max_frame_for(mtu)) + " bytes)";
}

/// `undelivered`: more frames that the peer's link took and could not pass on.
void sum_up(const PeerBridge& bridge, const Totals& totals, std::uint64_t undelivered = 0) {
  undelivered += totals.drops.not_ready + totals.drops.no_room;
  std::string text = to_text(BridgeWay{.from = bridge.bus_text,
                                       .to = bridge.peer_text,
                                       .counters = totals.frames.to_right,
                                       .sink_refused = undelivered});
  text += to_text(BridgeWay{
      .from = bridge.peer_text, .to = bridge.bus_text, .counters = totals.frames.to_left});
  std::vector<std::string> more;
  if (totals.peers > 0 || totals.while_away > 0)
    more.push_back(count_of(totals.peers, "connection", "connections"));
  if (totals.drops.too_long > 0)
    more.push_back(std::to_string(totals.drops.too_long) + " frames from there were too long");
  if (totals.drops.too_short > 0)
    more.push_back(std::to_string(totals.drops.too_short) + " frames from there were too short");
  if (totals.drops.bad_header > 0)
    more.push_back(std::to_string(totals.drops.bad_header) +
                   " frames from there had a header that was not agreed on");
  if (totals.drops.discarded > 0)
    more.push_back(count_of(totals.drops.discarded, "frame", "frames") +
                   " from there came through a disabled queue");
  if (totals.drops.not_ready > 0)
    more.push_back(count_of(totals.drops.not_ready, "frame", "frames") +
                   (bridge.protocol == PeerProtocol::memif
                        ? " passed before a program had set up its interface"
                        : " passed while a machine had no driver"));
  if (totals.drops.no_room > 0)
    more.push_back(count_of(totals.drops.no_room, "frame", "frames") +
                   (bridge.protocol == PeerProtocol::memif ? " fitted no buffers of the program"
                                                           : " fitted no buffer of the driver"));
  if (totals.while_away > 0)
    more.push_back(count_of(totals.while_away, "frame", "frames") +
                   " passed while nobody was there");
  for (std::size_t i = 0; i < more.size(); ++i)
    text += (i == 0 ? bridge.peer_text + ": " : ", ") + more[i];
  while (text.ends_with('\n')) text.pop_back();
  say(text);
}

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

/// Ends the process if it does not end by itself within kEndPatience after a stop signal.
class EndInTime {
 public:
  /// `last_words`: runs in another thread before the end.
  EndInTime(const StopSignals& stop, std::function<void()> last_words)
      : ended_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!ended_) throw Exception(Error::from_errno(errno, "cannot make an eventfd"));
    thread_ = std::jthread([this, stop = stop.descriptor(), words = std::move(last_words)] {
      pollfd ended{.fd = ended_.get(), .events = POLLIN, .revents = 0};
      std::array<pollfd, 2> either{{{.fd = stop, .events = POLLIN, .revents = 0}, ended}};
      while (::poll(either.data(), either.size(), -1) < 0 && errno == EINTR) continue;
      if (::poll(&ended, 1, static_cast<int>(kEndPatience.count())) > 0) return;
      words();
      ::_exit(kDone);
    });
  }
  EndInTime(const EndInTime&) = delete;
  EndInTime& operator=(const EndInTime&) = delete;
  ~EndInTime() {
    const std::uint64_t one = 1;
    (void)!::write(ended_.get(), &one, sizeof one);
  }

 private:
  UniqueFd ended_;
  std::jthread thread_;
};

/// A port of the bus, and the program for which it stands.
class PeerPort {
 public:
  /// `patience`: how long to wait for the name. Throws what attaching throws.
  PeerPort(const PeerBridge& bridge, const std::string& name, milliseconds patience)
      : bridge_(&bridge) {
    PortOptions options;
    options.name = name;
    options.kind = LinkKind::bridge;
    options.name_patience = patience;
    options.learn = true;  // of the program's addresses, however many it has
    options.take_offloads = bridge.protocol == PeerProtocol::vhost_user;
    auto port = std::make_unique<Port>(options);
    port->attach(*bridge.bus).value();
    port_ = port.get();
    link_.emplace(std::move(port));
  }

  Port& port() { return *port_; }

  /// Carries frames between the port and `peer` until that ends, or `stop` is readable. `account`
  /// gets what was carried, and what `drops` says. Result: how it ended.
  tap::BridgeEnd carry(AnyLink& peer, int stop, const std::function<PeerDrops()>& drops,
                       Account& account) {
    std::error_code trouble;  // of the peer, told once before its link ends
    LoopGuard guard([&] { complain(loop_text(bridge_->bus_text, bridge_->peer_text, {})); });
    tap::BridgeOptions options;
    options.on_trouble = [&](AnyLink& link, std::error_code error) {
      if (&link == &*link_) {
        follow_bus(bridge_->bus_path, peer, LinkKind::bridge, error);
      } else if (error) {
        trouble = error;
      }
    };
    tap::Bridge bridge = tap::Bridge::create(options).value();
    BusWatch watch;
    if (const std::error_code error = port_->up()) {
      throw Exception(Error(
          error, "cannot bring the port up on bus " + bridge_->bus_path + ": " + error.message()));
    }
    const Down down{*port_};
    watch.add(*port_);
    watch.join(bridge).value();
    const auto look = [&](LoopGuard::Side side, bool answers) {
      return [&, side, answers](const FrameView& frame, AnyLink& back) {
        return guard.look(side, frame, back) || (answers && PingAnswerer(*port_)(frame, back));
      };
    };
    const std::size_t pair = bridge
                                 .add(*link_, peer, look(LoopGuard::Side::left, true),
                                      look(LoopGuard::Side::right, false))
                                 .value();
    account.follow([&] {
      Totals now;
      now.frames = bridge.counters(pair);
      now.drops = drops();
      return now;
    });
    const Settled settled{account};
    auto end = bridge.run(stop);
    if (trouble && end.error == Errc::link_ended) end.error = trouble;
    return end;
  }

 private:
  /// Brings a port down at the end of a scope.
  struct Down {
    Port& port;
    ~Down() { static_cast<void>(port.down()); }
  };
  struct Settled {
    Account& account;
    ~Settled() { account.settle(); }
  };

  const PeerBridge* bridge_;
  Port* port_ = nullptr;
  std::optional<AnyLink> link_;
};

/// Why the bus serves nobody any more; empty if it does.
std::string why_lost(const PeerBridge& bridge, const tap::BridgeEnd& end) {
  if (end.why != tap::BridgeEnd::Why::link_ended || !end.address.starts_with("bus:")) return {};
  return "cannot go on with " + bridge.bus_text + ": " + end.error.message();
}

/// Why a peer has gone, for people.
std::string why_gone(const Peer& peer, const tap::BridgeEnd& end) {
  const std::string fault = peer.fault ? peer.fault() : std::string();
  if (!fault.empty()) return " broke the rules (" + fault + "), and was cut off";
  if (end.error == Errc::corrupt) return " sent what is no record of this format, and was cut off";
  if (end.error && end.error != Errc::link_ended) return " is gone: " + end.error.message();
  return " is gone";
}

/// A stream's frames as a link of the bus's size.
Peer stream_peer(const PeerBridge& bridge, UniqueFd connected, Port& port) {
  StreamOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.address = bridge.peer_text;
  auto link = std::make_unique<StreamLink>(StreamLink::adopt(std::move(connected), options));
  const StreamLink* const raw = link.get();
  const auto drops = [raw] {
    return PeerDrops{.too_long = raw->drops().too_long, .too_short = raw->drops().too_short};
  };
  Peer peer{AnyLink(std::move(link)), drops};
  return peer;
}

/// A virtual machine whose memory is shared, as such a link. Throws if it cannot be made.
Peer vhost_peer(const PeerBridge& bridge, UniqueFd connected, Port& port) {
  vhost::VhostOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.offload = port.takes_offloads();
  options.address = bridge.peer_text;
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
  return peer;
}

/// A packet processor whose memory is shared, as such a link. Throws if it cannot be made.
Peer memif_peer(const PeerBridge& bridge, UniqueFd connected, Port& port) {
  memif::MemifOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.address = bridge.peer_text;
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
  return peer;
}

Peer connected_peer(const PeerBridge& bridge, UniqueFd connected, Port& port) {
  switch (bridge.protocol) {
    case PeerProtocol::vhost_user: return vhost_peer(bridge, std::move(connected), port);
    case PeerProtocol::memif: return memif_peer(bridge, std::move(connected), port);
    case PeerProtocol::stream: break;
  }
  return stream_peer(bridge, std::move(connected), port);
}

/// Carries frames for one peer, until it or the bridge ends. Throws if there is no descriptor for
/// that.
tap::BridgeEnd carry_peer(PeerPort& port, Peer& peer, int stop, Account& account) {
  account.add_peer();  // also if carrying fails
  return port.carry(peer.link, stop, peer.drops, account);
}

/// One program that has connected, in a thread of its own.
struct Client {
  std::string name;
  unsigned number = 0;
  Account account;
  tap::BridgeEnd end;
  std::string gone;  ///< why, for people
  std::string failure;
  std::atomic<bool> over{false};
  std::jthread thread;
};

/// Programs of which no line was written.
struct Untold {
  std::uint64_t connected = 0, gone = 0, refused = 0;
  bool any() const { return connected + gone + refused > 0; }
};

/// What a program may need: seven for a stream, and twelve for a machine, which gives up to eight
/// more at a time. A machine for whose descriptors there are no numbers would be cut off later.
constexpr std::size_t kDescriptorsOfOne = 32;

/// Whether this process can open that many more descriptors.
bool can_open(std::size_t count) {
  rlimit files{};
  std::error_code failed;
  const std::filesystem::directory_iterator open("/proc/self/fd", failed);
  if (failed || ::getrlimit(RLIMIT_NOFILE, &files) != 0) return true;  // it is tried
  return static_cast<std::size_t>(std::distance(open, {})) + count <= files.rlim_cur;
}

/// Programs that are connected at present.
class ProgramServer {
 public:
  ProgramServer(const PeerBridge& bridge, const SocketPlace& place, const StopSignals& stop)
      : bridge_(bridge),
        stop_(stop),
        socket_(BoundSocket::bind(
                    bridge.protocol == PeerProtocol::memif ? SOCK_SEQPACKET : SOCK_STREAM, place)
                    .value()),
        ended_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        halt_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!ended_ || !halt_) throw Exception(Error::from_errno(errno, "cannot make an eventfd"));
  }

  ProgramServer(const ProgramServer&) = delete;
  ProgramServer& operator=(const ProgramServer&) = delete;
  ~ProgramServer() { halt(); }  // the threads are joined next

  int run() {
    say(bridge_.peer_text + ": ready" + size_text(bridge_));
    while (!stop_.stopped() && lost_.empty()) {
      std::array<pollfd, 3> waiting{{{.fd = stop_.descriptor(), .events = POLLIN, .revents = 0},
                                     {.fd = socket_.descriptor(), .events = POLLIN, .revents = 0},
                                     {.fd = ended_.get(), .events = POLLIN, .revents = 0}}};
      (void)::poll(waiting.data(), waiting.size(), until_told());
      if (waiting[2].revents != 0) bury();
      if (waiting[1].revents != 0 && !stop_.stopped()) welcome();
      if (until_told() == 0) tell_of_more();
    }
    halt();
    await_clients();
    tell_of_more();
    for (const Client& client : clients_) {
      totals_.add(client.account.total());
      complain(bridge_.peer_text + ": the program at port " + client.name +
               " keeps its link from ending, and is left");
    }
    sum_up(bridge_, totals_);
    const int code = lost_.empty() ? kDone : fail(lost_);
    if (!clients_.empty()) leave(code);
    return code;
  }

 private:
  void welcome() {
    auto peer = socket_.accept();
    if (!peer) {
      if (!std::exchange(complained_, true)) complain(peer.error().message);
      stop_.wait(static_cast<int>(kFirstPause.count()));  // out of descriptors: do not spin
      return;
    }
    if (!*peer) return;
    bury();
    if (clients_.size() >= bridge_.max_peers) {
      tell(untold_.refused, complain,
           "a program was refused: " + count_of(clients_.size(), "is", "are") +
               " connected already (--max-peers)");
      return;
    }
    if (!can_open(kDescriptorsOfOne)) {
      tell(untold_.refused, complain,
           "a program was refused: too few file descriptors are left (see ulimit -n)");
      return;
    }
    unsigned number = 1;
    while (std::ranges::any_of(clients_, [&](const Client& c) { return c.number == number; }))
      ++number;
    Client& client = clients_.emplace_back();
    client.number = number;
    try {
      begin(client, *std::move(peer));
      complained_ = false;
    } catch (const std::exception& error) {  // no slot, no thread, no memory
      tell(untold_.refused, complain, std::string("a program was refused: ") + error.what());
      clients_.pop_back();
    }
  }

  void begin(Client& client, UniqueFd connected) {
    const auto port = std::make_shared<PeerPort>(bridge_, name_of(client.number), milliseconds(0));
    client.name = port->port().name();
    const auto socket = std::make_shared<UniqueFd>(std::move(connected));
    client.thread =
        std::jthread([this, &client, port, socket] { serve(client, *port, std::move(*socket)); });
    tell(untold_.connected, say, "a program connected, as port " + client.name);
  }

  void serve(Client& client, PeerPort& port, UniqueFd connected) noexcept {
    try {
      Peer peer = connected_peer(bridge_, std::move(connected), port.port());
      client.end = carry_peer(port, peer, halt_.get(), client.account);
      client.gone = why_gone(peer, client.end);
    } catch (const std::exception& error) {
      client.failure = error.what();
    }
    client.over = true;
    const std::uint64_t one = 1;
    (void)!::write(ended_.get(), &one, sizeof one);
  }

  std::string name_of(unsigned number) const {
    if (bridge_.port_name.empty() || number == 1) return bridge_.port_name;
    return bridge_.port_name + '-' + std::to_string(number);
  }

  /// Takes the account of those who have gone.
  void bury() {
    std::uint64_t count = 0;
    (void)!::read(ended_.get(), &count, sizeof count);
    for (auto it = clients_.begin(); it != clients_.end();) {
      if (!it->over) {
        ++it;
        continue;
      }
      if (it->thread.joinable()) it->thread.join();
      settle(*it);
      it = clients_.erase(it);
    }
  }

  void settle(const Client& client) {
    totals_.add(client.account.total());
    if (lost_.empty()) lost_ = why_lost(bridge_, client.end);
    if (stop_.stopped() || !lost_.empty()) return;
    const std::string program = "the program at port " + client.name;
    if (client.failure.empty()) {
      tell(untold_.gone, say, program + client.gone);
    } else {
      tell(untold_.gone, complain, program + " was cut off: " + client.failure);
    }
  }

  /// Writes a line about a program, or counts it: programs that come and go in a loop must not fill
  /// a log.
  template <class Write>
  void tell(std::uint64_t& untold, const Write& write, const std::string& line) {
    if (untold_.any() || !lines_.take(LineBudget::Clock::now())) {
      ++untold;
      return;
    }
    write(bridge_.peer_text + ": " + line);
  }

  /// Result: when to call tell_of_more(), in ms; -1: never.
  int until_told() const {
    if (!untold_.any()) return -1;
    const auto left = lines_.left(LineBudget::Clock::now());
    return static_cast<int>(std::chrono::ceil<milliseconds>(left).count());
  }

  void tell_of_more() {
    if (!untold_.any()) return;
    static_cast<void>(lines_.take(LineBudget::Clock::now()));
    const Untold untold = std::exchange(untold_, {});
    say(bridge_.peer_text + ": " +
        count_of(untold.connected, "more program connected, ", "more programs connected, ") +
        std::to_string(untold.gone) + " gone, " + std::to_string(untold.refused) + " refused");
  }

  /// Ends all clients.
  void halt() const noexcept {
    const std::uint64_t one = 1;
    (void)!::write(halt_.get(), &one, sizeof one);
  }

  /// Waits until all clients have gone. Those whose threads hang stay in clients_.
  void await_clients() {
    const auto until = std::chrono::steady_clock::now() + kEndPatience;
    for (;;) {  // ends: at `until`
      bury();
      const auto left = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
      if (clients_.empty() || left.count() <= 0) return;
      pollfd waiting{.fd = ended_.get(), .events = POLLIN, .revents = 0};
      (void)::poll(&waiting, 1, static_cast<int>(left.count()));
    }
  }

  /// Ends the process although some threads hang.
  [[noreturn]] void leave(int code) {
    {
      const BoundSocket removed = std::move(socket_);
    }
    ::_exit(code);
  }

  const PeerBridge& bridge_;
  const StopSignals& stop_;
  BoundSocket socket_;
  UniqueFd ended_;  ///< a client has gone
  UniqueFd halt_;   ///< all are to end
  std::list<Client> clients_;
  Totals totals_;
  LineBudget lines_;
  Untold untold_;
  std::string lost_;         ///< why the bus serves nobody any more
  bool complained_ = false;  ///< that none can be accepted, since the last program that was served
};

}  // namespace

int serve_programs(const PeerBridge& bridge, const SocketPlace& place, const StopSignals& stop) {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {  // each program takes about seven
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  return ProgramServer(bridge, place, stop).run();
}

namespace {

using OpenPeer = std::function<Result<std::optional<Peer>>()>;

/// What `open` throws is an error as others: there may be no descriptor for now.
Result<std::optional<Peer>> try_open(const OpenPeer& open) {
  try {
    return open();
  } catch (const Exception& error) {
    return Error(error.code(), error.what());
  }
}

/// Carries frames for `open`'s peers, one after another, until a signal comes. `open` returns no
/// peer when a signal came first. `insists`: throws if there is no first peer.
int keep_open(const PeerBridge& bridge, PeerPort& port, const StopSignals& stop,
              const OpenPeer& open, bool insists = false) {
  Account account;
  std::string lost;
  bool said = false;
  std::optional<EndInTime> in_time(std::in_place, stop, [&] {
    complain(bridge.peer_text + ": keeps the link from ending, and is left");
    sum_up(bridge, account.total());
  });
  for (milliseconds pause = kFirstPause; !stop.stopped();) {
    auto peer = try_open(open);
    if (!peer) {
      const bool is_final = insists && account.total().peers == 0;
      if (is_final || peer.error().code == Errc::not_supported)
        throw Exception(std::move(peer).error());
      if (!std::exchange(said, true)) complain(peer.error().message + "; trying again");
      stop.wait(static_cast<int>(pause.count()));
      pause = std::min(2 * pause, kLastPause);
      continue;
    }
    if (!*peer) break;
    said = false;
    say(bridge.peer_text + ": connected, as port " + port.port().name() + size_text(bridge));
    const auto begun = std::chrono::steady_clock::now();
    std::string gone;
    try {
      const tap::BridgeEnd end = carry_peer(port, **peer, stop.descriptor(), account);
      lost = why_lost(bridge, end);
      if (!stop.stopped() && lost.empty())
        gone = (*peer)->farewell ? (*peer)->farewell()
                                 : bridge.peer_text + ": the program" + why_gone(**peer, end);
    } catch (const Exception& error) {  // no descriptor
      gone = bridge.peer_text + ": the program was left: " + error.what();
      if (error.code() == Errc::bus_lost) lost = error.what();
    }
    if (stop.stopped() || !lost.empty()) break;
    say(gone + "; trying again");
    // One that accepts and closes again and again is asked more and more rarely.
    if (std::chrono::steady_clock::now() - begun > kLastPause) pause = kFirstPause;
    stop.wait(static_cast<int>(pause.count()));
    pause = std::min(2 * pause, kLastPause);
  }
  in_time.reset();
  Totals totals = account.total();
  static_cast<void>(port.port().up());  // counts what passed while it was down
  totals.while_away = port.port().counters().skipped_frames;
  sum_up(bridge, totals);
  return lost.empty() ? kDone : fail(lost);
}

}  // namespace

int keep_connected(const PeerBridge& bridge, const SocketPlace& place, const StopSignals& stop) {
  PeerPort port(bridge, bridge.port_name, kNamePatience);
  return keep_open(bridge, port, stop, [&]() -> Result<std::optional<Peer>> {
    auto connected = connect_stream(place, stop.descriptor());
    if (!connected) return std::move(connected).error();
    if (!*connected) return std::optional<Peer>();
    return std::optional<Peer>(connected_peer(bridge, *std::move(connected), port.port()));
  });
}

int join_vde(const PeerBridge& bridge, const std::string& url, const StopSignals& stop) {
  PeerPort port(bridge, bridge.port_name, kNamePatience);
  return keep_open(bridge, port, stop, [&]() -> Result<std::optional<Peer>> {
    auto opened = VdeLink::open(url, port.port().max_frame_bytes());
    if (!opened) return std::move(opened).error();
    auto link = std::make_unique<VdeLink>(*std::move(opened));
    const VdeLink* const raw = link.get();
    const auto drops = [raw] {
      return PeerDrops{.too_long = raw->drops().too_long, .too_short = raw->drops().too_short};
    };
    return std::optional<Peer>(Peer{AnyLink(std::move(link)), drops});
  });
}

namespace {

/// What a gateway offers, in one line.
std::string offer_of(const NatWish& wish) {
  const NatNetwork& net = wish.network;
  const std::string gateway = "gateway " + net.gateway();
  if (wish.program == NatProgram::passt)
    return gateway + ", name servers of this machine, DHCP " + net.first_lease() +
           ": by passt, for one host (slirp4netns serves many)";
  return gateway + ", name server " + net.name_server() + ", DHCP " + net.first_lease() + " to " +
         net.last_lease() + ": by slirp4netns";
}

/// A NAT program that has been started, as a peer.
Peer nat_peer(const PeerBridge& bridge, NatProcess started, Port& port) {
  const auto process = std::make_shared<NatProcess>(std::move(started));
  const auto farewell = [process] { return process->why_ended(); };
  if (process->program() == NatProgram::passt) {
    Peer peer = stream_peer(bridge, process->take_connection(), port);
    peer.farewell = farewell;
    return peer;
  }
  DatagramOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.address = bridge.peer_text;
  options.drops_too_long = true;
  auto owned =
      std::make_unique<DatagramLink>(DatagramLink::adopt(process->take_connection(), options));
  const DatagramLink* const packets = owned.get();
  const auto drops = [packets] {
    return PeerDrops{.too_long = packets->drops().too_long,
                     .too_short = packets->drops().too_short};
  };
  return {AnyLink(std::move(owned)), drops, farewell};
}

}  // namespace

int route(const PeerBridge& bridge, const NatWish& wish, const StopSignals& stop) {
  PeerPort port(bridge, bridge.port_name, kNamePatience);
  bool offered = false;
  const auto open = [&]() -> Result<std::optional<Peer>> {
    auto process = NatProcess::start(*wish.program, wish, stop);
    if (!process) return std::move(process).error();
    if (!*process) return std::optional<Peer>();
    if (!std::exchange(offered, true)) say(offer_of(wish));
    return std::optional<Peer>(nat_peer(bridge, **std::move(process), port.port()));
  };
  return keep_open(bridge, port, stop, open, true);
}

namespace {

/// What strangers sent before the socket was connected.
void discard_queued(int socket) {
  constexpr unsigned kMost = 10'000;  // a flood ends, or its rest is heard
  char byte = 0;
  for (unsigned i = 0; i < kMost && ::recv(socket, &byte, 1, MSG_DONTWAIT) >= 0; ++i) continue;
}

}  // namespace

int exchange_datagrams(const PeerBridge& bridge, const SocketPlace& local,
                       const SocketPlace& remote, const StopSignals& stop) {
  const BoundSocket bound = BoundSocket::bind(SOCK_DGRAM, local).value();
  DatagramOptions options;
  if (remote.host) {
    connect_to(bound.descriptor(), remote.address).value();  // only that one is heard
    discard_queued(bound.descriptor());
  } else {
    options.remote = remote.address;  // a new program at that path is another socket
  }
  PeerPort port(bridge, bridge.port_name, kNamePatience);
  options.max_frame_bytes = port.port().max_frame_bytes();
  options.address = bridge.peer_text;
  options.peer_may_come = true;
  options.drops_too_long = true;
  UniqueFd socket(::fcntl(bound.descriptor(), F_DUPFD_CLOEXEC, 0));
  if (!socket) throw Exception(Error::from_errno(errno, "cannot duplicate a descriptor"));
  auto owned = std::make_unique<DatagramLink>(DatagramLink::adopt(std::move(socket), options));
  const DatagramLink* const datagrams = owned.get();
  AnyLink link(std::move(owned));
  say(bridge.peer_text + ": ready, as port " + port.port().name() + size_text(bridge));
  Account account;
  const auto drops = [datagrams] {
    return PeerDrops{.too_long = datagrams->drops().too_long,
                     .too_short = datagrams->drops().too_short};
  };
  const tap::BridgeEnd end = port.carry(link, stop.descriptor(), drops, account);
  sum_up(bridge, account.total(), datagrams->undelivered());
  if (stop.stopped()) return kDone;
  return fail("cannot go on with " + end.address + ": " + end.error.message());
}

}  // namespace shmif::tools
