#include "bus/netbsd/addresses.hpp"

#include <algorithm>

#include "bus/learned_word.hpp"

namespace shmif::bus {

bool NetbsdAddresses::accepts(MacAddress mac) const noexcept {
  const std::uint64_t number = mac.to_u64();
  if (mac.is_group() || number == own_.load(std::memory_order_relaxed)) return true;
  if (promiscuous_.load(std::memory_order_relaxed) || learned_too_many_ || listed_too_many_)
    return true;
  const std::uint64_t wanted = learned_word(number);
  for (const std::atomic<std::uint64_t>& other : others_) {
    const std::uint64_t known = other.load(std::memory_order_relaxed);
    if (known == 0) return false;
    if (known == wanted) return true;
  }
  return false;
}

void NetbsdAddresses::set_own(MacAddress mac) noexcept {
  const std::lock_guard guard(mutex_);
  own_ = mac.to_u64();
  const auto end = listed_.begin() + static_cast<std::ptrdiff_t>(listed_count_);
  if (std::find(listed_.begin(), end, mac.to_u64()) == end) forget(mac.to_u64());
}

/// Result: false if there is no room.
bool NetbsdAddresses::add(std::uint64_t mac) noexcept {
  const std::uint64_t word = learned_word(mac);
  std::atomic<std::uint64_t>* vacant = nullptr;
  for (std::atomic<std::uint64_t>& other : others_) {
    const std::uint64_t known = other.load(std::memory_order_relaxed);
    if (known == word) return true;
    if ((known == 0 || known == kVacantWord) && vacant == nullptr) vacant = &other;
    if (known == 0) break;
  }
  if (vacant == nullptr) return false;
  vacant->store(word);
  return true;
}

void NetbsdAddresses::forget(std::uint64_t mac) noexcept {
  const std::uint64_t word = learned_word(mac);
  for (std::atomic<std::uint64_t>& other : others_) {
    if (other.load(std::memory_order_relaxed) == word) other.store(kVacantWord);
  }
  last_learned_ = 0;
}

void NetbsdAddresses::learn(std::span<const FrameView> frames) noexcept {
  const std::lock_guard guard(mutex_);
  for (const FrameView& frame : frames) {
    const MacAddress source = frame.source();
    const std::uint64_t mac = source.to_u64();
    if (learned_word(mac) == last_learned_ || source.is_group() || mac == own_) continue;
    last_learned_ = learned_word(mac);
    if (!add(mac)) learned_too_many_ = true;
  }
}

void NetbsdAddresses::list(std::span<const MacAddress> macs) noexcept {
  const std::lock_guard guard(mutex_);
  for (const std::uint64_t before : std::span(listed_).first(listed_count_)) {
    const auto is_it = [&](MacAddress mac) { return mac.to_u64() == before; };
    if (std::ranges::none_of(macs, is_it)) forget(before);
  }
  listed_count_ = std::min(macs.size(), listed_.size());
  bool fits = macs.size() <= listed_.size();
  for (std::size_t i = 0; i < listed_count_; ++i) {
    listed_[i] = macs[i].to_u64();
    fits = add(listed_[i]) && fits;
  }
  listed_too_many_ = !fits;
}

}  // namespace shmif::bus
