#pragma once
// Descriptors that arrive beside a message of a Unix socket (SCM_RIGHTS).

#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::base {

/// Adds a descriptor of another program. One that is no file in memory, eventfd, pipe or Unix
/// socket is closed by a child process, because its file system (FUSE) may let even close() wait
/// without end; a descriptor of /dev/null takes its place.
void take_descriptor(int descriptor, std::vector<UniqueFd>& into);

/// Moves the descriptors that recvmsg() returned in `control` to the end of `into`, so that they
/// are closed in any case. Threads: safe. Blocks: for 100 ms at most.
inline void take_descriptors(msghdr& control, std::vector<UniqueFd>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&control); part != nullptr;
       part = CMSG_NXTHDR(&control, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    into.reserve(into.size() + count);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      take_descriptor(fd, into);
    }
  }
}

}  // namespace shmif::base
