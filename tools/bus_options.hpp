#pragma once
// --create, --size and --mtu, for every command that attaches to a bus (tap, exec, bridge).

#include <chrono>
#include <string>

#include "shmif/bus.hpp"
#include "tools/options.hpp"

namespace shmif::tools {

/// How long a command waits for a port's name that is taken: whoever ends a host by SIGKILL and
/// starts it again at once meets the name of a process that the kernel is still burying.
inline constexpr std::chrono::milliseconds kNamePatience{2000};

/// Adds the three options to a command's description.
void add_bus_options(Options& options);

/// Adds --no-offload, for commands whose devices could leave work to others.
void add_offload_option(Options& options);

/// What the three options ask for.
struct BusWish {
  bool create = false;
  bool ring_bytes_asked = false;
  bool mtu_asked = false;
  BusOptions options;
};

/// Throws UsageError when a size or an MTU is given without --create.
BusWish bus_wish(const Arguments& args);

/// Makes the bus at `path` when that is wished and it is missing. Errors: what Bus::open says of a
/// path that is no bus, a missing bus without --create, another geometry than the one asked for.
/// Result: the bus, to be looked at and attached to (Port::attach(bus)): the path may name another
/// file by then.
Result<Bus> provide_bus(const std::string& path, const BusWish& wish);

}  // namespace shmif::tools
