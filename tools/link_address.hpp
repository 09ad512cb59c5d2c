#pragma once
// Links as they are named on a command line: bus:PATH, tap:NAME, packet:IFNAME, pcap:FILE.

#include <optional>
#include <string>
#include <string_view>

namespace shmif::tools {

struct LinkAddress {
  enum class Kind { bus, tap, packet, pcap };
  Kind kind = Kind::bus;
  std::string target;  ///< the path or the name, never empty
};

/// Result: nothing when the text names no link.
std::optional<LinkAddress> parse_link(std::string_view text);

/// Throws where a TAP device cannot be had: not_supported (exit code 77) where there is no device
/// node, the errno where it may not be opened.
void need_tun_device();

}  // namespace shmif::tools
