#include "bus/port/audience.hpp"

namespace shmif::bus {

void tell_filter_change(const Ring& ring) noexcept {
  fetch_add(ring.header().filter_changes, std::uint64_t{1});
}

SlotSet Audience::of(std::span<const FrameView> frames) noexcept {
  SlotSet all{};
  std::uint64_t before = UINT64_MAX;
  for (const FrameView& frame : frames) {
    const std::uint64_t mac = frame.destination().to_u64();
    if (mac == before) continue;
    before = mac;
    const SlotSet& slots = of(mac);
    for (unsigned w = 0; w < kBitmapWords; ++w) all[w] |= slots[w];
  }
  return all;
}

const SlotSet& Audience::of(std::uint64_t mac) noexcept {
  Answer& answer = answers_[(mac ^ mac >> 8U ^ mac >> 16U) % answers_.size()];
  // Read before the slots: a change while they are looked at makes this answer outdated.
  const std::uint64_t changes = load_seq_cst(ring_.header().filter_changes);
  if (answer.mac == mac && answer.changes == changes) return answer.slots;
  answer = {mac, changes, {}};
  const std::uint64_t used = load_acquire(ring_.header().slots_used);
  for (unsigned i = 0; i < kSlots && i < used; ++i) {
    if (AddressFilter::accepts(ring_.slot(i), mac)) answer.slots[i / 64] |= 1ULL << (i % 64);
  }
  return answer.slots;
}

}  // namespace shmif::bus
