// Switches off what the hardware or the kernel would do with the frames of an interface.

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "tap/features.hpp"
#include "tap/netlink/session.hpp"

namespace shmif::tap {
namespace {

/// Whether packet sockets can describe super-frames of UDP. Before Linux 6.2 they drop such frames.
bool speaks_of_udp_segments() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  return ::uname(&kernel) == 0 && std::sscanf(kernel.release, "%d.%d", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 2));
}

/// Whether a feature of an interface, by its name in `ethtool -k`, makes frames that an Offload or
/// a packet socket cannot describe.
bool is_unspeakable(std::string_view feature) {
  if (feature == "tx-udp-segmentation") return !speaks_of_udp_segments();
  constexpr std::array<std::string_view, 4> kSpeakable{
      "tx-generic-segmentation", "tx-tcp-segmentation", "tx-tcp6-segmentation",
      "tx-tcp-ecn-segmentation"};
  if (feature == "tx-gso-partial" || feature == "tx-gso-list") return true;
  return feature.starts_with("tx-") && feature.ends_with("-segmentation") &&
         std::find(kSpeakable.begin(), kSpeakable.end(), feature) == kSpeakable.end();
}

}  // namespace

Result<void> Netlink::disable_offloads(const std::string& name) {
  if (!is_interface_name(name)) return bad_interface_name(name);
  static constexpr std::array<std::uint32_t, 6> kOff{ETHTOOL_STSO,    ETHTOOL_SGSO,    ETHTOOL_SGRO,
                                                     ETHTOOL_SRXCSUM, ETHTOOL_STXCSUM, ETHTOOL_SSG};
  for (const std::uint32_t command : kOff) {
    ethtool_value value{};
    value.cmd = command;
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), name.size());
    request.ifr_data = reinterpret_cast<char*>(&value);
    if (::ioctl(impl_->control.get(), SIOCETHTOOL, &request) != 0 && errno != EOPNOTSUPP) {
      return Error::from_errno(errno,
                               "cannot switch off the offloads of interface \"" + name + "\"");
    }
  }
  return {};
}

Result<void> Netlink::disable_unspeakable_offloads(const std::string& name) {
  if (!is_interface_name(name)) return bad_interface_name(name);
  const std::string what =
      "cannot switch off the offloads of tunnels on interface \"" + name + "\"";
  auto features = Features::read(impl_->control.get(), name);
  if (!features) return Error(features.error().code, what + ": " + features.error().message);
  const auto is_off = [](const Features::Feature&) { return false; };
  return features->request([](const Features::Feature& f) { return is_unspeakable(f.name); },
                           is_off);
}

}  // namespace shmif::tap
