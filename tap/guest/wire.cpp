#include "tap/guest/wire.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <span>
#include <utility>
#include <vector>

#include "base/descriptors.hpp"

namespace shmif::tap {

bool say(int socket, const GuestMessage& message, int descriptor, IfBlocked if_blocked) noexcept {
  GuestMessage copy = message;
  iovec part{&copy, sizeof copy};
  base::RightsRoom<1> room;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (descriptor >= 0) base::put_rights(header, room, {&descriptor, 1});
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &header,
                     MSG_NOSIGNAL | (if_blocked == IfBlocked::wait ? 0 : MSG_DONTWAIT));
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(sizeof copy);
}

Heard hear(int socket, GuestMessage& message, IfBlocked if_blocked) noexcept {
  // If the other side left messages of ours unread, the kernel reports that once, as ECONNRESET,
  // before it delivers what the other side had sent.
  ssize_t got = 0;
  bool was_reset = false;
  do {
    got =
        ::recv(socket, &message, sizeof message, if_blocked == IfBlocked::wait ? 0 : MSG_DONTWAIT);
  } while (got < 0 && (errno == EINTR || (errno == ECONNRESET && !std::exchange(was_reset, true))));
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Heard::nothing;
  if (got != static_cast<ssize_t>(sizeof message)) return Heard::end;
  message.text.back() = '\0';
  return Heard::message;
}

Heard hear(base::ForeignSocket& socket, GuestMessage& message, UniqueFd* descriptor) {
  const base::DescriptorWish wish{.kinds = static_cast<unsigned>(base::DescriptorKind::network),
                                  .most = descriptor == nullptr ? std::size_t{0} : std::size_t{1},
                                  .name = "TAP device, packet socket or netlink socket"};
  std::vector<UniqueFd> descriptors;
  const auto got =
      socket.receive(std::as_writable_bytes(std::span(&message, 1)), wish, descriptors);
  if (got.status == base::ForeignSocket::Status::none) return Heard::nothing;
  if (got.status != base::ForeignSocket::Status::data || got.bytes != sizeof message || got.was_cut)
    return Heard::end;
  if (descriptor != nullptr && !descriptors.empty()) *descriptor = std::move(descriptors.front());
  message.text.back() = '\0';
  return Heard::message;
}

Heard hear_own_init(int socket, GuestMessage& message, UniqueFd& descriptor) noexcept {
  iovec part{&message, sizeof message};
  base::RightsRoom<1> room;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  base::allow_rights(header, room);
  ssize_t got = 0;
  bool was_reset = false;  // as above
  do {
    got = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && (errno == EINTR || (errno == ECONNRESET && !std::exchange(was_reset, true))));
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Heard::nothing;
  if (got >= 0) base::for_each_right(header, [&](int fd) { descriptor.reset(fd); });
  if (got != static_cast<ssize_t>(sizeof message)) return Heard::end;
  message.text.back() = '\0';
  return Heard::message;
}

}  // namespace shmif::tap
