#pragma once
// What the user asks of an uplink, and what runs it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shmif/faults.hpp"
#include "tap/cidr.hpp"
#include "tap/netlink/vxlan.hpp"
#include "tools/common/json.hpp"
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

// Runs an uplink.
//
// With ssh, frames are records in the standard input and output of a program on the other machine.
// That needs no privileges on either of them. Over the kernel's VXLAN:
//
//   bus -- port -- this process -- TAP -- kernel bridge -- VXLAN ... UDP packets of this machine
//                                 '------- private namespace ------'
//
// The three devices are in a network namespace that only this process holds, so no name of theirs
// can be taken, no daemon of the machine configures them, and they vanish with the process, also
// when it is killed. A VXLAN device sends and receives its packets in the namespace in which it was
// made, wherever it is.

/// Carries frames until a signal comes, or until the bus is gone. With UplinkWay::evpn, it also
/// runs the routing programs. Result: the exit code. Throws if it cannot begin, and leaves nothing.
/// Blocks: until the end.
int run_vxlan_uplink(const UplinkWish& wish, const JsonOutput& json);

/// The near end: starts ssh, and starts it again when the line is cut, until a signal comes or the
/// bus is gone. If the first try fails, so does the command. Result: the exit code. Throws if it
/// cannot begin. Blocks: until the end.
int run_ssh_uplink(const UplinkWish& wish, const JsonOutput& json);

/// The far end: carries frames between the bus and standard input and output until they are closed,
/// a signal comes, or the bus is gone. Writes its counts to standard error. Result: the exit code.
/// Throws if it cannot begin. Blocks: until the end.
int run_stdio_uplink(const UplinkWish& wish);

}  // namespace shmif::tools
