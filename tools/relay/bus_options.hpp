#pragma once
// --create, --size, --mtu, --flow and --lock-memory, for every command that attaches to a bus (tap,
// exec, bridge, gateway).

#include <chrono>
#include <optional>
#include <string>

#include "shmif/bus.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

/// How long a command waits if a port's name is taken. If a host is killed by SIGKILL and started
/// again at once, the kernel may still be cleaning up the old process, which has the name.
inline constexpr std::chrono::milliseconds kNamePatience{2000};

/// Adds these options to a command's description.
void add_bus_options(Options& options);

/// Adds only --lock-memory, for a command that does not make a bus.
void add_lock_option(Options& options);

/// Adds --no-offload, for commands whose devices can leave work to the receiver. `also`: what else
/// the option does to this command's links.
void add_offload_option(Options& options, const std::string& also = {});

/// The values of these options.
struct BusWish {
  bool create = false;
  bool ring_bytes_asked = false;
  bool mtu_asked = false;
  bool flow_asked = false;
  bool lock_memory = false;  ///< for PortOptions::lock_memory
  BusOptions options;
};

/// Throws UsageError when a size, an MTU or a flow is given without --create.
BusWish bus_wish(const Arguments& args);

/// The value of --flow; empty if it is not given. Throws UsageError for an unknown word.
std::optional<Flow> flow_option(const Arguments& args);

/// The value of `option`, which is a name; empty if it is not given. Throws UsageError when the
/// name is empty.
std::optional<std::string> name_option(const Arguments& args, const std::string& option);

/// Opens the bus at `path`. If it is missing and --create is given, makes it first. Errors: those
/// of Bus::open for a path that is not a bus; a missing bus without --create; another geometry than
/// asked for. Result: the bus. Attach to it with Port::attach(bus), because the path may name
/// another file by then.
Result<Bus> provide_bus(const std::string& path, const BusWish& wish);

}  // namespace shmif::tools
