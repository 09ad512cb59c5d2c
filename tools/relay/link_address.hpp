#pragma once
// Links in command-line form: bus:PATH, tap:NAME and so on (tools/relay/link_row.hpp).

#include <optional>
#include <string>
#include <string_view>

#include "shmif/socket_place.hpp"

namespace shmif::tools {

struct LinkRow;

struct LinkAddress {
  const LinkRow* row = nullptr;  ///< its kind; set by parse_link()
  bool connects = false;         ///< "connect=" was before the target
  std::string target;            ///< the path or the name; it has at least one character
};

/// Result: empty if the text does not name a link. Threads: any. Blocks: never.
std::optional<LinkAddress> parse_link(std::string_view text);

/// Throws UsageError if the text does not name a link, with the link that was most likely meant.
/// Threads: any. Blocks: never.
LinkAddress link_address(const std::string& text);

/// Where the programs of a link are.
struct PeerPlaces {
  std::string target;  ///< as given
  SocketPlace here;    ///< of the socket that listens, on whichever side; or our own
  SocketPlace there;   ///< the program's, if it has one of its own (dgram)
};

// The places of the kinds of link (LinkRow::places). `text`: the link as on the command line. They
// throw UsageError. Threads: any. Blocks: for the name server, except no_socket().
PeerPlaces socket_place(const LinkAddress& address, const std::string& text);  ///< PATH or HOST
PeerPlaces socket_path(const LinkAddress& address, const std::string& text);   ///< PATH only
PeerPlaces two_sockets(const LinkAddress& address, const std::string& text);   ///< LOCAL,REMOTE
PeerPlaces no_socket(const LinkAddress& address, const std::string& text);     ///< any text

/// Throws if TAP devices are not available: not_supported (exit code 77) if there is no device
/// node, or the errno if it cannot be opened. Threads: any. Blocks: never.
void need_tun_device();

}  // namespace shmif::tools
