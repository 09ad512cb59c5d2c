#pragma once
// What debug lines tell of a front-end.

#include <string>

#include "vhost/backend.hpp"
#include "vhost/message.hpp"

namespace shmif::vhost {

/// What a message that `backend` has accepted did, as "starts its send queue: 256 entries". Empty
/// for messages that are only steps towards it. Threads: as Backend. Blocks: never.
std::string told(const Message& message, Backend& backend);

}  // namespace shmif::vhost
