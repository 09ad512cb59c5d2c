#pragma once
// Our end of a guest's interface, as a link.

#include <memory>

#include "base/result.hpp"
#include "shmif/link.hpp"
#include "tap/guest.hpp"

namespace shmif::tap {

/// Takes over the end's descriptor. `offload`: frames come and go with a virtio-net header; the
/// value of GuestInterface::offload. Threads: any. Blocks: never. Errors: the system's.
Result<std::unique_ptr<AnyLink>> adopt(GuestLink& link, bool offload);

}  // namespace shmif::tap
