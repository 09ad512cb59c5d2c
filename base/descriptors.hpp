#pragma once
// Descriptors that a child process inherited, and those that another program has sent.

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>

namespace shmif::base {

/// Closes every descriptor from number `first` on, except those in `kept`: at most eight; negative
/// numbers there are ignored. Threads: safe, also in the child of a process with threads
/// (async-signal-safe). Blocks: as close(2) does for each descriptor.
void close_all_but(std::initializer_list<int> kept, int first) noexcept;

/// Each kind is one bit, so that "|" combines them into sets.
enum class DescriptorKind : std::uint8_t {
  other = 0,
  memory = 1,  ///< a memfd, or a file in tmpfs or hugetlbfs
  eventfd = 2,
  pipe = 4,
  unix_socket = 8,
  pagemap = 16,  ///< /proc/PID/pagemap
  network = 32,  ///< a TAP device, or a packet or netlink socket
};

constexpr unsigned operator|(DescriptorKind a, DescriptorKind b) noexcept {
  return static_cast<unsigned>(a) | static_cast<unsigned>(b);
}
constexpr unsigned operator|(unsigned a, DescriptorKind b) noexcept {
  return a | static_cast<unsigned>(b);
}

/// Asks the kernel only for the name and the seals: any other call may wait without end in a file
/// system that the other program runs itself (FUSE). So the result for a `pagemap` or `network`
/// descriptor is `other`. Threads: safe. Blocks: never.
DescriptorKind kind_of_descriptor(int descriptor) noexcept;

/// Whether the descriptor is of one of these kinds. Blocks: for `pagemap` and `network`, until the
/// file system of the descriptor has answered.
bool is_of_kinds(int descriptor, unsigned kinds) noexcept;

/// Room for the descriptors beside one message on a Unix socket (SCM_RIGHTS), `most` of them.
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
