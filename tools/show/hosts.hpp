#pragma once
// The hosts of a bus that this user can see: which process holds a port, and which program runs
// behind the port.

#include <sys/types.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/repair/port_owners.hpp"
#include "shmif/bus.hpp"

namespace shmif::tools {

/// A port of a host, and the interface behind it.
struct HostInterface {
  PortInfo port;
  std::string name;  ///< in the host; empty if no interface there has the port's MAC address
  std::vector<std::string> addresses;
};

/// A host that `exec` runs. Pidfds hold its processes, so its pids cannot come to mean other
/// processes.
struct Host {
  std::vector<HostInterface> interfaces;  ///< in the order of their slots; at least one
  /// The `shmifctl exec` process; if `unknown`, only a claim.
  pid_t supervisor = 0;
  std::optional<bus::PortOwner> owner;  ///< that process, if it is known
  pid_t init = 0;
  UniqueFd init_file;
  pid_t pid = 0;                     ///< pid of the program; like `init`, a process in the host
  std::vector<std::string> command;  ///< from read_command()
  std::string unknown;               ///< why the processes are not known; empty if they are

  int unknown_error = ESRCH;  ///< that reason as an errno

  const std::string& name() const noexcept { return interfaces.front().port.name; }
};

/// The hosts on a bus, in the order of their slots. A live port is left out if its process is known
/// (bus/repair/port_owners.hpp) and is not a host. If its process is not known, the port becomes a
/// host with `unknown`, unless its kind of link shows that it is not a host. Throws an Error for a
/// copy of a bus, because its ports are elsewhere. Blocks: a few milliseconds for each host.
std::vector<Host> hosts_of(const BusInfo& bus);

/// Reads the command line of the host's program: the first 4 KiB, followed by "..." if it is
/// longer.
void read_command(Host& host);

/// The host that has the port `name`. If there is no such host, throws an Error that says what was
/// found instead.
Host host_by_name(const BusInfo& bus, const std::string& name);

/// The process that has the port `name`, even if it is not a host. Sets only `interfaces` (without
/// names and addresses), `supervisor` and `owner`. Throws an Error that says what was found
/// instead.
Host process_by_port(const BusInfo& bus, const std::string& name);

/// For commands that have started a program in a host: redirects their own standard input and
/// output. The program has the streams now. So a reader sees the end of the output when the program
/// closes it, not when this process ends.
void let_go_of_streams();

/// The output of `shmifctl ps`: a table with a line for each address.
std::string to_text(const std::vector<Host>& hosts);

/// The same and more as JSON, in ASCII, because a name may contain invalid UTF-8 or control
/// characters.
std::string to_json(const std::string& path, const std::vector<Host>& hosts);

}  // namespace shmif::tools
