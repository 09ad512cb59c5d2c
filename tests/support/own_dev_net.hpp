#pragma once
// A /dev/net of a test's own: who may open the TUN device there is the test's to say.

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <optional>

namespace shmif::test {

/// Gives the calling process, which is root's, a /dev/net of its own: with a tun node of that mode,
/// or without one. Result: false where that is forbidden.
inline bool own_dev_net(std::optional<mode_t> tun_mode) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=0755") != 0) {
    return false;
  }
  if (!tun_mode) return true;
  return ::mknod("/dev/net/tun", S_IFCHR, ::makedev(10, 200)) == 0 &&
         ::chmod("/dev/net/tun", *tun_mode) == 0;
}

/// Makes the calling process, which is root's, one that an ordinary user has started.
inline bool become_ordinary() {
  constexpr unsigned kNobody = 65534;
  return ::setresgid(kNobody, kNobody, kNobody) == 0 &&
         ::setresuid(kNobody, kNobody, kNobody) == 0 && ::prctl(PR_SET_DUMPABLE, 1) == 0;
}

}  // namespace shmif::test
