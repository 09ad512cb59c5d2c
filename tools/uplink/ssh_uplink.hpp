#pragma once
// An uplink that ssh carries: frames as records in the standard input and output of a program on
// the other machine. It needs no privileges on either of them.

#include "tools/common/json.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::tools {

/// The near end: starts ssh, and starts it again when the line is cut, until a signal comes or the
/// bus is gone. If the first try fails, so does the command. Result: the exit code. Throws if it
/// cannot begin. Blocks: until the end.
int run_ssh_uplink(const UplinkWish& wish, const JsonOutput& json);

/// The far end: carries frames between the bus and standard input and output until they are closed,
/// a signal comes, or the bus is gone. Writes its counts to standard error. Result: the exit code.
/// Throws if it cannot begin. Blocks: until the end.
int run_stdio_uplink(const UplinkWish& wish);

}  // namespace shmif::tools
