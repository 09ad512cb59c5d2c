#pragma once
// The MAC address of a host for which no address was given. It follows from the bus and from the
// port's name. So a host that is started again has the same address, and its neighbours and its
// DHCP server know it.

#include <string_view>

#include "shmif/bus.hpp"
#include "shmif/mac.hpp"
#include "shmif/port.hpp"

namespace shmif::tap {

/// The address b2:a0:xx:xx:xx:xx for `name` on this bus. The time of its creation, its inode and
/// the boot of this machine identify a bus. So copies of a bus file, buses that are made anew, and
/// buses of cloned machines give other addresses. Another `attempt` gives another address.
/// Threads: safe. Blocks: never.
MacAddress host_mac(const BusInfo& bus, std::string_view name, unsigned attempt = 0);

/// Gives the attached port, which is not yet up, the address for its name. If another port has that
/// address, the port gets the address of the next attempt. `bus`: where the port is attached.
/// Threads: one at a time. Blocks: never.
void take_host_mac(Port& port, const BusInfo& bus);

/// The address for a device called `device` that a bridge makes beside this bus. No port on the bus
/// has it. Random if the format of the bus does not tell which ports there are.
MacAddress device_mac(const BusInfo& bus, std::string_view device);

}  // namespace shmif::tap
