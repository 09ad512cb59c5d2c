#pragma once
// What the user asks of an uplink.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shmif/faults.hpp"
#include "tap/cidr.hpp"
#include "tap/netlink/vxlan.hpp"
#include "tools/common/options.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::tools {

/// A bus of another machine, reached by ssh: "HOST:PATH".
struct FarBus {
  std::string host;  ///< for ssh: "b", "user@b", "user@fd00::2"
  std::string path;

  /// "b:/dev/shm/bus0", "user@[fd00::2]:/dev/shm/bus0". Throws UsageError. A host that begins with
  /// '-' is refused, because ssh would take it for an option.
  static FarBus parse(const std::string& text);
};

enum class UplinkWay : std::uint8_t {
  vxlan,  ///< to machines that the user names
  evpn,   ///< to machines of which a routing program tells
  ssh,
  stdio,  ///< the far end of ssh
};

/// Everything that the command line says. A member that does not belong to `way` has no meaning.
struct UplinkWish {
  std::string path;  ///< of the bus
  UplinkWay way = UplinkWay::vxlan;
  BusWish bus;
  std::string port_name;  ///< empty: "uplink"
  bool offload = true;
  LineFaults faults;  ///< in: from the bus to the other machines; out: back

  std::uint32_t vxlan_id = 0;
  std::uint16_t udp_port = tap::kVxlanPort;
  std::vector<tap::IpAddress> remotes;  ///< machines, or the peers of the routing program
  std::optional<tap::IpAddress> local;  ///< empty: the one that the kernel chooses
  std::uint32_t asn = 0;

  std::string far_text;  ///< as on the command line
  FarBus far;
  std::vector<std::string> ssh_options;
  std::string far_program = "shmifctl";

  std::string bus_text() const { return "bus:" + path; }
};

/// Reads the command line of `uplink`. Throws UsageError, which says which options belong together.
UplinkWish read_uplink_wish(const Arguments& args);

}  // namespace shmif::tools
