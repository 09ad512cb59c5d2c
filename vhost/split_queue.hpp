#pragma once
// The device side of a split virtqueue (virtio 1.1, section 2.6), through which a driver lends
// buffers of its memory to a device, and gets them back.
//
//   available ring (driver writes)     descriptor table        used ring (device writes)
//   idx ---> number of chains      --> [address length next] -->  idx ---> number of chains
//   ring[i]: first descriptor              chain of buffers       ring[i]: first descriptor, bytes
//
// All three lie in memory that the driver, and everything else in its machine, may write at any
// time. Therefore:
//   Q1. A shared word is read once into a local, the local is checked, and only the local is used.
//   Q2. Each address is looked up in the machine's memory with the length of the access.
//   Q3. A chain has at most as many buffers as there are descriptors, so a loop ends.
//   Q4. A value that no correct driver writes breaks the queue: fault() says which, and the queue
//       does nothing more. It is not repaired.
// And, between a correct driver and us:
//   Q5. Buffers are read after the idx of the available ring (acquire), and used entries are
//       written before the idx of the used ring.
//   Q6. Sleeping: the side that wants to be notified asks for it, and then looks again. The side
//       that has news writes idx, and then looks whether it must notify. Each side keeps the two in
//       this order (here both are seq_cst), so at least one of the two sees the other's write.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/foreign/foreign.hpp"
#include "vhost/message.hpp"

namespace shmif::vhost {

/// The memory of a virtual machine, as its front-end shares it: regions of files. Each region has
/// an address that the machine knows, and another one that the front-end knows.
///
/// Do not trust its contents: the machine writes there at any time, and the front-end may truncate
/// the files. If it does, zero pages replace the region (bus/file/sigbus_guard.hpp), and lost() is
/// true from then on. Threads: safe, except for moves. Blocks: never.
class GuestMemory {
 public:
  /// Memory without a region.
  GuestMemory() noexcept;
  /// Maps each region from the descriptor with the same index. The descriptor may be closed
  /// afterwards. `most`: limit for the bytes of all regions together. Errors: bad_argument for more
  /// bytes, more than kMaxRegions regions, more or fewer descriptors than regions, regions that
  /// overlap, wrap around or are empty, a file that is not a memfd or in tmpfs or hugetlbfs, and a
  /// file that ends before the region does; an errno, if it cannot be mapped.
  static Result<GuestMemory> map(std::span<const MemoryRegion> regions,
                                 std::span<const UniqueFd> descriptors,
                                 std::uint64_t most = kMaxForeignBytes);
  GuestMemory(GuestMemory&&) noexcept;
  GuestMemory& operator=(GuestMemory&&) noexcept;
  ~GuestMemory();

  /// Translates an address of the machine into one of this process. Result: nullptr unless all of
  /// the bytes lie in one region.
  std::byte* at_guest(std::uint64_t address, std::uint64_t bytes) const noexcept;
  /// The same for an address of the front-end.
  std::byte* at_user(std::uint64_t address, std::uint64_t bytes) const noexcept;
  /// Whether a file was truncated below its mapping. Bytes that were read may then be zeros.
  bool lost() const noexcept;

 private:
  class Mapping;
  std::vector<std::unique_ptr<Mapping>> mappings_;
};

/// A buffer, as the driver describes it.
struct Descriptor {
  static constexpr std::uint16_t kNext = 1;      // flags: `next` is the next buffer of the chain
  static constexpr std::uint16_t kWrite = 2;     // flags: the device writes into the buffer
  static constexpr std::uint16_t kIndirect = 4;  // flags: the buffer is a table of descriptors

  std::uint64_t address = 0;  ///< in the machine's address space
  std::uint32_t bytes = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
/// Both rings begin with it. The entries follow: std::uint16_t, or UsedEntry.
struct RingHead {
  static constexpr std::uint16_t kNoNotice = 1;  // flags: its writer wants no notifications

  std::uint16_t flags = 0;
  std::uint16_t idx = 0;  ///< number of entries ever written, modulo 65536
};
struct UsedEntry {
  std::uint32_t head = 0;
  std::uint32_t written = 0;  ///< bytes
};
static_assert(sizeof(Descriptor) == 16 && sizeof(RingHead) == 4 && sizeof(UsedEntry) == 8);

/// A queue, as a front-end describes it.
struct QueueLayout {
  std::uint32_t size = 0;  ///< entries: a power of two, at most 32768
  std::uint64_t descriptors = 0, available = 0, used = 0;  ///< as the front-end's addresses
  bool event_index = false;                                ///< VIRTIO_RING_F_EVENT_IDX
  bool indirect = false;                                   ///< VIRTIO_RING_F_INDIRECT_DESC
};

/// Threads: one at a time. Blocks: never.
class SplitQueue {
 public:
  static constexpr std::uint32_t kMaxSize = 32768;
  /// max_buffers() of queues with fewer entries. QEMU allows as many. Linux and DPDK make chains of
  /// at most 256 buffers.
  static constexpr std::size_t kMinMaxBuffers = 1024;

  enum class Direction : std::uint8_t { from_driver, to_driver };
  /// One chain of buffers.
  struct Chain {
    std::uint16_t head = 0;
    std::size_t bytes = 0;  ///< of all buffers that were appended
  };

  /// Finds the queue in `memory`, which must outlive its use, and continues after the last chain
  /// that was given back. Result: false if the parts are not in the memory, are not aligned, or the
  /// size is not valid; the queue is then stopped.
  bool start(const GuestMemory& memory, const QueueLayout& layout) noexcept;
  void stop() noexcept { memory_ = nullptr; }
  bool is_running() const noexcept { return memory_ != nullptr && fault_ == nullptr; }
  /// Why the queue is broken (Q4); nullptr if it is not.
  const char* fault() const noexcept { return fault_; }
  std::uint32_t size() const noexcept { return size_; }
  /// A frame with more buffers is a fault. virtio allows a chain as long as its queue (virtio 1.1,
  /// section 2.6.5.3.1), also in an indirect table.
  std::size_t max_buffers() const noexcept { return max_buffers_; }
  /// The number of chains given back, modulo 65536: where the next back-end begins.
  std::uint16_t position() const noexcept { return used_; }

  /// Whether the driver has lent at least `chains` chains that we have not given back.
  bool has(unsigned chains) noexcept;
  /// Appends the buffers of a chain to `into`, whose capacity must be at least max_buffers(),
  /// and stops when they have `enough` bytes together. `ahead`: 0 for the next chain, 1 for the one
  /// after it; it must be there (has()). Result: false if the chain is not valid (fault()).
  bool read_chain(unsigned ahead, Direction direction, std::size_t enough,
                  std::vector<Buffer>& into, Chain& chain) noexcept;
  /// Gives back the next chain. The driver sees it after publish().
  void give_back(std::uint16_t head, std::uint32_t written) noexcept;
  /// Shows the driver what was given back. Result: whether the driver wants to be notified of it.
  bool publish() noexcept;

  /// Asks the driver to notify us of the next chain. Result: whether there is a chain already.
  bool prepare_wait() noexcept;
  /// Asks the driver not to notify us, because we look anyway.
  void finish_wait() noexcept;

 private:
  /// A table of descriptors: the queue's own, or an indirect one.
  struct Table {
    const Descriptor* entries = nullptr;
    std::uint32_t count = 0;
  };
  bool break_with(const char* why) noexcept;
  static Descriptor copy_of(const Descriptor& shared) noexcept;
  bool enter_indirect(const Descriptor& entry, Table& table) noexcept;
  bool is_too_long(const std::vector<Buffer>& chain) const noexcept;
  bool take_buffer(const Descriptor& entry, Direction direction,
                   std::vector<Buffer>& into) noexcept;

  const GuestMemory* memory_ = nullptr;
  const char* fault_ = nullptr;
  Table descriptors_;
  const RingHead* available_ = nullptr;
  const std::uint16_t* heads_ = nullptr;  // of chains, in the available ring
  RingHead* used_ring_ = nullptr;
  UsedEntry* used_entries_ = nullptr;
  const std::uint16_t* used_event_ = nullptr;  // where the driver wants to be notified
  std::uint16_t* avail_event_ = nullptr;       // where we want to be notified
  std::uint32_t size_ = 0;
  std::size_t max_buffers_ = kMinMaxBuffers;
  bool event_index_ = false;
  bool indirect_ = false;
  std::uint16_t seen_ = 0;       // idx of the available ring, when last read
  std::uint16_t used_ = 0;       // chains given back
  std::uint16_t published_ = 0;  // how many of them the driver has been shown
};

}  // namespace shmif::vhost
