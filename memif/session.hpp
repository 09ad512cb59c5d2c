#pragma once
// The server's side of a memif connection: the state of the interface after the client's messages
// so far. It carries no frames; memif/memif_link.hpp does.

#include <array>
#include <cstdint>
#include <string>

#include "base/unique_fd.hpp"
#include "memif/client_memory.hpp"
#include "memif/message.hpp"
#include "memif/ring.hpp"

namespace shmif::memif {

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
