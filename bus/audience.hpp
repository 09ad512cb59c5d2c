#pragma once
// Audience: which ports a frame is for. Senders ask while ports sleep, to wake only those (D3, D4).
//
// The answer lies in the slots of all ports, a cache line each and more. A sender asks for the same
// few addresses again and again, so it keeps what it found. Whoever changes what its port accepts
// tells so afterwards, by `filter_changes` in the header, and then all answers from before are no
// longer used (D5).

#include <array>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"
#include "bus/ring.hpp"

namespace shmif::bus {

/// Slots, one bit each.
using SlotSet = std::array<std::uint64_t, kBitmapWords>;

/// To be called after a change of a port's address, of what it learned, or of a flag that makes it
/// hear more or less, and before the port's owner relies on it.
void tell_filter_change(const Ring& ring) noexcept;

/// Threads: one at a time.
class Audience {
 public:
  Audience() = default;
  explicit Audience(Ring ring) noexcept : ring_(ring) {}

  /// The slots that accept one of `frames`; their ports may be gone. To be called after the look at
  /// who sleeps: a port that changed its mind before it went to sleep is answered for as it is now.
  SlotSet of(std::span<const FrameView> frames) noexcept;
  /// To be called when the bus was repaired: the count of changes may have been written over.
  void forget() noexcept { answers_ = {}; }

 private:
  struct Answer {
    std::uint64_t mac = UINT64_MAX;  // none yet: an address has 48 bits
    std::uint64_t changes = 0;       // `filter_changes` when it was asked
    SlotSet slots{};
  };
  const SlotSet& of(std::uint64_t mac) noexcept;

  Ring ring_;
  std::array<Answer, 16> answers_{};  // at a place that the address gives
};

}  // namespace shmif::bus
