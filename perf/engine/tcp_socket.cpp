#include "perf/engine/tcp_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

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

}  // namespace shmif::perf
