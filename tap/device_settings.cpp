#include "tap/device_settings.hpp"

#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

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

bool ask_ethtool(int control, const std::string& interface, void* command) {
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = static_cast<char*>(command);
  return ::ioctl(control, SIOCETHTOOL, &request) >= 0;
}

}  // namespace

std::error_code set_carrier(int descriptor, LinkKind kind, bool on) noexcept {
  if (kind == LinkKind::veth) return set_up(descriptor, on);
  if (kind != LinkKind::tap) return Errc::not_supported;
  int carrier = on ? 1 : 0;
  return ::ioctl(descriptor, TUNSETCARRIER, &carrier) == 0 ? std::error_code{} : last_error();
}

Result<Features> Features::read(int control, const std::string& interface) {
  const auto failed = [&] {
    return Error::from_errno(errno, "cannot read the features of interface \"" + interface + "\"");
  };
  Features made;
  made.control_ = control;
  made.interface_ = interface;
  // Features have names, but no fixed numbers.
  std::vector<std::uint32_t> room((sizeof(ethtool_sset_info) + sizeof(std::uint32_t)) / 4);
  auto* const info = reinterpret_cast<ethtool_sset_info*>(room.data());
  info->cmd = ETHTOOL_GSSET_INFO;
  info->sset_mask = 1ULL << ETH_SS_FEATURES;
  if (!ask_ethtool(control, interface, info)) return failed();
  const std::uint32_t count = info->sset_mask == 0 ? 0 : info->data[0];
  std::vector<char> strings(sizeof(ethtool_gstrings) + std::size_t{count} * ETH_GSTRING_LEN);
  ethtool_gstrings header{};
  header.cmd = ETHTOOL_GSTRINGS;
  header.string_set = ETH_SS_FEATURES;
  header.len = count;
  std::memcpy(strings.data(), &header, sizeof header);
  if (!ask_ethtool(control, interface, strings.data())) return failed();

  const std::size_t blocks = (std::size_t{count} + 31) / 32;
  room.assign((sizeof(ethtool_gfeatures) + blocks * sizeof(ethtool_get_features_block)) / 4, 0);
  auto* const now = reinterpret_cast<ethtool_gfeatures*>(room.data());
  now->cmd = ETHTOOL_GFEATURES;
  now->size = static_cast<std::uint32_t>(blocks);
  if (!ask_ethtool(control, interface, now)) return failed();
  for (std::uint32_t i = 0; i < count; ++i) {
    const char* const text =
        strings.data() + sizeof(ethtool_gstrings) + std::size_t{i} * ETH_GSTRING_LEN;
    const ethtool_get_features_block& block = now->features[i / 32];
    made.all_.push_back({std::string(text, ::strnlen(text, ETH_GSTRING_LEN)),
                         (block.active >> i % 32 & 1U) != 0,
                         (block.requested >> i % 32 & 1U) != 0});
  }
  return made;
}

Result<void> Features::request(const std::vector<std::uint32_t>& valid,
                               const std::vector<std::uint32_t>& values) {
  std::vector<std::uint32_t> room(sizeof(ethtool_sfeatures) / 4 +
                                  valid.size() * sizeof(ethtool_set_features_block) / 4);
  auto* const wanted = reinterpret_cast<ethtool_sfeatures*>(room.data());
  wanted->cmd = ETHTOOL_SFEATURES;
  wanted->size = static_cast<std::uint32_t>(valid.size());
  for (std::size_t i = 0; i < valid.size(); ++i) {
    wanted->features[i].valid = valid[i];
    wanted->features[i].requested = values[i];
  }
  // A positive answer means that some features do not change. We cannot do anything about that.
  if (ask_ethtool(control_, interface_, wanted) || errno == EOPNOTSUPP) return {};
  return Error::from_errno(errno, "cannot set the features of interface \"" + interface_ + "\"");
}

}  // namespace shmif::tap
