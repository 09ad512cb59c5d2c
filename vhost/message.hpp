#pragma once
// The messages of vhost-user. A front-end (QEMU, DPDK, a kernel in user mode) runs a virtual
// machine or is one. It tells a back-end over a Unix socket where the machine's memory and queues
// are. Source of the format: "Vhost-user Protocol" in the documentation of QEMU.
//
// A message is a header of 12 bytes, a payload, and descriptors that travel beside the first byte
// (SCM_RIGHTS). All of it is in the machine's byte order.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "base/foreign_socket.hpp"
#include "base/unique_fd.hpp"
#include "shmif/foreign/foreign.hpp"

namespace shmif::vhost {

/// The requests that this back-end knows.
enum class Request : std::uint32_t {
  get_features = 1,
  set_features = 2,
  set_owner = 3,
  reset_owner = 4,
  set_mem_table = 5,
  set_vring_num = 8,
  set_vring_addr = 9,
  set_vring_base = 10,
  get_vring_base = 11,
  set_vring_kick = 12,
  set_vring_call = 13,
  set_vring_err = 14,
  get_protocol_features = 15,
  set_protocol_features = 16,
  get_queue_num = 17,
  set_vring_enable = 18,
  set_backend_channel = 21,  ///< where the back-end could send its own requests
};

inline constexpr std::size_t kMaxRegions = 8;         ///< of memory, and descriptors in one message
inline constexpr std::size_t kMaxPayloadBytes = 512;  ///< the longest known payload has 264

struct MessageHeader {
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::uint32_t kVersionMask = 3;
  static constexpr std::uint32_t kReply = 4;
  static constexpr std::uint32_t kNeedReply = 8;  ///< only with kProtocolReplyAck

  std::uint32_t request = 0;
  std::uint32_t flags = 0;
  std::uint32_t payload_bytes = 0;
};
static_assert(sizeof(MessageHeader) == 12);

/// The payload of most requests about a queue.
struct VringState {
  std::uint32_t index = 0;
  std::uint32_t value = 0;
};
/// Where the parts of a queue are, as addresses of the front-end.
struct VringAddresses {
  std::uint32_t index = 0;
  std::uint32_t flags = 0;
  std::uint64_t descriptors = 0;
  std::uint64_t used = 0;
  std::uint64_t available = 0;
  std::uint64_t log = 0;
};
/// A part of the machine's memory. Its descriptor travels beside the message.
struct MemoryRegion {
  std::uint64_t guest_address = 0;  ///< address that the machine's drivers use
  std::uint64_t bytes = 0;
  std::uint64_t user_address = 0;  ///< address that the messages about queues use
  std::uint64_t file_offset = 0;
};
struct MemoryTable {
  std::uint32_t count = 0;
  std::uint32_t unused = 0;
  std::array<MemoryRegion, kMaxRegions> regions{};
};
static_assert(sizeof(VringState) == 8 && sizeof(VringAddresses) == 40);
static_assert(sizeof(MemoryRegion) == 32 && sizeof(MemoryTable) == 264);

/// A received message. It owns its descriptors.
struct Message {
  MessageHeader header;
  std::array<std::byte, kMaxPayloadBytes> payload{};
  std::vector<UniqueFd> descriptors;

  Request request() const noexcept { return static_cast<Request>(header.request); }
  bool needs_reply() const noexcept { return (header.flags & MessageHeader::kNeedReply) != 0; }
  std::span<const std::byte> bytes() const noexcept {
    return std::span(payload).first(header.payload_bytes);
  }
  /// Result: empty if the payload does not have the size of T.
  template <class T>
  std::optional<T> as() const noexcept {
    if (header.payload_bytes != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, payload.data(), sizeof value);
    return value;
  }
};

/// Assembles messages from the bytes that arrive at a socket. Threads: one at a time. Blocks: as
/// base::ForeignSocket::receive().
class MessageReader {
 public:
  /// Reads at most to the end of one message. `whole`: message() returns it. `malformed`: a wrong
  /// version or flag, or too long.
  MessageStatus read(base::ForeignSocket& socket);
  /// The message. It is valid after `whole`, until the next read().
  Message& message() noexcept { return message_; }

 private:
  MessageStatus receive(base::ForeignSocket& socket, std::byte* into, std::size_t bytes);

  Message message_;
  std::size_t arrived_ = 0;  ///< bytes of header and payload
  bool whole_ = false;
};

/// Sends a message. Result: whether the socket took all of it. Blocks: never; a full socket takes
/// no byte, and the result is false.
bool send_message(int socket, Request request, std::uint32_t flags,
                  std::span<const std::byte> payload,
                  std::span<const int> descriptors = {}) noexcept;

}  // namespace shmif::vhost
