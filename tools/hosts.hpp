#pragma once
// The hosts of a bus that this user can see: which process holds a port, and what runs behind it.

#include <sys/types.h>

#include <cerrno>
#include <string>
#include <vector>

#include "bus/unique_fd.hpp"
#include "shmif/bus.hpp"

namespace shmif::tools {

/// A port of a host, and the interface behind it.
struct HostInterface {
  PortInfo port;
  std::string name;  ///< in the host; empty: none in there has the MAC address of the port
  std::vector<std::string> addresses;
};

/// A host that `exec` runs. Its processes are held by pidfds: the numbers mean these and no later
/// ones.
struct Host {
  std::vector<HostInterface> interfaces;  ///< in the order of their slots; at least one
  pid_t supervisor = 0;                   ///< of `shmifctl exec`, as the bus says
  UniqueFd supervisor_file;
  pid_t init = 0;
  UniqueFd init_file;
  pid_t pid = 0;                     ///< the program's; inside the host, as init is
  std::vector<std::string> command;  ///< what read_command() has read
  std::string unknown;               ///< why the processes cannot be told; empty: they are known

  int unknown_error = ESRCH;  ///< the same as an errno

  const std::string& name() const noexcept { return interfaces.front().port.name; }
};

/// The hosts on a bus, in the order of their slots. A live port whose process is seen and is no
/// host is left out; one whose process cannot be seen is a host with `unknown`, unless what it is
/// says that it is none. Throws an Error
/// for a copy of a bus, whose ports are elsewhere. Blocks: some milliseconds for each host.
std::vector<Host> hosts_of(const BusInfo& bus);

/// Reads the command line of the host's program: its first 4 KiB, followed by "..." if there is
/// more.
void read_command(Host& host);

/// The host that has the port `name`. Throws an Error that says what is there instead.
Host host_by_name(const BusInfo& bus, const std::string& name);

/// For who has started a program in a host: points standard input and output elsewhere. The program
/// has the streams now, and who reads its output sees the end when it closes it, not when we end.
void let_go_of_streams();

}  // namespace shmif::tools
