#pragma once
// Descriptors beside a message on a Unix socket (SCM_RIGHTS): how they are put there, and found.

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <span>

namespace shmif::base {

/// Room for the descriptors beside one message, `most` of them.
template <std::size_t most>
struct RightsRoom {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(most * sizeof(int))> bytes{};
};

/// Puts `descriptors` beside `message`; without any, the message stays as it is. `room` must live
/// until the message is sent. Threads: any. Blocks: never. Result: whether the room is large
/// enough.
template <std::size_t most>
bool put_rights(msghdr& message, RightsRoom<most>& room,
                std::span<const int> descriptors) noexcept {
  if (descriptors.size() > most) return false;
  if (descriptors.empty()) return true;
  message.msg_control = room.bytes.data();
  message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* const rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  return true;
}

/// Lets a message that is to be received bring up to `most` descriptors. Threads: any. Blocks:
/// never.
template <std::size_t most>
void allow_rights(msghdr& message, RightsRoom<most>& room) noexcept {
  message.msg_control = room.bytes.data();
  message.msg_controllen = room.bytes.size();
}

/// Calls `take` with each descriptor that came with a received message, in their order. They belong
/// to the caller, who closes them. Threads: any. Blocks: as `take` does.
template <class Take>
void for_each_right(msghdr& message, Take take) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(c) + i * sizeof descriptor, sizeof descriptor);
      take(descriptor);
    }
  }
}

}  // namespace shmif::base
