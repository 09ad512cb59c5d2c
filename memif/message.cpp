#include "memif/message.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "base/descriptor_kind.hpp"

namespace shmif::memif {

std::array<std::byte, kMessageBytes> make_message(MessageType type) noexcept {
  std::array<std::byte, kMessageBytes> bytes{};
  std::memcpy(bytes.data(), &type, sizeof type);
  return bytes;
}

ReadStatus read_message(base::ForeignSocket& socket, Message& into) {
  using From = base::ForeignSocket::Status;
  using Kind = base::DescriptorKind;
  constexpr base::DescriptorWish kWish{
      .kinds = Kind::memory | Kind::eventfd,
      .most = 1,
      .name = "file in memory (memfd, tmpfs or hugetlbfs) or eventfd"};
  into.descriptors.clear();
  const auto got = socket.receive(into.bytes, kWish, into.descriptors);
  switch (got.status) {
    case From::none: return ReadStatus::none;
    case From::closed: return ReadStatus::closed;
    case From::refused: return ReadStatus::refused;
    case From::data: break;
  }
  return got.bytes == kMessageBytes && !got.was_cut ? ReadStatus::whole : ReadStatus::malformed;
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
