#pragma once
// The carrier of a guest's or a TAP device's interface, as seen by the host behind it: its cable.

#include <system_error>

#include "bus/info.hpp"

namespace shmif::tap {

/// Gives the interface behind our end carrier, or takes it away. `descriptor`: of the TapLink
/// (`kind` tap), or of the PacketLink on our end of a veth pair (`kind` veth), which goes down
/// then. Threads: any. Blocks: never. Errors: not_supported for another kind, the system's.
[[nodiscard]] std::error_code set_carrier(int descriptor, LinkKind kind, bool on) noexcept;

}  // namespace shmif::tap
