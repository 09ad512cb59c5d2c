#include "tools/relay/link_address.hpp"

#include <array>
#include <utility>

#include "base/result.hpp"
#include "tap/tap_link.hpp"

namespace shmif::tools {

std::optional<LinkAddress> parse_link(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, LinkAddress::Kind>, 11> kKinds = {
      {{"bus:", LinkAddress::Kind::bus},
       {"tap:", LinkAddress::Kind::tap},
       {"packet:", LinkAddress::Kind::packet},
       {"pcap:", LinkAddress::Kind::pcap},
       {"stream:connect=", LinkAddress::Kind::stream_to},
       {"stream:", LinkAddress::Kind::stream},
       {"dgram:", LinkAddress::Kind::dgram},
       {"vhost-user:connect=", LinkAddress::Kind::vhost_to},
       {"vhost-user:", LinkAddress::Kind::vhost},
       {"memif:", LinkAddress::Kind::memif},
       {"vde:", LinkAddress::Kind::vde}}};
  for (const auto& [prefix, kind] : kKinds) {
    if (!text.starts_with(prefix)) continue;
    if (text.size() == prefix.size()) break;  // the path is missing, as in "stream:connect="
    return LinkAddress{kind, std::string(text.substr(prefix.size()))};
  }
  return std::nullopt;
}

void need_tun_device() {
  Result<void> tun = tap::check_tun_device();
  if (tun) return;
  Error error = std::move(tun).error();
  const bool absent = error.code == std::errc::no_such_file_or_directory ||
                      error.code == std::errc::no_such_device ||
                      error.code == std::errc::no_such_device_or_address;
  if (absent) error.code = Errc::not_supported;
  error.message += "; 'shmifctl exec --via veth' needs no such device";
  throw Exception(std::move(error));
}

}  // namespace shmif::tools
