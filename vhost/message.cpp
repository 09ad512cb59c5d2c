#include "vhost/message.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "base/descriptor_kind.hpp"

namespace shmif::vhost {
namespace {

constexpr std::size_t kHeaderBytes = sizeof(MessageHeader);

using base::DescriptorKind;
/// What may come with a message: memory of the machine, descriptors for kicks and calls, and a
/// channel for requests.
constexpr base::DescriptorWish kFrontEndWish{
    .kinds = DescriptorKind::memory | DescriptorKind::eventfd | DescriptorKind::pipe |
             DescriptorKind::unix_socket,
    .most = kMaxRegions,
    .name = "file in memory (memfd, tmpfs or hugetlbfs), eventfd, pipe or connected Unix socket"};

bool is_well_formed(const MessageHeader& header) noexcept {
  return (header.flags & MessageHeader::kVersionMask) == MessageHeader::kVersion &&
         (header.flags & MessageHeader::kReply) == 0 && header.payload_bytes <= kMaxPayloadBytes;
}

}  // namespace

MessageReader::Status MessageReader::receive(base::ForeignSocket& socket, std::byte* into,
                                             std::size_t bytes) {
  using From = base::ForeignSocket::Status;
  const auto got = socket.receive({into, bytes}, kFrontEndWish, message_.descriptors);
  switch (got.status) {
    case From::none: return Status::none;
    case From::closed: return Status::closed;
    case From::refused: return Status::refused;
    case From::data: break;
  }
  if (message_.descriptors.size() > kMaxRegions) return Status::malformed;  // after several reads
  arrived_ += got.bytes;
  return Status::whole;
}

MessageReader::Status MessageReader::read(base::ForeignSocket& socket) {
  if (whole_) {
    message_.descriptors.clear();
    arrived_ = 0;
    whole_ = false;
  }
  for (;;) {  // ends: each turn reads at least one byte, and a message is short
    if (arrived_ >= kHeaderBytes) {
      if (!is_well_formed(message_.header)) return Status::malformed;
      whole_ = arrived_ == kHeaderBytes + message_.header.payload_bytes;
      if (whole_) return Status::whole;
    }
    const bool in_header = arrived_ < kHeaderBytes;
    std::byte* const into = in_header ? reinterpret_cast<std::byte*>(&message_.header) + arrived_
                                      : message_.payload.data() + (arrived_ - kHeaderBytes);
    const std::size_t end = kHeaderBytes + (in_header ? 0 : message_.header.payload_bytes);
    if (const Status status = receive(socket, into, end - arrived_); status != Status::whole)
      return status;
  }
}

bool send_message(int socket, Request request, std::uint32_t flags,
                  std::span<const std::byte> payload, std::span<const int> descriptors) noexcept {
  MessageHeader header{.request = static_cast<std::uint32_t>(request),
                       .flags = MessageHeader::kVersion | flags,
                       .payload_bytes = static_cast<std::uint32_t>(payload.size())};
  // sendmsg only reads, but iovec has no const.
  std::array<iovec, 2> parts{
      {{&header, sizeof header}, {const_cast<std::byte*>(payload.data()), payload.size()}}};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxRegions * sizeof(int))> room{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (descriptors.size() > kMaxRegions) return false;
  if (!descriptors.empty()) {
    message.msg_control = room.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t n = 0;
  do {
    n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof header + payload.size());
}

}  // namespace shmif::vhost
