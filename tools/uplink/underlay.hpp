#pragma once
// The network between the machines, as the kernel's routes describe it.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "tap/cidr.hpp"

namespace shmif::tools {

/// How packets reach another machine.
struct UnderlayPath {
  tap::IpAddress remote = {};
  tap::IpAddress local = {};   ///< source address that the kernel would choose
  std::uint32_t mtu = 0;       ///< of the way there, as far as the kernel knows
  std::string interface = {};  ///< that has the local address; empty if it is not found
};

/// Asks the kernel. Sends nothing. Threads: any. Blocks: for the kernel's answer. Errors: an errno,
/// such as ENETUNREACH; the message names the address and what to do.
Result<UnderlayPath> path_to(const tap::IpAddress& remote);

/// Whether an interface of this machine has the address. Threads: any. Blocks: for the kernel's
/// answer.
bool is_own_address(const tap::IpAddress& address);

/// Why VXLAN cannot carry the frames of a bus with this MTU at all, with what to do; empty if it
/// can.
std::string too_wide(std::uint32_t bus_mtu, bool is_v6);

/// A text for each interface that is too narrow for the frames of a bus with this MTU, which become
/// longer by the headers of VXLAN. Says what to set. Empty if all frames fit.
std::vector<std::string> too_narrow(const std::vector<UnderlayPath>& paths, std::uint32_t bus_mtu);

}  // namespace shmif::tools
