#include "memif/ring.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <utility>

#include "bus/atomics.hpp"

namespace shmif::memif {

Result<void> ClientMemory::add(int file, std::uint64_t bytes) {
  constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t asked = bytes_ + std::min(bytes, kAll - bytes_);
  if (auto checked = check_foreign_bytes(asked, most_); !checked) return checked;
  auto region =
      ForeignRegion::map(file, 0, bytes, "memory region " + std::to_string(regions_.size()));
  if (!region) return std::move(region).error();
  bytes_ = asked;
  regions_.push_back(*std::move(region));
  return {};
}

bool ClientMemory::lost() const noexcept {
  return std::ranges::any_of(regions_, &ForeignRegion::lost);
}

static_assert(std::endian::native == std::endian::little, "memif's words are the machine's");

const char* Ring::start(const ClientMemory& memory, const RingPlace& place,
                        bool from_client) noexcept {
  const std::size_t size = std::size_t{1} << place.size_log2;
  std::byte* const found =
      memory.at(place.region, place.offset, sizeof(RingHeader) + size * sizeof(Descriptor));
  if (found == nullptr) return "is outside of its region";
  if (reinterpret_cast<std::uintptr_t>(found) % alignof(Descriptor) != 0) return "is not aligned";
  auto* const header = reinterpret_cast<RingHeader*>(found);
  if (bus::load_acquire(header->cookie) != RingHeader::kCookie) return "has no cookie";
  memory_ = &memory;
  fault_ = nullptr;
  header_ = header;
  descriptors_ = reinterpret_cast<Descriptor*>(found + sizeof(RingHeader));
  size_ = static_cast<std::uint32_t>(size);
  from_client_ = from_client;
  is_partial_ = false;
  seen_ = tail_ = published_ = bus::load_relaxed(header_->tail);
  masked_ = false;
  if (from_client) mask();
  return nullptr;
}

bool Ring::has(std::size_t buffers) noexcept {
  if (!is_running()) return false;
  if (static_cast<std::uint16_t>(seen_ - tail_) >= buffers) return true;
  const std::uint16_t head = bus::load_acquire(header_->head);  // M5
  const auto given = static_cast<std::uint16_t>(head - tail_);
  if (given > size_) {
    break_with("more buffers are given than the ring has");
    return false;
  }
  seen_ = head;
  return given >= buffers;
}

std::uint16_t Ring::read(std::size_t ahead, Buffer& buffer) noexcept {
  const Descriptor& shared = descriptors_[(tail_ + ahead) & (size_ - 1)];
  const std::uint16_t flags = bus::load_relaxed(shared.flags);  // M1
  const std::uint32_t bytes = bus::load_relaxed(shared.bytes);
  buffer = {memory_->at(bus::load_relaxed(shared.region), bus::load_relaxed(shared.offset), bytes),
            bytes};
  if (buffer.data == nullptr) break_with("a buffer is outside of the memory");
  return flags;
}

void Ring::fill(std::size_t ahead, std::uint32_t bytes, bool goes_on) noexcept {
  Descriptor& shared = descriptors_[(tail_ + ahead) & (size_ - 1)];
  bus::store_relaxed(shared.bytes, bytes);
  bus::store_relaxed(shared.flags, goes_on ? Descriptor::kNext : std::uint16_t{0});
}

bool Ring::publish() noexcept {
  if (!is_running() || published_ == tail_) return false;
  published_ = tail_;
  if (from_client_) {
    bus::store_release(header_->tail, tail_);  // M5
    return false;
  }
  bus::store_seq_cst(header_->tail, tail_);  // M5, M6
  return (bus::load_seq_cst(header_->flags) & RingHeader::kMasked) == 0;
}

std::size_t Ring::next_frame(std::vector<Buffer>& into) noexcept {
  for (std::size_t count = 0;;) {  // M3
    if (!has(count + 1)) {
      is_partial_ = count > 0;
      if (is_running() && count == size_) break_with("a frame has more buffers than the ring");
      return 0;
    }
    if (count == kMaxBuffers) {
      break_with("a frame has too many buffers");
      return 0;
    }
    Buffer buffer;
    const std::uint16_t flags = read(count, buffer);
    if (!is_running()) return 0;
    into.push_back(buffer);
    ++count;
    if ((flags & Descriptor::kNext) == 0) {
      is_partial_ = false;
      return count;
    }
  }
}

/// Whether there are buffers besides those of a frame whose end has not come yet.
bool Ring::has_news() const noexcept {
  return bus::load_seq_cst(header_->head) != (is_partial_ ? seen_ : tail_);
}

Ring::Wait Ring::prepare_wait() noexcept {
  if (!is_running()) return Wait::sleep;
  if (has_news()) return Wait::ready;
  if (!masked_) return Wait::sleep;
  masked_ = false;
  bus::store_seq_cst(header_->flags, std::uint16_t{0});
  return has_news() ? Wait::ready : Wait::look_again;
}

void Ring::mask() noexcept {
  if (masked_ || !is_running()) return;
  masked_ = true;
  bus::store_relaxed(header_->flags, RingHeader::kMasked);
}

}  // namespace shmif::memif
