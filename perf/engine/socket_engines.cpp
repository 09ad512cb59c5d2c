#include "perf/engine/socket_engines.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/engine/link_end.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/socket_address.hpp"
#include "shmif/stream_link.hpp"

namespace shmif::perf {
namespace {

template <class T>
bool set(int socket, int level, int name, const T& value) {
  return ::setsockopt(socket, level, name, &value, sizeof value) == 0;
}

std::optional<int> number_of(int socket, int level, int name) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket, level, name, &value, &size) != 0) return std::nullopt;
  return value;
}

int family_of(int socket) noexcept {
  return number_of(socket, SOL_SOCKET, SO_DOMAIN).value_or(AF_INET);
}

/// The kernel doubles the requested size, and uses the other half for itself.
std::uint64_t buffer_of(int socket, int name) noexcept {
  const int doubled = number_of(socket, SOL_SOCKET, name).value_or(0);
  return doubled > 0 ? static_cast<std::uint64_t>(doubled) / 2 : 0;
}

Result<void> set_buffer(int socket, int name, const char* what, std::uint64_t bytes) {
  const int wanted = static_cast<int>(bytes);
  if (!set(socket, SOL_SOCKET, name, wanted)) {
    return Error::from_errno(errno, std::string("window: cannot set ") + what);
  }
  const std::uint64_t got = buffer_of(socket, name);
  if (got >= bytes) return {};
  return Error(Errc::bad_argument,
               "window: the kernel grants " + std::to_string(got) + " of " + std::to_string(bytes) +
                   " bytes (ask for less, or raise net.core." +
                   (name == SO_SNDBUF ? "wmem_max" : "rmem_max") + " of the machine)");
}

Result<void> set_congestion(int socket, const std::string& name) {
  if (::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                   static_cast<socklen_t>(name.size())) == 0) {
    return {};
  }
  if (errno != ENOENT && errno != EPERM) return Error::from_errno(errno, "congestion");
  std::ifstream file("/proc/sys/net/ipv4/tcp_available_congestion_control");
  std::string known;
  std::getline(file, known);
  return Error(Errc::bad_argument, "congestion: this kernel does not let the job use \"" + name +
                                       "\" (it has: " + (known.empty() ? "unknown" : known) + ')');
}

Result<void> set_dscp(int socket, std::uint32_t dscp) {
  const int tos = static_cast<int>(dscp << 2U);
  const bool done = family_of(socket) == AF_INET6 ? set(socket, IPPROTO_IPV6, IPV6_TCLASS, tos)
                                                  : set(socket, IPPROTO_IP, IP_TOS, tos);
  if (!done) return Error::from_errno(errno, "dscp: cannot set the traffic class");
  return {};
}

}  // namespace

Result<void> set_up_socket(int socket, const HostEndOptions& options, Transport transport) {
  if (options.window_bytes != 0) {
    auto done = set_buffer(socket, SO_SNDBUF, "the send buffer", options.window_bytes);
    if (done) done = set_buffer(socket, SO_RCVBUF, "the receive buffer", options.window_bytes);
    if (!done) return done;
  }
  if (options.dscp) {
    if (auto done = set_dscp(socket, *options.dscp); !done) return done;
  }
  if (transport == Transport::udp) return {};
  if (options.mss_bytes != 0 &&
      !set(socket, IPPROTO_TCP, TCP_MAXSEG, static_cast<int>(options.mss_bytes))) {
    return Error::from_errno(
        errno, "mss: cannot use segments of " + std::to_string(options.mss_bytes) + " bytes");
  }
  if (!options.congestion.empty()) return set_congestion(socket, options.congestion);
  return {};
}

std::optional<TcpState> tcp_state_of(int socket) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  constexpr std::uint64_t kNsPerUs = 1000;
  TcpState state;
  state.retransmits = info.tcpi_total_retrans;
  state.rtt_ns = info.tcpi_rtt * kNsPerUs;
  state.rttvar_ns = info.tcpi_rttvar * kNsPerUs;
  state.cwnd_bytes = std::uint64_t{info.tcpi_snd_cwnd} * info.tcpi_snd_mss;
  state.mss_bytes = info.tcpi_snd_mss;
  state.pmtu_bytes = info.tcpi_pmtu;
  state.send_buffer_bytes = buffer_of(socket, SO_SNDBUF);
  state.receive_buffer_bytes = buffer_of(socket, SO_RCVBUF);
  const auto tos = family_of(socket) == AF_INET6 ? number_of(socket, IPPROTO_IPV6, IPV6_TCLASS)
                                                 : number_of(socket, IPPROTO_IP, IP_TOS);
  state.dscp = static_cast<std::uint64_t>(tos.value_or(0)) >> 2U;
  std::array<char, 16> name{};
  size = name.size();
  if (::getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) == 0) {
    state.congestion.assign(name.data(), ::strnlen(name.data(), name.size()));
  }
  return state;
}

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kConnectAgain{10};
constexpr std::chrono::milliseconds kConnectAttempt{100};

Result<std::unique_ptr<End>> make_stream_end(UniqueFd socket, const HostEndOptions& options,
                                             const std::string& peer) {
  const int on = 1;  // do not delay a frame until the previous one is acknowledged
  if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    return Error::from_errno(errno, "cannot set TCP_NODELAY on a connection with " + peer);
  }
  const int number = socket.get();
  auto link = StreamLink::adopt(std::move(socket), {.max_frame_bytes = options.max_frame_bytes,
                                                    .max_record_bytes = options.max_frame_bytes,
                                                    .address = "tcp:" + peer});
  return make_end(
      std::move(link), options.end, RoomWait::poll,
      [](const StreamLink&) { return WireCounters{}; }, [number] { return tcp_state_of(number); });
}

/// Makes one attempt. Result: errno; 0 if it is connected.
int try_connect(int socket, const SocketAddress& remote, Clock::time_point deadline) {
  if (::connect(socket, remote.get(), remote.size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  const auto left = std::max(deadline - Clock::now(), Clock::duration::zero());
  pollfd asked{.fd = socket, .events = POLLOUT, .revents = 0};
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  if (::poll(&asked, 1, static_cast<int>(ms)) <= 0) return ETIMEDOUT;
  int number = 0;
  socklen_t size = sizeof number;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &number, &size) != 0) return errno;
  return number;
}

/// Whether a peer that answers with this error may start later. EADDRNOTAVAIL: the last attempt
/// still has these addresses.
bool may_come(int number) {
  return number == ECONNREFUSED || number == EHOSTUNREACH || number == ENETUNREACH ||
         number == ECONNRESET || number == EINTR || number == EADDRNOTAVAIL;
}

}  // namespace

Result<std::unique_ptr<End>> open_udp_host_end(const HostEndOptions& options) {
  auto local = parse_socket_address(options.local);
  if (!local) return std::move(local).error();
  auto socket = bound_socket(SOCK_DGRAM, *local);
  if (!socket) return std::move(socket).error();
  if (auto done = set_up_socket(socket->get(), options, Transport::udp); !done)
    return std::move(done).error();
  std::size_t largest = options.max_frame_bytes;
  if (!options.remote.empty()) {
    auto remote = parse_socket_address(options.remote);
    if (!remote) return std::move(remote).error();
    if (auto done = connect_to(socket->get(), *remote); !done) return std::move(done).error();
    largest = std::min(largest, max_datagram_bytes(socket->get(), *remote));
  }
  if (options.window_bytes == 0) enlarge_buffers(socket->get(), kUdpBufferBytes);
  auto bound = address_of(socket->get());
  if (!bound) return std::move(bound).error();
  debug(Debug::wire, [&] {
    return "has a UDP socket at " + bound->to_string() +
           (options.remote.empty() ? std::string() : ", connected to " + options.remote) +
           "; datagrams of up to " + std::to_string(largest) + " bytes";
  });
  auto link = DatagramLink::adopt(
      *std::move(socket),
      {.max_frame_bytes = largest, .address = "udp:" + bound->to_string(), .peer_may_come = true});
  return make_end(std::move(link), options.end, RoomWait::poll, [](const DatagramLink& l) {
    WireCounters counted;
    counted.dropped_frames = l.dropped();
    return counted;
  });
}

Result<std::unique_ptr<End>> listen_tcp_host_end(const HostEndOptions& options) {
  auto local = parse_socket_address(options.local);
  if (!local) return std::move(local).error();
  auto socket = bound_socket(SOCK_STREAM, *local);
  if (!socket) return std::move(socket).error();
  // Accepted sockets inherit the listener's options.
  if (auto done = set_up_socket(socket->get(), options, Transport::tcp); !done)
    return std::move(done).error();
  const std::string what = "cannot listen at " + local->to_string();
  if (::listen(socket->get(), 1) != 0) return Error::from_errno(errno, what);
  debug(Debug::wire, [&] { return "listens at " + local->to_string(); });
  const auto deadline = Clock::now() + options.patience;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd asked{.fd = socket->get(), .events = POLLIN, .revents = 0};
    const int ready = left > 0 ? ::poll(&asked, 1, static_cast<int>(left)) : 0;
    if (ready == 0) {
      return Error(Errc::timed_out, "no peer connected to " + local->to_string() + " within " +
                                        std::to_string(options.patience.count()) + " ms");
    }
    UniqueFd peer(::accept4(socket->get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (peer) return make_stream_end(std::move(peer), options, local->to_string());
    if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) {
      return Error::from_errno(errno, what);
    }
  }
}

Result<std::unique_ptr<End>> connect_tcp_host_end(const HostEndOptions& options) {
  auto remote = parse_socket_address(options.remote);
  if (!remote) return std::move(remote).error();
  auto local = options.local.empty() ? Result<SocketAddress>(remote->any().with_port(0))
                                     : parse_socket_address(options.local);
  if (!local) return std::move(local).error();
  const auto deadline = Clock::now() + options.patience;
  for (;;) {  // runs until connected, refused for good, or too late
    // After a failed attempt, the state of a socket is undefined, so each attempt uses a new one.
    auto socket = bound_socket(SOCK_STREAM | SOCK_NONBLOCK, *local);
    if (!socket) return std::move(socket).error();
    if (auto done = set_up_socket(socket->get(), options, Transport::tcp); !done) {
      return std::move(done).error();
    }
    // The kernel repeats a lost SYN only after a second (RFC 6298, section 2); a new attempt is
    // faster.
    const auto attempt = std::min(deadline, Clock::now() + kConnectAttempt);
    const int number = try_connect(socket->get(), *remote, attempt);
    if (number == 0) return make_stream_end(*std::move(socket), options, remote->to_string());
    // An answer may come just now. Then the connection must not keep the addresses of the next
    // attempt for a minute.
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    static_cast<void>(::setsockopt(socket->get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    const std::string what = "cannot connect to " + remote->to_string();
    debug(Debug::wire, [&] { return what + ": " + Error::from_errno(number, "connect").message; });
    if (!may_come(number) && number != ETIMEDOUT) return Error::from_errno(number, what);
    if (Clock::now() >= deadline) {
      return Error(Errc::timed_out, Error::from_errno(number, what).message + ", for " +
                                        std::to_string(options.patience.count()) +
                                        " ms (is the peer running and listening there?)");
    }
    sleep_for(kConnectAgain);
  }
}

const Engine kHostEngine{
    .kind = EngineKind::host,
    .name = "host",
    .wire = "a bus, with an interface and an IP address per job",
    .capabilities = {},
    .through = Through::sockets,
    .make_wire = [](const JobOptions&, std::size_t) -> Result<std::unique_ptr<Wire>> {
      return Error(Errc::bad_argument, "engine=host makes its own hosts and has no wire");
    }};

// engine=udp: frames as payload of UDP datagrams, between two sockets of this machine. A job that
// is alone on its wire sends to the socket of another program, or receives from any.

namespace {

struct UdpSocket {
  UniqueFd socket;
  std::string address;  ///< address that it is bound to
  std::size_t largest = 0;
};

class UdpWire final : public Wire {
 public:
  UdpWire(std::vector<UdpSocket> sockets, std::string address)
      : sockets_(std::move(sockets)), address_(std::move(address)) {}

  Capabilities capabilities() const noexcept override {
    Capabilities can = kUdpEngine.capabilities;
    can.max_ends = sockets_.size();
    return can;
  }
  std::string address() const override { return address_; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, sockets_.size(), address_); !fits) {
      return std::move(fits).error();
    }
    const UdpSocket& ours = sockets_[options.index];
    UniqueFd socket(::fcntl(ours.socket.get(), F_DUPFD_CLOEXEC, 0));
    if (!socket) return Error::from_errno(errno, "cannot open an end of " + address_);
    auto link = DatagramLink::adopt(
        std::move(socket),
        {.max_frame_bytes = ours.largest, .address = ours.address, .peer_may_come = true});
    return make_end(std::move(link), options, RoomWait::poll, [](const DatagramLink& l) {
      WireCounters counted;
      counted.dropped_frames = l.dropped();
      return counted;
    });
  }

 private:
  std::vector<UdpSocket> sockets_;
  std::string address_;
};

/// Sets up a bound socket.
Result<UdpSocket> finish(UniqueFd socket, const JobOptions& job) {
  enlarge_buffers(socket.get(), kUdpBufferBytes);
  auto local = address_of(socket.get());
  if (!local) return std::move(local).error();
  UdpSocket made;
  made.largest = max_frame_bytes_of(job);
  made.address = "udp:" + local->to_string();
  made.socket = std::move(socket);
  return made;
}

/// Connects a bound socket and sets it up.
Result<UdpSocket> finish(UniqueFd socket, const SocketAddress& remote, const JobOptions& job) {
  if (auto connected = connect_to(socket.get(), remote); !connected) {
    return std::move(connected).error();
  }
  auto made = finish(std::move(socket), job);
  if (made) made->largest = std::min(made->largest, max_datagram_bytes(made->socket.get(), remote));
  return made;
}

std::unique_ptr<Wire> wire_of(UdpSocket socket, std::string address) {
  std::vector<UdpSocket> sockets;
  sockets.push_back(std::move(socket));
  return std::make_unique<UdpWire>(std::move(sockets), std::move(address));
}

/// The receiver is a socket of another program.
Result<std::unique_ptr<Wire>> make_sender(const JobOptions& job, const SocketAddress& receiver) {
  auto socket = bound_socket(SOCK_DGRAM, receiver.any().with_port(0));
  if (!socket) return std::move(socket).error();
  auto made = finish(*std::move(socket), receiver, job);
  if (!made) return std::move(made).error();
  return wire_of(*std::move(made), "udp:" + receiver.to_string());
}

/// The senders are sockets of other programs.
Result<std::unique_ptr<Wire>> make_receiver(const JobOptions& job, UniqueFd socket) {
  auto made = finish(std::move(socket), job);
  if (!made) return std::move(made).error();
  std::string address = made->address;
  return wire_of(*std::move(made), std::move(address));
}

/// Both ends are on this machine: the first has the requested port, the second any free one.
Result<std::unique_ptr<Wire>> make_local(const JobOptions& job, UniqueFd first,
                                         const SocketAddress& host) {
  auto second = bound_socket(SOCK_DGRAM, host.with_port(0));
  if (!second) return std::move(second).error();
  auto first_address = address_of(first.get());
  auto second_address = address_of(second->get());
  if (!first_address) return std::move(first_address).error();
  if (!second_address) return std::move(second_address).error();
  auto one = finish(std::move(first), *second_address, job);
  if (!one) return std::move(one).error();
  auto other = finish(*std::move(second), *first_address, job);
  if (!other) return std::move(other).error();
  std::vector<UdpSocket> sockets;
  sockets.push_back(*std::move(one));
  sockets.push_back(*std::move(other));
  std::string address = sockets.front().address;
  return std::unique_ptr<Wire>(std::make_unique<UdpWire>(std::move(sockets), std::move(address)));
}

Result<std::unique_ptr<Wire>> make_udp_wire(const JobOptions& job, std::size_t ends) {
  auto host = resolve(job.hostname, job.port);
  if (!host) return std::move(host).error();
  if (job.no_peer) return make_sender(job, *host);
  // A successful bind proves nothing: it works for group addresses, and with ip_nonlocal_bind for
  // any address.
  if (!host->is_any() && !is_of_this_machine(*host)) {
    return Error(Errc::bad_argument,
                 "the host " + job.hostname +
                     " is another machine or a group, but frames are received on this one (give an "
                     "address of this machine; or to send to a program there, rw=tx, no_peer and "
                     "its port)");
  }
  auto here = bound_socket(SOCK_DGRAM, *host);
  if (!here) return std::move(here).error();
  if (ends == 1 && job.rw == Role::rx) return make_receiver(job, *std::move(here));
  return make_local(job, *std::move(here), *host);
}

}  // namespace

const Engine kUdpEngine{
    .kind = EngineKind::udp,
    .name = "udp",
    .wire = "two UDP sockets, with the frames as their payload",
    .capabilities = {.addresses = false, .counts = true, .batches = true, .max_ends = 2},
    .through = Through::sockets,
    .make_wire = make_udp_wire};

// engine=unix: a pair of datagram sockets.
//
// Datagrams and sequenced packets were compared: with 64 bytes in batches of 32, sent and received
// by one thread, they took 753 and 783 ns per frame. Both refuse frames when the pair is full.

namespace {

constexpr std::size_t kEnds = 2;
/// A few thousand small frames: enough for two processes that take turns on one CPU, but not so
/// many that frames wait long in the queue.
constexpr int kUnixBufferBytes = 1 << 20;

class UnixWire final : public Wire {
 public:
  UnixWire(std::array<UniqueFd, kEnds> sockets, std::size_t largest)
      : sockets_(std::move(sockets)), largest_(largest) {}

  Capabilities capabilities() const noexcept override { return kUnixEngine.capabilities; }
  std::string address() const override { return "unix:"; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, kEnds, address()); !fits) return std::move(fits).error();
    UniqueFd socket(::fcntl(sockets_[options.index].get(), F_DUPFD_CLOEXEC, 0));
    if (!socket) return Error::from_errno(errno, "cannot open an end of a pair of sockets");
    auto link =
        DatagramLink::adopt(std::move(socket), {.max_frame_bytes = largest_, .address = address()});
    return make_end(std::move(link), options, RoomWait::poll,
                    [](const DatagramLink&) { return WireCounters{}; });
  }

 private:
  std::array<UniqueFd, kEnds> sockets_;
  std::size_t largest_;
};

Result<std::unique_ptr<Wire>> make_unix_wire(const JobOptions& job, std::size_t /*ends*/) {
  std::array<int, kEnds> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return Error::from_errno(errno, "cannot make a pair of sockets");
  }
  for (const int socket : pair) enlarge_buffers(socket, kUnixBufferBytes);
  return std::unique_ptr<Wire>(std::make_unique<UnixWire>(
      std::array{UniqueFd(pair[0]), UniqueFd(pair[1])}, max_frame_bytes_of(job)));
}

}  // namespace

const Engine kUnixEngine{.kind = EngineKind::unix_pair,
                         .name = "unix",
                         .wire = "a pair of datagram sockets",
                         .capabilities = {.addresses = false, .batches = true, .max_ends = 2},
                         .through = Through::sockets,
                         .passes_network = false,
                         .make_wire = make_unix_wire};

}  // namespace shmif::perf
