#include "tools/relay/bridge_peers.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "shmif/datagram_link.hpp"
#include "shmif/log.hpp"
#include "shmif/vde_link.hpp"
#include "tap/many_routes.hpp"
#include "tools/common/command.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/name_servers.hpp"
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

}  // namespace shmif::tools
