#include "shmif/foreign/message_socket.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "base/descriptors.hpp"

namespace shmif {

bool send_whole(int socket, std::span<iovec> parts, std::span<const int> descriptors) noexcept {
  base::RightsRoom<base::kMaxDescriptors> room;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (!base::put_rights(message, room, descriptors)) return false;
  std::size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  ssize_t n = 0;
  do {
    n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(bytes);
}

}  // namespace shmif
