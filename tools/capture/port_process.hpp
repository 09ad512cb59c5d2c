#pragma once
// Which program has a port, for what a capture says about its sender.

#include <cstdint>
#include <string>

#include "bus/info.hpp"

namespace shmif::tools {

/// "process 4242: shmifctl exec /dev/shm/bus0 -- ping 198.18.0.1": the process that has the port,
/// and its command line, of which at most 300 characters are kept. Empty if the port has left, or
/// if its process is not proven to be on this machine (bus/repair/port_owners.hpp). Threads: any.
/// Blocks: while the files of that process are read.
std::string process_text(const BusInfo& bus, unsigned slot, std::uint32_t incarnation);

}  // namespace shmif::tools
