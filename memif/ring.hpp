#pragma once
// The server's side of a memif ring, for both directions.
//
//   head (client writes)   descriptors                     tail (server writes)
//   buffers ever given --> [region offset length flags] --> buffers ever done with
//
// In a ring from the client the buffers are full, and the server has read those before the tail. In
// a ring to the client they are empty, and the server has filled those before the tail. Both
// numbers count modulo 65536; modulo the size of the ring, each is the index of a descriptor.
//
// All of it lies in memory that the client may write at any time. So:
//   M1. A shared word is read once into a local, the local is checked, and only the local is used.
//   M2. The place of a buffer is looked up in the client's memory with the buffer's length.
//   M3. A frame has at most as many buffers as the ring, and as kMaxBuffers, so a loop ends.
//   M4. A value that no correct client writes breaks the ring: fault() says which, and the ring
//       does nothing more. It is not repaired.
// And, between a correct client and us:
//   M5. Buffers are read after the head (acquire). The tail is written after we are done with them.
//   M6. A reader masks interrupts while it looks anyway. Before it sleeps it clears the mask, and
//       then looks again. The side that writes a number reads the mask after that. Here all four
//       are seq_cst. Not all clients keep this order: DPDK may read the mask before others see its
//       head. So after clearing the mask we look again once after a short time.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "shmif/foreign/foreign.hpp"

namespace shmif::memif {

/// The memory of a client: regions of files. The descriptors of buffers name a region by its
/// number. Do not trust its contents: the client writes there at any time, and may truncate the
/// files. If it does, zero pages replace the region, and lost() is true from then on. Threads: one
/// at a time. Blocks: never.
class ClientMemory {
 public:
  /// `most`: limit for the bytes of all regions together.
  explicit ClientMemory(std::uint64_t most) noexcept : most_(most) {}
  /// Maps the next region from the beginning of a file, which may be closed afterwards. Errors:
  /// bad_argument for more bytes than the client may have, and the errors of
  /// ForeignRegion::map().
  Result<void> add(int file, std::uint64_t bytes);
  std::size_t regions() const noexcept { return regions_.size(); }

  /// Result: nullptr unless there is such a region, and all of the bytes lie in it.
  std::byte* at(std::size_t region, std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return region < regions_.size() ? regions_[region].at(offset, bytes) : nullptr;
  }
  bool lost() const noexcept;

 private:
  std::uint64_t most_;
  std::uint64_t bytes_ = 0;  ///< of all regions
  std::vector<ForeignRegion> regions_;
};

/// Lies before the descriptors. Each cache line has only one writer, except for the flags.
struct RingHeader {
  static constexpr std::uint32_t kCookie = 0x3e31f20;
  static constexpr std::uint16_t kMasked = 1;  // flags: the reader of frames wants no interrupts

  std::uint32_t cookie = 0;
  std::uint16_t flags = 0;
  std::uint16_t head = 0;
  std::uint8_t unused1[56] = {};
  std::uint16_t tail = 0;
  std::uint8_t unused2[62] = {};
};
struct Descriptor {
  static constexpr std::uint16_t kNext = 1;  // flags: the frame goes on in the next descriptor

  std::uint16_t flags = 0;
  std::uint16_t region = 0;
  std::uint32_t bytes = 0;
  std::uint32_t offset = 0;
  std::uint32_t metadata = 0;
};
static_assert(sizeof(RingHeader) == 128 && offsetof(RingHeader, tail) == 64);
static_assert(sizeof(Descriptor) == 16 && offsetof(RingHeader, head) == 6);

/// Where a ring is, as the client says.
struct RingPlace {
  std::uint16_t region = 0;
  std::uint32_t offset = 0;
  std::uint8_t size_log2 = 0;
};

/// Threads: one at a time. Blocks: never.
class Ring {
 public:
  /// A frame with more buffers is a fault.
  static constexpr std::size_t kMaxBuffers = 1024;

  /// Finds the ring in `memory`, which must outlive its use, and continues at its tail. Masks
  /// interrupts if `from_client`. Result: nullptr, or why the ring cannot be used.
  const char* start(const ClientMemory& memory, const RingPlace& place, bool from_client) noexcept;
  bool is_running() const noexcept { return header_ != nullptr && fault_ == nullptr; }
  /// Why the ring is broken (M4); nullptr if it is not.
  const char* fault() const noexcept { return fault_; }
  std::size_t size() const noexcept { return size_; }

  /// Whether the client has given at least `buffers` buffers that we are not done with.
  bool has(std::size_t buffers) noexcept;
  /// Reads a descriptor that is there (has()); `ahead`: 0 for the next one. Result: its flags.
  /// `buffer.data` is nullptr if the descriptor is not valid (fault()).
  std::uint16_t read(std::size_t ahead, Buffer& buffer) noexcept;
  /// Writes down what a buffer for the client holds.
  void fill(std::size_t ahead, std::uint32_t bytes, bool goes_on) noexcept;
  /// Counts the next buffers as done. The client sees this after publish().
  void pass(std::size_t buffers) noexcept { tail_ += static_cast<std::uint16_t>(buffers); }
  /// Shows the client what we are done with. Result: whether the client wants an interrupt for
  /// that; always false for a ring from the client.
  bool publish() noexcept;

  /// Appends the buffers of the next frame from the client to `into`, whose capacity must be at
  /// least kMaxBuffers. Result: the number of descriptors of the frame; 0 if no whole frame is
  /// there, or a descriptor is not valid (fault()).
  std::size_t next_frame(std::vector<Buffer>& into) noexcept;

  /// What to do before sleeping (M6).
  enum class Wait : std::uint8_t { ready, look_again, sleep };
  Wait prepare_wait() noexcept;
  /// Asks the client not to interrupt us.
  void mask() noexcept;

 private:
  bool has_news() const noexcept;
  void break_with(const char* why) noexcept { fault_ = why; }

  const ClientMemory* memory_ = nullptr;
  const char* fault_ = nullptr;
  RingHeader* header_ = nullptr;
  Descriptor* descriptors_ = nullptr;
  std::uint32_t size_ = 0;
  bool from_client_ = false;
  bool masked_ = false;
  bool is_partial_ = false;      // the frame at the tail has no end up to seen_
  std::uint16_t seen_ = 0;       // the head, when last read
  std::uint16_t tail_ = 0;       // buffers that we are done with
  std::uint16_t published_ = 0;  // how many of them the client has been shown
};

}  // namespace shmif::memif
