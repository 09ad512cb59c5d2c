#include "memif/message.hpp"

#include <span>

#include "base/descriptors.hpp"

namespace shmif::memif {

std::array<std::byte, kMessageBytes> make_message(MessageType type) noexcept {
  std::array<std::byte, kMessageBytes> bytes{};
  std::memcpy(bytes.data(), &type, sizeof type);
  return bytes;
}

MessageStatus read_message(base::ForeignSocket& socket, Message& into) {
  using Kind = base::DescriptorKind;
  constexpr base::DescriptorWish kWish{
      .kinds = Kind::memory | Kind::eventfd,
      .most = 1,
      .name = "file in memory (memfd, tmpfs or hugetlbfs) or eventfd"};
  into.descriptors.clear();
  const auto got = socket.receive(into.bytes, kWish, into.descriptors);
  const MessageStatus status = status_of(got.status);
  if (status != MessageStatus::whole) return status;
  return got.bytes == kMessageBytes && !got.was_cut ? status : MessageStatus::malformed;
}

bool send_message(int socket, const std::array<std::byte, kMessageBytes>& bytes,
                  int descriptor) noexcept {
  // sendmsg only reads, but iovec has no const.
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  return send_whole(socket, {&part, 1}, {&descriptor, descriptor >= 0 ? 1U : 0U});
}

}  // namespace shmif::memif
