#include "tools/relay/bridge_peers.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <thread>
#include <utility>

#include "base/foreign_socket.hpp"
#include "base/text.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/log.hpp"
#include "shmif/vde_link.hpp"
#include "tap/many_routes.hpp"
#include "tools/common/command.hpp"
#include "tools/common/program.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/nat_filter.hpp"
#include "tools/relay/pauses.hpp"

namespace shmif::tools {

namespace {

/// Ends the process if it has not ended by itself within kEndPatience after a stop signal.
class EndInTime {
 public:
  /// `last_words` runs in another thread before the end.
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

using OpenPeer = std::function<Result<std::optional<Peer>>()>;

/// Turns what `open` throws into an error, because the process may run out of descriptors for a
/// while.
Result<std::optional<Peer>> try_open(const OpenPeer& open) {
  try {
    return open();
  } catch (const Exception& error) {
    return Error(error.code(), error.what());
  }
}

/// What to do if the first peer cannot be opened: try again, or throw.
enum class IfFirstFails : bool { retry, give_up };

/// Carries frames for the peers that `open` returns, one after another, until a signal comes.
/// `open` returns no peer if a signal came first.
int keep_open(const PeerBridge& bridge, PeerPort& port, const StopSignals& stop,
              const OpenPeer& open, IfFirstFails if_first_fails = IfFirstFails::retry) {
  Account account;
  std::string lost;
  bool said = false;
  std::optional<EndInTime> in_time(std::in_place, stop, [&] {
    complain(bridge.peer_text + ": keeps the link from ending, and is left");
    sum_up(bridge, Connections::one, account.total());
  });
  Retries retries;
  while (!stop.stopped()) {
    auto peer = try_open(open);
    if (!peer) {
      const bool is_final = if_first_fails == IfFirstFails::give_up && account.total().peers == 0;
      const bool for_ever = peer.error().code == Errc::not_supported ||
                            peer.error().code == std::errc::protocol_not_supported;
      if (is_final || for_ever) throw Exception(std::move(peer).error());
      if (!std::exchange(said, true)) complain(peer.error().message + "; trying again");
      stop.wait(static_cast<int>(retries.after_failure().count()));
      continue;
    }
    if (!*peer) break;
    said = false;
    bridge.keep_bus();
    say(bridge.peer_text + ": connected, as port " + port.port().name() + size_text(bridge));
    const auto begun = std::chrono::steady_clock::now();
    std::string gone;
    try {
      const tap::BridgeEnd end = carry_peer(port, **peer, stop.descriptor(), account);
      lost = why_lost(bridge, end);
      if (!stop.stopped() && lost.empty())
        gone = (*peer)->farewell ? (*peer)->farewell()
                                 : bridge.peer_text + ": the program" + why_gone(**peer, end);
    } catch (const Exception& error) {  // for example, no descriptor was left
      gone = bridge.peer_text + ": the program was left: " + error.what();
      if (error.code() == Errc::bus_lost) lost = error.what();
    }
    if (stop.stopped() || !lost.empty()) break;
    say(gone + "; trying again");
    const auto lasted = std::chrono::steady_clock::now() - begun;
    stop.wait(static_cast<int>(retries.after_connection(lasted).count()));
  }
  in_time.reset();
  Totals totals = account.total();
  static_cast<void>(port.port().up());  // now it counts the frames that passed while it was down
  totals.while_away = port.port().counters().skipped_frames;
  sum_up(bridge, Connections::one, totals);
  return lost.empty() ? kDone : fail(lost);
}

}  // namespace

int keep_connected(const PeerBridge& bridge, const PeerPlaces& places, const StopSignals& stop) {
  PeerPort port(bridge, bridge.port_name, kNamePatience);
  return keep_open(bridge, port, stop, [&]() -> Result<std::optional<Peer>> {
    auto connected = connect_stream(places.here, stop.descriptor());
    if (!connected) return std::move(connected).error();
    if (!*connected) return std::optional<Peer>();
    return std::optional<Peer>(bridge.protocol->open(bridge, *std::move(connected), port.port()));
  });
}

namespace {

/// vde_switch drops longer packets, and neither counts nor reports them. Other switches of VDE are
/// reached in the same way and pass up to 9,216 bytes.
void warn_of_vde_switch(const PeerBridge& bridge, const std::string& url) {
  constexpr std::uint32_t kMaxOfSwitch = 1504;
  const bool may_be_one = url.find("://") == std::string::npos || url.starts_with("vde://");
  const std::uint32_t mtu = bridge.bus->info().mtu;
  if (!may_be_one || mtu <= kMaxOfSwitch) return;
  log_warning(bridge.peer_text + ": if vde_switch serves this network, it drops packets above " +
              std::to_string(kMaxOfSwitch) + " bytes, but the bus has MTU " + std::to_string(mtu) +
              " (give hosts that send there an MTU of 1500: ip link set dev NAME mtu 1500)");
}

}  // namespace

int join_vde(const PeerBridge& bridge, const PeerPlaces& places, const StopSignals& stop) {
  const std::string& url = places.target;
  warn_of_vde_switch(bridge, url);
  PeerPort port(bridge, bridge.port_name, kNamePatience);
  return keep_open(bridge, port, stop, [&]() -> Result<std::optional<Peer>> {
    auto opened = VdeLink::open(url, port.port().max_frame_bytes());
    if (!opened) return std::move(opened).error();
    auto link = std::make_unique<VdeLink>(*std::move(opened));
    const auto drops = drops_of(*link);
    return std::optional<Peer>(Peer{AnyLink(std::move(link)), drops});
  });
}

namespace {

std::string names_of_passt(const NatWish& wish) {
  if (!wish.resolver) return "no name server";
  if (!name_server_of(wish)) return "name servers of this machine";
  return "name server " +
         (is_loopback(*wish.resolver) ? wish.network.gateway() : wish.resolver->to_string());
}

/// One line that says what a gateway offers.
std::string offer_of(const NatWish& wish) {
  const NatNetwork& net = wish.network;
  const std::string gateway = "gateway " + net.gateway();
  if (wish.program == NatProgram::passt)
    return gateway + ", " + names_of_passt(wish) + ", DHCP " + net.first_lease() +
           ": by passt, for one host (slirp4netns serves many)";
  return gateway + ", name server " + net.name_server() + ", DHCP " + net.first_lease() + " to " +
         net.last_lease() + ": by slirp4netns";
}

/// Makes a peer of a NAT program that has been started.
Peer nat_peer(const PeerBridge& bridge, NatProcess started, Port& port) {
  const auto process = std::make_shared<NatProcess>(std::move(started));
  const auto farewell = [process] { return process->why_ended(); };
  if (process->program() == NatProgram::passt) {
    Peer peer = kStreamProtocol.open(bridge, process->take_connection(), port);
    peer.farewell = farewell;
    return peer;
  }
  DatagramOptions options;
  options.max_frame_bytes = port.max_frame_bytes();
  options.address = bridge.peer_text;
  options.drops_too_long = true;
  auto owned =
      std::make_unique<DatagramLink>(DatagramLink::adopt(process->take_connection(), options));
  const auto drops = drops_of(*owned);
  return {AnyLink(std::move(owned)), drops, farewell};
}

/// Asks the kernel whether an IPv4 address leads to many machines. If the kernel does not say, the
/// address counts as such. Throws if the kernel cannot be asked at all.
std::function<bool(std::uint32_t)> routes_of_this_machine() {
  const auto routes = std::make_shared<tap::ManyRoutes>(tap::ManyRoutes::open().value());
  return [routes](std::uint32_t address) {
    const auto many = routes->lead(address);
    return !many || *many;
  };
}

}  // namespace

int route(PeerBridge bridge, const NatWish& wish, const StopSignals& stop) {
  NatFilter filter(wish, routes_of_this_machine());
  bridge.filter = &filter;
  PeerPort port(bridge, bridge.port_name, kNamePatience);
  bool offered = false;
  const auto open = [&]() -> Result<std::optional<Peer>> {
    auto process = NatProcess::start(*wish.program, wish, stop);
    if (!process) return std::move(process).error();
    if (!*process) return std::optional<Peer>();
    if (!std::exchange(offered, true)) say(offer_of(wish));
    return std::optional<Peer>(nat_peer(bridge, **std::move(process), port.port()));
  };
  return keep_open(bridge, port, stop, open, IfFirstFails::give_up);
}

namespace {

/// Discards what strangers sent before the socket was connected.
void discard_queued(int socket) {
  constexpr unsigned kMax = 10'000;  // so that the loop ends in a flood; its rest is received
  char byte = 0;
  for (unsigned i = 0; i < kMax && ::recv(socket, &byte, 1, MSG_DONTWAIT) >= 0; ++i) continue;
}

}  // namespace

int exchange_datagrams(const PeerBridge& bridge, const PeerPlaces& places,
                       const StopSignals& stop) {
  const SocketPlace& remote = places.there;
  const BoundSocket bound = BoundSocket::bind(SOCK_DGRAM, places.here).value();
  DatagramOptions options;
  if (remote.host) {
    // From now on, only that address is received.
    connect_to(bound.descriptor(), remote.address).value();
    discard_queued(bound.descriptor());
  } else {
    options.remote = remote.address;  // by address, as a new program at that path has a new socket
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
  bridge.keep_bus();
  say(bridge.peer_text + ": ready, as port " + port.port().name() + size_text(bridge));
  Account account;
  const tap::BridgeEnd end = port.carry(link, stop.descriptor(), drops_of(*datagrams), account);
  sum_up(bridge, Connections::none, account.total(), datagrams->undelivered());
  if (stop.stopped()) return kDone;
  return fail("cannot go on with " + end.address + ": " + end.error.message());
}

namespace {

// Serves every program that connects to a socket. Each program gets its own port.

/// A program that has connected. Each has its own thread.
struct Client {
  std::string name;
  unsigned number = 0;
  Account account;
  tap::BridgeEnd end;
  std::string gone;  ///< why it has gone, as text for people
  std::string failure;
  pid_t process = 0;     ///< 0 if it is not known
  milliseconds pause{};  ///< how long it must wait before it is served
  bool was_in_vain = false;
  std::atomic<bool> over{false};
  std::jthread thread;
};

/// Result: the process's number, or 0 if it has no number here, for example because it is on
/// another machine.
pid_t process_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

/// Counts of programs about which no line was written.
struct Untold {
  std::uint64_t connected = 0, gone = 0, refused = 0;
  bool any() const { return connected + gone + refused > 0; }
};

/// How many descriptors a program may need: eight for a stream, twelve for a machine, and a machine
/// gives up to eight more at a time. If this process ran out of descriptors, the machine would be
/// cut off later.
constexpr std::size_t kDescriptorsOfOne = 32;

/// Whether this process can open that many more descriptors.
bool can_open(std::size_t count) {
  rlimit files{};
  std::error_code failed;
  const std::filesystem::directory_iterator open("/proc/self/fd", failed);
  // Unknown, so the caller tries it.
  if (failed || ::getrlimit(RLIMIT_NOFILE, &files) != 0) return true;
  return static_cast<std::size_t>(std::distance(open, {})) + count <= files.rlim_cur;
}

/// Programs that are connected at present.
class ProgramServer {
 public:
  ProgramServer(const PeerBridge& bridge, const SocketPlace& place, const StopSignals& stop)
      : bridge_(bridge),
        stop_(stop),
        socket_(BoundSocket::bind(bridge.protocol->socket_type, place).value()),
        ended_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        halt_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!ended_ || !halt_) throw Exception(Error::from_errno(errno, "cannot make an eventfd"));
  }

  ProgramServer(const ProgramServer&) = delete;
  ProgramServer& operator=(const ProgramServer&) = delete;
  ~ProgramServer() { halt(); }  // the threads are joined next

  int run() {
    static_cast<void>(is_another_bus());
    bridge_.keep_bus();
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
    sum_up(bridge_, Connections::many, totals_);
    const int code = lost_.empty() ? kDone : fail(lost_);
    if (!clients_.empty()) leave(code);
    return code;
  }

 private:
  void welcome() {
    auto peer = socket_.accept();
    if (!peer) {
      if (!std::exchange(complained_, true))
        complain(bridge_.peer_text + ": " + peer.error().message);
      // Descriptors may have run out: do not spin.
      stop_.wait(static_cast<int>(kFirstPause.count()));
      return;
    }
    if (!*peer) return;
    // Files may wait in the socket, and their file system may not answer. A child process closes
    // such a socket.
    base::ForeignSocket connected(*std::move(peer));
    bury();
    if (clients_.size() >= bridge_.max_peers) {
      tell(untold_.refused, complain,
           "a program was refused: " + base::counted(clients_.size(), "is", "are") +
               " connected already (--max-peers)");
      return;
    }
    if (!can_open(kDescriptorsOfOne)) {
      tell(untold_.refused, complain,
           "a program was refused: it may need " + std::to_string(kDescriptorsOfOne) +
               " file descriptors, and fewer are left (allow this bridge more: ulimit -n)");
      return;
    }
    Client& client = clients_.emplace_back();
    try {
      begin(client, connected);
      complained_ = false;
    } catch (const std::exception& error) {  // no slot, thread or memory was left
      tell(untold_.refused, complain, std::string("a program was refused: ") + error.what());
      clients_.pop_back();
    }
  }

  /// Whether the path leads to another file than in the last call.
  bool is_another_bus() {
    struct stat now{};
    if (::stat(bridge_.bus_path.c_str(), &now) != 0) return false;
    const bool same = now.st_dev == device_ && now.st_ino == inode_;
    device_ = now.st_dev;
    inode_ = now.st_ino;
    return !same;
  }

  /// While no program is connected, the bus is not watched: it may be gone, and another one may be
  /// at its path. Throws if there is no bus.
  void look_for_bus() {
    bus_.emplace(bridge_.find_bus().value());
    bridge_.bus = &*bus_;
    if (is_another_bus())
      say(bridge_.peer_text + ": another bus is at " + bridge_.bus_path +
          " now, which programs join from now on" + size_text(bridge_));
  }

  void begin(Client& client, base::ForeignSocket& connected) {
    look_for_bus();
    const std::shared_ptr<PeerPort> port = new_port(client);
    client.name = port->port().name();
    client.process = process_of(connected.get());
    client.pause = pauses_.before(client.process, Pauses::Clock::now());
    const auto socket = std::make_shared<base::ForeignSocket>(std::move(connected));
    client.thread =
        std::jthread([this, &client, port, socket] { serve(client, *port, std::move(*socket)); });
    tell(untold_.connected, say, "a program connected, as port " + client.name);
  }

  void serve(Client& client, PeerPort& port, base::ForeignSocket connected) noexcept {
    pollfd halt{.fd = halt_.get(), .events = POLLIN, .revents = 0};
    if (client.pause.count() > 0) (void)::poll(&halt, 1, static_cast<int>(client.pause.count()));
    try {
      Peer peer = bridge_.protocol->open(bridge_, connected.release(), port.port());
      client.end = carry_peer(port, peer, halt_.get(), client.account);
      client.gone = why_gone(peer, client.end);
      client.was_in_vain = came_in_vain(peer);
    } catch (const std::exception& error) {
      client.failure = error.what();
    }
    client.over = true;
    const std::uint64_t one = 1;
    (void)!::write(ended_.get(), &one, sizeof one);
  }

  /// Attaches a port with the first name that no other client and no other process has.
  std::shared_ptr<PeerPort> new_port(Client& client) const {
    for (unsigned number = 1;; ++number) {  // ends: a bus has few ports
      if (std::ranges::any_of(clients_, [&](const Client& c) { return c.number == number; }))
        continue;
      client.number = number;
      try {
        return std::make_shared<PeerPort>(bridge_, name_of(number), milliseconds(0));
      } catch (const Exception& error) {
        if (error.code() != Errc::name_taken || bridge_.port_name.empty()) throw;
      }
    }
  }

  std::string name_of(unsigned number) const {
    if (bridge_.port_name.empty() || number == 1) return bridge_.port_name;
    return bridge_.port_name + '-' + std::to_string(number);
  }

  /// Adds up the accounts of clients that have gone, and removes the clients.
  void bury() {
    std::uint64_t count = 0;
    (void)!::read(ended_.get(), &count, sizeof count);
    for (auto it = clients_.begin(); it != clients_.end();) {
      if (!it->over) {
        ++it;
        continue;
      }
      it->thread.join();
      settle(*it);
      it = clients_.erase(it);
    }
  }

  void settle(const Client& client) {
    totals_.add(client.account.total());
    pauses_.note(client.process, client.was_in_vain, Pauses::Clock::now());
    if (lost_.empty()) lost_ = why_lost(bridge_, client.end);
    if (stop_.stopped() || !lost_.empty()) return;
    const std::string program = "the program at port " + client.name;
    if (client.failure.empty()) {
      tell(untold_.gone, say, program + client.gone);
    } else {
      tell(untold_.gone, complain, program + " was cut off: " + client.failure);
    }
  }

  /// Writes a line about a program, or only counts it, because programs that come and go in a loop
  /// must not fill a log.
  template <class Write>
  void tell(std::uint64_t& untold, const Write& write, const std::string& line) {
    if (untold_.any() || !lines_.take(LineBudget::Clock::now())) {
      ++untold;
      return;
    }
    write(bridge_.peer_text + ": " + line);
  }

  /// Result: when to call tell_of_more(), in ms; -1 means never.
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
        base::counted(untold.connected, "more program connected, ", "more programs connected, ") +
        std::to_string(untold.gone) + " gone, " + std::to_string(untold.refused) + " refused");
  }

  /// Tells all clients to end.
  void halt() const noexcept {
    const std::uint64_t one = 1;
    (void)!::write(halt_.get(), &one, sizeof one);
  }

  /// Waits until all clients have gone. Clients whose threads hang stay in clients_.
  void await_clients() {
    const auto until = std::chrono::steady_clock::now() + kEndPatience;
    for (;;) {  // runs until `until` at most
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

  PeerBridge bridge_;
  std::optional<Bus> bus_;  ///< the bus that was at the path when the last program came
  dev_t device_ = 0;        ///< device that has the file of the bus
  ino_t inode_ = 0;         ///< inode of the file of the bus
  const StopSignals& stop_;
  BoundSocket socket_;
  UniqueFd ended_;  ///< readable when a client has gone
  UniqueFd halt_;   ///< readable when all must end
  std::list<Client> clients_;
  Totals totals_;
  LineBudget lines_;
  Pauses pauses_;
  Untold untold_;
  std::string lost_;         ///< why the bus no longer serves any program
  bool complained_ = false;  ///< it said that it cannot accept; reset when a program is served
};

}  // namespace

int serve_programs(const PeerBridge& bridge, const PeerPlaces& places, const StopSignals& stop) {
  allow_all_descriptors();  // each program takes about eight
  return ProgramServer(bridge, places.here, stop).run();
}

}  // namespace shmif::tools
