#pragma once
// In which network namespace a device or a socket is. Internal to tap/.

#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/unique_fd.hpp"

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)  // Linux 5.2
#endif

namespace shmif::tap {

/// The namespace in which the TAP device is now. Empty: errno says why; EBADFD: it was deleted.
inline UniqueFd space_of_device(int tun) noexcept {
  return UniqueFd(::ioctl(tun, TUNGETDEVNETNS));
}

/// That of a socket. Empty: errno says why.
inline UniqueFd space_of_socket(int socket) noexcept {
  return UniqueFd(::ioctl(socket, SIOCGSKNS));
}

inline bool is_same_space(const UniqueFd& one, const UniqueFd& other) noexcept {
  struct stat a{};
  struct stat b{};
  return ::fstat(one.get(), &a) == 0 && ::fstat(other.get(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

}  // namespace shmif::tap
