#pragma once
// Our end of a guest's interface, as a link.

#include <memory>

#include "bus/result.hpp"
#include "shmif/link.hpp"
#include "tap/guest.hpp"

namespace shmif::tap {

/// Takes the end's descriptor over. `offload`: frames come and go with a virtio-net header; as
/// GuestInterface::offload was. Threads: any. Blocks: never. Errors: the system's.
Result<std::unique_ptr<AnyLink>> adopt(GuestLink& link, bool offload);

}  // namespace shmif::tap
