#include "base/descriptors.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

namespace shmif::base {
namespace {

using LinkText = std::array<char, 256>;

/// The kernel's name for the file of a descriptor. Paths begin with a slash; other names do not.
std::string_view link_text(int descriptor, LinkText& room) noexcept {
  std::array<char, 32> path{"/proc/self/fd/"};
  char* const number = path.data() + std::strlen(path.data());
  *std::to_chars(number, path.data() + path.size() - 1, descriptor).ptr = '\0';
  const ssize_t length = ::readlink(path.data(), room.data(), room.size());
  return {room.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

int domain_of(int socket) noexcept {
  int domain = AF_UNSPEC;
  socklen_t size = sizeof domain;
  return ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 ? domain : AF_UNSPEC;
}

}  // namespace

void close_all_but(std::initializer_list<int> kept, int first) noexcept {
  std::array<int, 8> room{};
  const std::size_t count = std::min(kept.size(), room.size());
  std::copy_n(kept.begin(), count, room.begin());
  const std::span<int> sorted = std::span(room).first(count);
  std::ranges::sort(sorted);
  for (const int fd : sorted) {
    if (fd < first) continue;
    if (fd > first) ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(fd - 1), 0);
    first = fd + 1;
  }
  ::close_range(static_cast<unsigned>(first), ~0U, 0);
}

DescriptorKind kind_of_descriptor(int descriptor) noexcept {
  if (::fcntl(descriptor, F_GET_SEALS) >= 0) return DescriptorKind::memory;
  LinkText room{};
  const std::string_view text = link_text(descriptor, room);
  if (text == "anon_inode:[eventfd]") return DescriptorKind::eventfd;
  if (text.starts_with("pipe:[")) return DescriptorKind::pipe;
  if (text.starts_with("socket:[") && domain_of(descriptor) == AF_UNIX)
    return DescriptorKind::unix_socket;
  return DescriptorKind::other;
}

bool is_of_kinds(int descriptor, unsigned kinds) noexcept {
  const auto wants = [&](DescriptorKind kind) {
    return (kinds & static_cast<unsigned>(kind)) != 0;
  };
  const DescriptorKind kind = kind_of_descriptor(descriptor);
  if (kind != DescriptorKind::other) return wants(kind);
  LinkText room{};
  const std::string_view text = link_text(descriptor, room);
  if (text.starts_with("socket:[")) {
    const int domain = domain_of(descriptor);
    return wants(DescriptorKind::network) && (domain == AF_PACKET || domain == AF_NETLINK);
  }
  struct statfs filesystem{};
  if (wants(DescriptorKind::pagemap) && text.ends_with("/pagemap"))
    return ::fstatfs(descriptor, &filesystem) == 0 && filesystem.f_type == PROC_SUPER_MAGIC;
  const dev_t kTun = makedev(10, 200);
  struct stat status{};
  return wants(DescriptorKind::network) && ::fstat(descriptor, &status) == 0 &&
         S_ISCHR(status.st_mode) && status.st_rdev == kTun;
}

}  // namespace shmif::base
