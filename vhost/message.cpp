#include "vhost/message.hpp"

#include <array>

#include "base/descriptors.hpp"

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

MessageStatus MessageReader::receive(base::ForeignSocket& socket, std::byte* into,
                                     std::size_t bytes) {
  const auto got = socket.receive({into, bytes}, kFrontEndWish, message_.descriptors);
  const MessageStatus status = status_of(got.status);
  if (status != MessageStatus::whole) return status;
  if (message_.descriptors.size() > kMaxRegions)
    return MessageStatus::malformed;  // after several reads
  arrived_ += got.bytes;
  return status;
}

MessageStatus MessageReader::read(base::ForeignSocket& socket) {
  if (whole_) {
    message_.descriptors.clear();
    arrived_ = 0;
    whole_ = false;
  }
  for (;;) {  // ends: each turn reads at least one byte, and a message is short
    if (arrived_ >= kHeaderBytes) {
      if (!is_well_formed(message_.header)) return MessageStatus::malformed;
      whole_ = arrived_ == kHeaderBytes + message_.header.payload_bytes;
      if (whole_) return MessageStatus::whole;
    }
    const bool in_header = arrived_ < kHeaderBytes;
    std::byte* const into = in_header ? reinterpret_cast<std::byte*>(&message_.header) + arrived_
                                      : message_.payload.data() + (arrived_ - kHeaderBytes);
    const std::size_t end = kHeaderBytes + (in_header ? 0 : message_.header.payload_bytes);
    if (const MessageStatus status = receive(socket, into, end - arrived_);
        status != MessageStatus::whole)
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
  return descriptors.size() <= kMaxRegions && send_whole(socket, parts, descriptors);
}

}  // namespace shmif::vhost
