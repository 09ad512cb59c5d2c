#pragma once
// Texts for debug lines about a front-end.

#include <string>

#include "vhost/backend.hpp"
#include "vhost/message.hpp"

namespace shmif::vhost {

/// Describes what a message did that `backend` has accepted: "starts its send queue: 256 entries".
/// Empty for messages that only prepare such a step. Threads: as Backend. Blocks: never.
std::string told(const Message& message, Backend& backend);

}  // namespace shmif::vhost
