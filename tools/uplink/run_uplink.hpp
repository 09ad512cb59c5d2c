#pragma once
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

#include "tools/common/json.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::tools {

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
