#pragma once
// The server's side of a memif connection: the state of the interface after the client's messages
// so far. It carries no frames; memif/memif_link.hpp does.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/foreign_socket.hpp"
#include "base/unique_fd.hpp"
#include "memif/ring.hpp"
#include "shmif/foreign/foreign.hpp"

namespace shmif::memif {

// The messages of memif 2.0: a client (DPDK's net_memif, VPP, libmemif) has memory with rings and
// buffers, and tells a server over a Unix socket where they are. Sources of the format: the pages
// "Memif Poll Mode Driver" of DPDK and "Shared Memory Packet Interface (memif) Library" of VPP, and
// the structures that both projects publish.
//
// The socket keeps the boundaries of messages (SOCK_SEQPACKET). Each message has 128 bytes: its
// type, its fields without gaps, and zeros. Some messages bring one descriptor (SCM_RIGHTS). All
// numbers are in the machine's byte order. The server sends HELLO. Then the client sends INIT,
// ADD_REGION and ADD_RING, and the server answers each with ACK. Then the client sends CONNECT, and
// the server answers with CONNECTED. From then on there are frames. DISCONNECT says why a side
// leaves.

enum class MessageType : std::uint16_t {
  none = 0,
  ack = 1,
  hello = 2,
  init = 3,
  add_region = 4,
  add_ring = 5,
  connect = 6,
  connected = 7,
  disconnect = 8,
};

inline constexpr std::size_t kMessageBytes = 128;
inline constexpr std::size_t kNameBytes = 32;
inline constexpr std::uint16_t kVersion = 0x0200;
inline constexpr std::uint8_t kEthernet = 0;  ///< the mode of an interface
/// The limits of the server. One ring for each direction serves one port of a bus.
inline constexpr std::uint16_t kMaxRegions = 64;
inline constexpr std::uint16_t kMaxRingIndex = 0;
inline constexpr std::uint8_t kMaxRingSizeLog2 = 14;

using Name = std::array<char, kNameBytes>;

/// The fields of messages, as they lie after the type.
#pragma pack(push, 1)
struct Hello {
  Name name{};
  std::uint16_t min_version = kVersion, max_version = kVersion;
  std::uint16_t max_region = kMaxRegions - 1;   ///< the highest number of a region
  std::uint16_t max_to_client = kMaxRingIndex;  ///< the highest number of a ring
  std::uint16_t max_from_client = kMaxRingIndex;
  std::uint8_t max_size_log2 = kMaxRingSizeLog2;
};
struct Init {
  std::uint16_t version = kVersion;
  std::uint32_t id = 0;  ///< number of the interface, among those of one socket
  std::uint8_t mode = kEthernet;
  std::array<char, 24> secret{};
  Name name{};
};
struct AddRegion {
  std::uint16_t index = 0;
  std::uint64_t bytes = 0;
};
struct AddRing {
  static constexpr std::uint16_t kFromClient = 1;  // flags

  std::uint16_t flags = 0;
  std::uint16_t index = 0;
  std::uint16_t region = 0;
  std::uint32_t offset = 0;  ///< of the ring in its region
  std::uint8_t size_log2 = 0;
  std::uint16_t private_bytes = 0;
};
struct Disconnect {
  std::uint32_t code = 0;
  std::array<char, 96> reason{};
};
#pragma pack(pop)
static_assert(sizeof(Hello) == 43 && sizeof(Init) == 63 && sizeof(AddRegion) == 10);
static_assert(sizeof(AddRing) == 13 && sizeof(Disconnect) == 100);

/// A message. It owns its descriptors.
struct Message {
  std::array<std::byte, kMessageBytes> bytes{};
  std::vector<UniqueFd> descriptors;

  MessageType type() const noexcept {
    MessageType type{};
    std::memcpy(&type, bytes.data(), sizeof type);
    return type;
  }
  /// The fields. Each message has room for them.
  template <class Fields>
  Fields as() const noexcept {
    static_assert(sizeof(MessageType) + sizeof(Fields) <= kMessageBytes);
    Fields fields;
    std::memcpy(&fields, bytes.data() + sizeof(MessageType), sizeof fields);
    return fields;
  }
};

/// Makes the bytes of a message, without fields or with these.
std::array<std::byte, kMessageBytes> make_message(MessageType type) noexcept;
template <class Fields>
std::array<std::byte, kMessageBytes> make_message(MessageType type, const Fields& fields) noexcept {
  auto bytes = make_message(type);
  std::memcpy(bytes.data() + sizeof type, &fields, sizeof fields);
  return bytes;
}
/// Makes a field of `text`, and cuts the text where the field ends.
template <std::size_t kBytes>
std::array<char, kBytes> field_of(const std::string& text) noexcept {
  std::array<char, kBytes> field{};
  text.copy(field.data(), kBytes - 1);
  return field;
}

/// Reads the next message. `malformed`: the number of bytes is wrong. Threads: one at a time.
/// Blocks: as base::ForeignSocket::receive().
MessageStatus read_message(base::ForeignSocket& socket, Message& into);

/// Sends a message, with a descriptor unless that is negative. Result: whether the socket took it.
/// Blocks: never; a full socket takes no message, and the result is false.
bool send_message(int socket, const std::array<std::byte, kMessageBytes>& bytes,
                  int descriptor = -1) noexcept;

/// Threads: one at a time. Blocks: never.
class Session {
 public:
  enum RingNumber : std::uint8_t { kToClient = 0, kFromClient = 1, kRings = 2 };

  struct Lane {
    Ring ring;
    RingPlace place;
    UniqueFd interrupt;  ///< the side that writes frames writes to it; open if the ring was added

    /// Tells the client that there are frames for it.
    void notify() const noexcept;
  };

  /// `epoll`: watches the interrupts of the ring from the client (watch_wakeups()).
  /// `max_memory_bytes`: how much the client may make us map.
  Session(int epoll, std::uint64_t max_memory_bytes) noexcept
      : epoll_(epoll), memory_(max_memory_bytes) {}
  Session(const Session&) = delete;  // the rings know where the memory is
  Session& operator=(const Session&) = delete;
  ~Session() = default;

  /// The result of a message.
  enum class Answer : std::uint8_t {
    none,
    ack,
    connected,
    gone,     ///< the client has disconnected
    refused,  ///< why() says why; the connection cannot be used any more
  };
  Answer handle(Message& message);
  /// Why the last message was refused.
  const std::string& why() const noexcept { return why_; }

  Lane& lane(RingNumber number) noexcept { return lanes_[number]; }
  const ClientMemory& memory() const noexcept { return memory_; }
  /// Whether frames can pass.
  bool is_connected() const noexcept { return state_ == State::connected; }

 private:
  enum class State : std::uint8_t { greeted, described, connected };

  Answer refuse(std::string why);
  Answer init(const Message& message);
  Answer add_region(const Message& message);
  Answer add_ring(Message& message);
  Answer connect();

  int epoll_;
  State state_ = State::greeted;
  ClientMemory memory_;
  std::array<Lane, kRings> lanes_;
  std::string why_;
};

}  // namespace shmif::memif
