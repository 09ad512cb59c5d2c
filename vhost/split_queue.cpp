#include "vhost/split_queue.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <utility>

#include "bus/atomics.hpp"

namespace shmif::vhost {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

bool wraps(std::uint64_t from, std::uint64_t bytes) noexcept {
  return bytes > kMax - from;
}

bool overlap(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b,
             std::uint64_t b_bytes) noexcept {
  return a < b + b_bytes && b < a + a_bytes;
}

Error bad_region(std::size_t number, const std::string& why) {
  return {Errc::bad_argument, "memory region " + std::to_string(number) + ' ' + why};
}

/// Errors: bad_argument.
Result<void> check_addresses(std::span<const MemoryRegion> regions) {
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const MemoryRegion& r = regions[i];
    if (r.bytes == 0) return bad_region(i, "is empty");
    if (wraps(r.guest_address, r.bytes) || wraps(r.user_address, r.bytes) ||
        wraps(r.file_offset, r.bytes))
      return bad_region(i, "does not fit the address space");
    for (const MemoryRegion& other : regions.first(i)) {
      if (overlap(r.guest_address, r.bytes, other.guest_address, other.bytes) ||
          overlap(r.user_address, r.bytes, other.user_address, other.bytes))
        return bad_region(i, "overlaps another");
    }
  }
  return {};
}

static_assert(std::endian::native == std::endian::little, "virtio's words are little endian");

/// Whether moving idx from `before` to `after` passes `event` (virtio 1.1, section 2.6.7.2).
bool passes(std::uint16_t event, std::uint16_t after, std::uint16_t before) noexcept {
  return static_cast<std::uint16_t>(after - event - 1) < static_cast<std::uint16_t>(after - before);
}

/// The place of a part of the queue. nullptr unless it is in the memory, and aligned for atomic
/// accesses.
std::byte* part_at(const GuestMemory& memory, std::uint64_t address, std::size_t bytes,
                   std::size_t alignment) noexcept {
  std::byte* const found = memory.at_user(address, bytes);
  return reinterpret_cast<std::uintptr_t>(found) % alignment == 0 ? found : nullptr;
}

}  // namespace

/// One region.
class GuestMemory::Mapping {
 public:
  Mapping(const MemoryRegion& region, ForeignRegion mapped)
      : region_(region), mapped_(std::move(mapped)) {}

  bool lost() const noexcept { return mapped_.lost(); }
  /// Result: nullptr if not all bytes lie in it. `from`: the region's own address of that kind.
  std::byte* at(std::uint64_t from, std::uint64_t address, std::uint64_t bytes) const noexcept {
    return address < from ? nullptr : mapped_.at(address - from, bytes);
  }
  const MemoryRegion& region() const noexcept { return region_; }

 private:
  MemoryRegion region_;
  ForeignRegion mapped_;
};

GuestMemory::GuestMemory() noexcept = default;
GuestMemory::GuestMemory(GuestMemory&&) noexcept = default;
GuestMemory& GuestMemory::operator=(GuestMemory&&) noexcept = default;
GuestMemory::~GuestMemory() = default;

Result<GuestMemory> GuestMemory::map(std::span<const MemoryRegion> regions,
                                     std::span<const UniqueFd> descriptors, std::uint64_t most) {
  if (regions.size() > kMaxRegions || regions.size() != descriptors.size()) {
    return Error(Errc::bad_argument, std::to_string(regions.size()) + " memory regions with " +
                                         std::to_string(descriptors.size()) + " descriptors");
  }
  if (auto checked = check_addresses(regions); !checked) return std::move(checked).error();
  std::uint64_t asked = 0;
  for (const MemoryRegion& r : regions) asked += std::min(r.bytes, kMax - asked);
  if (auto checked = check_foreign_bytes(asked, most); !checked) return std::move(checked).error();
  GuestMemory memory;
  memory.mappings_.reserve(regions.size());
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const MemoryRegion& r = regions[i];
    auto mapped = ForeignRegion::map(descriptors[i].get(), r.file_offset, r.bytes,
                                     "memory region " + std::to_string(i));
    if (!mapped) return std::move(mapped).error();
    memory.mappings_.push_back(std::make_unique<Mapping>(r, *std::move(mapped)));
  }
  return memory;
}

std::byte* GuestMemory::at_guest(std::uint64_t address, std::uint64_t bytes) const noexcept {
  for (const auto& mapping : mappings_) {
    std::byte* const found = mapping->at(mapping->region().guest_address, address, bytes);
    if (found != nullptr) return found;
  }
  return nullptr;
}

std::byte* GuestMemory::at_user(std::uint64_t address, std::uint64_t bytes) const noexcept {
  for (const auto& mapping : mappings_) {
    std::byte* const found = mapping->at(mapping->region().user_address, address, bytes);
    if (found != nullptr) return found;
  }
  return nullptr;
}

bool GuestMemory::lost() const noexcept {
  return std::ranges::any_of(mappings_, [](const auto& m) { return m->lost(); });
}

bool SplitQueue::start(const GuestMemory& memory, const QueueLayout& layout) noexcept {
  stop();
  fault_ = nullptr;
  if (!std::has_single_bit(layout.size) || layout.size > kMaxSize) return false;
  const std::size_t available_bytes = sizeof(RingHead) + layout.size * sizeof(std::uint16_t);
  const std::size_t used_bytes = sizeof(RingHead) + layout.size * sizeof(UsedEntry);
  // A word for notifications follows each ring, even if it is not used.
  std::byte* const descriptors =
      part_at(memory, layout.descriptors, layout.size * sizeof(Descriptor), alignof(Descriptor));
  std::byte* const available =
      part_at(memory, layout.available, available_bytes + sizeof(std::uint16_t), alignof(RingHead));
  std::byte* const used =
      part_at(memory, layout.used, used_bytes + sizeof(std::uint16_t), alignof(UsedEntry));
  if (descriptors == nullptr || available == nullptr || used == nullptr) return false;
  size_ = layout.size;
  max_buffers_ = std::max<std::size_t>(size_, kMinMaxBuffers);
  descriptors_ = {.entries = reinterpret_cast<const Descriptor*>(descriptors), .count = size_};
  available_ = reinterpret_cast<const RingHead*>(available);
  heads_ = reinterpret_cast<const std::uint16_t*>(available + sizeof(RingHead));
  used_event_ = reinterpret_cast<std::uint16_t*>(available + available_bytes);
  used_ring_ = reinterpret_cast<RingHead*>(used);
  used_entries_ = reinterpret_cast<UsedEntry*>(used + sizeof(RingHead));
  avail_event_ = reinterpret_cast<std::uint16_t*>(used + used_bytes);
  event_index_ = layout.event_index;
  indirect_ = layout.indirect;
  // Chains are given back in the order in which they came, so the used ring also says which chain
  // is next. We rely on the ring, because a back-end that was killed could not report its position.
  used_ = published_ = seen_ = bus::load_acquire(used_ring_->idx);
  memory_ = &memory;
  return true;
}

bool SplitQueue::break_with(const char* why) noexcept {
  fault_ = why;
  return false;
}

bool SplitQueue::has(unsigned chains) noexcept {
  if (!is_running()) return false;
  if (static_cast<std::uint16_t>(seen_ - used_) >= chains) return true;
  const std::uint16_t idx = bus::load_acquire(available_->idx);  // Q5
  const auto offered = static_cast<std::uint16_t>(idx - used_);
  if (offered > size_) return break_with("more buffers are offered than the queue has entries");
  seen_ = idx;
  return offered >= chains;
}

Descriptor SplitQueue::copy_of(const Descriptor& shared) noexcept {
  return {.address = bus::load_relaxed(shared.address),
          .bytes = bus::load_relaxed(shared.bytes),
          .flags = bus::load_relaxed(shared.flags),
          .next = bus::load_relaxed(shared.next)};
}

/// Continues with the table that `entry` describes.
bool SplitQueue::enter_indirect(const Descriptor& entry, Table& table) noexcept {
  if (!indirect_ || table.entries != descriptors_.entries || (entry.flags & Descriptor::kNext) != 0)
    return break_with("an indirect descriptor is where none may be");
  if (entry.bytes == 0 || entry.bytes % sizeof(Descriptor) != 0)
    return break_with("an indirect table has a wrong length");
  std::byte* const found = memory_->at_guest(entry.address, entry.bytes);
  if (found == nullptr || reinterpret_cast<std::uintptr_t>(found) % alignof(Descriptor) != 0)
    return break_with("an indirect table is outside of the memory");
  table = {.entries = reinterpret_cast<const Descriptor*>(found),
           .count = entry.bytes / static_cast<std::uint32_t>(sizeof(Descriptor))};
  return true;
}

/// Not inlined: that would cost two instructions for each buffer of a short chain.
[[gnu::noinline]] bool SplitQueue::is_too_long(const std::vector<Buffer>& chain) const noexcept {
  return chain.size() >= max_buffers_;
}

bool SplitQueue::take_buffer(const Descriptor& entry, Direction direction,
                             std::vector<Buffer>& into) noexcept {
  const bool for_us_to_write = (entry.flags & Descriptor::kWrite) != 0;
  if (for_us_to_write != (direction == Direction::to_driver))
    return break_with("a buffer is for the other direction");
  if (entry.bytes == 0) return break_with("a buffer is empty");
  std::byte* const data = memory_->at_guest(entry.address, entry.bytes);
  if (data == nullptr) return break_with("a buffer is outside of the memory");
  // The constant first: most frames have one buffer, and a comparison with it costs less.
  if (into.size() >= kMinMaxBuffers && is_too_long(into))
    return break_with("a frame has too many buffers");
  into.push_back({data, entry.bytes});
  return true;
}

bool SplitQueue::read_chain(unsigned ahead, Direction direction, std::size_t enough,
                            std::vector<Buffer>& into, Chain& chain) noexcept {
  if (!is_running()) return false;
  const auto slot = static_cast<std::uint16_t>(used_ + ahead) & (size_ - 1);
  chain = {.head = bus::load_relaxed(heads_[slot]), .bytes = 0};
  Table table = descriptors_;
  std::uint32_t left = table.count;
  for (std::uint32_t at = chain.head;; --left) {  // Q3
    if (left == 0) return break_with("a chain of descriptors has no end");
    if (at >= table.count) return break_with("a descriptor has a number that does not exist");
    const Descriptor entry = copy_of(table.entries[at]);
    if ((entry.flags & Descriptor::kIndirect) != 0) {
      if (!enter_indirect(entry, table)) return false;
      at = 0;
      left = table.count + 1;
      continue;
    }
    if (!take_buffer(entry, direction, into)) return false;
    chain.bytes += entry.bytes;
    if (chain.bytes >= enough || (entry.flags & Descriptor::kNext) == 0) return true;
    at = entry.next;
  }
}

void SplitQueue::give_back(std::uint16_t head, std::uint32_t written) noexcept {
  UsedEntry& entry = used_entries_[used_ & (size_ - 1)];
  bus::store_relaxed(entry.head, std::uint32_t{head});
  bus::store_relaxed(entry.written, written);
  ++used_;
}

bool SplitQueue::publish() noexcept {
  if (!is_running() || published_ == used_) return false;
  bus::store_seq_cst(used_ring_->idx, used_);  // Q5, Q6
  const std::uint16_t before = published_;
  published_ = used_;
  if (event_index_) return passes(bus::load_seq_cst(*used_event_), used_, before);
  return (bus::load_seq_cst(available_->flags) & RingHead::kNoNotice) == 0;
}

bool SplitQueue::prepare_wait() noexcept {
  if (!is_running()) return false;
  if (has(1)) return true;
  if (event_index_) {
    bus::store_seq_cst(*avail_event_, seen_);
  } else {
    bus::store_seq_cst(used_ring_->flags, std::uint16_t{0});
  }
  // Q6. has() reads idx again, and checks it.
  return bus::load_seq_cst(available_->idx) != seen_ && has(1);
}

void SplitQueue::finish_wait() noexcept {
  // With event_index the driver notifies only once for each request, so we need not turn it off.
  if (is_running() && !event_index_) bus::store_relaxed(used_ring_->flags, RingHead::kNoNotice);
}

}  // namespace shmif::vhost
