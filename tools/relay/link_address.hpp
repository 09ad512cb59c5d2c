#pragma once
// Links in command-line form: bus:PATH, tap:NAME, packet:IFNAME, pcap:FILE, stream:PLACE,
// stream:connect=PLACE, dgram:LOCAL,REMOTE, vhost-user:PATH, vhost-user:connect=PATH, memif:PATH,
// vde:URL.

#include <optional>
#include <string>
#include <string_view>

namespace shmif::tools {

struct LinkAddress {
  enum class Kind { bus, tap, packet, pcap, stream, stream_to, dgram, vhost, vhost_to, memif, vde };
  Kind kind = Kind::bus;
  std::string target;  ///< the path or the name; it has at least one character
};

/// Result: empty if the text does not name a link.
std::optional<LinkAddress> parse_link(std::string_view text);

/// Throws if TAP devices are not available: not_supported (exit code 77) if there is no device
/// node, or the errno if it cannot be opened.
void need_tun_device();

}  // namespace shmif::tools
