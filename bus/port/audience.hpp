#pragma once
// Audience: which ports a frame is for. Senders ask while ports sleep, to wake only those that the
// frame is for (D3, D4).
// To answer, a sender looks at the slots of all ports, at least a cache line each. It asks for the
// same few addresses again and again, so it keeps the answers. A port that changes what it accepts
// then increases `filter_changes` in the header, and earlier answers are no longer used (D5).

#include <array>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

/// A set of slots, one bit each.
using SlotSet = std::array<std::uint64_t, kBitmapWords>;

/// Call this after a change of a port's address, of its learned addresses, or of a flag that makes
/// it hear more or less; and before the port's owner relies on the change.
void tell_filter_change(const Ring& ring) noexcept;

/// Threads: one at a time.
class Audience {
 public:
  Audience() = default;
  explicit Audience(Ring ring) noexcept : ring_(ring) {}

  /// The slots that accept one of `frames`; their ports may be gone. Call it after the look at the
  /// sleepers' bits: if a port changed its filter before it went to sleep, the answer then follows
  /// the new filter.
  SlotSet of(std::span<const FrameView> frames) noexcept;
  /// Call it after a repair: the count of changes may have been overwritten.
  void forget() noexcept { answers_ = {}; }

 private:
  struct Answer {
    std::uint64_t mac = UINT64_MAX;  // no answer yet: an address has 48 bits
    std::uint64_t changes = 0;       // `filter_changes` when it was asked
    SlotSet slots{};
  };
  const SlotSet& of(std::uint64_t mac) noexcept;

  Ring ring_;
  std::array<Answer, 16> answers_{};  // indexed by a hash of the address
};

}  // namespace shmif::bus
