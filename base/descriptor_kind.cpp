#include "base/descriptor_kind.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace shmif::base {

DescriptorKind kind_of_descriptor(int descriptor) noexcept {
  std::array<char, 32> path{"/proc/self/fd/"};
  char* const number = path.data() + std::strlen(path.data());
  *std::to_chars(number, path.data() + path.size() - 1, descriptor).ptr = '\0';
  std::array<char, 64> name{};
  const ssize_t length = ::readlink(path.data(), name.data(), name.size());
  const std::string_view text(name.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  // Names of files begin with a slash.
  if (text == "anon_inode:[eventfd]") return DescriptorKind::eventfd;
  if (text.starts_with("pipe:[")) return DescriptorKind::pipe;
  int domain = AF_UNSPEC;
  socklen_t size = sizeof domain;
  const bool is_socket = text.starts_with("socket:[");
  if (is_socket && ::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
      domain == AF_UNIX)
    return DescriptorKind::unix_socket;
  return DescriptorKind::other;
}

}  // namespace shmif::base
