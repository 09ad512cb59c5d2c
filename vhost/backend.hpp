#pragma once
// The back-end's side of a vhost-user connection: the state of the device after the front-end's
// messages so far. It carries no frames; vhost/vhost_link.hpp does.
//
// A front-end sends messages in this order: features, memory, then for each queue its size,
// addresses and position, and its kick descriptor, which starts it. GET_VRING_BASE stops a queue.
// All of them may come again at any time, because a machine that boots first uses other drivers in
// its firmware.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/unique_fd.hpp"
#include "vhost/message.hpp"
#include "vhost/split_queue.hpp"

namespace shmif::vhost {

constexpr std::uint64_t bit(unsigned number) noexcept {
  return std::uint64_t{1} << number;
}

/// Features of a network device (virtio 1.1, sections 5.1.3 and 6), as bits of GET_FEATURES.
struct Features {
  static constexpr std::uint64_t kCsum = bit(0);  ///< the driver may leave checksums unfinished
  static constexpr std::uint64_t kGuestCsum = bit(1);  ///< the driver takes such frames
  static constexpr std::uint64_t kMtu = bit(3);
  static constexpr std::uint64_t kGuestTso4 = bit(7);
  static constexpr std::uint64_t kGuestTso6 = bit(8);
  static constexpr std::uint64_t kGuestEcn = bit(9);
  static constexpr std::uint64_t kHostTso4 = bit(11);
  static constexpr std::uint64_t kHostTso6 = bit(12);
  static constexpr std::uint64_t kHostEcn = bit(13);
  static constexpr std::uint64_t kMergeable = bit(15);  ///< a frame may fill several chains
  static constexpr std::uint64_t kIndirect = bit(28);
  static constexpr std::uint64_t kEventIndex = bit(29);
  static constexpr std::uint64_t kProtocolFeatures = bit(30);  ///< of vhost-user, not of the device
  static constexpr std::uint64_t kVersion1 = bit(32);

  static constexpr std::uint64_t kAlways =
      kMtu | kMergeable | kIndirect | kEventIndex | kProtocolFeatures | kVersion1;
  static constexpr std::uint64_t kOffloads =
      kCsum | kGuestCsum | kGuestTso4 | kGuestTso6 | kGuestEcn | kHostTso4 | kHostTso6 | kHostEcn;
};

/// Threads: one at a time. Blocks: never.
class Backend {
 public:
  /// Named as the driver sees them: it receives from the first, and sends through the second.
  enum QueueNumber : std::uint8_t { kReceiveQueue = 0, kSendQueue = 1, kQueues = 2 };

  struct Queue {
    SplitQueue ring;
    QueueLayout layout;
    UniqueFd kick;  ///< the driver writes to it; if it is not open, the front-end wants us to look
    UniqueFd call;  ///< we write to it; if it is not open, the driver looks
    bool call_may_end = false;  ///< its reader may have closed it
    bool enabled = false;
    std::optional<std::uint16_t> base;  ///< from SET_VRING_BASE, until the queue starts
    bool polled = false;                ///< started without a kick descriptor

    /// Tells the driver that there are used buffers.
    void notify() const noexcept;
  };

  /// `features`: those offered to the driver. `epoll`: watches the kick descriptor of the send
  /// queue (watch_wakeups()). `max_memory_bytes`: how much the front-end may make us map.
  Backend(std::uint64_t features, int epoll, std::uint64_t max_memory_bytes) noexcept
      : offered_(features), epoll_(epoll), max_memory_bytes_(max_memory_bytes) {}
  Backend(const Backend&) = delete;  // the queues know where the memory is
  Backend& operator=(const Backend&) = delete;
  ~Backend() = default;

  /// The result of a message.
  struct Answer {
    bool accepted = true;  ///< false: why() says why; the connection cannot be used any more
    bool reply = false;    ///< `value` must be sent
    std::array<std::byte, sizeof(std::uint64_t)> value{};
  };
  Answer handle(Message& message);
  /// Why the last message was not accepted.
  const std::string& why() const noexcept { return why_; }

  Queue& queue(QueueNumber number) noexcept { return queues_[number]; }
  /// Whether the driver has agreed on one of these features.
  bool has(std::uint64_t features) const noexcept { return (features_ & features) != 0; }
  bool has_all(std::uint64_t features) const noexcept { return (features_ & features) == features; }
  std::uint64_t features() const noexcept { return features_; }
  const GuestMemory& memory() const noexcept { return memory_; }
  /// Whether the front-end has shared memory at all.
  bool was_given_memory() const noexcept { return was_given_memory_; }
  /// The size of the header before each frame. Only the longer header has the field num_buffers.
  std::size_t header_bytes() const noexcept {
    return has(Features::kVersion1 | Features::kMergeable) ? 12 : 10;
  }

 private:
  Answer refuse(std::string why);
  static Answer reply_with(std::uint64_t value);
  Answer dispatch(Message& message);
  Answer set_features(const Message& message);
  Answer set_protocol_features(const Message& message);
  Answer set_memory(const Message& message);
  Answer set_queue(const Message& message);
  Answer set_addresses(const Message& message);
  Answer get_position(const Message& message);
  Answer set_descriptor(Message& message);
  Answer start(Queue& queue);
  bool watch_kick(Queue& queue, UniqueFd descriptor) noexcept;
  Queue* queue_of(std::uint64_t index) noexcept;
  void restart_queues() noexcept;

  std::uint64_t offered_;
  int epoll_;
  std::uint64_t max_memory_bytes_;
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;
  UniqueFd channel_;  ///< for requests of the back-end, which sends no requests
  GuestMemory memory_;
  bool was_given_memory_ = false;
  std::array<Queue, kQueues> queues_;
  std::string why_;
};

/// For debug lines: describes what a message did that `backend` has accepted, "starts its send
/// queue: 256 entries". Empty for messages that only prepare such a step. Threads: as Backend.
/// Blocks: never.
std::string told(const Message& message, Backend& backend);

}  // namespace shmif::vhost
