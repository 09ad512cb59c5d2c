#include "perf/engine/socket_end.hpp"

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

}  // namespace shmif::perf
