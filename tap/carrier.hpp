#pragma once
// The carrier (the cable) of a guest's or a TAP device's interface, as the host behind it sees it.

#include <system_error>

#include "bus/info.hpp"

namespace shmif::tap {

/// Gives the interface behind our end carrier, or takes the carrier away. `descriptor`: of the
/// TapLink (`kind` tap), or of the PacketLink on our end of a veth pair (`kind` veth). For veth,
/// our end goes up or down. Threads: any. Blocks: never. Errors: not_supported for another kind,
/// an errno.
[[nodiscard]] std::error_code set_carrier(int descriptor, LinkKind kind, bool on) noexcept;

}  // namespace shmif::tap
