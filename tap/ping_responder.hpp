#pragma once
// The answer of a bridged port to `shmifctl ping`, given by the bridge without its guest's help.

#include "shmif/mac.hpp"
#include "tap/bridge.hpp"

namespace shmif::tap {

/// Makes an interceptor, for the direction from the bus to the device, that answers ping requests
/// (shmif/ping.hpp) to `self` or to everybody. A request to `self` is consumed; one to everybody is
/// passed on too, because there may be others behind the device.
/// Threads: safe. Blocks: never.
Interceptor ping_responder(MacAddress self);

}  // namespace shmif::tap
