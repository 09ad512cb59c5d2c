#include "memif/message.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "base/received_descriptors.hpp"

namespace shmif::memif {

std::array<std::byte, kMessageBytes> make_message(MessageType type) noexcept {
  std::array<std::byte, kMessageBytes> bytes{};
  std::memcpy(bytes.data(), &type, sizeof type);
  return bytes;
}

ReadStatus read_message(int socket, Message& into) {
  into.descriptors.clear();
  iovec part{into.bytes.data(), into.bytes.size()};
  constexpr std::size_t kRoom = 4;  // so that one too many is told from many too many
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kRoom * sizeof(int))> room;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = room.data();
  header.msg_controllen = room.size();
  ssize_t n = 0;
  do {
    n = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN ? ReadStatus::none : ReadStatus::closed;
  base::take_descriptors(header, into.descriptors);
  if (n == 0) return ReadStatus::closed;
  const bool whole = n == static_cast<ssize_t>(kMessageBytes) &&
                     (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
                     into.descriptors.size() <= 1;
  return whole ? ReadStatus::whole : ReadStatus::malformed;
}

bool send_message(int socket, const std::array<std::byte, kMessageBytes>& bytes,
                  int descriptor) noexcept {
  // sendmsg only reads, but iovec has no const.
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> room{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = room.data();
    message.msg_controllen = room.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  ssize_t n = 0;
  do {
    n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(bytes.size());
}

}  // namespace shmif::memif
