#include "tap/carrier.hpp"

#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/error.hpp"

#ifndef TUNSETCARRIER
#define TUNSETCARRIER _IOW('T', 226, int)  // Linux 5.0
#endif

namespace shmif::tap {
namespace {

std::error_code last_error() noexcept {
  return {errno, std::generic_category()};
}

/// Sets the interface of a packet socket up or down, in the socket's own network namespace.
std::error_code set_up(int socket, bool on) noexcept {
  sockaddr_ll bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return last_error();
  ifreq request{};
  request.ifr_ifindex = bound.sll_ifindex;
  if (::ioctl(socket, SIOCGIFNAME, &request) != 0) return last_error();
  if (::ioctl(socket, SIOCGIFFLAGS, &request) != 0) return last_error();
  const int flags = on ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
  request.ifr_flags = static_cast<short>(flags);
  return ::ioctl(socket, SIOCSIFFLAGS, &request) == 0 ? std::error_code{} : last_error();
}

}  // namespace

std::error_code set_carrier(int descriptor, LinkKind kind, bool on) noexcept {
  if (kind == LinkKind::veth) return set_up(descriptor, on);
  if (kind != LinkKind::tap) return Errc::not_supported;
  int carrier = on ? 1 : 0;
  return ::ioctl(descriptor, TUNSETCARRIER, &carrier) == 0 ? std::error_code{} : last_error();
}

}  // namespace shmif::tap
